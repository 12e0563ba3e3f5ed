"""Bring a PostgreSQL database to the schema of this program, or verify that it has it."""

from typing import Any, Final

from hookline.storage.migrate import Migration, migrations, refuse_outdated, still_needed
from hookline.storage.postgres import days, moment
from hookline.storage.postgres.connection import Patience, connect
from hookline.storage.postgres.database import BEGIN, Transaction

LOCK: Final = 0x686F6F6B6C696E65
"""Of the nodes that start at once, one migrates. Any number would do: this one spells `hookline`."""

_VERSIONS: Final = """
CREATE TABLE IF NOT EXISTS schema_version (version integer NOT NULL PRIMARY KEY, name text NOT NULL)"""


async def migrate(dsn: str, *, check: bool = False) -> tuple[str, ...]:
    """Apply what is missing, each migration in a transaction of its own, and return the names of what was applied.

    Nodes that start together wait for each other. With `check` nothing is changed, and a missing migration raises
    `StartRefused`, as does a newer schema.
    """
    connection = await connect(dsn, Patience())
    try:
        if check:
            await verify(connection)
            return ()
        applied = []
        while migration := await _apply_next(connection, migrations("postgres")):
            applied.append(f"{migration.version:04d}_{migration.name}")
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


async def _apply_next(connection: Any, known: tuple[Migration, ...]) -> Migration | None:
    """Apply the first migration that is missing, with no other node at it; None where none is."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        needed = still_needed(known, await version_of(connection))
        if not needed:
            return None
        await connection.execute(_VERSIONS)
        await connection.execute(needed[0].sql)
        await connection.execute(
            "INSERT INTO schema_version (version, name) VALUES ($1, $2)", needed[0].version, needed[0].name
        )
        return needed[0]


async def _prepare_days(connection: Any) -> None:
    """Make the first days at once; where a node makes them at the same time, its upkeep goes on with it."""
    instant = await moment.read(connection, None)
    for table in days.KEYS:
        await connection.execute(BEGIN)
        await days.prepare(Transaction(connection, instant.now, instant.wall, ()), table)
        await connection.execute("COMMIT")
