"""How often something may fail before it must wait: a sliding window for each key, in bounded memory. Pure."""

from collections import deque
from collections.abc import Hashable
from math import ceil
from typing import Final

KEYS_MAX: Final = 10_000
"""Keys remembered, about 1 KB each; past it the one that failed longest ago is forgotten."""


class Failures:
    """Failures of the last `window_seconds`, of which `failures_max` are borne. Instants are monotonic seconds."""

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
