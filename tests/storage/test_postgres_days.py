"""What happened lies apart by day: found wherever it is, dropped when it has had its time, and nothing open with it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from msgspec.structs import replace
from storage_samples import (
    DAY_MS,
    HandClock,
    a_company,
    attempt,
    claim_one,
    delivery_of,
    event_of,
    log_of,
    populate,
    publish,
    published,
    settle,
    states_of,
)

from hookline.lifecycle import GiveUp, Reason
from hookline.model import DeliveryState
from hookline.storage.postgres import PostgresStorage
from hookline.storage.postgres.days import AHEAD, KEYS, day_of
from hookline.storage.publications import Published
from hookline.storage.views import EventQuery
from postgres_server import Server

pytestmark = pytest.mark.anyio

RETENTION_MS = 30 * DAY_MS


@pytest.fixture
async def url(postgres_server: Server) -> AsyncIterator[str]:
    """A database of the test's own: partitions outlast the rows that are removed between tests."""
    async with postgres_server.database() as url:
        yield await postgres_server.owned(urlsplit(url).path[1:])


@pytest.fixture
async def storage(url: str, clock: HandClock) -> AsyncIterator[PostgresStorage]:
    storage = PostgresStorage(url, clock=clock)
    await storage.open()
    await populate(storage, {101: [1001]})
    yield storage
    await storage.close()


@pytest.fixture
async def someone(url: str, postgres_server: Server) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(postgres_server.as_administrator(url))
    yield connection
    await connection.close()


async def places(someone: Any, table: str) -> set[str]:
    """The partitions of a table in which rows lie."""
    return {row[0] for row in await someone.fetch(f"SELECT DISTINCT tableoid::regclass::text FROM {table}")}


async def days(someone: Any, table: str) -> set[str]:
    rows = await someone.fetch(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::text::regclass", table
    )
    return {row[0] for row in rows} - {f"{table}_rest"}


async def count(someone: Any, table: str) -> int:
    found: int = await someone.fetchval(f"SELECT count(*) FROM {table}")
    return found


async def forget(storage: PostgresStorage, retention_ms: int = RETENTION_MS) -> None:
    while await storage.drop_days(retention_ms, 2):
        pass


# --- the days to come ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("storage")
async def test_a_new_database_has_the_days_to_come(someone: Any) -> None:
    now = await someone.fetchval("SELECT (extract(epoch FROM now()) * 1000)::bigint")
    for table in KEYS:
        assert {day_of(table, now + number * DAY_MS).name for number in range(AHEAD)} <= await days(someone, table)


async def test_what_happens_lies_with_its_day(someone: Any, storage: PostgresStorage, clock: HandClock) -> None:
    await storage.prepare_days()
    await publish(storage)
    await attempt(storage)
    for table in KEYS:
        assert await places(someone, table) == {day_of(table, clock.now).name}


async def test_days_are_made_once_each_and_go_on_with_the_clock(
    someone: Any, storage: PostgresStorage, clock: HandClock
) -> None:
    await storage.prepare_days()
    before = await days(someone, "attempts")
    await storage.prepare_days()
    clock.now += DAY_MS
    await storage.prepare_days()
    assert await days(someone, "attempts") - before == {day_of("attempts", clock.now + AHEAD * DAY_MS).name}


async def test_a_day_that_nobody_made_loses_nothing_and_ends_where_it_began(
    someone: Any, storage: PostgresStorage, clock: HandClock
) -> None:
    event_id = await published(storage)
    await attempt(storage)
    await storage.prepare_days()
    assert await places(someone, "events") == {"events_rest"}
    assert day_of("events", clock.now).name not in await days(someone, "events")
    assert day_of("events", clock.now + DAY_MS).name in await days(someone, "events")
    await publish(storage)
    assert await places(someone, "events") == {"events_rest"}
    assert await states_of(storage, event_id) == {1001: DeliveryState.SUCCEEDED}
    assert len(await log_of(storage)) == 1


# --- open and ended --------------------------------------------------------------------------------------------------


async def test_a_delivery_that_ends_leaves_the_open_ones(someone: Any, storage: PostgresStorage) -> None:
    for wait_ms in (None, 0):
        await publish(storage)
        await attempt(storage, wait_ms)
    assert (await count(someone, "deliveries"), await count(someone, "ended_deliveries")) == (1, 1)
    await attempt(storage)
    assert (await count(someone, "deliveries"), await count(someone, "ended_deliveries")) == (0, 2)


async def test_pending_deliveries_of_a_deleted_subscription_leave_too(someone: Any, storage: PostgresStorage) -> None:
    event_id = await published(storage)
    await storage.delete_subscription(1001)
    assert await storage.close_deleted(10) == 1
    assert (await count(someone, "deliveries"), await count(someone, "ended_deliveries")) == (0, 1)
    (view,) = (await event_of(storage, event_id)).deliveries
    assert (view.state, view.reason) == (DeliveryState.CANCELLED, Reason.DELETED)


async def test_an_ended_delivery_can_be_opened_again(someone: Any, storage: PostgresStorage) -> None:
    await publish(storage)
    claimed = await claim_one(storage)
    assert await settle(storage, claimed, GiveUp(Reason.EXHAUSTED))
    redeliveries = await asyncio.gather(*(storage.redeliver(1001, claimed.id) for _ in range(5)))
    assert {found.state for found in redeliveries if found} <= {DeliveryState.DEAD, DeliveryState.PENDING}
    assert (await count(someone, "deliveries"), await count(someone, "ended_deliveries")) == (1, 0)
    view = await delivery_of(storage, claimed)
    assert (view.state, view.failures, view.settled_at) == (DeliveryState.PENDING, 0, None)
    assert (await attempt(storage)).attempt == claimed.attempt + 1
    assert (await delivery_of(storage, claimed)).state is DeliveryState.SUCCEEDED
    assert [row.number for row in await log_of(storage)] == [1, 2]
    assert (await count(someone, "deliveries"), await count(someone, "ended_deliveries")) == (0, 1)


# --- days that have had their time -----------------------------------------------------------------------------------


async def test_a_day_is_dropped_with_all_that_ended_in_it(
    someone: Any, storage: PostgresStorage, clock: HandClock
) -> None:
    await storage.prepare_days()
    begun = clock.now
    for number in range(5):
        await publish(storage, event_id=f"e{number}")
        await attempt(storage)
    clock.now += RETENTION_MS
    await forget(storage)
    assert await count(someone, "events") == 5, "not before every row is older than the retention"
    clock.now += DAY_MS
    await forget(storage)
    for table in (*KEYS, "event_keys"):
        assert await count(someone, table) == 0
    for table in KEYS:
        assert day_of(table, begun).name not in await days(someone, table)
    assert await storage.events(EventQuery(limit=10)) == ()
    assert isinstance(await publish(storage, event_id="e1", data=b'{"another":1}'), Published), "its id is free"


async def test_what_is_open_outlasts_its_day(someone: Any, storage: PostgresStorage, clock: HandClock) -> None:
    await storage.prepare_days()
    await publish(storage)
    await attempt(storage)
    event_id = await published(storage, event_id="held", data=b'{"open":1}')
    clock.now += 100 * DAY_MS
    await forget(storage)
    assert await places(someone, "events") == {"events_rest"}
    assert [view.event.id for view in await storage.events(EventQuery(limit=10, company_id=101))] == [event_id]
    assert await publish(storage, event_id="held", data=b'{"open":1}') is not None
    assert (await count(someone, "deliveries"), await count(someone, "event_keys")) == (1, 1)
    claimed = await claim_one(storage)
    assert claimed.data == b'{"open":1}'
    assert await settle(storage, claimed)
    clock.now += 29 * DAY_MS
    await forget(storage)
    assert await states_of(storage, event_id) == {1001: DeliveryState.SUCCEEDED}
    clock.now += 2 * DAY_MS
    await forget(storage)
    for table in (*KEYS, "event_keys"):
        assert await count(someone, table) == 0


async def test_a_delivery_that_ended_late_is_kept_for_the_retention_from_then(
    someone: Any, storage: PostgresStorage, clock: HandClock
) -> None:
    await storage.prepare_days()
    event_id = await published(storage)
    begun = clock.now
    clock.now += 20 * DAY_MS
    claimed = await claim_one(storage)
    assert await settle(storage, claimed, GiveUp(Reason.EXHAUSTED))
    clock.now = begun + 31 * DAY_MS
    await forget(storage)
    assert day_of("ended_deliveries", begun).name not in await days(someone, "ended_deliveries")
    assert await states_of(storage, event_id) == {1001: DeliveryState.DEAD}
    assert len(await log_of(storage)) == 1


async def test_a_company_that_keeps_its_rows_longer_makes_all_stay(
    someone: Any, storage: PostgresStorage, clock: HandClock
) -> None:
    await storage.prepare_days()
    await storage.create_company(replace(a_company(102), retention_days=90))
    await publish(storage)
    await attempt(storage)
    clock.now += 60 * DAY_MS
    await forget(storage)
    assert await count(someone, "events") == 1
    clock.now += 31 * DAY_MS
    await forget(storage)
    assert await count(someone, "events") == 0


async def test_a_day_with_too_much_that_is_needed_stays_whole(
    someone: Any, storage: PostgresStorage, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.storage.postgres.days.CARRIED_MAX", 2)
    await storage.prepare_days()
    begun = clock.now
    for _ in range(3):
        await publish(storage)
    clock.now += 100 * DAY_MS
    await forget(storage)
    assert await places(someone, "events") == {day_of("events", begun).name}
    assert len(await storage.events(EventQuery(limit=10, company_id=101))) == 3


@pytest.mark.parametrize("table", ["events", "attempts", "ended_deliveries", "recipients"])
async def test_a_busy_table_is_left_for_another_time(
    someone: Any, storage: PostgresStorage, clock: HandClock, table: str
) -> None:
    await storage.prepare_days()
    begun = clock.now
    await publish(storage)
    await attempt(storage)
    clock.now += 31 * DAY_MS
    async with someone.transaction():
        await someone.execute(f"LOCK TABLE {table} IN ACCESS SHARE MODE")
        await forget(storage)
        await storage.prepare_days()
        assert day_of(table, begun).name in await days(someone, table)
        assert day_of(table, clock.now).name not in await days(someone, table)
    await forget(storage)
    await storage.prepare_days()
    assert day_of(table, begun).name not in await days(someone, table)
    assert day_of(table, clock.now).name in await days(someone, table)
