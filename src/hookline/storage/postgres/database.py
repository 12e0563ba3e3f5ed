"""Run verbs, each as one transaction, and let no exception of the driver past.

What is confirmed is durable: a commit that came back with a warning, too late or not at all is `Unavailable`, its
outcome unknown. A transaction that a rival got the better of runs again.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import asyncpg
from msgspec import Struct

from hookline.clock import Clock
from hookline.errors import Unavailable
from hookline.storage.postgres import buckets, moment
from hookline.storage.postgres.connection import Contended, Patience, Silent, is_rivalry, make_pool, translated

Result = TypeVar("Result")

RUNS_MAX: Final = 10
"""Of one transaction against rivals: each of them got through, so ten in a row are a pathology."""

FAREWELL_SECONDS: Final = 1.0
"""For connections at rest to be closed in order; a server that has stopped answering would be waited for in vain."""

BEGIN: Final = "BEGIN; SET LOCAL hookline.\"all\" = 'on'"
"""Sent as one text and therefore one round trip. Without it, or the name of a company, no row of a company is visible;
set for the transaction alone, it cannot reach another one that a proxy lets use the same connection."""
_BEGIN_READING: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL hookline.\"{name}\" = '{value}'"

_WARNING: Final = "01000"
"""At a commit: "canceling wait for synchronous replication", in whatever language. Then it answers as if all were well,
but no standby has it."""


class Transaction(Struct, frozen=True):
    """An open transaction, or the place of one whose verb writes with a single statement."""

    connection: Any
    now: int
    """What due times and leases count from."""
    wall: int
    """What readers are shown."""
    ids: Sequence[int]
    """Drawn before it began, as many as were asked for."""
    buckets: Sequence[int] = buckets.EVERY
    """The group that it may write: every statement names it for every table that carries buckets."""

    async def draw(self, count: int) -> Sequence[int]:
        """Draw more ids."""
        return await moment.draw(self.connection, self.wall, count)


Verb = Callable[[Transaction], Awaitable[Result]]
Query = Callable[[Any], Awaitable[Result]]


class Database:
    """A pool of connections to one server."""

    def __init__(self, dsn: str, clock: Clock | None, patience: Patience) -> None:
        self._dsn = dsn
        self._clock = clock
        self._patience = patience
        self._pool: Any = None

    async def open(self) -> None:
        """Connect; raise `StartRefused` where the server is not one that can be relied upon."""
        self._pool = await make_pool(self._dsn, self._patience)

    async def close(self) -> None:
        """Let verbs that run end, then disconnect; what outlasts every limit is cut off."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        is_idle = pool.get_size() == pool.get_idle_size()
        verb_seconds = self._patience.statement_seconds + self._patience.commit_seconds
        try:
            async with asyncio.timeout(FAREWELL_SECONDS if is_idle else verb_seconds):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    async def read(self, query: Query[Result]) -> Result:
        """Run a query of one statement over what belongs to no company."""
        async with self._connection() as connection:
            return await query(connection)

    async def read_as(self, company_id: int | None, query: Query[Result]) -> Result:
        """Run a query of which all statements see the same, and rows of one company only; None: of every company."""
        name, value = ("all", "on") if company_id is None else ("company", company_id)
        async with self._connection() as connection:
            await connection.execute(_BEGIN_READING.format(name=name, value=value))
            return await _within(connection, query(connection), self._patience.commit_seconds)

    async def moment(self) -> moment.Moment:
        """Read the clock."""
        return await self.read(lambda connection: moment.read(connection, self._clock))

    async def write(self, verb: Verb[Result], *, ids: int = 0) -> Result:
        """Run a verb in a transaction of its own."""

        async def run(transaction: Transaction) -> Result:
            await transaction.connection.execute(BEGIN)
            return await _within(transaction.connection, verb(transaction), self._patience.commit_seconds)

        return await self.write_at_once(run, ids=ids)

    async def write_at_once(self, verb: Verb[Result], *, ids: int = 0) -> Result:
        """Run a verb that writes with a single statement, which needs no BEGIN and no COMMIT.

        It sees no row that belongs to a company.
        """

        async def run(connection: Any) -> Result:
            instant = await moment.read(connection, self._clock, ids)
            return await verb(Transaction(connection, instant.now, instant.wall, instant.ids))

        return await self._against_rivals(run)

    async def write_soon(self, act: Callable[[Any, Clock | None], Awaitable[Result]], seconds: float = 0) -> Result:
        """Run what reads the clock by itself, as a transaction; raise `Silent` where it takes too long.

        It may take `commit_seconds`, and so many more.
        """

        async def run(connection: Any) -> Result:
            await connection.execute(BEGIN)
            return await _within(connection, act(connection, self._clock), self._patience.commit_seconds + seconds)

        try:
            async with asyncio.timeout(self._patience.commit_seconds + seconds):
                return await self._against_rivals(run)
        except TimeoutError as error:
            raise Silent("The database did not confirm in time: the outcome is unknown.") from error

    async def _against_rivals(self, write: Query[Result]) -> Result:
        for _ in range(RUNS_MAX):
            async with self._connection() as connection:
                try:
                    return await _confirmed(connection, write(connection))
                except asyncpg.PostgresError as error:
                    if not is_rivalry(error):
                        raise
        raise Contended("Too many requests changed the same thing at once.")

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        """Lend a connection; one that something was cut off on is not lent again."""
        pool = self._pool  # closing forgets it, and waits for what is lent to come back
        if pool is None:
            raise Unavailable("The database is not open.")
        try:
            connection = await pool.acquire(timeout=self._patience.connect_seconds)
            try:
                yield connection
            except (TimeoutError, asyncio.CancelledError):
                connection.terminate()
                raise
            finally:
                await pool.release(connection)
        except Exception as error:
            if ours := translated(error):
                raise ours from error
            raise


async def _within(connection: Any, work: Awaitable[Result], commit_seconds: float) -> Result:
    """Await what a begun transaction is for, and commit it."""
    try:
        result = await work
    except (TimeoutError, asyncio.CancelledError):
        raise  # cut off: this connection is not used again
    except BaseException:
        if not connection.is_closed():
            await connection.execute("ROLLBACK")
        raise
    async with asyncio.timeout(commit_seconds):
        await connection.execute("COMMIT")
    return result


async def _confirmed(connection: Any, writing: Awaitable[Result]) -> Result:
    """Await a write; raise `Unavailable` where the server warned about its commit."""
    warnings = []

    def note(_connection: Any, message: Any) -> None:
        if message.sqlstate == _WARNING:
            warnings.append(message)

    connection.add_log_listener(note)
    try:
        result = await writing
    finally:
        connection.remove_log_listener(note)
    if warnings:
        raise Unavailable("The database committed, but no standby confirmed it: the outcome is unknown.")
    return result
