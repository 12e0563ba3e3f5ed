"""Measure what publishing feels of forgetting: a million rows that have had their time, beside a steady load.

No process and no sockets: the storage alone, with `Retention` called once a second as an engine calls it. The old rows
are published by a clock that is 40 days behind, and ended by a statement of this file.
"""

import argparse
import asyncio
import json
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw
import asyncpg
from msgspec.structs import replace

from claim import BATCH, TYPE
from hookline import tokens
from hookline.clock import Clock, SystemClock
from hookline.model import Company, PayloadVersion, Policies, Recipient, Secret, Subscription
from hookline.retention import DAY_MS, Retention
from hookline.storage.postgres import PostgresStorage
from hookline.storage.protocol import Storage
from hookline.storage.publications import NewDelivery, NewEvent, Publication, Published
from hookline.storage.sqlite import SqliteStorage
from service import POSTGRES, percentile

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from postgres_server import own_cluster

AGE_MS: Final = 40 * DAY_MS
RETENTION_DAYS: Final = 30
PER_EVENT: Final = 4
"""Rows that one event with one delivery comes to: event, recipient, delivery, attempt."""
COMPANIES: Final = 20
DATA: Final = b'{"noteToken":"a1b2c3","text":"%s"}' % (b"x" * 800)

END_SQLITE: Final = """
UPDATE deliveries SET state = 'succeeded', due_at = NULL, settled_at = ?1;
INSERT INTO attempts (id, delivery_id, subscription_id, number, http_status, duration_ms, request_head, response_head,
  response_body, created_at, dead_lettered)
SELECT id, id, subscription_id, 1, 200, 5, zeroblob(300), zeroblob(200), x'6f6b', settled_at, 0 FROM deliveries;
UPDATE lanes SET next_due = NULL"""
END_POSTGRES: Final = (
    "SET LOCAL hookline.\"all\" = 'on'",
    """INSERT INTO ended_deliveries SELECT id, event_key, {at}, subscription_id, company_id, 1, 0, data_bytes,
      'succeeded', payload_version, type_name, source, NULL, event_bucket, bucket FROM deliveries""",
    """INSERT INTO attempts (id, delivery_id, created_at, subscription_id, company_id, number, http_status, duration_ms,
      dead_lettered, request_head, response_head, response_body, bucket)
      SELECT id, id, {at}, subscription_id, company_id, 1, 200, 5, false, decode(repeat('78', 300), 'hex'),
        decode(repeat('78', 200), 'hex'), 'ok', bucket FROM deliveries""",
    "TRUNCATE deliveries",
)


class PastClock(SystemClock):
    """Forty days behind."""

    def wall_ms(self) -> int:
        return super().wall_ms() - AGE_MS


class Place(NamedTuple):
    """A database that can be opened by a clock, and how its open deliveries are ended by force."""

    open_by: Callable[[Clock], Storage]
    end: Callable[[int], Any]


@contextmanager
def fresh(database: str) -> Iterator[Place]:
    """Give an empty database that exists for so long."""
    if database == POSTGRES:
        with own_cluster() as cluster:
            url = cluster.server.url

            async def end(at: int) -> None:
                connection = await asyncpg.connect(url)
                async with connection.transaction():
                    for sql in END_POSTGRES:
                        await connection.execute(sql.format(at=at), timeout=600)
                await connection.execute("ANALYZE")
                await connection.close()

            yield Place(lambda clock: PostgresStorage(url, clock=clock), end)
    else:
        with tempfile.TemporaryDirectory(prefix="hookline-bench-") as directory:
            path = f"{directory}/bench.db"

            async def end_here(at: int) -> None:
                connection = apsw.Connection(path)
                connection.execute(END_SQLITE, (at,))
                connection.close()

            yield Place(lambda clock: SqliteStorage(path, clock=clock), end_here)


class Load:
    """Publishes to companies in turn."""

    def __init__(self, storage: Storage, targets: list[tuple[int, int]]) -> None:
        self._storage = storage
        self._targets = targets

    async def publish(self, count: int) -> None:
        catalogue = await self._storage.catalogue()
        routes = await self._storage.routes([company_id for company_id, _ in self._targets])
        events = []
        for number in range(count):
            company_id, subscription_id = self._targets[(number + secrets.randbelow(COMPANIES)) % COMPANIES]
            events.append(
                NewEvent(
                    id=tokens.new_event_id(SystemClock().wall_ms(), secrets.token_bytes),
                    event_type=TYPE,
                    data=DATA,
                    occurred_at=None,
                    fingerprint=None,
                    recipients=(Recipient(company_id=company_id, company_revision=routes[company_id].revision),),
                    deliveries=(
                        NewDelivery(
                            subscription_id=subscription_id,
                            company_id=company_id,
                            payload_version=PayloadVersion.V1,
                            type_name=TYPE,
                        ),
                    ),
                )
            )
        publication = Publication(events=tuple(events), catalogue_revision=catalogue.revision)
        if not isinstance(await self._storage.publish(publication), Published):
            raise SystemExit("not published")

    async def latencies(self, per_second: int, until: Callable[[], bool]) -> list[float]:
        """Publish one by one at a steady rate, each on time whatever the others take; return milliseconds, ordered."""
        found: list[float] = []

        async def one() -> None:
            begun = time.perf_counter()
            await self.publish(1)
            found.append((time.perf_counter() - begun) * 1000)

        async with asyncio.TaskGroup() as tasks:
            begun = time.perf_counter()
            number = 0
            while not until():
                await asyncio.sleep(begun + number / per_second - time.perf_counter())
                tasks.create_task(one())
                number += 1
        return sorted(found)


async def make(storage: Storage, now: int) -> list[tuple[int, int]]:
    """Make companies with one subscription each."""
    targets = []
    for _ in range(COMPANIES):
        company_id, subscription_id = tokens.new_id(secrets.token_bytes), tokens.new_id(secrets.token_bytes)
        await storage.create_company(Company(id=company_id, name="Bench", created_at=now))
        subscription = Subscription(
            id=subscription_id,
            company_id=company_id,
            revision=1,
            callback_url="http://127.0.0.1:9/",
            event_types=None,
            payload_version=PayloadVersion.V1,
            policies=Policies(),
            secrets=(Secret(sealed=b"sealed", created_at=now),),
            created_at=now,
            updated_at=now,
        )
        await storage.create_subscription(subscription, 1_000)
        targets.append((company_id, subscription_id))
    return targets


async def fill(place: Place, rows: int) -> list[tuple[int, int]]:
    """Leave so many rows of forty days ago."""
    past = PastClock()
    storage = place.open_by(past)
    await storage.open()
    await storage.prepare_days()
    targets = await make(storage, past.wall_ms())
    load = Load(storage, targets)
    for _ in range(0, rows, BATCH * PER_EVENT):
        await load.publish(BATCH)
    await storage.close()
    await place.end(past.wall_ms())
    return targets


async def measure(place: Place, asked: argparse.Namespace) -> dict[str, Any]:
    """Fill, then time publishes without and with somebody who forgets."""
    targets = await fill(place, asked.rows)
    clock = SystemClock()
    storage = place.open_by(clock)
    await storage.open()
    if asked.keeps_more:
        company = await storage.company(targets[0][0])
        if company:
            await storage.replace_company(company, replace(company, retention_days=365))
    load = Load(storage, targets)
    before = await events(storage, targets)
    ends_at = time.perf_counter() + asked.seconds
    alone = await load.latencies(asked.rate, lambda: time.perf_counter() >= ends_at)
    retention = Retention(storage, clock, RETENTION_DAYS)
    steps: list[float] = []
    begun = time.perf_counter()

    async def forget() -> None:
        while retention.is_busy and time.perf_counter() < begun + asked.forgetting_seconds:
            step_begun = time.perf_counter()
            await retention.step()
            steps.append(time.perf_counter() - step_begun)
            await asyncio.sleep(max(0.0, 1 - steps[-1]))

    forgetting = asyncio.create_task(forget())
    beside = await load.latencies(asked.rate, forgetting.done)
    await forgetting
    took = time.perf_counter() - begun
    forgotten = before + len(alone) + len(beside) - await events(storage, targets)
    await storage.close()
    figures: dict[str, Any] = {
        "rows": asked.rows,
        "publishes_per_second": asked.rate,
        "forgotten_rows": forgotten * PER_EVENT,
        "forgotten_rows_per_second": forgotten * PER_EVENT / took,
    }
    for name, found in (("alone", alone), ("beside", beside)):
        figures |= {
            f"{name}_ms_p50": percentile(found, 0.5),
            f"{name}_ms_p99": percentile(found, 0.99),
            f"{name}_ms_max": percentile(found, 1),
        }
    return figures | {"step_seconds_max": max(steps)}


async def events(storage: Storage, targets: list[tuple[int, int]]) -> int:
    """Count events, all of which have the same data."""
    return sum([await storage.stored_bytes(company_id) for company_id, _ in targets]) // len(DATA)


def main() -> None:
    """Measure as the arguments say, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows that have had their time (1,000,000)")
    parser.add_argument("--rate", type=int, default=200, help="publishes a second (200)")
    parser.add_argument("--seconds", type=int, default=15, help="of publishing alone (15)")
    parser.add_argument("--forgetting-seconds", type=int, default=120, help="of publishing beside it, at most (120)")
    parser.add_argument("--keeps-more", action="store_true", help="one of the 20 companies keeps its rows for a year")
    parser.add_argument("--database", choices=("sqlite", POSTGRES), default="sqlite", help="a fresh one (sqlite)")
    arguments = parser.parse_args()
    with fresh(arguments.database) as place:
        figures = asyncio.run(measure(place, arguments))
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):28} {value:>12,.2f}")
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
