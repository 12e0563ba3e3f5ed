"""Notice that the database's clock has jumped, by comparing it with this process's own passing of time.

Due times and leases count on that clock. After a jump forward every attempt in flight looks lost, so for one lease
nothing is claimed: what is in flight ends meanwhile. Then things go on by the new clock.
"""

import logging
from collections.abc import Callable
from typing import Final

log = logging.getLogger("hookline.storage")

JUMP_MS_MIN: Final = 5_000
"""Less is drift, or a clock being put right; and a lease that is so much shorter still outlasts its attempt."""


class Jumps:
    """Watches the clock over the readings of one node."""

    def __init__(self, monotonic_seconds: Callable[[], float]) -> None:
        self._monotonic_seconds = monotonic_seconds
        self._lead_ms: tuple[float, float] | None = None
        """Between what the clock's lead over our own time was at the last reading."""
        self._quiet_until = float("-inf")

    def now_seconds(self) -> float:
        """Return our own time: to be asked for before the clock is read."""
        return self._monotonic_seconds()

    def note(self, now: int, asked_at: float, lease_ms: int) -> int:
        """Note a reading that was asked for then; return for how many milliseconds nothing may be claimed."""
        answered_at = self._monotonic_seconds()
        # The clock was read at some moment between the two: a slow answer is no jump.
        lead = (now - answered_at * 1000, now - asked_at * 1000)
        before, self._lead_ms = self._lead_ms or lead, lead
        jump_ms = max(lead[0] - before[1], before[0] - lead[1])
        if jump_ms > JUMP_MS_MIN:
            direction = "forward" if lead[0] > before[1] else "back"
            log.error(
                "the database's clock jumped %s by %.1f s or more; nothing is claimed for one lease, %d s",
                direction,
                jump_ms / 1000,
                lease_ms // 1000,
            )
            self._quiet_until = answered_at + lease_ms / 1000
        return round(max(0.0, self._quiet_until - answered_at) * 1000)
