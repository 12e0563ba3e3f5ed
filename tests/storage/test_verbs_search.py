"""Searching events: the newest that match, no more looked at than asked for, and always a place to go on from."""

import pytest
from storage_samples import HandClock, attempt, claim, deactivate, populate, publish, published, settle

from hookline.lifecycle import GiveUp, Reason
from hookline.model import DeliveryState
from hookline.storage.protocol import Storage
from hookline.storage.views import EventQuery, EventSearch

pytestmark = pytest.mark.anyio


async def searched(storage: Storage, looked_at_max: int = 100, **query: object) -> EventSearch:
    return await storage.search_events(EventQuery(**{"limit": 10, **query}), looked_at_max)  # type: ignore[arg-type]


def ids(found: EventSearch) -> list[str]:
    return [view.event.id for view in found.events]


@pytest.mark.parametrize("company", [None, 101])
async def test_events_are_found_by_bytes_of_their_data(storage: Storage, company: int | None) -> None:
    await populate(storage, {101: [1001], 102: [2001]})
    first = await published(storage, data=b'{"order":{"id":42}}')
    await published(storage, data=b'{"order":{"id":7}}')
    await published(storage, {102: [2001]}, data=b'{"order":{"id":43}}')
    last = await published(storage, data=b'{"other":"42"}')
    found = await searched(storage, company_id=company, containing=b"42")
    assert ids(found) == [last, first]
    assert found.next_before_key is None
    assert ids(await searched(storage, company_id=company, containing=b"nowhere")) == []


@pytest.mark.parametrize("company", [None, 101])
async def test_a_search_ends_after_what_it_may_look_at_and_goes_on(storage: Storage, company: int | None) -> None:
    await populate(storage, {101: [1001]})
    first = await published(storage, data=b'{"wanted":1}')
    for _ in range(5):
        await published(storage)
    found = await searched(storage, 3, company_id=company, containing=b"wanted")
    assert ids(found) == []
    assert found.next_before_key is not None
    on = await searched(storage, 3, company_id=company, containing=b"wanted", before_key=found.next_before_key)
    assert ids(on) == [first]
    assert on.next_before_key is None or not ids(
        await searched(storage, 3, company_id=company, containing=b"wanted", before_key=on.next_before_key)
    )


@pytest.mark.parametrize("company", [None, 101])
async def test_a_full_page_goes_on_below_its_last(storage: Storage, company: int | None) -> None:
    await populate(storage, {101: [1001]})
    made = [await published(storage) for _ in range(4)]
    found = await searched(storage, company_id=company, limit=2)
    assert ids(found) == made[:1:-1]
    rest = await searched(storage, company_id=company, limit=2, before_key=found.next_before_key)
    assert ids(rest) == made[1::-1]


@pytest.mark.parametrize("company", [None, 101])
async def test_the_dead_are_found_however_many_others_came_since(storage: Storage, company: int | None) -> None:
    await populate(storage, {101: [1001, 1002], 102: [2001]})
    dead = [await published(storage, {101: [1001, 1002]}) for _ in range(3)]
    foreign = await published(storage, {102: [2001]})
    while claimed := (await claim(storage)).deliveries:
        for one in claimed:
            await settle(storage, one, GiveUp(Reason.EXHAUSTED))
    for _ in range(4):
        await publish(storage)
        await attempt(storage)
    everywhere = [*([foreign] if company is None else []), *reversed(dead)]
    found = await searched(storage, 1, company_id=company, state=DeliveryState.DEAD)
    assert ids(found) == everywhere
    first = await searched(storage, 1, company_id=company, state=DeliveryState.DEAD, limit=2)
    assert ids(first) == everywhere[:2]
    rest = await searched(
        storage, 1, company_id=company, state=DeliveryState.DEAD, limit=2, before_key=first.next_before_key
    )
    assert ids(rest) == everywhere[2:4]


async def test_a_rare_state_is_looked_for_within_bounds(storage: Storage) -> None:
    await populate(storage, {101: [1001, 1002]})
    held = await published(storage, {101: [1002]})
    await deactivate(storage, 1002)
    for _ in range(5):
        await publish(storage)
    found = await searched(storage, 3, state=DeliveryState.HELD)
    assert (ids(found), found.next_before_key is None) == ([], False)
    assert ids(await searched(storage, state=DeliveryState.HELD)) == [held]


async def test_events_before_an_instant_are_found_days_later(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    made = []
    for _ in range(4):
        made.append(await published(storage))
        clock.now += 86_400_000
    found = await searched(storage, from_at=clock.now - 3 * 86_400_000, to_at=clock.now - 86_400_000)
    assert ids(found) == made[2:0:-1]


async def test_only_what_came_after_is_found(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    newest = (await searched(storage)).events[0].event.key
    assert ids(await searched(storage, after_key=newest)) == []
    later = await published(storage)
    assert ids(await searched(storage, after_key=newest)) == [later]
    assert ids(await searched(storage, after_key=newest, company_id=101)) == [later]
