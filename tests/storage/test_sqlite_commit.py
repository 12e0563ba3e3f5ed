"""One commit for many requests, and no shared fate."""

import asyncio
import shutil
import threading
from pathlib import Path
from typing import Any

import apsw
import pytest
from sqlite_samples import (
    HandClock,
    claim,
    committer_of,
    inline_storage,
    populate,
    publication,
    run,
    settlement,
    subscription,
)

from hookline.errors import Unavailable
from hookline.lifecycle import Retry
from hookline.storage.protocol import Creation
from hookline.storage.publications import KeyConflict, Publication, Published
from hookline.storage.sqlite import SqliteStorage, engine
from hookline.storage.sqlite.committing import Broken, Committer, Done, Request
from hookline.storage.sqlite.publishing import publish
from hookline.storage.sqlite.settling import settle
from hookline.storage.sqlite.writer import ThreadedWriter
from hookline.storage.views import EventQuery


def commits_of(connection: apsw.Connection) -> list[int]:
    """Note the log's length at each commit from now on."""
    commits: list[int] = []

    def note(_connection: apsw.Connection, _name: str, pages: int) -> int:
        commits.append(pages)
        return apsw.SQLITE_OK

    connection.set_wal_hook(note)
    return commits


async def ids_of_events(storage: SqliteStorage) -> set[str]:
    return {view.event.id for view in await storage.events(EventQuery(limit=1000))}


def publishes(*publications: Publication) -> list[Request[Any, Any]]:
    return [Request(publish, one) for one in publications]


def test_a_group_of_publishes_is_one_commit(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with inline_storage(tmp_path / "h.db") as storage:
            await populate(storage)
            commits = commits_of(committer_of(storage)._connection)
            group = publishes(*[await publication(storage, f"evt_{number}") for number in range(50)])
            endings = committer_of(storage).commit(group)
            assert all(isinstance(ending, Done) for ending in endings)
            assert len(commits) == 1
            assert len(await ids_of_events(storage)) == 50

    run(scenario)


def test_a_bad_row_fails_its_own_request_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with inline_storage(tmp_path / "h.db") as storage:
            await populate(storage)
            group = publishes(
                await publication(storage, "evt_before"),
                await publication(storage, "evt_bad", [4242]),
                await publication(storage, "evt_after"),
            )
            before, bad, after = committer_of(storage).commit(group)
            assert isinstance(before, Done)
            assert isinstance(after, Done)
            assert isinstance(bad, Broken)
            assert isinstance(bad.error, apsw.ConstraintError)
            assert await ids_of_events(storage) == {"evt_before", "evt_after"}

    run(scenario)


def test_an_error_of_our_own_code_fails_its_own_request_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with inline_storage(tmp_path / "h.db") as storage:
            await populate(storage)
            bad: Any = "no publication"
            good, broken = committer_of(storage).commit(publishes(await publication(storage, "evt_1"), bad))
            assert isinstance(good, Done)
            assert isinstance(broken, Broken)
            assert await ids_of_events(storage) == {"evt_1"}

    run(scenario)


def test_two_requests_of_one_group_with_one_key_get_one_answer(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with inline_storage(tmp_path / "h.db") as storage:
            await populate(storage)
            group = publishes(
                await publication(storage, "evt_1", key="order-7"),
                await publication(storage, "evt_2", key="order-7"),
                await publication(storage, "evt_3", key="order-7", data=b'{"other":1}'),
            )
            first, second, third = (
                ending.value for ending in committer_of(storage).commit(group) if isinstance(ending, Done)
            )
            assert isinstance(first, Published)
            assert second == first
            assert third == KeyConflict()
            assert await ids_of_events(storage) == {"evt_1"}

    run(scenario)


def test_an_attempt_settled_twice_in_one_group_counts_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with inline_storage(tmp_path / "h.db") as storage:
            await populate(storage)
            await storage.publish(await publication(storage, "evt_1"))
            (flying,) = (await claim(storage)).deliveries
            retried = settlement(flying, Retry(1000))
            group = [Request(settle, [settlement(flying), retried]), Request(settle, [retried])]
            assert committer_of(storage).commit(group) == [Done((True, False)), Done((False,))]

    run(scenario)


def test_a_full_disk_confirms_nothing_and_is_over_when_there_is_room(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with inline_storage(tmp_path / "h.db") as storage:
            await populate(storage)
            connection = committer_of(storage)._connection
            pages = connection.execute("PRAGMA page_count").get
            connection.execute(f"PRAGMA max_page_count = {pages}")
            large = await publication(storage, "evt_large", data=b'"' + b"x" * 200_000 + b'"')
            group = publishes(await publication(storage, "evt_1"), large, await publication(storage, "evt_2"))
            for ending in committer_of(storage).commit(group):
                assert isinstance(ending, Broken)
                assert isinstance(ending.error, Unavailable)
            with pytest.raises(Unavailable):
                await storage.publish(large)
            assert await ids_of_events(storage) == set()
            connection.execute("PRAGMA max_page_count = 1000000")
            assert isinstance(await storage.publish(large), Published)
            await storage.probe()

    run(scenario)


def test_a_disk_with_no_room_for_an_event_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with inline_storage(tmp_path / "h.db") as storage:
            await storage.probe()
            monkeypatch.setattr(engine, "FREE_BYTES_MIN", shutil.disk_usage(tmp_path).total + 1)
            with pytest.raises(Unavailable, match="disk is full"):
                await storage.probe()

    run(scenario)


def test_a_disk_that_went_away_is_not_ready(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with inline_storage(tmp_path / "away" / "h.db") as storage:
            (tmp_path / "away").rename(tmp_path / "elsewhere")
            with pytest.raises(Unavailable):
                await storage.probe()

    (tmp_path / "away").mkdir()
    run(scenario)


def test_a_database_that_went_away_answers_unavailable_and_names_no_file(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with inline_storage(tmp_path / "h.db") as storage:
            committer_of(storage)._connection.close()
            with pytest.raises(Unavailable) as refused:
                await storage.probe()
            assert str(tmp_path) not in str(refused.value)

    run(scenario)


def test_concurrent_requests_share_commits_on_the_writer_thread(tmp_path: Path) -> None:
    async def scenario() -> None:
        storage = SqliteStorage(str(tmp_path / "h.db"), clock=HandClock())
        await storage.open()
        await populate(storage)
        commits = commits_of(committer_of(storage)._connection)
        asked = [await publication(storage, f"evt_{number}") for number in range(200)]
        results = await asyncio.gather(*map(storage.publish, asked))
        assert all(isinstance(result, Published) for result in results)
        assert len(commits) < 100
        assert len(await ids_of_events(storage)) == 200
        await storage.close()

    run(scenario)


class HeldCommitter:
    """Delays the real committer until it is let go: what queues up meanwhile is then known."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self.may_go = threading.Event()
        self.groups: list[int] = []

    def commit(self, requests: Any) -> Any:
        assert self.may_go.wait(timeout=10)
        self.groups.append(len(requests))
        return self._committer.commit(requests)

    def close(self) -> None:
        self._committer.close()


def test_a_full_queue_refuses_and_a_caller_who_left_harms_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with inline_storage(tmp_path / "h.db") as storage:
            await populate(storage)
            held: Any = HeldCommitter(committer_of(storage))
            asked = [await publication(storage, f"evt_{number}") for number in range(5)]
            writer = ThreadedWriter(held, queue_max=4)
            waiting = [asyncio.create_task(writer.run(Request(publish, one))) for one in asked[:4]]
            await asyncio.sleep(0)
            with pytest.raises(Unavailable, match="queue before the disk is full"):
                await writer.run(Request(publish, asked[4]))
            waiting[1].cancel()
            held.may_go.set()
            answers = await asyncio.gather(*waiting, return_exceptions=True)
            assert [isinstance(answer, Published) for answer in answers] == [True, False, True, True]
            assert sum(held.groups) == 4
            assert isinstance(await writer.run(Request(publish, asked[4])), Published)
            assert len(await ids_of_events(storage)) == 5
            await writer.close()

    run(scenario)


def test_closing_finishes_what_was_asked(tmp_path: Path) -> None:
    async def scenario() -> None:
        storage = SqliteStorage(str(tmp_path / "h.db"), clock=HandClock())
        await storage.open()
        await populate(storage)
        asked = [asyncio.create_task(storage.publish(await publication(storage, f"evt_{n}"))) for n in range(20)]
        await asyncio.sleep(0)
        await storage.close()
        assert all(isinstance(answer, Published) for answer in await asyncio.gather(*asked))
        with pytest.raises(Unavailable):
            await storage.probe()

    run(scenario)


def test_nothing_is_answered_before_its_commit(tmp_path: Path) -> None:
    """Whoever copies file and log the moment an answer arrives has what was answered."""

    async def scenario() -> None:
        storage = SqliteStorage(str(tmp_path / "h.db"), clock=HandClock())
        await storage.open()
        await populate(storage)
        for number in range(5):
            await storage.publish(await publication(storage, f"evt_{number}"))
            for suffix in ("", "-wal"):
                shutil.copy(tmp_path / f"h.db{suffix}", tmp_path / f"copy-{number}.db{suffix}")
        await storage.close()
        for number in range(5):
            async with inline_storage(tmp_path / f"copy-{number}.db") as copy:
                assert await ids_of_events(copy) == {f"evt_{earlier}" for earlier in range(number + 1)}

    run(scenario)


def test_a_deactivation_counts_for_the_claim_behind_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        storage = SqliteStorage(str(tmp_path / "h.db"), clock=HandClock())
        await storage.open()
        await populate(storage)
        await storage.publish(await publication(storage, "evt_1"))
        deleted, claimed = await asyncio.gather(storage.delete_subscription(1001), claim(storage))
        assert deleted
        assert claimed.deliveries == ()
        assert await storage.create_subscription(subscription(1001), 10) == Creation.ID_TAKEN
        await storage.close()

    run(scenario)
