"""What labels cost on average, by what was true and what was predicted.

Comes in: a cost matrix, of two classes or by the names of several, and counts of labels. Goes out: a mean
and its variance; or why the matrix does not fit the model. Invariants: a class that the version does not know
is refused and never left out, as it may be misspelt, or known to the next version alone; a pair that is not
named costs 1 where it is a mistake, and nothing where it is right.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from noria_operator.api.triggers import CostMatrix

_WHOLE: Final = re.compile(r"^(-?\d+)\.0+$")
_SHOWN: Final = 8
_OF_TWO: Final = "falsePositive, falseNegative, truePositive and trueNegative"


@dataclass(frozen=True, slots=True)
class Costs:
    """What one label costs; a gain is negative. `pairs`: of several classes the true one, the predicted one
    and what that costs.
    """

    false_positive: float = 1.0
    false_negative: float = 1.0
    true_positive: float = 0.0
    true_negative: float = 0.0
    pairs: tuple[tuple[str, str, float], ...] = ()

    @classmethod
    def of(cls, told: CostMatrix | None) -> Self:
        """As a rule tells them."""
        if told is None:
            return cls()
        return cls(
            float(told.false_positive),
            float(told.false_negative),
            float(told.true_positive),
            float(told.true_negative),
            tuple((one.label, one.predicted, float(one.cost)) for one in told.classes or ()),
        )

    @property
    def of_two(self) -> tuple[float, ...]:
        """By true class, then by predicted one: as rows of a table."""
        return self.true_negative, self.false_positive, self.false_negative, self.true_positive

    def of_several(self, size: int, names: Sequence[str]) -> list[float]:
        """By true class, row after row, then by predicted one."""
        prices = [float(row != column) for row in range(size) for column in range(size)]
        for (row, column), price in self._placed(names):
            prices[row * size + column] = price
        return prices

    def _placed(self, names: Sequence[str]) -> Iterable[tuple[tuple[int, int], float]]:
        places = {name: place for place, name in enumerate(names)}
        for *pair, price in self.pairs:
            row, column = (places[name if name in places else spelled(name)] for name in pair)
            yield (row, column), price

    @property
    def wording(self) -> str:
        """The same for prices that come to the same."""
        told = sorted(pair for pair in self.pairs if pair[2] != (pair[0] != pair[1]))
        if told:
            return hashlib.sha256(repr(told).encode()).hexdigest()[:12]
        of_two = (self.false_positive, self.false_negative, self.true_positive, self.true_negative)
        return " ".join(map(str, of_two))

    def unfit_for_two(self) -> str:
        """Why they price no model of two classes; empty where they do."""
        return f"costMatrix.classes is of several classes; of two, use {_OF_TWO}" if self.pairs else ""

    def unfit_for(self, names: Sequence[str]) -> str:
        """Why they price no model of these several classes; empty where they do."""
        if self.of_two != ONE_A_MISTAKE.of_two:
            return f"{_OF_TWO} are of two classes; of several, name pairs in costMatrix.classes"
        if self.pairs and not names:
            return (
                "costMatrix.classes needs the names of classes, which servers of an earlier release do not "
                "tell: the next version's will, and so do these after noria.dev/restart"
            )
        told = {name for pair in self.pairs for name in pair[:2]}
        if strange := [name for name in sorted(told) if not {name, spelled(name)} & {*names}]:
            return (
                f"costMatrix.classes names {_listed(strange)}, and the classes that the version knows are "
                f"{_listed(names)}"
            )
        places = [place for place, _ in self._placed(names)]
        twice = next((place for place in places if places.count(place) > 1), None)
        if twice is None:
            return ""
        label, predicted = (_listed([names[place]]) for place in twice)
        return f"costMatrix.classes says twice what {label} predicted as {predicted} costs"


ONE_A_MISTAKE: Final = Costs()


def mean_cost(counts: Sequence[float], prices: Sequence[float]) -> tuple[float, float] | None:
    """(value, variance) of the mean over labels; None without one. The variance is never less than as if one
    more label had cost as much more as can be.
    """
    total = sum(counts)
    if not total:
        return None
    each = list(zip(counts, prices, strict=True))
    mean = sum(count * price for count, price in each) / total
    variance = sum(count * (price - mean) ** 2 for count, price in each) / total
    widest = max(prices) - min(prices)
    return mean, max(variance, widest**2 / total) / total


def spelled(name: str) -> str:
    """A class as bundles name it: 1.0 and 1 are one."""
    return _WHOLE.sub(r"\1", name)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"{name!r:.40}" for name in names[:_SHOWN]) + more
