import json

import numpy as np
import pytest
from scipy import stats

from noria_serving.quality import Classified, Regressed
from noria_serving.result import canonical
from noria_serving.slice_scores import CLASSIFICATION, REGRESSION, Compared, compare, errors, fitted
from noria_serving.slices import Slicing

HALVES = Slicing("age", "age", 0, True, bounds=(40.0,))


def classified(scores: np.ndarray, truth: np.ndarray) -> Classified:
    return Classified(np.column_stack([1 - scores, scores]), truth.astype(np.int64))


def drawn(seed: int, rows: int = 400, *, noise: float = 1.0) -> tuple[np.ndarray, Classified, Classified]:
    """Groups, and two models that know the same signal with noise of their own."""
    random = np.random.default_rng(seed)
    signal = random.normal(size=rows)
    truth = random.uniform(size=rows) < 1 / (1 + np.exp(-2 * signal))
    scores = [1 / (1 + np.exp(-2 * (signal + noise * random.normal(size=rows)))) for _ in range(2)]
    codes = (np.arange(rows) % 2).astype(np.int64)
    return codes, classified(scores[0], truth), classified(scores[1], truth)


def test_influences_are_the_metrics_and_centred() -> None:
    _, one, _ = drawn(1)
    for name, measure in CLASSIFICATION.items():
        value, rows = measure(one)
        assert value == pytest.approx(one.metrics()[name], abs=1e-12)
        assert rows.sum() == pytest.approx(0, abs=1e-9)
    errors = Regressed(np.array([1.0, 2.0, 4.0]), np.array([1.5, 1.0, 1.0]))
    for name, measure in REGRESSION.items():
        value, rows = measure(errors)
        assert value == pytest.approx(errors.metrics()[name])
        assert rows.sum() == pytest.approx(0, abs=1e-12)


def test_the_error_of_a_difference_in_auc_is_delongs_covariance_formula() -> None:
    """Against the formula written down directly: S10 / m + S01 / n of the components."""
    _, one, two = drawn(2)
    positive = one.truth == 1
    components = []
    for model in (one, two):
        scores = model.probabilities[:, 1]
        wins = (scores[positive][:, None] > scores[~positive]) + 0.5 * (
            scores[positive][:, None] == scores[~positive]
        )
        components.append((wins.mean(axis=1), wins.mean(axis=0)))
    ups, downs = (np.subtract(*pair) for pair in zip(*components, strict=True))
    expected = np.sqrt(ups.var(ddof=1) / len(ups) + downs.var(ddof=1) / len(downs))
    whole = Slicing("all", "all", 0, True, values=("0",))
    [found] = compare([(whole, np.zeros(len(positive), dtype=int))], ["auc"], one, two)
    assert float(found.error) == pytest.approx(expected, rel=5e-3)
    assert float(found.challenger) == pytest.approx(one.metrics()["auc"], abs=1e-6)


def test_the_difference_on_all_rows_has_the_error_of_one_group_that_holds_them() -> None:
    _, one, two = drawn(3)
    whole = Slicing("all", "all", 0, True, values=("0",))
    groups = compare([(whole, np.zeros(len(one.truth), dtype=int))], list(CLASSIFICATION), one, two)
    assert errors(["ece", *CLASSIFICATION], one, two) == {each.metric: each.error for each in groups}
    near, far = (Regressed(np.array([1.0, 2.0, 4.0]) + by, np.array([1.5, 1.0, 1.0])) for by in (0.0, 1.0))
    assert errors(["rmse", "mae"], near, far).keys() == {"rmse", "mae"}
    assert errors(["accuracy"], one, near) == {}, "models of two tasks"
    single = Regressed(np.array([1.0]), np.array([1.5]))
    assert errors(["mae"], single, single) == {}, "one row tells no scatter"
    several = Classified(np.eye(3), np.arange(3))
    assert errors(["auc", "logloss"], several, several) == {"logloss": "0"}


@pytest.mark.extended
@pytest.mark.parametrize("metric", ["accuracy", "logloss", "auc"])
def test_the_error_is_that_of_repeated_draws(metric: str) -> None:
    found = []
    for seed in range(150):
        codes, one, two = drawn(seed, 300)
        found.append(compare([(HALVES, codes)], [metric], one, two)[0])
    gaps = [float(each.challenger) - float(each.champion) for each in found]
    told = np.mean([float(each.error) for each in found])
    assert np.std(gaps) == pytest.approx(told, rel=0.2)
    assert abs(np.mean(gaps)) < 4 * told / np.sqrt(len(gaps))


@pytest.mark.extended
def test_equal_models_are_found_worse_as_rarely_as_the_level_says() -> None:
    """At 5 % over two slices of 100 rows, also where models agree on nearly all of them."""
    z = stats.norm.ppf(1 - 0.05 / 2)
    for metric in ("accuracy", "logloss", "auc"):
        for noise in (0.2, 1.0):
            refused = 0
            for seed in range(1500):
                codes, one, two = drawn(seed, 200, noise=noise)
                found = compare([(HALVES, codes)], [metric], one, two)
                sign = -1 if metric == "logloss" else 1
                losses = [
                    sign * (float(each.champion) - float(each.challenger)) - z * float(each.error)
                    for each in found
                ]
                refused += max(losses) > 0
            assert refused / 1500 < 0.065, (metric, noise)


def test_what_is_not_defined_in_a_group_is_left_out() -> None:
    truth = np.array([0, 1, 1, 1])
    one = classified(np.array([0.1, 0.9, 0.8, 0.7]), truth)
    found = compare([(HALVES, np.array([0, 0, 1, 1]))], ["auc", "accuracy"], one, None)
    assert [(each.group, each.metric) for each in found] == [
        ("..40", "auc"), ("..40", "accuracy"), ("40..", "accuracy"),
    ]  # fmt: skip
    assert all(each.champion is None and each.error is None for each in found)


def test_a_result_that_is_too_long_loses_the_smallest_groups_and_says_so() -> None:
    found = [Compared("city", f"c{i:02}" * 8, i, "auc", "0.5", "0.5", "0.01") for i in range(60)]
    told = fitted({"schema": "s"}, found, 1000)
    assert len(canonical(told)) <= 1000
    kept = [one[2] for one in told["slices"]]
    assert kept == list(range(60 - len(kept), 60))
    assert told["slicesLeftOut"] == 60 - len(kept) > 0
    assert json.loads(canonical(fitted({}, found[:2], 1000)))["slicesLeftOut"] == 0
