"""The real SQLite engine, its commits and answers drawn into the length: groups form, answers get lost, crashes fall
between a commit and its answer. What was committed is told to an observer in the order of the commits.

One database in memory for a whole process of simulation, emptied between two runs: opening one costs more than a run,
and what a disk can do wrong is the power-cut test's matter.
"""

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from contextvars import Context, ContextVar, copy_context
from pathlib import Path
from random import Random
from typing import Any, Final

import apsw
from msgspec import Struct

from hookline import circuit
from hookline.clock import Clock
from hookline.errors import Unavailable
from hookline.storage.sqlite import SqliteStorage, engine, upkeep
from hookline.storage.sqlite.committing import Broken, Committer, Done, Ending, Request
from hookline.storage.sqlite.connection import STATEMENTS_CACHED
from hookline.storage.sqlite.readers import Query, Result, _in_snapshot

_EMPTIED: Final = (
    "replayed",
    "replays",
    "notices",
    "attempts",
    "deliveries",
    "recipients",
    "events",
    "lanes",
    "subscription_revisions",
    "subscriptions",
    "tokens",
    "idempotency_keys",
)
"""Children before parents."""


class Note(Struct, frozen=True):
    """Which verb was called with what, by which node."""

    verb: str
    node: int
    args: tuple[Any, ...]
    named: dict[str, Any]


NOTE: ContextVar[Note | None] = ContextVar("note", default=None)
"""For what the writer is called: set by the caller of a verb, which may read first and write later."""

Observe = Callable[[Note | None, Any, bool], None]
"""Is told of each committed or refused request, and whether its answer will be delivered; at last, without a note, how
many requests the group had."""


class Weather:
    """How the database behaves: drawn delays, and faults that steps of a schedule announce."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.is_bad = False
        """Until it clears, every third group is refused or has its answer lost."""
        self.slow_seconds = 0.0
        """What answers take longer."""
        self.strangers = 0.0
        """The share of groups that hold a request which fails on its own data."""
        self.deafened: int | None = None
        """A node that is stopped when its next claim is committed, before it hears of it."""
        self.stop: Callable[[int], None] = lambda _node: None

    def commit_seconds(self) -> float:
        return self._random.choice((0.0, 0.0005, 0.002))

    def answer_seconds(self) -> float:
        return self._random.choice((0.0, 0.0005, 0.002)) + (
            self.slow_seconds and self._random.random() * self.slow_seconds
        )

    def read_seconds(self) -> float:
        return self._random.choice((0.0, 0.0, 0.001)) + self.slow_seconds * 0.1

    def fate(self) -> str:
        if not self.is_bad:
            return "confirmed"
        return self._random.choice(("confirmed", "confirmed", "refused", "unknown"))

    def took(self, node: int) -> None:
        """Stop a node that has just claimed something, where a step wants that."""
        if node == self.deafened:
            self.deafened = None
            self.stop(node)

    def has_stranger(self) -> bool:
        return self._random.random() < self.strangers


class Database:
    """The database and its connection. `storage` begins a process on it, as `serve` does."""

    def __init__(self) -> None:
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self._folder = tempfile.TemporaryDirectory(prefix="hookline-simulation-", dir=memory)
        self.path = f"{self._folder.name}/world.db"
        """Only its lock file is ever made."""
        self.connection = apsw.Connection(":memory:", statementcachesize=STATEMENTS_CACHED)
        self.connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # as in a file: else no page can be given back
        self.connection.execute("PRAGMA foreign_keys = ON")
        engine._verify_schema(self.connection)
        self._connect_writer = vars(engine)["connect_writer"]
        vars(engine)["connect_writer"] = lambda _path, _vfs=None: self.connection

    def empty(self) -> None:
        """Make it what it was when it was created."""
        run = self.connection.execute
        if self.connection.in_transaction:
            run("ROLLBACK")
        run("BEGIN IMMEDIATE")
        for table in _EMPTIED:
            run(f"DELETE FROM {table}")
        run("DELETE FROM companies WHERE id <> 1")
        run("DELETE FROM event_types WHERE name LIKE 'order.%'")
        run("DELETE FROM event_type_revisions WHERE revision > 1")
        run("UPDATE installation SET change_counter = 1, catalogue_revision = 1, probed_at = 0")
        run("COMMIT")

    def storage(
        self, clock: Clock, weather: Weather, observe: Observe, rules: circuit.Rules
    ) -> "tuple[SqliteStorage, GroupingWriter]":
        """Make the storage of one process, to be opened by it."""

        def open_writer(committer: Committer) -> GroupingWriter:
            writer.begin(committer)
            return writer

        writer = GroupingWriter(weather, observe)
        storage = SqliteStorage(
            self.path,
            clock=clock,
            circuit_rules=rules,
            writer=open_writer,
            readers=lambda _: WaveringReaders(self.connection, weather),
        )
        return storage, writer

    def close(self) -> None:
        vars(engine)["connect_writer"] = self._connect_writer
        self.connection.close()
        self._folder.cleanup()


class GroupingWriter:
    """A `Writer` that commits in groups at drawn moments. It stops with whoever opened the storage."""

    def __init__(self, weather: Weather, observe: Observe) -> None:
        self._weather = weather
        self._observe = observe
        self._committer: Committer | None = None
        self._context: Context | None = None
        self._queue: list[tuple[Request[Any, Any], Note | None, asyncio.Future[Any]]] = []
        self.is_dead = False

    def begin(self, committer: Committer) -> None:
        self._committer = committer
        self._context = copy_context()

    async def run(self, request: Request[Any, Any]) -> Any:
        note = NOTE.get()
        if request.argument is upkeep.end_leases:
            note = Note("end_leases", 0, (), {})
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if not self._queue:
            loop.call_later(self._weather.commit_seconds(), self._commit, context=self._context)
        self._queue.append((request, note, future))
        return await future

    async def close(self) -> None:
        """The connection stays open for the next process."""

    def _commit(self) -> None:
        if self.is_dead or self._committer is None:
            return
        group, self._queue = self._queue, []
        fate = self._weather.fate()
        if fate == "refused":
            endings: Sequence[Ending] = [Broken(Unavailable("Not confirmed."))] * len(group)
        else:
            requests = [request for request, _, _ in group]
            if self._weather.has_stranger():
                requests.append(Request(_stranger, None))
            endings = self._committer.commit(requests)
        for (_, note, _), ending in zip(group, endings, strict=False):
            if note is not None:
                self._observe(note, ending, fate == "confirmed")
                if note.verb == "claim_due" and isinstance(ending, Done) and ending.value.deliveries:
                    self._weather.took(note.node)
        self._observe(None, len(group), fate == "confirmed")
        if fate == "unknown":
            endings = [Broken(Unavailable("Outcome unknown."))] * len(group)
        asyncio.get_running_loop().call_later(
            self._weather.answer_seconds(), _answer, [future for _, _, future in group], endings, context=self._context
        )


def _stranger(_transaction: object, _arguments: Sequence[object]) -> Sequence[object]:
    raise ValueError("a stranger's bad row")


def _answer(futures: Sequence["asyncio.Future[Any]"], endings: Sequence[Ending]) -> None:
    for future, ending in zip(futures, endings, strict=False):
        if future.done():
            continue
        match ending:
            case Done(value):
                future.set_result(value)
            case Broken(error):
                future.set_exception(error)


class WaveringReaders:
    """`Readers` whose snapshot lies anywhere between question and answer."""

    def __init__(self, connection: apsw.Connection, weather: Weather) -> None:
        self._connection = connection
        self._weather = weather

    async def run(self, query: Query[Result]) -> Result:
        await asyncio.sleep(self._weather.read_seconds())
        result = _in_snapshot(self._connection, query)
        await asyncio.sleep(self._weather.read_seconds())
        return result

    async def close(self) -> None:
        """The connection stays open for the next process."""
