"""Whether this node can make an event durable now: what `/readyz` tells load balancers."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from hookline.clock import Clock
from hookline.errors import Unavailable
from hookline.storage.protocol import Storage

log = logging.getLogger("hookline.api")

FRESH_SECONDS: Final = 1.0
"""An answer is used so long: however many ask, the database sees one tiny write a second."""
PROBE_SECONDS_MAX: Final = 5.0
"""A database that takes longer to confirm one tiny write is not ready; load balancers rarely wait longer either."""


class Readiness:
    """Probe the storage at most once a second. `is_draining` is asked each time: leaving is not cached."""

    def __init__(self, storage: Storage, clock: Clock, is_draining: Callable[[], bool]) -> None:
        self._storage = storage
        self._clock = clock
        self.is_draining = is_draining
        self._probe: asyncio.Task[str | None] | None = None
        self._fresh_until = 0.0

    async def why_not(self) -> str | None:
        """Return why this node should get no requests, in one sentence; None where it should."""
        if self.is_draining():
            return "This node is ending: it finishes what it has and takes nothing new."
        if self._probe is None or (self._probe.done() and self._clock.monotonic_seconds() >= self._fresh_until):
            self._probe = asyncio.create_task(self._ask())
        return await asyncio.shield(self._probe)

    async def _ask(self) -> str | None:
        try:
            async with asyncio.timeout(PROBE_SECONDS_MAX):
                await self._storage.probe()
        except (Unavailable, TimeoutError) as error:
            log.warning("not ready: the database did not confirm a write: %s", error)
            return "The database did not confirm a write."
        finally:
            self._fresh_until = self._clock.monotonic_seconds() + FRESH_SECONDS
        return None
