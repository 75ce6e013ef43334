"""When a distance counts as drift: noise floor, size of the effect, k of n windows, share of the features.

Comes in: the reference, what one closed window counted, and the marks of the windows before. Goes out: a
finding a column, the new marks and one verdict. Invariants: a distance counts only where it is more than
noise (PSI above its floor) and large enough to matter (the chosen measure above its threshold), in `k` of
the last `n` tumbling windows; all of it is a function of counts, so pods, batches and order do not matter.

Where nothing changes, PSI of B bins, n reference rows and m of a window is chi-squared with B - 1 degrees of
freedom times 1/n + 1/m. With half a count in every bin its tail is hardly heavier than that even for rare
categories, where Pearson's statistic alarms a hundred times too often; `1 + 1/sqrt(m)` covers the rest
(tests/unit/domain/drift/test_policy.py measures it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import sqrt
from typing import Final

from noria_operator.domain.drift import alarms, chi_squared
from noria_operator.domain.drift.alarms import Correction, Family
from noria_operator.domain.drift.columns import PREDICTIONS, Column, Reference, Seen, distance
from noria_operator.domain.drift.distances import psi, shares

PSI: Final = "psi"


@dataclass(frozen=True, slots=True)
class Policy:
    """`share` of the features, or the predictions alone, in `k` of `n` windows; `false_alarms` a month."""

    measure: str = PSI
    threshold: float = 0.2
    share: float = 0.3
    features: frozenset[str] = frozenset()
    """Only these; empty: all."""
    predictions: bool = True
    min_samples: int = 200
    k: int = 2
    n: int = 3
    false_alarms: float = 0.01
    correction: Correction = Correction.BONFERRONI


@dataclass(frozen=True, slots=True)
class Finding:
    """One column in one window; `value` None: too few rows to say anything. `floor` is that of PSI."""

    name: str
    samples: int
    value: float | None = None
    psi: float = 0.0
    floor: float = 0.0
    flagged: bool = False
    drifted: bool = False


@dataclass(frozen=True, slots=True)
class Drift:
    """What a closed window says. `share`: of the features that drifted; `expected`: false alarms a month at
    most; `marks`: to be kept until the next window.
    """

    findings: tuple[Finding, ...]
    marks: str
    share: float
    drifted: bool
    suspected: bool
    expected: float

    @property
    def worst(self) -> tuple[Finding, ...]:
        """Columns that could be judged: the drifted first, then by distance."""
        known = [one for one in self.findings if one.value is not None]
        return tuple(
            sorted(known, key=lambda one: (one.drifted, one.flagged, one.value or 0.0), reverse=True)
        )


def watched(policy: Policy, reference: Reference) -> list[Column]:
    """The columns that the policy looks at, the predictions last."""
    named = policy.features
    features = [column for column in reference.columns if not named or column.name in named]
    return [*features, *reference.predictions] if policy.predictions else features


def judge(
    policy: Policy,
    columns: Sequence[Column],
    seen: Mapping[str, Seen],
    marks: str,
    length: timedelta,
    *,
    apart: bool = False,
) -> Drift:
    """Judge a window of `length`. `columns` as from `watched`, or the same with another window's bins;
    `apart`: with bins that no other window is compared with.
    """
    rows = [seen.get(column.name) for column in columns]
    level, expected = _level(policy, columns, rows, length, apart=apart)
    known = [
        None if found is None or not _enough(policy, column, found) else _test(column, found)
        for column, found in zip(columns, rows, strict=True)
    ]
    tested = [p for p, _ in filter(None, known)]
    # Of all columns watched, also those that say nothing now: the level does not depend on what came in.
    padded = [*tested, *[1.0] * (len(columns) - len(tested))]
    once = alarms.of_each(padded, level, policy.correction)
    findings, history = [], []
    for place, (column, found, test) in enumerate(zip(columns, rows, known, strict=True)):
        one = _finding(policy, column, found, test, level=once)
        mark = _shifted(marks, place, one.flagged, policy.n)
        history.append(mark)
        drifted = one.flagged and mark.bit_count() >= policy.k
        findings.append(Finding(one.name, one.samples, one.value, one.psi, one.floor, one.flagged, drifted))
    return _together(policy, findings, "".join(f"{mark:02x}" for mark in history), expected)


def floor(level: float, bins: int, n: int, m: int) -> float:
    """PSI that noise alone exceeds with probability `level`, for n reference rows and m of a window."""
    return chi_squared.critical(level, bins - 1) * _scale(n, m)


def _level(
    policy: Policy,
    columns: Sequence[Column],
    rows: Sequence[Seen | None],
    length: timedelta,
    *,
    apart: bool,
) -> tuple[float, float]:
    single = sum(column.name in PREDICTIONS for column in columns)
    features = len(columns) - single
    independent = apart or all(
        column.samples >= alarms.MUCH_LARGER * found.samples
        for column, found in zip(columns, rows, strict=True)
        if found is not None
    )
    needed = alarms.needed(policy.share, features)
    tests = Family(
        alarms.windows_a_month(length),
        features,
        single,
        needed,
        policy.k,
        policy.n,
        independent,
        policy.correction,
    )
    level = alarms.level(policy.false_alarms, tests)
    return level, alarms.expected(level, tests)


def _enough(policy: Policy, column: Column, found: Seen) -> bool:
    fits = len(found.bins) == len(column.bins)
    return fits and len(column.bins) > 1 and column.samples > 0 and found.samples >= policy.min_samples


def _test(column: Column, found: Seen) -> tuple[float, float]:
    """Probability of such a PSI by noise alone, and the PSI."""
    value = psi(shares(column.bins), shares(found.bins))
    scale = _scale(column.samples, found.samples)
    return chi_squared.beyond(value / scale, len(column.bins) - 1), value


def _scale(n: int, m: int) -> float:
    return (1 / n + 1 / m) * (1 + 1 / sqrt(m))


def _finding(
    policy: Policy,
    column: Column,
    found: Seen | None,
    test: tuple[float, float] | None,
    *,
    level: float,
) -> Finding:
    if found is None or test is None:
        return Finding(column.name, found.samples if found else 0)
    value = test[1] if policy.measure == PSI else distance(policy.measure, column, found.bins)
    least = floor(level, len(column.bins), column.samples, found.samples)
    flagged = test[0] <= level and value > policy.threshold
    return Finding(column.name, found.samples, value, test[1], least, flagged)


def _shifted(marks: str, place: int, flagged: bool, n: int) -> int:
    """The flags of a column's last `n` windows as bits, the newest lowest."""
    before = int(marks[2 * place : 2 * place + 2] or "0", 16)
    return (before << 1 | flagged) & ((1 << n) - 1)


def _together(policy: Policy, findings: list[Finding], marks: str, expected: float) -> Drift:
    features = [one for one in findings if one.name not in PREDICTIONS]
    drifted = sum(one.drifted for one in features)
    share = drifted / len(features) if features else 0.0
    many = bool(features) and drifted >= alarms.needed(policy.share, len(features))
    alone = any(one.drifted for one in findings if one.name in PREDICTIONS)
    suspected = any(one.flagged for one in findings)
    return Drift(tuple(findings), marks, share, many or alone, suspected, expected)
