"""What every turn runs goes by the index that is meant for it, whoever the waiting rows belong to.

The statements are planned as a node plans them, once for all values, over tables that have been analysed.
"""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from hookline.storage.postgres import claiming, lanes, settling
from hookline.storage.postgres.connection import Patience, dial

pytestmark = pytest.mark.anyio

ROWS = 20_000

FILL = """
INSERT INTO companies (id, name, created_at, bucket) VALUES (7, 'C', 0, 7);
INSERT INTO subscriptions (
  id, company_id, revision, callback_url, payload_version, policies, secrets, auth_type, active, created_at, updated_at,
  bucket)
SELECT n, 7, 1, '', 'V1', '', '', '', true, 0, 0, 7 FROM generate_series(1, 500) AS n;
INSERT INTO lanes (subscription_id, company_id, host, slots, slots_max, is_open, is_ordered, bucket)
SELECT n, 7, '', 2, 10, true, false, 7 FROM generate_series(1, 500) AS n;
INSERT INTO deliveries (
  id, event_key, due_at, subscription_id, company_id, data_bytes, state, payload_version, type_name, event_bucket,
  bucket)
SELECT n, n, n, {owner}, 7, 2, 'pending', 'V1', '', 7, 7 FROM generate_series(1, {rows}) AS n;
ANALYZE"""

OWNERS = {"one subscription holds all": "1", "each holds as much": "1 + n % 500"}

STATEMENTS = {
    "take": claiming._TAKE,
    "lock_due": claiming._LOCK_DUE,
    "in_flight": lanes._IN_FLIGHT,
    "lock_counted": lanes._LOCK_COUNTED,
    "write_lanes": lanes._WRITE,
    "refresh_lanes": lanes._REFRESH,
    "lock_fenced": settling._LOCK_FENCED,
    "lock_lost": settling._LOCK_LOST,
    "write_endings": settling._WRITE,
}

ENDS = {"refresh_lanes": [("deliveries_leased", "")]}
"""Where only the first entry of an index is asked for, which needs no condition."""


@pytest.fixture(params=OWNERS)
async def connection(postgres_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """One of a node's, to a database in which many rows wait."""
    connection = await dial(postgres_url, Patience())
    try:
        await connection.execute(FILL.format(owner=OWNERS[request.param], rows=ROWS))
        yield connection
    finally:
        await connection.close()


async def first_columns(connection: Any) -> dict[str, str]:
    rows = await connection.fetch(
        "SELECT c.relname, a.attname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid"
        " JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
    )
    return dict(map(tuple, rows))


async def plan_of(connection: Any, sql: str) -> str:
    nulls = ", ".join(["NULL"] * max(int(number) for number in re.findall(r"\$(\d+)", sql)))
    await connection.execute(f"PREPARE statement AS {sql}")
    lines = await connection.fetch(f"EXPLAIN (COSTS off) EXECUTE statement ({nulls})")
    await connection.execute("DEALLOCATE statement")
    return "\n".join(row[0] for row in lines)


SCAN = re.compile(r"Index (?:Only )?Scan using (\w+) on (\w+).*\n(?:\s+Index Cond: (.*))?")


def looks(plan: str) -> Iterator[tuple[str, str]]:
    """The indexes that a plan uses, each with its condition."""
    assert "Seq Scan" not in plan
    assert "Bitmap" not in plan
    for found in SCAN.finditer(plan):
        yield found[1], found[3] or ""


@pytest.mark.parametrize("name", STATEMENTS)
async def test_rows_are_found_by_the_first_column_of_an_index(connection: Any, name: str) -> None:
    plan = await plan_of(connection, STATEMENTS[name])
    columns = await first_columns(connection)
    found = list(looks(plan))
    assert found
    astray = [(index, condition) for index, condition in found if f"({columns[index]} " not in condition]
    assert astray == ENDS.get(name, []), plan


@pytest.mark.parametrize("name", ["write_lanes", "write_endings"])
async def test_values_are_not_read_again_for_every_row(connection: Any, name: str) -> None:
    assert "Nested Loop" not in await plan_of(connection, STATEMENTS[name])
