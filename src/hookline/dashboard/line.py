"""The line: one delivery in true time, as numbers that a template draws. Pure.

True scale while the longest span is under 100 times the shortest, else each span counts by its square root, so that a
retry after a day leaves the first answer to be seen. Labels that would touch another are dropped; first and last stay.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from typing import Final, NamedTuple

TRUE_SCALE_RATIO_MAX: Final = 100
LEFT: Final = 0.6
WIDTH: Final = 98.8
"""In percent of the picture, so that marks at both ends have room."""
BAR_MIN: Final = 1.0
LETTER: Final = 0.75
"""Of a label's width, in percent of the usual picture."""


class Span(NamedTuple):
    """One attempt: when it started and ended, how its end is called, and how it looks."""

    start: int
    end: int
    label: str
    look: str


class Bar(NamedTuple):
    """One attempt as drawn, in percent; an empty text is not shown."""

    x: float
    width: float
    look: str
    label: str
    offset: int
    """Milliseconds since the beginning."""
    label_x: float
    anchor: str
    is_told: bool


def drawn(accepted_at: int, spans: Sequence[Span]) -> list[Bar]:
    """Return the bars of a delivery's attempts from its acceptance on."""
    if not spans:
        return []
    instants = [accepted_at]
    for span in spans:
        instants += [max(span.start, instants[-1]), max(span.end, span.start, instants[-1])]
    places = _places(instants)
    bars = []
    for index, span in enumerate(spans):
        start, end = places[2 * index + 1], places[2 * index + 2]
        width = max(BAR_MIN, end - start)
        x = min(start, LEFT + WIDTH - width)
        bars.append(
            Bar(x, width, span.look, span.label, span.start - accepted_at, *_label(x, width, span.label), is_told=True)
        )
    return _without_touching(bars)


def _places(instants: Sequence[int]) -> list[float]:
    spans = [later - earlier for earlier, later in pairwise(instants)]
    lengths = [span for span in spans if span > 0]
    is_true = not lengths or max(lengths) < TRUE_SCALE_RATIO_MAX * min(lengths)
    sizes = [float(span) if is_true else sqrt(span) for span in spans]
    total = sum(sizes) or 1.0
    places = [LEFT]
    for size in sizes:
        places.append(places[-1] + size / total * WIDTH)
    return places


def _label(x: float, width: float, text: str) -> tuple[float, str]:
    """Return where a label is anchored: at the bar's start, or at its end where it would leave the picture."""
    return (x + width, "end") if x + len(text) * LETTER > LEFT + WIDTH else (x, "start")


def _without_touching(bars: list[Bar]) -> list[Bar]:
    last = len(bars) - 1
    limit = _extent(bars[last])[0]
    told_to = float("-inf")
    shown = []
    for index, bar in enumerate(bars):
        left, right = _extent(bar)
        is_told = index in {0, last} or (left > told_to and right < limit)
        if is_told:
            told_to = right + LETTER
        shown.append(bar._replace(is_told=is_told))
    return shown


def _extent(bar: Bar) -> tuple[float, float]:
    length = max(len(bar.label), len("+ 1 m 49 s")) * LETTER
    return (bar.label_x - length, bar.label_x) if bar.anchor == "end" else (bar.label_x, bar.label_x + length)
