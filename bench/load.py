"""The two sides of a load: publishers that keep connections busy, and a receiver that answers at once.

Both are written on bare asyncio protocols, so that they cost a fraction of what they measure. Everything is bounded by
count and time and stays on loopback.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import cast

TEXT = b"x" * 200
_TOKEN = b'"noteToken":"'


class Receiver(asyncio.Protocol):
    """Answer every request 200 and report its path and body with the moment it was complete."""

    def __init__(self, arrived: Callable[[bytes, bytes, float], None], hanging: bytes = b"/hang") -> None:
        self._arrived = arrived
        self._hanging = hanging
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()
            at = head.index(b"content-length:") + 15
            length = int(head[at:].split(b"\r\n", 1)[0])
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            path = head[5 : head.index(b" http/")]
            self._arrived(path, body, time.monotonic())
            if not path.startswith(self._hanging):
                self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


class Publisher(asyncio.Protocol):
    """One connection that publishes one event at a time; `next_body` gives the next or None."""

    def __init__(
        self,
        head: bytes,
        next_body: Callable[[], bytes | None],
        acknowledged: Callable[[int, float], None],
        done: asyncio.Future[None],
    ) -> None:
        self._head = head
        self._next_body = next_body
        self._acknowledged = acknowledged
        self._done = done
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport
        self.is_idle = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.go()

    def go(self) -> None:
        """Send the next event, if there is one."""
        body = self._next_body()
        if body is None:
            self.is_idle = True
            if not self._done.done():
                self._done.set_result(None)
            return
        self.is_idle = False
        self._sent_at = time.monotonic()
        self._transport.write(self._head % len(body) + body)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.find(b"content-length:") + 15
        length = int(head[at:].split(b"\r\n", 1)[0])
        if len(self._buffer) < end + 4 + length:
            return
        status = int(head[9:12])
        self._buffer = b""
        self._acknowledged(status, time.monotonic() - self._sent_at)
        self.go()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("the server closed the connection"))


def publish_head(host: str, token: str) -> bytes:
    """Return the request head, with `%d` for the body's length."""
    return (
        f"POST /v1/events HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    ).encode()


def bodies(companies: list[int], count: int) -> deque[bytes]:
    """Make events of about 300 bytes that take companies in turn; `token_of` finds each one's name again."""
    return deque(
        b'{"eventType":"note.created","companyIds":[%d],"data":{"noteToken":"%d","text":"%b"}}'
        % (companies[number % len(companies)], number, TEXT)
        for number in range(count)
    )


def token_of(body: bytes) -> bytes:
    """Return what names an event, in what is published and in what arrives."""
    start = body.index(_TOKEN) + len(_TOKEN)
    return body[start : body.index(b'"', start)]
