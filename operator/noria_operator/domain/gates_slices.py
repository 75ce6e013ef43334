"""A gate by slice: a challenger that is better on the whole may be worse for some.

Comes in: a gate, and both models' metric in each slice with the standard error of their difference. Goes
out: a verdict and the figures that led to it. Invariants: a slice speaks against the challenger only where
its loss is larger than tolerated by more than noise explains (one-sided, LEVEL over all slices that are
judged, by Bonferroni), so more slices refuse no more good models; where no slice can be judged the gate has
not been met.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from statistics import NormalDist
from typing import Any, Final

from noria_operator.api.trainingjob import Gate
from noria_operator.domain.quality import Direction

LEVEL: Final = 0.05
"""Probability that a challenger which loses just what is tolerated, in every slice, is refused."""
NAMED: Final = 3
"""Slices that a verdict names."""


@dataclass(frozen=True)
class Sliced:
    """One slice by one metric, as in status; `error` of the difference."""

    feature: str
    group: str
    rows: int
    metric: str
    challenger: Decimal
    champion: Decimal | None = None
    error: Decimal | None = None


def sliced(entry: Mapping[str, Any]) -> Sliced:
    """An entry of `status.evaluation.slices`."""
    told = (entry["feature"], entry["group"], int(entry["rows"]), entry["metric"])
    champion, error = (Decimal(str(entry[name])) if name in entry else None for name in ("champion", "error"))
    return Sliced(*told, Decimal(str(entry["challenger"])), champion, error)


def worst(
    gate: Gate, direction: Direction, slices: Iterable[Sliced], champion_version: str, left_out: int = 0
) -> tuple[bool, str]:
    """Whether the gate is met, and why, in words. `left_out`: slices that the evaluation does not tell."""
    mine = [one for one in slices if one.metric == gate.metric]
    judged = [one for one in mine if one.rows >= gate.min_rows and one.error is not None]
    if not judged:
        few = max((one.rows for one in mine), default=0)
        reason = (
            f"the largest slice has {few} of minRows {gate.min_rows} rows: hold out more, or lower it"
            if mine
            else "the evaluation has no slices; is its server image older than the operator?"
        )
        return False, f"by slice: {reason}"
    z = -NormalDist().inv_cdf(LEVEL / len(judged))
    tolerated = float(gate.max_drop or 0)
    losing = [one for one in judged if _surely(one, direction, z) > tolerated]
    losing.sort(key=lambda one: -_loss(one, direction))
    rule = f"may lose {gate.max_drop or Decimal(0):f} in no slice ({direction.value} is better)"
    versus = f"of champion {champion_version}"
    if losing:
        named = "; ".join(_words(one, direction, z, versus) for one in losing[:NAMED])
        return False, f"worse in {len(losing)} of {len(judged)} slices: {named}: {rule}"
    far = max(judged, key=lambda one: _loss(one, direction))
    small = len(mine) - len(judged)
    beside = (f"; {small} with too few rows" if small else "") + (
        f"; {left_out} smaller ones left out: name fewer slices" if left_out else ""
    )
    farthest = _words(far, direction, z, versus)
    return True, f"surely worse in none of {len(judged)} slices{beside}; farthest {farthest}: {rule}"


def _loss(one: Sliced, direction: Direction) -> float:
    """By how much the challenger is worse; negative where it is better."""
    return -float(direction.gain(one.challenger, one.champion or Decimal(0)))


def _surely(one: Sliced, direction: Direction, z: float) -> float:
    """By how much it is worse at least, at `z` standard errors."""
    return _loss(one, direction) - z * float(one.error or 0)


def _words(one: Sliced, direction: Direction, z: float, versus: str) -> str:
    values = f"{one.challenger:f} against {one.champion or Decimal(0):f} {versus}"
    return (
        f"{one.feature}={one.group} ({one.rows} rows) {values}, "
        f"a loss of surely {max(0.0, _surely(one, direction, z)):.4g} or more"
    )
