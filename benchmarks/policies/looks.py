"""`python -m benchmarks.policies.looks`: how often a performance trigger fires though nothing is lost.

Comes in: nothing. Goes out: for each metric and two models, the share of champions of steady quality for
which `relativeDrop: "0.05"` in two windows in a row of 1,000 labels fired within 100 windows, with the rule's
margin of one standard error and with wider ones; and the windows until a real loss was found. Invariant: the
same seed gives the same figures everywhere.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noria_operator.domain.performance import Measured, measure
from noria_operator.domain.quality import DIRECTIONS, Direction, Labels
from noria_serving.contract import SCORE_BINS

WINDOWS, LABELS, CHAMPIONS = 100, 1000, 100
DROP, IN_A_ROW = 0.05, 2
MARGINS = (1.0, 2.0, 3.0)
CHANGE_AT = 30
METRICS = ("logloss", "auc", "accuracy", "f1")
MODELS = {"weak": 1.0, "strong": 2.0}
"""Standard deviation of the scores' logits; scores are calibrated."""
FLIPPED = 0.1
"""Share of labels that are a coin's after the loss."""

Array = NDArray[Any]


def fired(measured: Sequence[Measured], direction: Direction, margin: float) -> int | None:
    """The window in which the rule asks for a run; None: in none."""
    sign = 1.0 if direction is Direction.HIGHER else -1.0
    best, streak = None, 0
    for number, one in enumerate(measured):
        if best is not None:
            threshold = best * (1 - sign * DROP)
            streak = streak + 1 if direction.better(threshold, one.value + sign * margin * one.error) else 0
            if streak >= IN_A_ROW:
                return number
        cautious = one.value - sign * margin * one.error
        best = cautious if best is None else direction.best(best, cautious)
    return None


def windows(metric: str, shares: Array, random: np.random.Generator, *, lost_at: int) -> list[Measured]:
    """One champion's windows; from `lost_at` on some labels have nothing to do with their score."""
    middles, found = (np.arange(SCORE_BINS) + 0.5) / SCORE_BINS, []
    for number in range(WINDOWS):
        rows = random.multinomial(LABELS, shares)
        chance = middles if number < lost_at else (1 - FLIPPED) * middles + FLIPPED / 2
        positives = random.binomial(rows, chance)
        one = measure(metric, Labels.of((rows - positives).tolist(), positives.tolist()))
        assert one is not None
        found.append(one)
    return found


def main() -> None:
    """Print the table."""
    random = np.random.default_rng(7)
    columns = "".join(f"| {margin:g} s.e.: false | found after " for margin in MARGINS)
    sys.stdout.write(f"| metric, model {columns}|\n{'|---' * (1 + 2 * len(MARGINS))}|\n")
    for metric in METRICS:
        for name, spread in MODELS.items():
            scores = 1 / (1 + np.exp(-(random.normal(size=200_000) * spread - 0.5)))
            shares = np.histogram(scores, SCORE_BINS, (0, 1))[0] / len(scores)
            steady = [windows(metric, shares, random, lost_at=WINDOWS) for _ in range(CHAMPIONS)]
            lost = [windows(metric, shares, random, lost_at=CHANGE_AT) for _ in range(CHAMPIONS // 4)]
            cells = [cell for margin in MARGINS for cell in _row(metric, steady, lost, margin)]
            sys.stdout.write(f"| {metric}, {name} | {' | '.join(cells)} |\n")
            sys.stdout.flush()


def _row(
    metric: str, steady: Sequence[Sequence[Measured]], lost: Sequence[Sequence[Measured]], margin: float
) -> tuple[str, str]:
    direction = DIRECTIONS[metric]
    alarms = sum(fired(one, direction, margin) is not None for one in steady) / len(steady)
    # What fired before the loss was false: the windows before it are left out but for the best of them.
    delays = [fired(one[CHANGE_AT - 5 :], direction, margin) for one in lost]
    known = [number - 5 + 1 for number in delays if number is not None]
    found = f"{median(known):g} ({len(known)}/{len(lost)})" if known else f"never (0/{len(lost)})"
    return f"{alarms:.0%}", found


if __name__ == "__main__":
    main()
