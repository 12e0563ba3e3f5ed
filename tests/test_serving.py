"""The HTTP that the process really serves: requests and responses as they cross the socket."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from hookline import serving
from hookline.api import connection
from hookline.errors import StartRefused, Unavailable
from simulation.virtual import VirtualClock
from simulation.world import World, until

REQUEST = b"%b / HTTP/1.1\r\nHost: test\r\n\r\n"
PATIENCE_SECONDS = 10

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def app(scope: Any, _receive: Any, send: Any) -> None:
    """Answer as the API does: for HEAD the headers of GET and an empty body."""
    body = b"" if scope["method"] == "HEAD" else b"hello"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def _connected() -> AsyncIterator[Streams]:
    """Serve, and connect to it."""
    started = asyncio.Event()
    with serving.listen("127.0.0.1", 0) as listener:
        server = asyncio.create_task(
            serving.serve(
                app,
                listener=listener,
                trusted_proxies=None,
                engine=None,
                leaving=serving.Leaving(),
                drain_seconds=0,
                settling_seconds=PATIENCE_SECONDS,
                announce=started.set,
            )
        )
        try:
            await started.wait()
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])
            yield reader, writer
            writer.close()
        finally:
            server.cancel()
            with suppress(asyncio.CancelledError):
                await server


def _talk(scenario: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]) -> bytes:
    async def whole() -> bytes:
        async with asyncio.timeout(PATIENCE_SECONDS), _connected() as (reader, writer):
            return await scenario(reader, writer)

    return asyncio.run(whole())


def test_answer_to_head_leaves_at_once_and_the_connection_goes_on() -> None:
    async def scenario(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(REQUEST % b"HEAD")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"content-length: 5\r\n" in head
        writer.write(REQUEST % b"GET")
        return await reader.readuntil(b"hello")

    assert _talk(scenario).endswith(b"\r\n\r\nhello")


def test_head_that_comes_in_parts_is_served() -> None:
    async def scenario(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        for byte in REQUEST % b"GET":
            writer.write(bytes([byte]))
            await writer.drain()
        return await reader.readuntil(b"hello")

    assert _talk(scenario).startswith(b"HTTP/1.1 200 ")


def head_of(lines: int) -> bytes:
    return b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: %b\r\n" % (number, b"x" * 1000) for number in range(lines))


def test_head_that_is_too_long_is_refused() -> None:
    async def scenario(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(head_of(40) + b"\r\n")
        return await reader.read()

    assert _talk(scenario).startswith(b"HTTP/1.1 400 ")


def test_head_without_end_is_cut_off_long_before_its_time_is_over() -> None:
    async def scenario(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(head_of(200))
        with suppress(ConnectionError):
            return await reader.read()
        return b""

    assert _talk(scenario) == b""


@pytest.mark.parametrize("begun", [b"", b"GET / HTT", b"GET / HTTP/1.1\r\nHost: te", REQUEST % b"GET" + b"GE"])
def test_head_that_stops_in_the_middle_is_given_up(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS_MAX", 0.05)
    monkeypatch.setattr(connection, "FIRST_BYTE_SECONDS_MAX", 0.05)

    async def scenario(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(begun)
        return await reader.read()

    _talk(scenario)


def test_what_is_no_http_is_refused_as_every_fault_is() -> None:
    async def scenario(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"GET / HTTP/1.1\r\nno header\r\n\r\n")
        return await reader.read()

    head, _, body = _talk(scenario).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"\r\ncontent-type: application/problem+json\r\n" in head
    problem = json.loads(body)
    assert (problem["status"], problem["detail"]) == (400, problem["message"])


def test_port_in_use_is_told_once_with_what_to_do() -> None:
    with (
        serving.listen("127.0.0.1", 0) as taken,
        pytest.raises(
            StartRefused, match=r"^cannot listen on 127\.0\.0\.1 port \d+: Address already in use\. Stop what"
        ),
    ):
        serving.listen("127.0.0.1", taken.getsockname()[1])


def test_address_of_another_machine_is_told_apart_from_a_port_in_use() -> None:
    with pytest.raises(StartRefused, match=r"Cannot assign requested address\. This machine has no such address"):
        serving.listen("192.0.2.1", 0)


def test_host_that_is_no_address_is_refused_in_words() -> None:
    with pytest.raises(StartRefused, match=r"^cannot listen on not-a-host\.invalid port 0: .*--host"):
        serving.listen("not-a-host.invalid", 0)


# --- the end ---------------------------------------------------------------------------------------------------------


class NeverSettles:
    """A database that confirms the end of no attempt."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    async def settle(self, _settlements: Any) -> Any:
        self.asked += 1
        raise Unavailable("The database did not confirm.")


def test_the_end_does_not_wait_for_ever_for_a_database_that_confirms_nothing(tmp_path: Path) -> None:
    async def scenario() -> int:
        world = World(tmp_path, VirtualClock(asyncio.get_running_loop()))
        await world.open()
        try:
            await world.publish("e1", [await world.subscription(await world.company(), "/a")])
            storage: Any = NeverSettles(world.storage)
            with serving.listen("127.0.0.1", 0) as listener:
                serves = asyncio.create_task(
                    serving.serve(
                        app,
                        listener=listener,
                        trusted_proxies=None,
                        engine=world.engine(storage),
                        leaving=serving.Leaving(),
                        drain_seconds=0,
                        settling_seconds=0.3,
                        announce=lambda: None,
                    )
                )

                async def is_stuck() -> bool:
                    return bool(storage.asked)

                await until(is_stuck, PATIENCE_SECONDS)
                os.kill(os.getpid(), signal.SIGTERM)
                async with asyncio.timeout(PATIENCE_SECONDS):
                    return await serves
        finally:
            await world.storage.close()

    assert asyncio.run(scenario()) == serving.UNCONFIRMED
