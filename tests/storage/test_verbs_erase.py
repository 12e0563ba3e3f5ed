"""Erasing an event's data, on every engine: nothing of it is left or sent, and what became of it can still be read."""

import pytest
from storage_samples import (
    HandClock,
    a_publication,
    an_event,
    attempt,
    claim,
    claim_one,
    deactivate,
    delivery_of,
    event_of,
    fence_of,
    log_of,
    populate,
    published,
    reactivate,
    settle,
    states_of,
)

from hookline.lifecycle import GiveUp, Reason, Retry
from hookline.model import DeliveryState, Policies
from hookline.storage.protocol import Storage
from hookline.storage.publications import Published

pytestmark = pytest.mark.anyio

CANCELLED, SUCCEEDED = DeliveryState.CANCELLED, DeliveryState.SUCCEEDED
SECRET = b'{"name":"Ada"}'


async def test_the_data_and_the_bodies_of_attempts_are_gone(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    event_id = await published(storage, data=SECRET)
    claimed = await attempt(storage)
    other = await published(storage, data=SECRET)
    await attempt(storage)
    assert await storage.erase(event_id)
    detail = await event_of(storage, event_id)
    assert detail.view.event.data is None
    view = await delivery_of(storage, claimed)
    assert (view.state, view.data, [each.response_body for each in view.attempts]) == (SUCCEEDED, None, [None])
    assert [(row.event_id, row.data, row.response_body) for row in await log_of(storage)] == [
        (event_id, None, None),
        (other, SECRET, b"ok"),
    ]


async def test_what_is_pending_or_held_is_cancelled_and_never_sent(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001, 1002], 102: [1003]})
    everybody = {101: [1001, 1002], 102: [1003]}
    event_id = await published(storage, everybody)
    await deactivate(storage, 1002)
    for claimed in (await claim(storage)).deliveries:
        assert await settle(storage, claimed, Retry(60_000) if claimed.subscription_id == 1001 else None)
    assert await storage.erase(event_id)
    assert await states_of(storage, event_id) == {1001: CANCELLED, 1002: CANCELLED, 1003: SUCCEEDED}
    views = (await event_of(storage, event_id)).deliveries
    assert [view.reason for view in views if view.state is CANCELLED] == [Reason.ERASED] * 2
    clock.now += 3_600_000
    await reactivate(storage, 1002)
    await storage.repair_lanes()
    assert (await claim(storage)).deliveries == ()
    assert (await storage.backlog()).open == 0


async def test_an_attempt_under_way_may_succeed(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    event_id = await published(storage, data=SECRET)
    claimed = await claim_one(storage)
    assert await storage.erase(event_id)
    assert await states_of(storage, event_id) == {1001: DeliveryState.SENDING}
    assert await settle(storage, claimed)
    (row,) = await log_of(storage)
    assert (row.http_status, row.response_body) == (200, None), "a receiver may have sent the data back"
    assert await states_of(storage, event_id) == {1001: SUCCEEDED}


@pytest.mark.parametrize("verdict", [Retry(1000), GiveUp(Reason.EXHAUSTED)])
async def test_an_attempt_under_way_that_fails_is_the_last(storage: Storage, verdict: Retry | GiveUp) -> None:
    await populate(storage, {101: [1001]})
    event_id = await published(storage)
    claimed = await claim_one(storage)
    await storage.erase(event_id)
    assert await settle(storage, claimed, verdict)
    view = await delivery_of(storage, claimed)
    assert (view.state, view.reason) == (CANCELLED, Reason.ERASED)
    (row,) = await log_of(storage)
    assert (row.next_attempt_at, row.dead_lettered) == (None, False)
    assert await storage.notices(10) == ()


async def test_what_was_claimed_and_comes_back_unsent_is_cancelled(storage: Storage) -> None:
    await populate(storage, {101: [1001, 1002]})
    event_id = await published(storage, {101: [1001]})
    kept = await published(storage, {101: [1002]})
    claimed = (await claim(storage)).deliveries
    await storage.erase(event_id)
    await storage.release([fence_of(each) for each in claimed])
    assert await states_of(storage, event_id) == {1001: CANCELLED}
    assert await states_of(storage, kept) == {1002: DeliveryState.PENDING}


async def test_an_attempt_under_way_that_is_lost_is_the_last(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    event_id = await published(storage)
    claimed = await claim_one(storage)
    await storage.erase(event_id)
    clock.now += 46_000
    found = await claim(storage)
    assert (found.lost, found.parked, found.deliveries, found.unreadable) == (1, 0, (), ())
    assert await states_of(storage, event_id) == {1001: CANCELLED}
    assert not await settle(storage, claimed)


async def test_an_erased_event_is_not_sent_again(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    event_id = await published(storage)
    claimed = await attempt(storage)
    await storage.erase(event_id)
    found = await storage.redeliver(1001, claimed.id)
    assert found
    assert found.is_erased
    assert (await claim(storage)).deliveries == ()


async def test_its_id_still_answers_what_it_first_did(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    event = await an_event(storage, {101: [1001]}, event_id="order-1", data=SECRET)
    first = await storage.publish(await a_publication(storage, event))
    await storage.erase("order-1")
    again = await storage.publish(await a_publication(storage, event))
    assert isinstance(again, Published)
    assert again == first
    assert (await event_of(storage, "order-1")).view.event.data is None


async def test_repeating_it_changes_nothing_and_an_unknown_event_is_said(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    event_id = await published(storage)
    assert await storage.erase(event_id)
    before = await event_of(storage, event_id)
    assert await storage.erase(event_id)
    assert await event_of(storage, event_id) == before
    assert not await storage.erase("unknown")
    assert not await storage.erase("a\0b")


async def test_the_next_of_an_ordered_lane_takes_its_turn(storage: Storage) -> None:
    await populate(storage, {101: [1001]}, policies=Policies(ordered=True))
    first = await published(storage)
    claimed = await claim_one(storage)
    assert await settle(storage, claimed, Retry(3_600_000))
    second = await published(storage)
    await storage.erase(first)
    assert (await claim_one(storage)).event_id == second
