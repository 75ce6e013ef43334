"""`python -m noria_serving.evaluate`: challenger and champion scored on the same held-out rows.

In: $NORIA_CHALLENGER and perhaps $NORIA_CHAMPION (each with _DIGEST), $NORIA_HOLDOUT (with _SELECT),
$NORIA_LABEL. Out at $NORIA_RESULT: `{"schema", "rows", "digest", "metrics": {"challenger": {…}, "champion":
{…} or null}}`, numbers as decimal strings. Invariant: both see the very same rows, of which `digest` is the
identity; no metric is ever NaN.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving import contract, quality, rows, signing
from noria_serving.bundle import decimal
from noria_serving.data import parse_select
from noria_serving.errors import NoriaError, Reason
from noria_serving.job import run
from noria_serving.model.loaded import Loaded, load

BATCH: Final = 8192
Array = NDArray[Any]


def evaluate(env: Mapping[str, str]) -> dict[str, Any]:
    """The result document."""
    label, location = env.get("NORIA_LABEL", ""), env.get("NORIA_HOLDOUT", "")
    if not label or not location or not env.get("NORIA_CHALLENGER"):
        raise NoriaError(Reason.CONFIGURATION, "set NORIA_CHALLENGER, NORIA_HOLDOUT and NORIA_LABEL")
    wanted = [name for name in env.get("NORIA_METRICS", "").split(",") if name]
    holdout = rows.read(location, parse_select(env.get("NORIA_HOLDOUT_SELECT"))).without_missing(label)
    if not holdout.count:
        raise NoriaError(
            Reason.NO_ROWS, f"no row under {location} has a value in {label!r}; select other partitions"
        )
    return {
        "schema": contract.EVALUATION_SCHEMA,
        "rows": holdout.count,
        "digest": holdout.digest(),
        "metrics": {
            "challenger": _measure("challenger", env, holdout, label, wanted),
            "champion": _measure("champion", env, holdout, label, wanted)
            if env.get("NORIA_CHAMPION")
            else None,
        },
    }


def _measure(
    role: str, env: Mapping[str, str], holdout: rows.Rows, label: str, wanted: list[str]
) -> dict[str, str]:
    variable = f"NORIA_{role.upper()}"
    try:
        loaded = load(
            env[variable],
            digest=env.get(f"{variable}_DIGEST") or None,
            trust=signing.read(env),
            allow_code=env.get(contract.ENV_ALLOW_CODE) == "1",
        )
        try:
            metrics = score(loaded, holdout, label)
        finally:
            loaded.close()  # the other one may have modules of the same names
    except NoriaError as error:
        raise NoriaError(error.reason, f"{role}: {error.message}") from error
    names = wanted or list(quality.DEFAULTS[loaded.manifest.task])
    unknown = [name for name in names if name not in metrics]
    if unknown:
        raise NoriaError(
            Reason.CONFIGURATION, f"{role}: no metric {unknown} for this task; there are {sorted(metrics)}"
        )
    undefined = [name for name in names if not np.isfinite(metrics[name])]
    if undefined:
        raise NoriaError(
            Reason.METRIC_UNDEFINED,
            f"{role}: {undefined} cannot be computed on {holdout.count} rows; does {label!r} hold "
            "one value only?",
        )
    return {name: decimal(metrics[name]) for name in names}


def score(loaded: Loaded, holdout: rows.Rows, label: str) -> dict[str, float]:
    """All metrics of the bundle's task on the rows."""
    signature = loaded.backend.signature
    parts = []
    for start in range(0, holdout.count, BATCH):
        inputs = holdout.inputs(signature, start, start + BATCH)
        try:
            parts.append(np.asarray(loaded.backend.predict(inputs)[loaded.score_output], dtype=np.float64))
        except NoriaError:
            raise
        except Exception as error:
            raise NoriaError(
                Reason.MODEL_INVALID, f"the model fails on these rows: {error!s:.300}"
            ) from error
    output, truth = np.concatenate(parts), holdout.columns[label]
    if loaded.manifest.task == "regression":
        return quality.regression(output.reshape(-1), truth.astype(np.float64))
    probabilities = output.reshape(len(output), -1)
    if probabilities.shape[1] == 1:
        probabilities = np.column_stack([1 - probabilities[:, 0], probabilities[:, 0]])
    classes = loaded.manifest.classes or tuple(range(probabilities.shape[1]))
    return quality.classification(probabilities, quality.class_indices(truth, classes))


if __name__ == "__main__":
    run(contract.EVALUATION_SCHEMA, evaluate, os.environ)
