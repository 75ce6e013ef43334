"""How long labels take, in the buckets in which servers count it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import timedelta
from itertools import accumulate

from noria_serving.contract import DELAY_BOUNDS

BUCKETS = len(DELAY_BOUNDS) + 1


def bucket(delay: timedelta) -> int:
    """Where a delay is counted."""
    return bisect_left(DELAY_BOUNDS, max(0, round(delay.total_seconds())))


def median(buckets: Sequence[int]) -> timedelta | None:
    """Half of the labels came within this time, as `within` has it."""
    return within(buckets, 0.5)


def within(buckets: Sequence[int], share: float) -> timedelta | None:
    """So many of the labels came within this time, as the upper end of a bucket; None without labels, and
    where it is longer than the longest bucket.
    """
    for bound, came in zip(DELAY_BOUNDS, accumulate(buckets), strict=False):
        if came >= share * sum(buckets) > 0:
            return timedelta(seconds=bound)
    return None
