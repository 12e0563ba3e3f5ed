"""Measure a claim beside a queue of a million: one saturated subscription and 100 others with fresh work.

No process and no sockets: the storage alone, through its protocol, as the engine calls it. The queue is written by the
storage's own publishes. A round publishes one event for each of the others and claims until none of it is left.
"""

import argparse
import json
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import uvloop

from hookline import tokens
from hookline.clock import SystemClock
from hookline.fairness import Flight
from hookline.lifecycle import Succeed
from hookline.model import Company, PayloadVersion, Policies, Recipient, Secret, Subscription, Timings
from hookline.storage.claims import AttemptRecord, Claim, Claimed, Fence, Settlement
from hookline.storage.postgres import PostgresStorage
from hookline.storage.protocol import Storage
from hookline.storage.publications import NewDelivery, NewEvent, Publication, Published
from hookline.storage.sqlite import SqliteStorage
from service import POSTGRES, percentile

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from postgres_server import own_cluster

OTHERS: Final = 100
COMPANIES: Final = 20
BATCH: Final = 1_000
TYPE: Final = "note.created"


class Bench:
    """A database with one subscription that is far behind, and others that are not."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._clock = SystemClock()
        self._busy: tuple[int, int] = (0, 0)
        self._others: list[tuple[int, int]] = []
        self._known: dict[int, int] = {}
        self._in_flight: dict[int, int] = {}

    async def prepare(self, rows: int) -> None:
        """Make the subscriptions and the long queue."""
        companies = [await self._company() for _ in range(COMPANIES)]
        self._busy = (companies[0], await self._subscription(companies[0]))
        for number in range(OTHERS):
            company_id = companies[number % COMPANIES]
            self._others.append((company_id, await self._subscription(company_id)))
        for _ in range(0, rows, BATCH):
            await self._publish([self._busy] * BATCH)

    async def saturate(self) -> None:
        """Take all that the saturated subscription may have in flight, and keep it."""
        while any(each.subscription_id == self._busy[1] for each in (await self._claim(500)).deliveries):
            pass

    async def round(self) -> list[tuple[float, int, int]]:
        """Give each of the others one event, claim them, settle them; return ms, rows, rows of the busy one a claim."""
        await self._publish(self._others)
        claims, left = [], len(self._others)
        while left:
            begun = time.perf_counter()
            claim = await self._claim(500)
            milliseconds = (time.perf_counter() - begun) * 1000
            fresh = [each for each in claim.deliveries if each.subscription_id != self._busy[1]]
            claims.append((milliseconds, len(claim.deliveries), len(claim.deliveries) - len(fresh)))
            if not claim.deliveries:
                raise SystemExit(f"{left} of the others were not reached")
            left -= len(fresh)
            await self._settle(fresh)
        return claims

    async def idle(self) -> float:
        """Claim when only the saturated subscription has due rows; return milliseconds."""
        begun = time.perf_counter()
        await self._claim(500)
        return (time.perf_counter() - begun) * 1000

    async def _company(self) -> int:
        company_id = tokens.new_id(secrets.token_bytes)
        await self._storage.create_company(Company(id=company_id, name="Bench", created_at=self._clock.wall_ms()))
        return company_id

    async def _subscription(self, company_id: int) -> int:
        now = self._clock.wall_ms()
        subscription = Subscription(
            id=tokens.new_id(secrets.token_bytes),
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
        await self._storage.create_subscription(subscription, 1_000)
        return subscription.id

    async def _publish(self, targets: list[tuple[int, int]]) -> None:
        """Publish one event for each of the targets, in one transaction."""
        catalogue = await self._storage.catalogue()
        routes = await self._storage.routes(list({company_id for company_id, _ in targets}))
        events = tuple(
            NewEvent(
                id=tokens.new_event_id(self._clock.wall_ms(), secrets.token_bytes),
                event_type=TYPE,
                data=b'{"noteToken":"a1b2c3"}',
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
            for company_id, subscription_id in targets
        )
        result = await self._storage.publish(Publication(events=events, catalogue_revision=catalogue.revision))
        if not isinstance(result, Published):
            raise SystemExit(f"not published: {result}")

    async def _claim(self, rows_max: int) -> Claim:
        flight = Flight(
            capacity=1000,
            host_capacity=200,
            total=sum(self._in_flight.values()),
            by_subscription=self._in_flight.copy(),
            by_company={},
            by_host={},
            by_company_at_host={},
        )
        claim = await self._storage.claim_due(
            flight=flight, rows_max=rows_max, body_bytes_max=32 * 1024 * 1024, lease_ms=3_600_000, known=self._known
        )
        for subscription_id, subscription in claim.subscriptions.items():
            if isinstance(subscription, Subscription):
                self._known[subscription_id] = subscription.revision
        for each in claim.deliveries:
            self._in_flight[each.subscription_id] = self._in_flight.get(each.subscription_id, 0) + 1
        return claim

    async def _settle(self, deliveries: list[Claimed]) -> None:
        for each in deliveries:
            self._in_flight[each.subscription_id] -= 1
        await self._storage.settle([_succeeded(each) for each in deliveries])


def _succeeded(delivery: Claimed) -> Settlement:
    return Settlement(
        fence=Fence(
            delivery_id=delivery.id,
            subscription_id=delivery.subscription_id,
            company_id=delivery.company_id,
            attempt=delivery.attempt,
        ),
        subscription_revision=delivery.subscription_revision,
        verdict=Succeed(),
        record=AttemptRecord(
            http_status=200,
            error=None,
            detail=None,
            duration_ms=1,
            timings=Timings(),
            request_head=b"POST / HTTP/1.1\r\n\r\n",
            response_head=b"HTTP/1.1 200 OK\r\n\r\n",
            response_body=b"",
        ),
        answered=True,
        timed_out=False,
    )


@contextmanager
def fresh(database: str) -> Iterator[Storage]:
    """Give an empty database that exists for so long."""
    if database == POSTGRES:
        with own_cluster() as cluster:
            yield PostgresStorage(cluster.server.url)
    else:
        with tempfile.TemporaryDirectory(prefix="hookline-bench-") as directory:
            yield SqliteStorage(f"{directory}/bench.db", clock=SystemClock())


async def measure(storage: Storage, rows: int, rounds: int) -> dict[str, Any]:
    """Prepare, then time claims."""
    await storage.open()
    bench = Bench(storage)
    begun = time.perf_counter()
    await bench.prepare(rows)
    prepared = time.perf_counter() - begun
    await bench.saturate()
    first = await bench.round()
    idle = sorted([await bench.idle() for _ in range(rounds)])
    claims = [claim for _ in range(rounds) for claim in await bench.round()]
    await storage.close()
    milliseconds = sorted(claim[0] for claim in claims)
    return {
        "due_rows_of_one": rows,
        "prepared_in_seconds": prepared,
        "first_claim_ms": first[0][0],
        "claim_ms_p50": percentile(milliseconds, 0.5),
        "claim_ms_p99": percentile(milliseconds, 0.99),
        "claim_ms_max": percentile(milliseconds, 1),
        "rows_of_a_claim": sum(claim[1] for claim in claims) / len(claims),
        "claims_of_a_round": len(claims) / rounds,
        "claim_of_nothing_ms_p50": percentile(idle, 0.5),
        "claim_of_nothing_ms_p99": percentile(idle, 0.99),
    }


def main() -> None:
    """Measure as the arguments say, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--rows", type=int, default=1_000_000, help="due rows of the saturated subscription (1,000,000)"
    )
    parser.add_argument("--rounds", type=int, default=100, help="rounds of one event for each of the others (100)")
    parser.add_argument("--database", choices=("sqlite", POSTGRES), default="sqlite", help="a fresh one (sqlite)")
    arguments = parser.parse_args()
    with fresh(arguments.database) as storage:
        figures = uvloop.run(measure(storage, arguments.rows, arguments.rounds))
    for name, value in figures.items():
        print(
            f"{name.replace('_', ' '):28} {value:>12,.2f}"
            if isinstance(value, float)
            else f"{name.replace('_', ' '):28} {value:>12,}"
        )
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
