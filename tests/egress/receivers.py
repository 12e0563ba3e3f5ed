"""Receivers on real loopback sockets that do exactly what a script says, and the means to call them.

Every scenario also proves that nothing is left open: connection, descriptor or timer that would hold one.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import uvloop

from hookline.clock import Clock, SystemClock
from hookline.config import EgressProxy
from hookline.egress.resolver import LOCALHOST, Answer, Resolver
from hookline.egress.sender import Call, Sender
from hookline.egress.tls import client_context
from hookline.egress.url import UrlRules, parse
from hookline.model import Answered, Failed, Outcome

RULES = UrlRules(allow_http=True, allow_loopback=True)
SETTLED_SECONDS = 2.0
LOOPS: dict[str, Callable[[Any], Any]] = {"uvloop": uvloop.run, "asyncio": asyncio.run}


class Peer:
    """The receiver's end of one connection."""

    def __init__(self, receiver: "Receiver", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._receiver = receiver
        self._reader = reader
        self._writer = writer

    async def request(self) -> bytes:
        """Read one whole request and keep it in `Receiver.requests`."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        request = head + await self._reader.readexactly(length)
        self._receiver.requests.append(request)
        return request

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()

    async def send_endlessly(self, piece: bytes, *, pause_seconds: float = 0) -> None:
        """Send until the other side has gone."""
        while True:
            await self.send(piece)
            await asyncio.sleep(pause_seconds)

    async def answer(self, *pieces: bytes) -> None:
        """Read a request and send the pieces."""
        await self.request()
        await self.send(*pieces)

    async def gone(self) -> bytes:
        """Wait until the other side has closed; return what came before."""
        return await self._reader.read()

    @property
    def certificate(self) -> Any:
        """Return what the other side has shown of itself."""
        return self._writer.get_extra_info("ssl_object").getpeercert()

    async def head(self) -> bytes:
        """Read a request that has no body and keep it in `Receiver.requests`."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        self._receiver.requests.append(head)
        return head

    async def relay(self, host: str, port: int) -> None:
        """Pass on what comes from either side, until one has gone."""
        reader, writer = await asyncio.open_connection(host, port)
        ways = [asyncio.create_task(_pass_on(*way)) for way in ((self._reader, writer), (reader, self._writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.transport.abort()

    def reset(self) -> None:
        self._writer.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)
        await writer.drain()


Script = Callable[[Peer], Awaitable[None]]


class Receiver:
    """A scripted server; when a script returns, its connection is closed."""

    def __init__(self, script: Script) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0
        self._script = script
        self._open: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(
        self, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> AsyncIterator["Receiver"]:
        server = await asyncio.start_server(self._serve, host, 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)

    @property
    def is_quiet(self) -> bool:
        """Whether no connection is open."""
        return not self._open

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.connections += 1
        try:
            await self._script(Peer(self, reader, writer))
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._open.discard(task)


class ScriptedResolver:
    """Names to whatever the test says; loopback where it says nothing."""

    def __init__(self, *answers: str) -> None:
        self._answer: Answer = tuple(map(ip_address, answers)) or LOCALHOST
        self.asked: list[str] = []

    async def resolve(self, host: str) -> Answer:
        self.asked.append(host)
        return self._answer

    def close(self) -> None:
        pass


class ShiftedClock(SystemClock):
    """The system's clock, moved on by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.shift_seconds = 0.0

    def monotonic_seconds(self) -> float:
        return super().monotonic_seconds() + self.shift_seconds


def sender(
    *,
    resolver: Resolver | None = None,
    rules: UrlRules = RULES,
    trust: ssl.SSLContext | None = None,
    clock: Clock | None = None,
    idle_connections_max: int = 100,
    proxy: EgressProxy | None = None,
) -> Sender:
    return Sender(
        resolver=resolver or ScriptedResolver(),
        rules=rules,
        clock=clock or SystemClock(),
        trust=trust or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        idle_connections_max=idle_connections_max,
        proxy=proxy,
    )


def call(
    url: str,
    *,
    timeout_seconds: float = 5,
    company_id: int = 7,
    body: bytes = b'{"n":1}',
    headers: Sequence[tuple[str, str]] = (),
    rules: UrlRules = RULES,
) -> Call:
    return Call(
        company_id=company_id,
        url=parse(url, rules),
        headers=(("Content-Type", "application/json"), *headers),
        body=body,
        timeout_seconds=timeout_seconds,
    )


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@asynccontextmanager
async def nothing_left(receiver: Receiver) -> AsyncIterator[None]:
    """Check that all that is opened inside is closed soon after."""
    before = descriptors()
    yield
    end = asyncio.get_running_loop().time() + SETTLED_SECONDS
    while descriptors() != before or not receiver.is_quiet:
        assert asyncio.get_running_loop().time() < end, f"left open: {descriptors() - before} descriptors"
        await asyncio.sleep(0.001)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what is bound to come soon."""
    end = asyncio.get_running_loop().time() + SETTLED_SECONDS
    while not is_so():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0)


async def attempts(script: Script, count: int = 1, *, timeout_seconds: float = 5) -> tuple[list[Outcome], Receiver]:
    """Make `count` attempts one after the other over plain HTTP."""
    async with Receiver(script).listening() as receiver, nothing_left(receiver):
        client = sender()
        outcomes = [
            await client.send(call(f"http://127.0.0.1:{receiver.port}/hook", timeout_seconds=timeout_seconds))
            for _ in range(count)
        ]
        await client.close()
    return outcomes, receiver


def answered(outcome: Outcome) -> Answered:
    assert isinstance(outcome, Answered), outcome
    return outcome


def failed(outcome: Outcome) -> Failed:
    assert isinstance(outcome, Failed), outcome
    return outcome


def trusting(*authorities: Any) -> ssl.SSLContext:
    """Return the installation's own settings, with test authorities added."""
    context = client_context()
    for authority in authorities:
        authority.configure_trust(context)
    return context
