"""Publishing is all or nothing, once for each key and id, and never under what has changed since matching."""

import asyncio
from collections import Counter

import pytest
from msgspec.structs import replace
from storage_samples import (
    NOON_MS,
    NOTE,
    HandClock,
    OpenStorage,
    a_publication,
    a_subscription,
    an_event,
    claim,
    create,
    event_of,
    populate,
    publish,
    published,
    states_of,
)

from hookline.model import DeliveryState, Entry, EventType, PayloadVersion
from hookline.storage.protocol import Storage
from hookline.storage.publications import IdConflict, KeyConflict, NewDelivery, Published, Stale
from hookline.storage.views import EventQuery

pytestmark = pytest.mark.anyio

EVERYTHING = EventQuery(limit=100)


async def test_what_is_published_is_there_with_its_deliveries_due_at_once(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001, 1002]})
    clock.now += 5
    result = await publish(storage, {101: [1001, 1002]}, data=b'{"a":1.10}', occurred_at=NOON_MS - 60_000)
    assert isinstance(result, Published)
    (accepted,) = result.events
    assert (accepted.event_type, accepted.accepted_at, accepted.deliveries) == (NOTE, clock.now, 2)
    event = (await event_of(storage, accepted.id)).view.event
    assert (event.data, event.occurred_at, event.accepted_at) == (b'{"a":1.10}', NOON_MS - 60_000, clock.now)
    assert await states_of(storage, accepted.id) == dict.fromkeys((1001, 1002), DeliveryState.PENDING)
    assert len((await claim(storage)).deliveries) == 2


async def test_an_event_without_a_time_of_its_own_occurred_when_it_was_accepted(
    storage: Storage, clock: HandClock
) -> None:
    await populate(storage, {101: [1001]})
    clock.now += 77
    event = (await event_of(storage, await published(storage))).view.event
    assert event.occurred_at == event.accepted_at == clock.now


async def test_an_event_that_nobody_subscribed_to_is_kept_all_the_same(storage: Storage) -> None:
    await populate(storage, {101: []})
    detail = await event_of(storage, await published(storage, {101: []}))
    assert (detail.deliveries, detail.view.counts) == ((), {})
    assert [recipient.company_id for recipient in detail.view.recipients] == [101]


async def test_bytes_arrive_as_they_were_published(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    exotic = b'{"z":1.10,"a":18446744073709551616,"\\u0000":"\\ud83d\\ude00","a":"\xf0\x9f\x98\x80\\u0000"}'
    await publish(storage, data=exotic)
    (claimed,) = (await claim(storage)).deliveries
    assert claimed.data == exotic


async def test_what_recipients_say_and_what_deliveries_freeze_is_kept(storage: Storage) -> None:
    await populate(storage, {101: []})
    await create(storage, a_subscription(1001, payload_version=PayloadVersion.V2))
    entries = (Entry(case_direction="INBOUND"), Entry(partner_company_id=9))
    event = await an_event(storage, {101: [1001]}, entries=entries)
    frozen = NewDelivery(
        subscription_id=1001,
        company_id=101,
        payload_version=PayloadVersion.V2,
        type_name="org.example.note",
        source="https://example.com",
    )
    await storage.publish(await a_publication(storage, replace(event, deliveries=(frozen,))))
    assert (await event_of(storage, event.id)).view.recipients[0].entries == entries
    (claimed,) = (await claim(storage)).deliveries
    assert (claimed.payload_version, claimed.type_name, claimed.source) == (
        PayloadVersion.V2,
        "org.example.note",
        "https://example.com",
    )


# --- keys ------------------------------------------------------------------------------------------------------------


async def test_a_key_seen_before_answers_the_first_answer_and_stores_nothing(
    storage: Storage, clock: HandClock
) -> None:
    await populate(storage, {101: [1001]})
    first = await storage.publish(await a_publication(storage, await an_event(storage, {101: [1001]}), key="k"))
    clock.now += 1_000
    again = await a_publication(storage, await an_event(storage, {101: [1001]}), key="k")
    assert await storage.publish(again) == first
    assert len(await storage.events(EVERYTHING)) == 1


async def test_a_key_with_another_request_is_a_conflict_and_stores_nothing(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    event = await an_event(storage, {101: [1001]})
    await storage.publish(await a_publication(storage, event, key="k", request=b"1"))
    other = await a_publication(storage, await an_event(storage, {101: [1001]}), key="k", request=b"2")
    assert await storage.publish(other) == KeyConflict()
    assert len(await storage.events(EVERYTHING)) == 1


async def test_a_key_is_free_again_after_its_span(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    first = await a_publication(storage, await an_event(storage, {101: [1001]}), key="k", request=b"1")
    await storage.publish(first)
    clock.now += 60_000
    second = await a_publication(storage, await an_event(storage, {101: [1001]}), key="k", request=b"2")
    answer = await storage.publish(second)
    assert isinstance(answer, Published)
    assert answer.events[0].id == second.events[0].id
    assert await storage.publish(second) == answer
    assert len(await storage.events(EVERYTHING)) == 2


async def test_keys_are_forgotten_in_bounded_steps_once_their_span_is_over(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    for number in range(3):
        await storage.publish(await a_publication(storage, await an_event(storage, {101: []}), key=f"k{number}"))
    assert await storage.forget_keys(10) == 0
    clock.now += 60_000
    assert [await storage.forget_keys(2), await storage.forget_keys(2), await storage.forget_keys(2)] == [2, 1, 0]


async def test_a_key_and_an_id_of_the_same_letters_are_two_things(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage, event_id="same", data=b"{}")
    result = await storage.publish(await a_publication(storage, await an_event(storage, {101: [1001]}), key="same"))
    assert isinstance(result, Published)
    assert result.events[0].id != "same"


# --- ids -------------------------------------------------------------------------------------------------------------


async def test_an_id_seen_before_answers_the_first_answer_and_stores_nothing(
    storage: Storage, clock: HandClock
) -> None:
    await populate(storage, {101: [1001]})
    first = await publish(storage, event_id="order-1")
    clock.now += 1_000
    await create(storage, a_subscription(1002))
    assert await publish(storage, {101: [1001, 1002]}, event_id="order-1") == first
    assert list(await states_of(storage, "order-1")) == [1001]


async def test_an_id_of_another_event_is_a_conflict(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage, event_id="order-1", data=b'{"a":1}')
    assert await publish(storage, event_id="order-1", data=b'{"a":2}') == IdConflict(index=0)
    assert (await event_of(storage, "order-1")).view.event.data == b'{"a":1}'


async def test_an_id_that_we_made_belongs_to_no_publisher(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    ours = await published(storage)
    assert await publish(storage, event_id=ours) == IdConflict(index=0)


# --- batches ---------------------------------------------------------------------------------------------------------


async def test_a_batch_answers_event_by_event_in_its_own_order(storage: Storage) -> None:
    await populate(storage, {101: [1001], 102: [2001, 2002]})
    known = await publish(storage, event_id="known")
    assert isinstance(known, Published)
    batch = [
        await an_event(storage, {102: [2001, 2002]}),
        await an_event(storage, {101: [1001]}, event_id="known"),
        await an_event(storage, {101: []}, event_id="new"),
    ]
    result = await storage.publish(await a_publication(storage, *batch))
    assert isinstance(result, Published)
    assert [one.id for one in result.events] == [batch[0].id, "known", "new"]
    assert [one.deliveries for one in result.events] == [2, 1, 0]
    assert result.events[1] == known.events[0]
    assert len(await storage.events(EVERYTHING)) == 3


async def test_a_conflict_in_a_batch_names_its_index_and_refuses_all_of_it(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage, event_id="taken", data=b'{"a":1}')
    batch = [
        await an_event(storage, {101: [1001]}, event_id="fine"),
        await an_event(storage, {101: [1001]}, event_id="taken", data=b'{"a":2}'),
    ]
    assert await storage.publish(await a_publication(storage, *batch, key="k")) == IdConflict(index=1)
    assert await storage.event("fine", company_id=None, after_id=0, limit=1, attempts_max=1) is None
    again = await storage.publish(await a_publication(storage, batch[0], key="k", request=b"other"))
    assert isinstance(again, Published), "the key of what was refused is free"


async def test_a_batch_is_stored_in_the_order_of_its_events(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    batch = [await an_event(storage, {101: [1001]}) for _ in range(50)]
    await storage.publish(await a_publication(storage, *batch))
    newest_first = [view.event.id for view in await storage.events(EVERYTHING)]
    assert newest_first == [event.id for event in reversed(batch)]
    deliveries = [(await event_of(storage, event.id)).deliveries[0].id for event in batch]
    assert deliveries == sorted(deliveries)


# --- revisions -------------------------------------------------------------------------------------------------------


async def test_a_subscription_made_since_matching_makes_it_stale(storage: Storage) -> None:
    await populate(storage, {101: [1001], 102: [2001]})
    event = await an_event(storage, {101: [1001], 102: [2001]})
    publication = await a_publication(storage, event, key="k")
    await create(storage, a_subscription(1002))
    assert await storage.publish(publication) == Stale(catalogue=False, company_ids=(101,))
    assert await storage.events(EVERYTHING) == ()
    matched_again = await an_event(storage, {101: [1001, 1002], 102: [2001]})
    assert isinstance(await storage.publish(await a_publication(storage, matched_again, key="k")), Published)


@pytest.mark.parametrize("change", ["changed", "deleted"])
async def test_a_subscription_changed_or_deleted_since_matching_makes_it_stale(storage: Storage, change: str) -> None:
    await populate(storage, {101: [1001]})
    publication = await a_publication(storage, await an_event(storage, {101: [1001]}))
    stored = await storage.subscription(1001)
    assert stored
    if change == "changed":
        await storage.replace_subscription(replace(stored, revision=2, event_types=()), lift_hold=False)
    else:
        await storage.delete_subscription(1001)
    assert await storage.publish(publication) == Stale(catalogue=False, company_ids=(101,))


async def test_a_catalogue_changed_since_matching_makes_it_stale(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    publication = await a_publication(storage, await an_event(storage, {101: [1001]}))
    await storage.put_event_type(EventType(name="order.paid", v1_name="order.paid", v2_name="order.paid"))
    assert await storage.publish(publication) == Stale(catalogue=True, company_ids=())
    assert await storage.events(EVERYTHING) == ()


async def test_companies_that_are_unknown_or_deleted_are_stale_and_have_no_routes(storage: Storage) -> None:
    await populate(storage, {101: [], 102: []})
    event = await an_event(storage, {101: [], 102: []})
    await storage.delete_company(102, cascade=False)
    recipients = (*event.recipients, replace(event.recipients[0], company_id=999))
    publication = await a_publication(storage, replace(event, recipients=recipients))
    assert await storage.publish(publication) == Stale(catalogue=False, company_ids=(102, 999))
    assert list(await storage.routes([101, 102, 999])) == [101]


async def test_what_was_answered_once_is_answered_again_however_much_has_changed(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    by_key = await a_publication(storage, await an_event(storage, {101: [1001]}), key="k")
    by_id = await a_publication(storage, await an_event(storage, {101: [1001]}, event_id="order-1"))
    first = [await storage.publish(by_key), await storage.publish(by_id)]
    await create(storage, a_subscription(1002))
    await storage.put_event_type(EventType(name="order.paid", v1_name=None, v2_name=None))
    assert [await storage.publish(by_key), await storage.publish(by_id)] == first
    await storage.delete_company(101, cascade=True)
    assert [await storage.publish(by_key), await storage.publish(by_id)] == first


# --- many at once ----------------------------------------------------------------------------------------------------


async def test_a_hundred_duplicates_at_once_store_one_event(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    same_key = [await a_publication(storage, await an_event(storage, {101: [1001]}), key="k") for _ in range(50)]
    same_id = [await a_publication(storage, await an_event(storage, {101: [1001]}, event_id="e")) for _ in range(50)]
    answers = await asyncio.gather(*map(storage.publish, same_key + same_id))
    assert len({repr(answer) for answer in answers[:50]}) == len({repr(answer) for answer in answers[50:]}) == 1
    assert all(isinstance(answer, Published) for answer in answers)
    assert len(await storage.events(EVERYTHING)) == len((await claim(storage, 500)).deliveries) == 2


async def test_of_conflicting_requests_at_once_one_wins(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    rivals = [
        await a_publication(storage, await an_event(storage, {101: [1001]}, event_id="e", data=b"{%d}" % number))
        for number in range(20)
    ]
    answers = Counter(type(answer) for answer in await asyncio.gather(*map(storage.publish, rivals)))
    assert answers == {Published: 1, IdConflict: 19}


async def test_batches_that_share_ids_in_opposite_orders_all_end(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    there = [await an_event(storage, {101: [1001]}, event_id=f"e{number}") for number in range(40)]
    publications = [await a_publication(storage, *order) for order in (there, there[::-1]) for _ in range(10)]
    answers = await asyncio.gather(*map(storage.publish, publications))
    assert all(isinstance(answer, Published) for answer in answers)
    assert len(await storage.events(EVERYTHING)) == 40


async def test_twenty_publishes_at_once_are_twenty_events(storage: Storage) -> None:
    await populate(storage, {101: [1001], 102: [2001]})
    publications = [
        await a_publication(storage, await an_event(storage, {101: [1001], 102: [2001]})) for _ in range(20)
    ]
    answers = await asyncio.gather(*map(storage.publish, publications))
    assert all(isinstance(answer, Published) for answer in answers)
    views = await storage.events(EVERYTHING)
    assert len({view.event.key for view in views}) == 20
    assert all(view.counts == {DeliveryState.PENDING: 2} for view in views)


async def test_what_is_published_here_is_read_at_once(open_storage: OpenStorage, engine: str) -> None:
    storage = await open_storage()
    elsewhere = await open_storage() if engine == "postgres" else storage
    await populate(storage, {101: []})
    for number in range(20):
        await create(storage, a_subscription(1001 + number))
        assert len((await elsewhere.routes([101]))[101].routes) == number + 1
        event_id = await published(storage, {101: [1001]})
        assert await elsewhere.event(event_id, company_id=101, after_id=0, limit=1, attempts_max=1)
