"""Replays: what each of them opened, what it was before, and how far it has come by what became of that."""

from dataclasses import dataclass, field
from typing import Any, Final

from hookline.storage.claims import NewReplay

LANE_SHARE: Final = 5


@dataclass(frozen=True, slots=True)
class Before:
    """A delivery as it was when a replay opened it."""

    state: str
    failures: int
    losses: int
    reason: str | None
    settled_at: int | None
    succeeded_at: int | None


@dataclass(slots=True)
class Run:
    """One replay."""

    asked: NewReplay
    created_at: int
    total: int
    revisions: dict[int, int]
    """Of the subscriptions that there were."""
    catalogue_revision: int
    done: int = 0
    """Deliveries that it opened and that had their first attempt."""
    last_opened: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By subscription, the place of the event that was opened last: replays go from old to new."""

    def is_wanted(self, subscription_id: int, company_id: int, accepted_at: int) -> bool:
        """Tell whether an event of this moment is in it."""
        asked = self.asked
        return (
            asked.subscription_id in {None, subscription_id}
            and asked.company_id in {None, company_id}
            and asked.from_at <= accepted_at < asked.to_at
        )


@dataclass(slots=True)
class Replays:
    """All of a run, and what they hold open."""

    runs: dict[int, Run] = field(default_factory=dict)
    open: dict[int, tuple[int, Before | None]] = field(default_factory=dict)
    """By delivery: whose it is, and what it was; None: nothing, it was made."""
    known: set[tuple[int, int]] = field(default_factory=set)
    """Replay and delivery of all that was ever opened: none does so twice."""
    put_back: set[int] = field(default_factory=set)
    """Deliveries that a cancelled replay gave back: another may have passed them meanwhile."""

    def ended(self, delivery_id: int) -> None:
        """Note that a delivery has had an attempt, or was ended otherwise."""
        found = self.open.pop(delivery_id, None)
        if found:
            self.runs[found[0]].done += 1


def said_of(rows: list[Any]) -> dict[int, tuple[set[str], int, int]]:
    """Take rows of replay, state, total and done together by replay."""
    found: dict[int, tuple[set[str], int, int]] = {}
    for id_, state, total, done in rows:
        states, totals, dones = found.get(id_, (set(), 0, 0))
        found[id_] = (states | {state}, totals + total, dones + done)
    return found
