"""Rates, order and circuits: what holds a lane back beside its slots."""

import pytest
from storage_samples import (
    NOTE,
    HandClock,
    a_subscription,
    change,
    claim,
    claim_one,
    create,
    delivery_of,
    event_of,
    populate,
    publish,
    published,
    reactivate,
    settle,
)

from hookline import circuit
from hookline.lifecycle import GiveUp, Reason, Retry
from hookline.model import DeliveryState, InactiveReason, Policies
from hookline.storage.claims import Claimed
from hookline.storage.protocol import Storage
from hookline.storage.views import Waiting

pytestmark = pytest.mark.anyio

WIDE = Policies(max_in_flight=100)


async def _claimed(storage: Storage) -> tuple[Claimed, ...]:
    """All that is due, however many claims it takes."""
    taken: list[Claimed] = []
    while found := (await claim(storage)).deliveries:
        taken += found
    return tuple(taken)


async def _with_backlog(storage: Storage, policies: Policies, count: int) -> list[str]:
    await populate(storage, {101: [1001]}, policies=policies)
    return [await published(storage) for _ in range(count)]


# --- rate ------------------------------------------------------------------------------------------------------------


async def test_a_rate_lets_one_start_and_says_when_the_next_may(storage: Storage, clock: HandClock) -> None:
    await _with_backlog(storage, Policies(rate_per_second=2), 3)
    first = await claim(storage)
    assert len(first.deliveries) == 1
    assert (await claim(storage)).deliveries == ()
    assert (await claim(storage)).next_due_ms == 500
    clock.now += 499
    assert (await claim(storage)).deliveries == ()
    clock.now += 1
    assert len((await claim(storage)).deliveries) == 1


async def test_a_publish_does_not_hurry_a_rate(storage: Storage, clock: HandClock) -> None:
    await _with_backlog(storage, Policies(rate_per_second=1), 1)
    assert await settle(storage, await claim_one(storage))
    await publish(storage)
    made = await claim(storage)
    assert (made.deliveries, made.next_due_ms) == ((), 1000)
    clock.now += 1000
    assert len((await claim(storage)).deliveries) == 1


async def test_a_rate_that_is_lifted_holds_nothing_back(storage: Storage) -> None:
    await _with_backlog(storage, Policies(rate_per_second=1), 2)
    await claim_one(storage)
    await change(storage, 1001, policies=Policies())
    assert len((await claim(storage)).deliveries) == 1


# --- order -----------------------------------------------------------------------------------------------------------


async def test_an_ordered_lane_sends_one_after_the_other_in_order(storage: Storage) -> None:
    events = await _with_backlog(storage, Policies(ordered=True, max_in_flight=10), 4)
    seen = []
    for _ in events:
        (claimed,) = await _claimed(storage)
        seen.append(claimed.event_id)
        assert await settle(storage, claimed)
    assert seen == events


async def test_one_that_fails_holds_the_next_until_it_is_dead(storage: Storage, clock: HandClock) -> None:
    events = await _with_backlog(storage, Policies(ordered=True), 2)
    assert await settle(storage, await claim_one(storage), Retry(10_000))
    made = await claim(storage)
    assert (made.deliveries, made.next_due_ms) == ((), 10_000)
    await publish(storage)
    assert (await claim(storage)).deliveries == ()
    clock.now += 10_000
    again = await claim_one(storage)
    assert (again.event_id, again.attempt) == (events[0], 2)
    assert await settle(storage, again, GiveUp(Reason.EXHAUSTED))
    assert (await claim_one(storage)).event_id == events[1]


async def test_other_subscriptions_do_not_notice_the_order(storage: Storage) -> None:
    await _with_backlog(storage, Policies(ordered=True), 1)
    await create(storage, a_subscription(1002))
    assert await settle(storage, await claim_one(storage), Retry(10_000))
    event_id = await published(storage, {101: [1001, 1002]})
    (claimed,) = await _claimed(storage)
    assert (claimed.subscription_id, claimed.event_id) == (1002, event_id)


async def test_order_begins_with_what_is_waiting(storage: Storage) -> None:
    events = await _with_backlog(storage, Policies(), 3)
    await change(storage, 1001, policies=Policies(ordered=True))
    assert [one.event_id for one in await _claimed(storage)] == [events[0]]


# --- circuit ---------------------------------------------------------------------------------------------------------


async def _open_circuit(storage: Storage, clock: HandClock, backlog: int = 3) -> None:
    """Fail twenty times over a minute; `backlog` deliveries are due behind it."""
    await _with_backlog(storage, WIDE, 20)
    for _ in range(20):
        claimed = (await claim(storage, 1)).deliveries[0]
        clock.now += 3_200
        assert await settle(storage, claimed, GiveUp(Reason.EXHAUSTED))
    for _ in range(backlog):
        await publish(storage)


async def test_twenty_failures_over_a_minute_open_the_circuit_and_one_probe_goes_each_half_minute(
    storage: Storage, clock: HandClock
) -> None:
    await _open_circuit(storage, clock)
    made = await claim(storage)
    assert (made.deliveries, made.next_due_ms) == ((), circuit.PROBE_MS)
    for _ in range(2):
        clock.now += circuit.PROBE_MS
        (probe,) = await _claimed(storage)
        assert await settle(storage, probe, Retry(10_000))
        assert await _claimed(storage) == ()


async def test_what_waits_behind_an_open_circuit_says_when_it_is_tried(storage: Storage, clock: HandClock) -> None:
    await _open_circuit(storage, clock, backlog=0)
    event_id = await published(storage)
    (view,) = (await event_of(storage, event_id)).deliveries
    assert (view.state, view.reason) == (DeliveryState.PENDING, Waiting.RECEIVER_FAILING)
    assert (view.attempt, view.due_at) == (0, clock.now + circuit.PROBE_MS)


async def test_a_success_closes_the_circuit(storage: Storage, clock: HandClock) -> None:
    await _open_circuit(storage, clock)
    clock.now += circuit.PROBE_MS
    (probe,) = await _claimed(storage)
    assert await settle(storage, probe)
    assert len(await _claimed(storage)) == 2


async def test_switching_on_lifts_an_open_circuit(storage: Storage, clock: HandClock) -> None:
    await _open_circuit(storage, clock, backlog=2)
    await reactivate(storage, 1001)
    assert len(await _claimed(storage)) == 2


async def test_what_has_waited_a_day_goes_on_by_its_schedule(storage: Storage, clock: HandClock) -> None:
    await _open_circuit(storage, clock, backlog=2)
    clock.now += circuit.WAITED_MS_MAX
    await publish(storage)
    (probe,) = (await claim(storage, 1)).deliveries
    assert await settle(storage, probe, Retry(60_000))
    (waited,) = await _claimed(storage)
    assert waited.event_id != probe.event_id
    assert await settle(storage, waited, Retry(60_000))
    assert await _claimed(storage) == ()


async def test_days_of_failures_switch_the_subscription_off_and_hold_what_waits(
    storage: Storage, clock: HandClock
) -> None:
    await _with_backlog(storage, WIDE, 2)
    first = (await claim(storage, 1)).deliveries[0]
    assert await settle(storage, first, Retry(1_000))
    clock.now += 5 * circuit.DAY_MS
    second = (await claim(storage, 1)).deliveries[0]
    assert await settle(storage, second, Retry(1_000))
    stored = await storage.subscription(1001)
    assert stored
    assert (stored.active, stored.inactive_reason) == (False, InactiveReason.FAILING)
    assert (await delivery_of(storage, second)).state is DeliveryState.HELD
    assert [notice.event_type for notice in await storage.notices(10)] == ["subscription.deactivated"]


# --- notices ---------------------------------------------------------------------------------------------------------


async def test_what_happens_to_a_receiver_is_noted_once_until_it_is_dropped(storage: Storage, clock: HandClock) -> None:
    await _open_circuit(storage, clock, backlog=1)
    clock.now += circuit.PROBE_MS
    (probe,) = await _claimed(storage)
    assert await settle(storage, probe)
    found = await storage.notices(100)
    assert [notice.event_type for notice in found].count("delivery.dead") == 20
    told = [notice for notice in found if notice.event_type != "delivery.dead"]
    assert [notice.event_type for notice in told] == ["subscription.failing", "subscription.recovered"]
    assert (told[1].company_id, told[1].subscription_id, told[1].event_id) == (101, 1001, probe.event_id)
    assert told[0].since == told[0].created_at - 19 * 3_200
    await storage.drop_notices([notice.id for notice in found])
    assert await storage.notices(100) == ()


async def test_deliveries_of_operational_events_note_nothing(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    for event_type, noted in ((NOTE, 1), ("delivery.dead", 0)):
        await publish(storage, event_type=event_type)
        assert await settle(storage, await claim_one(storage), GiveUp(Reason.EXHAUSTED))
        found = await storage.notices(10)
        assert len(found) == noted
        await storage.drop_notices([notice.id for notice in found])
