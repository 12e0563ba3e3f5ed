"""How a database file comes to the schema of the program."""

import os
import stat
from pathlib import Path

import apsw
import pytest
from sqlite_samples import HandClock, inline_storage, populate, run

from hookline.errors import StartRefused
from hookline.storage.migrate import Migration, migrations, still_needed
from hookline.storage.sqlite import SqliteStorage
from hookline.storage.sqlite.connection import connect_writer
from hookline.storage.sqlite.schema import migrate, upgrade, version_of

NEXT = Migration(2, "next", "ALTER TABLE companies ADD COLUMN motto TEXT;")
BROKEN = Migration(3, "broken", "CREATE TABLE half (id INTEGER); INSERT INTO nowhere VALUES (1);")


@pytest.mark.parametrize("engine", ["sqlite"])
def test_migrations_are_numbered_without_gaps(engine: str) -> None:
    found = migrations(engine)
    assert [migration.version for migration in found] == list(range(1, len(found) + 1))
    assert found[0].name == "start"


def test_a_new_file_gets_the_schema_once(tmp_path: Path) -> None:
    assert migrate(str(tmp_path / "h.db")) == ("0001_start",)
    assert migrate(str(tmp_path / "h.db")) == ()
    assert migrate(str(tmp_path / "h.db"), check=True) == ()
    assert [path.name for path in tmp_path.glob("*before*")] == []


def test_checking_changes_nothing_and_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match=r"0001_start.*hookline migrate"):
        migrate(str(tmp_path / "h.db"), check=True)
    connection = connect_writer(str(tmp_path / "h.db"))
    assert version_of(connection) == 0
    connection.close()


def test_an_upgrade_leaves_a_whole_copy_of_what_was(tmp_path: Path) -> None:
    path = tmp_path / "h.db"

    async def fill() -> None:
        async with inline_storage(path) as storage:
            await populate(storage, companies=3)

    run(fill)
    connection = connect_writer(str(path))
    assert upgrade(connection, (NEXT,)) == ("0002_next",)
    assert version_of(connection) == 2
    connection.close()
    copy = apsw.Connection(str(tmp_path / "h.db.before-2"))
    assert version_of(copy) == 1
    assert copy.execute("SELECT count(*) FROM companies WHERE id > 100").get == 3
    assert copy.execute("PRAGMA integrity_check").get == "ok"
    assert copy.execute("PRAGMA auto_vacuum").get == 2


def test_others_of_the_machine_cannot_read_a_database_or_its_copy(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        connection = connect_writer(str(tmp_path / "h.db"))
        upgrade(connection, migrations("sqlite"))
        upgrade(connection, (NEXT,))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        connection.close()
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("h.db", "h.db-wal", "h.db-shm", "h.db.before-2"), 0o600)


def test_a_migration_that_fails_leaves_nothing_of_itself(tmp_path: Path) -> None:
    path = str(tmp_path / "h.db")
    migrate(path)
    connection = connect_writer(path)
    with pytest.raises(apsw.SQLError):
        upgrade(connection, (NEXT, BROKEN))
    assert version_of(connection) == 2
    assert not connection.table_exists("main", "half")
    assert not connection.in_transaction


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "h.db")
    migrate(path)
    connection = connect_writer(path)
    upgrade(connection, (NEXT,))
    connection.close()
    with pytest.raises(StartRefused, match="newer Hookline"):
        migrate(path)
    with pytest.raises(StartRefused, match="newer Hookline"):
        run(SqliteStorage(path, clock=HandClock()).open)


def test_an_older_schema_is_refused_until_it_is_migrated() -> None:
    known = (*migrations("sqlite"), NEXT)
    assert still_needed(known, 1) == (NEXT,)
    assert still_needed(known, 2) == ()
