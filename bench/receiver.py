"""The receiving end of a bench, in a process of its own: answers at once and notes how long each event was on its way.

Paths that begin with `/hang` are never answered, those with `/other` are answered and counted apart. Over standard
input: `take` answers what came since the last `take`, as milliseconds from `sentAt` (the monotonic clock, which
processes share) to arrival; `count` only how many.
"""

import asyncio
import json
import sys
import time
from typing import Final, cast

import uvloop

ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
LENGTH: Final = b"ontent-Length: "
HOSTS: Final = 20
"""Listens on 127.0.0.1 to 127.0.0.20: hosts of their own, as companies have."""
SENT_AT: Final = b'"sentAt":'


class Counts:
    """What has come."""

    def __init__(self) -> None:
        self.total = 0
        self.hanging = 0
        self.other = 0
        self.milliseconds: list[float] = []


class Connection(asyncio.Protocol):
    """Requests with a Content-Length over one connection; no more of HTTP than our own client speaks."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        while True:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                break
            at = buffer.find(LENGTH, 0, end) + len(LENGTH)
            body_end = end + 4 + int(buffer[at : buffer.find(b"\r", at)])
            if len(buffer) < body_end:
                break
            if buffer.startswith(b"POST /hang"):
                self._counts.hanging += 1
            else:
                if buffer.startswith(b"POST /other"):
                    self._counts.other += 1
                else:
                    self._note(buffer, end + 4)
                self._transport.write(ANSWER)
            buffer = buffer[body_end:]
        self._buffer = buffer

    def _note(self, buffer: bytes, start: int) -> None:
        self._counts.total += 1
        at = buffer.find(SENT_AT, start)
        if at > 0:
            sent_at = int(buffer[at + len(SENT_AT) : buffer.find(b",", at)])
            self._counts.milliseconds.append((time.monotonic_ns() - sent_at) / 1e6)


async def main() -> None:
    """Listen on a free port, say which, and answer questions until standard input ends."""
    loop, counts = asyncio.get_running_loop(), Counts()
    server = await loop.create_server(lambda: Connection(counts), "127.0.0.1", 0, backlog=4096)
    port = server.sockets[0].getsockname()[1]
    for number in range(2, HOSTS + 1):
        await loop.create_server(lambda: Connection(counts), f"127.0.0.{number}", port, backlog=4096)
    say({"port": port})
    questions = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(questions), sys.stdin)
    while question := await questions.readline():
        answer: dict[str, object] = {"total": counts.total, "hanging": counts.hanging, "other": counts.other}
        if question.strip() == b"take":
            answer["milliseconds"], counts.milliseconds = counts.milliseconds, []
        say(answer)


def say(answer: object) -> None:
    """Answer one line of JSON."""
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
