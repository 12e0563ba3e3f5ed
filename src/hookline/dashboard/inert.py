"""Heads and bodies of strangers as text that cannot do anything, not even turn the text around it. Pure.

A template escapes what this returns. Here control characters become visible ones, and JSON is laid out for reading
from its own bytes, so that no number changes on the way.
"""

import re
import shlex
from typing import Final, NamedTuple

import msgspec

BODY_BYTES_SHOWN: Final = 16 * 1024
LAID_OUT_BYTES_MAX: Final = 64 * 1024
"""Of a body, and four times that of what becomes of it: indentation multiplies what is nested deeply."""
_CONTROLS: Final = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n"} | {127: "\u2421"}
_TURNING: Final = dict.fromkeys((*range(8234, 8239), *range(8294, 8298), 8206, 8207, 1564), "�")
"""Characters that change the direction of what follows: they could make a head read as another."""
_VISIBLE: Final = _CONTROLS | _TURNING
_MEMBER: Final = re.compile(r'(\s*)("(?:[^"\\]|\\.)*":)(.*)', re.DOTALL)
_NOT_COPIED: Final = frozenset({"host", "content-length", "accept-encoding", "connection", "user-agent"})
"""Headers that curl makes by itself."""


class Head(NamedTuple):
    """A message's head: its first line, and fields by name and value."""

    first: str
    fields: list[tuple[str, str]]


class Line(NamedTuple):
    """A line of laid-out JSON: white space, the member's name if it begins with one, and the rest."""

    indent: str
    key: str
    rest: str


class Body(NamedTuple):
    """A body as shown."""

    lines: list[Line]
    raw: str
    size: int
    is_json: bool
    is_cut: bool


def text(raw: bytes) -> str:
    """Return bytes as text that stays where it is put."""
    return raw.decode("utf-8", "replace").replace("\r\n", "\n").translate(_VISIBLE)


def head(raw: bytes | None) -> Head | None:
    """Return a head by its parts; None where there is none."""
    if not raw:
        return None
    first, *lines = text(raw).rstrip("\n").split("\n")
    fields = [(name, value.strip()) for name, colon, value in (line.partition(":") for line in lines) if name or colon]
    return Head(first, fields)


def body(raw: bytes | None, *, is_whole: bool = False) -> Body:
    """Return a body: as JSON laid out where it is JSON, and always byte for byte; at most 16 KiB unless `is_whole`."""
    content = raw or b""
    is_cut = len(content) > BODY_BYTES_SHOWN and not is_whole
    shown = content[:BODY_BYTES_SHOWN].decode("utf-8", "ignore").encode() if is_cut else content
    laid_out = None if is_cut else _laid_out(shown)
    return Body(
        lines=[_line(line) for line in text(laid_out if laid_out is not None else shown).split("\n")],
        raw=text(shown),
        size=len(content),
        is_json=laid_out is not None,
        is_cut=is_cut,
    )


def curl(request_head: bytes | None, sent: bytes | None, scheme: str) -> str | None:
    """Return the request as a command for a POSIX shell; None where no request was made.

    Hidden credentials read `hidden` here too. The signature is of then, so a receiver that checks its age refuses it.
    """
    if not request_head or sent is None:
        return None
    first, *lines = request_head.decode("ascii", "replace").split("\r\n")
    method, _, rest = first.partition(" ")
    target = rest.rpartition(" ")[0]
    fields = [line for line in lines if line]
    host = next((line[5:].strip() for line in fields if line.lower().startswith("host:")), "")
    headers = [line for line in fields if line.partition(":")[0].lower() not in _NOT_COPIED]
    words = ["curl", "-i", "-X", method, f"{scheme}://{host}{target}"]
    for line in headers:
        words += ["-H", line]
    return shlex.join([*words, "--data-raw", sent.decode("utf-8", "replace")])


def _laid_out(content: bytes) -> bytes | None:
    if not content or len(content) > LAID_OUT_BYTES_MAX:
        return None
    try:
        content.decode()
        laid_out = msgspec.json.format(content, indent=2)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return laid_out if len(laid_out) <= 4 * LAID_OUT_BYTES_MAX else None


def _line(line: str) -> Line:
    found = _MEMBER.fullmatch(line)
    return Line(found[1], found[2], found[3]) if found else Line("", "", line)
