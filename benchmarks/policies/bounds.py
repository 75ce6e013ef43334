"""`python -m benchmarks.policies.bounds`: how often `min`, `max` and `cost` fire though quality is no worse
than asked for, and how soon they find what is.

Comes in: nothing. Goes out, for each metric and two models: the share of champions whose true quality is just
the bound for which `min` or `max` asked for a run within 100 windows, and the windows until losses of 5, 10
and 20 % were found, by the operator's own code and by a rule that counts windows beyond the bound, two in a
row; and how many runs `cost` asked for within 100 windows, of champions that are as good as the best, beside
what noise is worth on average at most. Windows, models and losses are those of `looks`. Invariant: the same
seed gives the same figures everywhere.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from statistics import fmean
from typing import Any, Final

import numpy as np

from benchmarks.policies.looks import (
    BEGIN,
    IN_A_ROW,
    METRICS,
    MODELS,
    WINDOWS,
    champions,
    heads,
    measured,
    row,
    spread_of,
    true_value,
)
from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.quality import DIRECTIONS, Direction, Labels
from noria_operator.domain.triggers import Champion
from noria_operator.domain.triggers_cost import NOISE
from noria_operator.domain.triggers_performance import performance

COST: Final = {"pointDay": "1", "run": "15"}
"""As in the comparison of policies; a window is a day, and a point a hundredth."""
DAY: Final = timedelta(days=1)


def runs(fields: Mapping[str, Any], true: float, metric: str, each: Sequence[Labels]) -> Iterator[int]:
    """The windows in which the operator asks for a run of a champion that was accepted with its true value;
    each run is answered, and changes nothing.
    """
    body = {"metric": metric, "minLabels": each[0].samples, "for": IN_A_ROW, **fields}
    trigger = TriggerSpec.model_validate({"name": "quality", "performance": body})
    champion, rule = Champion("model-1", {metric: str(true)}), trigger.performance
    assert rule is not None
    entry = performance(trigger, rule, {}, champion=champion, labels=None, now=BEGIN).entry
    for number, labels in enumerate(each):
        now = BEGIN + DAY * (number + 1)
        found = performance(trigger, rule, entry, champion=champion, labels=labels, now=now)
        entry = found.entry
        if found.wanted:
            entry |= found.answer
            yield number


def as_served(fields: Mapping[str, Any], true: float, metric: str, each: Sequence[Labels]) -> int | None:
    """The first of them; None: there is none."""
    return next(runs(fields, true, metric, each), None)


def in_a_row(bound: float, metric: str, each: Sequence[Labels]) -> int | None:
    """The same of a rule that counts windows beyond the bound."""
    streak = 0
    for number, labels in enumerate(each):
        worse = DIRECTIONS[metric].better(bound, measured(metric, labels).value)
        streak = streak + 1 if worse else 0
        if streak >= IN_A_ROW:
            return number
    return None


def main() -> None:
    """Print both tables, row by row."""
    random = np.random.default_rng(8)
    head = heads("counting", "**Noria**")
    sys.stdout.write(f"| metric, model{head} | cost: false runs | noise is worth |\n{'|---' * 7}|\n")
    for metric in METRICS:
        for name, spread in MODELS.items():
            sys.stdout.write(f"| {metric}, {name} | {' | '.join(_cells(metric, spread, random))} |\n")
            sys.stdout.flush()


def _cells(metric: str, spread: float, random: np.random.Generator) -> list[str]:
    shares = spread_of(spread, random)
    steady, lost = champions(metric, shares, random)
    true = true_value(metric, shares, 0.0)
    side = "min" if DIRECTIONS[metric] is Direction.HIGHER else "max"
    rules = partial(in_a_row, true), partial(as_served, {side: f"{true:.9f}"}, true)
    cells = [cell for rule in rules for cell in row(metric, steady, lost, rule)]
    false = fmean(sum(1 for _ in runs({"cost": COST}, true, metric, each)) for each in steady)
    error = measured(metric, steady[0][0]).error
    worth = WINDOWS * NOISE * error * 100 * float(COST["pointDay"]) / float(COST["run"])
    return [*cells, f"{false:.2f}", f"{worth:.2f}"]


if __name__ == "__main__":
    main()
