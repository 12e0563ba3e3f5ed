"""What must hold of a database found after a cut, opened by the code that would open it."""

from collections.abc import Callable, Coroutine
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, assert_never

import apsw

from hookline.storage.sqlite import SqliteStorage
from hookline.storage.sqlite.readers import Query
from hookline.storage.sqlite.writer import InlineWriter
from powercut.disk import Files
from powercut.ledger import (
    AttemptPromised,
    DeletionPromised,
    EndPromised,
    EventPromised,
    KeyPromised,
    Promise,
    SubscriptionPromised,
)
from powercut.load import Recorded, read_facts
from simulation.virtual import EPOCH_MS

Result = TypeVar("Result")


class _Stopped:
    """The clock of a process that starts a minute after everything."""

    def wall_ms(self) -> int:
        return EPOCH_MS + 10_000_000

    def schedule_ms(self) -> int:
        return EPOCH_MS + 10_000_000

    def monotonic_seconds(self) -> float:
        return 0.0


class _NoReaders:
    """Opens nothing: recovery is the writer's, and two connections less make an image cost half."""

    def __init__(self, _connect: Callable[[], Any]) -> None:
        pass

    async def run(self, query: Query[Result]) -> Result:
        raise NotImplementedError

    async def close(self) -> None:
        pass


class Oracle:
    """Judges the images of one recording, cut after cut, each not before the one before it."""

    def __init__(self, recorded: Recorded, folder: Path) -> None:
        self._facts = recorded.facts
        self._publications = recorded.ledger.publications
        self._to_come = recorded.ledger.promises[::-1]
        self._events: set[str] = set()
        self._keys: set[str] = set()
        self._attempts: dict[int, int] = {}
        self._lines: set[tuple[int, int]] = set()
        self._ends: dict[int, str] = {}
        self._revisions: dict[int, int] = {}
        self._deleted: set[int] = set()
        self._path = folder / "image.db"

    @property
    def promised(self) -> int:
        """How many promises hold at this cut."""
        return len(self._events) + len(self._lines) + len(self._attempts)

    def advance(self, position: int) -> None:
        """Hold images to all that was promised before this position of the recording."""
        while self._to_come and self._to_come[-1][0] <= position:
            self._hold(self._to_come.pop()[1])

    def _hold(self, promise: Promise) -> None:
        match promise:
            case EventPromised(event_id):
                self._events.add(event_id)
            case KeyPromised(key):
                self._keys.add(key)
            case AttemptPromised(delivery_id, attempt):
                self._attempts[delivery_id] = max(attempt, self._attempts.get(delivery_id, 0))
            case EndPromised(delivery_id, attempt, state):
                self._lines.add((delivery_id, attempt))
                if state:
                    self._ends[delivery_id] = state
            case SubscriptionPromised(subscription_id, revision):
                self._revisions[subscription_id] = revision
            case DeletionPromised(subscription_id):
                self._deleted.add(subscription_id)
            case _:
                assert_never(promise)

    def judge(self, files: Files, *, thoroughly: bool) -> list[str]:
        """Open what was found, as the next process would; return what is wrong with it."""
        for name in ("", "-wal", "-journal", "-shm"):
            path = Path(f"{self._path}{name}")
            if name in files:
                path.write_bytes(files[name])
            else:
                path.unlink(missing_ok=True)
        storage = SqliteStorage(str(self._path), clock=_Stopped(), writer=InlineWriter, readers=_NoReaders)
        try:
            _complete(storage.open())
        except Exception as error:  # noqa: BLE001 - whatever it is, the next process would not start
            return [f"the database does not open: {error!r}"]
        try:
            writer: Any = storage._writer
            connection = writer._committer._connection
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            return [*self._wrong(connection), *(_corrupt(connection) if thoroughly else ())]
        except Exception as error:  # noqa: BLE001
            return [f"the database cannot be read: {error!r}"]
        finally:
            _complete(storage.close())

    def _wrong(self, connection: Any) -> list[str]:
        found = read_facts(connection)
        lines = set(connection.execute("SELECT delivery_id, number FROM attempts"))
        deliveries = {row[0]: row[1:] for row in connection.execute("SELECT id, state, attempt FROM deliveries")}
        subscriptions = {
            row[0]: row[1:] for row in connection.execute("SELECT id, revision, deleted_at FROM subscriptions")
        }
        return list(
            chain(
                (f"I1: acknowledged event {event} is lost" for event in self._events - found.events.keys()),
                (
                    f"I1, I2: event {event} is there in part: {row!r}"
                    for event, row in found.events.items()
                    if row != self._facts.events.get(event)
                ),
                (
                    f"I2: of a publish of {its_events} a part is there"
                    for its_events in self._publications
                    if len({event in found.events for event in its_events}) > 1
                ),
                (f"the answer to key {key} is lost" for key in self._keys - found.keys.keys()),
                (
                    f"the answer to key {key} is another"
                    for key, answer in found.keys.items()
                    if answer != self._facts.keys.get(key)
                ),
                (f"the log has lost attempt {line}" for line in self._lines - lines),
                (
                    f"I4: delivery {delivery_id} had ended {state} and is {deliveries.get(delivery_id)}"
                    for delivery_id, state in self._ends.items()
                    if deliveries.get(delivery_id, ("missing",))[0] not in {state, "cancelled"}
                ),
                (
                    f"I11: attempt {attempt} of delivery {delivery_id} could be given out again"
                    for delivery_id, attempt in self._attempts.items()
                    if deliveries.get(delivery_id, ("", 0))[1] < attempt
                ),
                (
                    f"subscription {key} has lost revision {revision}"
                    for key, revision in self._revisions.items()
                    if subscriptions.get(key, (0, None))[0] < revision
                ),
                (
                    f"I6: subscription {key} had been deleted"
                    for key in self._deleted
                    if subscriptions.get(key, (0, None))[1] is None
                ),
            )
        )


def _corrupt(connection: Any) -> list[str]:
    findings = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    broken = list(connection.execute("PRAGMA foreign_key_check"))
    return [f"integrity_check: {finding}" for finding in findings if finding != "ok"] + [
        f"foreign_key_check: {row}" for row in broken
    ]


def _complete(work: Coroutine[Any, Any, Result]) -> Result:
    """Run what never waits, as inlined storage does not."""
    try:
        work.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
    raise AssertionError("inlined storage does not wait")
