"""Without labels a metric follows from scores that are probabilities, and from nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from noria_operator.domain import quality
from noria_operator.domain.estimated import calibration_error, expected, held_out, isotonic, itself
from noria_operator.domain.predictions import Outputs
from noria_operator.domain.quality import RATED, Rows
from noria_operator.domain.triggers_estimated import expected_labels
from noria_serving.contract import GRID_BINS

GIVEN: Final = json.loads((Path(__file__).parent / "nannyml_scores.json").read_text())
KNOWN: Final = [
    (cents / 100, float(no), float(yes))
    for cents, (no, yes) in enumerate(zip(*GIVEN["known"], strict=True))
    if no + yes
]
TOLERANCE: Final = 0.001
"""Of an estimate of scores in bins; docs/continuous-training.md says so."""


def test_an_estimate_is_what_labels_drawn_by_the_scores_give() -> None:
    rng = np.random.default_rng(2)
    scores = np.round(rng.beta(0.6, 1.4, 200_000), 3)
    labels = rng.random(len(scores)) < scores
    values, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    hits = np.bincount(places, weights=labels)
    inside = [
        (float(v), float(n - h), float(h)) for v, n, h in zip(values, counts, hits, strict=True) if 0 < v < 1
    ]
    guess = expected([(score, negatives + positives) for score, negatives, positives in inside])
    for metric, rated in RATED.items():
        assert rated(guess) == pytest.approx(rated(inside), abs=0.006), metric


def test_an_estimate_is_blind_to_a_change_of_the_concept() -> None:
    """The labels turn round, the scores do not: the truth is lost, the estimate stays."""
    rows = [(0.1, 90.0, 10.0), (0.9, 10.0, 90.0)]
    turned = [(score, positives, negatives) for score, negatives, positives in rows]
    guess = expected([(0.1, 100), (0.9, 100)])
    assert quality.accuracy(guess) == pytest.approx(quality.accuracy(rows))
    assert quality.accuracy(turned) == pytest.approx(0.1)


def test_scores_that_are_too_sure_are_calibrated_by_labels() -> None:
    rows = [(0.05, 70.0, 30.0), (0.95, 30.0, 70.0)]
    unlabelled = [(0.05, 500.0), (0.95, 500.0)]
    assert quality.accuracy(expected(unlabelled)) == pytest.approx(0.95)
    assert quality.accuracy(expected(unlabelled, isotonic(rows))) == pytest.approx(0.7)
    assert calibration_error(rows, itself) == pytest.approx(0.25)
    assert calibration_error(rows, isotonic(rows)) == pytest.approx(0)


def test_estimates_have_the_digits_of_nannymls_cbpe() -> None:
    """Of its own data, ten chunks of 5,000 rows. Its alert, outside three standard deviations of the realised
    metric (under .963316537), is not ours: a window is judged by how sure its loss is.
    """
    calibration = isotonic(KNOWN)
    assert calibration_error(KNOWN, calibration) < calibration_error(KNOWN, itself)
    auc, accuracy = zip(*map(nannymls, GIVEN["chunks"]), strict=True)
    assert [f"{value:.6f}" for value in auc] == [
        "0.970744", "0.971011", "0.971407", "0.971091", "0.971123",
        "0.961090", "0.961825", "0.961073", "0.962533", "0.961316",
    ]  # fmt: skip
    assert (f"{accuracy[0]:.6f}", f"{accuracy[-1]:.6f}") == ("0.946285", "0.919162")


def nannymls(called: list[list[int]]) -> tuple[float, float]:
    """(auc, accuracy) of a chunk: rows by what they are called, and by score in hundredths."""
    calibration = isotonic(KNOWN)
    together = map(sum, zip(*called, strict=True))
    scores = [(cents / 100, float(rows)) for cents, rows in enumerate(together) if rows]
    # Some of its scores below one half are called positive: rows are told apart by what they are called.
    rows = [
        (0.25 + 0.5 * positive, *expected([(cents / 100, float(count))], calibration)[0][1:])
        for positive, counts in enumerate(called)
        for cents, count in enumerate(counts)
        if count
    ]
    auc, accuracy = quality.auc(expected(scores, calibration)), quality.accuracy(rows)
    assert auc is not None and accuracy is not None
    return auc, accuracy


def gridded(scores: NDArray[np.float64], weights: NDArray[Any] | None = None) -> list[int]:
    """As predictions are counted."""
    places = np.minimum(GRID_BINS - 1, (scores * GRID_BINS).astype(int))
    return [int(count) for count in np.bincount(places, weights=weights, minlength=GRID_BINS)]


def as_the_trigger_sees(scores: list[int], negatives: list[int], positives: list[int]) -> Rows:
    """The rows to expect of counted scores, by labels of held-out rows in the bundle."""
    known = held_out({"negatives": negatives, "positives": positives})
    found = expected_labels(Outputs(-7, 0, tuple(map(float, scores))), None, known)
    assert found is not None
    return quality.rows(found)


def test_the_trigger_estimates_what_nannyml_does_of_rows_by_the_hundredth() -> None:
    """Each has a bin of its own. Accuracy is by one half, where NannyML goes by the class that is told."""
    cents = np.arange(101) / 100
    known = [gridded(cents, np.array(side)) for side in GIVEN["known"]]
    for called in GIVEN["chunks"]:
        rows = as_the_trigger_sees(gridded(cents, np.sum(called, axis=0)), *known)
        auc, accuracy = nannymls(called)
        assert quality.auc(rows) == pytest.approx(auc, abs=1e-9)
        assert quality.accuracy(rows) == pytest.approx(accuracy, abs=2e-4)


@pytest.mark.parametrize("shape", [(0.6, 1.4), (2.0, 5.0), (5.0, 5.0)])
def test_bins_move_what_the_trigger_estimates_by_little(shape: tuple[float, float]) -> None:
    """Scores of any digits, timid ones, beside the same formula on the scores themselves."""
    rng = np.random.default_rng(11)
    held, seen = rng.beta(*shape, 50_000), rng.beta(shape[0], shape[1] / 1.5, 20_000)
    labels = rng.random(len(held)) < held**2 / (held**2 + (1 - held) ** 2)
    order = np.argsort(held)
    exact = [(float(s), float(not y), float(y)) for s, y in zip(held[order], labels[order], strict=True)]
    wanted = expected([(float(score), 1.0) for score in seen], isotonic(exact))
    found = as_the_trigger_sees(gridded(seen), gridded(held, ~labels), gridded(held, labels))
    for metric in ("auc", "accuracy", "f1", "logloss", "brier"):
        assert RATED[metric](found) == pytest.approx(RATED[metric](wanted), abs=TOLERANCE), metric


counted = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=2, max_size=40)


@settings(deadline=None)
@given(counted)
def test_calibration_is_scikit_learns_isotonic_regression(found: list[tuple[int, int]]) -> None:
    rows = [((place + 0.5) / len(found), float(n), float(p)) for place, (n, p) in enumerate(found)]
    known = [(score, n + p, p) for score, n, p in rows if n + p]
    if not known:
        assert isotonic(rows)(0.3) == 0.3
        return
    theirs = IsotonicRegression(out_of_bounds="clip").fit(
        [score for score, _, _ in known], [p / n for _, n, p in known], sample_weight=[n for _, n, _ in known]
    )
    ours = isotonic(rows)
    for score in np.linspace(0, 1, 37):
        assert ours(float(score)) == pytest.approx(float(theirs.predict([score])[0]), abs=1e-9)
