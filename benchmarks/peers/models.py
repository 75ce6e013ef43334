"""The models that every server gets, written once: as joblib for peers, as ONNX for all, as Noria's bundles.

Invariant: each form of a model holds the same coefficients, so that the labels of all servers are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_iris, make_classification
from sklearn.linear_model import LogisticRegression

from noria_serving import bundle, contract, conversion

SEED = 7
SMALL_ROWS = 2
LARGE_ROWS, LARGE_COLUMNS = 1000, 50
BACKENDS = ("sklearn", "onnx")
SHAPES = ("small", "large")


@dataclass(frozen=True)
class Served:
    """One model as files, and rows with the labels that every server must answer for them."""

    name: str
    joblib: Path
    onnx: Path
    bundles: dict[str, Path]
    """Noria's bundle for each backend."""
    keys: Path
    """Feedback keys, so that Noria signs tokens while it is measured."""
    rows: NDArray[np.float32]
    labels: list[int]
    probabilities: list[list[float]]


def small(folder: Path) -> Served:
    """Iris: 4 features, 3 classes; two rows a request."""
    features, labels = load_iris(return_X_y=True)
    return _written(folder, "iris", features, labels, range(0, len(features), len(features) // SMALL_ROWS))


def large(folder: Path) -> Served:
    """50 features, 2 classes; 1,000 rows a request."""
    features, labels = make_classification(LARGE_ROWS, LARGE_COLUMNS, random_state=SEED)
    return _written(folder, "wide", features, labels, range(LARGE_ROWS))


def _written(
    folder: Path, name: str, features: NDArray[np.float64], labels: NDArray[np.int64], picked: Sequence[int]
) -> Served:
    features = features.astype(np.float32)
    model = LogisticRegression(max_iter=500).fit(features, labels)
    home = folder / name
    home.mkdir(parents=True)
    joblib.dump(model, home / "model.joblib")
    bundles = {"onnx": home / "bundle-onnx", "sklearn": home / "bundle-sklearn"}
    bundle.save(model, features, labels, bundles["onnx"], name=name)
    # A model that has a converter is always converted when it is saved; the sklearn backend is measured on
    # the same model as its peers all the same.
    with mock.patch.object(conversion, "_to_onnx", side_effect=ValueError("kept for scikit-learn")):
        bundle.save(model, features, labels, bundles["sklearn"], name=name)
    rows = features[list(picked)][: LARGE_ROWS if name == "wide" else SMALL_ROWS]
    return Served(
        name=name,
        joblib=home / "model.joblib",
        onnx=bundles["onnx"] / "model.onnx",
        bundles=bundles,
        keys=_keys(home),
        rows=rows,
        labels=[int(label) for label in model.predict(rows)],
        probabilities=model.predict_proba(rows).tolist(),
    )


def _keys(home: Path) -> Path:
    """A directory as the operator mounts it."""
    keys = home / "keys"
    keys.mkdir()
    (keys / contract.FEEDBACK_KEYS_FILE).write_text('{"active": "k1", "keys": {"k1": "' + "A" * 43 + '="}}')
    return keys
