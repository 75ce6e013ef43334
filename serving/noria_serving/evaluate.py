"""`python -m noria_serving.evaluate`: challenger and champion scored on the same held-out rows.

In: $NORIA_CHALLENGER and perhaps $NORIA_CHAMPION (each with _DIGEST), $NORIA_HOLDOUT (with _SELECT),
$NORIA_LABEL, perhaps $NORIA_SLICES and $NORIA_SLICE_METRICS. Out at $NORIA_RESULT: `{"schema", "rows",
"digest", "metrics": {"challenger": {…}, "champion": {…} or null}, "errors": {…}, "slices": […],
"slicesLeftOut": n}`, numbers as decimal strings; `errors` are standard errors of the differences of both,
where there is a champion, and what stands in `slices` is in slice_scores.py. Invariant: both see the very
same rows, of which `digest` is the identity; no metric is ever NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving import contract, quality, rows, signature, signing, slice_scores
from noria_serving.artifact import Artifact, open_source
from noria_serving.bundle import decimal
from noria_serving.data import parse_select
from noria_serving.errors import NoriaError, Reason
from noria_serving.job import main
from noria_serving.model.loaded import Loaded, load
from noria_serving.quality import Outcome
from noria_serving.slices import Slicing, asked, freeze

BATCH: Final = 8192
ROOM: Final = 64
"""Bytes of the result that slices leave free."""
Array = NDArray[Any]


def evaluate(env: Mapping[str, str]) -> dict[str, Any]:
    """The result document."""
    label, location = env.get("NORIA_LABEL", ""), env.get("NORIA_HOLDOUT", "")
    if not label or not location or not env.get("NORIA_CHALLENGER"):
        raise NoriaError(Reason.CONFIGURATION, "set NORIA_CHALLENGER, NORIA_HOLDOUT and NORIA_LABEL")
    with _loaded("challenger", env) as model:
        holdout = _rows(env, location, label, model)
        challenger, split = _measure("challenger", model, env, holdout, label)
        learnt = frozenset(map(quality.spelling, model.manifest.classes))
    champion = None
    if env.get("NORIA_CHAMPION"):
        with _loaded("champion", env) as model:  # now: the other one may have modules of the same names
            champion, _ = _measure("champion", model, env, holdout, label, learnt=learnt)
    document: dict[str, Any] = {
        "schema": contract.EVALUATION_SCHEMA,
        "rows": holdout.count,
        "digest": holdout.digest(),
        "metrics": {
            "challenger": challenger.metrics,
            "champion": None if champion is None else champion.metrics,
        },
    }
    if champion is not None:
        document["errors"] = slice_scores.errors(challenger.metrics, challenger.outcome, champion.outcome)
    columns = [(one, one.codes(_told_apart(one, holdout.columns[one.feature]))) for one in split]
    names = [name for name in env.get(contract.ENV_SLICE_METRICS, "").split(",") if name]
    found = slice_scores.compare(columns, names, challenger.outcome, champion.outcome if champion else None)
    return slice_scores.fitted(document, found, contract.RESULT_LIMIT - ROOM) if columns else document


@dataclass(frozen=True)
class _Measured:
    """One model on the rows."""

    metrics: dict[str, str]
    outcome: Outcome


@contextmanager
def _loaded(role: str, env: Mapping[str, str]) -> Iterator[Loaded]:
    variable = f"NORIA_{role.upper()}"
    with _named(role):
        loaded = load(
            env[variable],
            digest=env.get(f"{variable}_DIGEST") or None,
            trust=signing.read(env),
            allow_code=env.get(contract.ENV_ALLOW_CODE) == "1",
        )
    try:
        yield loaded
    finally:
        loaded.close()


@contextmanager
def _named(role: str) -> Iterator[None]:
    """Errors say which of the models they are about."""
    try:
        yield
    except NoriaError as error:
        raise NoriaError(error.reason, f"{role}: {error.message}") from error


def _rows(env: Mapping[str, str], location: str, label: str, challenger: Loaded) -> rows.Rows:
    """Those that have a label; what the challenger takes as text is text, and so is what the champion does
    where the challenger does not take it at all.
    """
    own = challenger.backend.signature
    others = _texts_of_champion(env) - {tensor.name for tensor in own.inputs}
    texts = others.union(own.texts)
    holdout = rows.read(location, parse_select(env.get("NORIA_HOLDOUT_SELECT")), texts=texts)
    holdout = holdout.without_missing(label)
    if not holdout.count:
        raise NoriaError(
            Reason.NO_ROWS, f"no row under {location} has a value in {label!r}; select other partitions"
        )
    return holdout


def _texts_of_champion(env: Mapping[str, str]) -> set[str]:
    """By its signature: it is loaded once the challenger is not any more."""
    location = env.get("NORIA_CHAMPION")
    if not location:
        return set()
    with _named("champion"):
        digest = env.get("NORIA_CHAMPION_DIGEST") or None
        artifact = Artifact(open_source(location), digest=digest, trust=signing.read(env))
        return set(signature.parse(artifact.document(contract.SIGNATURE)).texts)


def _measure(
    role: str,
    loaded: Loaded,
    env: Mapping[str, str],
    holdout: rows.Rows,
    label: str,
    *,
    learnt: frozenset[str] = frozenset(),
) -> tuple[_Measured, tuple[Slicing, ...]]:
    """What a model is worth, and how rows are told apart by its bundle."""
    with _named(role):
        outcome = score(loaded, holdout, label, learnt=learnt)
        metrics, task = outcome.metrics(), loaded.manifest.task
        split = _slicings(env, loaded, holdout) if role == "challenger" else ()
    asked_for = [name for name in env.get("NORIA_METRICS", "").split(",") if name]
    names = asked_for or [name for name in quality.DEFAULTS[task] if name in metrics]
    if loaded.scoring.labels_only:
        names = _of_labels_alone(role, names, metrics)
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
    return _Measured({name: decimal(metrics[name]) for name in names}, outcome), split


def _of_labels_alone(role: str, names: list[str], metrics: Mapping[str, float]) -> list[str]:
    """A champion has no figure of what needs probabilities, and the gate says so; a challenger is refused."""
    wrong = [name for name in names if name in contract.OF_PROBABILITIES]
    if wrong and role == "challenger":
        raise NoriaError(
            Reason.CONFIGURATION,
            f"{role}: the model {contract.NO_PROBABILITIES}, and {', '.join(wrong)} is of these; there are "
            f"{sorted(metrics)}, and sklearn.calibration.CalibratedClassifierCV makes probabilities",
        )
    return [name for name in names if name not in wrong]


def _slicings(env: Mapping[str, str], loaded: Loaded, holdout: rows.Rows) -> tuple[Slicing, ...]:
    """As frozen in the bundle where it has them, so that serving and evaluation tell rows apart alike; else
    (the model does not take the column) by the held-out rows.
    """
    frozen = {one.feature: one for one in loaded.reference.slices}
    found = []
    for wish in asked(env.get(contract.ENV_SLICES)):
        if wish.feature not in holdout.columns:
            raise NoriaError(
                Reason.DATA_INVALID,
                f"slices: the held-out rows have no column {wish.feature!r}; there are "
                f"{sorted(holdout.columns)[:20]}",
            )
        column = holdout.columns[wish.feature]
        one = frozen.get(wish.feature) or freeze(wish, column)
        if one.numeric and column.dtype.kind == "O":
            raise NoriaError(
                Reason.DATA_INVALID, f"slices: {wish.feature!r} holds numbers in training and text here"
            )
        found.append(one)
    return tuple(found)


def _told_apart(slicing: Slicing, column: Array) -> Array:
    """Numbers of a file as the text that the model takes, where it takes text."""
    return column if slicing.numeric or column.dtype.kind == "O" else rows.texts_of(column)


def score(loaded: Loaded, holdout: rows.Rows, label: str, *, learnt: frozenset[str] = frozenset()) -> Outcome:
    """What the model says of the rows, beside what was true. `learnt`: classes of a challenger; where it
    knows all of the model's own, the model is wrong about rows of its others.
    """
    shape, scoring = loaded.backend.signature, loaded.scoring
    regression, parts = loaded.manifest.task == "regression", []
    for start in range(0, holdout.count, BATCH):
        inputs = holdout.inputs(shape, start, start + BATCH)
        try:
            outputs = loaded.backend.predict(inputs)
            parts.append(scoring.read(outputs)[0] if regression else scoring.by_class(outputs))
        except NoriaError:
            raise
        except Exception as error:
            raise NoriaError(
                Reason.MODEL_INVALID, f"the model fails on these rows: {error!s:.300}"
            ) from error
    output, truth = np.concatenate(parts), holdout.columns[label]
    if regression:
        if truth.dtype.kind == "O":
            raise NoriaError(
                Reason.DATA_INVALID, f"{label!r} holds text, such as {truth[0]!r:.60}, and the model numbers"
            )
        return quality.Regressed(output.astype(np.float64), truth.astype(np.float64))
    classes = loaded.manifest.classes or tuple(range(output.shape[1]))
    own = frozenset(map(quality.spelling, classes))
    beyond = learnt - own if own <= learnt else frozenset[str]()
    known = quality.class_indices(truth, classes, beyond=beyond)
    return quality.Classified(output, known, labels_only=scoring.labels_only)


if __name__ == "__main__":
    main(contract.EVALUATION_SCHEMA, evaluate)
