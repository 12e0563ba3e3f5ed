"""Ids of events, deliveries and attempts rise and carry their day."""

from pathlib import Path

from sqlite_samples import HandClock, claim, inline_storage, populate, publication, run, settlement

from hookline.storage.rows import DAY_BITS, DAY_MS
from hookline.storage.sqlite import SqliteStorage
from hookline.storage.views import AttemptQuery, EventQuery

DAYS_AT_NOON = 731
"""From 2024-01-01 to 2026-01-01."""


async def key_of_next_event(storage: SqliteStorage, number: int) -> int:
    await storage.publish(await publication(storage, f"evt_{number}"))
    return (await storage.events(EventQuery(limit=1)))[0].event.key


def test_ids_carry_the_day_and_rise_over_restarts_and_set_back_clocks(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = HandClock()
        keys = []
        async with inline_storage(tmp_path / "h.db", clock) as storage:
            await populate(storage)
            keys += [await key_of_next_event(storage, number) for number in range(3)]
            clock.now += DAY_MS
            keys.append(await key_of_next_event(storage, 3))
        clock.now -= 10 * DAY_MS
        async with inline_storage(tmp_path / "h.db", clock) as storage:
            keys.append(await key_of_next_event(storage, 4))
        assert keys == sorted(set(keys))
        assert [key >> DAY_BITS for key in keys] == [DAYS_AT_NOON] * 3 + [DAYS_AT_NOON + 1] * 2
        assert max(keys) < 2**53

    run(scenario)


def test_deliveries_and_attempts_rise_in_the_order_they_are_made(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with inline_storage(tmp_path / "h.db") as storage:
            await populate(storage, subscriptions=3)
            await storage.publish(await publication(storage, "evt_1", [1001, 1002, 1003]))
            flying = (await claim(storage)).deliveries
            assert len(flying) == 3
            await storage.settle([settlement(one) for one in flying])
            ids = []
            for subscription_id in (1001, 1002, 1003):
                page = await storage.page_of_attempts(AttemptQuery(subscription_id=subscription_id, page=0, size=1))
                ids.append((page.rows[0].delivery_id, page.rows[0].id))
            deliveries = sorted(delivery for delivery, _ in ids)
            assert deliveries == sorted(one.id for one in flying)
            assert {identifier >> DAY_BITS for pair in ids for identifier in pair} == {DAYS_AT_NOON}

    run(scenario)
