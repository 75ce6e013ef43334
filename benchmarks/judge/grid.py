"""Which cases are simulated, and what became of them under each rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from statistics import fmean

from benchmarks.judge.rollout import Rollout
from benchmarks.judge.rules import NORIA, PEERS, UNGUARDED, Outcome, Rule
from benchmarks.judge.traffic import ERRORS, FIXED, HALF, RAMP, Case, Traffic, Truth, rollouts
from benchmarks.judge.troubles import CHALLENGER, Blinks, Clusters, Pods, Retries, Trouble, Windows
from noria_operator.domain.proportions import Interval, wilson

HEALTHY = Truth("0.5 → 0.5 %, healthy", 0.005, 0.005)
HEALTHY_2 = Truth("2 → 2 %, healthy", 0.02, 0.02)
HEALTHY_10 = Truth("10 → 10 %, healthy", 0.1, 0.1)
TWICE = Truth("0.5 → 1 %, twice as bad", 0.005, 0.01)
SLIGHT = Truth("0.5 → 2 %", 0.005, 0.02)
FIVE = Truth("0.5 → 5 %", 0.005, 0.05)
TWENTY = Truth("0.5 → 20 %", 0.005, 0.2)
TRUTHS = (HEALTHY, HEALTHY_2, HEALTHY_10, TWICE, SLIGHT, FIVE, TWENTY)
BURSTS = (
    *(Truth(f"healthy, one burst of {n} on the challenger", 0.005, 0.005, burst=n) for n in (5, 10, 20)),
    Truth("healthy, one burst of 50 on both", 0.005, 0.005, burst=50, shared=True),
    FIVE,
    TWENTY,
    Truth("0.5 → 100 %", 0.005, 1.0),
)
ALIKE = 0.005, 0.005
CLUSTERS = tuple(Truth(f"healthy, errors in clusters of {n}", *ALIKE, Clusters(n)) for n in (2, 5, 20))
RETRIES = Truth("healthy, clients that fail five times, once a second", *ALIKE, Retries(5, 1.0))
TROUBLES = (
    *(Case(truth, FIXED, 10) for truth in (*CLUSTERS, RETRIES)),
    Case(CLUSTERS[1], RAMP, 10),
    Case(
        Truth("2 → 2 %, healthy, clients that fail five times, once a second", 0.02, 0.02, Retries(5, 1.0)),
        FIXED,
        10,
    ),
    Case(Truth("2 → 2 %, healthy, errors in clusters of 20", 0.02, 0.02, Clusters(20)), FIXED, 100),
    Case(Truth("healthy, one pod of four away for 3 s", *ALIKE, Pods(3)), FIXED, 10),
    Case(Truth("healthy, one pod of two away for 3 s", *ALIKE, Pods(1)), HALF, 10),
    Case(Truth("healthy, all away for 3 s", *ALIKE, Blinks()), FIXED, 10),
    Case(Truth("healthy, other shares in each window, of both", *ALIKE, Windows(0.3, True)), FIXED, 10),
    Case(Truth("healthy, other shares in each window, of each", *ALIKE, Windows(0.3)), FIXED, 10),
    Case(Truth("0.5 → 5 %, errors in clusters of 5", 0.005, 0.05, Clusters(5)), FIXED, 10),
    *(Case(truth, HALF, 10) for truth in (FIVE, TWENTY, Truth("0.5 → 50 %", 0.005, 0.5))),
)
GRID = tuple(
    Case(truth, schedule, rate) for schedule in (FIXED, RAMP) for rate in (10, 2) for truth in TRUTHS
)
BURST_GRID = (*(Case(truth, FIXED, 10) for truth in BURSTS), *TROUBLES)
WORSE = 0.005, 0.01
TOGETHER: dict[str, Trouble] = {
    **{f"errors in clusters of {n}": Clusters(n) for n in (2, 5, 20)},
    "clients that fail five times, once a second": Retries(5, 1.0),
    "one pod of four away for 3 s": Pods(3),
    "other shares in each window": Windows(0.3),
}
PROMOTION_GRID = (
    *(Case(Truth(f"0.5 → 1 %, {words}", *WORSE, one), FIXED, 10) for words, one in TOGETHER.items()),
    *(
        Case(Truth(f"0.5 → 2 %, errors in clusters of {n}", 0.005, 0.02, Clusters(n)), FIXED, 10)
        for n in (5, 20)
    ),
    *(Case(Truth(f"healthy, {words}", *ALIKE, one), RAMP, 10) for words, one in TOGETHER.items()),
    *(Case(Truth(f"0.5 → 1 %, {words}", *WORSE, one), RAMP, 10) for words, one in TOGETHER.items()),
)
RULES = (NORIA, *PEERS)
BURST_RULES = (NORIA, UNGUARDED, *PEERS)
BLOCK = 250
"""Runs that one process makes at a time."""
End = tuple[Outcome, int]
"""What became of a rollout, and the challenger's requests that failed until then."""


@dataclass(frozen=True)
class Figures:
    """Shares of the `runs` from 0 to 1; `sure` is Wilson's interval of those aborted, 95 %; `minutes` is the
    mean until the abort, None when none was aborted; `failed` the mean of the challenger's failed requests
    until the abort, else until the end; `passed` those with a Pass at any time.
    """

    runs: int
    aborted: float
    sure: Interval
    minutes: float | None
    failed: float
    promoted: float
    passed: float | None


def measure(case: Case, rules: Sequence[Rule], runs: int, seed: int) -> dict[str, Figures]:
    """Figures of each rule on the same rollouts, by its name."""
    return next(measured([(case, rules, runs)], seed, processes=1))


def measured(
    asked: Sequence[tuple[Case, Sequence[Rule], int]], seed: int, *, processes: int, block: int = BLOCK
) -> Iterator[dict[str, Figures]]:
    """The same of each case, with so many runs. They are divided into blocks, each with rollouts of its own,
    so that it does not matter how many processes share them.
    """
    if not asked:
        return
    blocks = [
        (case, rules, min(block, runs - begin), seed, begin // block)
        for case, rules, runs in asked
        for begin in range(0, runs, block)
    ]
    with ProcessPoolExecutor(processes) if processes > 1 else nullcontext() as pool:
        judged = iter((pool.map if pool else map)(_judged, *zip(*blocks, strict=True)))
        for _, rules, runs in asked:
            ends = [one for part in islice(judged, -(-runs // block)) for one in part]
            yield {rule.name: _figures(each[place] for each in ends) for place, rule in enumerate(rules)}


def _judged(case: Case, rules: Sequence[Rule], runs: int, seed: int, block: int) -> list[tuple[End, ...]]:
    """What became of each rollout of a block under each rule."""
    return [_ends(Rollout(traffic), rules) for traffic in rollouts(case, runs, seed, block)]


def _ends(rollout: Rollout, rules: Sequence[Rule]) -> tuple[End, ...]:
    outcomes = [rule.judge(rollout) for rule in rules]
    return tuple((outcome, _failed(rollout.traffic, outcome)) for outcome in outcomes)


def _failed(traffic: Traffic, outcome: Outcome) -> int:
    return int(traffic[: outcome.aborted, CHALLENGER, ERRORS].sum())


def _figures(found: Iterable[End]) -> Figures:
    outcomes, failed = zip(*found, strict=True)
    aborted = [one.aborted / 60 for one in outcomes if one.aborted is not None]
    passed = [one.passed for one in outcomes if one.passed is not None]
    return Figures(
        runs=len(outcomes),
        aborted=len(aborted) / len(outcomes),
        sure=wilson(len(aborted), len(outcomes)),
        minutes=fmean(aborted) if aborted else None,
        failed=fmean(failed),
        promoted=fmean(one.promoted for one in outcomes),
        passed=fmean(passed) if passed else None,
    )
