"""Run verbs, each as one transaction, and let no exception of the driver past.

What is confirmed is durable: a commit that came back with a warning, too late or not at all is `Unavailable`, its
outcome unknown. A transaction that a rival got the better of runs again.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import asyncpg
from msgspec import Struct, structs

from hookline.clock import Clock
from hookline.errors import Unavailable
from hookline.storage.postgres import buckets, moment
from hookline.storage.postgres.connection import (
    CONNECTION_ERRORS,
    Contended,
    Patience,
    Silent,
    casts_doubt,
    dial,
    dial_at_leisure,
    is_rivalry,
    refused,
    translated,
    verify,
)
from hookline.storage.postgres.hosts import Hosts

Result = TypeVar("Result")

POOL_MAX: Final = 10
"""Connections of one process: verbs are short, and a server of two cores serves no more of them at once."""

QUERIES_MAX: Final = 10_000_000
"""After so many a connection is made anew: its server process may have grown. asyncpg's 50,000 are minutes of ours."""

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
    """As many as were asked for."""
    buckets: Sequence[int] = buckets.EVERY
    """The group that it may write: every statement names it for every table that carries buckets."""

    def within(self, company_ids: Iterable[int]) -> "Transaction":
        """Return the same transaction for statements about these companies alone.

        Naming all buckets costs 40 µs a statement: the driver asks of each value whether it is a list too.
        """
        return structs.replace(self, buckets=buckets.of_companies(company_ids))

    async def draw(self, count: int) -> Sequence[int]:
        """Draw more ids."""
        return await moment.draw(self.connection, self.wall, count)


Verb = Callable[[Transaction], Awaitable[Result]]
Query = Callable[[Any], Awaitable[Result]]


async def connect(dsn: str) -> Any:
    """Make one connection for work that may take its time: a migration."""
    try:
        return await Hosts(dsn, dial_at_leisure).connect()
    except (*CONNECTION_ERRORS, asyncpg.PostgresError, ValueError) as error:
        raise refused(error) from error


class Database:
    """A pool of connections to the one server that accepts writes, of those that the address names."""

    def __init__(
        self, dsn: str, clock: Clock | None, patience: Patience, on_doubt: Callable[[], None] = lambda: None
    ) -> None:
        self._clock = clock
        self._on_doubt = on_doubt
        self._patience = patience
        self._hosts = Hosts(dsn, lambda address, seconds: dial(address, patience, seconds), self._leave_all)
        self._pool: Any = None
        self._doubts = 0
        """How often all connections were given up: what fails on one of an earlier time says nothing about a later."""
        self._watch: asyncio.Task[None] | None = None

    @property
    def connections(self) -> int:
        """How many are open."""
        return self._pool.get_size() if self._pool else 0

    @property
    def idle_connections(self) -> int:
        """How many of these are not in use."""
        return self._pool.get_idle_size() if self._pool else 0

    async def open(self) -> None:
        """Connect; raise `StartRefused` where the server is not one that can be relied upon."""
        self._pool = await asyncpg.create_pool(
            min_size=0,  # a pool that keeps a floor logs tracebacks while the server is away
            max_size=POOL_MAX,
            max_queries=QUERIES_MAX,
            connect=self._connect,
            reset=_leave,
        )
        try:
            async with self._pool.acquire():  # the first: where there is no such server or database, it shows here
                pass
        except (*CONNECTION_ERRORS, asyncpg.PostgresError, ValueError) as error:
            await self.close()
            raise refused(error) from error
        except BaseException:
            await self.close()
            raise
        if self._hosts.are_many:
            self._watch = asyncio.create_task(self._keep_looking())

    async def close(self) -> None:
        """Let verbs that run end, then disconnect; what outlasts every limit is cut off."""
        if self._watch:
            self._watch.cancel()
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

    async def read_soon(self, query: Query[Result]) -> Result:
        """Run a query of a few rows by key, which a publisher waits for; raise `Silent` where it takes too long."""
        return await self._soon(self.read_as(None, query), 0)

    async def moment(self) -> moment.Moment:
        """Read the clock."""
        return await self.read(lambda connection: moment.read(connection, self._clock))

    async def write(self, verb: Verb[Result], *, ids: int = 0) -> Result:
        """Run a verb in a transaction of its own."""

        async def begun(connection: Any) -> Result:
            return await verb(_transaction(connection, await moment.read_within(connection, self._clock, ids)))

        async def run(connection: Any) -> Result:
            await connection.execute(BEGIN)
            return await _within(connection, begun(connection), self._patience.commit_seconds)

        return await self._against_rivals(run)

    async def write_at_once(self, verb: Verb[Result], *, ids: int = 0) -> Result:
        """Run a verb that writes with a single statement, which needs no BEGIN and no COMMIT.

        It sees no row that belongs to a company.
        """

        async def run(connection: Any) -> Result:
            return await verb(_transaction(connection, await moment.read(connection, self._clock, ids)))

        return await self._against_rivals(run)

    async def write_soon(self, act: Callable[[Any, Clock | None], Awaitable[Result]], seconds: float = 0) -> Result:
        """Run what reads the clock by itself, as a transaction; raise `Silent` where it takes too long.

        It may take `commit_seconds`, and so many more.
        """

        async def run(connection: Any) -> Result:
            await connection.execute(BEGIN)
            return await _within(connection, act(connection, self._clock), self._patience.commit_seconds + seconds)

        return await self._soon(self._against_rivals(run), seconds)

    async def _soon(self, asking: Awaitable[Result], seconds: float) -> Result:
        doubts = self._doubts
        try:
            async with asyncio.timeout(self._patience.commit_seconds + seconds):
                return await asking
        except TimeoutError as error:
            await self._doubt(doubts)
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
        doubts = self._doubts
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
            if casts_doubt(error):
                await self._doubt(doubts)
            if ours := translated(error):
                raise ours from error
            raise

    async def _connect(self, *_: Any, **__: Any) -> Any:
        """Make a connection for the pool, which passes what we have no use for."""
        connection = await self._hosts.connect()
        try:
            await verify(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _doubt(self, doubts: int) -> None:
        """Give all connections up after one of them failed: the others may lead to the same dead end."""
        if doubts == self._doubts:
            self._hosts.doubt()
            await self._leave_all()

    async def _leave_all(self) -> None:
        self._doubts += 1
        self._on_doubt()
        if self._pool is not None:
            await self._pool.expire_connections()

    async def _keep_looking(self) -> None:
        """Notice that another server has taken over, even where the old one still answers."""
        while True:
            await asyncio.sleep(self._patience.search_seconds)
            self._hosts.doubt()
            try:
                connection = await self._hosts.connect()
            except (*CONNECTION_ERRORS, asyncpg.PostgresError):
                continue  # whoever has something to do will say so
            connection.terminate()


async def _leave(connection: Any) -> None:
    """Reset nothing: no verb leaves anything behind in its session, and resetting would cost each a round trip."""


def _transaction(connection: Any, instant: moment.Moment) -> Transaction:
    return Transaction(connection, instant.now, instant.wall, instant.ids)


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
