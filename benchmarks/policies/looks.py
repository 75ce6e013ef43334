"""`python -m benchmarks.policies.looks [--labels N]`: how often a performance trigger fires though nothing is
lost, and how soon it finds what is.

Comes in: labels of a window. Goes out: for each metric and two models, the share of champions of steady
quality for which `relativeDrop: "0.05"` in such windows asked for a run within 100 windows, and the windows
until losses of one, two and four times the drop were found; by the operator's own code, and by a rule that
judges each window by itself, two in a row, one standard error in the champion's favour. Invariant: the same
seed gives the same figures everywhere.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.performance import Measured, measure
from noria_operator.domain.quality import DIRECTIONS, Labels
from noria_operator.domain.triggers import Champion
from noria_operator.domain.triggers_performance import performance
from noria_serving.contract import SCORE_BINS

WINDOWS, LABELS, CHAMPIONS, LOST = 100, 1000, 100, 25
DROP, IN_A_ROW = 0.05, 2
LOSSES = (1, 2, 4)
"""Of so many drops."""
CHANGE_AT = 30
METRICS = ("logloss", "auc", "accuracy", "f1")
MODELS = {"weak": 1.0, "strong": 2.0}
"""Standard deviation of the scores' logits; scores are calibrated."""
MIDDLES = (np.arange(SCORE_BINS) + 0.5) / SCORE_BINS
BEGIN, CHAMPION = datetime(2026, 1, 1, tzinfo=UTC), Champion("model-1", {})

Array = NDArray[Any]
Rule = Callable[[str, Sequence[Labels]], int | None]


def as_served(metric: str, windows: Sequence[Labels]) -> int | None:
    """The window in which the operator asks for a run; None: in none."""
    enough = windows[0].samples
    fields = {"metric": metric, "relativeDrop": str(DROP), "minLabels": enough, "for": IN_A_ROW}
    trigger = TriggerSpec.model_validate({"name": "quality", "performance": fields})
    assert trigger.performance is not None
    entry = performance(trigger, trigger.performance, {}, champion=CHAMPION, labels=None, now=BEGIN).entry
    for number, labels in enumerate(windows):
        now = BEGIN + timedelta(hours=number + 1)
        found = performance(trigger, trigger.performance, entry, champion=CHAMPION, labels=labels, now=now)
        if found.wanted:
            return number
        entry = found.entry
    return None


def each_by_itself(metric: str, windows: Sequence[Labels]) -> int | None:
    """The same of a rule that remembers the best window and a streak."""
    direction = DIRECTIONS[metric]
    best, streak = None, 0
    for number, labels in enumerate(windows):
        one = measured(metric, labels)
        if best is not None:
            threshold = direction.worsened(best, DROP * best)
            kindly = direction.worsened(one.value, -one.error)
            streak = streak + 1 if direction.better(threshold, kindly) else 0
            if streak >= IN_A_ROW:
                return number
        cautious = direction.worsened(one.value, one.error)
        best = cautious if best is None else direction.best(best, cautious)
    return None


def windows(
    shares: Array, random: np.random.Generator, *, lost_at: int, coins: float, labels: int = LABELS
) -> list[Labels]:
    """One champion's windows; from `lost_at` on a share of labels are a coin's, whatever their score."""
    found = []
    for number in range(WINDOWS):
        rows = random.multinomial(labels, shares)
        chance = MIDDLES if number < lost_at else _with(coins)
        positives = random.binomial(rows, chance)
        found.append(Labels.of((rows - positives).tolist(), positives.tolist()))
    return found


def spread_of(spread: float, random: np.random.Generator) -> Array:
    """How a model's scores are spread over bins; `spread`: of their logits."""
    scores = 1 / (1 + np.exp(-(random.normal(size=200_000) * spread - 0.5)))
    shares: Array = np.histogram(scores, SCORE_BINS, (0, 1))[0] / len(scores)
    return shares


def coins_for(metric: str, shares: Array, drops: int) -> float:
    """The share of labels that have to be a coin's for a loss of so many drops, by bisection."""
    low, high = 0.0, 1.0
    before = true_value(metric, shares, 0.0)
    for _ in range(30):
        middle = (low + high) / 2
        lost = abs(true_value(metric, shares, middle) / before - 1) >= drops * DROP
        low, high = (low, middle) if lost else (middle, high)
    return high


def champions(
    metric: str, shares: Array, random: np.random.Generator, labels: int = LABELS
) -> tuple[list[list[Labels]], list[list[list[Labels]]]]:
    """The windows of champions of steady quality, and by size of the loss of those that lose some."""
    steady = [windows(shares, random, lost_at=WINDOWS, coins=0, labels=labels) for _ in range(CHAMPIONS)]
    lost = [
        [windows(shares, random, lost_at=CHANGE_AT, coins=coins, labels=labels) for _ in range(LOST)]
        for coins in (coins_for(metric, shares, drops) for drops in LOSSES)
    ]
    return steady, lost


def heads(*rules: str) -> str:
    """The columns that `row` fills for each rule."""
    lost_by = ", ".join(f"{drops * DROP:.0%}" for drops in LOSSES)
    return "".join(f" | {rule}: false | {lost_by} found after" for rule in rules)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policies.looks", description=__doc__)
    parser.add_argument("--labels", type=int, default=LABELS, help=f"of a window; default: {LABELS}")
    size = parser.parse_args().labels
    random = np.random.default_rng(7)
    head = heads("each by itself", "Noria")
    sys.stdout.write(f"| metric, model | error of a window{head} |\n{'|---' * 6}|\n")
    for metric in METRICS:
        for name, spread in MODELS.items():
            shares = spread_of(spread, random)
            steady, lost = champions(metric, shares, random, size)
            one = measured(metric, steady[0][0])
            cells = [cell for rule in (each_by_itself, as_served) for cell in row(metric, steady, lost, rule)]
            error = f"{one.error / one.value:.1%}"
            sys.stdout.write(f"| {metric}, {name} | {error} | {' | '.join(cells)} |\n")
            sys.stdout.flush()


def row(
    metric: str, steady: Sequence[Sequence[Labels]], lost: Sequence[Sequence[Sequence[Labels]]], rule: Rule
) -> list[str]:
    """What a rule says of champions without a loss, and of those with losses of each size."""
    alarms = sum(rule(metric, one) is not None for one in steady) / len(steady)
    return [f"{alarms:.0%}", ", ".join(_found(metric, each, rule) for each in lost)]


def _found(metric: str, each: Sequence[Sequence[Labels]], rule: Rule) -> str:
    """What fired before the loss was false, so those champions are left out."""
    when = [rule(metric, one) for one in each]
    later = [number for number in when if number is None or number >= CHANGE_AT]
    delays = [number - CHANGE_AT + 1 for number in later if number is not None]
    return f"{median(delays):g} ({len(delays)}/{len(later)})" if delays else f"never (0/{len(later)})"


def _with(coins: float) -> Array:
    chance: Array = (1 - coins) * MIDDLES + coins / 2
    return chance


def true_value(metric: str, shares: Array, coins: float) -> float:
    """The metric of endless labels."""
    rows = shares * 1e9
    positives = rows * _with(coins)
    return measured(metric, Labels.of((rows - positives).tolist(), positives.tolist())).value


def measured(metric: str, labels: Labels) -> Measured:
    """The metric of a window."""
    found = measure(metric, labels)
    assert found is not None
    return found


if __name__ == "__main__":
    main()
