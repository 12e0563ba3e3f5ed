"""How quickly a lane may start attempts, judged by its claims alone: of the instant that the product keeps, nothing."""

from dataclasses import dataclass, field
from typing import Final

BURST_SHARE: Final = 0.1
"""Of a second's attempts: so much may start at once."""


@dataclass(slots=True)
class Pace:
    """The rate of a lane, and what started under it."""

    per_second: float | None = None
    starts: list[int] = field(default_factory=list)
    """When each attempt was claimed, since the rate is what it is."""

    def set_rate(self, per_second: float | None) -> None:
        """Take a rate; what started under another says nothing about this one."""
        if per_second != self.per_second:
            self.per_second = per_second
            self.starts = []

    def start(self, count: int, now: int) -> None:
        """Note attempts that start now."""
        if self.per_second is not None:
            self.starts += [now] * count

    @property
    def excess(self) -> str | None:
        """Say by what the last attempts are too many; None where they are not."""
        if self.per_second is None or not self.starts:
            return None
        now, window_ms = self.starts[-1], max(1_000.0, 1_000 / self.per_second)
        within = sum(at > now - window_ms for at in self.starts)
        if within > max(1, self.per_second * window_ms / 1_000):
            return f"{within} attempts within {window_ms} ms at {self.per_second} a second"
        for index, at in enumerate(self.starts):
            since, earned = len(self.starts) - index, (now - at) * self.per_second / 1_000
            if since > max(1, int(self.per_second * BURST_SHARE)) + earned:
                return f"{since} attempts within {now - at} ms at {self.per_second} a second"
        return None

    def latest_start(self) -> float:
        """Return when the next attempt may start at the latest, by what started before."""
        if self.per_second is None or not self.starts:
            return 0.0
        return self.starts[-1] + 1_000 / (self.per_second * (1 - BURST_SHARE)) + 1

    def is_free(self, now: int) -> bool:
        """Tell whether an attempt may certainly start now."""
        return now >= self.latest_start()
