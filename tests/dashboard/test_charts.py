"""Charts as numbers: nothing is missing from them, nothing leaves them, and each says what it shows."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline import tallies
from hookline.dashboard import charts, series
from hookline.dashboard.series import RANGES, USUAL, Series
from hookline.storage.views import Tally
from hookline.tallies import DAY_MS, HOUR_MS, KEPT, MINUTE_MS, Level

NOW = 1_767_268_800_000 + 34 * MINUTE_MS
"""2026-01-01T12:34:00Z."""


def laid_out(*found: Tally, level: Level = Level.INSTALLATION, shown: series.Range = USUAL) -> Series:
    return series.laid_out(found, [0], shown, level, NOW)[0]


def a_tally(measure: str, count: int, *, back_ms: int = 0, span_class: int = 0) -> Tally:
    _, cell_ms = USUAL.cells[Level.INSTALLATION]
    return Tally(0, (NOW - back_ms) // cell_ms * cell_ms, measure, span_class, count)


@pytest.mark.parametrize("shown", RANGES)
def test_a_range_is_drawn_from_cells_that_are_kept_for_so_long(shown: series.Range) -> None:
    for level, (span_ms, cell_ms) in shown.cells.items():
        assert KEPT[level, span_ms] >= shown.window_ms
        assert cell_ms % span_ms == 0
        cells = series.laid_out([], [0], shown, level, NOW)[0].cells
        assert cells[-1].begins_at <= NOW < cells[-1].begins_at + cell_ms
        assert len(cells) * cell_ms >= shown.window_ms - cell_ms
        assert 24 <= len(cells) <= 97


def test_what_was_counted_adds_up() -> None:
    found = laid_out(
        a_tally("succeeded", 7),
        a_tally("succeeded", 5, back_ms=3 * HOUR_MS),
        a_tally("status", 2, span_class=503),
        a_tally("timeout", 1),
        a_tally("dead", 1),
        a_tally("published", 9),
        a_tally("succeeded", 100, back_ms=3 * DAY_MS),
    )
    assert (found.succeeded, found.failed, found.dead, found.ended, found.published) == (12, 3, 1, 13, 9)
    assert found.errors.most_common() == [(("status", 503), 2), (("timeout", 0), 1)]


def test_few_failures_among_many_attempts_are_seen() -> None:
    chart = charts.attempts(laid_out(a_tally("succeeded", 40_000), a_tally("timeout", 12)), "the last 24 hours", NOW)
    (bar,) = chart.bars
    assert bar.down > 20
    assert (chart.up_most, chart.down_most) == ("50\u00a0k succeeded", "20 failed")
    assert chart.sentence == (
        "Attempts in the last 24 hours: 40,000 succeeded, 12 failed. Most failures, 12, from 12:30 on."
    )
    assert chart.rows == [("12:30", 40_000, 12, 0)]


@given(st.lists(st.tuples(st.integers(0, 23 * HOUR_MS), st.integers(1, 10**9)), max_size=20))
def test_no_bar_leaves_its_chart(found: list[tuple[int, int]]) -> None:
    chart = charts.attempts(
        laid_out(*[a_tally("succeeded", count, back_ms=back) for back, count in found]), "the last 24 hours", NOW
    )
    for bar in chart.bars:
        assert 0 <= bar.cell_x <= bar.x < bar.x + bar.width <= 100.001
        assert 0 <= bar.up <= charts.UP_BASE - charts.UP_TOP


@given(st.lists(st.tuples(st.integers(0, 23 * HOUR_MS), st.integers(0, 10**9)), min_size=1, max_size=20))
def test_no_line_leaves_its_chart(found: list[tuple[int, int]]) -> None:
    chart = charts.percentiles(
        laid_out(*[a_tally("start", 1, back_ms=back, span_class=tallies.class_of(ms)) for back, ms in found]),
        lambda cell: cell.start,
        "Time to first attempt",
        "the last 24 hours",
        NOW,
    )
    assert chart is not None
    for _, _, path, _ in chart.paths:
        heights = [float(y) for y in re.findall(r"[ML]-?\d+ ([\d.]+)", path)]
        assert heights
        assert all(charts.PLOT_TOP <= y <= charts.PLOT_BASE for y in heights)


def test_a_gap_in_what_was_measured_is_a_gap_in_the_line() -> None:
    found = [a_tally("start", 1, back_ms=back * HOUR_MS, span_class=20) for back in (1, 5)]
    chart = charts.percentiles(laid_out(*found), lambda cell: cell.start, "x", "the last 24 hours", NOW)
    assert chart is not None
    assert chart.paths[0][2].count("M") == 2


def test_a_chart_of_spans_is_none_where_there_are_none() -> None:
    assert charts.percentiles(laid_out(), lambda cell: cell.start, "x", "the last hour", NOW) is None


def test_the_alert_is_always_on_the_chart_of_the_backlog() -> None:
    for late in (0, 100, 10**6, 10**9):
        chart = charts.age(laid_out(a_tally("late", 1, span_class=tallies.class_of(late))), 60_000, "x", NOW)
        assert charts.PLOT_TOP < chart.limit_y < charts.PLOT_BASE
        assert all(charts.PLOT_TOP <= line.y <= charts.PLOT_BASE for line in chart.grid)


def test_a_strip_tells_dead_from_retried_from_quiet() -> None:
    found = laid_out(
        a_tally("succeeded", 3, back_ms=9 * HOUR_MS),
        a_tally("succeeded", 3),
        a_tally("status", 1, span_class=500),
        a_tally("status", 1, span_class=500, back_ms=HOUR_MS),
        a_tally("dead", 1, back_ms=HOUR_MS),
    )
    looks = [stretch.look for stretch in charts.strip(found, NOW)]
    assert (looks.count("ok"), looks.count("retry"), looks.count("dead"), looks.count("none")) == (1, 1, 1, 45)
    merged = charts.strip(found, NOW, is_merged=True)
    assert [stretch.look for stretch in merged] == ["none", "ok", "none", "dead", "none", "retry"]
    assert sum(stretch.width for stretch in merged) == pytest.approx(100, abs=2)


@pytest.mark.parametrize(("value", "expected"), [(0, 1), (1, 1), (3, 5), (12, 20), (501, 1000), (44_127, 50_000)])
def test_a_scale_ends_with_a_round_number(value: int, expected: int) -> None:
    assert charts.nice(value) == expected
