"""A small world on virtual time: one database, companies and subscriptions in it, receivers that follow a script.

Everything is the real code but for the network (`Receivers` stands where `egress.sender` dials) and the time.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from pathlib import Path
from random import Random

from msgspec import Struct

from hookline import credentials
from hookline.dispatch import Targets
from hookline.egress.sender import Call
from hookline.egress.url import UrlRules
from hookline.engine import Engine, Limits
from hookline.model import (
    Answered,
    Company,
    Failed,
    Outcome,
    PayloadVersion,
    Policies,
    Recipient,
    Secret,
    Subscription,
    Timings,
)
from hookline.sealing import Keyring
from hookline.signing import new_secret
from hookline.storage.protocol import Creation, Storage
from hookline.storage.publications import NewDelivery, NewEvent, Publication, Published
from hookline.storage.sqlite import SqliteStorage
from hookline.storage.sqlite.readers import InlineReaders
from hookline.storage.sqlite.writer import InlineWriter
from hookline.storage.views import AttemptQuery, AttemptRow, DeliveryView
from hookline.telemetry import Telemetry
from simulation.virtual import VirtualClock

KEYRING = Keyring([bytes(range(32))])
LEASE_MS = 45_000


class Arrival(Struct, frozen=True, kw_only=True):
    """One request as a receiver saw it."""

    at: float
    """Virtual seconds."""
    attempt: int
    event_id: str
    body: bytes


Script = Callable[[Call, int], Awaitable[Outcome]]
"""What a receiver does with a call; the number counts its calls from 0."""


def answered(status: int, retry_after: str | None = None) -> Answered:
    """A complete response head."""
    head = f"HTTP/1.1 {status} -".encode()
    return Answered(status=status, duration_ms=1, timings=Timings(), head=head, body=b"", retry_after=retry_after)


def statuses(*codes: int) -> Script:
    """Answer with these, one a call, the last one for ever."""

    async def script(_call: Call, number: int) -> Outcome:
        return answered(codes[min(number, len(codes) - 1)])

    return script


class Receivers:
    """The other side, by path of the callback URL."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.scripts: dict[str, Script] = {}
        self.arrivals: dict[str, list[Arrival]] = defaultdict(list)
        self.under_way = 0

    async def send(self, call: Call) -> Outcome:
        """Stand in for the network."""
        arrivals, headers = self.arrivals[call.url.target], dict(call.headers)
        number = len(arrivals)
        arrivals.append(
            Arrival(
                at=self._clock.monotonic_seconds(),
                attempt=int(headers["Hookline-Attempt"]),
                event_id=headers["webhook-id"],
                body=call.body,
            )
        )
        self.under_way += 1
        try:
            return await self.scripts.get(call.url.target, statuses(200))(call, number)
        finally:
            self.under_way -= 1


class World:
    """One database and its surroundings."""

    def __init__(self, folder: Path, clock: VirtualClock, seed: int = 1) -> None:
        self.clock = clock
        self.random = Random(seed)
        self.path = str(folder / "world.db")
        self.storage: Storage = self._storage()
        self.receivers = Receivers(clock)
        self._ids = iter(range(1000, 2**31))

    def _storage(self) -> SqliteStorage:
        return SqliteStorage(self.path, clock=self.clock, writer=InlineWriter, readers=InlineReaders)

    async def open(self) -> None:
        await self.storage.open()

    async def reopen(self) -> None:
        """Let the process die and another begin on the same file."""
        await self.storage.close()
        self.storage = self._storage()
        await self.storage.open()

    def engine(self, storage: Storage | None = None, keyring: Keyring = KEYRING, **limits: int) -> Engine:
        """Make an engine as wiring does."""
        return Engine(
            storage=storage or self.storage,
            sender=self.receivers,
            targets=Targets(
                keyring=keyring,
                rules=UrlRules(),
                retry_delays_seconds=(10, 60, 300),
                timeout_seconds_max=30,
            ),
            clock=self.clock,
            random=self.random,
            limits=Limits(**({"max_in_flight": 100, "host_max_in_flight": 50, "lease_ms": LEASE_MS} | limits)),
            telemetry=Telemetry(clock=self.clock),
        )

    async def company(self) -> int:
        company_id = next(self._ids)
        company = Company(id=company_id, name=f"company {company_id}", created_at=self.clock.wall_ms())
        assert await self.storage.create_company(company) is Creation.CREATED
        return company_id

    async def subscription(
        self, company_id: int, path: str, policies: Policies | None = None, *, host: str | None = None
    ) -> Subscription:
        """Make a subscription with a host of its own, or at one that others share."""
        own_host = f"receiver{path.replace('/', '-')}.example.com"
        subscription_id = next(self._ids)
        secret = new_secret(self.random.randbytes(32))
        now = self.clock.wall_ms()
        subscription = Subscription(
            id=subscription_id,
            company_id=company_id,
            revision=1,
            callback_url=f"https://{host or own_host}{path}",
            event_types=None,
            payload_version=PayloadVersion.V1,
            policies=policies or Policies(),
            secrets=(Secret(sealed=credentials.seal_secret(subscription_id, secret, KEYRING), created_at=now),),
            created_at=now,
            updated_at=now,
        )
        assert await self.storage.create_subscription(subscription, 100) is Creation.CREATED
        return subscription

    async def publish(self, event_id: str, subscriptions: Mapping[int, Subscription] | list[Subscription]) -> str:
        """Publish one event for all of these subscriptions, as `publishing` would have matched it."""
        chosen = list(subscriptions.values()) if isinstance(subscriptions, Mapping) else subscriptions
        companies = sorted({subscription.company_id for subscription in chosen})
        routes = await self.storage.routes(companies)
        catalogue = await self.storage.catalogue()
        event = NewEvent(
            id=event_id,
            event_type="note.created",
            data=b'{"note":1.10}',
            occurred_at=None,
            fingerprint=sha256(event_id.encode()).digest(),
            recipients=tuple(
                Recipient(company_id=company_id, company_revision=routes[company_id].revision)
                for company_id in companies
            ),
            deliveries=tuple(
                NewDelivery(
                    subscription_id=subscription.id,
                    company_id=subscription.company_id,
                    payload_version=subscription.payload_version,
                    type_name="note.created",
                )
                for subscription in chosen
            ),
        )
        result = await self.storage.publish(Publication(events=(event,), catalogue_revision=catalogue.revision))
        assert isinstance(result, Published)
        return event_id

    async def deliveries(self, event_id: str) -> tuple[DeliveryView, ...]:
        detail = await self.storage.event(event_id, company_id=None, after_id=0, limit=200, attempts_max=50)
        assert detail is not None
        return detail.deliveries

    async def log(self, subscription: Subscription) -> tuple[AttemptRow, ...]:
        """The whole log of a subscription, oldest first."""
        page = await self.storage.page_of_attempts(AttemptQuery(subscription_id=subscription.id, page=0, size=200))
        return tuple(reversed(page.rows))


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 3600.0) -> None:
    """Let virtual time pass until the condition holds."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # virtual: any condition may be asked for, and looking again costs nothing


__all__ = ["Arrival", "Failed", "Receivers", "World", "answered", "statuses", "until"]
