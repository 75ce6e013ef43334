"""A threshold that was tuned is saved as a fixed one, which predicts the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import fbeta_score, make_scorer
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from noria_serving import bundle, conversion
from noria_serving.errors import NoriaError, Reason
from noria_serving.model.loaded import load

ROWS = np.random.default_rng(3).normal(size=(240, 3))
RARE = (ROWS[:, 0] + np.random.default_rng(4).normal(scale=0.5, size=240) > 1).astype(int)
NAMES = np.where(RARE, "a late one", "one in time")


def tuned(**options: Any) -> TunedThresholdClassifierCV:
    return TunedThresholdClassifierCV(LogisticRegression(), cv=2, thresholds=20, **options)


CASES = {
    "alone": (tuned(), RARE),
    "by margin": (tuned(response_method="decision_function"), RARE),
    "text": (tuned(), NAMES),
    "the first class": (tuned(scoring=make_scorer(fbeta_score, beta=3, pos_label="a late one")), NAMES),
    "at the end": (make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), tuned())), RARE),
    "found": (GridSearchCV(tuned(), {"estimator__C": [1.0]}, cv=2), RARE),
}


@pytest.mark.parametrize(
    ("name", "named"), [*((name, False) for name in CASES), ("alone", True), ("at the end", True)]
)
def test_it_answers_as_the_model_did_that_was_handed_over(name: str, named: bool, tmp_path: Path) -> None:
    model, labels = CASES[name]
    rows = pd.DataFrame(ROWS, columns=["a", "b", "c"]) if named else ROWS
    model.fit(rows, labels)
    before = repr(model)
    assert bundle.save(model, rows, labels, tmp_path).format == "skops"
    backend = load(str(tmp_path)).backend
    label, scores = backend.predict(conversion.cast(conversion.table(rows)[0], backend.signature))
    assert label.tolist() == model.predict(rows).tolist()
    np.testing.assert_allclose(scores, model.predict_proba(rows))
    classes = np.asarray(model.classes_)
    assert (label != classes[scores.argmax(axis=1)]).any(), "the threshold says something"
    assert repr(model) == before


def test_one_that_is_not_at_the_end_is_refused_with_a_way_out(tmp_path: Path) -> None:
    model = VotingClassifier([("tuned", tuned()), ("line", LogisticRegression())]).fit(ROWS, RARE)
    with pytest.raises(NoriaError, match="train the model anew with FixedThresholdClassifier") as caught:
        bundle.save(model, ROWS, RARE, tmp_path)
    assert caught.value.reason is Reason.MODEL_INVALID
