"""The end of an attempt is recorded once, under its fence, with its row of the log."""

import asyncio

import pytest
from storage_samples import (
    LEASE_MS,
    HandClock,
    a_settlement,
    attempt,
    change,
    claim,
    claim_one,
    delivery_of,
    event_of,
    log_of,
    populate,
    publish,
    published,
    reactivate,
    settle,
)

from hookline.lifecycle import GiveUp, Reason, Retry
from hookline.model import DeliveryState, ErrorClass, Timings
from hookline.storage.claims import AttemptRecord
from hookline.storage.protocol import Storage

pytestmark = pytest.mark.anyio


async def test_a_success_ends_its_delivery(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    claimed = await claim_one(storage)
    clock.now += 200
    assert await settle(storage, claimed)
    view = await delivery_of(storage, claimed)
    assert (view.state, view.reason, view.due_at, view.settled_at) == (DeliveryState.SUCCEEDED, None, None, clock.now)
    (row,) = view.attempts
    assert (row.number, row.http_status, row.error, row.next_attempt_at, row.dead_lettered) == (
        1,
        200,
        None,
        None,
        False,
    )
    assert row.created_at == clock.now
    assert (await claim(storage)).deliveries == ()


async def test_the_log_keeps_all_that_was_recorded(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    event_id = await published(storage, data=b'{"a":1}')
    claimed = await claim_one(storage)
    record = AttemptRecord(
        http_status=None,
        error=ErrorClass.TLS,
        detail="The certificate is for another name.",
        duration_ms=412,
        timings=Timings(dns_ms=1, connect_ms=20, tls_ms=300),
        request_head=b"POST / HTTP/1.1\r\nx: \xff\x00\r\n",
        response_head=None,
        response_body=None,
    )
    await settle(storage, claimed, Retry(10_000), record=record, answered=False)
    (row,) = await log_of(storage)
    assert (row.delivery_id, row.event_id, row.event_type, row.type_name) == (
        claimed.id,
        event_id,
        "note.created",
        "note.created",
    )
    assert (row.error, row.detail, row.duration_ms) == (ErrorClass.TLS, "The certificate is for another name.", 412)
    assert row.timings == Timings(dns_ms=1, connect_ms=20, tls_ms=300)
    assert (row.request_head, row.response_head, row.response_body) == (
        b"POST / HTTP/1.1\r\nx: \xff\x00\r\n",
        None,
        None,
    )
    assert (row.data, row.occurred_at, row.payload_version) == (
        b'{"a":1}',
        claimed.occurred_at,
        claimed.payload_version,
    )


async def test_a_failure_waits_and_counts(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    claimed = await claim_one(storage)
    for failures, wait_ms in enumerate((10_000, 60_000, 300_000)):
        assert (claimed.attempt, claimed.failures) == (failures + 1, failures)
        await settle(storage, claimed, Retry(wait_ms))
        view = await delivery_of(storage, claimed)
        assert (view.state, view.due_at, view.failures) == (DeliveryState.PENDING, clock.now + wait_ms, failures + 1)
        assert view.attempts[-1].next_attempt_at == clock.now + wait_ms
        clock.now += wait_ms
        claimed = await claim_one(storage)
    await settle(storage, claimed, GiveUp(Reason.EXHAUSTED))
    view = await delivery_of(storage, claimed)
    assert (view.state, view.reason, view.due_at, view.failures) == (DeliveryState.DEAD, Reason.EXHAUSTED, None, 4)
    assert [row.dead_lettered for row in view.attempts] == [False, False, False, True]
    clock.now += 10_000_000
    assert (await claim(storage)).deliveries == ()


async def test_an_attempt_is_settled_once(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    claimed = await claim_one(storage)
    assert await settle(storage, claimed)
    assert not await settle(storage, claimed)
    assert not await settle(storage, claimed, Retry(1_000))
    assert (await delivery_of(storage, claimed)).state is DeliveryState.SUCCEEDED
    assert len(await log_of(storage)) == 1


async def test_the_same_attempt_twice_in_one_batch_counts_once(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    claimed = await claim_one(storage)
    answers = await storage.settle([a_settlement(claimed, Retry(1_000)), a_settlement(claimed)])
    assert list(answers) == [True, False]
    assert (await delivery_of(storage, claimed)).state is DeliveryState.PENDING
    assert len(await log_of(storage)) == 1


async def test_a_stale_attempt_is_refused_beside_the_current_one(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    stale = await claim_one(storage)
    clock.now += LEASE_MS
    current = await claim_one(storage)
    batch = [a_settlement(stale), a_settlement(current, Retry(1_000)), a_settlement(stale)]
    assert list(await storage.settle(batch)) == [False, True, False]
    view = await delivery_of(storage, current)
    assert (view.state, [row.number for row in view.attempts]) == (DeliveryState.PENDING, [1, 2])


async def test_twenty_settlements_of_one_attempt_at_once_count_once(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    claimed = await claim_one(storage)
    assert sum(await asyncio.gather(*(settle(storage, claimed) for _ in range(20)))) == 1
    assert len(await log_of(storage)) == 1


async def test_an_attempt_that_was_not_made_cannot_be_settled(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    await attempt(storage, wait_ms=0)
    second = await claim_one(storage)
    for wrong in (1, 3):
        fence = a_settlement(second).fence
        forged = type(fence)(delivery_id=fence.delivery_id, subscription_id=1001, company_id=101, attempt=wrong)
        assert list(await storage.settle([a_settlement(second, fence=forged)])) == [False]
    assert (await delivery_of(storage, second)).state is DeliveryState.SENDING


async def test_a_batch_answers_for_each_in_its_order(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001, 1002, 1003]})
    await publish(storage, {101: [1001, 1002, 1003]})
    flying = (await claim(storage)).deliveries
    assert await settle(storage, flying[1])
    clock.now += 1
    verdicts = (Retry(5_000), None, GiveUp(Reason.EXHAUSTED))
    batch = [a_settlement(one, verdict) for one, verdict in zip(flying, verdicts, strict=True)]
    assert list(await storage.settle(batch)) == [True, False, True]
    states = [(await delivery_of(storage, one)).state for one in flying]
    assert states == [DeliveryState.PENDING, DeliveryState.SUCCEEDED, DeliveryState.DEAD]


async def test_settling_nothing_is_nothing(storage: Storage) -> None:
    assert list(await storage.settle([])) == []
    await storage.release([])


# --- holds -----------------------------------------------------------------------------------------------------------


async def test_a_hold_keeps_everything_of_its_subscription_waiting(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001, 1002]})
    await publish(storage)
    held = await claim_one(storage)
    await publish(storage, {101: [1001, 1002]})
    await settle(storage, held, Retry(1_000), hold_ms=60_000)
    assert (await attempt(storage)).subscription_id == 1002
    await publish(storage, {101: [1001]})
    clock.now += 30_000
    await storage.repair_lanes()
    early = await claim(storage)
    assert (early.deliveries, early.next_due_ms) == ((), 30_000)
    clock.now += 29_999
    assert (await claim(storage)).deliveries == ()
    clock.now += 1
    assert len((await claim(storage)).deliveries) == 2


async def test_a_hold_keeps_waiting_what_is_published_after_it(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    await settle(storage, await claim_one(storage), GiveUp(Reason.EXHAUSTED), hold_ms=60_000)
    assert (await claim(storage)).next_due_ms is None, "nothing waits"
    await publish(storage)
    early = await claim(storage)
    assert (early.deliveries, early.next_due_ms) == ((), 60_000)
    clock.now += 60_000
    assert len((await claim(storage)).deliveries) == 1


async def test_a_hold_is_lengthened_and_never_shortened(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    await publish(storage)
    first, second = (await claim(storage)).deliveries
    await settle(storage, first, Retry(0), hold_ms=20_000)
    await settle(storage, second, Retry(0), hold_ms=10_000)
    clock.now += 19_999
    assert (await claim(storage)).deliveries == ()
    clock.now += 1
    first, second = (await claim(storage)).deliveries
    await settle(storage, first, Retry(0), hold_ms=10_000)
    await settle(storage, second, Retry(0), hold_ms=20_000)
    clock.now += 19_999
    assert (await claim(storage)).deliveries == ()


async def test_a_hold_is_lifted_on_demand(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    await settle(storage, await claim_one(storage), Retry(0), hold_ms=60_000)
    assert (await claim(storage)).deliveries == ()
    await reactivate(storage, 1001)
    assert (await claim_one(storage)).attempt == 2


# --- gone ------------------------------------------------------------------------------------------------------------


async def test_a_delivery_given_up_as_gone_makes_its_subscription_inactive(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    flying = await claim_one(storage)
    waiting = await published(storage)
    clock.now += 100
    assert await settle(storage, flying, GiveUp(Reason.EXHAUSTED, gone=True))
    stored = await storage.subscription(1001)
    assert stored
    assert (stored.active, stored.inactive_reason, stored.inactive_at) == (False, "gone", clock.now)
    assert (stored.revision, stored.updated_at) == (2, clock.now)
    assert (await claim(storage)).deliveries == ()
    (view,) = (await event_of(storage, waiting)).deliveries
    assert (view.state, view.reason, view.held_since) == (DeliveryState.HELD, "gone", clock.now)
    await reactivate(storage, 1001)
    assert (await claim_one(storage)).event_id == waiting


async def test_a_gone_address_says_nothing_of_the_one_that_took_its_place(storage: Storage) -> None:
    await populate(storage, {101: [1001, 1002]})
    for _ in range(2):
        await publish(storage, {101: [1001, 1002]})
    flying = (await claim(storage)).deliveries
    await change(storage, 1001, callback_url="https://moved.example.com/in")
    gone = GiveUp(Reason.EXHAUSTED, gone=True)
    assert all(await storage.settle([a_settlement(claimed, gone) for claimed in flying]))
    moved, stayed = await storage.subscription(1001), await storage.subscription(1002)
    assert moved
    assert stayed
    assert (moved.active, moved.inactive_reason, moved.revision) == (True, None, 2)
    assert (stayed.active, stayed.inactive_reason, stayed.revision) == (False, "gone", 2)
    after = await published(storage, {101: [1001, 1002]})
    assert [claimed.event_id for claimed in (await claim(storage)).deliveries] == [after], "its lane is open"


async def test_giving_up_alone_leaves_a_subscription_active(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    await settle(storage, await claim_one(storage), GiveUp(Reason.EXHAUSTED))
    stored = await storage.subscription(1001)
    assert stored
    assert (stored.active, stored.revision) == (True, 1)
