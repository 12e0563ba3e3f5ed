"""A receiver of webhooks that keeps every byte it was sent and answers as the test says."""

import asyncio
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self, cast

from .harness import PATIENCE_SECONDS


@dataclass(frozen=True)
class Reply:
    """What the receiver does with one request."""

    status: int = 200
    delay_seconds: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    never: bool = False
    """Take the request and say nothing, until `release`."""
    closes: bool = False
    """Take the request and close the connection without a word."""


OK = Reply()
HANGS = Reply(never=True)
CLOSES = Reply(closes=True)


@dataclass(frozen=True)
class Arrival:
    """One request, when its last byte was there."""

    at: float
    """`time.monotonic()`, which all processes of the machine share."""
    wall: float
    """`time.time()`"""
    path: str
    head: bytes
    body: bytes

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """Return the headers, names in lower case; a name that came twice fails the test."""
        pairs = [line.split(": ", 1) for line in self.head.decode("latin-1").split("\r\n")[1:] if line]
        names = {name.lower(): value for name, value in pairs}
        assert len(names) == len(pairs), f"a header came twice: {self.head!r}"
        return names

    @property
    def event_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def attempt(self) -> int:
        return int(self.headers["hookline-attempt"])


class Receiver:
    """An HTTP server on a loop of its own, in a thread of this process: its clock is the test's clock."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.arrivals: list[Arrival] = []
        self._by_path: defaultdict[str, list[Arrival]] = defaultdict(list)
        self._by_event: defaultdict[str, list[Arrival]] = defaultdict(list)
        self._replies: dict[str, list[Reply]] = {}
        self._judges: dict[str, Callable[[Arrival], Reply]] = {}
        self.connections: set[_Connection] = set()
        self._changed = threading.Condition()
        self._hanging: list[_Connection] = []
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = 0

    def start(self) -> Self:
        """Begin to listen on a free loopback port."""
        self._thread.start()
        assert self._started.wait(PATIENCE_SECONDS)
        return self

    def close(self) -> None:
        """Stop listening and drop every connection."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE_SECONDS)

    def url(self, path: str = "/") -> str:
        """Return the callback URL of a path."""
        return f"https://localhost:{self.port}{path}" if self._tls else f"http://127.0.0.1:{self.port}{path}"

    def answer(self, key: str, *replies: Reply) -> None:
        """Answer the requests for a path, or of an event id, with these in turn, and with the last from then on."""
        self._replies[key] = list(replies)

    def judge(self, path: str, reply: Callable[["Arrival"], Reply]) -> None:
        """Answer each request for a path as the function says; it runs in the receiver's thread."""
        self._judges[path] = reply

    def release(self) -> None:
        """Answer 200 to all that hangs now."""
        self._loop.call_soon_threadsafe(self._answer_hanging)

    @property
    def hanging(self) -> int:
        """Return how many requests wait for an answer over connections that are still open."""
        return sum(connection.is_open for connection in self._hanging)

    # what came

    def at(self, path: str) -> list[Arrival]:
        """Return what came to a path so far."""
        return self._by_path[path].copy()

    def of(self, event_id: str) -> list[Arrival]:
        """Return what came of an event so far."""
        return self._by_event[event_id].copy()

    def wait(
        self, enough: Callable[[Sequence[Arrival]], bool], what: str, patience_seconds: float = PATIENCE_SECONDS
    ) -> list[Arrival]:
        """Wait until what has come is enough; return it."""
        with self._changed:
            assert self._changed.wait_for(lambda: enough(self.arrivals), patience_seconds), (
                f"did not arrive in {patience_seconds:g} s: {what}; {len(self.arrivals)} requests did"
            )
            return self.arrivals.copy()

    def wait_for_total(self, count: int) -> None:
        """Wait until at least `count` requests have come in all."""
        self.wait(lambda arrivals: len(arrivals) >= count, f"{count} requests in all")

    def wait_at(self, path: str, count: int, patience_seconds: float = PATIENCE_SECONDS) -> list[Arrival]:
        """Wait until at least `count` requests have come to a path; return them."""
        came = self._by_path[path]
        self.wait(lambda _: len(came) >= count, f"{count} requests to {path}", patience_seconds)
        return self.at(path)

    # inside

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await self._loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=1024, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        # Accept no more, let what is being accepted arrive, and only then close: a server that is closed first loses
        # the sockets that its loop has accepted and not yet made connections of.
        for listener in server.sockets:
            self._loop.remove_reader(listener.fileno())
        while self.connections or len(asyncio.all_tasks()) > 1:
            for connection in self.connections.copy():
                connection.close()
            await asyncio.sleep(0)  # a transport is gone in a later turn of the loop
        server.close()
        await server.wait_closed()

    def take(self, connection: "_Connection", head: bytes, body: bytes) -> None:
        """Note a request and do with it as was said."""
        path = head.split(b" ", 2)[1].decode("latin-1")
        arrival = Arrival(time.monotonic(), time.time(), path, head, body)
        reply = self._reply(arrival)
        if reply.never:
            self._hanging.append(connection)
        elif reply.closes:
            connection.close()
        elif reply.delay_seconds:
            self._loop.call_later(reply.delay_seconds, connection.send, reply)
        else:
            connection.send(reply)
        with self._changed:
            self.arrivals.append(arrival)
            self._by_path[path].append(arrival)
            self._by_event[arrival.headers.get("webhook-id", "")].append(arrival)
            self._changed.notify_all()

    def _reply(self, arrival: Arrival) -> Reply:
        judge = self._judges.get(arrival.path)
        if judge:
            return judge(arrival)
        replies = self._replies.get(arrival.headers.get("webhook-id", "")) or self._replies.get(arrival.path)
        if not replies:
            return OK
        return replies.pop(0) if len(replies) > 1 else replies[0]

    def _answer_hanging(self) -> None:
        hanging, self._hanging = self._hanging, []
        for connection in hanging:
            connection.send(OK)


class _Connection(asyncio.Protocol):
    """Just enough HTTP/1.1 for requests that carry a Content-Length."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._transport: asyncio.Transport | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._receiver.connections.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        self._receiver.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            length = _content_length(head)
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            self._receiver.take(self, head, rest[:length])

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    def send(self, reply: Reply) -> None:
        """Write a response, unless the connection has gone."""
        if self._transport is None or self._transport.is_closing():
            return
        lines = [f"HTTP/1.1 {reply.status} As-Told", f"Content-Length: {len(reply.body)}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        self._transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + reply.body)

    def close(self) -> None:
        """Close without a word."""
        if self._transport is not None:
            self._transport.abort()


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0
