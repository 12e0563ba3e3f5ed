"""Runs of a few kinds by turns, so that whatever else the machine does meets all of them, and how their p99 compare."""

import json
import os
import time
from collections.abc import Callable, Mapping
from math import inf
from statistics import median
from typing import Any, Final, NamedTuple

from service import Part, percentile

ARRIVAL_SECONDS_MAX: Final = 20


class Bar(NamedTuple):
    """What is aimed at."""

    times: float
    """At most so many times the p99 that is compared with."""
    more_ms: float | None = None
    """And at most so much more."""


def by_turns(runs: Mapping[str, Callable[[], list[float]]], rounds: int) -> dict[str, list[float]]:
    """Make each run so many times; print each, and return the p99 of each kind, a value a round."""
    p99: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            milliseconds = run()
            p99[name].append(percentile(milliseconds, 0.99))
            print(
                f"{name:24} p50 {percentile(milliseconds, 0.5):8.2f} ms   p99 {p99[name][-1]:8.2f} ms   "
                f"max {percentile(milliseconds, 1):8.2f} ms   of {len(milliseconds):6}   load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    return p99


def compare(p99: Mapping[str, list[float]], measured: str, than: str, bar: Bar) -> dict[str, Any]:
    """Print and return how the medians compare."""
    here, there = median(p99[measured]), median(p99[than])
    aim = f"at most {bar.times:g} times" + (f" and {bar.more_ms:g} ms more" if bar.more_ms is not None else "")
    is_met = here < inf and here <= there * bar.times and (bar.more_ms is None or here <= there + bar.more_ms)
    print(
        f"p99 {measured} is {here / there:.2f} times and {here - there:+.2f} ms that {than}"
        f" (medians; aim: {aim}): {'met' if is_met else 'missed'}"
    )
    return {"measured": measured, "than": than, "times": here / there, "more_ms": here - there, "is_met": is_met}


def conclude(p99: Mapping[str, list[float]], comparisons: list[dict[str, Any]]) -> None:
    """Print all as one line of JSON; what never arrived stands there as Infinity."""
    print(json.dumps({"load_average": os.getloadavg()[0], "p99_ms": p99, "comparisons": comparisons}))


def arrived(receiver: Part, wanted: int, before: int = 0) -> list[float]:
    """Wait until so many have arrived, within reason; return how long each was on its way, in order.

    `before` are those that had been taken of the receiver already. One that has not arrived by then counts as on its
    way for ever.
    """
    deadline = time.monotonic() + ARRIVAL_SECONDS_MAX
    while receiver.ask("count")["total"] < before + wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    milliseconds = sorted(receiver.ask("take")["milliseconds"])
    return milliseconds + [inf] * (wanted - len(milliseconds))
