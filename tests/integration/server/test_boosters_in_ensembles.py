"""Boosters that an ensemble of scikit-learn's holds: converted with it, or refused with the reason."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from tests.integration.server.test_boosters import FAMILIES, classifier

from noria_serving import boosters, bundle, conversion
from noria_serving.errors import NoriaError, Reason
from noria_serving.model.loaded import load


def votes(booster: Any, **options: Any) -> Any:
    return VotingClassifier([("booster", booster), ("line", LogisticRegression())], **options)


ENSEMBLES = {
    "votes by label": votes,
    "votes": partial(votes, voting="soft", weights=[2, 1]),
    "a judge": lambda booster: StackingClassifier([("b", booster)], LogisticRegression(), cv=2),
    "calibrated": lambda booster: CalibratedClassifierCV(booster, cv=2),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("kind", ENSEMBLES)
def test_an_ensemble_of_boosters_becomes_onnx_or_is_refused_with_the_reason(
    family: str, kind: str, named: bool, matrix, tmp_path: Path
) -> None:
    rows, labels = matrix
    given = pd.DataFrame(rows, columns=["a", "b", "c"]) if named else rows
    model = ENSEMBLES[kind](classifier(family)).fit(given, labels)
    (held,) = [one for one in boosters.held_by(model) if one.__sklearn_is_fitted__()][:1]
    if (family, kind) == ("lightgbm", "calibrated"):  # its converter has no double precision
        with pytest.raises(NoriaError, match=r"holds LGBMClassifier, .* \(FP32: .*answers differ") as caught:
            bundle.save(model, given, labels, tmp_path)
        assert caught.value.reason is Reason.MODEL_INVALID
        return
    assert bundle.save(model, given, labels, tmp_path).format == "onnx"
    domains = [one.domain for one in onnx.load(tmp_path / "model.onnx").opset_import]
    assert domains == sorted(domains), "else equal models have other bytes in another process"
    backend = load(str(tmp_path)).backend
    answer = backend.predict(conversion.cast(conversion.table(given)[0], backend.signature))
    assert answer[0].tolist() == model.predict(given).tolist()
    if kind != "votes by label":
        np.testing.assert_allclose(answer[1], model.predict_proba(given), atol=conversion.PARITY)
    if family == "xgboost":
        assert (held.get_booster().feature_names == ["a", "b", "c"]) is named
    assert getattr(model, "flatten_transform", True)
