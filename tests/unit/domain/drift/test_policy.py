"""Drift counts where it is more than noise, large, and stays; nothing that comes in breaks the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from tests.unit.domain.drift.golden import CURRENT, REFERENCE, Array, binned, normal, with_outlier

from noria_operator.domain.drift.alarms import Correction
from noria_operator.domain.drift.columns import CALLED, PREDICTION, Column, Reference, Seen
from noria_operator.domain.drift.distances import psi, shares
from noria_operator.domain.drift.policy import Drift, Policy, floor, judge, watched

HOUR = timedelta(hours=1)
MOVED = 1.0 + normal(2000)
SAME = normal(2000)


def column(name: str, values: Array = REFERENCE, bins: int = 10) -> Column:
    edges = tuple(np.quantile(REFERENCE, np.linspace(0, 1, bins + 1)[1:-1]).tolist())
    return Column(name, tuple(binned(bins, values)[1]), 0, edges, float(values.min()), float(values.max()))


def seen(values: Array) -> Seen:
    return Seen(tuple(binned(10, values)[1]))


def model(features: int) -> Reference:
    columns = tuple(column(f"x{place}") for place in range(features))
    return Reference(len(REFERENCE), columns, column(PREDICTION))


def windows(policy: Policy, reference: Reference, *each: Mapping[str, Seen]) -> Drift:
    """One window of an hour after the other; the last verdict."""
    marks, found = "", None
    for counts in each:
        found = judge(policy, watched(policy, reference), counts, marks, HOUR)
        marks = found.marks
    assert found is not None
    return found


def rows(reference: Reference, moved: Sequence[str] = (), values: Array = MOVED) -> dict[str, Seen]:
    names = [each.name for each in (*reference.columns, reference.prediction)]
    return {name: seen(values if name in moved else SAME) for name in names}


def test_a_share_of_the_features_in_two_of_three_windows_is_drift() -> None:
    reference, policy = model(10), Policy()
    calm, moved = rows(reference), rows(reference, ["x1", "x4", "x7"])
    assert not windows(policy, reference, calm, calm, calm).suspected
    once = windows(policy, reference, calm, moved)
    assert (once.drifted, once.suspected, once.share) == (False, True, 0.0)
    twice = windows(policy, reference, moved, calm, moved)
    assert (twice.drifted, twice.share) == (True, 0.3)
    assert [one.name for one in twice.worst[:3]] == ["x1", "x4", "x7"]
    assert not windows(policy, reference, moved, calm, calm, moved).drifted
    assert not windows(policy, reference, moved, moved, calm).drifted
    few = rows(reference, ["x1", "x4"])
    assert not windows(policy, reference, few, few).drifted


def test_predictions_alone_are_drift_unless_they_are_left_out() -> None:
    reference = model(10)
    moved = rows(reference, [PREDICTION])
    assert windows(Policy(), reference, moved, moved).drifted
    found = windows(Policy(predictions=False), reference, moved, moved)
    assert not found.suspected
    assert PREDICTION not in [one.name for one in found.findings]


def test_the_predicted_class_alone_is_drift_and_shares_the_false_alarms() -> None:
    """The scores stay as they are; a class is predicted for another."""
    scored = model(10)
    reference = replace(scored, called=Column(CALLED, (4000, 900, 100)))
    steady = rows(reference) | {CALLED: Seen((1600, 360, 40))}
    swapped = rows(reference) | {CALLED: Seen((360, 1600, 40))}
    found = windows(Policy(), reference, swapped, swapped)
    assert (found.drifted, found.share, found.worst[0].name) == (True, 0.0, CALLED)
    assert not windows(Policy(predictions=False), reference, swapped, swapped).suspected
    quiet = windows(Policy(), reference, steady, steady)
    assert not quiet.suspected
    assert quiet.expected == pytest.approx(Policy().false_alarms, rel=1e-3)
    assert quiet.findings[0].floor > windows(Policy(), scored, steady, steady).findings[0].floor
    untold = windows(Policy(), reference, rows(reference), rows(reference))
    assert (untold.suspected, untold.findings[-1].value) == (False, None)


def test_only_the_features_that_are_named_count() -> None:
    reference = model(10)
    moved = rows(reference, ["x1"])
    assert windows(Policy(features=frozenset({"x1", "x2"})), reference, moved, moved).share == 0.5
    assert not windows(Policy(features=frozenset({"x2"})), reference, moved, moved).drifted


def test_a_difference_that_is_sure_but_small_is_no_drift() -> None:
    reference = model(1)
    slightly = {name: seen(0.1 + normal(100_000)) for name in ("x0", PREDICTION)}
    found = windows(Policy(), reference, slightly, slightly)
    assert found.findings[0].psi > found.findings[0].floor
    assert not found.suspected
    sensitive = windows(Policy(threshold=0.001), reference, slightly, slightly)
    assert sensitive.drifted


def test_the_measure_is_what_the_threshold_is_of() -> None:
    reference = model(1)
    moved = rows(reference, ["x0"])
    for measure, at in (
        ("ks", 0.3),
        ("jensenShannon", 0.1),
        ("hellinger", 0.3),
        ("wasserstein", 0.8),
        ("chiSquared", 0.5),
    ):
        found = windows(Policy(measure=measure, threshold=at, predictions=False), reference, moved, moved)
        value = found.findings[0].value
        assert value is not None
        assert found.drifted, (measure, value)
        above = Policy(measure=measure, threshold=value, predictions=False)
        assert not windows(above, reference, moved, moved).drifted


@pytest.mark.parametrize("correction", Correction)
@pytest.mark.parametrize("allowed", [1.0, 0.01])
def test_the_verdict_states_the_false_alarms_to_expect(allowed: float, correction: Correction) -> None:
    reference = model(12)
    policy = Policy(false_alarms=allowed, correction=correction)
    found = windows(policy, reference, rows(reference))
    assert found.expected == pytest.approx(allowed, rel=1e-3)
    strict = windows(replace(policy, false_alarms=allowed / 100), reference, rows(reference))
    assert strict.findings[0].floor > found.findings[0].floor


@pytest.mark.parametrize("correction", Correction)
def test_the_floor_that_is_told_is_the_one_that_counted(correction: Correction) -> None:
    """Where many columns drift, that of Benjamini and Hochberg is lower for all of them."""
    reference, policy = model(40), Policy(threshold=0.0, correction=correction)
    moved = [f"x{place}" for place in range(30)]
    for shift in np.linspace(0.24, 0.36, 13):
        found = windows(policy, reference, rows(reference, moved, shift + normal(500)))
        told = {one.name: one.psi > one.floor for one in found.findings}
        assert told == {one.name: one.flagged for one in found.findings}, shift


@pytest.mark.simulated
def test_the_floor_is_what_simulated_noise_exceeds_as_often_as_it_says_or_less() -> None:
    """Also with rare categories and few rows, where Pearson's statistic alarms a hundred times too often."""
    rng, level = np.random.default_rng(7), 1e-3
    rare = 1 / np.arange(1, 22) ** 2.5
    for truth in (np.full(10, 0.1), rare / rare.sum(), np.array([0.99, 0.01])):
        for n, m in ((5000, 50), (5000, 100), (500, 200), (200, 200), (200, 2000)):
            both = (rng.multinomial(rows, truth, 10_000) + 0.5 for rows in (n, m))
            p, q = (each / each.sum(axis=1, keepdims=True) for each in both)
            noise = ((p - q) * np.log(p / q)).sum(axis=1)
            assert (noise > floor(level, len(truth), n, m)).mean() <= 1.2 * level + 3 * (
                level / 10_000
            ) ** 0.5


# -- demonstrations: what monitoring of models is known to get wrong -----------------------------------------


def test_eight_replicas_are_one_distribution() -> None:
    """The mean of PSI by replica grows with their number; that of the summed counts does not."""
    values = np.random.default_rng(3).permutation(SAME)
    parts = [seen(part).bins for part in np.split(values, 8)]
    known = shares(column("x").bins)
    mean = sum(psi(known, shares(part)) for part in parts) / 8
    summed = tuple(map(sum, zip(*parts, strict=True)))
    assert summed == seen(SAME).bins
    assert mean > 10 * psi(known, shares(summed))
    reference = model(1)
    both = {name: Seen(summed) for name in ("x0", PREDICTION)}
    assert not windows(Policy(), reference, both, both, both).suspected


def test_sticky_routing_is_no_drift() -> None:
    """Two pods with opposite halves, whose whole is the reference."""
    known = column("x0")
    low = tuple(count if place < 5 else 0 for place, count in enumerate(known.bins))
    high = tuple(count if place >= 5 else 0 for place, count in enumerate(known.bins))
    assert min(psi(shares(known.bins), shares(half)) for half in (low, high)) > 3
    summed = tuple(map(sum, zip(low, high, strict=True)))
    assert psi(shares(known.bins), shares(summed)) == 0


def test_one_outlier_hides_no_drift_and_makes_none() -> None:
    assert seen(with_outlier()) == seen(CURRENT)
    reference = model(1)
    moved = np.concatenate([MOVED[:-1], [1e4]])
    drifted = rows(reference, ["x0"], moved)
    assert windows(Policy(), reference, drifted, drifted).drifted
    calm = rows(reference, ["x0"], np.concatenate([SAME[:-1], [1e4]]))
    assert not windows(Policy(), reference, calm, calm).suspected


@pytest.mark.parametrize(("bins", "noisy"), [(10, 0.30), (20, 0.92)])
def test_a_hundred_rows_of_noise_are_no_drift(bins: int, noisy: float) -> None:
    """A bare threshold alarms on them: PSI is above 0.1 in `noisy` of such windows."""
    rng = np.random.default_rng(11)
    one = column("x0", bins=bins)
    known = one.bins
    alarms = bare = 0
    policy, reference = (
        Policy(threshold=0.1, min_samples=50, predictions=False),
        Reference(len(REFERENCE), (one,), column(PREDICTION)),
    )
    marks = ""
    for _ in range(2000):
        counts = tuple(rng.multinomial(100, np.array(known) / sum(known)).tolist())
        bare += psi(shares(known), shares(counts)) > 0.1
        found = judge(policy, watched(policy, reference), {"x0": Seen(counts)}, marks, HOUR)
        marks = found.marks
        alarms += found.drifted
    assert bare / 2000 == pytest.approx(noisy, abs=0.04)
    assert alarms == 0


# -- dirty input, one by one ---------------------------------------------------------------------------------


def dirty(known: Column, found: Seen) -> Drift:
    """The verdict on a strange column beside a good one."""
    reference = Reference(5000, (known, column("good")), column(PREDICTION))
    counts = {known.name: found, "good": seen(SAME), PREDICTION: seen(SAME)}
    verdict = windows(Policy(), reference, counts, counts, counts)
    good = next(one for one in verdict.findings if one.name == "good")
    assert good.value is not None
    assert not verdict.drifted
    return verdict


def test_a_column_of_nulls_says_nothing_and_breaks_nothing() -> None:
    found = dirty(column("x"), Seen((0,) * 10, missing=5000)).findings[0]
    assert (found.value, found.samples, found.flagged) == (None, 0, False)


def test_a_column_that_was_null_in_training_says_nothing() -> None:
    assert dirty(Column("x", (0,), 5000, ()), Seen((5000,))).findings[0].value is None


def test_an_empty_window_says_nothing() -> None:
    assert dirty(column("x"), Seen((0,) * 10)).findings[0].value is None
    assert not windows(Policy(), model(3), {}).suspected


def test_a_constant_column_says_nothing() -> None:
    assert dirty(Column("x", (5000,), 0, (), 7.0, 7.0), Seen((5000,), high=5000)).findings[0].value is None


def test_a_single_category_can_be_joined_by_others() -> None:
    known = Column("x", (5000, 0))
    assert dirty(known, Seen((5000, 0))).findings[0].value == pytest.approx(0, abs=1e-6)
    reference = Reference(5000, (known,), column(PREDICTION))
    moved = {"x": Seen((2500, 2500)), PREDICTION: seen(SAME)}
    assert windows(Policy(), reference, moved, moved).drifted


def test_a_new_category_is_counted_beside_and_leaves_a_finite_distance() -> None:
    known = Column("x", (2500, 2500, 0))
    found = dirty(known, Seen((2500, 2500, 0), unseen=1000)).findings[0]
    assert found.value == pytest.approx(0, abs=1e-6)


def test_bins_of_another_length_say_nothing() -> None:
    assert dirty(column("x"), Seen((1000, 1000))).findings[0].value is None


def test_a_million_rows_are_no_more_drift_than_a_thousand() -> None:
    known = column("x")
    bins = tuple(round(count * 200 * (1.02 if place % 2 else 0.98)) for place, count in enumerate(known.bins))
    assert sum(bins) == 1_000_000
    found = dirty(known, Seen(bins)).findings[0]
    assert found.psi < 0.001
    assert not found.flagged


@pytest.mark.simulated
def test_a_thousand_features_share_the_false_alarms() -> None:
    rng = np.random.default_rng(5)
    reference = model(1000)
    names = [*(one.name for one in reference.columns), PREDICTION]
    policy = Policy(share=0.001, threshold=0.0, false_alarms=0.5)
    alarms, marks = 0, ""
    for _ in range(12):
        bins = rng.multinomial(400, np.full(10, 0.1), len(names)).tolist()
        counts = {name: Seen(tuple(each)) for name, each in zip(names, bins, strict=True)}
        found = judge(policy, watched(policy, reference), counts, marks, HOUR)
        marks, alarms = found.marks, alarms + found.drifted
    assert alarms == 0
    assert len(marks) == 2 * 1001
    moved = rows(reference, [f"x{place}" for place in range(400)])
    assert windows(Policy(), reference, moved, moved).share == 0.4


def test_the_floor_is_the_references_formula_but_for_its_tail() -> None:
    m = 10_000
    assert floor(0.01, 10, 10**9, m) == pytest.approx(21.666 / m, rel=0.011)
