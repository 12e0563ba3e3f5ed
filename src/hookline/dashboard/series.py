"""Tallies as a page needs them: one cell after the other, none missing, and what they add up to. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from hookline import tallies
from hookline.storage.views import Tally
from hookline.tallies import DAY_MS, HOUR_MS, MINUTE_MS, QUARTER_MS, Level, Measure

SHARES: Final = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


class Range(NamedTuple):
    """A time up to now, and for each level the cells that it is shown in: those kept, and those drawn."""

    name: str
    text: str
    window_ms: int
    cells: dict[Level, tuple[int, int]]


RANGES: Final = (
    Range("1h", "the last hour", HOUR_MS, {Level.INSTALLATION: (MINUTE_MS, 2 * MINUTE_MS)}),
    Range(
        "24h",
        "the last 24 hours",
        DAY_MS,
        {
            Level.INSTALLATION: (QUARTER_MS, 2 * QUARTER_MS),
            Level.COMPANY: (HOUR_MS, HOUR_MS),
            Level.SUBSCRIPTION: (QUARTER_MS, QUARTER_MS),
        },
    ),
    Range(
        "7d",
        "the last 7 days",
        7 * DAY_MS,
        {
            Level.INSTALLATION: (HOUR_MS, 4 * HOUR_MS),
            Level.COMPANY: (HOUR_MS, 4 * HOUR_MS),
            Level.SUBSCRIPTION: (QUARTER_MS, 4 * HOUR_MS),
        },
    ),
    Range(
        "30d",
        "the last 30 days",
        30 * DAY_MS,
        {Level.INSTALLATION: (HOUR_MS, DAY_MS), Level.COMPANY: (DAY_MS, DAY_MS)},
    ),
)
USUAL: Final = RANGES[1]
SMALL: Final = Range("24h", USUAL.text, DAY_MS, {Level.SUBSCRIPTION: (QUARTER_MS, HOUR_MS)})
"""For many at once."""
OF_COMPANIES: Final = {
    "7d": Range("7d", RANGES[2].text, 7 * DAY_MS, {Level.COMPANY: (DAY_MS, DAY_MS)}),
    "30d": RANGES[3],
}
"""For all companies at once, where it is not the usual one."""


class Cell:
    """What was counted between `begins_at` and the next cell."""

    __slots__ = ("answer", "begins_at", "dead", "errors", "failed", "late", "published", "start", "succeeded")

    def __init__(self, begins_at: int) -> None:
        self.begins_at = begins_at
        self.published = self.succeeded = self.failed = self.dead = 0
        self.start: Counter[int] = Counter()
        self.answer: Counter[int] = Counter()
        self.errors: Counter[tuple[str, int]] = Counter()
        """Failed attempts by class and status."""
        self.late: int | None = None
        """Class of the latest that the backlog was; None where nobody looked."""


class Series:
    """The cells of a subject, and their sums."""

    def __init__(self, begins_at: Iterable[int]) -> None:
        self.cells = [Cell(at) for at in begins_at]

    @property
    def errors(self) -> Counter[tuple[str, int]]:
        """Failed attempts by class and status."""
        return sum((cell.errors for cell in self.cells), Counter())

    @property
    def published(self) -> int:
        """How many events were accepted."""
        return sum(cell.published for cell in self.cells)

    @property
    def succeeded(self) -> int:
        """How many attempts succeeded."""
        return sum(cell.succeeded for cell in self.cells)

    @property
    def failed(self) -> int:
        """How many attempts failed, or were lost."""
        return sum(cell.failed for cell in self.cells)

    @property
    def dead(self) -> int:
        """How many deliveries ended without success."""
        return sum(cell.dead for cell in self.cells)

    @property
    def start(self) -> Counter[int]:
        """How long first attempts took to begin, by class."""
        return sum((cell.start for cell in self.cells), Counter())

    @property
    def answer(self) -> Counter[int]:
        """How long receivers took to answer, by class."""
        return sum((cell.answer for cell in self.cells), Counter())

    @property
    def ended(self) -> int:
        """How many deliveries succeeded or died."""
        return self.succeeded + self.dead


def range_of(name: str, level: Level) -> Range:
    """Return the range of this name, or the usual one where it has no cells for the level."""
    return next((each for each in RANGES if each.name == name and level in each.cells), USUAL)


def from_at(shown: Range, level: Level, now: int) -> int:
    """Return the beginning of the first cell that is drawn."""
    _, cell_ms = shown.cells[level]
    earliest = now - shown.window_ms + 1
    return earliest + -earliest % cell_ms


def laid_out(
    found: Iterable[Tally], subject_ids: Sequence[int], shown: Range, level: Level, now: int
) -> dict[int, Series]:
    """Return a series for each of the subjects, whether or not anything was counted of it."""
    _, cell_ms = shown.cells[level]
    first = from_at(shown, level, now)
    begins_at = list(tallies.cells(first, now, cell_ms))
    places = {at: index for index, at in enumerate(begins_at)}
    all_series = {subject_id: Series(begins_at) for subject_id in subject_ids}
    for tally in found:
        series, place = all_series.get(tally.subject_id), places.get(tally.begins_at)
        if series is not None and place is not None:
            _add(series.cells[place], tally)
    return all_series


def _add(cell: Cell, tally: Tally) -> None:
    match tally.measure:
        case Measure.PUBLISHED:
            cell.published += tally.count
        case Measure.SUCCEEDED:
            cell.succeeded += tally.count
        case Measure.DEAD:
            cell.dead += tally.count
        case Measure.START:
            cell.start[tally.span_class] += tally.count
        case Measure.ANSWER:
            cell.answer[tally.span_class] += tally.count
        case Measure.LATE:
            cell.late = tally.span_class if cell.late is None else max(cell.late, tally.span_class)
        case _:
            cell.failed += tally.count
            cell.errors[tally.measure, tally.span_class] += tally.count
