"""What the log is counted into: each row once, in every sort of cell, and for nobody else to see."""

import asyncio
from collections import Counter

import pytest
from msgspec.structs import replace
from storage_samples import (
    DAY_MS,
    HandClock,
    OpenStorage,
    a_settlement,
    claim,
    claim_one,
    populate,
    published,
    settle,
)

from hookline.lifecycle import GiveUp, Reason, Retry
from hookline.storage.protocol import Storage
from hookline.storage.views import TallyQuery
from hookline.tallies import DAY_MS as A_DAY
from hookline.tallies import HOUR_MS, KEPT, MINUTE_MS, QUARTER_MS, Level, class_of

pytestmark = pytest.mark.anyio

LATER_MS = MINUTE_MS


async def counted(
    storage: Storage,
    level: Level = Level.INSTALLATION,
    subject_id: int = 0,
    span_ms: int = QUARTER_MS,
    company_id: int | None = None,
) -> dict[tuple[str, int], int]:
    query = TallyQuery(
        level=level, span_ms=span_ms, cell_ms=span_ms, from_at=0, subject_ids=(subject_id,), company_id=company_id
    )
    sums: Counter[tuple[str, int]] = Counter()
    for tally in await storage.tallies(query):
        sums[tally.measure, tally.span_class] += tally.count
    return dict(sums)


async def tally(storage: Storage, clock: HandClock, limit: int = 100) -> int:
    """Count everything; return how many steps it took."""
    clock.now += LATER_MS
    steps = 1
    while await storage.tally(limit):
        steps += 1
    return steps


async def one_dead_one_sent(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001], 102: [2001]})
    await published(storage, {101: [1001], 102: [2001]})
    clock.now += 250
    for claimed in (await claim(storage)).deliveries:
        await settle(storage, claimed, Retry(0) if claimed.subscription_id == 1001 else None)
    clock.now += 250
    await settle(storage, await claim_one(storage), GiveUp(Reason.EXHAUSTED))


async def test_each_attempt_is_counted_by_outcome_and_time(storage: Storage, clock: HandClock) -> None:
    await one_dead_one_sent(storage, clock)
    await tally(storage, clock)
    everywhere = await counted(storage)
    assert everywhere["succeeded", 0] == 1
    assert everywhere["status", 503] == 2
    assert everywhere["dead", 0] == 1
    assert everywhere["published", 0] == 1
    its_own = await counted(storage, Level.SUBSCRIPTION, 1001)
    assert sum(count for (measure, _), count in its_own.items() if measure == "answer") == 2
    assert sum(count for (measure, _), count in everywhere.items() if measure == "start") == 2


async def test_every_level_and_cell_adds_up_to_the_same(storage: Storage, clock: HandClock) -> None:
    await one_dead_one_sent(storage, clock)
    await tally(storage, clock)
    for level, span_ms in KEPT:
        subject = {Level.INSTALLATION: 0, Level.COMPANY: 101, Level.SUBSCRIPTION: 1001}[level]
        found = await counted(storage, level, subject, span_ms)
        assert found["status", 503] == 2, (level, span_ms)
        assert found.get(("published", 0)) == (None if level is Level.SUBSCRIPTION else 1)


async def test_nothing_is_counted_twice(storage: Storage, clock: HandClock) -> None:
    await one_dead_one_sent(storage, clock)
    assert await tally(storage, clock, limit=1) >= 3
    once = await counted(storage)
    await tally(storage, clock)
    assert await counted(storage) == once
    assert once["status", 503] == 2
    assert once["published", 0] == 1


async def test_who_counts_at_the_same_time_counts_nothing_twice(storage: Storage, clock: HandClock) -> None:
    await one_dead_one_sent(storage, clock)
    clock.now += LATER_MS
    await asyncio.gather(*[storage.tally(100) for _ in range(4)])
    assert (await counted(storage))["status", 503] == 2


async def test_the_first_attempt_counts_the_time_since_acceptance(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await published(storage, {101: [1001]})
    clock.now += 4_012
    claimed = await claim_one(storage)
    record = replace(a_settlement(claimed).record, duration_ms=12)
    await settle(storage, claimed, record=record)
    await tally(storage, clock)
    found = await counted(storage, Level.COMPANY, 101, HOUR_MS)
    assert found["start", class_of(4_000)] == 1
    assert found["answer", class_of(12)] == 1


async def test_cells_are_those_of_the_attempts_and_sum_up(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    for _ in range(3):
        await published(storage, {101: [1001]})
        await settle(storage, await claim_one(storage))
        clock.now += QUARTER_MS
    await tally(storage, clock)
    query = TallyQuery(level=Level.SUBSCRIPTION, span_ms=QUARTER_MS, cell_ms=QUARTER_MS, from_at=0, subject_ids=(1001,))
    cells = sorted(each.begins_at for each in await storage.tallies(query) if each.measure == "succeeded")
    assert [later - cells[0] for later in cells] == [0, QUARTER_MS, 2 * QUARTER_MS]
    hours = TallyQuery(level=Level.SUBSCRIPTION, span_ms=QUARTER_MS, cell_ms=HOUR_MS, from_at=0, subject_ids=(1001,))
    (hour,) = [each for each in await storage.tallies(hours) if each.measure == "succeeded"]
    assert (hour.count, hour.begins_at) == (3, cells[0] - cells[0] % HOUR_MS)


async def test_a_company_sees_its_own_tallies_alone(storage: Storage, clock: HandClock) -> None:
    await one_dead_one_sent(storage, clock)
    await tally(storage, clock)
    assert await counted(storage, Level.COMPANY, 101, HOUR_MS, company_id=101)
    assert await counted(storage, Level.SUBSCRIPTION, 1001, QUARTER_MS, company_id=101)
    assert await counted(storage, Level.COMPANY, 101, HOUR_MS, company_id=102) == {}
    assert await counted(storage, Level.SUBSCRIPTION, 1001, QUARTER_MS, company_id=102) == {}
    assert await counted(storage, company_id=101) == {}


async def test_all_companies_are_read_at_once(storage: Storage, clock: HandClock) -> None:
    await one_dead_one_sent(storage, clock)
    await tally(storage, clock)
    found = await storage.tallies(
        TallyQuery(level=Level.COMPANY, span_ms=A_DAY, cell_ms=A_DAY, from_at=0, subject_ids=None)
    )
    assert {each.subject_id for each in found} == {101, 102}


async def test_a_look_at_the_backlog_is_counted(storage: Storage) -> None:
    await storage.tally_backlog(70_000)
    await storage.tally_backlog(0)
    assert await counted(storage) == {("late", class_of(70_000)): 1, ("late", 0): 1}


async def test_tallies_go_when_they_have_had_their_time(storage: Storage, clock: HandClock) -> None:
    await one_dead_one_sent(storage, clock)
    await tally(storage, clock)
    clock.now += 9 * DAY_MS
    while await storage.forget_tallies(3):
        pass
    assert await counted(storage, Level.SUBSCRIPTION, 1001) == {}
    assert await counted(storage, Level.COMPANY, 101, HOUR_MS) == {}
    assert (await counted(storage, Level.COMPANY, 101, A_DAY))["status", 503] == 2


async def test_two_nodes_count_each_row_once(engine: str, open_storage: OpenStorage, clock: HandClock) -> None:
    if engine == "sqlite":
        pytest.skip("one process alone works on a file")
    first, second = await open_storage(), await open_storage()
    await one_dead_one_sent(first, clock)
    clock.now += LATER_MS
    for node in (first, second, first, second):
        await node.tally(1)
    await tally(second, clock)
    assert (await counted(first))["status", 503] == 2


async def test_what_is_young_is_left_for_later_where_ids_come_out_of_order(
    engine: str, storage: Storage, clock: HandClock
) -> None:
    await one_dead_one_sent(storage, clock)
    await storage.tally(100)
    assert (await counted(storage) == {}) is (engine == "postgres")


async def test_waiting_deliveries_are_counted_no_further_than_asked(storage: Storage) -> None:
    await populate(storage, {101: [1001, 1002]})
    for _ in range(3):
        await published(storage, {101: [1001]})
    assert await storage.waiting([1001, 1002], 10) == {1001: 3, 1002: 0}
    assert await storage.waiting([1001], 2) == {1001: 2}


async def test_the_last_success_is_found_among_the_latest(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    assert await storage.last_success_at(1001, 10) is None
    await published(storage, {101: [1001]})
    await settle(storage, await claim_one(storage))
    succeeded_at = clock.now
    clock.now += 1_000
    await published(storage, {101: [1001]})
    await settle(storage, await claim_one(storage), GiveUp(Reason.EXHAUSTED))
    assert await storage.last_success_at(1001, 10) == succeeded_at
    assert await storage.last_success_at(1001, 1) is None
