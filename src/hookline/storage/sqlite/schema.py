"""Bring a database file to the schema of this program, or verify that it has it."""

import apsw

from hookline.storage.migrate import Migration, migrations, refuse_outdated, still_needed
from hookline.storage.sqlite.connection import FileLock, connect_writer
from hookline.storage.sqlite.copying import copy


def migrate(path: str, *, check: bool = False) -> tuple[str, ...]:
    """Apply what is missing, each migration in a transaction of its own, and return the names of what was applied.

    A database that holds something is copied to `<database>.before-N` first, N being the first migration to be
    applied. With `check` nothing is changed, and a missing migration raises `StartRefused`, as does a newer schema.
    """
    lock = FileLock(path)
    lock.take()
    try:
        connection = connect_writer(path)
        try:
            needed = still_needed(migrations("sqlite"), version_of(connection))
            if check:
                refuse_outdated(needed)
            return upgrade(connection, needed)
        finally:
            connection.close()
    finally:
        lock.release()


def version_of(connection: apsw.Connection) -> int:
    """Read the schema's version; 0 for an empty database."""
    if connection.table_exists("main", "schema_version"):
        version: int = connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").get
        return version
    return 0


def upgrade(connection: apsw.Connection, needed: tuple[Migration, ...]) -> tuple[str, ...]:
    """Apply `needed` in order, after a copy where there is something to lose."""
    if needed and needed[0].version > 1:
        copy(connection, f"{connection.filename}.before-{needed[0].version}")
    for migration in needed:
        _apply(connection, migration)
    return tuple(f"{migration.version:04d}_{migration.name}" for migration in needed)


def _apply(connection: apsw.Connection, migration: Migration) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT"
        )
        connection.execute(migration.sql)
        connection.execute("INSERT INTO schema_version VALUES (?, ?)", (migration.version, migration.name))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
