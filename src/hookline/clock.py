"""The only module that reads the time.

Three readings, never mixed up:

* `wall_ms`: what is signed, shown or compared with the outside (`webhook-timestamp`, `createdAt`, `expiresAt`).
* `schedule_ms`: what due times and leases run on. It starts at the wall clock and advances with the time since
  boot, suspended time included, so a jump of the wall clock sends nothing early; it drifts back to the wall clock by
  at most one percent.
* `monotonic_seconds`: spans inside one process (deadlines, windows).
"""

import threading
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, Protocol

DRIFT_SHARE_MAX = 0.01
"""A wall clock that was set is followed at 1 %: a jump of an hour takes four days, and no wait shrinks by more."""


TICK_MS = 1


class Clock(Protocol):
    """Time as an argument: the system's, or a simulation's."""

    def wall_ms(self) -> int:
        """Return the wall clock in milliseconds since the Unix epoch."""
        ...

    def schedule_ms(self) -> int:
        """Return the clock of due times, in milliseconds since the Unix epoch; it never goes back."""
        ...

    def monotonic_seconds(self) -> float:
        """Return seconds since an arbitrary point of this process."""
        ...


def calendars(clock: Clock) -> tuple[int, int]:
    """Read `schedule_ms` and `wall_ms` as of one moment: one number, unless the wall clock was set.

    Read one after the other they often differ by the tick between them, and a due time shown by the one would differ
    from the same instant shown by the other.
    """
    schedule, wall = clock.schedule_ms(), clock.wall_ms()
    return (schedule, schedule) if abs(wall - schedule) <= TICK_MS else (schedule, wall)


class SystemClock:
    """The machine's clocks. Any thread may read them."""

    def __init__(self) -> None:
        self._schedule_at = float(time.time_ns() // 1_000_000)
        self._boot_at = _boot_ms()
        self._lock = threading.Lock()
        """Two threads that advanced at once would count the same span twice, and send early."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def schedule_ms(self) -> int:
        with self._lock:
            boot = _boot_ms()
            passed = boot - self._boot_at
            if passed > 0:
                offset = self.wall_ms() - (self._schedule_at + passed)
                drift_max = passed * DRIFT_SHARE_MAX
                self._schedule_at += passed + max(-drift_max, min(drift_max, offset))
                self._boot_at = boot
            return int(self._schedule_at)

    def monotonic_seconds(self) -> float:
        return time.monotonic()


def _boot_ms() -> float:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) / 1_000_000


def rfc3339(instant_ms: int) -> str:
    """Render an instant as RFC 3339 UTC with milliseconds, ending in `Z`."""
    seconds, milliseconds = divmod(instant_ms, 1000)
    return f"{_to_the_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=256)
def _to_the_second(seconds: int) -> str:
    """Nearly all that is shown at one time is of the same few seconds: 0.3 µs for an instant instead of 1.2."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)


def milliseconds(moment: datetime) -> int:
    """Turn an aware datetime into our instants, the inverse of `rfc3339`; raise `ValueError` outside 1970 to 9999."""
    if not _EPOCH <= moment <= _LATEST:
        raise ValueError("expected an instant of the years 1970 to 9999")
    return (moment - _EPOCH) // timedelta(milliseconds=1)
