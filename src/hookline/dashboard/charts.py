"""Charts as numbers that a template draws: x in percent of the width, y in pixels. Pure.

Each comes with a sentence that says what there is to see, and with rows for those who read it as a table.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby, pairwise
from math import floor, log10, sqrt
from typing import Final, NamedTuple

from hookline import tallies
from hookline.dashboard import words
from hookline.dashboard.series import SHARES, Cell, Series

UP_TOP: Final = 18
UP_BASE: Final = 122
DOWN_TOP: Final = 146
DOWN_BASE: Final = 198
"""Of the attempts: what succeeded stands on its axis, what failed hangs from another, so that few of many are seen."""
PLOT_TOP: Final = 8
PLOT_BASE: Final = 190
BAR_SHARE: Final = 0.76
"""Of a cell's width; the rest is the gap."""
SPARK_HEIGHT: Final = 16
PATH_WIDTH: Final = 1000
TICKS_MS: Final = (
    *(1, 10, 100, words.SECOND_MS, 10 * words.SECOND_MS, words.MINUTE_MS, 10 * words.MINUTE_MS),
    *(words.HOUR_MS, 10 * words.HOUR_MS, words.DAY_MS, 10 * words.DAY_MS, 100 * words.DAY_MS),
)
"""Where a logarithmic scale of spans may begin, end and have a line."""
LATE_MS: Final = (100, 10 * words.MINUTE_MS)
"""What the scale of the backlog's age shows at least, so that the alert is always on it."""


class Label(NamedTuple):
    """A text of an axis."""

    x: float
    y: float
    text: str
    anchor: str = ""


class Bar(NamedTuple):
    """One cell: what stands up and what hangs down, with what it says under the pointer."""

    x: float
    width: float
    cell_x: float
    cell_width: float
    up: float
    down: float
    title: str


class Attempts(NamedTuple):
    """Attempts over time."""

    bars: list[Bar]
    labels: list[Label]
    up_most: str
    down_most: str
    sentence: str
    rows: list[tuple[str, int, int, int]]


class Lines(NamedTuple):
    """Percentiles over time: a path and today's value for each."""

    paths: list[tuple[str, str, str, str]]
    """Class of the stroke, name, path, value over the whole range."""
    grid: list[Label]
    labels: list[Label]
    sentence: str
    rows: list[tuple[str, ...]]


class Age(NamedTuple):
    """How late the backlog was."""

    path: str
    area: str
    grid: list[Label]
    labels: list[Label]
    limit_y: float
    sentence: str
    rows: list[tuple[str, str]]


class Stretch(NamedTuple):
    """Neighbouring cells of a strip that look the same."""

    x: float
    width: float
    look: str
    title: str


# --- attempts --------------------------------------------------------------------------------------------------------


def attempts(series: Series, span: str, now: int) -> Attempts:
    """Draw what succeeded and what failed, each on its own scale; `span` says of when, `the last hour`."""
    cells = series.cells
    up_most, down_most = nice(max(c.succeeded for c in cells)), nice(max(c.failed for c in cells))
    width = 100 / len(cells)
    bars = [
        Bar(
            x=index * width + width * (1 - BAR_SHARE) / 2,
            width=width * BAR_SHARE,
            cell_x=index * width,
            cell_width=width,
            up=_length(cell.succeeded, up_most, UP_BASE - UP_TOP),
            down=_length(cell.failed, down_most, DOWN_BASE - DOWN_TOP),
            title=f"{said_at(cell.begins_at, series, now)}: {told(cell)}",
        )
        for index, cell in enumerate(cells)
        if cell.succeeded or cell.failed
    ]
    return Attempts(
        bars=bars,
        labels=time_labels(series, 138, now),
        up_most=f"{short(up_most)} succeeded",
        down_most=f"{short(down_most)} failed",
        sentence=_attempts_sentence(series, span, now),
        rows=[
            (said_at(c.begins_at, series, now), c.succeeded, c.failed, c.dead)
            for c in reversed(cells)
            if c.succeeded or c.failed or c.dead
        ],
    )


def told(cell: Cell) -> str:
    """Say what came of a cell's attempts."""
    if not (cell.succeeded or cell.failed):
        return "no attempts"
    failed = f", {cell.failed:,} failed" if cell.failed else ""
    dead = f", {cell.dead:,} dead" if cell.dead else ""
    return f"{cell.succeeded:,} succeeded{failed}{dead}"


def _attempts_sentence(series: Series, span: str, now: int) -> str:
    if not (series.succeeded or series.failed):
        return f"Attempts in {span}: none."
    plain = f"Attempts in {span}: {series.succeeded:,} succeeded, {series.failed:,} failed."
    if not series.failed:
        return plain
    worst = max(series.cells, key=lambda cell: cell.failed)
    return f"{plain} Most failures, {worst.failed:,}, from {said_at(worst.begins_at, series, now)} on."


# --- percentiles -----------------------------------------------------------------------------------------------------


def percentiles(series: Series, what: Callable[[Cell], Counter[int]], name: str, span: str, now: int) -> Lines | None:
    """Draw p50, p95 and p99 of spans on a scale of decades; None where there are none."""
    spreads = [what(cell) for cell in series.cells]
    whole: Counter[int] = sum(spreads, Counter())
    if not whole:
        return None
    values = [[tallies.percentile(spread, share) for spread in spreads] for _, share in SHARES]
    scale = _scale([value for line in values for value in line if value is not None])
    overall = [words.span(tallies.percentile(whole, share) or 0) for _, share in SHARES]
    return Lines(
        paths=[
            (stroke, label, _path(line, scale), said)
            for stroke, (label, _), line, said in zip(
                ("", "soft dash", "soft dots"), SHARES, values, overall, strict=True
            )
        ],
        grid=_lines(scale),
        labels=time_labels(series, 208, now),
        sentence=f"{name} in {span}: "
        + ", ".join(f"{label} {said}" for (label, _), said in zip(SHARES, overall, strict=True))
        + ".",
        rows=[
            (said_at(cell.begins_at, series, now), *[words.span(line[index] or 0) for line in values])
            for index, cell in reversed(list(enumerate(series.cells)))
            if spreads[index]
        ],
    )


def _path(values: Sequence[int | None], scale: Sequence[int]) -> str:
    """Draw a line through the middles of the cells; cells without a value leave a gap."""
    width = PATH_WIDTH / len(values)
    parts = []
    for has_value, group in groupby(enumerate(values), key=lambda each: each[1] is not None):
        if not has_value:
            continue
        points = [(index * width + width / 2, _height(value or 0, scale)) for index, value in group]
        if len(points) == 1:  # a dash, for a point has no length
            ((x, y),) = points
            points = [(x - width / 3, y), (x + width / 3, y)]
        parts.append("M" + "L".join(f"{x:.0f} {y:.1f}" for x, y in points))
    return "".join(parts)


def _scale(values: Sequence[int]) -> Sequence[int]:
    """Return the ticks from the last that is not above any value to the first that is not below any; two at least."""
    first = max((index for index, tick in enumerate(TICKS_MS) if tick <= min(values)), default=0)
    last = next((index for index, tick in enumerate(TICKS_MS) if tick >= max(values)), len(TICKS_MS) - 1)
    return TICKS_MS[first : max(last, first + 1) + 1]


def _lines(scale: Sequence[int]) -> list[Label]:
    return [Label(0, _height(tick, scale), words.round_span(tick)) for tick in scale]


def _height(value: int, scale: Sequence[int]) -> float:
    low, high = log10(scale[0]), log10(scale[-1])
    share = (log10(min(max(value, scale[0]), scale[-1])) - low) / (high - low)
    return PLOT_BASE - share * (PLOT_BASE - PLOT_TOP)


# --- backlog ---------------------------------------------------------------------------------------------------------


def age(series: Series, alert_ms: int, span: str, now: int) -> Age:
    """Draw how late the oldest due delivery was, in steps, with the line at which the alert is set."""
    late = [0 if cell.late is None else tallies.middle_of(cell.late) for cell in series.cells]
    scale = _scale([*LATE_MS, *[value for value in late if value > LATE_MS[0]]])
    width = PATH_WIDTH / len(late)
    steps = "".join(f"V{_height(value, scale):.1f}H{(index + 1) * width:.0f}" for index, value in enumerate(late))
    path = f"M0 {_height(late[0], scale):.1f}{steps}"
    worst = max(range(len(late)), key=late.__getitem__)
    seen = f"at most {words.span(late[worst])}, {said_at(series.cells[worst].begins_at, series, now)}"
    return Age(
        path=path,
        area=f"{path}V{PLOT_BASE}H0z",
        grid=_lines(scale),
        labels=time_labels(series, 208, now),
        limit_y=_height(alert_ms, scale),
        sentence=f"Age of the oldest due delivery in {span}: "
        + (f"{seen}." if late[worst] else "nothing was late.")
        + f" The alert is at {words.span(alert_ms)}.",
        rows=[
            (said_at(cell.begins_at, series, now), words.span(late[index]))
            for index, cell in reversed(list(enumerate(series.cells)))
            if cell.late
        ],
    )


# --- strips and sparks -----------------------------------------------------------------------------------------------


def strip(series: Series, now: int, *, is_merged: bool = False) -> list[Stretch]:
    """Draw how deliveries ended, cell by cell; merged, neighbours that look the same are one stretch."""
    width = 100 / len(series.cells)
    looks = [(_look(cell), index) for index, cell in enumerate(series.cells)]
    groups = [[index for _, index in group] for _, group in groupby(looks, key=lambda each: each[0])]
    parts = groups if is_merged else [[index] for _, index in looks]
    return [
        Stretch(
            x=part[0] * width + 0.1,
            width=len(part) * width - 0.2,
            look=looks[part[0]][0],
            title=""
            if is_merged
            else f"{said_at(series.cells[part[0]].begins_at, series, now)}: {told(series.cells[part[0]])}",
        )
        for part in parts
    ]


def _look(cell: Cell) -> str:
    if cell.dead:
        return "dead"
    if cell.failed:
        return "retry"
    return "ok" if cell.succeeded else "none"


def strip_sentence(series: Series, span: str) -> str:
    """Say what a strip shows."""
    if not (series.ended or series.failed):
        return f"No attempts in {span}"
    failed = f", {words.counted(series.failed, 'failed attempt')}" if series.failed else ""
    dead = f", {series.dead:,} dead" if series.dead else ""
    return f"{series.succeeded:,} succeeded{failed}{dead} in {span}"


def spark(values: Sequence[int], most: int) -> list[tuple[int, float]]:
    """Return place and height of small bars, by the square root: what is rare is still seen."""
    return [
        (index, max(1.5, sqrt(value / most) * SPARK_HEIGHT)) for index, value in enumerate(values) if value and most
    ]


# --- axes ------------------------------------------------------------------------------------------------------------


def time_labels(series: Series, y: float, now: int) -> list[Label]:
    """Return the labels of a time axis: its beginning, its quarters, now."""
    count = len(series.cells)
    inner = [
        Label(share * 100, y, said_at(series.cells[round(share * count)].begins_at, series, now), anchor)
        for share, anchor in ((0.0, ""), (0.25, "mid"), (0.5, "mid"), (0.75, "mid"))
    ]
    return [*inner, Label(100, y, "now", "end")]


def said_at(at: int, series: Series, now: int) -> str:
    """Say when a cell begins: the day with it, where the series is longer than a day, the day alone for whole days."""
    first, last = series.cells[0].begins_at, series.cells[-1].begins_at
    cell_ms = next((later.begins_at - earlier.begins_at for earlier, later in pairwise(series.cells)), 0)
    if last - first < tallies.DAY_MS:
        return words.minute(at, at)
    day = words.date(at)[:-5]  # its year is this one, or the last
    is_whole_day = cell_ms >= tallies.DAY_MS and words.minute(at, at) == "00:00"  # a day is UTC's, whatever is told
    return day if is_whole_day or not now else f"{day}{words.SPACE}{words.minute(at, at)}"


def nice(value: int) -> int:
    """Return the next of 1, 2, 5, 10, 20, 50 … that a scale ends with."""
    if value <= 1:
        return 1
    power: int = 10 ** floor(log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)


def short(value: int) -> str:
    """Write a round number in few letters: `50 k`, `2 M`."""
    if value >= 1_000_000:
        return f"{value // 1_000_000}{words.SPACE}M"
    return f"{value // 1_000}{words.SPACE}k" if value >= 10_000 else f"{value:,}"


def _length(value: int, most: int, height: int) -> float:
    """Return the length of a bar; the smallest is still seen."""
    return max(1.5, value / most * height) if value else 0.0
