"""How often something may fail, or be done, before it must wait: for each key, in bounded memory. Pure.

Instants are monotonic seconds.
"""

from collections import deque
from collections.abc import Hashable
from math import ceil
from typing import Final

KEYS_MAX: Final = 10_000
"""Keys remembered, about 1 KB each; past it the one that failed longest ago is forgotten."""
TICK_SECONDS: Final = 1e-6
"""Closer than that two instants are the same: sums of fractions are not exact."""


class Failures:
    """Failures of the last `window_seconds`, of which `failures_max` are borne."""

    def __init__(self, failures_max: int, window_seconds: float, keys_max: int = KEYS_MAX) -> None:
        self._failures_max = failures_max
        self._window_seconds = window_seconds
        self._keys_max = keys_max
        self._failed_at: dict[Hashable, deque[float]] = {}

    def wait_seconds(self, key: Hashable, now: float) -> int:
        """Return for how many whole seconds nothing more is to be tried under this key; 0: go on."""
        failed_at = self._failed_at.get(key)
        if failed_at is None or len(failed_at) < self._failures_max:
            return 0
        return max(0, ceil(failed_at[0] + self._window_seconds - now))

    def note(self, key: Hashable, now: float) -> None:
        """Count a failure."""
        failed_at = self._failed_at.pop(key, None) or deque(maxlen=self._failures_max)
        if len(self._failed_at) >= self._keys_max:
            del self._failed_at[next(iter(self._failed_at))]
        failed_at.append(now)
        self._failed_at[key] = failed_at


class Rates:
    """So many a second under each key, as many at once after a pause: the generic cell rate algorithm (ITU-T I.371)."""

    def __init__(self, per_second: int, keys_max: int = KEYS_MAX) -> None:
        self._interval = 1 / per_second
        self._burst_seconds = 1 - self._interval
        self._keys_max = keys_max
        self._due_at: dict[Hashable, float] = {}
        """When the next would come if they all came evenly."""

    def wait_seconds(self, key: Hashable, now: float) -> float:
        """Return for how long no turn can be taken; 0: one is free."""
        wait_seconds = self._due_at.get(key, now) - now - self._burst_seconds
        return 0 if wait_seconds <= TICK_SECONDS else wait_seconds

    def take(self, key: Hashable, now: float, count: int = 1) -> float:
        """Take a turn and return 0, or take none and return the seconds to wait for one.

        A turn may be several at once, however many are free: whoever comes next waits the longer.
        """
        wait_seconds = self.wait_seconds(key, now)
        due_at = max(self._due_at.pop(key, now), now)
        if len(self._due_at) >= self._keys_max:
            del self._due_at[next(iter(self._due_at))]
        self._due_at[key] = due_at if wait_seconds else due_at + self._interval * count
        return wait_seconds
