"""Comparison of two arms within strata, so that a difference between strata is none between the arms.

Comes in: how much each arm says in each stratum. Goes out: what each stratum weighs in the comparison.
Strata weigh as Mantel and Haenszel have it ("Statistical aspects of the analysis of data from retrospective
studies of disease", 1959): by n₀n₁ / (n₀ + n₁), which is what a difference of two means is worth. Invariants:
a stratum in which one arm is silent weighs nothing; one stratum alone weighs 1, and strata in which the arms
have the same shares weigh as if they were one.
"""

from __future__ import annotations

from collections.abc import Sequence


def weights(sizes: Sequence[tuple[float, float]]) -> list[float]:
    """The weight of each stratum, by what champion and challenger have in it; their sum is 1, or 0 where none
    can be compared.
    """
    worth = [one * other / (one + other) if one and other else 0.0 for one, other in sizes]
    total = sum(worth)
    return [one / total if total else 0.0 for one in worth]
