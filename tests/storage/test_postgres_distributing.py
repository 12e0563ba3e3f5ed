"""What a Citus coordinator is told. Citus itself is not at hand: a stand-in records what it would have been told."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from hookline.errors import StartRefused
from hookline.storage.migrate import Migration, migrations
from hookline.storage.postgres import distributing
from hookline.storage.postgres.schema import migrate
from postgres_server import Server

pytestmark = pytest.mark.anyio

STAND_IN = """
CREATE TABLE told (place serial, name text, key text, colocate_with text);
CREATE TABLE pg_dist_partition (logicalrel regclass);
CREATE FUNCTION create_reference_table(name regclass) RETURNS void LANGUAGE sql AS $$
  INSERT INTO told (name) VALUES (name::text);
  INSERT INTO pg_dist_partition VALUES (name) $$;
CREATE FUNCTION create_distributed_table(
  name regclass, key text, shard_count integer DEFAULT NULL, colocate_with text DEFAULT 'default')
RETURNS void LANGUAGE sql AS $$
  INSERT INTO told (name, key, colocate_with) VALUES (name::text, key, colocate_with);
  INSERT INTO pg_dist_partition VALUES (name) $$;
"""


@pytest.fixture
async def url(postgres_server: Server) -> AsyncIterator[str]:
    async with postgres_server.database() as url:
        await migrate(url)
        yield url


@pytest.fixture
async def coordinator(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    await connection.execute(STAND_IN)
    try:
        yield connection
    finally:
        await connection.close()


def test_statements_are_read_from_the_migrations_in_an_order_that_can_be_run() -> None:
    known = [
        Migration(
            1, "start", "CREATE TABLE a (\n);\n-- distribute: bucket\nCREATE TABLE b (\n);\n-- distribute: reference\n"
        ),
        Migration(2, "more", "CREATE TABLE c (\n);\n-- distribute: bucket\n"),
    ]
    assert [step.sql for step in distributing.steps(known)][1:] == [
        "SELECT create_reference_table('b');",
        "SELECT create_distributed_table('a', 'bucket', shard_count := 32, colocate_with := 'none');",
        "SELECT create_distributed_table('c', 'bucket', colocate_with := 'a');",
    ]


def test_a_line_that_says_nothing_known_is_not_guessed_at() -> None:
    with pytest.raises(AssertionError, match="a: distribute by"):
        distributing.steps([Migration(1, "start", "CREATE TABLE a (\n);\n-- distribute: bukcet\n")])


async def test_each_table_is_told_of_once_and_after_all_that_it_refers_to(url: str, coordinator: Any) -> None:
    applied = await distributing.apply(url)
    told = [row[0] for row in await coordinator.fetch("SELECT name FROM told ORDER BY place")]
    assert told == list(applied)
    tables = await coordinator.fetch(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
        " AND NOT relispartition AND relname NOT IN ('schema_version', 'told', 'pg_dist_partition')"
    )
    assert sorted(told) == sorted(row[0] for row in tables)
    refers = await coordinator.fetch(
        "SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint"
        " WHERE contype = 'f' AND connamespace = 'public'::regnamespace AND conparentid = 0"
    )
    assert refers
    assert all(told.index(to) < told.index(from_) for from_, to in refers if from_ in told)


async def test_every_table_that_grows_lies_by_bucket_beside_the_first(url: str, coordinator: Any) -> None:
    await distributing.apply(url)
    rows = await coordinator.fetch("SELECT name, key, colocate_with FROM told WHERE key IS NOT NULL ORDER BY place")
    assert {row["key"] for row in rows} == {"bucket"}
    assert [row["colocate_with"] for row in rows] == ["none"] + [rows[0]["name"]] * (len(rows) - 1)
    assert {"subscriptions", "lanes", "deliveries", "events", "attempts"} <= {row["name"] for row in rows}


async def test_what_has_been_distributed_is_left_alone(url: str, coordinator: Any) -> None:
    await coordinator.execute("SELECT create_reference_table('companies')")
    assert "companies" not in await distributing.apply(url)
    assert list(await distributing.apply(url)) == []


async def test_a_transaction_takes_its_settings_along_to_the_nodes(url: str, coordinator: Any) -> None:
    await distributing.apply(url)
    settings = await coordinator.fetchval(
        "SELECT setconfig FROM pg_db_role_setting JOIN pg_database AS d ON d.oid = setdatabase"
        " WHERE d.datname = current_database()"
    )
    assert settings == ["citus.propagate_set_commands=local"]


async def test_plain_postgresql_is_refused_in_words(url: str) -> None:
    with pytest.raises(StartRefused, match="no Citus"):
        await distributing.apply(url)


async def test_an_older_schema_is_refused(postgres_server: Server) -> None:
    async with postgres_server.database() as url:
        with pytest.raises(StartRefused, match="hookline migrate"):
            await distributing.apply(url)


def test_the_printed_statements_are_those_that_are_run() -> None:
    assert list(distributing.statements()) == [step.sql for step in distributing.steps(migrations("postgres"))]
