"""What happened can be read exactly: pages, totals, states and reasons, of one snapshot."""

import asyncio

import pytest
from msgspec.structs import replace
from storage_samples import (
    DAY_MS,
    NOON_MS,
    HandClock,
    a_publication,
    a_subscription,
    an_event,
    attempt,
    change,
    claim,
    claim_one,
    create,
    deactivate,
    event_of,
    populate,
    publish,
    published,
    settle,
)

from hookline.lifecycle import GiveUp, Reason, Retry
from hookline.model import DeliveryState, EventType, PayloadVersion, Policies, Route
from hookline.storage.protocol import Storage
from hookline.storage.views import AttemptPage, AttemptQuery, EventQuery

pytestmark = pytest.mark.anyio

PENDING, SENDING, SUCCEEDED = DeliveryState.PENDING, DeliveryState.SENDING, DeliveryState.SUCCEEDED
DEAD, CANCELLED, HELD = DeliveryState.DEAD, DeliveryState.CANCELLED, DeliveryState.HELD


async def page_of(storage: Storage, size: int = 20, page: int = 0, **query: object) -> AttemptPage:
    return await storage.page_of_attempts(replace(AttemptQuery(subscription_id=1001, page=page, size=size), **query))


async def log_some(storage: Storage, clock: HandClock, rows: int) -> None:
    """Make attempts one millisecond apart: every third one fails, every second event is an order."""
    await storage.put_event_type(EventType(name="order.paid", v1_name="order.paid", v2_name=None))
    for number in range(rows):
        clock.now += 1
        await publish(storage, event_type="order.paid" if number % 2 else "note.created")
        await attempt(storage, wait_ms=DAY_MS if number % 3 == 0 else None)


# --- the log of a subscription ---------------------------------------------------------------------------------------


async def test_an_empty_log_is_an_empty_page(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    assert await page_of(storage) == AttemptPage(rows=(), total=0)


async def test_pages_are_newest_first_and_together_the_whole_log(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await log_some(storage, clock, 11)
    pages = [await page_of(storage, 4, page) for page in range(4)]
    assert [len(page.rows) for page in pages] == [4, 4, 3, 0]
    assert {page.total for page in pages} == {11}
    ids = [row.id for page in pages for row in page.rows]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == 11


async def test_a_walk_by_the_last_id_is_exact_while_rows_arrive(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await log_some(storage, clock, 9)
    whole = [row.id for row in (await page_of(storage)).rows]
    walked: list[int] = []
    before_id = None
    for _ in range(3):
        page = await page_of(storage, 3, before_id=before_id)
        assert page.total == (9 if before_id is None else 9 - len(walked))
        walked += [row.id for row in page.rows]
        before_id = walked[-1]
        await log_some(storage, clock, 2)
    assert walked == whole


async def test_filters_narrow_rows_and_total_alike(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    start = clock.now + 1
    await log_some(storage, clock, 12)
    failed = await page_of(storage, success=False)
    assert (failed.total, {row.http_status for row in failed.rows}) == (4, {503})
    succeeded = await page_of(storage, success=True)
    assert (succeeded.total, {row.http_status for row in succeeded.rows}) == (8, {200})
    orders = await page_of(storage, 2, type_name="order.paid")
    assert (orders.total, len(orders.rows), {row.type_name for row in orders.rows}) == (6, 2, {"order.paid"})
    assert (await page_of(storage, success=False, type_name="order.paid")).total == 2
    window = await page_of(storage, from_at=start + 3, to_at=start + 6)
    assert [row.created_at for row in window.rows] == [start + 5, start + 4, start + 3]
    assert (await page_of(storage, from_at=start + 12)).total == 0
    assert (await page_of(storage, type_name="unknown")).total == 0


async def test_attempts_without_an_answer_count_as_failed(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    await claim(storage)
    clock.now += DAY_MS
    assert (await claim(storage)).lost == 1
    assert ((await page_of(storage, success=False)).total, (await page_of(storage, success=True)).total) == (1, 0)


async def test_a_log_spans_days(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    for _ in range(4):
        await publish(storage)
        await attempt(storage)
        clock.now += DAY_MS
    days = [row.created_at for row in (await page_of(storage)).rows]
    assert days == [NOON_MS + DAY_MS * day for day in (3, 2, 1, 0)]
    assert (await page_of(storage, from_at=NOON_MS + DAY_MS, to_at=NOON_MS + 3 * DAY_MS)).total == 2


async def test_a_log_is_of_one_subscription(storage: Storage) -> None:
    await populate(storage, {101: [1001, 1002]})
    await publish(storage, {101: [1001, 1002]})
    for one in (await claim(storage)).deliveries:
        await settle(storage, one)
    assert [(row.number, row.data) for row in (await page_of(storage)).rows] == [(1, b"{}")]


async def test_the_total_and_the_rows_are_of_one_snapshot(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    await storage.publish(await a_publication(storage, *[await an_event(storage, {101: [1001]}) for _ in range(40)]))

    async def deliver() -> None:
        while flying := (await claim(storage)).deliveries:
            for one in flying:
                await settle(storage, one)

    async def look() -> None:
        total = -1
        while total < 40:
            page = await page_of(storage, 200)
            assert len(page.rows) == page.total >= total
            total = page.total

    await asyncio.gather(deliver(), look())


# --- one delivery ----------------------------------------------------------------------------------------------------


async def test_a_delivery_is_shown_only_under_its_own_subscription(storage: Storage) -> None:
    await populate(storage, {101: [1001, 1002]})
    await publish(storage)
    claimed = await claim_one(storage)
    assert await storage.delivery(1001, claimed.id)
    assert await storage.delivery(1002, claimed.id) is None
    assert await storage.delivery(1001, claimed.id + 1) is None


async def test_a_delivery_shows_all_its_attempts_in_order(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    event_id = await published(storage)
    claimed = await attempt(storage, wait_ms=0)
    for _ in range(24):
        await attempt(storage, wait_ms=0)
    view = await storage.delivery(1001, claimed.id)
    assert view
    assert [row.number for row in view.attempts] == list(range(1, 26))
    assert {row.response_head for row in view.attempts} == {b"HTTP/1.1 503 Busy\r\n\r\n"}
    (short,) = (await event_of(storage, event_id, attempts_max=20)).deliveries
    assert [row.number for row in short.attempts] == list(range(6, 26))
    assert {(row.data, row.request_head, row.response_head, row.response_body) for row in short.attempts} == {
        (None, None, None, None)
    }
    assert (view.accepted_at, view.failures, view.attempt, view.settled_at) == (clock.now, 25, 25, None)


# --- events ----------------------------------------------------------------------------------------------------------


async def put_in_every_state(storage: Storage) -> str:
    """Publish one event and bring its seven deliveries to all the states that a reader can see."""
    await populate(storage, {101: [1001, 1002, 1003], 102: [2001, 2002, 2003, 2004]})
    event_id = await published(storage, {101: [1001, 1002, 1003], 102: [2001, 2002, 2003, 2004]})
    await deactivate(storage, 1001)
    await deactivate(storage, 2004)
    flying = {one.subscription_id: one for one in (await claim(storage)).deliveries}
    await settle(storage, flying[1002])
    await settle(storage, flying[1003], GiveUp(Reason.EXHAUSTED))
    await settle(storage, flying[2001], Retry(60_000))
    await storage.delete_subscription(2002)
    return event_id


async def test_an_event_counts_its_deliveries_as_readers_see_them(storage: Storage) -> None:
    event_id = await put_in_every_state(storage)
    detail = await event_of(storage, event_id)
    assert detail.view.counts == {HELD: 2, SUCCEEDED: 1, DEAD: 1, PENDING: 1, CANCELLED: 1, SENDING: 1}
    shown = {view.subscription_id: (view.state, view.reason) for view in detail.deliveries}
    assert shown == {
        1001: (HELD, "requested"),
        1002: (SUCCEEDED, None),
        1003: (DEAD, "exhausted"),
        2001: (PENDING, None),
        2002: (CANCELLED, "deleted"),
        2003: (SENDING, None),
        2004: (HELD, "requested"),
    }


async def test_a_company_sees_its_own_part_of_an_event(storage: Storage) -> None:
    event_id = await put_in_every_state(storage)
    detail = await event_of(storage, event_id, company_id=101)
    assert detail.view.counts == {HELD: 1, SUCCEEDED: 1, DEAD: 1}
    assert {view.company_id for view in detail.deliveries} == {101}
    assert [recipient.company_id for recipient in detail.view.recipients] == [101]
    assert {route.company_id for route in detail.routes} == {101}
    (listed,) = await storage.events(EventQuery(limit=10, company_id=102))
    assert listed.counts == {PENDING: 1, CANCELLED: 1, SENDING: 1, HELD: 1}
    assert [recipient.company_id for recipient in listed.recipients] == [102]


async def test_an_event_for_others_is_not_there(storage: Storage) -> None:
    await populate(storage, {101: [1001], 102: []})
    event_id = await published(storage)
    assert await storage.event(event_id, company_id=102, after_id=0, limit=1, attempts_max=1) is None
    assert await storage.event("evt_nothing", company_id=None, after_id=0, limit=1, attempts_max=1) is None
    assert await storage.events(EventQuery(limit=10, company_id=102)) == ()


async def test_the_deliveries_of_an_event_come_in_pages(storage: Storage) -> None:
    await populate(storage, {101: range(1001, 1006)})
    event_id = await published(storage, {101: range(1001, 1006)})
    seen: list[int] = []
    after: int | None = 0
    sizes = []
    while after is not None:
        detail = await event_of(storage, event_id, after_id=after, limit=2)
        seen += [view.subscription_id for view in detail.deliveries]
        sizes.append(len(detail.deliveries))
        after = detail.next_after_id
    assert (seen, sizes) == (list(range(1001, 1006)), [2, 2, 1])


async def test_events_are_listed_newest_first_and_by_every_filter(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001], 102: []})
    ids = []
    for number in range(6):
        clock.now += DAY_MS // 2
        companies: dict[int, list[int]] = {102: []} if number == 5 else {101: [1001]}
        ids.append(await published(storage, companies, event_type="note.created" if number < 3 else "webhook.ping"))
    await attempt_all(storage)

    async def listed(**query: object) -> list[int]:
        views = await storage.events(replace(EventQuery(limit=100), **query))
        return [ids.index(view.event.id) for view in views]

    assert await listed() == [5, 4, 3, 2, 1, 0]
    assert await listed(limit=2) == [5, 4]
    (second,) = (await storage.events(EventQuery(limit=2)))[1:]
    assert await listed(before_key=second.event.key) == [3, 2, 1, 0]
    assert await listed(company_id=101) == [4, 3, 2, 1, 0]
    assert await listed(company_id=102) == [5]
    assert await listed(event_type="note.created") == [2, 1, 0]
    assert await listed(event_type="note.created", company_id=101, limit=1) == [2]
    assert await listed(state=SUCCEEDED) == [4, 3, 2, 1, 0]
    assert await listed(state=SUCCEEDED, company_id=102) == []
    assert await listed(state=HELD) == []
    from_at, to_at = NOON_MS + DAY_MS, NOON_MS + 2 * DAY_MS
    assert await listed(from_at=from_at, to_at=to_at) == [2, 1]
    assert await listed(from_at=from_at, to_at=to_at, company_id=101, before_key=second.event.key) == [2, 1]


async def attempt_all(storage: Storage) -> None:
    while flying := (await claim(storage)).deliveries:
        for one in flying:
            await settle(storage, one)


async def test_events_are_found_by_the_states_that_are_derived(storage: Storage) -> None:
    await populate(storage, {101: [1001, 1002, 1003]})
    held, cancelled = await published(storage, {101: [1001]}), await published(storage, {101: [1002]})
    pending = await published(storage, {101: [1003]})
    await deactivate(storage, 1001)
    await storage.delete_subscription(1002)
    for state, event_id in ((HELD, held), (CANCELLED, cancelled), (PENDING, pending)):
        for company_id in (None, 101):
            (view,) = await storage.events(EventQuery(limit=10, state=state, company_id=company_id))
            assert view.event.id == event_id
    await deactivate(storage, 1003)
    await storage.delete_subscription(1003)
    assert await storage.events(EventQuery(limit=10, state=PENDING)) == ()
    assert len(await storage.events(EventQuery(limit=10, state=CANCELLED))) == 2, "deleted tells more than inactive"


# --- what it was matched under ---------------------------------------------------------------------------------------


async def test_an_event_shows_the_subscriptions_its_companies_had_then(storage: Storage) -> None:
    await populate(storage, {101: [1001], 102: [2001]})
    await create(storage, a_subscription(1002, event_types=("order.paid",), payload_version=PayloadVersion.V2))
    event_id = await published(storage, {101: [1001]})
    await change(storage, 1002, event_types=None)
    await storage.delete_subscription(1001)
    await create(storage, a_subscription(1003))
    later = await published(storage, {101: [1003]})
    routes = (await event_of(storage, event_id)).routes
    assert routes == (
        Route(subscription_id=1001, company_id=101, payload_version=PayloadVersion.V1, event_types=None),
        Route(subscription_id=1002, company_id=101, payload_version=PayloadVersion.V2, event_types=("order.paid",)),
    )
    assert [(route.subscription_id, route.event_types) for route in (await event_of(storage, later)).routes] == [
        (1002, None),
        (1003, None),
    ]


async def test_an_event_shows_what_its_subscriptions_demanded_then(storage: Storage) -> None:
    demanding = Policies(case_directions=("INBOUND",), partner_company_ids=(-7, 2**53 - 1), filter='{"a":1.10}')
    await populate(storage, {101: []})
    await create(storage, a_subscription(1001, policies=demanding))
    event_id = await published(storage, {101: []})
    await change(storage, 1001, policies=Policies())
    (then,) = (await event_of(storage, event_id)).routes
    assert (then.case_directions, then.partner_company_ids, then.filter) == (
        demanding.case_directions,
        demanding.partner_company_ids,
        demanding.filter,
    )
    (now,) = (await storage.routes([101]))[101].routes
    assert (now.case_directions, now.partner_company_ids, now.filter) == (None, None, None)
    await change(storage, 1001, policies=demanding)
    assert (await storage.routes([101]))[101].routes == (then,)
    assert (stored := await storage.subscription(1001))
    assert stored.policies == demanding


async def test_an_event_shows_its_type_as_it_was_then(storage: Storage) -> None:
    await populate(storage, {101: []})
    first = EventType(name="order.paid", v1_name="paid.first", v2_name=None)
    await storage.put_event_type(first)
    early = await published(storage, {101: []}, event_type="order.paid")
    await storage.put_event_type(replace(first, v1_name="paid.second"))
    middle = await published(storage, {101: []}, event_type="order.paid")
    await storage.delete_event_type("order.paid")
    late = await published(storage, {101: []}, event_type="order.paid")
    matched = [(await event_of(storage, event_id)).matched_type for event_id in (early, middle, late)]
    assert [matched_type and matched_type.v1_name for matched_type in matched] == ["paid.first", "paid.second", None]
    assert matched[2] is None
