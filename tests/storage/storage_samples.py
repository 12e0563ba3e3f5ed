"""What the suite for every engine shares: a clock set by hand, plain values of each noun, and a few habits."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count
from typing import Any

from msgspec.structs import replace

from hookline.fairness import Flight
from hookline.lifecycle import Retry, Succeed, Verdict
from hookline.model import (
    Company,
    DeliveryState,
    Entry,
    ErrorClass,
    PayloadVersion,
    Policies,
    Recipient,
    Subscription,
    Timings,
)
from hookline.storage.claims import AttemptRecord, Claim, Claimed, Fence, Settlement
from hookline.storage.protocol import Creation, Storage
from hookline.storage.publications import IdempotencyKey, NewDelivery, NewEvent, Publication, Published, PublishResult
from hookline.storage.views import AttemptQuery, AttemptRow, DeliveryView, EventDetail

OpenStorage = Callable[[], Awaitable[Storage]]

NOON_MS = 1_767_268_800_000
"""2026-01-01T12:00:00Z."""
DAY_MS = 86_400_000
LEASE_MS = 45_000
NOTE = "note.created"

_numbers = count(1)


class HandClock:
    """A clock that stands still until it is moved; wall and schedule agree unless `skew_ms` sets them apart."""

    def __init__(self, now: int = NOON_MS) -> None:
        self.now = now
        self.skew_ms = 0

    def wall_ms(self) -> int:
        return self.now + self.skew_ms

    def schedule_ms(self) -> int:
        return self.now

    def monotonic_seconds(self) -> float:
        return self.now / 1000


# --- companies and subscriptions -------------------------------------------------------------------------------------


def a_company(company_id: int = 101) -> Company:
    return Company(id=company_id, name=f"Company {company_id}", created_at=NOON_MS)


def a_subscription(subscription_id: int = 1001, company_id: int = 101, **changes: Any) -> Subscription:
    """A subscription as the API would store it; `max_in_flight` stands for policies of that width."""
    if (max_in_flight := changes.pop("max_in_flight", None)) is not None:
        changes["policies"] = Policies(max_in_flight=max_in_flight)
    plain = Subscription(
        id=subscription_id,
        company_id=company_id,
        revision=1,
        callback_url=f"https://receiver-{subscription_id}.example.com/in",
        event_types=None,
        payload_version=PayloadVersion.V1,
        policies=Policies(),
        secrets=(),
        created_at=NOON_MS,
        updated_at=NOON_MS,
    )
    return replace(plain, **changes)


async def populate(storage: Storage, subscriptions: Mapping[int, Sequence[int]], **changes: Any) -> None:
    """Make companies with the subscriptions they own, by id."""
    for company_id, its_own in subscriptions.items():
        assert await storage.create_company(a_company(company_id)) is Creation.CREATED
        for subscription_id in its_own:
            await create(storage, a_subscription(subscription_id, company_id, **changes))


async def create(storage: Storage, subscription: Subscription) -> None:
    assert await storage.create_subscription(subscription, 10_000) is Creation.CREATED


async def change(storage: Storage, subscription_id: int, *, lift_hold: bool = False, **changes: Any) -> Subscription:
    """Read, change, store; return what is stored now."""
    stored = await storage.subscription(subscription_id)
    assert stored
    changed = replace(stored, revision=stored.revision + 1, **changes)
    assert await storage.replace_subscription(changed, lift_hold=lift_hold)
    return changed


async def deactivate(storage: Storage, subscription_id: int, at: int = NOON_MS) -> None:
    await change(storage, subscription_id, active=False, inactive_reason="requested", inactive_at=at)


async def reactivate(storage: Storage, subscription_id: int) -> None:
    await change(storage, subscription_id, lift_hold=True, active=True, inactive_reason=None, inactive_at=None)


# --- publishing ------------------------------------------------------------------------------------------------------


def new_id() -> str:
    """The id of an event as we make it."""
    return f"evt_{next(_numbers):020d}"


async def an_event(
    storage: Storage,
    deliveries: Mapping[int, Sequence[int]],
    *,
    event_id: str | None = None,
    event_type: str = NOTE,
    data: bytes = b"{}",
    entries: tuple[Entry, ...] = (),
    occurred_at: int | None = None,
) -> NewEvent:
    """An event for these companies with deliveries to these subscriptions, matched under what is stored now.

    With an `event_id` it has the publisher's own id.
    """
    routes = await storage.routes(list(deliveries))
    return NewEvent(
        id=event_id or new_id(),
        event_type=event_type,
        data=data,
        occurred_at=occurred_at,
        fingerprint=digest(data) if event_id else None,
        recipients=tuple(
            Recipient(company_id=company_id, company_revision=routes[company_id].revision, entries=entries)
            for company_id in deliveries
        ),
        deliveries=tuple(
            NewDelivery(
                subscription_id=subscription_id,
                company_id=company_id,
                payload_version=PayloadVersion.V1,
                type_name=event_type,
            )
            for company_id, its_own in deliveries.items()
            for subscription_id in its_own
        ),
    )


async def a_publication(
    storage: Storage, *events: NewEvent, key: str | None = None, request: bytes = b""
) -> Publication:
    """A request to publish these; with a header key, `request` stands for its bytes."""
    return Publication(
        events=events,
        catalogue_revision=(await storage.catalogue()).revision,
        key=None if key is None else IdempotencyKey(key=key, fingerprint=digest(request), lives_ms=60_000),
    )


async def publish(
    storage: Storage, deliveries: Mapping[int, Sequence[int]] | None = None, **event: Any
) -> PublishResult:
    """Publish one event, by default for subscription 1001 of company 101."""
    new_event = await an_event(storage, deliveries or {101: [1001]}, **event)
    return await storage.publish(await a_publication(storage, new_event))


async def published(storage: Storage, deliveries: Mapping[int, Sequence[int]] | None = None, **event: Any) -> str:
    """Publish one event and return its id."""
    result = await publish(storage, deliveries, **event)
    assert isinstance(result, Published)
    return result.events[0].id


def digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


# --- delivering ------------------------------------------------------------------------------------------------------


def a_flight(**changes: Any) -> Flight:
    """A node with nothing in flight."""
    empty = Flight(
        capacity=1000,
        host_capacity=200,
        total=0,
        by_subscription={},
        by_company={},
        by_host={},
        by_company_at_host={},
    )
    return replace(empty, **changes)


async def claim(storage: Storage, rows_max: int = 100, **changes: Any) -> Claim:
    asked: dict[str, Any] = {"flight": a_flight(), "body_bytes_max": 1 << 25, "lease_ms": LEASE_MS, "known": {}}
    return await storage.claim_due(rows_max=rows_max, **(asked | changes))


async def claim_one(storage: Storage) -> Claimed:
    (claimed,) = (await claim(storage)).deliveries
    return claimed


def fence_of(claimed: Claimed) -> Fence:
    return Fence(
        delivery_id=claimed.id,
        subscription_id=claimed.subscription_id,
        company_id=claimed.company_id,
        attempt=claimed.attempt,
    )


def a_settlement(claimed: Claimed, verdict: Verdict | None = None, **changes: Any) -> Settlement:
    """A success, or what a 503 came to."""
    is_success = verdict is None or isinstance(verdict, Succeed)
    return replace(
        Settlement(
            fence=fence_of(claimed),
            subscription_revision=claimed.subscription_revision,
            verdict=verdict or Succeed(),
            record=AttemptRecord(
                http_status=200 if is_success else 503,
                error=None if is_success else ErrorClass.STATUS,
                detail=None,
                duration_ms=5,
                timings=Timings(connect_ms=1, wait_ms=4),
                request_head=b"POST /in HTTP/1.1\r\n\r\n",
                response_head=b"HTTP/1.1 200 OK\r\n\r\n" if is_success else b"HTTP/1.1 503 Busy\r\n\r\n",
                response_body=b"ok" if is_success else b"",
            ),
            answered=True,
            timed_out=False,
        ),
        **changes,
    )


async def settle(storage: Storage, claimed: Claimed, verdict: Verdict | None = None, **changes: Any) -> bool:
    (is_settled,) = await storage.settle([a_settlement(claimed, verdict, **changes)])
    return is_settled


async def attempt(storage: Storage, wait_ms: int | None = None) -> Claimed:
    """Make the one attempt that is due: a success, or a failure to be tried again after `wait_ms`."""
    claimed = await claim_one(storage)
    assert await settle(storage, claimed, None if wait_ms is None else Retry(wait_ms))
    return claimed


# --- reading ---------------------------------------------------------------------------------------------------------


async def delivery_of(storage: Storage, claimed: Claimed) -> DeliveryView:
    view = await storage.delivery(claimed.subscription_id, claimed.id)
    assert view
    return view


async def log_of(storage: Storage, subscription_id: int = 1001) -> tuple[AttemptRow, ...]:
    """The subscription's log, oldest first."""
    query = AttemptQuery(subscription_id=subscription_id, page=0, size=200)
    return (await storage.page_of_attempts(query)).rows[::-1]


async def event_of(storage: Storage, event_id: str, company_id: int | None = None, **changes: Any) -> EventDetail:
    asked: dict[str, Any] = {"after_id": 0, "limit": 100, "attempts_max": 20}
    detail = await storage.event(event_id, company_id=company_id, **(asked | changes))
    assert detail
    return detail


async def states_of(storage: Storage, event_id: str) -> dict[int, DeliveryState]:
    """The states of an event's deliveries, by subscription."""
    return {view.subscription_id: view.state for view in (await event_of(storage, event_id)).deliveries}
