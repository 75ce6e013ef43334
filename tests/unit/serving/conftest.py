"""One small bundle of each shape, built once a session: every test below reads them, none changes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from noria_serving import bundle
from noria_serving.model.loaded import Loaded, load
from noria_serving.slices import Slicing

ROWS = 240


@pytest.fixture(scope="session")
def matrix() -> tuple[np.ndarray, np.ndarray]:
    """Three number columns; the label follows the first one."""
    random = np.random.default_rng(7)
    rows = random.normal(size=(ROWS, 3))
    return rows, (rows[:, 0] + random.normal(scale=0.5, size=ROWS) > 0).astype(int)


@pytest.fixture(scope="session")
def frame(matrix: tuple[np.ndarray, np.ndarray]) -> tuple[object, np.ndarray]:
    """A number, a whole number and a category column."""
    import pandas as pd

    rows, labels = matrix
    columns = {
        "distance": rows[:, 0],
        "hour": np.arange(ROWS) % 24,
        "carrier": np.array(["AA", "UA", "DL"])[np.arange(ROWS) % 3],
    }
    return pd.DataFrame(columns), labels


@pytest.fixture(scope="session")
def matrix_bundle(
    matrix: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> bundle.Bundle:
    from sklearn.linear_model import LogisticRegression

    rows, labels = matrix
    model = LogisticRegression().fit(rows, labels)
    return bundle.save(model, rows, labels, tmp_path_factory.mktemp("matrix"), name="m", metrics={"auc": 0.9})


@pytest.fixture(scope="session")
def frame_bundle(frame: tuple[object, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> bundle.Bundle:
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    rows, labels = frame
    columns = ColumnTransformer(
        [("category", OneHotEncoder(handle_unknown="ignore"), ["carrier"])], remainder="passthrough"
    )
    model = Pipeline([("columns", columns), ("model", LogisticRegression(max_iter=500))]).fit(rows, labels)
    return bundle.save(model, rows, labels, tmp_path_factory.mktemp("frame"), name="f", slices=["carrier"])


@pytest.fixture(scope="session")
def loaded(matrix_bundle: bundle.Bundle) -> Loaded:
    return load(str(matrix_bundle.path), digest=matrix_bundle.digest)


@pytest.fixture(scope="session")
def loaded_frame(frame_bundle: bundle.Bundle) -> Loaded:
    return load(str(frame_bundle.path), digest=frame_bundle.digest)


@pytest.fixture(scope="session")
def loaded_apart(loaded: Loaded) -> Loaded:
    """As `loaded`, with its rows told apart by the second column."""
    apart = Slicing("x1", "input-0", 1, True, bounds=(0.0,))
    return replace(loaded, reference=replace(loaded.reference, slices=(apart,)))


@pytest.fixture
def copy_of(tmp_path: Path) -> object:
    """A bundle's files in a directory that a test may spoil."""
    import shutil

    def copy(original: bundle.Bundle) -> Path:
        return Path(shutil.copytree(original.path, tmp_path / "copy"))

    return copy
