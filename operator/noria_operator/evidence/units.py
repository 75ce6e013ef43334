"""Errors of one version in the units of whoever counted them: servers of two releases may take two for it.

Comes in: units, which are powers of two, and rows of sums in each. Goes out: one row in the finest of them.
Invariant: no sum is better than errors are. What a coarser unit may have rounded off is left out beside a
finer one, and so is what is too far from it to be added up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import frexp, ldexp
from typing import Final, Self

from noria_operator.evidence.growth import Row

_FARTHEST: Final = 256
"""Doublings: squares of such errors are numbers that a float still holds."""


@dataclass(frozen=True, slots=True)
class Units:
    """The finest one, and how many doublings the others, as places name them, are from it."""

    finest: float
    doublings: Mapping[str, int]

    @classmethod
    def of(cls, named: Iterable[str]) -> Self:
        """Those of these names."""
        exponents = {name: frexp(float(name))[1] for name in named}
        least = min(exponents.values(), default=1)
        near = {name: one - least for name, one in exponents.items() if one - least <= _FARTHEST}
        return cls(ldexp(0.5, least), near)

    def added(self, rows: Mapping[str, Row]) -> Row:
        """Sums, by unit, in the finest: how many, over, under, squared, then what has no unit; empty where
        there are none.
        """
        same = [
            (count, over << times, under << times, squared << 2 * times, *rest)
            for name, (count, over, under, squared, *rest) in rows.items()
            if not (times := self.doublings[name]) or squared >= count
        ]
        return tuple(map(sum, zip(*same, strict=True)))
