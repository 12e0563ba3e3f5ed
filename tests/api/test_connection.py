"""What a stranger may send before anyone has looked at it: bounded in bytes and in time."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from hookline.api import connection

PATIENCE_SECONDS = 10
POST = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"

Scenario = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    """Answer without looking at the body, as for a wrong token; or, under /reading, once it is there."""
    if scope["path"] == "/reading":
        while (await receive()).get("more_body"):
            pass
    await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"no"})


def _talk(scenario: Scenario) -> None:
    async def whole() -> None:
        config = uvicorn.Config(refuse, ws="none", lifespan="off", log_config=None, access_log=False)
        state = ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: connection.HttpConnection(config=config, server_state=state, app_state={}), "127.0.0.1", 0
        )
        async with asyncio.timeout(PATIENCE_SECONDS), server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            try:
                await scenario(reader, writer)
            finally:
                writer.close()

    asyncio.run(whole())


async def _pour(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"a" * 65_536)
        await writer.drain()


@pytest.mark.parametrize(
    "begun",
    [b"GET / HTTP/1.1\r\nHost: test\r\nX: ", CHUNKED + b"1\r\na\r\n0\r\nX: ", CHUNKED + b"1;"],
    ids=["header", "trailer", "chunk extension"],
)
def test_a_line_without_end_is_cut_off(begun: bytes) -> None:
    async def scenario(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begun)
        with pytest.raises(ConnectionError):
            await _pour(writer)

    _talk(scenario)


def test_a_large_body_is_no_line_without_end() -> None:
    async def scenario(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            writer.write(POST + b"a" * 1_000_000)
            await writer.drain()
            assert (await reader.readuntil(b"\r\n\r\nno")).startswith(b"HTTP/1.1 401 ")

    _talk(scenario)


def test_a_connection_too_many_is_refused_and_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECTIONS_MAX", 1)

    async def scenario(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other, its_writer = await asyncio.open_connection(*writer.get_extra_info("peername"))
        assert await other.read() == b""
        its_writer.close()
        writer.write(POST)
        await reader.readuntil(b"\r\n\r\nno")

    _talk(scenario)


def test_a_request_that_only_the_parser_of_its_url_refuses_is_answered() -> None:
    async def scenario(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET http://a:99999999/ HTTP/1.1\r\nHost: test\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")

    _talk(scenario)


@pytest.mark.parametrize(
    ("sent", "instance"),
    [
        (b"GET /v1/events?limit=1 HTTP/1.1\r\nHost: test\r\nX: a\x01b\r\n\r\n", "/v1/events"),
        (b"GET /v1/%41\xc3 HTTP/1.1\r\nHost: test\r\n\r\n", ""),
        (b"POST /v1/events HTTP/1.1\r\nHost: test\r\nContent-Length: -1\r\n\r\n", "/v1/events"),
        (b"GET / HTTP/1.1\r\nHost: test\r\nX: " + b"a" * connection.HEAD_BYTES_MAX + b"\r\n\r\n", "/"),
        (b"\x16\x03\x01\x02\x00\x01", ""),
    ],
)
def test_what_cannot_be_read_as_a_request_is_a_problem_with_an_id_like_any_other(sent: bytes, instance: str) -> None:
    async def scenario(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        assert headers["content-type"] == "application/problem+json"
        assert headers["connection"] == "close"
        assert int(headers["content-length"]) == len(body)
        assert len(headers["x-request-id"]) == 16
        refusal = json.loads(body)
        assert refusal["status"] == 400
        assert refusal["instance"] == instance
        assert refusal["message"] == refusal["detail"]

    _talk(scenario)


@pytest.mark.parametrize("requests", [1, 2, 3])
def test_what_cannot_be_read_is_refused_after_the_requests_before_it_are_answered(requests: int) -> None:
    async def scenario(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n" * requests + b"\x00\r\n\r\n")
        answers = await reader.read()
        assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"401"] * requests + [b"400"]

    _talk(scenario)


def test_a_body_that_cannot_be_read_is_refused_without_waiting_for_its_rest() -> None:
    async def scenario(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST /reading HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        answers = await reader.read()
        assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"400"]

    _talk(scenario)


def test_a_body_that_nobody_wants_and_that_stops_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "FIRST_BYTE_SECONDS_MAX", 0.05)

    async def scenario(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(POST)
        await reader.readuntil(b"\r\n\r\nno")
        writer.write(b"a")
        assert await reader.read() == b""

    _talk(scenario)
