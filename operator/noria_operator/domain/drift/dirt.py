"""Broken data: shares of missing, unseen and out-of-range values that grew beyond what is tolerated.

Comes in: the reference and what a closed window counted beside the bins. Goes out: violations, each with its
share and how sure it is. Invariants: a share counts only where its lower confidence bound (Wilson's, at a
level that all checks of the window have in common) lies more than the tolerated growth above the reference's
share, so that few rows alarm on nothing; a column without a single value is judged like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from noria_operator.domain.drift import alarms
from noria_operator.domain.drift.columns import Column, Seen
from noria_operator.domain.proportions import wilson

CHECKS: Final = 3
"""Of each column."""
LABEL: Final = "__label__"
"""The column of what turned out to be true."""


class Check(StrEnum):
    """What is wrong with a column; SageMaker's names where it has one."""

    COMPLETENESS = "completeness"
    """Values are missing."""
    CATEGORICAL_VALUES = "categoricalValues"
    """Categories that the reference does not know."""
    RANGE = "range"
    """Numbers below the reference's least or above its greatest."""
    MISSING_COLUMN = "missingColumn"
    """Nobody counts this column: the served model has another signature than its reference."""
    VOLUME = "volume"
    """Too few rows came in, or too many."""
    DATA_TYPE = "dataType"
    """Texts where the reference has numbers; of requests, those that are refused with 400."""
    DUPLICATES = "duplicates"
    """Rows that are equal to another one in every column."""
    FRESHNESS = "freshness"
    """The newest row, or the newest label, is too old."""
    BASELINE_DRIFT = "baselineDrift"
    """A distribution that is too far from the reference's."""
    SKEW = "trainingServingSkew"
    """Rows for training that are too far from those that a model is asked."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Requests of a window that were answered or refused for what they hold (types, shapes, names), and how
    many of them were refused; rows in which servers looked for doubles, and how many of them equal an
    earlier one.
    """

    requests: int = 0
    malformed: int = 0
    rows: int = 0
    equal: int = 0


@dataclass(frozen=True, slots=True)
class DirtPolicy:
    """Growth of each share over the reference's that is tolerated, from 0 to 1."""

    missing: float = 0.1
    unseen: float = 0.1
    out_of_range: float = 0.1
    duplicates: float = 1.0
    features: frozenset[str] = frozenset()
    min_samples: int = 200
    false_alarms: float = 0.01


@dataclass(frozen=True, slots=True)
class Violation:
    """`share` of `samples` rows, more than `tolerated`; surely at least `lower`. Of VOLUME these are rows,
    fewer or more than tolerated; of FRESHNESS seconds.
    """

    column: str
    check: Check
    share: float
    lower: float
    tolerated: float
    samples: int


@dataclass(frozen=True, slots=True)
class Dirt:
    """What a closed window says; the largest excess first. Each bound was taken at `z` standard errors."""

    violations: tuple[Violation, ...]
    checked: int
    expected: float
    z: float


def judge(
    policy: DirtPolicy,
    columns: Sequence[Column],
    seen: Mapping[str, Seen],
    rows: int,
    length: timedelta,
    *,
    asked: Asked = Asked(),
    beside: int = 0,
) -> Dirt:
    """Judge a window of `length` with so many `rows`; `beside`: checks of others that share the level."""
    checks = CHECKS * len(columns) + 2 + beside
    z, expected = alarms.bound(policy.false_alarms, length, checks)
    found = [
        violation
        for column in columns
        for violation in _column(policy, column, seen.get(column.name), rows, z)
    ]
    found += _of_all(policy, asked, z)
    found.sort(key=lambda one: one.tolerated - one.share)
    return Dirt(tuple(found), checks, expected, z)


def _of_all(policy: DirtPolicy, asked: Asked, z: float) -> Iterator[Violation]:
    """Rows of a request that is refused for what it holds are missing altogether: the same limit counts."""
    for check, hits, total, tolerated in (
        (Check.DATA_TYPE, asked.malformed, asked.requests, policy.missing),
        (Check.DUPLICATES, asked.equal, asked.rows, policy.duplicates),
    ):
        lower = wilson(hits, total, z)[0] if total >= policy.min_samples else 0.0
        if lower > tolerated:
            yield Violation("", check, hits / total, lower, tolerated, total)


def watched(policy: DirtPolicy, columns: Sequence[Column]) -> list[Column]:
    """The columns that the policy looks at."""
    return [one for one in columns if not policy.features or one.name in policy.features]


def _column(
    policy: DirtPolicy, column: Column, seen: Seen | None, rows: int, z: float
) -> Iterator[Violation]:
    if seen is None:
        if rows >= policy.min_samples:
            yield Violation(column.name, Check.MISSING_COLUMN, 1.0, 1.0, 0.0, rows)
        return
    if seen.rows < policy.min_samples:
        return
    trained = max(1, column.missing + column.samples)
    for check, hits, known, tolerated in (
        (Check.COMPLETENESS, seen.missing, column.missing / trained, policy.missing),
        (Check.CATEGORICAL_VALUES, seen.unseen, 0.0, policy.unseen),
        (Check.RANGE, seen.low + seen.high, column.infinite / trained, policy.out_of_range),
    ):
        lower = wilson(hits, seen.rows, z)[0]
        if lower > known + tolerated:
            yield Violation(column.name, check, hits / seen.rows, lower, known + tolerated, seen.rows)
