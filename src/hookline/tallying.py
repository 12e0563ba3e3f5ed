"""Count the log for the charts: a chore that looks every few seconds, takes short steps, and holds nothing up.

What is counted the storage knows (`tally`); this file decides when, and how much at once.
"""

from typing import Final

from hookline.clock import Clock
from hookline.storage.protocol import Storage

ROWS_MAX: Final = 1_000
"""Attempts of one step, and recipients of events: where each is of another subscription, their sums hold the writer of
SQLite for 15 ms, less than a claim."""
BUSY_SECONDS: Final = 0.1
"""Of each second, for as long as there is more to count; one step in any case. Enough for some thousand attempts a
second, so that charts keep up with what one node can deliver."""
REST_SECONDS: Final = 10.0
"""Before looking again when nothing is left: each look raises counts of the cells of now, so fewer looks write less."""
FORGOTTEN_MAX: Final = 500
"""Of each sort, at a look."""


class Tallying:
    """Count, for one node."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock
        self._rests_until = float("-inf")

    async def step(self) -> None:
        """Do a moment's work; raises `Unavailable` where the database does not answer, and goes on the next time."""
        started_at = self._clock.monotonic_seconds()
        if started_at < self._rests_until:
            return
        while await self._storage.tally(ROWS_MAX):
            if self._clock.monotonic_seconds() >= started_at + BUSY_SECONDS:
                return
        self._rests_until = started_at + REST_SECONDS
        await self._storage.tally_backlog((await self._storage.backlog()).oldest_due_ms)
        await self._storage.forget_tallies(FORGOTTEN_MAX)
