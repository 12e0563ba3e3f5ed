"""A row that is not as it was written is told apart; everything around it is claimed as ever."""

from collections.abc import Awaitable, Callable
from random import Random

import apsw
import asyncpg
import pytest
from msgspec.structs import replace
from storage_samples import (
    DAY_MS,
    NOON_MS,
    HandClock,
    a_flight,
    a_publication,
    a_subscription,
    an_event,
    claim,
    create,
    delivery_of,
    event_of,
    log_of,
    populate,
    published,
    settle,
    states_of,
)

from hookline import circuit, replays
from hookline.announcing import Announcer, announcement_of
from hookline.lifecycle import GiveUp, Reason
from hookline.model import BUILT_IN_COMPANY_ID, DeliveryState, PayloadVersion, Policies, ReplayState, Subscription
from hookline.publishing import Publisher
from hookline.storage.claims import Fence, NewReplay, Unreadable
from hookline.storage.postgres import PostgresStorage
from hookline.storage.protocol import Storage
from hookline.storage.publications import Published
from hookline.storage.sqlite import SqliteStorage
from hookline.storage.views import SubscriptionQuery

pytestmark = pytest.mark.anyio

Damage = Callable[[str], Awaitable[None]]


@pytest.fixture
def damage(storage: Storage) -> Damage:
    """Write past the verbs and past what the schema checks, as a flipped bit or a careless hand does."""

    async def damaged(sql: str) -> None:
        if isinstance(storage, PostgresStorage):
            connection = await asyncpg.connect(storage._dsn)
            try:
                await connection.execute("SELECT set_config('hookline.all', 'on', false)")
                await connection.execute(sql)
            finally:
                await connection.close()
        else:
            assert isinstance(storage, SqliteStorage)
            direct = apsw.Connection(storage._path)
            direct.execute("PRAGMA ignore_check_constraints = ON")
            direct.execute(sql)
            direct.close()

    return damaged


DELIVERY = (
    "UPDATE deliveries SET payload_version = 'V9' WHERE id = {delivery}",
    "UPDATE events SET data = NULL WHERE id = '{id}'",
    "UPDATE events SET data = substr(data, 1, 0) WHERE id = '{id}'",
    "DELETE FROM events WHERE id = '{id}'",
)


@pytest.mark.parametrize("sql", DELIVERY)
async def test_a_damaged_delivery_is_told_apart_and_parked_while_others_are_claimed(
    storage: Storage, damage: Damage, sql: str
) -> None:
    await populate(storage, {101: [1001, 1002]})
    broken = await published(storage)
    whole = [await published(storage), await published(storage, {101: [1002]})]
    deliveries = (await event_of(storage, broken)).deliveries
    await damage(sql.format(id=broken, delivery=deliveries[0].id))
    found = await claim(storage)
    assert sorted(one.event_id for one in found.deliveries) == sorted(whole)
    ((fence, unreadable),) = found.unreadable
    assert fence == Fence(delivery_id=deliveries[0].id, subscription_id=1001, company_id=101, attempt=1)
    assert unreadable.problem
    await storage.park([fence])
    await storage.park([fence])
    for one in found.deliveries:
        assert await settle(storage, one)
    again = await claim(storage)
    assert (again.deliveries, again.unreadable, again.next_due_ms, again.more) == ((), (), None, False)


async def test_what_was_parked_is_dead_for_a_reason_of_its_own_and_has_no_attempt(
    storage: Storage, clock: HandClock, damage: Damage
) -> None:
    await populate(storage, {101: [1001]})
    event_id = await published(storage)
    await damage("UPDATE events SET data = NULL")
    ((fence, _),) = (await claim(storage)).unreadable
    clock.now += 10
    await storage.park([fence])
    (view,) = (await event_of(storage, event_id)).deliveries
    assert (view.state, view.reason, view.due_at, view.settled_at) == (
        DeliveryState.DEAD,
        "unreadable",
        None,
        clock.now,
    )
    assert view.attempts == ()
    assert await log_of(storage) == ()


async def test_a_stale_fence_parks_nothing(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    event_id = await published(storage)
    (stale,) = (await claim(storage, lease_ms=1_000)).deliveries
    clock.now += 1_000
    (current,) = (await claim(storage)).deliveries
    await storage.park([Fence(delivery_id=stale.id, subscription_id=1001, company_id=101, attempt=stale.attempt)])
    assert await states_of(storage, event_id) == {1001: DeliveryState.SENDING}
    assert await settle(storage, current)
    assert (await delivery_of(storage, current)).state == DeliveryState.SUCCEEDED


async def test_text_that_is_no_utf_8_spoils_no_claim(storage: Storage, damage: Damage) -> None:
    if not isinstance(storage, SqliteStorage):
        pytest.skip("PostgreSQL stores no such text")
    await populate(storage, {101: [1001, 1002]})
    event = await an_event(storage, {101: [1001, 1002]})
    assert isinstance(await storage.publish(await a_publication(storage, event)), Published)
    await damage("UPDATE deliveries SET type_name = CAST(x'6e6fe274' AS TEXT) WHERE subscription_id = 1001")
    await damage("UPDATE subscriptions SET callback_url = CAST(x'68e2' AS TEXT) WHERE id = 1002")
    found = await claim(storage)
    assert [one.subscription_id for one in found.deliveries] == [1002]
    assert [fence.subscription_id for fence, _ in found.unreadable] == [1001]
    assert isinstance(found.subscriptions[1002], Unreadable)


SUBSCRIPTION = (
    "UPDATE subscriptions SET policies = '{\"max_in_flight\":' WHERE id = 1001",
    "UPDATE subscriptions SET policies = '[]' WHERE id = 1001",
    "UPDATE subscriptions SET secrets = '[{\"sealed\":1}]' WHERE id = 1001",
    "UPDATE subscriptions SET auth_type = 'BASIK' WHERE id = 1001",
    "UPDATE subscriptions SET event_types = 'note.created' WHERE id = 1001",
)


@pytest.mark.parametrize("sql", SUBSCRIPTION)
async def test_a_damaged_subscription_is_told_apart_and_its_deliveries_can_be_handed_back(
    storage: Storage, damage: Damage, sql: str
) -> None:
    await populate(storage, {101: [1001]})
    await create(storage, a_subscription(1002))
    event_id = await published(storage, {101: [1001, 1002]})
    await damage(sql)
    found = await claim(storage)
    assert sorted(one.subscription_id for one in found.deliveries) == [1001, 1002]
    assert isinstance(found.subscriptions[1001], Unreadable)
    assert isinstance(found.subscriptions[1002], Subscription)
    await storage.release(
        [
            Fence(delivery_id=one.id, subscription_id=one.subscription_id, company_id=101, attempt=1)
            for one in found.deliveries
        ]
    )
    assert set((await states_of(storage, event_id)).values()) == {DeliveryState.PENDING}


@pytest.mark.parametrize("sql", SUBSCRIPTION)
async def test_events_are_matched_for_a_damaged_subscription_as_for_a_whole_one(
    storage: Storage, damage: Damage, sql: str
) -> None:
    """By what is kept of it by revision: what comes of them waits, and publishers hear nothing of it."""
    await populate(storage, {101: []})
    await create(storage, a_subscription(1001, event_types=("note.created",), policies=Policies(filter='{"n":1}')))
    await create(storage, a_subscription(1002))
    whole = await storage.routes([101])
    await damage(sql)
    assert await storage.routes([101]) == whole
    assert [route.filter for route in whole[101].routes] == ['{"n":1}', None]


@pytest.mark.parametrize("sql", [*SUBSCRIPTION, "UPDATE subscriptions SET callback_url = {no_text} WHERE id = 1001"])
async def test_a_damaged_subscription_hides_no_other_in_a_list_and_can_be_deleted(
    storage: Storage, damage: Damage, sql: str
) -> None:
    if "no_text" in sql and isinstance(storage, PostgresStorage):
        pytest.skip("PostgreSQL stores no such text")
    await populate(storage, {101: [1001, 1002, 1003], 102: [1004]})
    await damage(sql.replace("{no_text}", "CAST(x'68e2' AS TEXT)"))

    def asked(after_id: int, limit: int | None, company_id: int | None = 101) -> SubscriptionQuery:
        return SubscriptionQuery(company_id=company_id, versions=tuple(PayloadVersion), after_id=after_id, limit=limit)

    whole = await storage.subscriptions(asked(0, None))
    assert ([each.id for each in whole.items], whole.unreadable) == ([1002, 1003], (1001,))
    everybody = await storage.subscriptions(asked(0, 3, None))
    assert ([each.id for each in everybody.items], everybody.unreadable) == ([1002, 1003], (1001,))
    assert everybody.next_after_id == 1003
    alone = await storage.subscriptions(asked(1000, 1))
    assert (alone.items, alone.unreadable, alone.next_after_id) == ((), (1001,), 1001)
    assert await storage.delete_subscription(1001)
    assert (await storage.subscriptions(asked(0, None))).unreadable == ()


async def test_what_a_node_cannot_serve_is_left_to_others(storage: Storage) -> None:
    await populate(storage, {101: [1001, 1002]})
    await published(storage, {101: [1001, 1002]})
    here = await claim(storage, flight=a_flight(unserved={1001}))
    assert [one.subscription_id for one in here.deliveries] == [1002]
    assert not here.more
    elsewhere = await claim(storage)
    assert [one.subscription_id for one in elsewhere.deliveries] == [1001]


UNREADABLE_FOR_A_REPLAY = (
    "UPDATE events SET data = substr(data, 1, 3) WHERE id = '{id}'",
    "UPDATE recipients SET entries = 'x'",
    "UPDATE subscriptions SET policies = '{{' WHERE id = 1002",
)


@pytest.mark.parametrize("sql", UNREADABLE_FOR_A_REPLAY)
async def test_a_replay_of_what_is_damaged_ends_and_stops_no_other(
    storage: Storage, damage: Damage, clock: HandClock, sql: str
) -> None:
    await populate(storage, {101: [1001]})
    broken, whole = await published(storage, data=b'{"n":1}'), await published(storage, data=b'{"n":1}')
    for claimed in (await claim(storage)).deliveries:
        assert await settle(storage, claimed)
    clock.now += 1_000
    await create(storage, a_subscription(1002, policies=Policies(filter='{"n":{"lt":2}}')))
    wanted = NewReplay(subscription_id=1002, company_id=None, from_at=NOON_MS, to_at=NOON_MS + DAY_MS, status=None)
    asked = [await storage.create_replay(replace(wanted, subscription_id=number)) for number in (1002, 1001)]
    await damage(sql.format(id=broken))
    again = []
    for _ in range(10):
        await storage.step_replays(replays.FIRST)
        made = await claim(storage)
        again += [one.event_id for one in made.deliveries if one.subscription_id == 1001]
        for claimed in made.deliveries:
            assert await settle(storage, claimed)
        await storage.park([fence for fence, _ in made.unreadable])
    assert whole in again
    for replay in asked:
        assert replay
        found = await storage.replay(replay.id)
        assert found
        assert found.state is ReplayState.DONE


@pytest.mark.parametrize("damaged", [1001, 1009])
async def test_a_damaged_subscription_keeps_nobody_from_being_told(
    storage: Storage, damage: Damage, clock: HandClock, damaged: int
) -> None:
    await populate(storage, {101: [1001], 102: [1002]})
    for number, company_id in ((1009, BUILT_IN_COMPANY_ID), (1003, 102)):
        await create(storage, a_subscription(number, company_id, event_types=(circuit.DEAD,)))
    await published(storage, {101: [1001]})
    await published(storage, {102: [1002]})
    for claimed in (await claim(storage)).deliveries:
        assert await settle(storage, claimed, GiveUp(Reason.EXHAUSTED))
    ids = {notice.company_id: announcement_of(notice).id for notice in await storage.notices(10)}
    await damage(f"UPDATE subscriptions SET policies = '{{' WHERE id = {damaged}")
    random_bytes = Random(0).randbytes
    publisher = Publisher(storage=storage, clock=clock, random_bytes=random_bytes, event_source="https://example.com")
    await Announcer(storage, publisher).step()
    assert await storage.notices(10) == ()
    for company_id, hearing in ((101, {1009}), (102, {1003, 1009})):
        told = await storage.event(ids[company_id], company_id=None, after_id=0, limit=100, attempts_max=0)
        heard = {view.subscription_id for view in told.deliveries} if told else set()
        assert heard == hearing
