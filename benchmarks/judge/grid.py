"""Which cases are simulated, and what became of them under each rule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmarks.judge.rules import NORIA, PEERS, UNGUARDED, Outcome, Rule
from benchmarks.judge.traffic import ERRORS, FIXED, HALF, RAMP, Case, Traffic, Truth, rollouts
from benchmarks.judge.troubles import CHALLENGER, Blinks, Clusters, Pods, Retries, Windows

HEALTHY = Truth("0.5 → 0.5 %, healthy", 0.005, 0.005)
FIVE = Truth("0.5 → 5 %", 0.005, 0.05)
TWENTY = Truth("0.5 → 20 %", 0.005, 0.2)
TRUTHS = (
    HEALTHY,
    Truth("2 → 2 %, healthy", 0.02, 0.02),
    Truth("0.5 → 1 %, twice as bad", 0.005, 0.01),
    Truth("0.5 → 2 %", 0.005, 0.02),
    FIVE,
    TWENTY,
)
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
RULES = (NORIA, *PEERS)
BURST_RULES = (NORIA, UNGUARDED, *PEERS)


@dataclass(frozen=True)
class Figures:
    """Shares of the runs from 0 to 1; `minutes` is the mean until the abort, None when none was aborted;
    `failed` the mean of the challenger's failed requests until the abort, else until the end.
    """

    aborted: float
    minutes: float | None
    failed: float
    promoted: float


def measure(case: Case, rules: Sequence[Rule], runs: int, seed: int) -> dict[str, Figures]:
    """Figures of each rule on the same rollouts, by its name."""
    outcomes: dict[str, list[tuple[Outcome, int]]] = {rule.name: [] for rule in rules}
    for traffic in rollouts(case, runs, seed):
        for rule in rules:
            outcome = rule.judge(traffic)
            outcomes[rule.name].append((outcome, _failed(traffic, outcome)))
    return {name: _figures(found) for name, found in outcomes.items()}


def _failed(traffic: Traffic, outcome: Outcome) -> int:
    return int(traffic[: outcome.aborted, CHALLENGER, ERRORS].sum())


def _figures(found: Iterable[tuple[Outcome, int]]) -> Figures:
    outcomes, failed = zip(*found, strict=True)
    aborted = [one.aborted / 60 for one in outcomes if one.aborted is not None]
    return Figures(
        aborted=len(aborted) / len(outcomes),
        minutes=fmean(aborted) if aborted else None,
        failed=fmean(failed),
        promoted=fmean(one.promoted for one in outcomes),
    )
