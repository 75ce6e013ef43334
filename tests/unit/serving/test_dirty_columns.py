"""Dirty columns by name, from the rows that a version learnt from over what its servers count to the verdicts
of the triggers `drift` and `dataQuality`: nothing breaks, nothing is invented, and what is broken is said.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from noria_operator.domain.drift import dirt, policy
from noria_operator.domain.drift.columns import Seen, distance, parse
from noria_operator.domain.drift.dirt import Check, DirtPolicy
from noria_operator.domain.drift.distances import MEASURES
from noria_operator.domain.drift.policy import Policy
from noria_serving import reference
from noria_serving.counters.binning import Numbers, Texts

HOUR = timedelta(hours=1)
ROWS = 2000
NUMBERS = np.random.default_rng(4).normal(size=ROWS)
TEXTS = np.array(["a", "b", "c", "d"] * (ROWS // 4), dtype=object)


def judged(trained: Any, served: Any) -> tuple[bool, set[Check]]:
    """Whether the column drifted, and what is said to be broken in it."""
    known = reference.of_columns({"x": trained}, NUMBERS)
    bins, columns = reference.parse(known).features[0], parse(known).columns
    vector = np.zeros(bins.size + 4, dtype=np.int64)
    if bins.kind == "category":
        Texts(0, bins).add(served, vector)
    else:
        Numbers([[(0, bins)]]).add(served[np.newaxis].copy(), vector)
    told = vector.tolist()
    assert sum(told[: bins.size + 2]) == len(served)
    seen = {"x": Seen(tuple(told[: bins.size]), *told[bins.size :])}
    said = policy.judge(Policy(predictions=False, k=1, n=1), columns, seen, "", HOUR)
    found = dirt.judge(DirtPolicy(), columns, seen, len(served), HOUR)
    return said.drifted, {one.check for one in found.violations}


NOTHING = np.full(ROWS, np.nan)
EMPTY = np.full(ROWS, "", dtype=object)
SAME = np.full(ROWS, 7.0)
ONE = np.full(ROWS, "a", dtype=object)
PEOPLE = np.array([f"user-{number}" for number in np.random.default_rng(6).zipf(1.2, 40_000)], dtype=object)
RATIOS = np.where(np.arange(ROWS) % 4, NUMBERS, np.inf)


@pytest.mark.parametrize(
    ("trained", "served", "drifted", "broken"),
    [
        pytest.param(NUMBERS, NOTHING, False, {Check.COMPLETENESS}, id="numbers that became NaN altogether"),
        pytest.param(NOTHING, NOTHING, False, set(), id="NaN in training and now"),
        pytest.param(NOTHING, NUMBERS, False, {Check.RANGE}, id="NaN in training, numbers now"),
        pytest.param(TEXTS, EMPTY, False, {Check.COMPLETENESS}, id="texts that became empty altogether"),
        pytest.param(EMPTY, EMPTY, False, set(), id="empty in training and now"),
        pytest.param(EMPTY, TEXTS, False, {Check.CATEGORICAL_VALUES}, id="empty in training, texts now"),
        pytest.param(SAME, SAME, False, set(), id="a constant that stays"),
        pytest.param(SAME, SAME + 1, False, {Check.RANGE}, id="a constant that is another one"),
        pytest.param(NUMBERS, SAME * 0, True, set(), id="numbers that became constant"),
        pytest.param(ONE, ONE, False, set(), id="one category that stays"),
        pytest.param(ONE, TEXTS, False, {Check.CATEGORICAL_VALUES}, id="one category that others join"),
        pytest.param(TEXTS, ONE, True, set(), id="categories of which one is left"),
        pytest.param(NUMBERS, np.append(NUMBERS[1:], 1e300), False, set(), id="one outlier now"),
        pytest.param(np.append(NUMBERS[1:], 1e300), NUMBERS, False, set(), id="one outlier in training"),
        pytest.param(np.append(NUMBERS[1:], 1e300), NUMBERS + 2, True, set(), id="drift beside an outlier"),
        pytest.param(
            TEXTS, np.where(np.arange(ROWS) // 4 % 2, TEXTS, "new"), False, {Check.CATEGORICAL_VALUES},
            id="a new category in half of the rows",
        ),
        pytest.param(TEXTS, np.append(TEXTS[1:], "new"), False, set(), id="a new category once"),
        pytest.param(PEOPLE[:30_000], PEOPLE[30_000:], False, set(), id="thousands of categories"),
        pytest.param(PEOPLE[:30_000], PEOPLE[30_000:] + "x", True, set(), id="thousands of other ones"),
        pytest.param(
            NUMBERS, np.where(np.arange(ROWS) % 3, NUMBERS, np.nan), False, {Check.COMPLETENESS},
            id="a wave of NaN",
        ),
        pytest.param(NUMBERS > 0, NUMBERS > 5, True, set(), id="truth values that are false now"),
        pytest.param(RATIOS, RATIOS, False, set(), id="a division by zero in training and now"),
        pytest.param(-RATIOS, -RATIOS, False, set(), id="the same below"),
        pytest.param(NUMBERS, RATIOS, True, {Check.RANGE}, id="a division by zero that is new"),
        pytest.param(RATIOS, NUMBERS, True, set(), id="a division by zero that is gone"),
        pytest.param(np.full(ROWS, np.inf), np.full(ROWS, np.inf), False, set(), id="no finite number"),
        pytest.param(NUMBERS, np.resize(NUMBERS, 1_000_000), False, set(), id="a million rows"),
        pytest.param(np.resize(NUMBERS, 1_000_000), NUMBERS, False, set(), id="a million rows in training"),
    ],
)  # fmt: skip
def test_dirty_columns(trained: Any, served: Any, drifted: bool, broken: set[Check]) -> None:
    served = served.astype(np.float64) if served.dtype == bool else served
    assert judged(trained, served) == (drifted, broken)


@pytest.mark.parametrize("measure", [*MEASURES, "wasserstein", "chiSquared"])
@pytest.mark.parametrize("outliers", [(1e300,), (-1e300, 1e300), (np.inf, -np.inf, 1e300)])
def test_outliers_in_training_leave_every_measure_a_number(measure: str, outliers: tuple[float, ...]) -> None:
    strange = np.append(NUMBERS[len(outliers) :], outliers)
    for trained in (strange, np.repeat(outliers, ROWS)):
        known = parse(reference.of_columns({"x": trained}, NUMBERS)).columns[0]
        for bins in (known.bins, known.bins[::-1], (0,) * len(known.bins)):
            assert np.isfinite(distance(measure, known, bins))


def test_a_window_without_a_row() -> None:
    assert judged(NUMBERS, np.empty(0)) == (False, set())
    assert judged(TEXTS, np.empty(0, dtype=object)) == (False, set())


def test_a_thousand_features_of_which_each_is_dirty_in_its_way() -> None:
    kinds = {"nan": NOTHING, "constant": SAME, "one": ONE, "empty": EMPTY, "good": NUMBERS}
    columns = {f"{kind}{place}": values for place in range(200) for kind, values in kinds.items()}
    known = reference.of_columns(columns, NUMBERS)
    assert len(known["features"]) == 1000
    told = parse(known)
    seen = {one.name: Seen(one.bins, one.missing) for one in (*told.columns, told.prediction)}
    found = policy.judge(Policy(), [*told.columns, told.prediction], seen, "", HOUR)
    assert not found.suspected
    assert sum(one.value is not None for one in found.findings) == 200 + 200 + 1
    assert dirt.judge(DirtPolicy(), told.columns, seen, ROWS, HOUR).violations == ()
