"""When and how much is forgotten, on a real SQLite file, by a clock that each look at it moves on."""

import asyncio
import logging
from pathlib import Path

import pytest
from storage_samples import HandClock, attempt, deactivate, populate, published, states_of

from hookline.retention import BUSY_SECONDS, DAY_MS, REST_SECONDS, Retention
from hookline.storage.sqlite import SqliteStorage
from hookline.storage.sqlite.readers import InlineReaders
from hookline.storage.sqlite.writer import InlineWriter

LOOK_MS = 50
EVENTS = 2_000


class SlowClock(HandClock):
    def monotonic_seconds(self) -> float:
        self.now += LOOK_MS
        return super().monotonic_seconds()


def storage_at(path: Path, clock: HandClock) -> SqliteStorage:
    return SqliteStorage(str(path / "h.db"), clock=clock, writer=InlineWriter, readers=InlineReaders)


async def left(storage: SqliteStorage, ids: list[str]) -> int:
    found = [await storage.event(event_id, company_id=None, after_id=0, limit=1, attempts_max=0) for event_id in ids]
    return sum(event is not None for event in found)


def test_a_step_ends_after_a_moment_and_the_next_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = SlowClock()
        storage = storage_at(tmp_path, clock)
        await storage.open()
        await populate(storage, {101: []})
        ids = [await published(storage, {101: []}) for _ in range(EVENTS)]
        clock.now += 40 * DAY_MS
        retention = Retention(storage, clock, days=30)
        counts, spent = list[int](), list[int]()
        while not counts or counts[-1]:
            before = clock.now
            await retention.step()
            spent.append(clock.now - before)
            counts.append(await left(storage, ids))
        assert len(counts) > 2
        assert counts == sorted(counts, reverse=True)
        assert max(spent) <= BUSY_SECONDS * 1000 + 2 * LOOK_MS
        await storage.close()

    asyncio.run(scenario())


def test_with_nothing_left_to_do_it_rests_for_a_while(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = HandClock()
        storage = storage_at(tmp_path, clock)
        await storage.open()
        await populate(storage, {101: [1001]})
        retention = Retention(storage, clock, days=1)
        event_id = await published(storage)
        await attempt(storage)
        clock.now += 3 * DAY_MS - int(REST_SECONDS * 1000)
        young = await published(storage)
        await retention.step()
        assert await left(storage, [event_id, young]) == 1
        await attempt(storage)
        clock.now += int(REST_SECONDS * 1000) - 1
        await retention.step()
        assert await left(storage, [young]) == 1
        clock.now += 2 * DAY_MS
        await retention.step()
        assert await left(storage, [young]) == 0
        await storage.close()

    asyncio.run(scenario())


def test_what_expires_is_said_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        clock = HandClock()
        storage = storage_at(tmp_path, clock)
        await storage.open()
        await populate(storage, {101: [1001]})
        event_id = await published(storage)
        await deactivate(storage, 1001, at=clock.now)
        clock.now += 40 * DAY_MS
        with caplog.at_level(logging.WARNING, "hookline.retention"):
            await Retention(storage, clock, days=30).step()
        assert list((await states_of(storage, event_id)).values()) == ["dead"]
        assert "1 deliveries were held for longer than the retention" in caplog.text
        await storage.close()

    asyncio.run(scenario())
