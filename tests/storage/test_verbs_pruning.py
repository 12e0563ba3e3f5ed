"""What only explained or steered what is gone, on every engine: no table grows for ever, and no explanation changes."""

import apsw
import asyncpg
import pytest
from storage_samples import (
    DAY_MS,
    NOON_MS,
    HandClock,
    attempt,
    change,
    claim_one,
    event_of,
    populate,
    published,
    settle,
)

from hookline import replays
from hookline.lifecycle import GiveUp, Reason
from hookline.model import EventType, ReplayState
from hookline.storage.claims import NewReplay
from hookline.storage.postgres import PostgresStorage
from hookline.storage.protocol import Storage
from hookline.storage.sqlite import SqliteStorage

pytestmark = pytest.mark.anyio

RETENTION_MS = 30 * DAY_MS


async def forget(storage: Storage, limit: int = 100) -> None:
    for _ in range(200):
        if not await storage.forget(RETENTION_MS, limit):
            return
    raise AssertionError("forgetting comes to no end")


async def count(storage: Storage, table: str) -> int:
    sql = f"SELECT count(*) FROM {table}"
    if isinstance(storage, SqliteStorage):
        return int(apsw.Connection(storage._path).execute(sql).get)
    assert isinstance(storage, PostgresStorage)
    connection = await asyncpg.connect(storage._dsn)
    try:
        await connection.execute("SELECT set_config('hookline.all', 'on', false)")
        return int(await connection.fetchval(sql))
    finally:
        await connection.close()


@pytest.mark.parametrize("limit", [2, 100])
async def test_revisions_go_with_the_events_that_were_matched_under_them(
    storage: Storage, clock: HandClock, limit: int
) -> None:
    await populate(storage, {101: [1001, 1002]})
    for name in ("a", "b", "c"):
        await change(storage, 1001, event_types=(name,))
    await published(storage, {101: [1002]})
    await attempt(storage)
    clock.now += 20 * DAY_MS
    for name in ("d", "e", "f"):
        await change(storage, 1001, event_types=(name,))
    young = await published(storage, {101: [1002]})
    await attempt(storage)
    before = (await event_of(storage, young)).routes
    for name in ("g", "h", "i"):
        await change(storage, 1001, event_types=(name,))
    clock.now += 15 * DAY_MS
    await forget(storage, limit)
    assert (await event_of(storage, young)).routes == before
    await forget(storage, limit)  # the event that kept the first ones is gone by now
    assert await count(storage, "subscription_revisions WHERE subscription_id = 1001") == 4
    assert await count(storage, "subscription_revisions WHERE subscription_id = 1002") == 1
    assert (await event_of(storage, young)).routes == before


async def test_nothing_is_kept_of_a_deleted_subscription_after_the_last_event(
    storage: Storage, clock: HandClock
) -> None:
    await populate(storage, {101: [1001, 1002]})
    await published(storage, {101: [1001]})
    await attempt(storage)
    assert await storage.delete_subscription(1001)
    await forget(storage)
    assert await count(storage, "subscription_revisions WHERE subscription_id = 1001") == 2
    clock.now += 40 * DAY_MS
    for _ in range(2):
        await forget(storage)
    assert await count(storage, "subscription_revisions WHERE subscription_id = 1001") == 0
    assert await count(storage, "subscription_revisions WHERE subscription_id = 1002") == 1


async def test_the_catalogue_s_past_goes_with_its_events(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    for name in ("x", "y", "z"):
        assert await storage.put_event_type(EventType(name="order.paid", v1_name=name, v2_name=None))
    event_id = await published(storage, {101: [1001]})
    await attempt(storage)
    then = (await event_of(storage, event_id)).matched_type
    assert await storage.put_event_type(EventType(name="order.paid", v1_name="later", v2_name=None))
    await forget(storage)
    assert await count(storage, "event_type_revisions WHERE name = 'order.paid'") == 2
    assert (await event_of(storage, event_id)).matched_type == then
    assert await storage.delete_event_type("order.paid")
    clock.now += 40 * DAY_MS
    for _ in range(2):
        await forget(storage)
    assert await count(storage, "event_type_revisions WHERE name = 'order.paid'") == 0
    assert await count(storage, "event_type_revisions WHERE name = 'note.created'") == 1


async def test_a_replay_that_is_over_goes_after_the_retention_and_one_that_runs_stays(
    storage: Storage, clock: HandClock
) -> None:
    await populate(storage, {101: [1001, 1002]})
    await published(storage, {101: [1001]})
    await settle(storage, await claim_one(storage), GiveUp(Reason.EXHAUSTED))
    clock.now += 1_000
    asked = NewReplay(
        subscription_id=1002, company_id=None, from_at=NOON_MS - DAY_MS, to_at=NOON_MS + DAY_MS, status=None
    )
    over, cancelled, running = [await storage.create_replay(asked) for _ in range(3)]
    assert over
    assert cancelled
    assert running
    assert await storage.cancel_replay(over.id)
    assert await storage.cancel_replay(cancelled.id)
    clock.now += 29 * DAY_MS
    await forget(storage)
    assert await storage.replay(over.id)
    clock.now += 3 * DAY_MS
    await forget(storage)
    assert await storage.replay(over.id) is None
    assert await storage.replay(cancelled.id) is None
    found = await storage.replay(running.id)
    assert found
    assert found.state is ReplayState.RUNNING
    assert (await storage.step_replays(replays.FIRST)).is_running
