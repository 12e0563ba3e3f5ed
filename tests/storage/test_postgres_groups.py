"""Publishes that wait at the same moment share a commit on PostgreSQL, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace
from storage_samples import HandClock, a_publication, an_event, claim, populate, publish

from hookline.errors import Invalid, Unavailable
from hookline.storage.postgres import PostgresStorage, grouping
from hookline.storage.postgres.grouping import Groups
from hookline.storage.publications import IdConflict, KeyConflict, Publication, Published, PublishResult, Stale
from hookline.storage.views import EventQuery

pytestmark = pytest.mark.anyio


@pytest.fixture
async def storage(postgres_url: str, clock: HandClock) -> AsyncIterator[PostgresStorage]:
    storage = PostgresStorage(postgres_url, clock=clock)
    await storage.open()
    await populate(storage, {101: [1001, 1002]})
    yield storage
    await storage.close()


@pytest.fixture
async def someone(postgres_url: str) -> AsyncIterator[Any]:
    """A session beside ours."""
    connection = await asyncpg.connect(postgres_url)
    try:
        yield connection
    finally:
        await connection.close()


async def publications(storage: PostgresStorage, count: int) -> list[Publication]:
    return [await a_publication(storage, await an_event(storage, {101: [1001]})) for _ in range(count)]


async def publish_together(
    storage: PostgresStorage, requests: Sequence[Publication]
) -> list[PublishResult | BaseException]:
    return await asyncio.gather(*map(storage.publish, requests), return_exceptions=True)


async def ids_of_events(storage: PostgresStorage) -> set[str]:
    return {view.event.id for view in await storage.events(EventQuery(limit=1000))}


def ids_of(requests: Sequence[Publication]) -> set[str]:
    return {event.id for request in requests for event in request.events}


async def test_publishes_at_once_share_a_commit(storage: PostgresStorage, someone: Any) -> None:
    requests = await publications(storage, 50)
    results = await publish_together(storage, requests)
    assert all(isinstance(result, Published) for result in results)
    assert await someone.fetchval("SELECT count(DISTINCT xmin::text) FROM events") == 1
    assert await someone.fetchval("SELECT count(*) FROM events") == 50


async def test_a_group_waits_for_the_commits_before_it(storage: PostgresStorage, someone: Any) -> None:
    requests = await publications(storage, 20 + grouping.GROUPS_MAX)
    async with someone.transaction():
        await someone.execute("LOCK TABLE events")
        first = []
        for number in range(grouping.GROUPS_MAX):
            first.append(asyncio.ensure_future(storage.publish(requests[number])))
            while await locks_waited_for(someone) <= number:
                pass
        others = [asyncio.ensure_future(storage.publish(each)) for each in requests[grouping.GROUPS_MAX :]]
    await asyncio.gather(*first, *others)
    assert await someone.fetchval("SELECT count(DISTINCT xmin::text) FROM events") == 1 + grouping.GROUPS_MAX


async def locks_waited_for(someone: Any) -> int:
    # Not from pg_stat_activity: a transaction sees that as it was at its first look.
    waiting: int = await someone.fetchval(
        "SELECT count(*) FROM pg_locks JOIN pg_database AS d ON d.oid = database"
        " WHERE NOT granted AND d.datname = current_database()"
    )
    return waiting


def for_no_subscription(publication: Publication) -> Publication:
    """One that the database refuses."""
    return with_delivery(publication, subscription_id=4_242)


def with_text_that_cannot_be_stored(publication: Publication) -> Publication:
    return with_delivery(publication, type_name="a\0b")


def out_of_range(publication: Publication) -> Publication:
    """One that the driver refuses, before anything is sent."""
    return with_delivery(publication, subscription_id=2**40)


def that_contradicts_itself(publication: Publication) -> Publication:
    """One that looks like a rival's doing, each time."""
    event = publication.events[0]
    return replace(publication, events=(replace(event, deliveries=event.deliveries * 2),))


def with_delivery(publication: Publication, **changes: Any) -> Publication:
    event = publication.events[0]
    return replace(publication, events=(replace(event, deliveries=(replace(event.deliveries[0], **changes),)),))


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (for_no_subscription, asyncpg.ForeignKeyViolationError),
        (with_text_that_cannot_be_stored, Invalid),
        (out_of_range, asyncpg.DataError),
        (that_contradicts_itself, Unavailable),
    ],
)
async def test_a_bad_row_fails_its_own_request_alone(storage: PostgresStorage, spoil: Any, error: type) -> None:
    requests = await publications(storage, 7)
    good, bad = requests[:4] + requests[5:], spoil(requests[4])
    results = await publish_together(storage, [*good[:4], bad, *good[4:]])
    assert isinstance(results.pop(4), error)
    assert all(isinstance(result, Published) for result in results)
    assert await ids_of_events(storage) == ids_of(good)


async def test_two_requests_of_one_group_with_one_key_get_one_answer(storage: PostgresStorage) -> None:
    requests = [
        await a_publication(storage, await an_event(storage, {101: [1001]}), key="order-7", request=request)
        for request in (b"same", b"same", b"other")
    ]
    first, second, third = await publish_together(storage, requests)
    assert isinstance(first, Published)
    assert second == first
    assert third == KeyConflict()
    assert await ids_of_events(storage) == ids_of(requests[:1])


async def test_two_requests_of_one_group_with_one_id_store_one_event(storage: PostgresStorage) -> None:
    requests = [
        await a_publication(storage, await an_event(storage, {101: [1001]}, event_id="order-7", data=data))
        for data in (b"{}", b"{}", b"[]")
    ]
    first, second, third = await publish_together(storage, requests)
    assert isinstance(first, Published)
    assert second == first
    assert third == IdConflict(index=0)
    assert len((await claim(storage)).deliveries) == 1


async def test_a_request_that_is_refused_leaves_its_key_to_the_next_of_its_group(storage: PostgresStorage) -> None:
    stale, good = [
        await a_publication(storage, await an_event(storage, {101: [1001]}), key="order-7") for _ in range(2)
    ]
    results = await publish_together(storage, [replace(stale, catalogue_revision=-1), good])
    assert isinstance(results[0], Stale)
    assert isinstance(results[1], Published)
    assert await ids_of_events(storage) == ids_of([good])


async def test_nodes_that_publish_one_id_at_once_store_one_event(
    storage: PostgresStorage, postgres_url: str, clock: HandClock
) -> None:
    other = PostgresStorage(postgres_url, clock=clock)
    await other.open()
    try:
        for number in range(10):
            events = [
                await an_event(storage, {101: [1001, 1002]}, event_id=f"order-{number}-{each}") for each in range(20)
            ]
            requests = [await a_publication(storage, event) for event in events]
            here, there = await asyncio.gather(
                publish_together(storage, requests), publish_together(other, requests[::-1])
            )
            assert here == there[::-1]
            assert all(isinstance(result, Published) for result in here)
        assert len(await ids_of_events(storage)) == 200
    finally:
        await other.close()


async def test_a_caller_who_leaves_harms_nobody_in_its_group(storage: PostgresStorage, someone: Any) -> None:
    requests = await publications(storage, 3)
    async with someone.transaction():
        await someone.execute("LOCK TABLE events")
        writing = [asyncio.ensure_future(storage.publish(each)) for each in requests]
        while not await locks_waited_for(someone):
            pass
        writing[1].cancel()
        await asyncio.wait([writing[1]])
    assert isinstance(await writing[0], Published)
    assert isinstance(await writing[2], Published)
    assert await ids_of_events(storage) == ids_of(requests), "what was asked for is done all the same"


async def test_a_connection_lost_under_a_group_confirms_nobody(storage: PostgresStorage, someone: Any) -> None:
    requests = await publications(storage, 5)
    async with someone.transaction():
        await someone.execute("LOCK TABLE events")
        writing = [asyncio.ensure_future(storage.publish(each)) for each in requests]
        while not await locks_waited_for(someone):
            pass
        await someone.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database AS d ON d.oid = database"
            " WHERE NOT granted AND d.datname = current_database()"
        )
        results = await asyncio.gather(*writing, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 5
    assert isinstance(await publish(storage), Published)


async def test_a_key_that_has_outlived_its_span_is_free_in_a_group_too(
    storage: PostgresStorage, clock: HandClock
) -> None:
    old = await a_publication(storage, await an_event(storage, {101: [1001]}), key="order-7")
    assert isinstance(await storage.publish(old), Published)
    clock.now += 60_000
    requests = [
        await a_publication(storage, await an_event(storage, {101: [1001]}), key="order-7", request=b"new"),
        *await publications(storage, 2),
    ]
    assert all(isinstance(result, Published) for result in await publish_together(storage, requests))
    assert await ids_of_events(storage) == ids_of([old, *requests])


# --- the groups themselves -------------------------------------------------------------------------------------------


async def in_groups(weights: Sequence[int]) -> list[list[int]]:
    """What groups requests of these weights come to, all asked for at once."""
    run: list[list[int]] = []

    async def verb(group: Sequence[int]) -> Sequence[int]:
        run.append(list(group))
        return group

    groups = Groups[int, int](verb, weigh=int)
    assert await asyncio.gather(*map(groups.run, weights)) == list(weights)
    await groups.close()
    return run


async def test_a_group_has_a_bound_of_bytes_and_of_requests() -> None:
    most = grouping.GROUP_BYTES_MAX
    assert await in_groups([most - 1, 1, 1]) == [[most - 1, 1], [1]]
    assert await in_groups([1, most + 1, 1]) == [[1], [most + 1], [1]]
    assert list(map(len, await in_groups([0] * (grouping.GROUP_MAX + 1)))) == [grouping.GROUP_MAX, 1]


async def test_a_full_queue_refuses_rather_than_grows() -> None:
    gate = asyncio.Event()

    async def verb(group: Sequence[int]) -> Sequence[int]:
        await gate.wait()
        return group

    groups = Groups[int, int](verb, weigh=int)
    on_their_way = grouping.GROUPS_MAX * [grouping.GROUP_BYTES_MAX]
    waiting = []
    for weight in (*on_their_way, *[0] * grouping.WAITING_MAX):
        waiting.append(asyncio.ensure_future(groups.run(weight)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="full"):
        await groups.run(0)
    gate.set()
    await asyncio.gather(*waiting)


async def test_who_asks_again_as_soon_as_it_is_answered_is_not_left_behind() -> None:
    async def verb(group: Sequence[int]) -> Sequence[int]:
        return group

    groups = Groups[int, int](verb, weigh=lambda _: grouping.GROUP_BYTES_MAX)

    async def ask() -> None:
        for number in range(10):
            assert await groups.run(number) == number

    async with asyncio.timeout(30):
        await asyncio.gather(*(ask() for _ in range(grouping.GROUPS_MAX)))
