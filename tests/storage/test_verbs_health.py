"""How receivers do, as people are told: by the failures in a row that their lanes have counted."""

import pytest
from storage_samples import HandClock, a_settlement, claim, claim_one, deactivate, populate, published, settle

from hookline.lifecycle import GiveUp, Reason
from hookline.storage.protocol import Storage

pytestmark = pytest.mark.anyio


async def test_who_failed_last_is_told_until_a_success(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001], 102: [2001]})
    assert await storage.health([1001, 2001]) == {}
    await published(storage, {101: [1001]})
    first_failed_at = clock.now
    await settle(storage, await claim_one(storage), GiveUp(Reason.EXHAUSTED))
    found = await storage.health([1001, 2001])
    assert list(found) == [1001]
    assert (found[1001].failures, found[1001].failing_since) == (1, first_failed_at)
    assert list(await storage.troubled(None, 10)) == [1001]
    await published(storage, {101: [1001]})
    await settle(storage, await claim_one(storage))
    assert await storage.health([1001]) == {}
    assert await storage.troubled(None, 10) == {}


async def test_a_success_that_ends_together_with_an_earlier_failure_counts(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    for _ in range(2):
        await published(storage, {101: [1001]})
    first, second = (await claim(storage)).deliveries
    await storage.settle([a_settlement(first, GiveUp(Reason.EXHAUSTED)), a_settlement(second)])
    assert await storage.health([1001]) == {}


async def test_who_is_inactive_is_troubled_too_and_only_for_its_company(storage: Storage) -> None:
    await populate(storage, {101: [1001, 1002], 102: [2001]})
    await deactivate(storage, 1002)
    await deactivate(storage, 2001)
    assert list(await storage.troubled(101, 10)) == [1002]
    assert sorted(await storage.troubled(None, 10)) == [1002, 2001]
    assert len(await storage.troubled(None, 1)) == 1
    await storage.delete_subscription(1002)
    assert await storage.troubled(101, 10) == {}
