"""The HTTP that the process really serves: responses as they leave the socket."""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from hookline import serving

REQUEST = b"%b / HTTP/1.1\r\nHost: test\r\n\r\n"
PATIENCE_SECONDS = 10


async def app(scope: Any, _receive: Any, send: Any) -> None:
    """Answer as the API does: for HEAD the headers of GET and an empty body."""
    body = b"" if scope["method"] == "HEAD" else b"hello"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": body})


async def _exchange(*requests: bytes) -> list[bytes]:
    """Send requests on one connection, each once the head before has come; return what came up to each one's end."""
    with serving.listen("127.0.0.1", 0) as listener:
        return await _exchanged(listener, requests)


async def _exchanged(listener: socket.socket, requests: Sequence[bytes]) -> list[bytes]:
    started = asyncio.Event()
    server = asyncio.create_task(
        serving.serve(
            app,
            listener=listener,
            trusted_proxies=None,
            engine=None,
            leaving=serving.Leaving(),
            drain_seconds=0,
            announce=started.set,
        )
    )
    try:
        await started.wait()
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1])
        answers = []
        for request in requests:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            answers.append(head + (b"" if request.startswith(b"HEAD") else await reader.readexactly(5)))
        writer.close()
        return answers
    finally:
        server.cancel()
        with suppress(asyncio.CancelledError):
            await server


def _answers(*requests: bytes) -> list[bytes]:
    return asyncio.run(asyncio.wait_for(_exchange(*requests), PATIENCE_SECONDS))


def test_answer_to_head_leaves_at_once_and_the_connection_goes_on() -> None:
    head, get = _answers(REQUEST % b"HEAD", REQUEST % b"GET")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-length: 5\r\n" in head
    assert get.endswith(b"\r\n\r\nhello")
