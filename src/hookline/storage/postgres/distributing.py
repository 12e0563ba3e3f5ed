"""What the coordinator of a Citus cluster must be told once, so that tables that grow are spread over its nodes.

Read from the migrations: below each table stands how it is spread. Nothing here runs unless somebody asks for it, and
plain PostgreSQL never needs it.
"""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from hookline.errors import StartRefused
from hookline.storage.migrate import Migration, migrations
from hookline.storage.postgres.database import connect
from hookline.storage.postgres.schema import verify

SHARDS: Final = 32
"""Of each table that grows. 256 buckets fill all of them; each statement is planned for each shard it may touch, and
more shards than four times the nodes one will ever have only cost."""

_TABLES: Final = re.compile(
    r"^CREATE TABLE (?:IF NOT EXISTS )?(?P<name>\w+)|^-- distribute: (?P<how>\w+)$", re.MULTILINE
)
_HAS_CITUS: Final = "SELECT to_regproc('create_distributed_table') IS NOT NULL"
_KNOWS: Final = "SELECT to_regclass('pg_dist_partition') IS NOT NULL"
_DISTRIBUTED: Final = "SELECT logicalrel::regclass::text FROM pg_dist_partition"

_SETTING: Final = """\
DO $$ BEGIN
  EXECUTE format('ALTER DATABASE %I SET citus.propagate_set_commands = %L', current_database(), 'local');
END $$;"""
"""What a transaction says about whose rows it may see must reach the nodes where the rows lie, or none are seen."""


class Step(NamedTuple):
    """One statement, and the table that it spreads; none where it is about the whole database."""

    table: str | None
    sql: str


def steps(known: Sequence[Migration]) -> Sequence[Step]:
    """Return the statements in their order: first what lies on every node, then each table after those it refers to."""
    said = [pair for migration in known for pair in _said(migration.sql)]
    everywhere = [table for table, how in said if how == "reference"]
    spread = [table for table, how in said if how == "bucket"]
    return [
        Step(None, _SETTING),
        *(Step(table, f"SELECT create_reference_table('{table}');") for table in everywhere),
        *(Step(table, _spread(table, spread[0])) for table in spread),
    ]


def statements() -> Sequence[str]:
    """Return all statements, to be read and run by hand."""
    return [step.sql for step in steps(migrations("postgres"))]


async def apply(dsn: str) -> Sequence[str]:
    """Run what has not been run yet, each statement on its own; return the tables that were spread.

    Raise `StartRefused` where the server is no coordinator or the schema is not this program's.
    """
    connection = await connect(dsn)
    try:
        await verify(connection)
        if not await connection.fetchval(_HAS_CITUS):
            raise StartRefused(
                "This database has no Citus: create the extension on the coordinator first, and add its workers. "
                "On plain PostgreSQL nothing needs to be distributed."
            )
        done = await _distributed(connection)
        applied = []
        for table, sql in steps(migrations("postgres")):
            if table not in done:
                await connection.execute(sql)
                applied += [] if table is None else [table]
        return applied
    finally:
        await connection.close()


async def _distributed(connection: Any) -> set[str]:
    if not await connection.fetchval(_KNOWS):
        return set()
    return {row[0] for row in await connection.fetch(_DISTRIBUTED)}


def _said(sql: str) -> Sequence[tuple[str, str]]:
    """Pair each line that says how with the table above it."""
    pairs = []
    table = ""
    for match in _TABLES.finditer(sql):
        if match["name"]:
            table = match["name"]
        elif match["how"] not in {"bucket", "reference"}:
            raise AssertionError(f"{table}: distribute by bucket or as reference, not {match['how']!r}")
        else:
            pairs.append((table, match["how"]))
    return pairs


def _spread(table: str, first: str) -> str:
    """Rows of one bucket lie together, whatever table they are of."""
    where = f"shard_count := {SHARDS}, colocate_with := 'none'" if table == first else f"colocate_with := '{first}'"
    return f"SELECT create_distributed_table('{table}', 'bucket', {where});"
