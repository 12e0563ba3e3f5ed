"""What is sent: data made compact once, and a body of one of four shapes made of its bytes.

Data is never re-serialised, for that would turn `1.10` into `1.1`: white space between tokens goes at publishing, and
from then on bodies are joined from raw bytes, so that every attempt sends the same ones.
"""

import re
from collections.abc import Callable
from itertools import accumulate
from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from hookline.clock import rfc3339
from hookline.model import PayloadVersion

DEPTH_MAX: Final = 512
"""Of arrays and objects in each other. The parser recurses and fails near 1,000, less what its caller's stack took."""

JSON: Final = "application/json"
CLOUDEVENTS: Final = "application/cloudevents+json"


class NotJson(ValueError):
    """Text that is no JSON as RFC 8259 defines it, or that no receiver could read; the message says where."""


# --- once, at publishing ---------------------------------------------------------------------------------------------


def compact(text: bytes) -> bytes:
    """Return the JSON value `text` without white space between its tokens, every other byte as it was.

    Numbers, escapes, the order of members and repeated ones stay. Raises `NotJson` on anything else than one JSON
    value in UTF-8: on a byte order mark, NaN, raw control characters, lone surrogates (escaped or not), or arrays and
    objects nested deeper than `DEPTH_MAX`.
    """
    try:
        text.decode()  # what follows copies the inside of strings unread
        if text.count(b"[") + text.count(b"{") > DEPTH_MAX:  # strings may hold some, so this only says where to look
            _check_depth(text)
        return msgspec.json.format(text, indent=-1)
    except UnicodeDecodeError as error:
        raise NotJson(f"this is not UTF-8: byte {error.start} {error.reason}") from error
    except msgspec.DecodeError as error:
        raise NotJson(_explained(str(error))) from error
    except RecursionError as error:
        raise NotJson(_TOO_DEEP) from error


_TOO_DEEP: Final = f"arrays and objects are nested deeper than {DEPTH_MAX}"
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKET: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEP: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def _check_depth(text: bytes) -> None:
    brackets = _STRING.sub(b"", text).translate(None, _NO_BRACKET)
    if max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > DEPTH_MAX:
        raise NotJson(_TOO_DEEP)


def _explained(message: str) -> str:
    if message.endswith("truncated"):  # also what the parser says of a high surrogate at the end of a string
        return "JSON is malformed: it ends too early, or an escaped surrogate lacks its other half"
    return message


class _Marked(Struct, rename="camel"):
    """The members of data that shapes care about; the last one counts where a name is repeated."""

    event_type: Raw | UnsetType = UNSET
    timestamp: Raw | UnsetType = UNSET
    request_token: Raw | UnsetType = UNSET


_read_marked: Final = msgspec.json.Decoder(_Marked).decode


def names_taken_by_v1(data: bytes) -> tuple[str, ...]:
    """Name the top-level members of compact `data`, an object, that the shape V1 writes itself, however escaped."""
    marked = _read_marked(data)
    if marked.event_type is UNSET and marked.timestamp is UNSET:
        return ()
    members = (("eventType", marked.event_type), ("timestamp", marked.timestamp))
    return tuple(name for name, value in members if value is not UNSET)


def request_token(data: bytes) -> bytes | None:
    """Return the member `requestToken` of compact `data`, an object, as written, quotes and escapes included.

    None where there is none or it is no string.
    """
    return _token(_read_marked(data))


def _token(marked: _Marked) -> bytes | None:
    value = marked.request_token
    return bytes(value) if isinstance(value, Raw) and bytes(value).startswith(b'"') else None


# --- at every attempt ------------------------------------------------------------------------------------------------


def body(
    shape: PayloadVersion, *, type_name: str, source: str | None, event_id: str, occurred_at: int, data: bytes
) -> bytes:
    """Return the body of a delivery: the same arguments give the same bytes.

    `data` is a compact JSON object; raises `NotJson` where it is not, for then it is not what was stored.
    """
    try:
        marked = _read_marked(data)
    except msgspec.DecodeError as error:
        raise NotJson(f"the data is damaged: {error}") from error
    match shape:
        case PayloadVersion.V1:
            members = data[1:-1]
            return b'{"eventType":%b,%b%b"timestamp":%b}' % (
                _string(type_name),
                members,
                b"," if members else b"",
                _instant(occurred_at),
            )
        case PayloadVersion.V2:
            return b"".join(
                (
                    b'{"specversion":"1.0","id":',
                    _string(event_id),
                    b',"source":',
                    _string(source or ""),
                    b',"type":',
                    _string(type_name),
                    b',"time":',
                    _instant(occurred_at),
                    b',"datacontenttype":"application/json"',
                    _subject(marked),
                    b',"data":',
                    data,
                    b"}",
                )
            )
        case PayloadVersion.STANDARD:
            return b'{"type":%b,"timestamp":%b,"data":%b}' % (_string(type_name), _instant(occurred_at), data)
        case PayloadVersion.RAW:
            return data


def media_type(shape: PayloadVersion, content_type: str | None) -> str:
    """Return the `Content-Type` of a shape; `content_type` is the subscription's policy."""
    return content_type or (CLOUDEVENTS if shape is PayloadVersion.V2 else JSON)


_string: Final[Callable[[str], bytes]] = msgspec.json.encode


def _instant(instant_ms: int) -> bytes:
    return b'"%b"' % rfc3339(instant_ms).encode()


def _subject(marked: _Marked) -> bytes:
    """Return the CloudEvents member `subject`; the specification (1.0, section 3.1) forbids an empty one."""
    token = _token(marked)
    return b',"subject":' + token if token and token != b'""' else b""
