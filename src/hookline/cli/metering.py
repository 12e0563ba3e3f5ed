"""Reading our own `/metrics`: samples by name, what happened between two readings, quantiles of histograms. Pure."""

import re
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

_SAMPLE: Final = re.compile(r"^(hookline_\w+)(?:\{(.*)\})? (\S+)$")
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Labels = tuple[tuple[str, str], ...]


class Reading(Struct, frozen=True):
    """All samples of one moment."""

    samples: Mapping[tuple[str, Labels], float]

    def of(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of this name that carry these labels; 0 where there is none."""
        wanted = set(labels.items())
        return sum(value for (each, carried), value in self.samples.items() if each == name and wanted <= set(carried))

    def buckets(self, name: str) -> dict[float, float]:
        """Return a histogram's cumulative counts by upper bound, over all labels."""
        found: dict[float, float] = {}
        for (each, carried), value in self.samples.items():
            if each == f"{name}_bucket":
                bound = float(dict(carried)["le"])
                found[bound] = found.get(bound, 0) + value
        return found


def read(text: str) -> Reading:
    """Read the Prometheus text format, as far as we write it."""
    matches = filter(None, map(_SAMPLE.match, text.splitlines()))
    return Reading({(each[1], tuple(_LABEL.findall(each[2] or ""))): float(each[3]) for each in matches})


def quantile(before: Reading, after: Reading, name: str, share: float) -> float | None:
    """Return the upper bound of the bucket that holds this share of what came between; None where nothing came."""
    earlier = before.buckets(name)
    counts = {bound: count - earlier.get(bound, 0) for bound, count in sorted(after.buckets(name).items())}
    total = max(counts.values(), default=0)
    if total <= 0:
        return None
    return next(bound for bound, count in counts.items() if count >= share * total)
