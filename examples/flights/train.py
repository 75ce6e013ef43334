"""Trains the model on the days of the lake that the TrainingJob selects, and hands it over as a bundle.

In: $NORIA_DATA_TRAIN (through `noria_serving.data`), the params `features` (comma list, default all) and `c`.
Out: a bundle in $NORIA_OUTPUT and the result in $NORIA_RESULT.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
from examples.flights.features import FEATURES, LABEL
from examples.flights.model import pipeline
from sklearn.metrics import roc_auc_score

from noria_serving import bundle
from noria_serving.data import partitions


def params() -> dict[str, str]:
    """What the TrainingJob's `params` say."""
    path = os.environ.get("NORIA_PARAMS")
    return dict(json.loads(Path(path).read_text())) if path else {}


def training_rows(name: str = "train") -> pd.DataFrame:
    """The selected days of one of the TrainingJob's data, oldest first."""
    return pd.concat([pd.read_parquet(path) for path in sorted(partitions(name))], ignore_index=True)


def fit(rows: pd.DataFrame, settings: dict[str, str]) -> Any:
    """The fitted pipeline."""
    features = settings.get("features", ",".join(FEATURES)).split(",")
    model = pipeline(features=features, c=float(settings.get("c", "0.3")))
    return model.fit(rows[list(FEATURES)], rows[LABEL])


def main() -> None:
    """Train, save, publish."""
    rows = training_rows()
    model = fit(rows, params())
    inputs, labels = rows[list(FEATURES)], rows[LABEL]
    claim = roc_auc_score(labels, model.predict_proba(inputs)[:, 1])
    bundle.save(model, inputs, labels, metrics={"auc": claim}).publish()


if __name__ == "__main__":
    main()
