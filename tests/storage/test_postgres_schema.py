"""The schema can be spread over nodes as it is: the rules of its first lines hold for every table and key."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from storage_samples import HandClock, attempt, populate, publish

from hookline.errors import StartRefused
from hookline.storage.migrate import Migration, migrations
from hookline.storage.postgres import PostgresStorage
from hookline.storage.postgres.connection import Patience
from hookline.storage.postgres.schema import migrate
from postgres_server import Server

pytestmark = pytest.mark.anyio

GLOBAL = {"installation", "companies", "accounts", "tokens", "links", "nodes", "event_types", "event_type_revisions"}

_CREATED = re.compile(
    r"^CREATE TABLE (\w+) \(\n.*?^\)[^;]*;[^\n]*\n-- distribute: (bucket|reference)$", re.DOTALL | re.MULTILINE
)


@pytest.fixture
async def connection(postgres_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(postgres_url)
    try:
        yield connection
    finally:
        await connection.close()


async def keys(connection: Any, kinds: str) -> list[tuple[str, str, list[str]]]:
    """Table, name and columns of constraints of these kinds, migrations' own table left out."""
    rows = await connection.fetch(
        """
        SELECT c.conrelid::regclass::text, c.conname, ARRAY(
          SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY AS k (number, place)
          JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = k.number ORDER BY place)
        FROM pg_constraint AS c
        WHERE c.connamespace = 'public'::regnamespace AND c.contype = ANY ($1::"char"[])
          AND c.conrelid <> 'schema_version'::regclass
          AND NOT (SELECT relispartition FROM pg_class WHERE oid = c.conrelid)""",
        [kind.encode() for kind in kinds],
    )
    return [tuple(row) for row in rows]


async def grown(connection: Any) -> set[str]:
    """Tables with a bucket of their own, that of the company left aside: it is where the others copy theirs from."""
    rows = await connection.fetch(
        "SELECT attrelid::regclass::text FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition"
        " AND attname = 'bucket' AND relname <> 'companies'"
    )
    return {row[0] for row in rows}


async def test_each_table_says_how_it_would_be_spread(connection: Any) -> None:
    said = dict(pair for migration in migrations("postgres") for pair in _CREATED.findall(migration.sql))
    rows = await connection.fetch(
        "SELECT relname::text FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition"
    )
    assert set(said) == {row[0] for row in rows} - {"schema_version"}
    assert {table for table, how in said.items() if how == "reference"} == GLOBAL
    assert {table for table, how in said.items() if how == "bucket"} == await grown(connection)


async def test_the_bucket_stands_last_in_every_key_of_a_table_that_grows(connection: Any) -> None:
    tables = await grown(connection)
    found = [(table, name, columns) for table, name, columns in await keys(connection, "puf") if table in tables]
    assert {table for table, _, _ in found} == tables
    assert [name for _, name, columns in found if columns[-1] != "bucket"] == []


async def test_no_unique_index_exists_beside_the_keys(connection: Any) -> None:
    rows = await connection.fetch(
        "SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indrelid"
        " WHERE indisunique AND relnamespace = 'public'::regnamespace AND NOT relispartition"
    )
    assert {row[0] for row in rows} - {"schema_version_pkey"} == {name for _, name, _ in await keys(connection, "pu")}


async def test_no_foreign_key_leads_from_a_table_that_grows_to_a_global_one(connection: Any) -> None:
    rows = await connection.fetch(
        "SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint"
        " WHERE contype = 'f' AND connamespace = 'public'::regnamespace"
    )
    tables = await grown(connection)
    assert [tuple(row) for row in rows if row[0] in tables and row[1] not in tables] == []


async def test_a_table_that_grows_has_no_volatile_default_and_no_trigger(connection: Any) -> None:
    rows = await connection.fetch(
        "SELECT table_name::text, column_name::text, column_default FROM information_schema.columns"
        " WHERE table_schema = 'public' AND column_default LIKE '%(%'"
    )
    assert [tuple(row) for row in rows] == []
    assert await connection.fetch("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal") == []


async def test_nodes_that_start_at_once_migrate_once(postgres_server: Server) -> None:
    async with postgres_server.database() as url:
        applied = await asyncio.gather(*(migrate(url) for _ in range(5)))
        names = tuple(f"{migration.version:04d}_{migration.name}" for migration in migrations("postgres"))
        assert sorted(applied, key=len) == [(), (), (), (), names]
        assert await migrate(url, check=True) == ()


async def test_checking_changes_nothing_and_names_what_is_missing(postgres_server: Server) -> None:
    async with postgres_server.database() as url:
        with pytest.raises(StartRefused, match="0001_start"):
            await migrate(url, check=True)
        connection = await asyncpg.connect(url)
        assert await connection.fetch("SELECT 1 FROM pg_tables WHERE schemaname = 'public'") == []
        await connection.close()


async def test_a_migration_keeps_nobody_waiting_on_a_busy_database(
    postgres_server: Server, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody reads for long; who queued behind a migration that waits for them would run into the limit of a verb."""
    first = migrations("postgres")
    second = Migration(len(first) + 1, "more", "ALTER TABLE lanes ADD more text; ALTER TABLE events ADD more text;")
    async with postgres_server.database() as url:
        storage = PostgresStorage(url, clock=clock, patience=Patience(statement_seconds=2, commit_seconds=2))
        await storage.open()
        await populate(storage, {101: [1001]})
        someone = await asyncpg.connect(url)
        async with someone.transaction():
            await someone.execute("SELECT FROM events")
            monkeypatch.setattr("hookline.storage.postgres.schema.migrations", lambda _engine: (*first, second))
            migrating = asyncio.ensure_future(migrate(url))
            for _ in range(100):
                await publish(storage)
                await attempt(storage)
            assert not migrating.done()
        assert await migrating == ("0002_more",)
        assert await migrate(url) == ()
        await publish(storage)
        await someone.close()
        await storage.close()


async def test_a_newer_schema_is_never_touched(postgres_url: str, connection: Any) -> None:
    await connection.execute("INSERT INTO schema_version (version, name) VALUES (99, 'future')")
    for check in (False, True):
        with pytest.raises(StartRefused, match="newer Hookline"):
            await migrate(postgres_url, check=check)
