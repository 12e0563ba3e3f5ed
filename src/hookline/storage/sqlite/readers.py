"""Run reading verbs on connections that cannot write, each on one snapshot.

`ThreadedReaders` keeps a few threads with a connection each, so that a long page of the log delays neither the event
loop nor the writer. `InlineReaders` reads on the spot, for tools and deterministic simulation.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Final, Protocol, TypeVar

import apsw

from hookline.storage.sqlite.committing import DISK_ERRORS, unavailable

Result = TypeVar("Result")
Query = Callable[[apsw.Connection], Result]

THREADS: Final = 2
"""Of each kind of reading: one slow query leaves another thread."""


class Readers(Protocol):
    """Runs queries."""

    async def run(self, query: Query[Result]) -> Result:
        """Return what the query reads from one snapshot, taken no earlier than this call."""
        ...

    async def close(self) -> None:
        """Finish what was asked, then close the connections."""
        ...


OpenReaders = Callable[[Callable[[], apsw.Connection]], Readers]
"""How an engine starts its readers: one of the two classes below, given what opens a connection."""


class InlineReaders:
    """Reads at once, in the caller's thread."""

    def __init__(self, connect: Callable[[], apsw.Connection]) -> None:
        self._connection = connect()

    async def run(self, query: Query[Result]) -> Result:
        return _in_snapshot(self._connection, query)

    async def close(self) -> None:
        self._connection.close()


class ThreadedReaders:
    """Reads on a few threads."""

    def __init__(self, connect: Callable[[], apsw.Connection], threads: int = THREADS) -> None:
        self._idle: SimpleQueue[apsw.Connection] = SimpleQueue()
        for _ in range(threads):
            self._idle.put(connect())
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="hookline-sqlite-reader")

    async def run(self, query: Query[Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, query)

    async def close(self) -> None:
        await asyncio.to_thread(self._pool.shutdown)
        for _ in range(self._threads):
            self._idle.get().close()

    def _read(self, query: Query[Result]) -> Result:
        connection = self._idle.get()  # never waits: there are as many as threads
        try:
            return _in_snapshot(connection, query)
        finally:
            self._idle.put(connection)


def _in_snapshot(connection: apsw.Connection, query: Query[Result]) -> Result:
    try:
        connection.execute("BEGIN")
        try:
            return query(connection)
        finally:
            connection.execute("COMMIT")
    except DISK_ERRORS as error:
        raise unavailable(error) from error
