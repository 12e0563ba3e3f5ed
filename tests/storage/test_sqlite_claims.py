"""A claim is fair and quick however much waits."""

from collections import Counter
from pathlib import Path

from msgspec.structs import replace
from sqlite_samples import (
    HandClock,
    claim,
    committer_of,
    empty_flight,
    inline_storage,
    populate,
    publication,
    run,
    settlement,
    subscription,
)

from hookline.lifecycle import GiveUp, Reason, Retry
from hookline.storage.claims import Claim, Claimed, Fence
from hookline.storage.sqlite import SqliteStorage

BACKLOG = 1_000_000

FLOOD_OF_EVENTS = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
INSERT INTO events (key, id, event_type, data, occurred_at, accepted_at, catalogue_revision, deliveries)
SELECT i, 'flood_' || i, 'note.created', x'7b7d', ?2, ?2, 1, 1 FROM n"""
FLOOD_OF_DELIVERIES = """
INSERT INTO deliveries (id, event_key, subscription_id, company_id, state, due_at, payload_version, type_name)
SELECT key, key, 1001, 101, 'pending', accepted_at + key % 1000, 'V1', 'note.created' FROM events"""


def flood(storage: SqliteStorage, rows: int, due_at: int) -> None:
    """Give subscription 1001 so many due rows, each of an event of its own."""
    connection = committer_of(storage)._connection
    connection.execute("PRAGMA foreign_keys = OFF")
    with connection:
        connection.execute(FLOOD_OF_EVENTS, (rows, due_at))
        connection.execute(FLOOD_OF_DELIVERIES)
        connection.execute("UPDATE lanes SET next_due = ? WHERE subscription_id = 1001", (due_at,))
    connection.execute("PRAGMA foreign_keys = ON")


async def counted_claim(storage: SqliteStorage, rows_max: int) -> tuple[int, Claim]:
    """Claim; return how many thousand steps SQLite's machine took, which no busy neighbour changes, and the claim."""
    steps = 0

    def count() -> bool:
        nonlocal steps
        steps += 1
        return False

    connection = committer_of(storage)._connection
    connection.set_progress_handler(count, 1000)
    claimed = await claim(storage, rows_max)
    connection.set_progress_handler(None)
    return steps, claimed


def fence_of(claimed: Claimed) -> Fence:
    return settlement(claimed).fence


def test_a_million_due_rows_of_one_subscription_keep_nobody_waiting(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with inline_storage(tmp_path / "h.db") as storage:
            await populate(storage, companies=20, subscriptions=101)
            flood(storage, BACKLOG, due_at=HandClock().now - 60_000)
            for number in range(100):
                fresh = await publication(storage, f"evt_{number}", [1002 + number], company_id=101 + (number + 1) % 20)
                await storage.publish(fresh)
            steps, claimed = await counted_claim(storage, rows_max=300)
            served = {one.subscription_id for one in claimed.deliveries}
            assert served == set(range(1001, 1102))
            assert steps < 100, "a claim never walks a backlog: a million rows would take some thousand"
            assert (await storage.backlog()).open == 100_000
            flooded = [one.id for one in claimed.deliveries if one.subscription_id == 1001]
            assert flooded == [1000, 2000], "the first two by due time, then by id"

    run(scenario)


def test_three_thousand_due_lanes_cost_no_more_than_a_claim_may(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with inline_storage(tmp_path / "h.db") as storage:
            await populate(storage, companies=300, subscriptions=3000)
            for company_id in range(101, 401):
                its_own = range(1001 + company_id - 101, 4001, 300)
                await storage.publish(await publication(storage, f"evt_{company_id}", its_own, company_id=company_id))
            steps, claimed = await counted_claim(storage, rows_max=50)
            assert len(claimed.deliveries) == 50
            assert len({one.company_id for one in claimed.deliveries}) == 50, "companies take turns"
            assert claimed.more
            assert steps < 300, "a look at each lane, not at its rows"

    run(scenario)


def test_every_lane_comes_up_soon_where_only_some_can_be_served(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = HandClock()
        async with inline_storage(tmp_path / "h.db", clock) as storage:
            await populate(storage, companies=40, subscriptions=40)
            for number in range(40):
                for again in range(2):
                    one = await publication(storage, f"evt_{number}_{again}", [1001 + number], company_id=101 + number)
                    await storage.publish(one)
            seen: set[int] = set()
            for _ in range(30):
                claimed = await claim(storage, rows_max=4)
                seen |= {one.subscription_id for one in claimed.deliveries}
                await storage.release([fence_of(one) for one in claimed.deliveries])
                clock.now += 7
            assert len(seen) == 40

    run(scenario)


def test_a_company_with_hundreds_of_due_lanes_crowds_nobody_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with inline_storage(tmp_path / "h.db") as storage:
            await populate(storage, companies=20, subscriptions=20)
            for subscription_id in range(2001, 2601):
                await storage.create_subscription(subscription(subscription_id), 1000)
            await storage.publish(await publication(storage, "evt_noisy", range(2001, 2601)))
            for number in range(1, 20):
                await storage.publish(
                    await publication(storage, f"evt_{number}", [1001 + number], company_id=101 + number)
                )
            claimed = await claim(storage, rows_max=100)
            assert {one.company_id for one in claimed.deliveries} == set(range(101, 121))

    run(scenario)


def test_slots_that_one_lane_could_not_use_go_to_another_at_once(tmp_path: Path) -> None:
    async def scenario(few: int, many: int) -> None:
        async with inline_storage(tmp_path / f"{few}.db") as storage:
            await populate(storage, companies=1, subscriptions=2)
            await storage.publish(await publication(storage, "evt_1", [few]))
            for number in range(2, 4):
                await storage.publish(await publication(storage, f"evt_{number}", [many]))
            taken: list[Claimed] = []
            more = True
            while more:
                counts = Counter(one.subscription_id for one in taken)
                flight = replace(empty_flight(), capacity=3, total=len(taken), by_subscription=counts)
                claimed = await claim(storage, flight=flight)
                taken += claimed.deliveries
                more = claimed.more
            assert len(taken) == 3, "whichever lane was asked first"

    run(lambda: scenario(1001, 1002))
    run(lambda: scenario(1002, 1001))


def test_bodies_are_cut_at_the_limit_but_one_always_goes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with inline_storage(tmp_path / "h.db") as storage:
            await populate(storage, subscriptions=5)
            for number in range(5):
                body = b'{"n":"' + str(number).encode() * 1000 + b'"}'
                await storage.publish(await publication(storage, f"evt_{number}", [1001 + number], data=body))
            first = await claim(storage, body_bytes_max=10)
            assert len(first.deliveries) == 1
            assert first.more
            second = await claim(storage, body_bytes_max=2500)
            assert len(second.deliveries) == 2
            rest = await claim(storage)
            assert len(rest.deliveries) == 2
            assert not rest.more
            bodies = [one.data for part in (first, second, rest) for one in part.deliveries]
            assert sorted(bodies) == [b'{"n":"' + str(number).encode() * 1000 + b'"}' for number in range(5)]

    run(scenario)


def test_a_lane_at_its_slots_sleeps_until_an_attempt_ends(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with inline_storage(tmp_path / "h.db") as storage:
            await populate(storage)
            for number in range(6):
                await storage.publish(await publication(storage, f"evt_{number}"))
            first = await claim(storage)
            assert len(first.deliveries) == 2
            assert next_due_of(storage) is None
            assert (await claim(storage)).deliveries == ()
            await storage.settle([settlement(first.deliveries[0])])
            assert next_due_of(storage) == HandClock().now
            assert len((await claim(storage)).deliveries) == 2, "an answer with all slots taken added one"

    run(scenario)


def test_a_company_without_anything_at_a_full_host_still_starts_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with inline_storage(tmp_path / "h.db") as storage:
            await populate(storage, companies=2, subscriptions=2)
            for number in range(2):
                subscription_id, company_id = 1001 + number, 101 + number
                stored = await storage.subscription(subscription_id)
                assert stored
                moved = replace(stored, revision=2, callback_url="https://shared.example.com/")
                assert await storage.replace_subscription(moved, lift_hold=False)
                await storage.publish(
                    await publication(storage, f"evt_{number}", [subscription_id], company_id=company_id)
                )
            flight = replace(
                empty_flight(),
                host_capacity=1,
                total=1,
                by_host={"shared.example.com:443": 1},
                by_company={101: 1},
                by_company_at_host={(101, "shared.example.com:443"): 1},
            )
            claimed = await claim(storage, flight=flight)
            assert [one.company_id for one in claimed.deliveries] == [102]

    run(scenario)


def test_the_next_look_is_at_the_first_retry_hold_or_lease(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = HandClock()
        async with inline_storage(tmp_path / "h.db", clock) as storage:
            await populate(storage, subscriptions=2)
            assert (await claim(storage)).next_due_ms is None
            await storage.publish(await publication(storage, "evt_1", [1001, 1002]))
            first = await claim(storage)
            assert first.next_due_ms == 45_000
            one, other = first.deliveries
            await storage.settle([settlement(one, Retry(10_000), status=500)])
            assert (await claim(storage)).next_due_ms == 10_000
            await storage.settle([replace(settlement(other, Retry(1_000), status=503), hold_ms=30_000)])
            clock.now += 9_000
            waiting = await claim(storage)
            assert (waiting.deliveries, waiting.next_due_ms) == ((), 1_000)
            clock.now += 1_000
            assert len((await claim(storage)).deliveries) == 1
            clock.now += 20_000
            assert len((await claim(storage)).deliveries) == 1

    run(scenario)


def test_a_publish_does_not_cut_a_hold_short(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = HandClock()
        async with inline_storage(tmp_path / "h.db", clock) as storage:
            await populate(storage)
            await storage.publish(await publication(storage, "evt_1"))
            (flying,) = (await claim(storage)).deliveries
            given_up = settlement(flying, GiveUp(Reason.EXHAUSTED), status=503)
            await storage.settle([replace(given_up, hold_ms=30_000)])
            await storage.publish(await publication(storage, "evt_2"))
            for _ in range(2):
                waiting = await claim(storage)
                assert (waiting.deliveries, waiting.next_due_ms) == ((), 30_000)
                await storage.repair_lanes()
            clock.now += 30_000
            assert len((await claim(storage)).deliveries) == 1

    run(scenario)


def next_due_of(storage: SqliteStorage) -> int | None:
    found: int | None = committer_of(storage)._connection.execute("SELECT next_due FROM lanes").get
    return found
