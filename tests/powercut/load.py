"""One recorded run: publishing and delivering on virtual time, by the real code, with some of everything in it.

A process starts on an empty directory, works, ends in order, and another goes on. The log is folded into the database
often, so that cuts fall into that too.
"""

import asyncio
from pathlib import Path
from random import Random
from typing import Any, cast

from msgspec import Raw, Struct, structs

from hookline.drafting import EventRequest
from hookline.engine import Engine
from hookline.model import Policies, Subscription
from hookline.publishing import Publisher
from hookline.storage.protocol import Storage
from hookline.storage.publications import IdempotencyKey
from hookline.storage.sqlite import SqliteStorage
from hookline.storage.sqlite.committing import Broken, Committer, Request
from hookline.storage.sqlite.readers import InlineReaders
from powercut.ledger import Ledger, Witnessed
from powercut.recording import Recording, RecordingVfs
from simulation.virtual import VirtualClock, run, virtual_loop
from simulation.world import World, answered, statuses

PAGES_BETWEEN_CHECKPOINTS = 30
"""Instead of thousands: a checkpoint every few commits."""
PUBLISHERS = 3
ROUNDS = 3


class Recorded(Struct, frozen=True):
    """A run, and what it left: the facts that every image is held against."""

    recording: Recording
    ledger: Ledger
    facts: "Facts"


class Facts(Struct, frozen=True):
    """Each event as it was stored, whole: by id, everything of it that never changes."""

    events: dict[str, tuple[Any, ...]]
    keys: dict[str, str]


def record(folder: Path, seed: int, *, synchronous: str = "FULL") -> Recorded:
    """Run once in an empty `folder`; `synchronous` other than FULL shows what would be lost without it."""
    path = folder / "world.db"
    recording = Recording(path)
    ledger = Ledger(recording)
    vfs = RecordingVfs(f"recording-{seed}", recording)
    loop = virtual_loop()
    world = _RecordedWorld(folder, VirtualClock(loop), seed, vfs=f"recording-{seed}", synchronous=synchronous)
    try:
        facts = run(_play(world, ledger), loop)
    finally:
        vfs.unregister()
    return Recorded(recording, ledger, facts)


class _GroupingWriter:
    """Commits together what was asked for in one turn of the loop, as the writer's thread would, but repeatably."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self._queue: list[tuple[Request[Any, Any], asyncio.Future[Any]]] = []

    async def run(self, request: Request[Any, Any]) -> Any:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        if not self._queue:
            loop.call_soon(self._commit)
        self._queue.append((request, future))
        return await future

    async def close(self) -> None:
        self._commit()
        self._committer.close()

    def _commit(self) -> None:
        group, self._queue = self._queue, []
        endings = self._committer.commit([request for request, _ in group]) if group else ()
        for (_, future), ending in zip(group, endings, strict=True):
            if future.done():
                continue
            if isinstance(ending, Broken):
                future.set_exception(ending.error)
            else:
                future.set_result(ending.value)


class _RecordedWorld(World):
    """A world whose database lies on a file system that remembers."""

    def __init__(self, folder: Path, clock: VirtualClock, seed: int, *, vfs: str, synchronous: str) -> None:
        self._vfs = vfs
        self._synchronous = synchronous
        super().__init__(folder, clock, seed)

    def _storage(self) -> SqliteStorage:
        return SqliteStorage(self.path, clock=self.clock, writer=self._writer, readers=InlineReaders, vfs=self._vfs)

    def _writer(self, committer: Committer) -> _GroupingWriter:
        committer._connection.execute(f"PRAGMA wal_autocheckpoint = {PAGES_BETWEEN_CHECKPOINTS}")
        committer._connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        return _GroupingWriter(committer)


async def _play(world: _RecordedWorld, ledger: Ledger) -> Facts:
    await world.open()
    companies = [await world.company() for _ in range(2)]
    subscriptions = [
        await world.subscription(company_id, f"/{company_id}/{number}", Policies(retry_delays_seconds=(2, 5)))
        for company_id in companies
        for number in range(3)
    ]
    scripts = [statuses(200), statuses(500, 503, 200), statuses(500), statuses(410), statuses(200), statuses(200, 500)]
    for subscription, script in zip(subscriptions, scripts, strict=True):
        world.receivers.scripts[_path(subscription)] = script

    async def busy(_call: Any, number: int) -> Any:
        return answered(503, "3") if number % 3 == 0 else answered(200)

    world.receivers.scripts[_path(subscriptions[4])] = busy
    await _work(world, ledger, companies, subscriptions, first=0)
    await world.reopen()
    await _work(world, ledger, companies, subscriptions, first=1000)
    facts = _facts(world.storage)
    await world.storage.close()
    return facts


async def _work(
    world: _RecordedWorld, ledger: Ledger, companies: list[int], subscriptions: list[Subscription], first: int
) -> None:
    storage = cast("Storage", Witnessed(world.storage, ledger))
    publisher = Publisher(
        storage=storage, clock=world.clock, random_bytes=world.random.randbytes, event_source="https://h.example.com"
    )
    engine = world.engine(storage)
    running = asyncio.create_task(engine.run())
    async with asyncio.TaskGroup() as tasks:
        for number in range(PUBLISHERS):
            tasks.create_task(_publish(world, publisher, engine, companies, first + number * 100))
        tasks.create_task(_change(world.random, storage, subscriptions))
    await asyncio.sleep(world.random.uniform(0, 12))
    engine.stop()
    await running


async def _publish(
    world: _RecordedWorld, publisher: Publisher, engine: Engine, companies: list[int], first: int
) -> None:
    random = world.random
    for number in range(first, first + ROUNDS):
        requests = [
            EventRequest(
                event_type="note.created",
                data=Raw(b'{"n":%d,"text":"%b"}' % (number, b"x" * random.choice((10, 300, 3_000, 9_000)))),
                company_ids=random.sample(companies, random.randint(1, 2)),
                id=f"e{number}-{part}" if random.random() < 0.5 else None,
            )
            for part in range(random.choice((1, 1, 1, 4)))
        ]
        key = None
        if random.random() < 0.5:
            key = IdempotencyKey(key=f"k{number}", fingerprint=random.randbytes(32), lives_ms=3_600_000)
        for _ in range(random.choice((1, 2))):  # a publisher that was not sure repeats
            await publisher.publish_batch(requests, key)
        engine.wake()
        await asyncio.sleep(random.choice((0, 0, 0.01, 1)))


async def _change(random: Random, storage: Storage, subscriptions: list[Subscription]) -> None:
    for subscription in random.sample(subscriptions, 3):
        await asyncio.sleep(random.uniform(0, 2))
        stored = await storage.subscription(subscription.id)
        if stored is None:
            continue
        is_active = not stored.active
        await storage.replace_subscription(
            structs.replace(
                stored,
                revision=stored.revision + 1,
                active=is_active,
                inactive_reason=None if is_active else "requested",
                inactive_at=None if is_active else stored.updated_at,
            ),
            lift_hold=is_active,
        )
    if random.random() < 0.5:
        await storage.delete_subscription(random.choice(subscriptions).id)


def _path(subscription: Subscription) -> str:
    return "/" + subscription.callback_url.split("/", 3)[3]


def _facts(storage: Storage) -> Facts:
    assert isinstance(storage, SqliteStorage)
    writer: Any = storage._writer
    return read_facts(writer._committer._connection)


_EVENTS = """
SELECT id, event_type, data, fingerprint, occurred_at, accepted_at, deliveries,
  (SELECT group_concat(id || ' ' || subscription_id || ' ' || type_name, ',') FROM (
     SELECT id, subscription_id, type_name FROM deliveries WHERE event_key = key ORDER BY id)),
  (SELECT group_concat(company_id || ' ' || company_revision || ' ' || coalesce(entries, ''), ',') FROM (
     SELECT company_id, company_revision, entries FROM recipients WHERE event_key = key ORDER BY company_id))
FROM events"""


def read_facts(connection: Any) -> Facts:
    """Read what never changes of events and keys."""
    return Facts(
        {row[0]: row for row in connection.execute(_EVENTS)},
        dict(connection.execute("SELECT key, answer FROM idempotency_keys")),
    )
