"""What the log is counted into for charts: cells of time, what is counted in them, spans by classes. Pure.

A tally is a number of attempts (or events) of one subject that have one thing in common and ended in one cell. Tallies
only add up, so a coarser cell is the sum of finer ones, and a percentile is read off the classes. Nothing here or made
of it decides anything about a delivery.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from math import floor, log2
from typing import Final

MINUTE_MS: Final = 60_000
QUARTER_MS: Final = 15 * MINUTE_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

CLASSES_PER_DOUBLING: Final = 4
"""Of spans: a class is 19 % wide, so a percentile is right to a tenth."""
ROUNDING: Final = 1e-9
"""Logarithms of exact powers may come out a hair too small."""


class Level(StrEnum):
    """Whose cells they are."""

    INSTALLATION = "installation"
    COMPANY = "company"
    SUBSCRIPTION = "subscription"


class Measure(StrEnum):
    """What is counted beside failed attempts, which go by their `model.ErrorClass` (class: the status, if any)."""

    PUBLISHED = "published"
    """Events; of a company, those for it."""
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    """Attempts that ended their delivery without success. They count as failed, too."""
    ANSWER = "answer"
    """Attempts that were answered, by the class of their duration; not of the installation."""
    START = "start"
    """First attempts, by the class of the time since the event was accepted; not of a subscription."""
    LATE = "late"
    """Looks at the backlog, by the class of how long its oldest due delivery is late."""


KEPT: Final = {
    (Level.SUBSCRIPTION, QUARTER_MS): 8 * DAY_MS,
    (Level.COMPANY, HOUR_MS): 8 * DAY_MS,
    (Level.COMPANY, DAY_MS): 400 * DAY_MS,
    (Level.INSTALLATION, MINUTE_MS): 3 * HOUR_MS,
    (Level.INSTALLATION, QUARTER_MS): 8 * DAY_MS,
    (Level.INSTALLATION, HOUR_MS): 400 * DAY_MS,
}
"""How long which cells are kept: so long that every chart is the sum of some hundreds, and the table is a small
part of the log that it counts."""


def class_of(milliseconds: int) -> int:
    """Return the class of a span; the storage engines compute the same."""
    return floor(CLASSES_PER_DOUBLING * log2(max(0, milliseconds) + 1) + ROUNDING)


def middle_of(span_class: float) -> int:
    """Return a span of the class, in milliseconds: the middle of it; of a class and a part, what lies there."""
    return round(2 ** ((span_class + 0.5) / CLASSES_PER_DOUBLING) - 1) if span_class > 0 else 0


def percentile(counts: Mapping[int, int], share: float) -> int | None:
    """Return the span, in milliseconds, that this share of what was counted by class stays within; None of nothing."""
    left = share * sum(counts.values())
    for span_class in sorted(counts):
        left -= counts[span_class]
        if left <= 0:
            return middle_of(span_class)
    return None


def cells(from_at: int, to_at: int, cell_ms: int) -> Iterable[int]:
    """Return the beginnings of the cells from the one that holds `from_at` to the one that holds `to_at`."""
    return range(from_at - from_at % cell_ms, to_at + 1, cell_ms)
