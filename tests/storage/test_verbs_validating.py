"""A lane opens once its receiver has granted the callback URL, and is asked about ever more seldom until then."""

import pytest
from storage_samples import (
    HandClock,
    OpenStorage,
    a_settlement,
    a_subscription,
    change,
    claim,
    claim_one,
    create,
    deactivate,
    event_of,
    populate,
    published,
    reactivate,
    settle,
)

from hookline.lifecycle import GiveUp, Reason
from hookline.model import Policies, Validation
from hookline.storage.protocol import Storage
from hookline.storage.views import VALIDATION_DOUBLINGS_MAX, Waiting

pytestmark = pytest.mark.anyio

ASKING = Policies(validation=Validation.CLOUDEVENTS)
WAIT_MS = 10_000
URL = "https://receiver-1001.example.com/in"


async def taken(storage: Storage, limit: int = 10) -> list[int]:
    return sorted([each.id for each in await storage.take_validations(WAIT_MS, limit)])


async def grant(storage: Storage, url: str = URL, allowed_per_second: float | None = None) -> bool:
    return await storage.grant_validation(1001, url, allowed_per_second=allowed_per_second)


async def test_nothing_is_claimed_before_the_receiver_grants(storage: Storage) -> None:
    await populate(storage, {101: [1001]}, policies=ASKING)
    event_id = await published(storage)
    await storage.repair_lanes()
    assert (await claim(storage)).deliveries == ()
    (delivery,) = (await event_of(storage, event_id)).deliveries
    assert (delivery.state, delivery.reason) == ("pending", Waiting.VALIDATION)
    assert await taken(storage) == [1001]
    assert await grant(storage)
    assert (await event_of(storage, event_id)).deliveries[0].reason is None
    assert (await claim_one(storage)).event_id == event_id
    assert await taken(storage) == []


async def test_who_needs_no_grant_is_never_asked(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    assert await taken(storage) == []
    assert not await grant(storage)


async def test_a_receiver_is_asked_ever_more_seldom_and_by_one_alone(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]}, policies=ASKING)
    for tries in range(VALIDATION_DOUBLINGS_MAX + 3):
        assert await taken(storage) == [1001]
        assert await taken(storage) == []
        wait_ms = WAIT_MS << min(tries, VALIDATION_DOUBLINGS_MAX)
        clock.now += wait_ms - 1
        assert await taken(storage) == []
        clock.now += 1


async def test_those_that_wait_longest_are_asked_first(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: []})
    for subscription_id in (1003, 1001, 1002):
        await create(storage, a_subscription(subscription_id, policies=ASKING))
        clock.now += 1
    assert [await taken(storage, 1) for _ in range(4)] == [[1003], [1001], [1002], []]


async def test_what_was_granted_outlasts_the_process_and_other_changes(open_storage: OpenStorage) -> None:
    storage = await open_storage()
    await populate(storage, {101: [1001]}, policies=ASKING)
    assert await grant(storage)
    await storage.close()
    storage = await open_storage()
    await change(storage, 1001, policies=Policies(validation=Validation.CLOUDEVENTS, timeout_seconds=5))
    await deactivate(storage, 1001)
    await reactivate(storage, 1001)
    assert await taken(storage) == []
    await published(storage)
    await claim_one(storage)


async def test_another_url_needs_another_grant(storage: Storage) -> None:
    await populate(storage, {101: [1001]}, policies=ASKING)
    assert await grant(storage)
    await change(storage, 1001, callback_url="https://other.example.com/")
    await published(storage)
    assert (await claim(storage)).deliveries == ()
    assert not await grant(storage)  # of the old one, by somebody who asked before the change
    assert await taken(storage) == [1001]
    await change(storage, 1001, callback_url=URL)
    assert (await claim(storage)).deliveries == ()
    assert await grant(storage)
    await claim_one(storage)


async def test_a_change_asks_at_once(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]}, policies=ASKING)
    for _ in range(3):
        assert await taken(storage) == [1001]
        clock.now += 100_000
    await taken(storage)
    await reactivate(storage, 1001)
    assert await taken(storage) == [1001]
    clock.now += WAIT_MS
    assert await taken(storage) == [1001]


async def test_taking_the_policy_away_opens_and_setting_it_closes(storage: Storage) -> None:
    await populate(storage, {101: [1001]}, policies=ASKING)
    await published(storage)
    await change(storage, 1001, policies=Policies())
    assert await taken(storage) == []
    await claim_one(storage)
    await change(storage, 1001, policies=ASKING)
    await published(storage)
    assert (await claim(storage)).deliveries == ()
    assert await taken(storage) == [1001]


async def test_an_inactive_or_deleted_subscription_is_neither_asked_nor_opened(storage: Storage) -> None:
    await populate(storage, {101: [1001, 1002]}, policies=ASKING)
    await deactivate(storage, 1001)
    await storage.delete_subscription(1002)
    assert await taken(storage) == []
    assert not await grant(storage)
    event_id = await published(storage, {101: [1001]})
    assert (await event_of(storage, event_id)).deliveries[0].state == "held"
    await reactivate(storage, 1001)
    assert (await claim(storage)).deliveries == ()
    assert await taken(storage) == [1001]


async def test_a_receiver_that_is_gone_is_not_opened_by_a_grant_that_comes_late(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    await published(storage)
    claimed = await claim_one(storage)
    changed = await change(storage, 1001, policies=ASKING)
    gone = a_settlement(claimed, GiveUp(Reason.EXHAUSTED, gone=True), subscription_revision=changed.revision)
    assert list(await storage.settle([gone])) == [True]
    stored = await storage.subscription(1001)
    assert stored
    assert not stored.active
    assert not await grant(storage)


@pytest.mark.parametrize(("policy", "allowed", "space_ms"), [(None, 0.5, 2000), (1, 0.5, 2000), (2, 4.0, 500)])
async def test_the_lower_of_what_is_wanted_and_allowed_is_the_rate(
    storage: Storage, clock: HandClock, policy: int | None, allowed: float, space_ms: int
) -> None:
    policies = Policies(validation=Validation.CLOUDEVENTS, rate_per_second=policy, max_in_flight=100)
    await populate(storage, {101: [1001]}, policies=policies)
    for _ in range(3):
        await published(storage)
    assert await grant(storage, allowed_per_second=allowed)
    await settle(storage, await claim_one(storage))
    clock.now += space_ms - 1
    assert (await claim(storage)).deliveries == ()
    clock.now += 1
    await settle(storage, await claim_one(storage))
    await change(storage, 1001, policies=Policies(validation=Validation.CLOUDEVENTS, rate_per_second=100))
    assert (await claim(storage)).deliveries == ()
    clock.now += max(space_ms, int(1000 / allowed))  # a wait that is set already stays
    await claim_one(storage)


async def test_without_the_policy_what_was_allowed_counts_no_more(storage: Storage) -> None:
    await populate(storage, {101: [1001]}, policies=ASKING)
    for _ in range(3):
        await published(storage)
    assert await grant(storage, allowed_per_second=0.01)
    await settle(storage, await claim_one(storage))
    assert (await claim(storage)).deliveries == ()
    await change(storage, 1001, policies=Policies())
    assert len((await claim(storage)).deliveries) == 2
