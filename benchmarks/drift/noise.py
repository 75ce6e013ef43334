"""Traffic that does not change, and traffic that does: windows of so many rows, counted in the bins of
twenty features and of the predictions, under Noria's rule and those of others.

In: rows of a window, a shift, a seed. Out: windows that alarm. Counts are drawn, not rows: a rule sees no
more of them. The reference is drawn as well, once for every month of hourly windows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from statistics import NormalDist, fmean, median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from noria_operator.domain.drift import policy
from noria_operator.domain.drift.columns import PREDICTION, Column, Seen
from noria_operator.domain.drift.policy import Policy

Array = NDArray[Any]
KNOWN: Final = 50_000
"""Rows of the reference."""
MONTH: Final = 730
"""Hourly windows."""
DAY: Final = 24
"""As many of them."""
NORIA = "Noria"
_EDGES = np.array([NormalDist().inv_cdf(share / 10) for share in range(1, 10)])


def truths(shift: float = 0.0) -> list[Array]:
    """Shares of the bins: ten numbers in ten quantiles, five categories of falling frequency, five of which
    most are rare, and the predictions. The first six numbers move by `shift` standard deviations.
    """
    ranks = np.arange(1, 22)
    numbers = [moved(shift if index < 6 else 0.0) for index in range(10)]
    frequent, rare = ranks**-1.0, ranks**-2.5
    return [*numbers, *[frequent / frequent.sum()] * 5, *[rare / rare.sum()] * 5, moved(0.0)]


def moved(shift: float) -> Array:
    """Shares of ten quantiles of a normal distribution that moved by so many standard deviations."""
    below = stats.norm.cdf(_EDGES - shift)
    return np.diff([0.0, *below, 1.0])


def month(rows: int, seed: int, shift: float = 0.0, windows: int = MONTH) -> Mapping[str, Array]:
    """Which windows alarm, by rule."""
    rng = np.random.default_rng([rows, seed, int(100 * shift)])
    known = [rng.multinomial(KNOWN, truth) for truth in truths()]
    seen = [rng.multinomial(rows, truth, windows) for truth in truths(shift)]
    chunks = [rng.multinomial(rows, truth, max(2, KNOWN // rows)) for truth in truths()]
    return judged(known, seen, chunks)


def judged(known: list[Array], seen: list[Array], chunks: list[Array]) -> Mapping[str, Array]:
    """Which windows alarm, by rule. By column: counts of the reference, of each window, of chunks of the
    reference as large as a window; the predictions come last.
    """
    return {NORIA: noria(known, seen), **{name: rule(known, seen, chunks) for name, rule in PEERS.items()}}


def alarms(months: Sequence[Mapping[str, Array]]) -> dict[str, float]:
    """Windows of a month that alarm, the mean of all months, by rule."""
    return {rule: fmean(float(one[rule].sum()) for one in months) for rule in months[0]}


def first_alarm(days: Sequence[Mapping[str, Array]]) -> dict[str, float | None]:
    """Windows until the first alarm, at the median of all days, by rule; None: not within the day."""
    each = {
        rule: [int(one[rule].argmax()) + 1 if one[rule].any() else DAY + 1 for one in days]
        for rule in days[0]
    }
    return {rule: None if median(found) > DAY else median(found) for rule, found in each.items()}


def noria(known: list[Array], seen: list[Array], **otherwise: Any) -> Array:
    """The trigger `drift` with its defaults, but for minSamples and what is asked."""
    names = [*(f"x{index}" for index in range(len(known) - 1)), PREDICTION]
    columns = [Column(name, tuple(bins.tolist())) for name, bins in zip(names, known, strict=True)]
    asked, marks, found = Policy(min_samples=50, **otherwise), "", []
    for window in zip(*(each.tolist() for each in seen), strict=True):
        counts = {name: Seen(tuple(bins)) for name, bins in zip(names, window, strict=True)}
        said = policy.judge(asked, columns, counts, marks, timedelta(hours=1))
        marks = said.marks
        found.append(said.drifted)
    return np.array(found)


def _each(distance: Callable[[Array, Array], Array], known: list[Array], seen: list[Array]) -> Array:
    """Distances by column and window; half a count in each bin."""
    both = ((one + 0.5, windows + 0.5) for one, windows in zip(known, seen, strict=True))
    return np.array([distance(p / p.sum(), q / q.sum(axis=1, keepdims=True)) for p, q in both])


def _psi(p: Array, q: Array) -> Array:
    return np.asarray(((p - q) * np.log(p / q)).sum(axis=1))


def _js(p: Array, q: Array) -> Array:
    middle = (p + q) / 2
    return np.sqrt(0.5 * (p * np.log2(p / middle) + q * np.log2(q / middle)).sum(axis=1))


def _pearson(known: list[Array], seen: list[Array], _: list[Array]) -> Array:
    """p < 0.05 of the chi-squared test, shared by Bonferroni."""
    found = []
    for one, windows in zip(known, seen, strict=True):
        total = one + windows
        whole = total.sum(axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = [
                (counts - total * counts.sum(axis=-1, keepdims=True) / whole) ** 2
                / (total * counts.sum(axis=-1, keepdims=True) / whole)
                for counts in (np.broadcast_to(one, windows.shape), windows)
            ]
        statistic = np.nansum(parts[0] + parts[1], axis=1)
        found.append(stats.chi2.sf(statistic, (total > 0).sum(axis=1) - 1))
    return np.asarray((np.array(found) * len(known) < 0.05).any(axis=0))


def _chunked(known: list[Array], seen: list[Array], chunks: list[Array]) -> Array:
    """Any distance above mean + 3 standard deviations of those of the reference's own chunks."""
    usual, now = _each(_js, known, chunks), _each(_js, known, seen)
    limit = usual.mean(axis=1, keepdims=True) + 3 * usual.std(axis=1, keepdims=True)
    return np.asarray((now > limit).any(axis=0))


PEERS: Final[Mapping[str, Callable[[list[Array], list[Array], list[Array]], Array]]] = {
    "PSI above 0.1": lambda known, seen, _: (_each(_psi, known, seen) > 0.1).any(axis=0),
    "PSI above 0.2": lambda known, seen, _: (_each(_psi, known, seen) > 0.2).any(axis=0),
    "Evidently: JS at least 0.1, half of them": lambda known, seen, _: (
        (_each(_js, known, seen) * np.sqrt(np.log(2)) >= 0.1).mean(axis=0) >= 0.5
    ),
    "NannyML: JS above mean + 3 sd of chunks": _chunked,
    "alibi-detect: chi2 at 0.05, Bonferroni": _pearson,
}
"""Others' default rules for one data set, as their documents have them, on the same counts."""
