"""The circuit of a subscription and its end, told anew from section 5.2 of the contract."""

from dataclasses import dataclass
from typing import Final

DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Circuit:
    """What a run is played by: with the real numbers hardly a circuit would open."""

    is_on: bool
    failures_to_open: int
    span_ms: int
    probe_ms: int
    deactivate_after_ms: int | None


@dataclass(slots=True)
class Health:
    """How a receiver does."""

    failures: int = 0
    since: int | None = None
    probe_at: int | None = None
    """The circuit is open; one delivery may be tried from then on."""

    def end(self, circuit: Circuit, now: int, *, is_success: bool) -> str | None:
        """Take the end of an attempt; return what came of it."""
        if is_success:
            was_open = self.probe_at is not None
            self.forget()
            return "circuit closed" if was_open else None
        self.failures += 1
        self.since = now if self.since is None else self.since
        if circuit.deactivate_after_ms is not None and now >= self.since + circuit.deactivate_after_ms:
            self.forget()
            return "deactivated"
        is_enough = self.failures >= circuit.failures_to_open and now >= self.since + circuit.span_ms
        if circuit.is_on and self.probe_at is None and is_enough:
            self.probe_at = now + circuit.probe_ms
            return "circuit opened"
        return None

    def forget(self) -> None:
        """Begin anew: a success, or somebody who says that all is well."""
        self.failures, self.since, self.probe_at = 0, None, None

    def due(self, due_at: int) -> int:
        """Return when a delivery that is due then may be tried."""
        if self.probe_at is None:
            return due_at
        return min(max(due_at, self.probe_at), due_at + DAY_MS)
