"""How much a company may be sent and may have stored, where the operator sets a limit; without one nothing is asked.

A rate counts what passes this node. What is stored is measured in the database now and then, and what is published
through this node in between is added: through others a company may get a little past its limit.
"""

import asyncio
import logging
from collections.abc import Mapping
from math import ceil
from typing import Final, NamedTuple

from msgspec import Struct

from hookline.clock import Clock
from hookline.config import Settings
from hookline.errors import TooManyRequests, Unavailable
from hookline.storage.protocol import Storage
from hookline.throttling import KEYS_MAX, Rates

log = logging.getLogger("hookline.quotas")

MEASURED_SECONDS: Final = 60.0
"""So long a measurement counts."""
REST_FACTOR: Final = 50
"""And at least so many times as long as it took: measuring is never more than 2 % of a database's day."""


class Asked(NamedTuple):
    """What a request wants to publish to one company."""

    events: int
    data_bytes: int


class _Stored(Struct):
    """What a company has stored, as far as this node knows."""

    data_bytes: int
    until: float
    """When it is to be measured again."""


class Quotas:
    """Judge what is published through one node; None for either means no limit."""

    def __init__(
        self, *, storage: Storage, clock: Clock, events_per_second: int | None, stored_bytes: int | None
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._events_per_second = events_per_second
        self._rates = None if events_per_second is None else Rates(events_per_second)
        self._stored_bytes = stored_bytes
        self._stored: dict[int, _Stored] = {}
        self._measuring: dict[int, asyncio.Task[None]] = {}

    async def refusal(self, asked: Mapping[int, Asked]) -> TooManyRequests | None:
        """Return why this may not be published now, by company, or count it as published and return None."""
        if self._stored_bytes is not None:
            await self._look(asked)
        now = self._clock.monotonic_seconds()
        for company_id, ask in asked.items():
            if refusal := self._too_fast(company_id, now) or self._too_much(company_id, ask, now):
                return refusal
        for company_id, ask in asked.items():
            if self._rates:
                self._rates.take(company_id, now, ask.events)
            if company_id in self._stored:
                self._stored[company_id].data_bytes += ask.data_bytes
        return None

    def _too_fast(self, company_id: int, now: float) -> TooManyRequests | None:
        seconds = ceil(self._rates.wait_seconds(company_id, now)) if self._rates else 0
        if not seconds:
            return None
        return TooManyRequests(
            f"Company {company_id} is sent more than {self._events_per_second} events a second "
            f"(HOOKLINE_QUOTA_EVENTS_PER_SECOND). Nothing was stored: wait {seconds} s, and publish more slowly.",
            seconds,
        )

    def _too_much(self, company_id: int, ask: Asked, now: float) -> TooManyRequests | None:
        stored = self._stored.get(company_id)
        if stored is None or self._stored_bytes is None or stored.data_bytes + ask.data_bytes <= self._stored_bytes:
            return None
        return TooManyRequests(
            f"Company {company_id} has {stored.data_bytes:,} bytes of events stored and may have "
            f"{self._stored_bytes:,} (HOOKLINE_QUOTA_STORED_BYTES). Nothing was stored. Raise the quota, keep its "
            f'events for fewer days (PATCH /v1/companies/{company_id} {{"retentionDays": …}}), or erase some.',
            max(1, ceil(stored.until - now)),
        )

    async def _look(self, asked: Mapping[int, Asked]) -> None:
        """Have measurements at hand; wait only for the first, and before an old one leads to a refusal."""
        now = self._clock.monotonic_seconds()
        needed = []
        for company_id, ask in asked.items():
            stored = self._stored.get(company_id)
            if stored is None or stored.until <= now:
                task = self._measuring.get(company_id) or asyncio.create_task(self._measure(company_id))
                self._measuring[company_id] = task
                if stored is None or self._too_much(company_id, ask, now):
                    needed.append(task)
        for task in needed:
            await asyncio.shield(task)

    async def _measure(self, company_id: int) -> None:
        """Measure, or go on with what is known: a quota must not stop publishing when the database is slow."""
        began = self._clock.monotonic_seconds()
        try:
            data_bytes = await self._storage.stored_bytes(company_id)
        except Unavailable as error:
            log.warning("company %d: stored bytes cannot be measured: %s", company_id, error)
            data_bytes = self._stored[company_id].data_bytes if company_id in self._stored else 0
        finally:
            del self._measuring[company_id]
        ended = self._clock.monotonic_seconds()
        if len(self._stored) >= KEYS_MAX and company_id not in self._stored:
            del self._stored[next(iter(self._stored))]
        self._stored[company_id] = _Stored(data_bytes, ended + max(MEASURED_SECONDS, (ended - began) * REST_FACTOR))


def quotas_of(settings: Settings, storage: Storage, clock: Clock) -> Quotas | None:
    """Return what judges by these settings; None where they limit nothing."""
    if settings.quota_events_per_second is None and settings.quota_stored_bytes is None:
        return None
    return Quotas(
        storage=storage,
        clock=clock,
        events_per_second=settings.quota_events_per_second,
        stored_bytes=settings.quota_stored_bytes,
    )
