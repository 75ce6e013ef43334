"""Without labels a metric follows from scores that are probabilities, and from nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from noria_operator.domain import quality
from noria_operator.domain.estimated import calibration_error, expected, isotonic, itself
from noria_operator.domain.quality import RATED


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
    given = json.loads((Path(__file__).parent / "nannyml_scores.json").read_text())
    pairs = zip(*given["known"], strict=True)
    known = [(cents / 100, float(no), float(yes)) for cents, (no, yes) in enumerate(pairs) if no + yes]
    calibration = isotonic(known)
    assert calibration_error(known, calibration) < calibration_error(known, itself)
    auc, accuracy = [], []
    for called in given["chunks"]:
        together = map(sum, zip(*called, strict=True))
        scores = [(cents / 100, float(rows)) for cents, rows in enumerate(together) if rows]
        auc.append(f"{quality.auc(expected(scores, calibration)):.6f}")
        # Some of its scores below one half are called positive: rows are told apart by what they are called.
        rows = [
            (0.25 + 0.5 * positive, *expected([(cents / 100, float(count))], calibration)[0][1:])
            for positive, counts in enumerate(called)
            for cents, count in enumerate(counts)
            if count
        ]
        accuracy.append(f"{quality.accuracy(rows):.6f}")
    assert auc == [
        "0.970744", "0.971011", "0.971407", "0.971091", "0.971123",
        "0.961090", "0.961825", "0.961073", "0.962533", "0.961316",
    ]  # fmt: skip
    assert (accuracy[0], accuracy[-1]) == ("0.946285", "0.919162")


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
