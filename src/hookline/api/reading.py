"""What a request says: body, path, query and principal, parsed at the edge into values that cannot be wrong.

A body is bounded in bytes and in time before anything looks at it, and only then decoded. An id in a path that cannot
be one answers as an id that nobody has.
"""

import asyncio
import re
import unicodedata
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Annotated, Any, Final, NoReturn, TypeVar, cast, get_args
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.types import Scope

from hookline.authentication import Principal
from hookline.errors import FieldError, Invalid, NotFound, RequestTimeout, TooLarge, UnsupportedMediaType
from hookline.model import Action, Change, Role

BODY_BYTES_MAX: Final = 1024 * 1024
"""Of every request but a batch (contract, section 6)."""
BODY_SECONDS_MAX: Final = 10.0
"""A body is small and its sender near; whoever drips holds a connection and nothing else for so long."""
DISCARD_BYTES_MAX: Final = 32 * 1024 * 1024
"""Of a body over its limit so much is read and dropped, so that the sender is there to read the 413."""
FIELDS_MAX: Final = 100
"""Of a form; what is asked for are five."""
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
LIST_LIMIT: Final = 50
LIST_LIMIT_MAX: Final = 200
ID_MAX: Final = 2**53 - 1
"""The largest id of any kind: JSON readers keep it exact."""
TEXT_LENGTH_MAX: Final = 200
"""Of names that people give to companies and tokens."""

NO_SUCH_ID: Final = "There is nothing under this id, or it is not this token's to see. Check the id and the token."
"""One text for every id that leads nowhere: foreign, unknown, not a number."""

Body = TypeVar("Body")
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""An instant of a body: RFC 3339 with any offset; `milliseconds` makes it ours."""

_TOO_SLOW: Final = "the body came too slowly"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)
_TYPES: Final = re.compile(r"`(\w+(?: \| \w+)*)`")
_IN_WORDS: Final = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "datetime": "an instant (RFC 3339)",
    "null": "null",
}
"""How the decoder's types read to somebody who writes JSON."""
_WHERE: Final = re.compile(r"^(?P<what>.*) - at `\$\.?(?P<field>.*)`$", re.DOTALL)
_MISSING: Final = re.compile(r"^Object missing required field `(?P<field>[^`]*)`$")
_NO_INSTANT: Final = ("Invalid RFC3339 encoded datetime", "Expected `datetime` with a timezone component")
_NO_CHOICE: Final = "Invalid enum value"
"""How the decoder begins where it does not say what would have been right."""
_AN_INSTANT: Final = "expected an instant with an offset (RFC 3339), as 2026-11-23T08:00:00Z."


class Disconnected(Exception):
    """The caller has gone; there is nobody to answer."""


# --- the principal ---------------------------------------------------------------------------------------------------


def principal(request: Request) -> Principal:
    """Return who asks; only on routes that need a token."""
    found: Principal = request.scope["principal"]
    return found


def change_of(request: Request, action: Action, target: int | str | None, company_id: int | None = None) -> Change:
    """Say for the audit what this request is about to do."""
    name = None if target is None else str(target)
    return Change(actor=principal(request).actor, action=action, target=name, company_id=company_id)


def company_of_list(request: Request) -> int | None:
    """Return the company whose rows to list: the token's, or for an operator `?companyId=`; None: of all companies."""
    who = principal(request)
    return who.company_id if who.role is not Role.OPERATOR else query_int(request, "companyId", None, 1, ID_MAX)


def company_of_post(request: Request) -> int:
    """Return the company to act for: the token's, or the one an operator must name by `?companyId=`."""
    company_id = company_of_list(request)
    if company_id is None:
        raise Invalid.field("companyId", "an operator names the company: add `?companyId=<id>` to the path.")
    return company_id


def may_see(request: Request, company_id: int) -> bool:
    """Tell whether what belongs to `company_id` exists for this request; an operator's `?companyId=` narrows too."""
    return company_of_list(request) in {None, company_id}


# --- path and query --------------------------------------------------------------------------------------------------


def shown_path(scope: Scope) -> str:
    """Return the path as the caller wrote it, still percent-encoded: what a problem's `instance` shows."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.decode("latin-1")


def path_text(request: Request, name: str) -> str:
    """Return one segment of the path, as it stands there."""
    text: str = request.scope["path_params"][name]
    return text


def path_id(request: Request, name: str = "id") -> int:
    """Return an id of the path; raise `NotFound` where it is no id at all, just as where nobody has it."""
    text = path_text(request, name)
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and 1 <= int(text) <= ID_MAX):
        raise no_such_id()
    return int(text)


def no_such_id() -> NotFound:
    """Make the one refusal for ids that lead nowhere."""
    return NotFound(NO_SUCH_ID)


def query_text(request: Request, name: str) -> str | None:
    """Return a query parameter; None where it is absent or empty."""
    return request.query_params.get(name) or None


def query_word(request: Request, name: str) -> str | None:
    """Return a query parameter that is one of a few words; None where it is absent. The empty word is none of them."""
    return request.query_params.get(name)


Default = TypeVar("Default", int, None)


def query_int(request: Request, name: str, default: Default, lowest: int, highest: int) -> int | Default:
    """Return a whole number of the query; raise `Invalid` where it is none, or outside `lowest` to `highest`."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and lowest <= int(text) <= highest):
        raise Invalid.field(name, f"expected a whole number from {lowest} to {highest}.")
    return int(text)


def query_boolean(request: Request, name: str) -> bool:
    """Return `true` or `false` of the query, absent as false."""
    text = request.query_params.get(name)
    if text not in {None, "true", "false"}:
        raise Invalid.field(name, "expected true or false.")
    return text == "true"


def query_instant(request: Request, name: str) -> int | None:
    """Return an RFC 3339 instant of the query in milliseconds; a `+` that arrived as a space is understood."""
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        return milliseconds(msgspec.convert(text.replace(" ", "+"), Instant), name)
    except msgspec.ValidationError:
        raise Invalid.field(name, _AN_INSTANT) from None


def list_limit(request: Request) -> int:
    """Return `?limit=`: 50 where absent, at most 200."""
    return min(query_int(request, "limit", LIST_LIMIT, 1, 2**31 - 1), LIST_LIMIT_MAX)


def list_after_id(request: Request) -> int:
    """Return `?cursor=` of a list that goes by id."""
    return query_int(request, "cursor", 0, 0, ID_MAX)


# --- the body --------------------------------------------------------------------------------------------------------


async def read_json(request: Request, kind: type[Body], *, may_be_empty: bool = False) -> Body:
    """Read a JSON body of at most 1 MiB as `kind`; unknown members are ignored, the last of equal names counts.

    With `may_be_empty` no body at all counts as `{}`.
    """
    body = await read_body(request, BODY_BYTES_MAX)
    return decode(b"{}" if may_be_empty and not body else body, kind)


def decode(body: bytes, kind: type[Body]) -> Body:
    """Decode JSON as `kind`; raise `Invalid` naming the member that is wrong."""
    try:
        body.decode()  # msgspec leaves bytes that it takes over raw unchecked
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        _refuse(str(error), kind)
    except UnicodeDecodeError as error:
        raise Invalid(f"The body is not UTF-8: byte {error.start} cannot stand there.") from None
    except RecursionError:
        raise Invalid("The body is nested too deeply.") from None
    except msgspec.DecodeError as error:
        raise Invalid(f"The body is not JSON: {error}.") from None


async def read_form(request: Request) -> dict[str, str]:
    """Read a form as OAuth 2.0 sends it (RFC 6749, appendix B): empty values count as absent.

    Raises `Invalid` where a name is repeated (RFC 6749, 3.2) or the text is no such form.
    """
    body = await read_body(request, BODY_BYTES_MAX, FORM)
    try:
        pairs = parse_qsl(body.decode("ascii"), errors="strict", max_num_fields=FIELDS_MAX)
    except ValueError as error:
        raise Invalid(f"The body is no form ({FORM}).") from error
    form = dict(pairs)
    if len(form) < len(pairs):
        raise Invalid("The form names something twice; each parameter is sent once.")
    return form


async def read_body(request: Request, bytes_max: int, media_type: str = JSON) -> bytes:
    """Read a body whole, within 10 s.

    Raises `UnsupportedMediaType` where the headers say that it is something else (no content type at all counts as
    what is expected), `TooLarge` over `bytes_max`, `RequestTimeout` where it takes longer.
    """
    expects_continue = _check_headers(request, bytes_max, media_type)
    # What `asyncio.timeout` does, for 2 µs instead of 6: this is the path of every publish.
    loop = asyncio.get_running_loop()
    task = cast("asyncio.Task[Any]", asyncio.current_task(loop))
    timer = loop.call_later(BODY_SECONDS_MAX, task.cancel, _TOO_SLOW)
    try:
        return await _read(request, bytes_max, bytes_max if expects_continue else DISCARD_BYTES_MAX)
    except asyncio.CancelledError as error:
        if error.args != (_TOO_SLOW,):
            raise
        task.uncancel()
        raise RequestTimeout(f"The body did not arrive within {BODY_SECONDS_MAX:.0f} s.") from None
    finally:
        timer.cancel()


async def _read(request: Request, bytes_max: int, discard_max: int) -> bytes:
    """Read to the end; past `bytes_max` nothing is kept, and past `discard_max` not even looked at."""
    chunks: list[bytes] = []
    size, more = 0, True
    while more and size <= max(bytes_max, discard_max):
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunk = message.get("body", b"")
        size += len(chunk)
        more = message.get("more_body", False)
        if size <= bytes_max:
            chunks.append(chunk)
        else:
            chunks.clear()
    if size > bytes_max:
        raise _too_large(bytes_max)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _check_headers(request: Request, bytes_max: int, media_type: str) -> bool:
    """Refuse what the headers already give away; return whether the caller waits for `100 Continue`."""
    expects_continue, size = False, 0
    for name, value in request.scope["headers"]:
        if name == b"content-type":
            if not (value == b"application/json" and media_type is JSON) and not _is_of(media_type, value):
                raise UnsupportedMediaType(
                    f"Send the body with `Content-Type: {media_type}` (found {value[:100].decode('latin-1')!r})."
                )
        elif name == b"content-encoding" and value.lower() != b"identity":
            raise UnsupportedMediaType("Send the body as it is: no Content-Encoding is understood.")
        elif name == b"content-length":
            size = int(value)
        elif name == b"expect":
            expects_continue = True
    if size > DISCARD_BYTES_MAX or (size > bytes_max and expects_continue):
        raise _too_large(bytes_max)
    return expects_continue


def _is_of(expected: str, content_type: bytes) -> bool:
    media_type = content_type.partition(b";")[0].strip().lower()
    is_some_json = media_type.startswith(b"application/") and media_type.endswith(b"+json")
    return media_type == expected.encode() or (expected == JSON and is_some_json)


def _too_large(bytes_max: int) -> TooLarge:
    return TooLarge(f"The body is over {bytes_max:,} bytes, the most that is read here.")


def _refuse(message: str, kind: object) -> NoReturn:
    where = _WHERE.match(message)
    what, place = (where["what"], where["field"]) if where else (message, "")
    if what in _NO_INSTANT:
        raise Invalid.field(place, _AN_INSTANT)
    if what.startswith(_NO_CHOICE) and (choices := _choices(kind, place)):
        raise Invalid.field(place, f"expected {' or '.join(choices)}.")
    what = _TYPES.sub(_in_words, what)
    missing = _MISSING.match(what)
    if missing:
        field = f"{place}.{missing['field']}" if place else missing["field"]
        raise Invalid.field(field, "is required.")
    if place:
        raise Invalid.field(place, f"{what[:1].lower()}{what[1:]}.")
    raise Invalid(f"The body: {what[:1].lower()}{what[1:]}.")


def _choices(kind: Any, field: str) -> list[str]:
    """Return what a member of the body `kind` may be; nothing where it is not one of a few words, or lies deeper."""
    for member in msgspec.structs.fields(kind):
        if member.encode_name == field:
            return _words(member.type)
    return []


def _words(kind: Any) -> list[str]:
    if isinstance(kind, str):  # within a Literal
        return [kind]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [str(member.value) for member in kind]
    return [word for part in get_args(kind) for word in _words(part)]


def _in_words(types: re.Match[str]) -> str:
    """Say `int | null` as a person would; a name that is no type stays as it is, between its backquotes."""
    names = types[1].split(" | ")
    return " or ".join(_IN_WORDS[name] for name in names) if _IN_WORDS.keys() >= set(names) else types[0]


# --- members of a body -----------------------------------------------------------------------------------------------


def milliseconds(moment: datetime, field: str) -> int:
    """Turn an aware instant into ours; raise `Invalid` outside the years 1970 to 9999."""
    if not _EPOCH <= moment <= _LATEST:
        raise Invalid.field(field, "expected an instant of the years 1970 to 9999.")
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def plain_text(text: str, field: str, length_max: int = TEXT_LENGTH_MAX) -> str:
    """Return text for people, trimmed; raise `Invalid` where it is empty, too long or holds control characters."""
    trimmed = text.strip()
    if not 1 <= len(trimmed) <= length_max:
        raise Invalid.field(field, f"expected 1 to {length_max} characters, found {len(trimmed)}.")
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise Invalid.field(field, "holds control characters, which no name needs.")
    return trimmed


def refuse_fields(fields: list[FieldError]) -> None:
    """Raise `Invalid` for all refused members at once; nothing where there are none."""
    if fields:
        raise Invalid("; ".join(f"{field}: {message}" for field, message in fields), fields)
