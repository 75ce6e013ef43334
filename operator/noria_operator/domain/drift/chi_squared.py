"""The chi-squared distribution without scipy, which the operator does not carry.

Comes in: a value and degrees of freedom. Goes out: a probability, or the value that has it. The regularised
incomplete gamma function by its series and continued fraction (Numerical Recipes 6.2), its inverse by
halving.
"""

from __future__ import annotations

from functools import lru_cache
from math import exp, inf, lgamma, log
from typing import Final

_PRECISION: Final = 1e-15
_TINY: Final = 1e-300


def beyond(value: float, freedom: int) -> float:
    """P(chi-squared > value); with no degree of freedom nothing is."""
    if freedom <= 0 or value == inf:
        return 0.0
    if value <= 0:
        return 1.0
    a, x = freedom / 2, value / 2
    front = exp(a * log(x) - x - lgamma(a))
    return 1 - front * _series(a, x) if x < a + 1 else front * _fraction(a, x)


@lru_cache(maxsize=4096)
def critical(probability: float, freedom: int) -> float:
    """The value that is exceeded with `probability` (between 0 and 1)."""
    if freedom <= 0:
        return 0.0
    low, high = 0.0, float(freedom)
    while beyond(high, freedom) > probability:
        low, high = high, 2 * high
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if beyond(middle, freedom) > probability else (low, middle)
    return high


def _series(a: float, x: float) -> float:
    """Sum of the series of the lower function, without its front factor."""
    term = total = 1 / a
    while term > total * _PRECISION:
        a += 1
        term *= x / a
        total += term
    return total


def _fraction(a: float, x: float) -> float:
    """Continued fraction of the upper function by Lentz's method, without its front factor."""
    b, c = x + 1 - a, 1 / _TINY
    d = result = 1 / b
    step = 0
    while True:
        step += 1
        factor, b = -step * (step - a), b + 2
        d = 1 / (factor * d + b or _TINY)
        c = b + factor / c or _TINY
        change = d * c
        result *= change
        if abs(change - 1) < _PRECISION:
            return result
