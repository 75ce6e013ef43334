"""Tests that may be looked at at any time: mixtures of e-values, and the normal one for a running mean.

Comes in: `s`, a sum whose mean is zero or less under the hypothesis, and `v`, its variance so far. Goes out:
the logarithm of an e-value against the hypothesis. The boundary is that of "Time-uniform, nonparametric,
nonasymptotic confidence sequences" (arXiv 1810.08240); with an estimated variance it holds as the sums grow
("Time-uniform central limit theory", arXiv 2103.06476). Invariant: everything is a function of the sums, so
it does not matter when one looked.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import erfc, exp, inf, log, log1p, pi, sqrt


def log_mean_exp(values: Sequence[float]) -> float:
    """log of the mean of the exponentials, without overflow; minus infinity when all of them are."""
    top = max(values)
    if top == -inf:
        return -inf
    return top + log(sum(exp(value - top) for value in values) / len(values))


def tuned(v: float, alpha: float) -> float:
    """The rho for which the two-sided boundary at level `alpha` is tightest at variance `v`."""
    once = 2 * log(1 / alpha)
    return v / (once + log1p(once))


def log_two_sided(s: float, v: float, rho: float) -> float:
    """log e against "the mean is zero"."""
    return 0.5 * log(rho / (v + rho)) + s * s / (2 * (v + rho))


def log_one_sided(s: float, v: float, rho: float) -> float:
    """log e against "the mean is zero or less"."""
    if v == inf:
        return inf if s > 0 else -inf
    return 0.5 * log(4 * rho / (v + rho)) + s * s / (2 * (v + rho)) + _log_below(s / sqrt(v + rho))


def boundary(v: float, alpha: float, *, tightest: float) -> float:
    """What a sum of mean zero or less and variance `v` exceeds at any time with probability `alpha` at most;
    narrowest at the variance `tightest`. The inverse of `log_one_sided`, to two in a hundred at 5 %.
    """
    if v <= 0:
        return 0.0
    rho = tuned(tightest, 2 * alpha)
    return sqrt((v + rho) * (log((v + rho) / rho) - 2 * log(2 * alpha)))


def _log_below(z: float) -> float:
    """log of the standard normal distribution at `z`; far out by its first terms."""
    if z > -30:
        return log(erfc(-z / sqrt(2)) / 2)
    return -z * z / 2 - log(-z) - log(2 * pi) / 2 + log1p(-1 / z**2)
