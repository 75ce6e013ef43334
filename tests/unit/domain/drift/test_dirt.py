"""Broken data is found by shares that surely grew, and by nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from noria_operator.domain.drift.columns import Column, Seen
from noria_operator.domain.drift.dirt import Asked, Check, DirtPolicy, judge, watched

HOUR = timedelta(hours=1)
DEFAULT = DirtPolicy()
X = Column("x", (500,) * 10, 250, tuple(map(float, range(9))), -1.0, 9.0)
"""A twentieth of it was missing in training (0.048)."""


def found(seen: Seen | None, policy: DirtPolicy = DEFAULT, rows: int | None = None) -> list[Check]:
    counts = {} if seen is None else {"x": seen}
    total = rows if rows is not None else seen.rows if seen else 0
    return [one.check for one in judge(policy, [X], counts, total, HOUR).violations]


@pytest.mark.parametrize(
    ("seen", "check"),
    [
        (Seen((0,) * 10, missing=1000), Check.COMPLETENESS),
        (Seen((70,) * 10, missing=300), Check.COMPLETENESS),
        (Seen((70,) * 10, unseen=300), Check.CATEGORICAL_VALUES),
        (Seen((100,) * 10, low=300), Check.RANGE),
        (Seen((100,) * 10, high=1000), Check.RANGE),
    ],
)
def test_a_share_that_surely_grew_is_named(seen: Seen, check: Check) -> None:
    assert found(seen) == [check]


@pytest.mark.parametrize(
    "seen",
    [
        Seen((95,) * 10, missing=50),
        Seen((86,) * 10, missing=140),
        Seen((83,) * 10, missing=170),
        Seen((95,) * 10, unseen=50, low=20, high=20),
        Seen((100,) * 10),
        Seen((0,) * 10),
        Seen((0,) * 10, missing=150),
    ],
)
def test_what_is_tolerated_or_may_be_chance_is_not(seen: Seen) -> None:
    assert found(seen) == []


def test_however_few_false_alarms_are_asked_for_broken_data_is_found() -> None:
    fewest = DirtPolicy(false_alarms=1e-15)  # the least that a spec can say
    columns = [replace(X, name=f"x{place}") for place in range(10)]
    seen = {one.name: Seen((95,) * 10, missing=50) for one in columns} | {"x3": Seen((0,) * 10, missing=1000)}
    said = judge(fewest, columns, seen, 1000, HOUR)
    assert [(one.column, one.check) for one in said.violations] == [("x3", Check.COMPLETENESS)]


def test_each_limit_can_be_moved_and_left_out() -> None:
    seen = Seen((50,) * 10, missing=100, unseen=400, low=300)
    assert set(found(seen)) == {Check.CATEGORICAL_VALUES, Check.RANGE}
    assert found(seen, DirtPolicy(unseen=1, out_of_range=1)) == []
    assert found(seen, DirtPolicy(missing=0.01, unseen=1, out_of_range=0.9)) == [Check.COMPLETENESS]
    assert found(Seen((100,) * 10, unseen=1), DirtPolicy(unseen=0.0)) == [Check.CATEGORICAL_VALUES]
    assert found(Seen((100,) * 10), DirtPolicy(unseen=0.0)) == []


def test_a_column_that_nobody_counts_is_missing() -> None:
    assert found(None, rows=1000) == [Check.MISSING_COLUMN]
    assert found(None, rows=10) == []


def test_only_the_columns_that_are_named_are_looked_at() -> None:
    both = [X, replace(X, name="y")]
    assert watched(DirtPolicy(), both) == both
    assert watched(DirtPolicy(features=frozenset({"y"})), both) == both[1:]


def test_the_worst_comes_first() -> None:
    columns = [X, replace(X, name="y")]
    seen = {"x": Seen((70,) * 10, missing=300), "y": Seen((0,) * 10, missing=1000)}
    worst = judge(DirtPolicy(), columns, seen, 1000, HOUR).violations[0]
    assert (worst.column, worst.share) == ("y", 1.0)
    assert worst.lower < 1
    assert worst.tolerated == pytest.approx(0.1476, abs=1e-4)


def test_false_alarms_stay_below_what_is_stated() -> None:
    """Two thousand windows at the very edge of what is tolerated."""
    rng = np.random.default_rng(3)
    policy = DirtPolicy(unseen=0.1, missing=1, out_of_range=1, false_alarms=10)
    verdicts = [
        judge(policy, [X], {"x": Seen((800 - hits, *[0] * 9), unseen=hits)}, 800, HOUR)
        for hits in rng.binomial(800, 0.1, 2000).tolist()
    ]
    alarms = sum(bool(one.violations) for one in verdicts)
    assert verdicts[0].expected == pytest.approx(10, rel=1e-3)
    assert alarms <= 10 * 2000 / 730.5


@pytest.mark.parametrize(
    ("requests", "malformed", "limit", "broken"),
    [(1000, 300, 0.1, True), (1000, 120, 0.1, False), (1000, 1000, 1.0, False), (150, 150, 0.1, False)],
)
def test_requests_that_are_refused_for_what_they_hold_are_rows_that_are_missing(
    requests: int, malformed: int, limit: float, broken: bool
) -> None:
    said = judge(DirtPolicy(missing=limit), [X], {}, 0, HOUR, asked=Asked(requests, malformed))
    assert [(one.column, one.check) for one in said.violations] == [("", Check.DATA_TYPE)] * broken


@pytest.mark.parametrize(
    ("rows", "equal", "limit", "broken"),
    [(1000, 300, 0.2, True), (1000, 220, 0.2, False), (1000, 1000, 1.0, False), (150, 150, 0.2, False)],
)
def test_rows_that_were_asked_before_are_broken_where_a_limit_is_set(
    rows: int, equal: int, limit: float, broken: bool
) -> None:
    said = judge(DirtPolicy(duplicates=limit), [X], {}, 0, HOUR, asked=Asked(rows=rows, equal=equal))
    assert [(one.column, one.check) for one in said.violations] == [("", Check.DUPLICATES)] * broken


def test_checks_of_others_share_the_level() -> None:
    alone, shared = (judge(DEFAULT, [X], {}, 0, HOUR, beside=beside) for beside in (0, 2))
    assert (alone.checked, shared.checked) == (5, 7)
    assert shared.z > alone.z
