"""A TCP proxy that can go wrong: resets, stalls, refuses; between Hookline and whatever it talks to."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from typing import Self

from e2e.harness import PATIENCE_SECONDS

NO_LINGER = struct.pack("ii", 1, 0)
CHUNK_BYTES = 64 * 1024


class Proxy:
    """Listens on a loopback port and passes everything on; runs on a loop of its own, in a thread of this process."""

    def __init__(self, target: str | int | Callable[[], int]) -> None:
        self.port = 0
        self.is_refusing = False
        """Whether new connections are reset at once."""
        self.refused = 0
        """How many connections were."""
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._flows: asyncio.Event
        """Unset while nothing is passed on, in neither direction."""

    def start(self) -> Self:
        """Begin to listen."""
        self._thread.start()
        assert self._started.wait(PATIENCE_SECONDS)
        return self

    def close(self) -> None:
        """Stop listening and drop every connection."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE_SECONDS)

    def reset(self) -> None:
        """Reset every connection there is now."""
        asyncio.run_coroutine_threadsafe(self._reset(), self._loop).result(PATIENCE_SECONDS)

    def stall(self) -> None:
        """Pass nothing on; connections are still accepted, and hang as well."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def go_on(self) -> None:
        """Pass everything on again, what was held back first."""
        self._loop.call_soon_threadsafe(self._flows.set)

    # inside

    async def _serve(self) -> None:
        self._loop, self._stop, self._flows = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        self._flows.set()
        async with asyncio.TaskGroup() as tasks:
            server = await asyncio.start_server(
                lambda reader, writer: tasks.create_task(self._pass(reader, writer)), "127.0.0.1", 0, backlog=1024
            )
            self.port = server.sockets[0].getsockname()[1]
            self._started.set()
            await self._stop.wait()
            server.close()
            self._flows.set()
            await self._reset()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self.is_refusing:
                self.refused += 1
                _abort(writer)
                return
            there, back = await self._open()
            self._writers.add(back)
            try:
                await asyncio.gather(self._copy(reader, back), self._copy(there, writer))
            finally:
                await self._drop(back)
        except OSError:
            _abort(writer)  # whom we stand for is not there
        finally:
            await self._drop(writer)

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, str):
            return await asyncio.open_unix_connection(self._target)
        port = self._target() if callable(self._target) else self._target
        return await asyncio.open_connection("127.0.0.1", port)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(CHUNK_BYTES):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            _abort(writer)
        else:
            writer.close()

    async def _reset(self) -> None:
        for writer in self._writers.copy():
            _abort(writer)

    async def _drop(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.close()
        try:
            await writer.wait_closed()
        except OSError:
            return


def _abort(writer: asyncio.StreamWriter) -> None:
    """End a connection so that the other side sees it reset."""
    inside: socket.socket | None = writer.get_extra_info("socket")
    if inside is not None and inside.family == socket.AF_INET and inside.fileno() >= 0:
        inside.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    writer.transport.abort()
