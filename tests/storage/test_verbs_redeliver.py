"""A redelivery opens the same delivery again, once, with all of its retries; what is open stays as it is."""

import pytest
from storage_samples import (
    LEASE_MS,
    HandClock,
    OpenStorage,
    attempt,
    claim,
    claim_one,
    deactivate,
    delivery_of,
    event_of,
    log_of,
    populate,
    published,
    reactivate,
    settle,
)

from hookline.lifecycle import GiveUp, Reason, Retry, Succeed, Verdict
from hookline.model import DeliveryState
from hookline.storage.claims import Claimed, Redelivery
from hookline.storage.protocol import Storage

pytestmark = pytest.mark.anyio


async def redeliver(storage: Storage, claimed: Claimed) -> DeliveryState:
    found = await storage.redeliver(claimed.subscription_id, claimed.id)
    assert found
    assert found.event_id == claimed.event_id
    return found.state


@pytest.mark.parametrize("verdict", [Succeed(), GiveUp(Reason.EXHAUSTED)])
async def test_an_ended_delivery_opens_again_with_all_of_its_retries(
    storage: Storage, clock: HandClock, verdict: Verdict
) -> None:
    await populate(storage, {101: [1001]})
    await published(storage, data=b'{"n":1.10}')
    for _ in range(2):
        await attempt(storage, wait_ms=1_000)
        clock.now += 1_000
    first = await claim_one(storage)
    assert await settle(storage, first, verdict)
    ended = (await delivery_of(storage, first)).state
    clock.now += 60_000

    assert await redeliver(storage, first) is ended
    view = await delivery_of(storage, first)
    assert (view.state, view.failures, view.due_at, view.reason, view.settled_at) == (
        DeliveryState.PENDING, 0, clock.now, None, None
    )  # fmt: skip
    again = await claim_one(storage)
    assert (again.id, again.attempt, again.failures, again.data) == (first.id, first.attempt + 1, 0, first.data)
    assert await settle(storage, again)
    assert [row.number for row in await log_of(storage)] == [1, 2, 3, 4]
    assert (await claim(storage)).deliveries == ()


async def test_an_event_keeps_one_delivery_a_subscription(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    event_id = await published(storage)
    for _ in range(3):
        assert await redeliver(storage, await attempt(storage)) is DeliveryState.SUCCEEDED
    detail = await event_of(storage, event_id)
    assert [view.state for view in detail.deliveries] == [DeliveryState.PENDING]
    assert detail.view.counts == {DeliveryState.PENDING: 1}


async def test_losses_before_a_redelivery_do_not_count_after_it(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await published(storage)
    lost = 0
    while lost < 6:  # the sixth parks it
        claimed = await claim(storage)
        lost += claimed.lost
        clock.now += LEASE_MS if claimed.deliveries else 1_800_000
    view = (await event_of(storage, (await log_of(storage))[0].event_id)).deliveries[0]
    assert view.reason == Reason.CRASHED
    assert await storage.redeliver(1001, view.id)
    assert len((await claim(storage)).deliveries) == 1
    clock.now += LEASE_MS
    assert len((await claim(storage)).deliveries) == 1, "one loss is tried again at once"


async def test_a_repeated_redelivery_changes_nothing(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await published(storage)
    claimed = await attempt(storage)
    assert await redeliver(storage, claimed) is DeliveryState.SUCCEEDED
    before = await delivery_of(storage, claimed)
    clock.now += 5_000
    assert await redeliver(storage, claimed) is DeliveryState.PENDING
    assert await delivery_of(storage, claimed) == before


async def test_a_wait_before_a_retry_stays_as_it_was_set(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await published(storage)
    claimed = await attempt(storage, wait_ms=60_000)
    before = await delivery_of(storage, claimed)
    clock.now += 1_000
    assert await redeliver(storage, claimed) is DeliveryState.PENDING
    assert await delivery_of(storage, claimed) == before


async def test_what_is_in_flight_stays_there_and_its_end_still_counts(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    await published(storage)
    claimed = await claim_one(storage)
    assert await redeliver(storage, claimed) is DeliveryState.SENDING
    assert await settle(storage, claimed)
    assert (await delivery_of(storage, claimed)).state is DeliveryState.SUCCEEDED


async def test_a_worker_of_the_round_before_changes_nothing(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await published(storage)
    stale = await claim_one(storage)
    clock.now += LEASE_MS
    ended = await attempt(storage)
    assert await redeliver(storage, ended) is DeliveryState.SUCCEEDED
    for worker in (stale, ended):
        assert not await settle(storage, worker, Retry(0))
    current = await claim_one(storage)
    for worker in (stale, ended):
        assert not await settle(storage, worker)
    assert await settle(storage, current)


async def test_a_held_delivery_stays_held_and_a_reopened_one_waits_with_it(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    await published(storage)
    ended = await attempt(storage)
    waiting = await published(storage)
    await deactivate(storage, 1001)
    held = (await event_of(storage, waiting)).deliveries[0]
    assert await storage.redeliver(1001, held.id) == Redelivery(
        event_id=waiting, state=DeliveryState.HELD, reason="requested", is_erased=False
    )
    assert await redeliver(storage, ended) is DeliveryState.SUCCEEDED
    assert (await delivery_of(storage, ended)).state is DeliveryState.HELD
    assert (await claim(storage)).deliveries == ()
    await reactivate(storage, 1001)
    assert {one.id for one in (await claim(storage)).deliveries} == {ended.id, held.id}


async def test_only_the_subscription_s_own_deliveries_are_found(storage: Storage) -> None:
    await populate(storage, {101: [1001, 1002], 102: [1003]})
    await published(storage)
    claimed = await attempt(storage)
    for subscription_id in (1002, 1003, 9999):
        assert await storage.redeliver(subscription_id, claimed.id) is None
    assert await storage.redeliver(1001, claimed.id + 1) is None
    assert await storage.delete_subscription(1001)
    assert await storage.redeliver(1001, claimed.id) is None
    assert (await claim(storage)).deliveries == ()


async def test_a_redelivery_survives_the_process(open_storage: OpenStorage) -> None:
    storage = await open_storage()
    await populate(storage, {101: [1001]})
    await published(storage)
    claimed = await attempt(storage)
    assert await redeliver(storage, claimed) is DeliveryState.SUCCEEDED
    await storage.close()
    again = await claim_one(await open_storage())
    assert (again.id, again.attempt) == (claimed.id, claimed.attempt + 1)
