"""Disagreement of a challenger as a measure: how often it answers a request otherwise than the champion.

Comes in: pairs of answers to one request, of which the challenger got a copy. Goes out: a judgement. Each
pair adds a number from 0 to 1, the share of its rows that differ. Whether their mean is above (or below) the
one allowed is tested by likelihood ratios of draws of 0 and 1 ("Anytime-valid inference for multinomial count
data", arXiv 2011.03567): aˣ·b¹⁻ˣ ≤ x·a + (1 − x)·b, so they are e-values for numbers between these as well.
Invariants: all is computed from sums, so it does not matter when one looks; no pair is counted twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import log, log1p
from typing import Any, Final

from noria_operator.domain.sequences import log_mean_exp
from noria_operator.domain.tasks import BINARY, MULTICLASS
from noria_operator.domain.verdict import FAIL_AT, PASS_AT, Judgement, Verdict, times_log

MEASURE: Final = "disagreement"
WORSE: Final = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""Alternatives of the harm test: odds of a difference, as multiples of those that are allowed."""
BETTER: Final = (0.0, 0.1, 0.25, 0.5, 0.75)
"""Alternatives of the ok test: shares of the rate that is allowed."""
UNREAD: Final = "the model servers' answers cannot be read"
OVER: Final = "; copies are sent no more, so that a person has to decide"


@dataclass(frozen=True, slots=True)
class DisagreementPolicy:
    """The rate that is allowed, and by how much of the larger one two numbers may differ."""

    max_rate: float = 0.1
    tolerance: float = 0.01


@dataclass(frozen=True, slots=True)
class Pairs:
    """Sums over pairs: how many, the shares of their rows that differ, and the mean absolute differences of
    their numbers (None where answers are none: of several classes).
    """

    count: int = 0
    differing: float = 0.0
    difference: float | None = None

    def __add__(self, other: Pairs) -> Pairs:
        known = [one.difference for one in (self, other) if one.difference is not None]
        total = sum(known) if known else None
        return Pairs(self.count + other.count, self.differing + other.differing, total)

    def __sub__(self, other: Pairs) -> Pairs:
        total = None if self.difference is None else self.difference - (other.difference or 0.0)
        return Pairs(self.count - other.count, self.differing - other.differing, total)


@dataclass(frozen=True, slots=True)
class Paired:
    """What one reader of servers has paired since it began; not `readable` when a version's servers do not
    answer. `untold` names who cannot tell.
    """

    reader: str
    pairs: Pairs = field(default_factory=Pairs)
    readable: bool = True
    untold: str = ""


@dataclass(frozen=True, slots=True)
class Compared:
    """All pairs so far, and how many of them `reader` had when they were last counted in; `earlier` are those
    that came before what has to show harm by itself (`confirmation`), None where nothing has to.
    """

    pairs: Pairs = field(default_factory=Pairs)
    reader: str = ""
    mark: Pairs = field(default_factory=Pairs)
    earlier: Pairs | None = None

    def plus(self, seen: Paired | None) -> Compared:
        """With what came since. Another reader began after this was kept: all of its pairs are new."""
        if seen is None:
            return self
        came = seen.pairs - self.mark if seen.reader == self.reader else seen.pairs
        if not came.count:
            return self
        return replace(self, pairs=self.pairs + came, reader=seen.reader, mark=seen.pairs)

    @property
    def later(self) -> Pairs | None:
        """Those that have to show harm by themselves."""
        return None if self.earlier is None else self.pairs - self.earlier


def compare(one: Sequence[Any], other: Sequence[Any], task: str, tolerance: float) -> Pairs:
    """The pair of two answers: a number a row, or a class's name where `task` is multiclass; None is NaN.

    A score of two classes stands for the one that is likelier; other numbers differ where they are more than
    `tolerance` of the larger one apart.
    """
    if not one or len(one) != len(other):
        return Pairs(1, 1.0)
    if task == MULTICLASS:
        return Pairs(1, sum(str(a) != str(b) for a, b in zip(one, other, strict=True)) / len(one))
    differ, apart = 0, 0.0
    for a, b in zip(one, other, strict=True):
        if a is None or b is None:
            differ += a is not b
            continue
        apart += abs(a - b)
        near = (a > 0.5) == (b > 0.5) if task == BINARY else abs(a - b) <= tolerance * max(abs(a), abs(b))
        differ += not near
    return Pairs(1, differ / len(one), apart / len(one))


def log_e_harm(pairs: Pairs, most: float) -> float:
    """log e against "they differ in `most` of the cases or in fewer"."""
    odds = most / (1 - most)
    return _log_e(pairs, most, [odds * ratio / (1 + odds * ratio) for ratio in WORSE])


def log_e_ok(pairs: Pairs, most: float) -> float:
    """log e against "they differ in `most` of the cases or in more"."""
    return _log_e(pairs, most, [most * share for share in BETTER])


def _log_e(pairs: Pairs, most: float, rates: Sequence[float]) -> float:
    same = pairs.count - pairs.differing
    gains = (times_log(pairs.differing, rate / most) + same * (log1p(-rate) - log1p(-most)) for rate in rates)
    return log_mean_exp(tuple(gains))


def judge(
    policy: DisagreementPolicy,
    pairs: Pairs,
    seen: Paired | None,
    *,
    copied: bool,
    measures: int,
    rivals: int = 1,
) -> Judgement:
    """The verdict on a rate of at most `policy.max_rate`; `measures` tests share the false alarms, `rivals`
    challengers those and the false passes. `copied`: the challenger gets copies of requests now.
    """
    most = policy.max_rate
    harm, fine = log_e_harm(pairs, most), log_e_ok(pairs, most)
    fail_at, pass_at = log(FAIL_AT * measures * rivals), log(PASS_AT * rivals)
    figures = {"pairs": pairs.count, "maxRate": most, "logEHarm": harm, "logEOk": fine}
    figures |= {"logFailAt": fail_at, "logPassAt": pass_at}
    if pairs.count:
        figures["rate"] = pairs.differing / pairs.count
    if pairs.count and pairs.difference is not None:
        figures["meanAbsoluteDifference"] = pairs.difference / pairs.count
    text = f"in {figures.get('rate', 0):.3f} of {pairs.count} pairs, at most {most:g} allowed"
    held = f"not enough evidence yet: {text}" if pairs.count else _waits(seen, copied=copied)
    chain = (
        (harm >= fail_at, Verdict.FAIL, f"they answer otherwise too often: {text}"),
        (fine >= pass_at, Verdict.PASS, f"they differ {text}"),
        (copied and seen is not None and not seen.readable, Verdict.ERROR, UNREAD),
        (copied, Verdict.HOLD, held),
        (True, Verdict.HOLD, f"{held}{OVER if seen or pairs.count else ''}"),
    )
    verdict, said = next((verdict, said) for holds, verdict, said in chain if holds)
    return Judgement(verdict, said, MEASURE, harm, figures)


def _waits(seen: Paired | None, *, copied: bool) -> str:
    if seen is not None and seen.untold:
        return f"the {seen.untold}'s server is of an earlier release, which tells no answers"
    return "waiting for requests that both answer" if copied else "waiting for copies of requests"
