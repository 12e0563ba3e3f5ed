"""Retention, on every engine: what has had its time goes, step by step, and nothing with it that is still needed."""

import pytest
from msgspec.structs import replace
from storage_samples import (
    DAY_MS,
    NOON_MS,
    HandClock,
    a_company,
    a_subscription,
    attempt,
    change,
    claim,
    claim_one,
    create,
    deactivate,
    delivery_of,
    event_of,
    log_of,
    populate,
    publish,
    published,
    settle,
    states_of,
)

from hookline.circuit import DEAD as TOLD
from hookline.lifecycle import GiveUp, Reason, Retry
from hookline.model import Action, Change, DeliveryState
from hookline.storage.protocol import Storage
from hookline.storage.publications import IdConflict, Published
from hookline.storage.views import EventQuery

pytestmark = pytest.mark.anyio

RETENTION_MS = 30 * DAY_MS
STEPS_MAX = 200


async def forget(storage: Storage, limit: int = 100) -> int:
    """Forget until nothing is left; return in how many steps."""
    for step in range(STEPS_MAX):
        if not await storage.forget(RETENTION_MS, limit):
            return step
    raise AssertionError(f"still not done after {STEPS_MAX} steps")


async def is_there(storage: Storage, event_id: str, company_id: int | None = None) -> bool:
    found = await storage.event(event_id, company_id=company_id, after_id=0, limit=10, attempts_max=10)
    return found is not None


# --- what goes -------------------------------------------------------------------------------------------------------


async def test_an_event_goes_with_all_that_came_of_it(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    event_id = await published(storage, event_id="order-1")
    claimed = await attempt(storage)
    clock.now += 29 * DAY_MS
    young = await published(storage)
    await forget(storage)
    assert len(await log_of(storage)) == 1
    clock.now += 2 * DAY_MS
    await forget(storage)
    assert not await is_there(storage, event_id)
    assert await storage.delivery(1001, claimed.id) is None
    assert await log_of(storage) == ()
    assert await storage.events(EventQuery(limit=10, company_id=101)) != ()
    assert await is_there(storage, young)


async def test_an_id_lives_as_long_as_its_event_and_no_longer(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await published(storage, event_id="order-1")
    await attempt(storage)
    clock.now += 29 * DAY_MS
    await forget(storage)
    assert await publish(storage, event_id="order-1", data=b'{"other":1}') == IdConflict(index=0)
    clock.now += 2 * DAY_MS
    await forget(storage)
    assert isinstance(await publish(storage, event_id="order-1", data=b'{"other":1}'), Published)


async def test_an_event_without_any_delivery_goes_too(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: []})
    event_id = await published(storage, {101: []})
    clock.now += 31 * DAY_MS
    await forget(storage)
    assert not await is_there(storage, event_id)


async def test_a_delivery_counts_from_its_end(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    event_id = await published(storage)
    clock.now += 20 * DAY_MS
    claimed = await attempt(storage)
    clock.now += 20 * DAY_MS
    await forget(storage)
    assert (await delivery_of(storage, claimed)).state is DeliveryState.SUCCEEDED
    assert len(await log_of(storage)) == 1
    clock.now += 11 * DAY_MS
    await forget(storage)
    assert not await is_there(storage, event_id)


async def test_what_is_open_is_never_forgotten(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001, 1002, 1003]})
    event_id = await published(storage, {101: [1001, 1002, 1003]}, data=b'{"a":1}')
    ended, failed, sending = (await claim(storage)).deliveries
    assert await settle(storage, ended)
    assert await settle(storage, failed, Retry(1000))
    clock.now += 100 * DAY_MS
    await forget(storage)
    detail = await event_of(storage, event_id)
    assert detail.view.event.data == b'{"a":1}'
    assert [(view.id, view.state) for view in detail.deliveries] == [
        (failed.id, DeliveryState.PENDING),
        (sending.id, DeliveryState.SENDING),
    ]
    assert detail.routes, "what it was matched under is still known"


# --- a company's own span --------------------------------------------------------------------------------------------


async def test_a_company_may_keep_less_or_more_than_others(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001], 102: [1002], 103: [1003]})
    assert await storage.replace_company(a_company(101), replace(a_company(101), retention_days=7))
    assert await storage.replace_company(a_company(103), replace(a_company(103), retention_days=60))
    shared = await published(storage, {101: [1001], 102: [1002], 103: [1003]})
    alone = await published(storage, {101: [1001]})
    for claimed in (await claim(storage)).deliveries:
        assert await settle(storage, claimed)
    kept = []
    for days in (6, 9, 32, 62):
        clock.now = NOON_MS + days * DAY_MS
        await forget(storage)
        logs = [company_id - 900 for company_id in (1001, 1002, 1003) if await log_of(storage, company_id)]
        sees = [company_id for company_id in (101, 102, 103) if await is_there(storage, shared, company_id)]
        kept.append((logs, sees, await is_there(storage, alone)))
    assert kept == [
        ([101, 102, 103], [101, 102, 103], True),
        ([102, 103], [102, 103], False),
        ([103], [103], False),
        ([], [], False),
    ]
    assert not await is_there(storage, shared)


# --- step by step ----------------------------------------------------------------------------------------------------


async def test_it_goes_in_steps_of_so_many_rows(storage: Storage, clock: HandClock) -> None:
    subscriptions = list(range(1001, 1011))
    await populate(storage, {101: subscriptions})
    await published(storage, {101: subscriptions})
    for claimed in (await claim(storage)).deliveries:
        assert await settle(storage, claimed)
    clock.now += 31 * DAY_MS
    assert await forget(storage, limit=3) >= 3
    assert await forget(storage, limit=3) <= 12, "nothing is left to do but to look, at three subscriptions a step"


async def test_what_is_forgotten_stays_forgotten_and_ids_go_on_rising(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await published(storage)
    old = await attempt(storage)
    clock.now += 31 * DAY_MS
    await forget(storage)
    await published(storage)
    new = await attempt(storage)
    assert new.id > old.id
    assert [row.delivery_id for row in await log_of(storage)] == [new.id]


async def test_the_audit_is_kept_for_a_year_and_a_month(storage: Storage, clock: HandClock) -> None:
    made = Change(actor="somebody", action=Action.COMPANY_CREATED, target="101", company_id=101)
    await storage.create_company(a_company(101), change=made)
    clock.now += 399 * DAY_MS
    await storage.create_company(a_company(102), change=replace(made, target="102"))
    await forget(storage)
    assert [entry.target for entry in await storage.audit(None, 10)] == ["102", "101"]
    clock.now += 2 * DAY_MS
    await forget(storage)
    assert [entry.target for entry in await storage.audit(None, 10)] == ["102"]


# --- what is held too long -------------------------------------------------------------------------------------------


async def test_what_is_held_longer_than_the_retention_dies_and_is_told_of(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    event_id = await published(storage)
    await deactivate(storage, 1001, at=clock.now)
    clock.now += 30 * DAY_MS
    assert await storage.expire_held(RETENTION_MS, 10) == 0
    assert await states_of(storage, event_id) == {1001: DeliveryState.HELD}
    clock.now += 2 * DAY_MS
    assert await storage.expire_held(RETENTION_MS, 10) == 1
    (view,) = (await event_of(storage, event_id)).deliveries
    assert (view.state, view.reason, view.settled_at) == (DeliveryState.DEAD, Reason.EXPIRED, clock.now)
    (notice,) = await storage.notices(10)
    assert (notice.event_type, notice.reason, notice.delivery_id) == (TOLD, Reason.EXPIRED, view.id)
    assert await storage.expire_held(RETENTION_MS, 10) == 0
    await forget(storage)
    assert await is_there(storage, event_id), "a death is kept for the whole retention"


async def test_only_what_is_held_expires(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001, 1002, 1003, 1004]})
    event_id = await published(storage, {101: [1001, 1002, 1003, 1004]})
    await deactivate(storage, 1002, at=clock.now)
    await deactivate(storage, 1004, at=clock.now)
    await storage.delete_subscription(1004)
    clock.now += 40 * DAY_MS
    await deactivate(storage, 1003, at=clock.now)
    late = await published(storage, {101: [1002]})
    assert await storage.expire_held(RETENTION_MS, 10) == 1
    assert await states_of(storage, event_id) == {
        1001: DeliveryState.PENDING,
        1002: DeliveryState.DEAD,
        1003: DeliveryState.HELD,
        1004: DeliveryState.CANCELLED,
    }
    assert await states_of(storage, late) == {1002: DeliveryState.HELD}


async def test_a_company_that_keeps_less_lets_go_sooner(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001], 102: [1002]})
    await storage.replace_company(a_company(101), replace(a_company(101), retention_days=7))
    await published(storage, {101: [1001], 102: [1002]})
    for subscription_id in (1001, 1002):
        await deactivate(storage, subscription_id, at=clock.now)
    clock.now += 9 * DAY_MS
    assert await storage.expire_held(RETENTION_MS, 10) == 1


async def test_expiring_goes_in_steps(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    for _ in range(5):
        await published(storage)
    await deactivate(storage, 1001, at=clock.now)
    clock.now += 40 * DAY_MS
    assert [await storage.expire_held(RETENTION_MS, 2) for _ in range(4)] == [2, 2, 1, 0]


async def test_what_expired_can_be_redelivered(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await published(storage)
    await deactivate(storage, 1001, at=clock.now)
    clock.now += 40 * DAY_MS
    await storage.expire_held(RETENTION_MS, 10)
    (notice,) = await storage.notices(10)
    await change(storage, 1001, lift_hold=True, active=True, inactive_reason=None, inactive_at=None)
    assert await storage.redeliver(1001, notice.delivery_id)
    assert (await claim_one(storage)).id == notice.delivery_id


async def test_a_dead_delivery_is_kept_for_the_whole_retention(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: []})
    await create(storage, a_subscription(1001))
    await published(storage)
    claimed = await claim_one(storage)
    assert await settle(storage, claimed, GiveUp(Reason.EXHAUSTED))
    clock.now += 30 * DAY_MS
    await forget(storage)
    assert (await delivery_of(storage, claimed)).state is DeliveryState.DEAD
