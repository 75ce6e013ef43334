"""The end of an experiment: which of several versions is the best, and whether that is sure.

Comes in: what every arm did, beside the champion of the same time, by one metric. Goes out: the winner, or
why there is none. "Surely better" is a test that may be looked at at any time (`verdict` for counts,
`sequences` for labels), against each other version at 20 times the number of arms: whichever version is truly
the best, another one is taken for it in 1 of 20 experiments at most. Invariants: nothing is kept; only an arm
whose verdict is Pass can win; what did not begin together is not compared, nor are
requests or labels of times in which the traffic was divided in another way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from math import exp, log, log1p
from operator import add
from typing import Final

from noria_operator.domain.analysis import Stretch
from noria_operator.domain.quality import DIRECTIONS, Labels
from noria_operator.domain.quality_drop import METRICS, QualityPolicy, together
from noria_operator.domain.sequences import log_mean_exp, log_one_sided, tuned
from noria_operator.domain.verdict import FAIL_AT, HARM_RATIOS, PASS_AT, Counts, Judgement, Verdict

SURE: Final = "Sure"
BEST: Final = "Best"


@dataclass(frozen=True, slots=True)
class Score:
    """What one version did by the metric: requests with how many errors or late answers, for each division
    of the traffic (see `divisions`), or labels, for each stretch of one (see `stretches`).
    """

    version: str
    divided: Mapping[str, Counts] = field(default_factory=dict)
    labels: Mapping[Stretch | None, Labels] = field(default_factory=dict)

    @property
    def counts(self) -> Counts:
        """All of it."""
        return sum(self.divided.values(), Counts())

    def beside(self, other: Score) -> Iterator[tuple[Counts, Counts]]:
        """What both did while traffic was divided in one way, for each in which both were asked."""
        for division, mine in self.divided.items():
            its = other.divided.get(division, Counts())
            if mine.requests and its.requests:
                yield mine, its

    def labelled_beside(self, other: Score) -> list[tuple[Labels, Labels]]:
        """Labels of both for each stretch that both know."""
        return [(mine, other.labels[when]) for when, mine in self.labels.items() if when in other.labels]


@dataclass(frozen=True, slots=True)
class Contender:
    """One arm beside the champion of the same time; `edge` is from when on an answer is late, if that
    counts.
    """

    score: Score
    champion: Score
    since: datetime | None
    judgement: Judgement | None
    edge: float | None = None

    @property
    def may_win(self) -> bool:
        """Whether nothing speaks against it."""
        judgement = self.judgement
        return judgement is not None and judgement.verdict is Verdict.PASS and not judgement.suspicious


@dataclass(frozen=True, slots=True)
class Choice:
    """The place of the winner, if there is one, and why."""

    winner: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Metric:
    """How versions are compared; `quality` None: by the share of errors or late answers."""

    name: str
    quality: QualityPolicy | None = None

    def value(self, score: Score) -> float | None:
        """The estimate; None while there is too little."""
        if self.quality is None:
            return score.counts.errors / score.counts.requests if score.counts.requests else None
        metric, labels = METRICS[self.quality.metric], reduce(add, score.labels.values(), Labels.none())
        return metric.estimate(labels).value if metric.enough([labels]) else None

    def gain(self, one: Score, other: Score) -> float | None:
        """How much better `one` is."""
        if self.quality is None:
            return _less(one, other)
        found = _better(self.quality, one, other)
        return None if found is None else found[0]

    def log_e(self, one: Score, other: Score) -> float:
        """log e against "`one` is no better than `other`"; 0, no evidence, while there is too little."""
        if self.quality is None:
            return _fewer(one, other)
        found = _better(self.quality, one, other)
        if found is None:
            return 0.0
        gain, variance = found
        rho = tuned(2 * log(FAIL_AT) / max(self.quality.max_drop, 0.005) ** 2, 2 / FAIL_AT)
        return log_one_sided(gain / variance, 1 / variance, rho)


def _better(quality: QualityPolicy, one: Score, other: Score) -> tuple[float, float] | None:
    """By how much the quality is better, of labels of the same stretches, and the variance of that."""
    found = together(METRICS[quality.metric], one.labelled_beside(other))
    if found is None:
        return None
    mine, its = found
    return DIRECTIONS[quality.metric].gain(mine.value, its.value), mine.variance + its.variance


def _fewer(one: Score, other: Score) -> float:
    """The harm test of `verdict` with the other as the challenger; a window is all that came in one division
    of the traffic.
    """
    sums = [0.0] * len(HARM_RATIOS)
    for mine, its in one.beside(other):
        share = its.requests / (mine.requests + its.requests)
        both = mine.errors + its.errors
        for place, ratio in enumerate(HARM_RATIOS):
            sums[place] += its.errors * log(ratio) - both * log1p(share * (ratio - 1))
    return log_mean_exp(tuple(sums))


def _less(one: Score, other: Score) -> float | None:
    """By how much the share of errors is smaller, over all divisions (the risk difference of Mantel and
    Haenszel).
    """
    gain = weight = 0.0
    for mine, its in one.beside(other):
        both = mine.requests + its.requests
        gain += (its.errors * mine.requests - mine.errors * its.requests) / both
        weight += mine.requests * its.requests / both
    return gain / weight if weight else None


def choose(metric: Metric, promote: str, arms: Sequence[Contender], rivals: int) -> Choice:
    """The winner of `arms`, which are those left of `rivals`."""
    table = _table(metric, arms)
    why = _apart(arms)
    if why:
        return Choice(None, f"{why} ({table})")
    able = [place for place, arm in enumerate(arms) if arm.may_win and metric.value(arm.score) is not None]
    best = max(able, key=lambda place: _ahead(metric, arms, place), default=None)
    if best is None:
        return Choice(None, f"no arm has the verdict Pass and a value ({table})")
    winner = arms[best]
    others = [winner.champion, *(arm.score for place, arm in enumerate(arms) if place != best)]
    name = winner.score.version
    if promote == BEST:
        waits = ", ".join(arm.score.version for arm in arms if not arm.may_win)
        told = (
            [f"{waits} did not pass yet"] if waits else [_behind(metric, winner.score, one) for one in others]
        )
        if what := next(filter(None, told), ""):
            return Choice(None, f"{what} ({table})")
        return Choice(best, f"{name} is the best of those that pass ({table})")
    needed = log(PASS_AT * rivals)
    unsure = [(one.version, e) for one in others if (e := metric.log_e(winner.score, one)) < needed]
    if promote != SURE or unsure:
        what = ", ".join(f"{version} (e {exp(min(e, 99)):.2f} of {exp(needed):.0f})" for version, e in unsure)
        what = f"{name} is not surely better than {what}" if unsure else f"{name} is surely the best"
        return Choice(None, f"{what} ({table})")
    return Choice(best, f"{name} is surely better than each other version ({table})")


def _ahead(metric: Metric, arms: Sequence[Contender], place: int) -> float:
    """By how much an arm is ahead of the champion."""
    gain = metric.gain(arms[place].score, arms[place].champion)
    return gain if gain is not None else -float("inf")


def _behind(metric: Metric, winner: Score, other: Score) -> str:
    """Why it is not ahead of the other; empty where it is."""
    gain = metric.gain(winner, other)
    if gain is None:
        return f"nothing tells {winner.version} from {other.version} yet"
    return f"{other.version} is as good or better" if gain <= 0 else ""


def _apart(arms: Sequence[Contender]) -> str:
    """Why arms cannot be compared with each other."""
    if len({arm.since for arm in arms}) > 1:
        return "the arms did not begin together, so that a person has to choose"
    if len({arm.edge for arm in arms}) > 1:
        return "the arms' late answers are counted from different edges, so that a person has to choose"
    return ""


def _table(metric: Metric, arms: Sequence[Contender]) -> str:
    """The values of all, and where weights changed, of which no two of these may be compared, what may be."""
    scores = [arm.score for arm in arms] + [arm.champion for arm in arms[:1]]
    what = metric.quality.metric if metric.quality else f"share of {_HITS[metric.name]}"
    told = f"{what}: {_listed((score, metric.value(score)) for score in scores)}"
    if all(len(score.divided) < 2 and len(score.labels) < 2 for score in scores):
        return told
    gains = _listed((arm.score, metric.gain(arm.score, arm.champion)) for arm in arms)
    return f"{told}; better than the champion at the same weights by: {gains}"


def _listed(values: Iterable[tuple[Score, float | None]]) -> str:
    told = ((score.version, "?" if value is None else f"{value:.4f}") for score, value in values)
    return ", ".join(f"{name} {value}" for name, value in told)


_HITS: Final = {"errors": "errors", "latency": "late answers"}
