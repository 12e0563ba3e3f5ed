"""How many attempts a subscription's `ratePerSecond` lets start now. Pure.

A lane keeps one instant, from which on the next attempt may start; each attempt moves it on by the space between two.
What was left unused accrues up to a tenth of a second's worth, so that a claim can start several at once; the space is
made a little longer for it, so that no second ever holds more than the rate. Spaces are counted in microseconds: in
whole milliseconds 300 a second would become 250. A rate may be less than one a second: receivers allow such.
"""

from math import ceil
from typing import Final

SECOND_US: Final = 1_000_000
BURSTS_PER_SECOND: Final = 10
"""A claim for each attempt of a high rate would be a commit for each."""
RATE_MAX: Final = 10_000


def room(rate: float, next_start_us: int | None, now_us: int) -> int:
    """Return how many attempts may start now."""
    burst, space_us = _burst_and_space(rate)
    if next_start_us is None:
        return burst
    return 0 if next_start_us > now_us else min(burst, 1 + (now_us - next_start_us) // space_us)


def next_start_us(rate: float, before_us: int | None, now_us: int, started: int) -> int:
    """Return from when on the next attempt may start, `started` having been started now."""
    burst, space_us = _burst_and_space(rate)
    earliest = now_us - (burst - 1) * space_us
    return max(earliest, before_us or 0) + started * space_us


def _burst_and_space(rate: float) -> tuple[int, int]:
    """Return how many may start at once, and the space between two: burst and what follows fill a second exactly."""
    burst = max(1, int(rate / BURSTS_PER_SECOND))
    return burst, ceil(SECOND_US / (rate - burst + 1))
