"""A rate is never exceeded in any second, and nearly reached."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline import rate


def _starts(per_second: int, look_every_us: int, seconds: int) -> list[int]:
    """The moments at which attempts start where there is always work and claims come so often."""
    starts: list[int] = []
    next_start_us = None
    for now_us in range(1_000_000_000, 1_000_000_000 + seconds * rate.SECOND_US, look_every_us):
        room = rate.room(per_second, next_start_us, now_us)
        if room:
            next_start_us = rate.next_start_us(per_second, next_start_us, now_us, room)
            starts += [now_us] * room
    return starts


@pytest.mark.parametrize("per_second", [1, 2, 3, 7, 10, 11, 19, 20, 99, 100, 300, 1_000])
def test_no_second_holds_more_than_the_rate_and_a_claim_a_millisecond_nearly_reaches_it(per_second: int) -> None:
    starts = _starts(per_second, 1_000, 5)
    assert all(later - first >= rate.SECOND_US for first, later in zip(starts, starts[per_second:], strict=False))
    assert len(starts) >= per_second * 5 * 0.85


@given(per_second=st.integers(1, rate.RATE_MAX), gaps=st.lists(st.integers(1, 400_000), max_size=200))
def test_no_second_holds_more_than_the_rate_whenever_claims_come(per_second: int, gaps: list[int]) -> None:
    now_us, next_start_us = 1_000_000_000, None
    starts: list[int] = []
    for gap in gaps:
        now_us += gap
        room = rate.room(per_second, next_start_us, now_us)
        if room:
            next_start_us = rate.next_start_us(per_second, next_start_us, now_us, room)
            starts += [now_us] * room
    assert all(later - first >= rate.SECOND_US for first, later in zip(starts, starts[per_second:], strict=False))


def test_one_a_second_starts_one_each_second() -> None:
    assert [later - first for first, later in pairwise(_starts(1, 1_000, 4))] == [rate.SECOND_US] * 3
