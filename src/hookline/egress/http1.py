"""One HTTP/1.1 connection to a receiver: one request, one bounded answer, and whether it may be used again.

llhttp parses, behind checks of our own, because it also takes `RTSP/1.0 200` and status 999 and counts no lines. Never
sends a request twice, decompresses, follows or answers anything. Callbacks only: measured 20 microseconds of CPU per
request, where stream readers and writers take three times that.
"""

import asyncio
import ssl
from typing import Final, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from msgspec import Struct

from hookline.clock import Clock
from hookline.config import BODY_SECONDS
from hookline.egress.faults import CLOSED, CLOSED_MIDWAY, Fault, closed, malformed, unanswered

HEAD_BYTES_MAX: Final = 32 * 1024
LINE_BYTES_MAX: Final = 8 * 1024
FIELDS_MAX: Final = 100
"""What common servers and proxies accept; a receiver that needs more is no receiver."""
INTERIM_RESPONSES_MAX: Final = 8
"""Responses 1xx before the real one. We never ask for any."""
BODY_BYTES_MAX: Final = 16 * 1024
BODY_WIRE_BYTES_MAX: Final = 128 * 1024
"""Chunked framing included: 16 KiB in chunks of one byte is 96 KiB. More is framing for its own sake."""

_HEAD_END: Final = b"\r\n\r\n"
_VERSIONS: Final = (b"HTTP/1.1 ", b"HTTP/1.0 ")
_TAIL_BYTES: Final = 6


class Response(Struct, frozen=True):
    """A complete response head and the beginning of its body."""

    status: int
    head: bytes
    """Status line and header lines as received, CRLF between them."""
    body: bytes
    written_at: float
    """When the request was handed to the network, by the clock's monotonic seconds."""
    head_at: float
    """When the head was complete."""


class Malformed(ValueError):
    """What arrived is not an answer; the text completes "The answer was not valid HTTP: ..."."""


def status_of(head: bytes) -> int:
    """Return the status of a response head that ends in an empty line; raise `Malformed` where our own checks fail."""
    if len(head) > HEAD_BYTES_MAX:
        raise Malformed("its head is over 32 KiB")
    if not head.startswith(_VERSIONS):
        raise Malformed("it does not begin with HTTP/1.1 or HTTP/1.0")
    digits = head[9:12]
    if not digits.isdigit() or not 100 <= int(digits) <= 599 or head[12:13] not in {b" ", b"\r"}:
        raise Malformed("its status is no number from 100 to 599")
    if head.count(b"\r\n") > FIELDS_MAX + 2:  # the status line and the empty line end like a field
        raise Malformed(f"its head has more than {FIELDS_MAX} fields")
    if len(head) > LINE_BYTES_MAX and max(map(len, head.split(b"\r\n"))) > LINE_BYTES_MAX:
        raise Malformed("a line of its head is over 8 KiB")
    return int(digits)


class Connection(asyncio.Protocol):
    """A connection that carries one exchange at a time.

    `exchange` may be called while `is_idle`. Whoever called it closes the connection unless `is_idle` holds again
    after the answer.
    """

    def __init__(self, clock: Clock) -> None:
        self.opened_at: Final = clock.monotonic_seconds()
        self.is_idle = True
        """Whether another request may be written: open, and all that was sent so far is cleanly answered."""
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        self._early_end = CLOSED
        self._answer: asyncio.Future[Response | Fault] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timeout_seconds = 0.0
        self._written_at = 0.0
        self._begin_answer()

    def _begin_answer(self) -> None:
        self._pending: bytearray | None = None
        self._interim_responses = 0
        self._status = 0
        self._head = b""
        self._head_at = 0.0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._wire_bytes = 0
        self._tail = b""
        self._is_head_parsed = False
        self._is_complete = False
        self._is_chunked = False
        self._keeps_alive = False
        self._has_surplus = False

    def exchange(
        self, head: bytes, body: bytes, *, deadline: float, timeout_seconds: float
    ) -> asyncio.Future[Response | Fault]:
        """Write one request and return the future of its answer.

        `deadline` is the loop time by which the response head must be complete, `timeout_seconds` what the fault says.
        The future is never an exception; cancel it and `close` the connection.
        """
        self._answer = answer = self._loop.create_future()
        if self._transport is None or not self.is_idle:
            answer.set_result(self._early_end)
            return answer
        self.is_idle = False
        self._begin_answer()
        self._timeout_seconds = timeout_seconds
        self._timer = self._loop.call_at(deadline, self._end_wait)
        self._transport.writelines((head, body))
        self._written_at = self._clock.monotonic_seconds()
        return answer

    async def start_tls(self, trust: ssl.SSLContext, host: str) -> None:
        """Go on over TLS once the receiver has proved to be `host`; raise `OSError` where it does not."""
        if self._transport is None:
            raise ConnectionResetError
        transport = await self._loop.start_tls(self._transport, self, trust, server_hostname=host)
        if transport is None:
            raise ConnectionResetError
        self._transport = transport

    def close(self) -> None:
        """Drop the connection at once. Waits for no peer: one that never says goodbye would keep the descriptor."""
        self.is_idle = False
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self._early_end = malformed("it came before the request")
            self.close()  # or the answer that was forged would answer the next request
        elif self._head:
            self._receive_body(data)
        else:
            try:
                self._receive_head(data)
            except Malformed as error:
                self._fail(malformed(str(error)))

    def connection_lost(self, exception: Exception | None) -> None:
        self.is_idle = False
        self._transport = None
        if self._answer is None:
            self._early_end = closed(exception)
        if self._answer is None or self._answer.done():
            return
        if self._head:
            self._finish()
        elif self._pending or self._interim_responses:
            self._fail(CLOSED_MIDWAY)
        else:
            self._fail(closed(exception))

    # the head

    def _receive_head(self, data: bytes) -> None:
        received: bytes | bytearray = data
        searched = 0
        if self._pending is not None:
            searched = max(0, len(self._pending) - len(_HEAD_END) + 1)
            self._pending += data
            received = self._pending
        while (end := received.find(_HEAD_END, searched)) >= 0:
            end += len(_HEAD_END)
            head, rest = bytes(received[:end]), bytes(received[end:])
            self._pending = None
            if self._parse_head(head):
                self._begin_body(rest)
                return
            received, searched = rest, 0
        self._check_beginning(received, searched)
        if received and self._pending is None:
            self._pending = bytearray(received)

    def _parse_head(self, head: bytes) -> bool:
        """Take one head; tell whether it is the final one."""
        status = status_of(head)
        if status == 101:
            raise Malformed("it switches to another protocol (101)")
        self._is_head_parsed = False
        try:
            self._parser.feed_data(head)
        except (HttpParserError, HttpParserUpgrade) as error:
            raise Malformed(str(error) or "its head is broken") from error
        if not self._is_head_parsed:
            raise Malformed("its head is broken")
        if status >= 200:
            self._status = status
            self._head = head[: -len(_HEAD_END)]
            return True
        self._is_complete = False  # llhttp knows that 1xx has no body, whatever it announces (RFC 9110, 15.2)
        self._interim_responses += 1
        if self._interim_responses > INTERIM_RESPONSES_MAX:
            raise Malformed(f"it begins with more than {INTERIM_RESPONSES_MAX} interim responses")
        return False

    @staticmethod
    def _check_beginning(received: bytes | bytearray, searched: int) -> None:
        """Refuse early what can never become a head that we take."""
        if len(received) > HEAD_BYTES_MAX:
            raise Malformed("its head is over 32 KiB")
        beginning = bytes(received[: len(_VERSIONS[0])])
        if not any(version.startswith(beginning) for version in _VERSIONS):
            raise Malformed("it does not begin with HTTP/1.1 or HTTP/1.0")
        if received.find(b"\n\n", searched) >= 0:
            raise Malformed("its lines do not end in CR LF")

    # the body

    def _begin_body(self, rest: bytes) -> None:
        self._head_at = self._clock.monotonic_seconds()
        self._stop_timer()
        if rest:
            self._receive_body(rest)
        elif self._is_complete:
            self._finish()
        if self._answer is not None and not self._answer.done():
            self._timer = self._loop.call_later(BODY_SECONDS, self._finish)

    def _receive_body(self, data: bytes) -> None:
        self._wire_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._has_surplus = True
            self._finish()
            return
        if self._is_chunked:
            self._tail = (self._tail + data[-_TAIL_BYTES:])[-_TAIL_BYTES:]
        if self._is_complete or self._body_bytes >= BODY_BYTES_MAX or self._wire_bytes >= BODY_WIRE_BYTES_MAX:
            self._finish()

    def _finish(self) -> None:
        """Answer with the head and what there is of the body."""
        self._settle(
            Response(self._status, self._head, b"".join(self._body)[:BODY_BYTES_MAX], self._written_at, self._head_at)
        )
        if self._is_cleanly_ended():
            self.is_idle = True
        else:
            self.close()

    def _is_cleanly_ended(self) -> bool:
        return (
            self._is_complete
            and self._keeps_alive
            and self._head.startswith(_VERSIONS[0])
            and not self._has_surplus
            and self._has_used_all_bytes()
            and self._transport is not None
            and not self._transport.is_closing()
            and not self._transport.get_write_buffer_size()
        )

    def _has_used_all_bytes(self) -> bool:
        """Tell whether the body was all that came after the head: llhttp skips empty lines behind it without a word."""
        if self._is_chunked:
            return self._tail.endswith(_HEAD_END) and not self._tail.endswith(b"\r\n\r\n\r\n")
        return self._wire_bytes == self._body_bytes

    # the end

    def _end_wait(self) -> None:
        self._fail(unanswered(self._timeout_seconds))

    def _fail(self, fault: Fault) -> None:
        self._settle(fault)
        self.close()

    def _settle(self, answer: Response | Fault) -> None:
        self._stop_timer()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # httptools; no `on_header`, or endless trailers would pile up in the parser

    def on_message_begin(self) -> None:
        """Note a second message behind the first."""
        self._has_surplus = self._is_complete

    def on_headers_complete(self) -> None:
        """Note that the head parsed, and what it says about the connection while the parser still knows."""
        self._is_head_parsed = True
        self._keeps_alive = self._parser.should_keep_alive()

    def on_chunk_header(self) -> None:
        """Note that the length is told by chunks."""
        self._is_chunked = True

    def on_body(self, data: bytes) -> None:
        """Keep as much as is kept, and nothing of a message behind this one."""
        if self._is_complete:
            return
        if self._body_bytes < BODY_BYTES_MAX:
            self._body.append(data)
        self._body_bytes += len(data)

    def on_message_complete(self) -> None:
        """Note the end of the message."""
        self._is_complete = True
