"""What is SQLite's own about forgetting: the file gives its room back, and keeps some for what comes next."""

from pathlib import Path

import apsw
from sqlite_samples import HandClock, inline_storage, populate, publication, run

from hookline.storage.sqlite.forgetting import FREE_SHARE_KEPT, PAGES_GIVEN_BACK

DAY_MS = 86_400_000
RETENTION_MS = 30 * DAY_MS
BODY = b'{"text":"%s"}' % (b"x" * 100_000)


def pages(path: Path) -> tuple[int, int]:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    counts = connection.execute("PRAGMA page_count").get, connection.execute("PRAGMA freelist_count").get
    connection.close()
    return counts


def test_a_file_shrinks_when_most_of_it_is_forgotten(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock, path = HandClock(), tmp_path / "h.db"
        async with inline_storage(path, clock) as storage:
            await populate(storage)
            for number in range(60):
                await storage.publish(await publication(storage, f"old-{number}", (), data=BODY))
            before, _ = pages(path)
            clock.now += 40 * DAY_MS
            steps = 0
            while await storage.forget(RETENTION_MS, 100):
                steps += 1
            after, free = pages(path)
            assert before > 1500
            assert after < before / 3
            assert free < PAGES_GIVEN_BACK or free * FREE_SHARE_KEPT < after
            assert steps > (before - after) / PAGES_GIVEN_BACK, "a step gives back so much and no more"

    run(scenario)
