"""Measure how long each page of the dashboard takes at a million attempts of the last 30 days.

Companies and subscriptions are made over the API, the log is filled by statements of this file, and counted for the
charts as a node counts it. Then a server without an engine answers each page some times over, as an operator and as a
member.
"""

import argparse
import asyncio
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import apsw
import asyncpg

from hookline.clock import SystemClock
from hookline.storage.postgres import PostgresStorage, days
from hookline.storage.postgres.connection import Patience
from hookline.storage.postgres.database import BEGIN, Transaction
from hookline.storage.protocol import Storage
from hookline.storage.rows import DAY_BITS, DAY_MS, DAYS_BEGIN_AT
from hookline.storage.sqlite import SqliteStorage
from service import POSTGRES, TOKEN, percentile, running

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from postgres_server import own_cluster

ENVIRONMENT: Final = {"HOOKLINE_ROLES": "api", "HOOKLINE_SECRET_KEY": "YSBrZXkgb2YgMzIgYnl0ZXMgdGhhdCBzZWFscyBub3Q="}
COMPANIES: Final = 50
PER_COMPANY: Final = 2
DAYS: Final = 30
STEP: Final = 10_000_000
"""Of what is counted at once: all of it, for nobody waits here."""
PATIENCE: Final = Patience(statement_seconds=900)
_AT: Final = "({now} - {span} + n * {span} / {rows})"
_ID: Final = f"((({_AT} - {DAYS_BEGIN_AT}) / {DAY_MS} << {DAY_BITS}) + n)"
_FACTS: Final = f"""
SELECT n, {_ID} AS id, {_AT} AS at, (n * 7919) % {{subscriptions}} AS place, n % 50 = 0 AS is_dead,
  n > {{rows}} - 2000 AND (n * 7919) % {{subscriptions}} = 0 AS is_open, 20 + (n * 31) % 400 AS took
FROM {{numbers}}"""
"""Of each number: one event with one delivery and one attempt. One in fifty is dead; of the first subscription what is
newest waits for its retry."""
_DATA: Final = """'{"order":{"id":' || n || '},"noteToken":"a1b2c3"}'"""

SQLITE: Final = (
    f"""INSERT INTO events
    SELECT id, 'evt_' || n, 'note.created', CAST({_DATA} AS BLOB), NULL, at, at, 1, 1 FROM facts""",
    """INSERT INTO recipients SELECT t.company_id, f.id, 1, NULL FROM facts f JOIN targets t ON t.place = f.place""",
    """INSERT INTO deliveries (id, event_key, subscription_id, company_id, state, attempt, failures, due_at,
      payload_version, type_name, reason, settled_at)
    SELECT f.id, f.id, t.subscription_id, t.company_id,
      CASE WHEN is_open THEN 'pending' WHEN is_dead THEN 'dead' ELSE 'succeeded' END, 1, is_open OR is_dead,
      CASE WHEN is_open THEN at + 1000000000 END, 'V1', 'note.created', CASE WHEN is_dead THEN 'exhausted' END,
      CASE WHEN NOT is_open THEN at + took END FROM facts f JOIN targets t ON t.place = f.place""",
    """INSERT INTO attempts (id, delivery_id, subscription_id, number, http_status, error, duration_ms, created_at,
      dead_lettered, request_head, response_head, response_body)
    SELECT f.id, f.id, t.subscription_id, 1, CASE WHEN is_open OR is_dead THEN 503 ELSE 200 END,
      CASE WHEN is_open OR is_dead THEN 'status' END, took, at + took + 3, is_dead AND NOT is_open,
      zeroblob(300), zeroblob(200), zeroblob(60) FROM facts f JOIN targets t ON t.place = f.place""",
    """UPDATE lanes SET failed_in_a_row = 9, failing_since = {now} - 3600000
    WHERE subscription_id = (SELECT subscription_id FROM targets WHERE place = 0)""",
)
POSTGRES_FILL: Final = (
    f"""INSERT INTO events (
      key, id, event_type, data, occurred_at, accepted_at, catalogue_revision, company_ids, bucket)
    SELECT f.id, 'evt_' || n, 'note.created', convert_to({_DATA}, 'UTF8'), at, at, 1, ARRAY[t.company_id], t.bucket
    FROM facts f JOIN targets t ON t.place = f.place""",
    """INSERT INTO event_keys SELECT 'evt_' || n, NULL, 'note.created', f.id, at, 1, t.bucket,
      (hashtext('evt_' || n) & 255)::smallint FROM facts f JOIN targets t ON t.place = f.place""",
    """INSERT INTO recipients (company_id, event_key, company_revision, accepted_at, event_type, event_bucket, bucket)
    SELECT t.company_id, f.id, 1, at, 'note.created', t.bucket, t.bucket
    FROM facts f JOIN targets t ON t.place = f.place""",
    """INSERT INTO deliveries (id, event_key, due_at, subscription_id, company_id, attempt, failures, data_bytes, state,
      payload_version, type_name, event_bucket, bucket)
    SELECT f.id, f.id, at + 1000000000, t.subscription_id, t.company_id, 1, 1, 60, 'pending', 'V1', 'note.created',
      t.bucket, t.bucket FROM facts f JOIN targets t ON t.place = f.place WHERE is_open""",
    """INSERT INTO ended_deliveries (id, event_key, settled_at, subscription_id, company_id, attempt, failures,
      data_bytes, state, payload_version, type_name, reason, event_bucket, bucket)
    SELECT f.id, f.id, at + took, t.subscription_id, t.company_id, 1, is_dead::integer, 60,
      CASE WHEN is_dead THEN 'dead' ELSE 'succeeded' END, 'V1', 'note.created', CASE WHEN is_dead THEN 'exhausted' END,
      t.bucket, t.bucket FROM facts f JOIN targets t ON t.place = f.place WHERE NOT is_open""",
    """INSERT INTO attempts (id, delivery_id, created_at, subscription_id, company_id, number, http_status, duration_ms,
      dead_lettered, error, request_head, response_head, response_body, bucket)
    SELECT f.id, f.id, at + took + 3, t.subscription_id, t.company_id, 1,
      CASE WHEN is_open OR is_dead THEN 503 ELSE 200 END, took, is_dead AND NOT is_open,
      CASE WHEN is_open OR is_dead THEN 'status' END, decode(repeat('78', 300), 'hex'),
      decode(repeat('78', 200), 'hex'), 'ok', t.bucket FROM facts f JOIN targets t ON t.place = f.place""",
    """UPDATE lanes SET failed_in_a_row = 9, failing_since = {now} - 3600000
    WHERE subscription_id = (SELECT subscription_id FROM targets WHERE place = 0)""",
)


# --- making ----------------------------------------------------------------------------------------------------------


def make_targets(database: str) -> tuple[list[tuple[int, int]], str]:
    """Make companies with subscriptions; return them with a member's token of the first company."""
    targets, token = [], ""
    with running(database, **ENVIRONMENT) as service:
        for number in range(COMPANIES):
            company = service.call("POST", "/v1/companies", {"name": f"Company {number}"})["id"]
            targets += [(company, service.subscribe(company, f"http://127.0.0.1:9999/{n}")) for n in range(PER_COMPANY)]
            if not token:
                asked = {"name": "bench", "role": "member"}
                token = service.call("POST", f"/v1/companies/{company}/tokens", asked)["token"]
    return targets, token


def fill_sqlite(path: str, targets: list[tuple[int, int]], rows: int, now: int) -> None:
    """Write the log of an SQLite file."""
    connection = apsw.Connection(path)
    connection.execute(
        "CREATE TEMP TABLE targets (place INTEGER PRIMARY KEY, company_id INTEGER, subscription_id INTEGER)"
    )
    connection.executemany("INSERT INTO targets VALUES (?, ?, ?)", [(n, *pair) for n, pair in enumerate(targets)])
    numbers = f"(WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {rows}) SELECT n FROM c)"
    connection.execute(f"CREATE TEMP VIEW facts AS {_facts(numbers, len(targets), rows, now)}")
    with connection:
        for sql in SQLITE:
            connection.execute(sql.replace("{now}", str(now)))
    connection.execute("ANALYZE")
    connection.close()


async def fill_postgres(url: str, targets: list[tuple[int, int]], rows: int, now: int) -> None:
    """Write the log of a PostgreSQL database, in a partition for each day."""
    connection = await asyncpg.connect(url)
    for back in range(DAYS + 1, 0, -7):
        for table in days.KEYS:
            await connection.execute(BEGIN)
            await days.prepare(Transaction(connection, now, now - back * DAY_MS, ()), table)
            await connection.execute("COMMIT")
    await connection.execute(
        "CREATE TEMP TABLE targets (place integer, company_id integer, subscription_id integer, bucket smallint)"
    )
    await connection.copy_records_to_table(
        "targets",
        records=[(n, company, subscription, company % 256) for n, (company, subscription) in enumerate(targets)],
    )
    numbers = f"(SELECT n::bigint FROM generate_series(1, {rows}) AS n) AS numbers"
    await connection.execute(f"CREATE TEMP VIEW facts AS {_facts(numbers, len(targets), rows, now)}")
    async with connection.transaction():
        await connection.execute("SET LOCAL hookline.\"all\" = 'on'")
        for sql in POSTGRES_FILL:
            await connection.execute(sql.replace("{now}", str(now)))
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


def _facts(numbers: str, subscriptions: int, rows: int, now: int) -> str:
    return _FACTS.format(numbers=numbers, subscriptions=subscriptions, rows=rows, now=now, span=DAYS * DAY_MS)


async def count(storage: Storage) -> float:
    """Count all of it for the charts; return how many seconds that took."""
    await storage.open()
    begun = time.perf_counter()
    while await storage.tally(STEP):
        pass
    await storage.tally_backlog(1_500)
    took = time.perf_counter() - begun
    await storage.close()
    return took


async def _analyze(url: str) -> None:
    """Look at what was counted, as the server would have by itself in the meantime."""
    connection = await asyncpg.connect(url)
    await connection.execute("VACUUM ANALYZE tallies")
    await connection.close()


# --- measuring -------------------------------------------------------------------------------------------------------


class Visitor:
    """A browser that has signed in."""

    def __init__(self, url: str, token: str) -> None:
        self._connection = HTTPConnection(url.removeprefix("http://"), timeout=60)
        key, cookie = self._sign_in_form()
        body = urlencode({"form_key": key, "token": token, "next": "/"})
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookie}
        self._connection.request("POST", "/sign-in", body, headers)
        response = self._connection.getresponse()
        response.read()
        assert response.status == 303, response.status
        self._cookie = response.headers["set-cookie"].partition(";")[0]

    def _sign_in_form(self) -> tuple[str, str]:
        self._connection.request("GET", "/sign-in")
        response = self._connection.getresponse()
        found = re.search(r'name="form_key" value="([^"]*)"', response.read().decode())
        assert found
        return found[1], response.headers["set-cookie"].partition(";")[0]

    def see(self, path: str) -> tuple[int, float, str]:
        """Return status, milliseconds and the page."""
        begun = time.perf_counter()
        self._connection.request("GET", path, headers={"Cookie": self._cookie})
        response = self._connection.getresponse()
        page = response.read().decode()
        return response.status, (time.perf_counter() - begun) * 1000, page


def pages_of(visitor: Visitor, targets: list[tuple[int, int]], *, is_operator: bool) -> list[str]:
    """Return the addresses to measure."""
    company, subscription = targets[0]
    _, _, log = visitor.see(f"/subscriptions/{subscription}")
    delivery = re.search(r'href="(/subscriptions/\d+/deliveries/\d+)"', log)
    event = re.search(r'href="(/events/[^"?]+)"', visitor.see("/events")[2])
    assert delivery
    assert event
    pages = [
        *("/", "/?range=7d", "/?range=30d", "/events", "/events?state=dead", "/events?state=held"),
        *("/events?state=pending", "/events?eventType=note.created", event[1], "/subscriptions", delivery[1]),
        *(f"/subscriptions/{subscription}", f"/subscriptions/{subscription}?range=7d"),
        *("/event-types", "/events?q=data.order.id+%3D+1", "/events?span=24h&q=data.order.id+%3D+999990"),
    ]
    return (
        [*pages, "/?range=1h", "/companies", f"/companies/{company}", "/tokens", "/nodes", "/audit"]
        if is_operator
        else pages
    )


def measure(url: str, token: str, targets: list[tuple[int, int]], *, is_operator: bool) -> dict[str, Any]:
    """Return the median and the worst of ten looks at each page, in milliseconds, and its size."""
    visitor, figures = Visitor(url, token), {}
    for path in pages_of(visitor, targets, is_operator=is_operator):
        print(path, file=sys.stderr)
        looks = [visitor.see(path) for _ in range(11)][1:]
        times = sorted(ms for _, ms, _ in looks)
        figures[path] = {
            "status": looks[0][0],
            "median_ms": round(percentile(times, 0.5), 1),
            "worst_ms": round(times[-1], 1),
            "kib": round(len(looks[0][2].encode()) / 1024, 1),
        }
    return figures


@contextmanager
def database(name: str) -> Iterator[tuple[str, Storage]]:
    """Give an empty database, with a storage that is not open yet."""
    with ExitStack() as stack:
        if name == POSTGRES:
            url = stack.enter_context(own_cluster()).server.url
            yield url, PostgresStorage(url, patience=PATIENCE)
        else:
            path = f"{stack.enter_context(tempfile.TemporaryDirectory(prefix='hookline-bench-'))}/bench.db"
            yield f"sqlite:///{path}", SqliteStorage(path, clock=SystemClock())


def main() -> None:
    """Measure, and print what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=["sqlite", POSTGRES], default="sqlite")
    parser.add_argument("--rows", type=int, default=1_000_000)
    asked = parser.parse_args()
    with database(asked.database) as (url, storage):
        targets, token = make_targets(url)
        now, begun = SystemClock().wall_ms() - 60_000, time.perf_counter()
        if asked.database == POSTGRES:
            asyncio.run(fill_postgres(url, targets, asked.rows, now))
        else:
            fill_sqlite(url.removeprefix("sqlite:///"), targets, asked.rows, now)
        figures: dict[str, Any] = {"rows": asked.rows, "filled_seconds": round(time.perf_counter() - begun)}
        figures["counted_seconds"] = round(asyncio.run(count(storage)), 1)
        if asked.database == POSTGRES:
            asyncio.run(_analyze(url))
        with running(url, **ENVIRONMENT) as service:
            figures["operator"] = measure(service.url, TOKEN, targets, is_operator=True)
            figures["member"] = measure(service.url, token, targets, is_operator=False)
        print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
