"""Counters and histograms that cost next to nothing to count with, for the signals on the path of every delivery.

The library's own take a lock for each number they change, which made its metrics a thirtieth of what a delivery costs.
These are plain numbers: each is changed by one thread only, and a scrape that reads one while it changes finds the
value before or after. Names, labels and the text format stay the library's, which asks for the numbers at a scrape.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString


class Count:
    """How often something has happened."""

    def __init__(self) -> None:
        self.value = 0

    def inc(self, number: int = 1) -> None:
        """Count so many more."""
        self.value += number


class Spread:
    """How values are spread over buckets: each holds those up to its bound, and one more all above the last bound."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds: Final = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Counter(Collector):
    """A metric that only rises: a count for each combination of label values that has been asked for."""

    def __init__(self, name: str, text: str, labels: Sequence[str] = (), *, registry: CollectorRegistry) -> None:
        self._about = (name, text)
        self._labels = labels
        self._children: dict[tuple[str, ...], Count] = {}
        registry.register(self)

    def labels(self, *values: str) -> Count:
        """Return the count of these label values; the caller keeps it where it is needed often."""
        return self._children.setdefault(values, Count())

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Give the library what it renders."""
        family = CounterMetricFamily(*self._about, labels=self._labels)
        for values, count in sorted(self._children.items()):
            family.add_metric(values, count.value)
        yield family


class Histogram(Collector):
    """A metric of durations or sizes: a spread for each combination of label values that has been asked for."""

    def __init__(
        self, name: str, text: str, labels: Sequence[str] = (), *, buckets: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._about = (name, text)
        self._labels = labels
        self._bounds = buckets
        self._children: dict[tuple[str, ...], Spread] = {}
        registry.register(self)

    def labels(self, *values: str) -> Spread:
        """Return the spread of these label values; the caller keeps it where it is needed often."""
        return self._children.setdefault(values, Spread(self._bounds))

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Give the library what it renders."""
        family = HistogramMetricFamily(*self._about, labels=self._labels)
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        for values, spread in sorted(self._children.items()):
            family.add_metric(values, list(zip(bounds, accumulate(spread.counts), strict=True)), spread.sum)
        yield family
