"""The filter of a subscription: an expression over an event's data, parsed once and evaluated at bounded cost. Pure.

The language is section 5.4 of the contract. A test on a path that is missing holds for `ne`, `nin` and `exists: false`
alone; one on a value of another type never holds, `ne` and `nin` included. Numbers are compared exactly: they are
never floats, neither here nor there.
"""

import json
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from operator import ge, gt, le, lt
from typing import Any, Final, assert_never

from msgspec import Struct

from hookline import rendering
from hookline.errors import Invalid

BYTES_MAX: Final = 16 * 1024
"""Of the expression, compact. It is stored again with every revision of its subscription."""
NODES_MAX: Final = 50
DEPTH_MAX: Final = 5
VALUES_MAX: Final = 1_000
"""In all the lists of an expression together, for each costs one comparison."""
EXPONENT_MAX: Final = 1_000_000
"""Of a number in an expression; data may hold any."""


class Operator(StrEnum):
    """What may be asked of one value."""

    EQ = "eq"
    NE = "ne"
    IN = "in"
    NIN = "nin"
    LT = "lt"
    LTE = "lte"
    GT = "gt"
    GTE = "gte"
    PREFIX = "prefix"
    EXISTS = "exists"


Scalar = str | bool | int | Decimal | None
"""A JSON value that is neither object nor list."""


class Condition(Struct, frozen=True, kw_only=True):
    """One question about the value at a path of member names."""

    path: tuple[str, ...]
    operator: Operator
    operands: Mapping[type, tuple[Scalar, ...]]
    """By what they can be compared with (`_kind`): one in all, but for `in` and `nin`."""


class All(Struct, frozen=True, kw_only=True):
    """Holds where all parts do."""

    parts: "tuple[Expression, ...]"


class Either(Struct, frozen=True, kw_only=True):
    """Holds where one part does."""

    parts: "tuple[Expression, ...]"


class Not(Struct, frozen=True, kw_only=True):
    """Holds where its part does not."""

    part: "Expression"


Expression = Condition | All | Either | Not


class Document:
    """The data of one event: parsed when a filter first asks, and once."""

    __slots__ = ("_data", "_value")

    def __init__(self, data: bytes) -> None:
        """Take compact `data`, a JSON object."""
        self._data = data
        self._value: Any = _MISSING

    @property
    def value(self) -> Any:
        """The data with its numbers exact; the last of equal names counts."""
        if self._value is _MISSING:
            self._value = json.loads(self._data.decode(), parse_float=_number, parse_int=_number)
        return self._value


# --- evaluating ------------------------------------------------------------------------------------------------------


def holds(expression: Expression, document: Document) -> bool:
    """Tell whether the data is what the expression asks for."""
    match expression:
        case Condition():
            return _condition_holds(expression, document.value)
        case All():
            return all(holds(part, document) for part in expression.parts)
        case Either():
            return any(holds(part, document) for part in expression.parts)
        case Not():
            return not holds(expression.part, document)
        case _:
            assert_never(expression)


class _Missing:
    """What stands at a path where nothing does."""


_MISSING: Final = _Missing()

_COMPARISONS: Final[Mapping[Operator, Callable[[Any, Any], bool]]] = {
    Operator.LT: lt,
    Operator.LTE: le,
    Operator.GT: gt,
    Operator.GTE: ge,
    Operator.PREFIX: str.startswith,
}


def _condition_holds(condition: Condition, data: Any) -> bool:
    value = _at(condition.path, data)
    is_there = value is not _MISSING
    if condition.operator is Operator.EXISTS:
        return is_there is condition.operands[bool][0]
    is_negative = condition.operator in {Operator.NE, Operator.NIN}
    if not is_there:
        return is_negative
    kind = _kind(value)
    comparable = None if kind is None else condition.operands.get(kind)
    if comparable is None:
        return False
    compare = _COMPARISONS.get(condition.operator)
    if compare is not None:
        return compare(value, comparable[0])
    return (value in comparable) is not is_negative


def _at(path: tuple[str, ...], data: Any) -> Any:
    for name in path:
        if not isinstance(data, dict):
            return _MISSING
        data = data.get(name, _MISSING)
    return data


def _kind(value: Any) -> type | None:
    """Return what a value can be compared with: one of its own kind. Objects and lists compare with nothing."""
    match value:
        case bool() | str() | None:
            return type(value)
        case int() | Decimal():
            return Decimal
        case _:
            return None


# --- numbers ---------------------------------------------------------------------------------------------------------

_PLAIN_DIGITS: Final = 18
_HUGE: Final = Decimal("Infinity")
_TINY: Final = Decimal(f"1E-{EXPONENT_MAX}0")


def _number(text: str) -> int | Decimal:
    """Read a JSON number exactly, or, past the exponents that `Decimal` has, as beyond all that a filter can name."""
    if len(text) <= _PLAIN_DIGITS and text.lstrip("-").isdigit():
        return int(text)
    try:
        return Decimal(text)
    except InvalidOperation:
        mantissa, _, exponent = text.lower().partition("e")
        if not mantissa.strip("-0."):
            return 0
        size = _TINY if exponent.startswith("-") else _HUGE
        return size.copy_negate() if mantissa.startswith("-") else size  # unary minus would round


# --- parsing ---------------------------------------------------------------------------------------------------------


def compacted(text: bytes) -> str:
    """Return a filter as it is stored and shown: its own bytes but for white space. Raises `Invalid` with the position.

    What this returns, `parse` takes.
    """
    try:
        compact = rendering.compact(text)
    except rendering.NotJson as error:
        raise Invalid.field("filter", f"{error}.") from error
    if len(compact) > BYTES_MAX:
        raise Invalid.field("filter", f"is {len(compact):,} bytes; at most {BYTES_MAX:,} are taken.")
    parse(compact.decode())
    return compact.decode()


def parse(text: str) -> Expression:
    """Read a filter; raise `Invalid` whose field is the position of what is wrong, as `filter.or[1].amount.gte`."""
    said = json.loads(text, object_pairs_hook=_Object, parse_float=_Number, parse_int=_Number)
    return _Parser().expression(said, "filter", 1)


class _Object:
    """A JSON object that still knows of names given twice."""

    def __init__(self, members: list[tuple[str, Any]]) -> None:
        self.members = members

    def each_once(self, place: str) -> list[tuple[str, Any]]:
        """Return the members; raise `Invalid` where a name is repeated."""
        seen: set[str] = set()
        for name, _ in self.members:
            if name in seen:
                raise Invalid.field(f"{place}.{name}", "is given twice; combine the two by `and`.")
            seen.add(name)
        return self.members


class _Number(str):
    """A JSON number as written."""

    __slots__ = ()


class _Parser:
    """Parse one expression, counting what it costs."""

    def __init__(self) -> None:
        self._nodes = 0
        self._values = 0

    def expression(self, said: Any, place: str, depth: int) -> Expression:
        """Read an object: all of its members must hold."""
        if not isinstance(said, _Object):
            raise Invalid.field(place, 'expected an object of paths, as {"status": "OPEN"}, or of and, or, not.')
        if not said.members and depth > 1:  # it would hold always, and cost without being counted
            raise Invalid.field(place, "expected at least one path.")
        parts: list[Expression] = []
        for name, value in said.each_once(place):
            here = f"{place}.{name}"
            if depth > DEPTH_MAX:
                raise Invalid.field(here, f"is nested too deeply: at most {DEPTH_MAX} levels are taken.")
            if name in _COMBINED:
                parts.append(self._combined(name, value, here, depth))
            else:
                parts += self._conditions(name, value, here)
        return parts[0] if len(parts) == 1 else All(parts=tuple(parts))

    def _combined(self, name: str, said: Any, place: str, depth: int) -> Expression:
        self._count(place)
        if name == "not":
            return Not(part=self.expression(said, place, depth + 1))
        if not isinstance(said, list) or not said:
            raise Invalid.field(place, "expected a list of at least one object.")
        parts = tuple([self.expression(item, f"{place}[{index}]", depth + 1) for index, item in enumerate(said)])
        return All(parts=parts) if name == "and" else Either(parts=parts)

    def _conditions(self, name: str, said: Any, place: str) -> list[Expression]:
        path = tuple(name.split("."))
        if "" in path:
            raise Invalid.field(place, "expected member names joined by single dots.")
        if not isinstance(said, _Object):
            self._count(place)
            return [Condition(path=path, operator=Operator.EQ, operands=_by_kind((_scalar(said, place),)))]
        if not said.members:
            raise Invalid.field(place, f"expected an operator: {_OPERATORS}.")
        return [
            self._condition(path, operator, operand, f"{place}.{operator}")
            for operator, operand in said.each_once(place)
        ]

    def _condition(self, path: tuple[str, ...], name: str, said: Any, place: str) -> Condition:
        self._count(place)
        if name not in list(Operator):
            raise Invalid.field(
                place, f"is no operator. Expected one of {_OPERATORS}; a path goes deeper by a dot: {path[-1]}.{name}."
            )
        operator = Operator(name)
        match operator:
            case Operator.IN | Operator.NIN:
                operands = self._list(said, place)
            case Operator.EXISTS:
                operands = (_of(bool, said, place, "true or false"),)
            case Operator.PREFIX:
                operands = (_of(str, said, place, "a string"),)
            case Operator.EQ | Operator.NE:
                operands = (_scalar(said, place),)
            case Operator.LT | Operator.LTE | Operator.GT | Operator.GTE:
                operands = (_of(str | int | Decimal, said, place, "a number or a string"),)
            case _:
                assert_never(operator)
        return Condition(path=path, operator=operator, operands=_by_kind(operands))

    def _list(self, said: Any, place: str) -> tuple[Scalar, ...]:
        if not isinstance(said, list) or not said:
            raise Invalid.field(place, "expected a list of at least one value.")
        self._values += len(said)
        if self._values > VALUES_MAX:
            raise Invalid.field(place, f"at most {VALUES_MAX:,} values are taken in all lists together.")
        return tuple([_scalar(item, f"{place}[{index}]") for index, item in enumerate(said)])

    def _count(self, place: str) -> None:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            raise Invalid.field(place, f"is one too many: at most {NODES_MAX} tests and combinations are taken.")


_COMBINED: Final = frozenset({"and", "or", "not"})
_OPERATORS: Final = ", ".join(Operator)


def _by_kind(values: tuple[Scalar, ...]) -> Mapping[type, tuple[Scalar, ...]]:
    kinds = {kind for value in values if (kind := _kind(value))}
    return {kind: tuple([value for value in values if _kind(value) is kind]) for kind in kinds}


def _scalar(said: Any, place: str) -> Scalar:
    if isinstance(said, _Number):
        return _operand_number(said, place)
    if said is None or isinstance(said, str | bool):
        return said
    raise Invalid.field(place, "expected a string, a number, true, false or null; for one of several use `in`.")


def _of(kind: Any, said: Any, place: str, expected: str) -> Scalar:
    value = None if isinstance(said, _Object | list) else _scalar(said, place)
    is_fitting = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if not is_fitting:
        raise Invalid.field(place, f"expected {expected}.")
    return value


def _operand_number(text: str, place: str) -> int | Decimal:
    number = _number(text)
    if isinstance(number, Decimal) and (number.is_infinite() or abs(number.adjusted()) > EXPONENT_MAX):
        raise Invalid.field(place, f"expected a number between 1e-{EXPONENT_MAX} and 1e{EXPONENT_MAX}.")
    return number
