"""Distances between two distributions over the same bins, as formulae on shares or counts.

Comes in: counts of a reference and of a window, bin by bin, in the order of the bins. Goes out: one number.
Invariants: counts are added up over pods before they come here; nothing is random; half a count is added to
every bin of both sides before shares are taken, so that an empty bin gives a large but finite distance
(chi-squared is of the counts as they are: it divides by no share of one side).

Where a definition is somebody else's, too, the name and unit are theirs: the divergence of Jensen and Shannon
in bits is TFDV's, its root NannyML's distance; the index is Evidently's PSI on the shares it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from math import log, log2, sqrt
from typing import Final

Shares = Sequence[float]
Counts = Sequence[int]

SMOOTHING: Final = 0.5


def shares(counts: Counts, smoothing: float = SMOOTHING) -> list[float]:
    """Counts as shares of their sum, with `smoothing` added to each; without any count all are equal."""
    total = sum(counts) + smoothing * len(counts)
    return [(count + smoothing) / total for count in counts] if total else [1 / len(counts)] * len(counts)


def psi(p: Shares, q: Shares) -> float:
    """Population stability index in nats: sum of (p - q) ln(p / q); no share may be zero."""
    return sum((a - b) * log(a / b) for a, b in zip(p, q, strict=True))


def jensen_shannon(p: Shares, q: Shares) -> float:
    """Divergence of Jensen and Shannon in bits, from 0 to 1."""
    total = 0.0
    for a, b in zip(p, q, strict=True):
        total += sum(0.5 * share * log2(2 * share / (a + b)) for share in (a, b) if share)
    return max(total, 0.0)


def jensen_shannon_distance(p: Shares, q: Shares) -> float:
    """Root of the divergence, from 0 to 1: a metric."""
    return sqrt(jensen_shannon(p, q))


def kolmogorov_smirnov(p: Shares, q: Shares) -> float:
    """Largest difference of the shares up to a bin's end, from 0 to 1: at most one bin's share below what the
    values themselves give.
    """
    return max(abs(gap) for gap in _gaps(p, q))


def l_infinity(p: Shares, q: Shares) -> float:
    """Largest difference of the shares of one bin, from 0 to 1."""
    return max(abs(a - b) for a, b in zip(p, q, strict=True))


def hellinger(p: Shares, q: Shares) -> float:
    """Distance of Hellinger, from 0 to 1."""
    return sqrt(sum((sqrt(a) - sqrt(b)) ** 2 for a, b in zip(p, q, strict=True)) / 2)


def wasserstein(p: Shares, q: Shares, centres: Sequence[float]) -> float:
    """Earth mover's distance between masses at the bins' centres (which grow), in standard deviations of `p`.
    Where `p` has no spread, in the distance of the outermost centres; 0 with a single bin.
    """
    largest = max(map(abs, centres)) or 1.0
    centres = [centre / largest for centre in centres]  # the square of an outlier may be no number
    moved = sum(
        abs(gap) * (right - left) for gap, (left, right) in zip(_gaps(p, q), pairwise(centres), strict=False)
    )
    mean = sum(share * centre for share, centre in zip(p, centres, strict=True))
    spread = sqrt(sum(share * (centre - mean) ** 2 for share, centre in zip(p, centres, strict=True)))
    unit = spread or centres[-1] - centres[0]
    return moved / unit if unit else 0.0


def chi_square(one: Counts, other: Counts) -> tuple[float, int]:
    """Pearson's statistic of the table of both counts, and its degrees of freedom. Bins without any count are
    left out: a category that is new is like any other, and an empty side gives (0, 0).
    """
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a or b]
    rows = sum(a for a, _ in pairs), sum(b for _, b in pairs)
    if not all(rows):
        return 0.0, 0
    whole, total = sum(rows), 0.0
    for pair in pairs:
        for count, row in zip(pair, rows, strict=True):
            expected = row * sum(pair) / whole
            total += (count - expected) ** 2 / expected
    return total, len(pairs) - 1


def chi_squared(one: Counts, other: Counts) -> float:
    """Pearson's statistic times 1/n + 1/m, the sum of (p - q)² by the shares of both sides together, from 0
    on: what does not grow with the rows. Its root is Cohen's w where the reference is much the larger side.
    """
    rows = sum(one), sum(other)
    return chi_square(one, other)[0] * sum(1 / count for count in rows) if all(rows) else 0.0


MEASURES: Final[dict[str, Callable[[Shares, Shares], float]]] = {
    "psi": psi,
    "jensenShannon": jensen_shannon,
    "jensenShannonDistance": jensen_shannon_distance,
    "ks": kolmogorov_smirnov,
    "lInfinity": l_infinity,
    "hellinger": hellinger,
}
"""Distances that need shares alone, by the name that a drift trigger uses."""


def _gaps(p: Shares, q: Shares) -> list[float]:
    below = zip(accumulate(p), accumulate(q), strict=True)
    return [a - b for a, b in below]
