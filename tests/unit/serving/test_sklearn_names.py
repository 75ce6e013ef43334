"""Models of scikit-learn's that were trained on a DataFrame are served without pandas, where they can be."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier

from noria_serving import bundle
from noria_serving.errors import NoriaError, Reason
from noria_serving.model import sklearn_names
from noria_serving.model.loaded import load
from noria_serving.model.sklearn import SklearnModel
from noria_serving.signature import Signature, Tensor

ROWS = pd.DataFrame(
    {"size": np.arange(60.0) % 13, "hour": np.arange(60) % 24, "night": np.arange(60) % 5 > 3}
)
LABELS = (ROWS["size"] > 6).astype(int).to_numpy()
WITHOUT_PANDAS = """
import sys
from importlib.abc import MetaPathFinder

class NoPandas(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "pandas":
            raise ImportError("no pandas here")

sys.meta_path.insert(0, NoPandas())
from noria_serving.main import main
main(sys.argv[1:])
"""


def scaled(*columns: Any) -> Any:
    return ColumnTransformer([("scaled", StandardScaler(), list(columns))])


def framed() -> Any:
    return StandardScaler().set_output(transform="pandas")


MODELS = {
    "one that only checks names": (SelfTrainingClassifier(LogisticRegression()), False),
    "several that check names": (
        OneVsRestClassifier(LogisticRegression()),
        False,
    ),
    "steps": (make_pipeline(StandardScaler(), SelfTrainingClassifier(LogisticRegression())), False),
    "columns by number": (make_pipeline(scaled(0, 1), LogisticRegression()), False),
    "columns by name": (make_pipeline(scaled("size", "hour"), LogisticRegression()), True),
    "columns between names": (
        make_pipeline(
            ColumnTransformer([("scaled", StandardScaler(), slice("size", "hour"))]), LogisticRegression()
        ),
        True,
    ),
    "DataFrames between steps": (make_pipeline(framed(), scaled("hour"), LogisticRegression()), True),
    "types of single columns": (make_pipeline(OneHotEncoder(), LogisticRegression()), True),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_dataframe_is_made_only_where_columns_are_read_by_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("noria_serving.conversion._as_onnx", lambda *_: "no converter")
    model, named = MODELS[name]
    model.fit(ROWS, LABELS)
    saved = bundle.save(model, ROWS, LABELS, tmp_path / "b", name="m")
    assert ("pip install 'noria-ml[server,pandas]'" in caplog.text) is named
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backend = load(str(saved.path)).backend
        assert isinstance(backend, SklearnModel)
        assert backend.frame is named
        inputs = {t.name: ROWS[t.name].to_numpy().reshape(-1, 1) for t in backend.signature.inputs}
        labels, probabilities = backend.predict(inputs)
    assert labels.tolist() == model.predict(ROWS).tolist()
    np.testing.assert_allclose(probabilities, model.predict_proba(ROWS))
    assert model.feature_names_in_.tolist() == list(ROWS.columns)  # of the one that was handed over


def test_text_comes_in_a_dataframe() -> None:
    words = pd.DataFrame({"carrier": ["AA", "UA"] * 9})
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(words, [0, 1] * 9)
    kept = sklearn_names.numbered(model, Signature((Tensor("carrier", "BYTES", (-1, 1)),), ()))
    assert kept.feature_names_in_.tolist() == ["carrier"]


def test_names_where_none_can_be_set_are_dropped_too() -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, LABELS)
    vars(model)["feature_names_in_"] = np.array(["x"])  # of which a pipeline has none of its own
    kept = sklearn_names.numbered(model, Signature((Tensor("size", "FP64", (-1, 1)),), ()))
    assert not hasattr(kept, "feature_names_in_")


def test_columns_that_are_none_are_refused() -> None:
    model = ColumnTransformer([])
    model.transformers_ = 7
    with pytest.raises(NoriaError, match="damaged") as caught:
        sklearn_names.numbered(model, Signature((Tensor("a", "FP64", (-1, 1)),), ()))
    assert caught.value.reason is Reason.MODEL_INVALID


@pytest.mark.processes
@pytest.mark.parametrize(
    ("name", "code"),
    [("one that only checks names", 0), ("columns by name", 1), ("DataFrames of arrays", 1)],
)
def test_a_server_without_pandas_serves_it_or_names_the_extra(
    name: str,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("noria_serving.conversion._as_onnx", lambda *_: "no converter")
    arrays = name not in MODELS
    rows = ROWS.set_axis(["x0", "x1", "x2"], axis=1).astype(float) if arrays else ROWS
    trained = rows.to_numpy() if arrays else rows
    model = make_pipeline(framed(), LogisticRegression()) if arrays else MODELS[name][0]
    saved = bundle.save(model.fit(trained, LABELS), trained, LABELS, tmp_path / "b", name="m")
    assert ("pip install 'noria-ml[server,pandas]'" in caplog.text) is bool(code)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    said = subprocess.run(
        [sys.executable, "-c", WITHOUT_PANDAS, "predict", str(saved.path), str(tmp_path / "rows.csv")],
        env={"PYTHONPATH": str(Path(bundle.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, "noria-ml[server,pandas]" in said.stderr) == (code, bool(code)), said.stderr
