"""`python -m benchmarks.judge.measures [--runs N]`: simulate rollouts judged by latency, by quality, by
disagreement and, on a ramp, by quality and predictions, and print a table of each. About two minutes.

Each rollout is looked at after every window, as in production, and ends with its first Fail or Pass; harm is
seen at two times. Errors, which are judged beside it, are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import fmean
from typing import Final, Generic, TypeVar

import numpy as np

from noria_operator.domain import disagreement, latency, predictions, quality_drop
from noria_operator.domain.confirmation import confirmed, doubts
from noria_operator.domain.disagreement import DisagreementPolicy, Pairs
from noria_operator.domain.predictions import Outputs
from noria_operator.domain.quality import Labels
from noria_operator.domain.quality_drop import QualityPolicy
from noria_operator.domain.verdict import Counts, Evidence, Judgement, Verdict, Window, decide, step
from noria_serving.contract import SCORE_BINS

SHARE = 0.1
"""The challenger's share of the requests."""
WINDOWS = 180
"""Of ten seconds: half an hour."""
TESTS = 2
"""Measures that share the false alarms: this one and errors."""
SLOW = (
    *((0.1, new, 10, 1) for new in (0.1, 0.2, 0.3, 0.5)),
    *((0.1, new, 2, 1) for new in (0.1, 0.3)),
    *((0.1, new, 10, 5) for new in (0.1, 0.2, 0.3)),
)
"""Shares of slow answers of champion and challenger, requests a second, how many are slow together."""
RIGHT = ((0.9, 0.9), (0.9, 0.92), (0.9, 0.88), (0.9, 0.85), (0.9, 0.8))
"""Accuracies of champion and challenger."""
LABELS = 100
"""Of the challenger, between two looks; of the champion nine times as many."""
LOOKS = 100
DIFFERING = (0.0, 0.03, 0.05, 0.1, 0.15, 0.2, 0.35)
"""Shares of requests that champion and challenger answer differently."""
PAIRS = 20
"""Between two looks."""
PAIR_LOOKS = 250
RAMP = ((0.1, 0.95, 0.0), (0.5, 0.85, 3.0))
"""By day and by night: the challenger's share, the champion's accuracy, the mean of its predictions."""
RAMP_LOOKS = 10
"""At each share."""
PREDICTION_BINS = 128
"""On either side of zero, eight a standard deviation."""
RAMP_ROWS = 1000
"""Requests with labels between two looks, of both."""
WORSE = ((0.0, 0.0), (0.02, 0.02), (0.0, 0.1), (0.1, 0.1))
"""How much less often the challenger is right by day and by night."""
OFF = ((0.0, 0.0), (0.0, 2.0), (1.0, 1.0))
"""How far its predictions lie off, in standard deviations."""

Pair = tuple[float, float]
"""By day and by night."""
Seen = TypeVar("Seen")
"""What came up to a look, of one share of the traffic."""
INTERVAL: Final = timedelta(seconds=10)
Ends = list[tuple[Verdict, int]]
"""The first verdict that is none of Hold, and after how many looks."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judge.measures", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="rollouts of each case")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    sys.stdout.write("\n".join(tables(options.runs, options.seed)) + "\n")


def tables(runs: int, seed: int) -> Iterator[str]:
    """Markdown, line by line."""
    yield "| slow answers, champion → challenger | together | requests/s | failed | min | passed | min |"
    yield "|---|---|---|---|---|---|---|"
    for old, new, rate, size in SLOW:
        case = (old, new, rate, size)
        ends = _runs(runs, seed, lambda random, case=case: _slow(random, *case))  # type: ignore[misc]
        yield f"| {old:.0%} → {new:.0%} | {size} | {rate} | {_shown(ends, 6)} |"
    yield ""
    yield "| accuracy, champion → challenger | failed | after labels | passed | after labels |"
    yield "|---|---|---|---|---|"
    for before, after in RIGHT:
        ends = _runs(runs, seed, lambda random, case=(before, after): _labelled(random, *case))  # type: ignore[misc]
        yield f"| {before} → {after} | {_shown(ends, 1 / LABELS)} |"

    yield ""
    yield "| requests answered differently | failed | after pairs | passed | after pairs |"
    yield "|---|---|---|---|---|"
    for rate in DIFFERING:
        ends = _runs(runs, seed, lambda random, rate=rate: _paired(random, rate))  # type: ignore[misc]
        yield f"| {rate:.0%} | {_shown(ends, 1 / PAIRS)} |"
    ramps: tuple[tuple[str, Sequence[Pair], Callable[[Pair, np.random.Generator], Iterator[Verdict]]], ...]
    ramps = (("accuracy lower by", WORSE, _labelled_on_ramp), ("predictions higher by", OFF, _shifted))
    for what, cases, rollout in ramps:
        yield ""
        head = f"{what}, weight 10 by day → 50 by night"
        yield f"| {head} | failed | after requests | passed | after requests |"
        yield "|---|---|---|---|---|"
        for day, night in cases:
            ends = _runs(runs, seed, partial(rollout, (day, night)))
            yield f"| {day} → {night} | {_shown(ends, 1 / RAMP_ROWS)} |"


def _runs(runs: int, seed: int, rollout: Callable[[np.random.Generator], Iterator[Verdict]]) -> Ends:
    random = np.random.default_rng(seed)
    return [_end(rollout(random)) for _ in range(runs)]


def _end(verdicts: Iterator[Verdict]) -> tuple[Verdict, int]:
    looks = 0
    for looks, verdict in enumerate(verdicts, 1):
        if verdict is not Verdict.HOLD:
            return verdict, looks
    return Verdict.HOLD, looks


def _slow(random: np.random.Generator, old: float, new: float, rate: float, size: int) -> Iterator[Verdict]:
    """Judged by the share of slow answers, `size` together, with the defaults of `analysis.latency`."""
    evidence, of = Evidence(), latency.comparison(25, 2.0)
    for _ in range(WINDOWS):
        champion, challenger = answers = random.poisson([10 * rate * (1 - SHARE), 10 * rate * SHARE])
        groups = np.floor(answers / size + random.random(2)).astype(int)
        late = np.minimum(answers, size * random.binomial(groups, [old, new]))
        window = Window(Counts(int(champion), int(late[0])), Counts(int(challenger), int(late[1])))
        evidence = step(evidence, window)
        yield decide(evidence, 0.1, of=of, measures=TESTS).verdict


@dataclass
class _Twice(Generic[Seen]):
    """Looks at a measure, one an interval; `minus` is what came after an earlier look."""

    judge: Callable[[Sequence[Seen]], Judgement]
    minus: Callable[[Seen, Seen], Seen]
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    doubts: dict[str, datetime] = field(default_factory=dict)
    before: Sequence[Seen] | None = None

    def look(self, seen: Sequence[Seen]) -> Verdict:
        self.now += INTERVAL
        judged, again = self.judge(seen), None
        self.doubts = doubts(self.doubts, judged, self.now)
        if not self.doubts:
            self.before = None
        elif self.before is not None:
            later = map(self.minus, seen, self.before)
            again = self.judge([*later, *seen[len(self.before) :]])
        elif self.now >= min(self.doubts.values()) + INTERVAL:
            self.before = seen
        return confirmed(judged, again, None).verdict


def _by_labels(policy: QualityPolicy) -> _Twice[tuple[Labels, Labels]]:
    def minus(now: tuple[Labels, Labels], before: tuple[Labels, Labels]) -> tuple[Labels, Labels]:
        old, new = (
            _labels(_right(a) - _right(b), a.samples - b.samples) for a, b in zip(now, before, strict=True)
        )
        return old, new

    return _Twice(lambda arms: quality_drop.judge(policy, arms, TESTS), minus)


def _labelled(random: np.random.Generator, before: float, after: float) -> Iterator[Verdict]:
    """Judged by accuracy, with the default `maxDrop` of 0.02."""
    right, judge = np.zeros(2, dtype=np.int64), _by_labels(QualityPolicy("accuracy"))
    for look in range(1, LOOKS + 1):
        right += random.binomial([9 * LABELS, LABELS], [before, after])
        champion = _labels(int(right[0]), 9 * LABELS * look)
        challenger = _labels(int(right[1]), LABELS * look)
        yield judge.look([(champion, challenger)])


def _paired(random: np.random.Generator, rate: float) -> Iterator[Verdict]:
    """Judged by answers to copies, with the default `maxRate` of 0.1."""
    pairs, policy = Pairs(), DisagreementPolicy()

    def judged(seen: Sequence[Pairs]) -> Judgement:
        return disagreement.judge(policy, seen[0], None, copied=True, measures=TESTS)

    judge = _Twice(judged, Pairs.__sub__)
    for differing in random.binomial(PAIRS, rate, size=PAIR_LOOKS):
        pairs += Pairs(PAIRS, float(differing))
        yield judge.look([pairs])


def _labelled_on_ramp(worse: Pair, random: np.random.Generator) -> Iterator[Verdict]:
    """Judged by accuracy; the champion itself is right less often by night, when the challenger has half."""
    judge = _by_labels(QualityPolicy("accuracy"))
    stretches: list[tuple[Labels, Labels]] = []
    for (share, good, _), drop in zip(RAMP, worse, strict=True):
        right, came = np.zeros(2, dtype=np.int64), _arms(share)
        for look in range(1, RAMP_LOOKS + 1):
            right += random.binomial(came, [good, good - drop])
            champion, challenger = (
                _labels(int(one), look * rows) for one, rows in zip(right, came, strict=True)
            )
            arms = [*stretches, (champion, challenger)]
            yield _at_last(share, judge.look(arms))
        stretches = arms


def _shifted(off: Pair, random: np.random.Generator) -> Iterator[Verdict]:
    """Judged by predictions, with a `maxDistance` of 0.2; those of the night are higher."""
    stretches: list[tuple[Outputs, Outputs]] = []
    judge = _Twice(lambda arms: predictions.judge(0.2, arms, TESTS), _outputs_minus)
    for (share, _, mean), shift in zip(RAMP, off, strict=True):
        seen = np.zeros((2, 2 * PREDICTION_BINS), dtype=np.int64)
        for _ in range(RAMP_LOOKS):
            for arm, rows in enumerate(_arms(share)):
                values = random.normal(mean + shift * arm, 1, rows) * 8 + PREDICTION_BINS
                seen[arm] += np.bincount(values.astype(int), minlength=2 * PREDICTION_BINS)
            champion, challenger = (Outputs(-3, -PREDICTION_BINS, tuple(one)) for one in seen.tolist())
            arms = [*stretches, (champion, challenger)]
            yield _at_last(share, judge.look(arms))
        stretches = arms


def _outputs_minus(now: tuple[Outputs, Outputs], before: tuple[Outputs, Outputs]) -> tuple[Outputs, Outputs]:
    old, new = (a + b * -1 for a, b in zip(now, before, strict=True))
    return old, new


def _arms(share: float) -> tuple[int, int]:
    challenger = round(share * RAMP_ROWS)
    return RAMP_ROWS - challenger, challenger


def _at_last(share: float, verdict: Verdict) -> Verdict:
    """Before the last weight a Pass promotes nobody."""
    return Verdict.HOLD if verdict is Verdict.PASS and share < RAMP[-1][0] else verdict


def _labels(right: int, labels: int) -> Labels:
    """Positive ones, with scores at both ends."""
    positives = [0] * SCORE_BINS
    positives[0], positives[-1] = labels - right, right
    return Labels.of([0] * SCORE_BINS, positives)


def _right(labels: Labels) -> int:
    return labels.positives[-1]


def _shown(ends: Ends, unit: float) -> str:
    cells = []
    for wanted in (Verdict.FAIL, Verdict.PASS):
        after = [looks / unit for verdict, looks in ends if verdict is wanted]
        mean = (f"{fmean(after):.1f}" if unit > 1 else f"{fmean(after):.0f}") if after else "–"
        cells.append(f"{len(after) / len(ends):.1%} | {mean}")
    return " | ".join(cells)


if __name__ == "__main__":
    main()
