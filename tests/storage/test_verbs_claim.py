"""A claim gives each due row once, oldest first, to whom fairness grants it."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from msgspec.structs import replace
from storage_samples import (
    LEASE_MS,
    HandClock,
    a_flight,
    a_publication,
    a_settlement,
    a_subscription,
    an_event,
    attempt,
    change,
    claim,
    claim_one,
    create,
    deactivate,
    delivery_of,
    event_of,
    fence_of,
    log_of,
    populate,
    publish,
    published,
    reactivate,
    settle,
    states_of,
)

from hookline.lifecycle import LOSS_WAITS_MS, SUSPECT_LOSSES, GiveUp, Reason, Retry, is_suspect
from hookline.model import DeliveryState, ErrorClass
from hookline.storage.claims import Claimed
from hookline.storage.protocol import Storage

pytestmark = pytest.mark.anyio

ONE_HOST = "https://shared.example.com/in"


async def test_a_claim_brings_all_that_a_body_is_made_of(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    event_id = await published(storage, data=b'{"a":1}', occurred_at=5)
    made = await claim(storage)
    (claimed,) = made.deliveries
    assert (claimed.attempt, claimed.failures, claimed.subscription_revision) == (1, 0, 1)
    assert (claimed.subscription_id, claimed.company_id) == (1001, 101)
    assert claimed.host == "receiver-1001.example.com:443"
    assert (claimed.event_id, claimed.event_type, claimed.type_name) == (event_id, "note.created", "note.created")
    assert (claimed.occurred_at, claimed.accepted_at, claimed.data) == (5, clock.now, b'{"a":1}')
    assert made.subscriptions == {1001: await storage.subscription(1001)}
    view = await delivery_of(storage, claimed)
    assert (view.state, view.attempt, view.due_at) == (DeliveryState.SENDING, 1, clock.now + LEASE_MS)


async def test_subscriptions_that_the_caller_knows_are_not_sent_again(storage: Storage) -> None:
    await populate(storage, {101: [1001, 1002]})
    await publish(storage, {101: [1001, 1002]})
    await change(storage, 1002, event_types=("note.created",))
    made = await claim(storage, known={1001: 1, 1002: 1})
    assert set(made.subscriptions) == {1002}
    assert {one.subscription_id: one.subscription_revision for one in made.deliveries} == {1001: 1, 1002: 2}


async def test_each_row_is_claimed_once(storage: Storage) -> None:
    await populate(storage, {101: range(1001, 1011)})
    for _ in range(2):
        await publish(storage, {101: range(1001, 1011)})
    first, second = await claim(storage, 12), await claim(storage, 12)
    assert (len(first.deliveries), len(second.deliveries)) == (12, 8)
    assert len({one.id for one in (*first.deliveries, *second.deliveries)}) == 20
    assert (await claim(storage)).deliveries == ()


async def test_twenty_claims_at_once_share_what_is_due(storage: Storage) -> None:
    await populate(storage, {101: range(1001, 1031)})
    for _ in range(2):
        await publish(storage, {101: range(1001, 1031)})
    taken: Counter[int] = Counter()
    for _ in range(60):
        for made in await asyncio.gather(*(claim(storage, 7) for _ in range(20))):
            taken.update(one.id for one in made.deliveries)
        if len(taken) == 60:
            break
    assert len(taken) == 60
    assert set(taken.values()) == {1}


async def test_a_limit_of_rows_says_that_there_is_more(storage: Storage) -> None:
    await populate(storage, {101: [1001, 1002]})
    await publish(storage, {101: [1001, 1002]})
    made = await claim(storage, 1)
    assert (len(made.deliveries), made.more) == (1, True)
    rest = await claim(storage)
    assert (len(rest.deliveries), rest.more) == (1, False)


async def test_bodies_are_cut_at_their_limit_but_one_always_goes(storage: Storage) -> None:
    await populate(storage, {101: [1001, 1002, 1003]})
    for subscription_id in (1001, 1002, 1003):
        await publish(storage, {101: [subscription_id]}, data=b"x" * 1_000)
    one = await claim(storage, body_bytes_max=10)
    assert (len(one.deliveries), one.more) == (1, True)
    two = await claim(storage, body_bytes_max=2_000)
    assert (len(two.deliveries), two.more) == (2, False)
    assert {len(claimed.data) for claimed in (*one.deliveries, *two.deliveries)} == {1_000}


async def test_what_a_limit_of_bytes_left_behind_is_as_it_was(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    ids = [await published(storage, data=b"x" * 600) for _ in range(2)]
    first = await claim(storage, body_bytes_max=1_000)
    assert [one.event_id for one in first.deliveries] == ids[:1]
    (left,) = (await event_of(storage, ids[1])).deliveries
    assert (left.state, left.attempt) == (DeliveryState.PENDING, 0)
    second = await claim(storage, body_bytes_max=1_000)
    assert [(one.event_id, one.attempt) for one in second.deliveries] == [(ids[1], 1)]


async def test_the_oldest_due_goes_first(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    first = await published(storage)
    await attempt(storage, wait_ms=10_000)
    clock.now += 1
    second, third = await published(storage), await published(storage)
    assert [one.event_id for one in (await claim(storage, 1)).deliveries] == [second]
    clock.now += 20_000
    made = await claim(storage)
    assert [one.event_id for one in made.deliveries] == [third], "one of two slots is taken"
    assert await settle(storage, made.deliveries[0])
    assert (await claim_one(storage)).event_id == first


async def test_nothing_is_claimed_before_it_is_due(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    await attempt(storage, wait_ms=10_000)
    clock.now += 9_999
    early = await claim(storage)
    assert (early.deliveries, early.next_due_ms) == ((), 1)
    clock.now += 1
    again = await claim_one(storage)
    assert (again.attempt, again.failures) == (2, 1)


async def test_the_next_look_is_when_the_first_retry_or_lease_is_due(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001, 1002]})
    assert (await claim(storage)).next_due_ms is None
    await publish(storage, {101: [1001]})
    await publish(storage, {101: [1002]})
    made = await claim(storage)
    assert made.next_due_ms == LEASE_MS
    await settle(storage, made.deliveries[0], Retry(30_000))
    assert (await claim(storage)).next_due_ms == 30_000
    clock.now += 29_000
    await settle(storage, made.deliveries[1], Retry(5_000))
    assert (await claim(storage)).next_due_ms == 1_000


# --- limits ----------------------------------------------------------------------------------------------------------


async def test_a_new_subscription_has_two_slots_over_all_nodes(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    for _ in range(5):
        await publish(storage)
    first = (await claim(storage)).deliveries
    assert len(first) == 2
    assert (await claim(storage, flight=a_flight())).deliveries == (), "also for a node that has nothing in flight"
    assert await settle(storage, first[0])
    assert len((await claim(storage)).deliveries) == 2, "the answer freed a slot and added one"


async def test_slots_grow_by_answers_in_a_full_house_up_to_the_limit(storage: Storage) -> None:
    await populate(storage, {101: [1001]}, max_in_flight=5)
    for _ in range(60):
        await publish(storage)
    widths = []
    for _ in range(4):
        flying = (await claim(storage)).deliveries
        widths.append(len(flying))
        assert all(await storage.settle([a_settlement(one) for one in flying]))
    assert widths == [2, 4, 5, 5]


async def test_answers_that_find_slots_free_add_none(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    for _ in range(4):
        await publish(storage)
        await attempt(storage)
    for _ in range(5):
        await publish(storage)
    assert len((await claim(storage)).deliveries) == 2


async def test_a_timeout_halves_the_slots_down_to_one(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    for _ in range(40):
        await publish(storage)
    for _ in range(2):
        flying = (await claim(storage)).deliveries
        await storage.settle([a_settlement(one) for one in flying])
    flying = (await claim(storage)).deliveries
    widths = [len(flying)]
    for _ in range(4):
        silent = a_settlement(flying[0], Retry(600_000), answered=False, timed_out=True)
        await storage.settle([silent])
        await storage.release([fence_of(one) for one in flying[1:]])
        flying = (await claim(storage)).deliveries
        widths.append(len(flying))
    assert widths == [8, 4, 2, 1, 1]


async def test_a_narrower_policy_counts_at_once(storage: Storage) -> None:
    await populate(storage, {101: [1001]}, max_in_flight=2)
    for _ in range(3):
        await publish(storage)
    narrower = a_subscription(max_in_flight=1).policies
    await change(storage, 1001, policies=narrower)
    assert len((await claim(storage)).deliveries) == 1


async def test_companies_take_turns_however_many_lanes_each_has(storage: Storage) -> None:
    await populate(storage, {101: range(1001, 1031), 102: [2001], 103: [3001]})
    for _ in range(2):
        await publish(storage, {101: range(1001, 1031)})
    await publish(storage, {102: [2001]})
    await publish(storage, {103: [3001]})
    made = await claim(storage, 6)
    assert Counter(one.company_id for one in made.deliveries) == {101: 2, 102: 1, 103: 1}
    assert made.more, "what the others could not use goes to whoever asks at once"


async def test_a_full_host_is_left_alone_but_for_a_company_with_nothing_there(storage: Storage) -> None:
    await populate(storage, {101: [1001], 102: [2001], 103: [3001]}, callback_url=ONE_HOST)
    for company_id, subscription_id in ((101, 1001), (102, 2001), (103, 3001)):
        for _ in range(2):
            await publish(storage, {company_id: [subscription_id]})
    host = "shared.example.com:443"
    flight = a_flight(
        host_capacity=3,
        total=3,
        by_host={host: 3},
        by_company={101: 3},
        by_company_at_host={(101, host): 3},
    )
    served = Counter(one.company_id for one in (await claim(storage, flight=flight)).deliveries)
    assert served == {102: 1, 103: 1}


async def test_lanes_that_only_wait_for_a_crowded_host_keep_no_other_from_being_looked_at(storage: Storage) -> None:
    hanging = range(2001, 2801)
    await populate(storage, {101: [1001, *hanging]}, callback_url=ONE_HOST)
    await publish(storage, {101: hanging})
    await publish(storage, {101: [1001]})
    host = "shared.example.com:443"
    flight = a_flight(
        host_capacity=880,
        total=800,
        by_subscription=dict.fromkeys(hanging, 1),
        by_host={host: 800},
        by_company={101: 800},
        by_company_at_host={(101, host): 800},
    )
    served = [one.subscription_id for one in (await claim(storage, flight=flight)).deliveries]
    assert served == [1001]


async def test_a_full_node_keeps_room_for_who_has_nothing_in_flight(storage: Storage) -> None:
    await populate(storage, {101: [1001], 102: [2001]})
    for _ in range(2):
        await publish(storage, {101: [1001]})
        await publish(storage, {102: [2001]})
    flight = a_flight(capacity=20, total=18, by_subscription={1001: 4}, by_company={101: 4})
    served = Counter(one.subscription_id for one in (await claim(storage, flight=flight)).deliveries)
    assert served == {2001: 1}


# --- who is not served -----------------------------------------------------------------------------------------------


async def test_a_deactivation_stops_claims_and_shows_what_waits_as_held(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    before = await published(storage)
    clock.now += 1_000
    await deactivate(storage, 1001, at=clock.now)
    clock.now += 1_000
    after = await published(storage)
    made = await claim(storage)
    assert (made.deliveries, made.next_due_ms) == ((), None)
    for event_id, since in ((before, clock.now - 1_000), (after, clock.now)):
        (view,) = (await event_of(storage, event_id)).deliveries
        assert (view.state, view.reason, view.held_since) == (DeliveryState.HELD, "requested", since)


async def test_a_reactivation_sends_what_was_held_oldest_first(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]}, max_in_flight=1)
    ids = []
    for _ in range(3):
        ids.append(await published(storage))
        clock.now += 1
        await deactivate(storage, 1001) if len(ids) == 1 else None
    await reactivate(storage, 1001)
    sent = []
    for _ in range(3):
        claimed = await claim_one(storage)
        sent.append(claimed.event_id)
        await settle(storage, claimed)
    assert sent == ids


async def test_a_deletion_stops_claims_and_shows_what_waits_as_cancelled(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    event_id = await published(storage)
    clock.now += 1_000
    assert await storage.delete_subscription(1001)
    assert (await claim(storage)).deliveries == ()
    (view,) = (await event_of(storage, event_id)).deliveries
    assert (view.state, view.reason, view.due_at) == (DeliveryState.CANCELLED, "deleted", None)
    assert view.settled_at == clock.now


async def test_what_a_deletion_left_is_closed_in_bounded_steps(storage: Storage) -> None:
    await populate(storage, {101: [1001, 1002]})
    ids = [await published(storage, {101: [1001, 1002]}) for _ in range(3)]
    await storage.delete_subscription(1001)
    assert [await storage.close_deleted(2), await storage.close_deleted(2), await storage.close_deleted(2)] == [2, 1, 0]
    for event_id in ids:
        states = await states_of(storage, event_id)
        assert states == {1001: DeliveryState.CANCELLED, 1002: DeliveryState.PENDING}
    assert (await storage.backlog()).open == 3


async def test_an_attempt_in_flight_at_a_deletion_may_end_and_is_not_repeated(
    storage: Storage, clock: HandClock
) -> None:
    await populate(storage, {101: [1001, 1002, 1003]})
    await publish(storage, {101: [1001, 1002, 1003]})
    flying = {one.subscription_id: one for one in (await claim(storage)).deliveries}
    for subscription_id in flying:
        await storage.delete_subscription(subscription_id)
    assert await storage.close_deleted(10) == 0, "what is in flight is not closed"
    assert await settle(storage, flying[1001])
    assert await settle(storage, flying[1002], Retry(1_000))
    clock.now += LEASE_MS
    swept = await claim(storage)
    assert (swept.deliveries, swept.lost, swept.parked) == ((), 1, 0)
    found = {
        one.subscription_id: (view.state, view.reason)
        for one in flying.values()
        for view in [await delivery_of(storage, one)]
    }
    assert found == {
        1001: (DeliveryState.SUCCEEDED, None),
        1002: (DeliveryState.CANCELLED, Reason.DELETED),
        1003: (DeliveryState.CANCELLED, Reason.DELETED),
    }
    for one in flying.values():
        (row,) = (await delivery_of(storage, one)).attempts
        assert (row.next_attempt_at, row.dead_lettered) == (None, False)


async def test_fresh_claims_are_those_not_settled_within_the_window(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001, 1002]})
    assert not await storage.has_fresh_claims(1001, 3_000)
    await publish(storage)
    claimed = await claim_one(storage)
    assert await storage.has_fresh_claims(1001, 3_000)
    assert not await storage.has_fresh_claims(1002, 3_000)
    clock.now += 2_999
    assert await storage.has_fresh_claims(1001, 3_000)
    clock.now += 1
    assert not await storage.has_fresh_claims(1001, 3_000)
    clock.now -= 1
    await settle(storage, claimed)
    assert not await storage.has_fresh_claims(1001, 3_000)


# --- lost attempts ---------------------------------------------------------------------------------------------------


async def test_of_deliveries_that_were_lost_three_times_in_a_row_one_is_claimed_at_a_time(
    storage: Storage, clock: HandClock
) -> None:
    await populate(storage, {101: [1001, 1002, 1003]})
    await publish(storage, {101: [1001, 1002, 1003]})
    suspects: Sequence[Claimed] = ()
    for _ in range(SUSPECT_LOSSES):
        suspects = (await claim(storage)).deliveries
        assert len(suspects) == 3
        clock.now += LEASE_MS
    assert (await claim(storage)).lost == 3
    clock.now += LOSS_WAITS_MS[SUSPECT_LOSSES - 1]
    whole = await published(storage, {101: [1001, 1002, 1003]})
    found = await claim(storage, rows_max=4)
    (suspect,) = [one for one in found.deliveries if is_suspect(one.losses)]
    assert suspect.losses == SUSPECT_LOSSES
    flying = list(found.deliveries)
    while found.more:
        found = await claim(storage, rows_max=4, flight=a_flight(suspects=1))
        flying += found.deliveries
    assert [one.event_id for one in flying if one is not suspect] == [whole] * 3
    nothing = await claim(storage, rows_max=1, flight=a_flight(suspects=1))
    assert (nothing.deliveries, nothing.more) == ((), False), "no claim is repeated at once for what must wait"
    assert await settle(storage, suspect)
    (another,) = (await claim(storage)).deliveries
    assert another.id in {one.id for one in suspects} - {suspect.id}


async def test_lost_attempts_are_logged_and_spaced_and_the_sixth_parks(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    claimed = await claim_one(storage)
    for losses, wait_ms in enumerate(LOSS_WAITS_MS):
        clock.now += LEASE_MS - 1
        assert (await claim(storage)).lost == 0
        clock.now += 1
        found = await claim(storage)
        assert (found.lost, found.parked) == (1, 0)
        if wait_ms:
            assert (found.deliveries, found.next_due_ms) == ((), wait_ms)
            clock.now += wait_ms - 1
            assert (await claim(storage)).deliveries == ()
            clock.now += 1
            found = await claim(storage)
        (again,) = found.deliveries
        assert (again.id, again.attempt, again.failures) == (claimed.id, losses + 2, 0)
    clock.now += LEASE_MS
    ended = await claim(storage)
    assert (ended.deliveries, ended.lost, ended.parked) == ((), 1, 1)
    view = await delivery_of(storage, claimed)
    assert (view.state, view.reason, view.failures, view.due_at) == (DeliveryState.DEAD, Reason.CRASHED, 0, None)
    rows = await log_of(storage)
    assert [row.number for row in rows] == [1, 2, 3, 4, 5, 6]
    assert {(row.error, row.duration_ms, row.http_status, row.request_head) for row in rows} == {
        (ErrorClass.LOST, 0, None, None)
    }
    waits = [row.next_attempt_at and row.next_attempt_at - row.created_at for row in rows]
    assert waits == [*LOSS_WAITS_MS, None]
    assert [row.dead_lettered for row in rows] == [False] * 5 + [True]


async def test_a_settled_attempt_between_losses_starts_their_count_again(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    await claim_one(storage)
    clock.now += LEASE_MS
    await claim_one(storage)
    clock.now += LEASE_MS
    await settle(storage, await claim_one(storage), Retry(0))
    await claim_one(storage)
    clock.now += LEASE_MS
    again = await claim_one(storage)
    assert (again.attempt, again.failures) == (5, 1), "lost for the first time in a row: made again at once"


async def test_a_worker_that_comes_back_after_its_lease_changes_nothing(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    stale = await claim_one(storage)
    clock.now += LEASE_MS
    current = await claim_one(storage)
    assert not await settle(storage, stale)
    await storage.release([fence_of(stale)])
    view = await delivery_of(storage, current)
    assert (view.state, view.attempt) == (DeliveryState.SENDING, 2)
    assert await settle(storage, current)
    assert [row.error for row in await log_of(storage)] == [ErrorClass.LOST, None]


# --- handing back ----------------------------------------------------------------------------------------------------


async def test_what_is_handed_back_is_due_again_and_leaves_no_row(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    claimed = await claim_one(storage)
    await storage.release([fence_of(claimed)])
    assert not await settle(storage, claimed)
    again = await claim_one(storage)
    assert (again.attempt, again.failures) == (2, 0)
    assert await settle(storage, again)
    assert [row.number for row in await log_of(storage)] == [2]


async def test_the_backlog_counts_what_is_open_and_how_late_it_is(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001, 1002]})
    backlog = await storage.backlog()
    assert (backlog.open, backlog.oldest_due_ms) == (0, 0)
    await publish(storage, {101: [1001, 1002]})
    await deactivate(storage, 1002)
    clock.now += 7_000
    await publish(storage, {101: [1001]})
    backlog = await storage.backlog()
    assert (backlog.open, backlog.oldest_due_ms) == (3, 7_000)
    for one in (await claim(storage)).deliveries:
        await settle(storage, one, GiveUp(Reason.EXHAUSTED))
    backlog = await storage.backlog()
    assert (backlog.open, backlog.oldest_due_ms) == (1, 0), "what is held is not late"


async def test_what_a_receiver_asked_to_wait_is_not_late(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    await settle(storage, await claim_one(storage), Retry(0), hold_ms=60_000)
    clock.now += 60_000
    assert (await storage.backlog()).oldest_due_ms == 0
    clock.now += 2_000
    assert (await storage.backlog()).oldest_due_ms == 2_000


async def test_what_waits_for_a_probe_is_not_late(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    for _ in range(20):
        await settle(storage, await claim_one(storage), Retry(0))
        clock.now += 4_000
    lately = (await storage.health([1001]))[1001]
    assert lately.probe_at is not None
    clock.now = lately.probe_at
    assert (await storage.backlog()).oldest_due_ms == 0
    clock.now += 5_000
    assert (await storage.backlog()).oldest_due_ms == 5_000


async def test_repairing_lanes_changes_nothing_that_is_right(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001, 1002, 1003]})
    await publish(storage, {101: [1001, 1002]})
    made = await claim(storage)
    await settle(storage, made.deliveries[0], Retry(10_000))
    await publish(storage, {101: [1003]})
    await storage.repair_lanes()
    assert [one.subscription_id for one in (await claim(storage)).deliveries] == [1003]
    assert (await claim(storage)).next_due_ms == 10_000
    clock.now += 10_000
    await storage.repair_lanes()
    assert len((await claim(storage)).deliveries) == 1


async def test_a_saturated_subscription_keeps_no_other_waiting(storage: Storage) -> None:
    await populate(storage, {101: [1001], 102: range(2001, 2051)})
    events = [await an_event(storage, {101: [1001]}) for _ in range(1_000)]
    await storage.publish(await a_publication(storage, *events))
    await publish(storage, {102: range(2001, 2051)})
    served = Counter(one.subscription_id for one in (await claim(storage, 60)).deliveries)
    assert served == {1001: 2, **dict.fromkeys(range(2001, 2051), 1)}


async def test_a_moved_callback_counts_at_its_new_host(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    stored = await storage.subscription(1001)
    assert stored
    await storage.replace_subscription(
        replace(stored, revision=2, callback_url="https://New.example.com:8443/in"), lift_hold=False
    )
    claimed = await claim_one(storage)
    assert (claimed.host, claimed.subscription_revision) == ("new.example.com:8443", 2)


async def test_a_lane_made_after_its_company_was_busy_starts_at_once(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    await claim_one(storage)
    await create(storage, a_subscription(1002))
    await publish(storage, {101: [1002]})
    assert (await claim_one(storage)).subscription_id == 1002
