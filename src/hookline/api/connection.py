"""A connection to our API: uvicorn's HTTP, with bounds on what a stranger may send before anyone has looked at it.

Bodies are bounded where they are read (`reading`); a request's head is bounded here, in bytes and in time.
"""

import asyncio
import logging
from collections.abc import Sequence
from secrets import token_hex
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from hookline.api import answers, problem

log = logging.getLogger("hookline.api")

HEAD_BYTES_MAX: Final = 32 * 1024
"""Of names and values: four times what common proxies send at most."""
HEAD_SECONDS_MAX: Final = 10.0
"""From a request's first byte to the end of its head: as long as a body may take."""
FIRST_BYTE_SECONDS_MAX: Final = 75.0
"""From connecting to the first byte: proxies connect ahead, and keep what they have for a minute."""
CONNECTIONS_MAX: Final = 1_024
"""At once. Without an end, whoever opens them and says nothing takes the descriptors that attempts need."""
FRAMING_BYTES_MAX: Final = 128 * 1024
"""Received in a row that were no body and completed no head: the parser keeps a header without end until it ends."""


UNREADABLE: Final = (
    "This is no request of HTTP/1.1 that can be read. Look at its first line, for control characters in its headers, "
    f"and whether these are at most {HEAD_BYTES_MAX // 1024} KiB."
)
PATH_SHOWN_MAX: Final = 2048
"""Of a refused request's path, in bytes: what is no request may be anything."""


class HeadTooLarge(Exception):
    """The head is over `HEAD_BYTES_MAX`; httptools turns this into a parser error, uvicorn that into a 400."""


class HttpConnection(HttpToolsProtocol):
    """One connection. Costs a request next to nothing unless its head comes in parts."""

    _timer: asyncio.TimerHandle | None = None
    _framing_bytes = 0
    _is_in_head = True
    _has_begun = False
    """Whether a byte of the head being waited for has come."""
    _owes_refusal = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._one_write = _OneWrite(transport)
        super().connection_made(self._one_write)  # type: ignore[arg-type]
        if len(self.connections) > CONNECTIONS_MAX:
            transport.abort()
        else:
            self._timer = self.loop.call_later(FIRST_BYTE_SECONDS_MAX, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        is_continued = self._has_begun
        self._framing_bytes += len(data)
        super().data_received(data)
        if self._framing_bytes > FRAMING_BYTES_MAX:
            self.transport.abort()
        elif self._has_begun and not is_continued:
            self._stop_timer()
            self._timer = self.loop.call_later(HEAD_SECONDS_MAX, self.transport.close)
        elif self._timer is None and not self._is_in_head and self.cycle.response_complete:
            # The rest of a body that nobody wants any more: uvicorn has just taken the connection for a busy one.
            self._timer = self.loop.call_later(FIRST_BYTE_SECONDS_MAX, self.transport.close)

    def on_message_begin(self) -> None:
        self._is_in_head = self._has_begun = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        # Once, and not header by header, which cost a request 4 µs: an unfinished head is bounded by its framing.
        if len(self.url) + sum([len(name) + len(value) for name, value in self.headers]) > HEAD_BYTES_MAX:
            raise HeadTooLarge
        super().on_headers_complete()
        self._is_in_head = self._has_begun = False
        self._framing_bytes = 0
        self._stop_timer()

    def on_body(self, body: bytes) -> None:
        self._framing_bytes = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        self._one_write.flush()
        super().on_response_complete()
        if self._owes_refusal and not self._is_serving():
            self._refuse()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002, uvicorn's own words
        """Answer what the application never sees as the application would, and in its turn.

        Sent at once, it would be taken for the answer to the request before, which may have been a publish.
        """
        if self._is_serving():
            self._owes_refusal = True
        else:
            self._refuse()

    def _is_serving(self) -> bool:
        """Whether a request that came whole has no answer yet."""
        cycle: Any = self.cycle  # None before the first request, whatever uvicorn says of its type
        return bool(self.pipeline) or (cycle is not None and not cycle.response_complete and not cycle.more_body)

    def _refuse(self) -> None:
        if self.transport.is_closing():
            return
        request_id = token_hex(8)
        log.warning("request %s was no HTTP/1.1 that can be read: answered 400", request_id)
        self.transport.write(_refusal(self._shown_path(), request_id, self.server_state.default_headers))
        self.transport.close()

    def _shown_path(self) -> str:
        path: bytes = getattr(self, "url", b"").partition(b"?")[0]  # there is none before a request begins
        return path[:PATH_SHOWN_MAX].decode("latin-1") if path.startswith(b"/") else ""

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _refusal(path: str, request_id: str, default_headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    response = problem.problem(problem.INVALID, UNREADABLE, path)
    headers = [
        *default_headers,
        *response.raw_headers,
        (b"x-request-id", request_id.encode()),
        *answers.ALWAYS,
        (b"connection", b"close"),
    ]
    head = b"".join([b"%b: %b\r\n" % each for each in headers])
    return b"HTTP/1.1 400 Bad Request\r\n%b\r\n%b" % (head, bytes(response.body))


class _OneWrite:
    """A transport that sends a response head together with what follows it: one system call and one packet for two.

    uvicorn writes a head as soon as it has it and the body right after; everything else passes through.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None
        self.is_closing = transport.is_closing  # asked several times a request
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if self._head is not None:
            head, self._head = self._head, None
            self._transport.write(head + data)
        elif data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n") and data[9:10] != b"1":
            self._head = data
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Send a head that nothing follows, as in an answer to HEAD."""
        if self._head is not None:
            self.write(b"")

    def close(self) -> None:
        self.flush()
        self._transport.close()
