"""A filter lets through exactly what it says, and one that says nothing sensible is refused by its position."""

import json
import re
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.errors import Invalid
from hookline.filtering import (
    BYTES_MAX,
    DEPTH_MAX,
    NODES_MAX,
    VALUES_MAX,
    Document,
    compacted,
    holds,
    parse,
)


def lets_through(expression: str, data: str) -> bool:
    return holds(parse(compacted(expression.encode())), Document(data.encode()))


DATA = (
    '{"status":"OPEN","amount":1.10,"count":9007199254740993,"done":false,"none":null,"list":["OPEN",1],'
    '"customer":{"tier":"gold","tags":{},"a.b":1},"":"empty","ünï":"cödé"}'
)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("{}", True),
        ('{"status":"OPEN"}', True),
        ('{"status":"open"}', False),
        ('{"status":{"eq":"OPEN"}}', True),
        ('{"status":"OPEN","amount":1.1}', True),
        ('{"status":"OPEN","amount":1.11}', False),
        ('{"status":{"prefix":"OP","ne":"OPENED"}}', True),
        ('{"status":{"prefix":"PEN"}}', False),
        ('{"status":{"prefix":""}}', True),
        ('{"status":{"gt":"OPEM","lt":"OPEO"}}', True),
        ('{"customer.tier":"gold"}', True),
        ('{"customer.tags.vip":{"exists":false}}', True),
        ('{"customer.tier.more":{"exists":false}}', True),
        ('{"customer.a.b":{"exists":false}}', True),
        ('{"list.0":{"exists":false}}', True),
        ('{"ünï":"cödé"}', True),
        ('{"\\u00fcn\\u00ef":"c\\u00f6d\\u00e9"}', True),
        # numbers, exactly
        ('{"amount":1.1}', True),
        ('{"amount":11e-1}', True),
        ('{"amount":1.1000000000000000888}', False),
        ('{"count":9007199254740993}', True),
        ('{"count":9007199254740992}', False),
        ('{"count":9007199254740993.0}', True),
        ('{"count":{"gt":9007199254740992,"lt":9007199254740994}}', True),
        ('{"count":{"in":[1,9007199254740993e0]}}', True),
        ('{"amount":{"gte":1.1,"lte":1.1}}', True),
        ('{"amount":{"gt":1.1}}', False),
        ('{"amount":{"lt":1.10}}', False),
        # another type never holds
        ('{"amount":"1.1"}', False),
        ('{"amount":{"ne":"1.1"}}', False),
        ('{"amount":{"nin":["1.1",true]}}', False),
        ('{"amount":{"nin":["1.1",2]}}', True),
        ('{"amount":{"in":["1.1",1.1]}}', True),
        ('{"status":{"gte":1}}', False),
        ('{"status":{"lt":1}}', False),
        ('{"amount":{"gte":"1"}}', False),
        ('{"amount":{"prefix":"1"}}', False),
        ('{"done":false}', True),
        ('{"done":0}', False),
        ('{"done":{"ne":true}}', True),
        ('{"done":{"ne":0}}', False),
        ('{"done":{"gte":0}}', False),
        ('{"none":null}', True),
        ('{"none":false}', False),
        ('{"none":{"ne":"a"}}', False),
        ('{"none":{"ne":null}}', False),
        ('{"status":{"ne":null}}', False),
        ('{"list":"OPEN"}', False),
        ('{"list":{"in":["OPEN",1]}}', False),
        ('{"list":{"ne":"OPEN"}}', False),
        ('{"customer":{"ne":null}}', False),
        # what is there, what is missing
        ('{"none":{"exists":true}}', True),
        ('{"list":{"exists":true}}', True),
        ('{"customer":{"exists":true}}', True),
        ('{"status":{"exists":false}}', False),
        ('{"missing":{"exists":true}}', False),
        ('{"missing":{"exists":false}}', True),
        ('{"missing":null}', False),
        ('{"missing":{"ne":1}}', True),
        ('{"missing":{"ne":null}}', True),
        ('{"missing":{"nin":[1]}}', True),
        ('{"missing":{"in":[null]}}', False),
        ('{"missing":{"lt":1}}', False),
        ('{"missing":{"prefix":""}}', False),
        # combined
        ('{"and":[{"status":"OPEN"},{"amount":1.1}]}', True),
        ('{"and":[{"status":"OPEN"},{"amount":2}]}', False),
        ('{"or":[{"status":"CLOSED"},{"amount":1.1}]}', True),
        ('{"or":[{"status":"CLOSED"},{"amount":2}]}', False),
        ('{"not":{"status":"OPEN"}}', False),
        ('{"not":{"status":"OPEN","amount":2}}', True),
        ('{"not":{"amount":"1.1"}}', True),
        ('{"status":"OPEN","or":[{"amount":2},{"not":{"missing":1}}]}', True),
        ('{"or":[{"status":"OPEN","amount":2},{"status":"CLOSED"}]}', False),
    ],
)
def test_an_expression_holds_for_what_it_says(expression: str, *, expected: bool) -> None:
    assert lets_through(expression, DATA) is expected


NUMBERS = [
    ("1.10", "1.1", True),
    ("-0", "0", True),
    ("-0.0", "0", True),
    ("0e99999999999999999999999999", "0", True),
    ("1e2", "100", True),
    ("0.1", "0.1000000000000000055511151231257827", False),
    ("1" + "0" * 5000, "1e5000", True),
    ("1" * 5000, "1" * 5000, True),
    ("1" * 5000, "1" * 4999 + "2", False),
    ("1.0" + "0" * 5000, "1", True),
    ("1e1000000", "1e1000000", True),
    ("1e99999999999999999999999999", "1e1000000", False),
    ("1e-99999999999999999999999999", "0", False),
]


@pytest.mark.parametrize(("data", "operand", "is_same"), NUMBERS, ids=lambda value: str(value)[:12])
def test_numbers_are_compared_exactly_whatever_their_size(data: str, operand: str, *, is_same: bool) -> None:
    assert lets_through(f'{{"n":{operand}}}', f'{{"n":{data}}}') is is_same
    assert lets_through(f'{{"n":{{"in":["",{operand}]}}}}', f'{{"n":{data}}}') is is_same
    assert lets_through(f'{{"n":{{"lte":{operand},"gte":{operand}}}}}', f'{{"n":{data}}}') is is_same


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("digits", ["1", "0.001", "12345.678"])
def test_exponents_past_all_bounds_still_order_right(sign: str, digits: str) -> None:
    huge, tiny = (f'{{"n":{sign}{digits}e{exponent}{"9" * 30}}}' for exponent in ("", "-"))
    away, toward = ("lt", "gt") if sign else ("gt", "lt")
    assert lets_through(f'{{"n":{{"{away}":{sign}1e1000000}}}}', huge)
    assert lets_through(f'{{"n":{{"{toward}":{sign}1e-1000000,"{away}":0}}}}', tiny)


def test_the_page_on_filters_is_true() -> None:
    page = (Path(__file__).parents[1] / "docs" / "filters.md").read_text("utf-8")
    (data,) = re.findall(r"```json\n(.+?)\n```", page, re.DOTALL)
    rows = re.findall(r"^\| `(\{.+\})` \| (yes|no)\b", page, re.MULTILINE)
    assert len(rows) > 10
    for expression, answer in rows:
        assert lets_through(expression, data) is (answer == "yes"), expression


def test_of_equal_names_in_data_the_last_counts() -> None:
    assert lets_through('{"a":2}', '{"a":1,"a":2}')


def test_a_deep_document_is_read() -> None:
    deep = '{"a":' * 500 + "1" + "}" * 500
    assert lets_through('{"a.a.a":{"exists":true}}', deep)


def test_data_is_parsed_when_first_asked_and_once() -> None:
    document = Document(b"this is not JSON, and nobody looks")
    assert holds(parse("{}"), document)
    document = Document(b'{"a":[]}')
    assert document.value is document.value


# --- what is refused -------------------------------------------------------------------------------------------------

DEEPEST = '{"not":' * (DEPTH_MAX - 1) + '{"a":1}' + "}" * (DEPTH_MAX - 1)


@pytest.mark.parametrize(
    ("expression", "position", "says"),
    [
        ("[]", "filter", "expected an object"),
        ('"status"', "filter", "expected an object"),
        ("5", "filter", "expected an object"),
        ("{", "filter", "ends too early"),
        ('{"a":NaN}', "filter", "invalid"),
        ('{"a":"\\ud800"}', "filter", "surrogate"),
        ('{"a":[1,2]}', "filter.a", "use `in`"),
        ('{"a":{}}', "filter.a", "expected an operator"),
        ('{"a":{"b":1}}', "filter.a.b", "a path goes deeper by a dot: a.b"),
        ('{"a":{"EQ":1}}', "filter.a.EQ", "no operator"),
        ('{"a":{"$gt":1}}', "filter.a.$gt", "no operator"),
        ('{"a":{"eq":{}}}', "filter.a.eq", "expected a string"),
        ('{"a":{"eq":[]}}', "filter.a.eq", "expected a string"),
        ('{"a":{"in":1}}', "filter.a.in", "expected a list"),
        ('{"a":{"in":[]}}', "filter.a.in", "expected a list"),
        ('{"a":{"nin":[1,[2]]}}', "filter.a.nin[1]", "expected a string"),
        ('{"a":{"exists":1}}', "filter.a.exists", "true or false"),
        ('{"a":{"exists":null}}', "filter.a.exists", "true or false"),
        ('{"a":{"prefix":1}}', "filter.a.prefix", "a string"),
        ('{"a":{"lt":true}}', "filter.a.lt", "a number or a string"),
        ('{"a":{"gte":null}}', "filter.a.gte", "a number or a string"),
        ('{"a":{"gte":[1]}}', "filter.a.gte", "a number or a string"),
        ('{"a.b":{"gte":{}}}', "filter.a.b.gte", "a number or a string"),
        ('{"":1}', "filter.", "single dots"),
        ('{"a..b":1}', "filter.a..b", "single dots"),
        ('{".a":1}', "filter..a", "single dots"),
        ('{"a.":1}', "filter.a.", "single dots"),
        ('{"a":1,"a":2}', "filter.a", "twice"),
        ('{"a":{"gt":1,"gt":2}}', "filter.a.gt", "twice"),
        ('{"and":{"a":1}}', "filter.and", "expected a list"),
        ('{"and":[]}', "filter.and", "expected a list"),
        ('{"or":[{"a":1},5]}', "filter.or[1]", "expected an object"),
        ('{"or":[{"a":1},{"b":{"gt":1,"nope":2}}]}', "filter.or[1].b.nope", "no operator"),
        ('{"or":[{"a":1},{}]}', "filter.or[1]", "at least one path"),
        ('{"not":[{"a":1}]}', "filter.not", "expected an object"),
        ('{"not":{}}', "filter.not", "at least one path"),
        (f'{{"not":{DEEPEST}}}', "filter" + ".not" * DEPTH_MAX + ".a", "nested too deeply"),
        ('{"a":1e1000001}', "filter.a", "between"),
        ('{"a":{"in":[1e-1000001]}}', "filter.a.in[0]", "between"),
        ('{"a":1e99999999999999999999}', "filter.a", "between"),
    ],
)
def test_what_is_wrong_is_refused_by_its_position(expression: str, position: str, says: str) -> None:
    with pytest.raises(Invalid, match=says) as caught:
        compacted(expression.encode())
    assert [error.field for error in caught.value.fields] == [position]


def test_as_many_nodes_as_may_be_are_taken_and_no_more() -> None:
    def said(tests: int) -> bytes:
        return json.dumps({"or": [{"a": {"gt": index, "lt": index + 1}} for index in range(tests // 2)]}).encode()

    compacted(json.dumps({f"a{index}": 1 for index in range(NODES_MAX)}).encode())
    compacted(said(NODES_MAX - 2))
    for refused in (said(NODES_MAX), json.dumps({f"a{index}": 1 for index in range(NODES_MAX + 1)}).encode()):
        with pytest.raises(Invalid, match="one too many"):
            compacted(refused)


def test_depth_values_and_bytes_have_bounds() -> None:
    compacted(DEEPEST.encode())
    half = list(range(VALUES_MAX // 2))
    compacted(json.dumps({"a": {"in": half}, "b": {"nin": half}}).encode())
    with pytest.raises(Invalid, match="values are taken"):
        compacted(json.dumps({"a": {"in": half}, "b": {"nin": [*half, 1]}}).encode())
    compacted(b'{"a":"%b"}' % (b"x" * (BYTES_MAX - 8)))
    with pytest.raises(Invalid, match="bytes"):
        compacted(b'{"a":"%b"}' % (b"x" * (BYTES_MAX - 7)))


def test_a_filter_is_kept_as_it_was_given_but_for_white_space() -> None:
    assert compacted(b' { "a" : { "gte" : 1.10 } , "b" : "\\u0041 b" } ') == '{"a":{"gte":1.10},"b":"\\u0041 b"}'


# --- against a slow reference ----------------------------------------------------------------------------------------

SCALARS = st.sampled_from(
    [
        *("null", "true", "false", '""', '"a"', '"ab"', '"b"', '"1"'),
        *("0", "-0.0", "1", "1.0", "1.10", "1.1", "11e-1", "0.1", "1e-1", "-1"),
        *("9007199254740992", "9007199254740993", "9007199254740993.0", "90071992547409930e-1"),
    ]
)
NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(".".join)


def _object(members: dict[str, str]) -> str:
    return "{" + ",".join(f'"{name}":{value}' for name, value in members.items()) + "}"


def _list(items: list[str]) -> str:
    return "[" + ",".join(items) + "]"


DATA_TEXTS = st.dictionaries(
    NAMES,
    st.recursive(
        SCALARS,
        lambda inner: st.dictionaries(NAMES, inner, max_size=3).map(_object) | st.lists(inner, max_size=2).map(_list),
        max_leaves=6,
    ),
    max_size=3,
).map(_object)

ORDERED = SCALARS.filter(lambda text: text not in {"null", "true", "false"})
TESTS = st.one_of(
    SCALARS,
    st.tuples(st.sampled_from(["eq", "ne"]), SCALARS).map(lambda pair: _object(dict([pair]))),
    st.tuples(st.sampled_from(["lt", "lte", "gt", "gte"]), ORDERED).map(lambda pair: _object(dict([pair]))),
    st.tuples(st.sampled_from(["in", "nin"]), st.lists(SCALARS, min_size=1, max_size=3).map(_list)).map(
        lambda pair: _object(dict([pair]))
    ),
    st.sampled_from(['{"exists":true}', '{"exists":false}', '{"prefix":"a"}', '{"prefix":""}', '{"gte":0,"lt":1.1}']),
)
PLAIN = st.dictionaries(PATHS, TESTS, min_size=1, max_size=2).map(_object)


def _combined(inner: st.SearchStrategy[str], name: str) -> st.SearchStrategy[str]:
    return st.lists(inner, min_size=1, max_size=3).map(lambda parts: _object({name: _list(parts)}))


def _level(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        inner, _combined(inner, "and"), _combined(inner, "or"), inner.map(lambda part: _object({"not": part}))
    )


EXPRESSIONS = _level(_level(PLAIN))


def _exact(text: str) -> Any:
    return json.loads(text, parse_float=Fraction, parse_int=Fraction)


def _paths(value: Any, prefix: str = "") -> dict[str, Any]:
    """Every path that leads to something, written out."""
    found = {}
    for name, inner in value.items():
        found[prefix + name] = inner
        if isinstance(inner, dict):
            found |= _paths(inner, f"{prefix}{name}.")
    return found


def _types_agree(one: Any, other: Any) -> bool:
    return type(one) is type(other) and not isinstance(one, dict | list)


def reference(expression: dict[str, Any], paths: dict[str, Any]) -> bool:
    """What the contract says, word by word, over data whose every path is written out."""
    return all(_member_holds(name, said, paths) for name, said in expression.items())


def _member_holds(name: str, said: Any, paths: dict[str, Any]) -> bool:
    if name == "and":
        return not [part for part in said if not reference(part, paths)]
    if name == "or":
        return bool([part for part in said if reference(part, paths)])
    if name == "not":
        return not reference(said, paths)
    questions = said if isinstance(said, dict) else {"eq": said}
    return all(_question_holds(operator, operand, name, paths) for operator, operand in questions.items())


def _question_holds(operator: str, operand: Any, path: str, paths: dict[str, Any]) -> bool:
    if operator == "exists":
        return (path in paths) is operand
    if path not in paths:
        return operator in {"ne", "nin"}
    value = paths[path]
    if operator in {"in", "nin"}:
        answers = {bool(value == each) for each in operand if _types_agree(value, each)}
        return True in answers if operator == "in" else answers == {False}
    if not _types_agree(value, operand):
        return False
    return bool(
        {
            "eq": lambda: value == operand,
            "ne": lambda: value != operand,
            "lt": lambda: value < operand,
            "lte": lambda: value <= operand,
            "gt": lambda: value > operand,
            "gte": lambda: value >= operand,
            "prefix": lambda: value[: len(operand)] == operand,
        }[operator]()
    )


@given(EXPRESSIONS, DATA_TEXTS)
@settings(max_examples=1500, deadline=None)
def test_it_agrees_with_a_slow_reference(expression: str, data: str) -> None:
    assert lets_through(expression, data) == reference(_exact(expression), _paths(_exact(data)))


@given(EXPRESSIONS, DATA_TEXTS)
@settings(max_examples=200, deadline=None)
def test_not_is_the_opposite_and_double_not_nothing(expression: str, data: str) -> None:
    once = lets_through(f'{{"not":{expression}}}', data)
    assert once is not lets_through(expression, data)
    assert lets_through(f'{{"not":{{"not":{expression}}}}}', data) is not once


@given(st.text(alphabet='{}[]",:.abeqnotr01-', max_size=60))
@settings(max_examples=500, deadline=None)
def test_any_text_is_taken_or_refused_and_nothing_else(text: str) -> None:
    with suppress(Invalid):
        holds(parse(compacted(text.encode())), Document(DATA.encode()))
