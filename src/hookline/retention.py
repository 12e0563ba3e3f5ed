"""How long things are kept: a few short steps of forgetting a second, so that nobody who waits for the disk notices.

What has had its time the storage knows (`expire_held`, `forget`); this file decides when, and how much at once.
"""

import logging
from typing import Final

from hookline.clock import Clock
from hookline.storage.protocol import Storage

log = logging.getLogger("hookline.retention")

DAY_MS: Final = 86_400_000
ROWS_MAX: Final = 250
"""Of each sort in one step: about 3 ms of work and one commit. More and smaller steps would cost more commits, and for
commits publishers wait."""
BUSY_SECONDS: Final = 0.02
"""Of each second, for as long as there is more to forget; one step in any case."""
REST_SECONDS: Final = 600.0
"""Before looking again when nothing is left: what is kept by days need not go to the minute."""


class Retention:
    """Forget, for one node. `days` is the installation's retention; a company may have one of its own."""

    def __init__(self, storage: Storage, clock: Clock, days: int) -> None:
        self._storage = storage
        self._clock = clock
        self._retention_ms = days * DAY_MS
        self._rests_until = float("-inf")

    @property
    def is_busy(self) -> bool:
        """Whether the last step left something to do, or none was made yet."""
        return self._clock.monotonic_seconds() >= self._rests_until

    async def step(self) -> None:
        """Do a moment's work; raises `Unavailable` where the database does not answer, and goes on the next time."""
        started_at = self._clock.monotonic_seconds()
        if started_at < self._rests_until:
            return
        while await self._forget_some():
            if self._clock.monotonic_seconds() >= started_at + BUSY_SECONDS:
                return
        self._rests_until = started_at + REST_SECONDS

    async def _forget_some(self) -> bool:
        """Make one step; tell whether there is more to do."""
        expired = await self._storage.expire_held(self._retention_ms, ROWS_MAX)
        if expired:
            log.warning(
                "%d deliveries were held for longer than the retention and are dead now, reason expired", expired
            )
        return expired > 0 or await self._storage.forget(self._retention_ms, ROWS_MAX)
