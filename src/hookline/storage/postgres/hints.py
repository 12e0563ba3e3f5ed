"""Tell other nodes that something is due, and hear it from them.

A hint may be lost, which costs at most a poll. It is sent after a commit and on a connection of its own, never in the
transaction that stores something, as transactions that notify commit one after the other.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import asyncpg

from hookline.storage.postgres.connection import CONNECTION_ERRORS

log = logging.getLogger("hookline.storage")

CHANNEL: Final = "hookline"
PAUSE_SECONDS: Final = 0.005
"""Between two hints of one node: what is told meanwhile goes with the second."""
RECONNECT_SECONDS: Final = 1.0
SEND_SECONDS_MAX: Final = 5.0
SILENCE_SECONDS_MAX: Final = 30.0
"""A connection on which nothing was sent for so long is tried: nobody tells when the other end is gone."""


class Hints:
    """One connection that notifies and listens, made when it is first needed and again whenever it is lost."""

    def __init__(self, connect: Callable[[], Awaitable[Any]]) -> None:
        self._connect = connect
        self._connection: Any = None
        self._wake: Callable[[], None] | None = None
        self._is_told = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def listen(self, wake: Callable[[], None]) -> None:
        """Call `wake` for each hint of another node from now on."""
        self._wake = wake
        self._start()

    def tell(self) -> None:
        """Tell the other nodes; returns at once."""
        self._is_told.set()
        self._start()

    def reconnect(self) -> None:
        """Leave the server that this is connected to: another one has taken over."""
        if self._connection is not None:
            self._connection.terminate()

    async def close(self) -> None:
        """Disconnect."""
        task, self._task = self._task, None
        if task:
            task.cancel()
            await asyncio.wait([task])

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            try:
                await self._serve(await self._connect())
            except (*CONNECTION_ERRORS, asyncpg.PostgresError) as error:
                log.info("no hints between nodes for now: %s", type(error).__name__)
            except Exception:
                log.exception("hints between nodes failed; they go on")
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _serve(self, connection: Any) -> None:
        """Notify and listen until the connection is lost."""
        self._connection = connection
        try:
            connection.add_termination_listener(lambda _: self._is_told.set())
            if self._wake:
                await connection.add_listener(CHANNEL, self._heard)
                self._wake()  # whatever was told before was not heard
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(SILENCE_SECONDS_MAX):
                        await self._is_told.wait()
                self._is_told.clear()
                if connection.is_closed():
                    return
                await connection.execute(f"NOTIFY {CHANNEL}", timeout=SEND_SECONDS_MAX)
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            self._connection = None
            connection.terminate()

    def _heard(self, connection: Any, sender_pid: int, _channel: str, _payload: object) -> None:
        if self._wake and sender_pid != connection.get_server_pid():
            self._wake()
