"""Bring a PostgreSQL database to the schema of this program, or verify that it has it.

The program before this one may be at work meanwhile: a migration that cannot get its locks and be done with them in a
moment is undone, and tried again when others have had their turn.
"""

import asyncio
from typing import Any, Final

import asyncpg

from hookline.errors import StartRefused
from hookline.storage.migrate import Migration, migrations, refuse_outdated, still_needed
from hookline.storage.postgres import days, moment
from hookline.storage.postgres.database import BEGIN, Transaction, connect

LOCK: Final = 0x686F6F6B6C696E65
"""Of the nodes that start at once, one migrates. Any number would do: this one spells `hookline`."""

HOLD_SECONDS: Final = 0.2
"""The longest that a migration may keep others waiting: for its locks, and while it has them."""
PAUSE_SECONDS: Final = 0.3
TRIES_MAX: Final = 200
"""About two minutes."""

_VERSIONS: Final = """
CREATE TABLE IF NOT EXISTS schema_version (version integer NOT NULL PRIMARY KEY, name text NOT NULL)"""


async def migrate(dsn: str, *, check: bool = False) -> tuple[str, ...]:
    """Apply what is missing, each migration in a transaction of its own, and return the names of what was applied.

    Nodes that start together wait for each other. With `check` nothing is changed, and a missing migration raises
    `StartRefused`, as does a newer schema.
    """
    connection = await connect(dsn)
    try:
        if check:
            await verify(connection)
            return ()
        applied = [
            f"{migration.version:04d}_{migration.name}"
            for migration in migrations("postgres")
            if await _apply(connection, migration)
        ]
        if applied:
            await _prepare_days(connection)
        return tuple(applied)
    finally:
        await connection.close()


async def verify(connection: Any) -> None:
    """Raise `StartRefused` where the schema is not this program's."""
    refuse_outdated(still_needed(migrations("postgres"), await version_of(connection)))


async def version_of(connection: Any) -> int:
    """Read the schema's version; 0 for an empty database."""
    if await connection.fetchval("SELECT to_regclass('schema_version')") is None:
        return 0
    version: int = await connection.fetchval("SELECT coalesce(max(version), 0) FROM schema_version")
    return version


async def _apply(connection: Any, migration: Migration) -> bool:
    """Apply one migration, with no other node at it; False: the database has it."""
    for _ in range(TRIES_MAX):
        try:
            # A first schema has nobody to keep waiting.
            async with asyncio.timeout(HOLD_SECONDS if migration.version > 1 else None):
                return await _try(connection, migration)
        except (TimeoutError, asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            await asyncio.sleep(PAUSE_SECONDS)
    raise StartRefused(
        f"The database is too busy for migration {migration.version:04d}_{migration.name}: it was undone "
        f"{TRIES_MAX} times after {HOLD_SECONDS} s. Repeat it when less happens, or look for transactions left open "
        "(pg_stat_activity)."
    )


async def _try(connection: Any, migration: Migration) -> bool:
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        if migration not in still_needed(migrations("postgres"), await version_of(connection)):
            return False
        await connection.execute(f"SET LOCAL lock_timeout = {int(HOLD_SECONDS * 500)}")
        await connection.execute(_VERSIONS)
        await connection.execute(migration.sql)
        await connection.execute(
            "INSERT INTO schema_version (version, name) VALUES ($1, $2)", migration.version, migration.name
        )
        return True


async def _prepare_days(connection: Any) -> None:
    """Make the first days at once; where a node makes them at the same time, its upkeep goes on with it."""
    instant = await moment.read(connection, None)
    for table in days.KEYS:
        await connection.execute(BEGIN)
        await days.prepare(Transaction(connection, instant.now, instant.wall, ()), table)
        await connection.execute("COMMIT")
