"""What the SQLite tests share: a clock set by hand, a storage that runs inline, and plain values of each noun."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from hookline.fairness import Flight
from hookline.lifecycle import Succeed, Verdict
from hookline.model import Company, PayloadVersion, Policies, Recipient, Subscription, Timings
from hookline.storage.claims import AttemptRecord, Claim, Claimed, Fence, Settlement
from hookline.storage.publications import IdempotencyKey, NewDelivery, NewEvent, Publication
from hookline.storage.sqlite import SqliteStorage
from hookline.storage.sqlite.committing import Committer
from hookline.storage.sqlite.readers import InlineReaders
from hookline.storage.sqlite.writer import InlineWriter

Result = TypeVar("Result")

NOON_MS = 1_767_268_800_000
"""2026-01-01T12:00:00Z."""
LEASE_MS = 45_000


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: int = NOON_MS) -> None:
        self.now = now

    def wall_ms(self) -> int:
        return self.now

    def schedule_ms(self) -> int:
        return self.now

    def monotonic_seconds(self) -> float:
        return self.now / 1000


def run(scenario: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    return asyncio.run(scenario())


@asynccontextmanager
async def inline_storage(path: Path, clock: HandClock | None = None) -> AsyncIterator[SqliteStorage]:
    storage = SqliteStorage(str(path), clock=clock or HandClock(), writer=InlineWriter, readers=InlineReaders)
    await storage.open()
    try:
        yield storage
    finally:
        await storage.close()


def committer_of(storage: SqliteStorage) -> Committer:
    """The object that owns the writing connection, for tests that group requests themselves."""
    writer: Any = storage._writer
    committer: Committer = writer._committer
    return committer


async def populate(
    storage: SqliteStorage, *, companies: int = 1, subscriptions: int = 1, max_in_flight: int = 10
) -> None:
    """Make companies 101, 102 … with subscriptions 1001, 1002 … in turn."""
    for number in range(companies):
        await storage.create_company(Company(id=101 + number, name=f"Company {number}", created_at=NOON_MS))
    for number in range(subscriptions):
        await storage.create_subscription(
            subscription(1001 + number, company_id=101 + number % companies, max_in_flight=max_in_flight), 10_000
        )


def subscription(subscription_id: int = 1001, company_id: int = 101, *, max_in_flight: int = 10) -> Subscription:
    return Subscription(
        id=subscription_id,
        company_id=company_id,
        revision=1,
        callback_url=f"https://receiver-{subscription_id}.example.com/in",
        event_types=None,
        payload_version=PayloadVersion.V1,
        policies=Policies(max_in_flight=max_in_flight),
        secrets=(),
        created_at=NOON_MS,
        updated_at=NOON_MS,
    )


async def publication(
    storage: SqliteStorage,
    event_id: str,
    subscription_ids: Sequence[int] = (1001,),
    *,
    company_id: int = 101,
    data: bytes = b"{}",
    key: str | None = None,
) -> Publication:
    """One event of ours for one company, matched under what is stored now."""
    routes = (await storage.routes([company_id]))[company_id]
    new_event = NewEvent(
        id=event_id,
        event_type="note.created",
        data=data,
        occurred_at=None,
        fingerprint=None,
        recipients=(Recipient(company_id=company_id, company_revision=routes.revision),),
        deliveries=tuple(
            NewDelivery(
                subscription_id=subscription_id,
                company_id=company_id,
                payload_version=PayloadVersion.V1,
                type_name="note.created",
            )
            for subscription_id in subscription_ids
        ),
    )
    return Publication(
        events=(new_event,),
        catalogue_revision=(await storage.catalogue()).revision,
        key=None if key is None else _key(key, data),
    )


def _key(key: str, data: bytes) -> IdempotencyKey:
    return IdempotencyKey(key=key, fingerprint=hashlib.sha256(data).digest(), lives_ms=60_000)


async def claim(
    storage: SqliteStorage,
    rows_max: int = 100,
    *,
    body_bytes_max: int = 1 << 25,
    flight: Flight | None = None,
    known: Mapping[int, int] | None = None,
) -> Claim:
    return await storage.claim_due(
        flight=flight or empty_flight(),
        rows_max=rows_max,
        body_bytes_max=body_bytes_max,
        lease_ms=LEASE_MS,
        known=known or {},
    )


def empty_flight() -> Flight:
    return Flight(
        capacity=1000,
        host_capacity=200,
        total=0,
        by_subscription={},
        by_company={},
        by_host={},
        by_company_at_host={},
    )


def settlement(claimed: Claimed, verdict: Verdict | None = None, *, status: int = 200) -> Settlement:
    return Settlement(
        fence=Fence(
            delivery_id=claimed.id,
            subscription_id=claimed.subscription_id,
            company_id=claimed.company_id,
            attempt=claimed.attempt,
        ),
        subscription_revision=claimed.subscription_revision,
        verdict=Succeed() if verdict is None else verdict,
        record=AttemptRecord(
            http_status=status,
            error=None,
            detail=None,
            duration_ms=5,
            timings=Timings(wait_ms=4),
            request_head=b"POST /in HTTP/1.1\r\n\r\n",
            response_head=b"HTTP/1.1 200 OK\r\n\r\n",
            response_body=b"ok",
        ),
        answered=True,
        timed_out=False,
    )
