"""Figures read from a Prometheus page: how a histogram grew between two looks at it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Histogram:
    """Observations by upper bound (each bucket counts all below it), their number and their sum."""

    buckets: Mapping[float, float]
    count: float
    total: float

    def since(self, earlier: Histogram) -> Histogram:
        """What was observed since an earlier look."""
        grown = {bound: count - earlier.buckets.get(bound, 0.0) for bound, count in self.buckets.items()}
        return Histogram(grown, self.count - earlier.count, self.total - earlier.total)

    def quantile(self, share: float) -> float:
        """Interpolated within its bucket; the largest bound for what is beyond all of them."""
        wanted, low, below = share * self.count, 0.0, 0.0
        for bound, count in sorted(self.buckets.items()):
            if count >= wanted:
                upper = low if bound == float("inf") else bound
                return low + (upper - low) * (wanted - below) / (count - below or 1)
            low, below = bound, count
        return low


def histogram(page: str, name: str, **labels: str) -> Histogram:
    """All series of a histogram together that have these labels; a value may list several: `a|b`."""
    buckets: dict[float, float] = {}
    sums = {"_count": 0.0, "_sum": 0.0}
    for sample, text, value in _SAMPLE.findall(page):
        if not sample.startswith(name):
            continue
        found = dict(_LABEL.findall(text))
        if any(found.get(label) not in wanted.split("|") for label, wanted in labels.items()):
            continue
        suffix = sample.removeprefix(name)
        if suffix == "_bucket":
            bound = float(found["le"])
            buckets[bound] = buckets.get(bound, 0.0) + float(value)
        elif suffix in sums:
            sums[suffix] += float(value)
    return Histogram(buckets, sums["_count"], sums["_sum"])
