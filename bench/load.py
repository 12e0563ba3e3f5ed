"""The publishing end of a bench, in a process of its own: single publishes over keep-alive connections.

Told over standard input, one JSON object a line: `{"seconds": 10}` publishes as fast as each connection is answered,
`{"seconds": 10, "rate": 500}` at that pace, and stamps each event with the moment it was meant to leave, so that
waiting for a connection counts. Each event goes to one of the `targets`, in turn. Answers how many were acknowledged.
"""

import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast
from urllib.parse import urlsplit

import uvloop

PADDING: Final = "x" * 128
"""With the rest, `data` of about 200 bytes: a usual event."""
ANSWER_SECONDS: Final = 30


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, is_free: Callable[["Connection"], None]) -> None:
        self.is_answered = False
        self._is_free = is_free
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes) -> None:
        """Send one request."""
        self.sent_at = time.monotonic()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            self._buffer = buffer
            return
        at = buffer.find(b"ontent-length: ") + 15
        if len(buffer) < end + 4 + int(buffer[at : buffer.find(b"\r", at)]):
            self._buffer = buffer
            return
        self._buffer = b""
        if not buffer.startswith(b"HTTP/1.1 202"):
            raise SystemExit(f"not accepted: {buffer!r}")
        self._is_free(self)

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            raise SystemExit(f"a connection broke: {error}")


class Load:
    """Some connections, and what is sent over them."""

    def __init__(self, url: str, token: str, targets: list[tuple[str, list[int]]]) -> None:
        self._heads = [_request(url, token, event_type, companies) for event_type, companies in targets]
        self._host, _, port = urlsplit(url).netloc.rpartition(":")
        self._port = int(port)
        self._free: deque[Connection] = deque()
        self._waiting: deque[int] = deque()
        self._connections = 0
        self._next = 0
        self._until = 0.0
        self._is_paced = False
        self.acknowledged = 0
        self.milliseconds: list[float] = []

    async def open(self, connections: int) -> None:
        """Open the connections."""
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, connection = await loop.create_connection(lambda: Connection(self._answered), self._host, self._port)
            self._free.append(connection)
        self._connections = connections

    async def run(self, seconds: float, rate: float | None) -> dict[str, Any]:
        """Publish for so long; return what came of it once every request is answered."""
        self.acknowledged, self.milliseconds = 0, []
        begun = time.monotonic()
        self._until, self._is_paced = begun + seconds, rate is not None
        if rate is None:
            while self._free:
                self._send(self._free.popleft(), time.monotonic_ns())
            await asyncio.sleep(seconds)
        else:
            await self._pace(begun, rate)
        async with asyncio.timeout(ANSWER_SECONDS):
            while len(self._free) < self._connections:
                await asyncio.sleep(0.005)
        return {
            "acknowledged": self.acknowledged,
            "seconds": time.monotonic() - begun,
            "milliseconds": sorted(self.milliseconds)[:: max(1, len(self.milliseconds) // 10_000)],
        }

    async def _pace(self, begun: float, rate: float) -> None:
        loop, sent = asyncio.get_running_loop(), 0
        while (now := time.monotonic()) < self._until:
            while sent <= (now - begun) * rate:
                stamp = int((begun + sent / rate) * 1e9)
                sent += 1
                if self._free:
                    self._send(self._free.popleft(), stamp)
                else:
                    self._waiting.append(stamp)
            tick = loop.create_future()
            loop.call_later(max(0.0, begun + sent / rate - time.monotonic()), tick.set_result, None)
            await tick

    def _answered(self, connection: Connection) -> None:
        self.acknowledged += 1
        self.milliseconds.append((time.monotonic() - connection.sent_at) * 1000)
        if self._waiting:
            self._send(connection, self._waiting.popleft())
        elif self._is_paced or time.monotonic() >= self._until:
            self._free.append(connection)
        else:
            self._send(connection, time.monotonic_ns())

    def _send(self, connection: Connection, stamp: int) -> None:
        self._next = (self._next + 1) % len(self._heads)
        head, body = self._heads[self._next]
        content = body % stamp
        connection.send(head % len(content) + content)


def _request(url: str, token: str, event_type: str, companies: list[int]) -> tuple[bytes, bytes]:
    head = (
        f"POST /v1/events HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nAuthorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    data = '{"sentAt":%d,"noteToken":"a1b2c3","text":"' + PADDING + '"}'
    body = '{"eventType":"' + event_type + '","companyIds":' + json.dumps(companies) + ',"data":' + data + "}"
    return head.encode(), body.encode()


async def main() -> None:
    """Do what standard input says, line by line."""
    said = json.loads(sys.argv[1])
    load = Load(said["url"], said["token"], [(name, companies) for name, companies in said["targets"]])
    await load.open(said["connections"])
    loop, orders = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        order = json.loads(line)
        print(json.dumps(await load.run(order["seconds"], order.get("rate"))), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
