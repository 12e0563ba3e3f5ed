"""What is SQLite's own about a file: who may open it, what durability rests on, what a crash leaves."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import apsw
import pytest
from sqlite_samples import HandClock, claim, committer_of, inline_storage, populate, publication, run, settlement

from hookline.errors import StartRefused
from hookline.model import DeliveryState
from hookline.storage.publications import Published
from hookline.storage.sqlite import SqliteStorage
from hookline.storage.sqlite.connection import FileLock, connect_reader
from hookline.storage.views import AttemptQuery, EventQuery


def test_a_second_storage_on_the_file_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with inline_storage(tmp_path / "h.db"):
            with pytest.raises(StartRefused, match=f"process {os.getpid()} holds"):
                await SqliteStorage(str(tmp_path / "h.db"), clock=HandClock()).open()
        async with inline_storage(tmp_path / "h.db"):
            pass

    run(scenario)


def test_a_killed_process_leaves_no_lock_behind(tmp_path: Path) -> None:
    program = (
        "import sys; from hookline.storage.sqlite.connection import FileLock\n"
        f"FileLock({str(tmp_path / 'h.db')!r}).take(); print('taken', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"taken\n"
        with pytest.raises(StartRefused, match=f"process {holder.pid} holds"):
            FileLock(str(tmp_path / "h.db")).take()
        holder.send_signal(signal.SIGKILL)
        holder.wait(timeout=10)
    lock = FileLock(str(tmp_path / "h.db"))
    lock.take()
    lock.release()


def test_a_refused_open_keeps_no_lock(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "h.db").write_bytes(b"this is no database, whatever its name says" * 100)
        with pytest.raises(StartRefused, match="SQLite file of Hookline"):
            await SqliteStorage(str(tmp_path / "h.db"), clock=HandClock()).open()
        (tmp_path / "h.db").unlink()
        async with inline_storage(tmp_path / "h.db"):
            pass

    run(scenario)


def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        with pytest.raises(StartRefused, match="directory of the database must exist"):
            await SqliteStorage(str(tmp_path / "nowhere" / "h.db"), clock=HandClock()).open()

    run(scenario)


def test_durability_is_what_it_must_be(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with inline_storage(tmp_path / "h.db") as storage:
            connection = committer_of(storage)._connection
            found = {
                name: connection.execute(f"PRAGMA {name}").get
                for name in ("journal_mode", "synchronous", "auto_vacuum", "foreign_keys", "busy_timeout")
            }
            assert found == {
                "journal_mode": "wal",
                "synchronous": 2,
                "auto_vacuum": 2,
                "foreign_keys": 1,
                "busy_timeout": 5000,
            }

    run(scenario)


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with inline_storage(tmp_path / "h.db"):
            with pytest.raises(apsw.ReadOnlyError):
                connect_reader(str(tmp_path / "h.db")).execute("DELETE FROM companies")

    run(scenario)


def test_closing_twice_is_closing_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        storage = SqliteStorage(str(tmp_path / "h.db"), clock=HandClock())
        await storage.open()
        await storage.close()
        await storage.close()

    run(scenario)


def test_what_was_acknowledged_is_in_a_copy_taken_that_moment(tmp_path: Path) -> None:
    """A crash leaves the file and its log as they are; a copy of both is what the next process finds."""

    async def scenario() -> None:
        async with inline_storage(tmp_path / "h.db") as storage:
            await populate(storage)
            assert isinstance(await storage.publish(await publication(storage, "evt_1")), Published)
            for name in ("h.db", "h.db-wal"):
                shutil.copy(tmp_path / name, tmp_path / f"copy-{name}")
        async with inline_storage(tmp_path / "copy-h.db") as copy:
            (view,) = await copy.events(EventQuery(limit=10))
            assert view.event.id == "evt_1"
            assert view.counts == {DeliveryState.PENDING: 1}

    run(scenario)


def test_attempts_in_flight_at_a_crash_are_lost_at_the_next_start_not_a_lease_later(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with inline_storage(tmp_path / "h.db") as storage:
            await populate(storage)
            await storage.publish(await publication(storage, "evt_1"))
            (flying,) = (await claim(storage)).deliveries
        async with inline_storage(tmp_path / "h.db") as storage:
            again = await claim(storage)
            assert (again.lost, again.parked) == (1, 0)
            assert [(row.id, row.attempt, row.failures) for row in again.deliveries] == [(flying.id, 2, 0)]
            assert await storage.settle([settlement(flying)]) == (False,)
            page = await storage.page_of_attempts(AttemptQuery(subscription_id=1001, page=0, size=20))
            assert [(row.number, row.error, row.duration_ms) for row in page.rows] == [(1, "lost", 0)]

    run(scenario)
