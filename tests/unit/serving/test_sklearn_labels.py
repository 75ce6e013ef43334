"""A scikit-learn model is asked for labels beside probabilities only where these do not tell them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from noria_serving.model.sklearn import SklearnModel
from noria_serving.signature import Signature, Tensor

ROWS = np.random.default_rng(0).normal(size=(80, 3))
LABELS = (ROWS[:, 0] > 0).astype(int)
SIGNATURE = Signature(
    (Tensor("x", "FP64", (-1, 3)),),
    (Tensor("label", "INT64", (-1,)), Tensor("probabilities", "FP64", (-1, 2))),
)


def threshold() -> FixedThresholdClassifier:
    return FixedThresholdClassifier(LogisticRegression(), threshold=0.2)


def answer(model: Any) -> list[np.ndarray]:
    return SklearnModel(model, SIGNATURE, "binary").predict({"x": ROWS})


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(SelectFromModel(SVC(kernel="linear")), LogisticRegression()),
        make_pipeline(StandardScaler(), CalibratedClassifierCV(SVC(), cv=2)),
        VotingClassifier([("one", threshold()), ("two", LogisticRegression())], voting="soft"),
    ],
    ids=["features chosen by votes", "votes calibrated", "a threshold averaged away"],
)
def test_once_where_the_label_is_that_of_the_largest_probability(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever models it holds whose labels need not be."""
    expected = model.fit(ROWS, LABELS).predict(ROWS)
    monkeypatch.setattr(type(model), "predict", None)
    assert answer(model)[0].tolist() == expected.tolist()


def test_twice_where_a_pipeline_ends_in_a_threshold() -> None:
    model = make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), threshold())).fit(ROWS, LABELS)
    label, probabilities = answer(model)
    assert label.tolist() == model.predict(ROWS).tolist()
    assert (label != probabilities.argmax(axis=1)).any()
