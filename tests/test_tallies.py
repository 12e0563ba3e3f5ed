"""Classes of spans and what is read off them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline import tallies


@pytest.mark.parametrize(("ms", "expected"), [(-5, 0), (0, 0), (1, 4), (2, 6), (3, 8), (7, 12), (8, 12), (1023, 40)])
def test_a_span_has_a_class(ms: int, expected: int) -> None:
    assert tallies.class_of(ms) == expected


@given(st.integers(0, 2**40))
def test_a_class_says_its_spans_to_a_tenth(ms: int) -> None:
    assert tallies.middle_of(tallies.class_of(ms)) == pytest.approx(ms, rel=0.1, abs=1)


@given(st.lists(st.integers(0, 100_000), min_size=1), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_percentile_is_that_of_the_spans(spans: list[int], share: float) -> None:
    counts: dict[int, int] = {}
    for ms in spans:
        counts[tallies.class_of(ms)] = counts.get(tallies.class_of(ms), 0) + 1
    exact = sorted(spans)[max(0, -(-int(share * 100) * len(spans) // 100) - 1)]
    assert tallies.percentile(counts, share) == pytest.approx(exact, rel=0.1, abs=1)


def test_nothing_has_no_percentile() -> None:
    assert tallies.percentile({}, 0.5) is None


def test_cells_begin_where_they_are_kept() -> None:
    assert list(tallies.cells(61_000, 180_000, 60_000)) == [60_000, 120_000, 180_000]


def test_every_sort_of_cells_is_made_of_whole_minutes() -> None:
    assert all(span_ms % tallies.MINUTE_MS == 0 for _, span_ms in tallies.KEPT)
