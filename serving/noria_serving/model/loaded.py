"""From an artifact to a model that may answer: verified, loaded, warmed up, and equal to its golden rows.

In: an Artifact. Out: Loaded. Invariant: no byte is parsed before its digest was checked, and a model that
does not reproduce the answers stored with it is never returned.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noria_serving import contract, reference, signature, warmup
from noria_serving.artifact import Artifact, Manifest, open_source
from noria_serving.errors import NoriaError, Reason
from noria_serving.model.base import Backend, close
from noria_serving.model.formats import check_format, open_model
from noria_serving.model.scoring import Scoring
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.tensors import decode_inputs
from noria_serving.quality import spelling
from noria_serving.signing import NOBODY, Trust
from noria_serving.warmup import WarmUp

log = logging.getLogger(__name__)
GOLDEN_SCHEMA: Final = "noria.golden/v1"
MOST_ROWS: Final = 2048
"""Up to which it is looked for how many rows a short call takes."""
TRIES: Final = 3
"""Calls that are timed, the fastest of which counts: a neighbour's load, or memory that is asked for once, is
not what a call takes."""
SHORT, LONG = 0.001, 0.1
"""Seconds; calls that take less or more are not repeated."""
Array = NDArray[Any]


@dataclass(frozen=True)
class Loaded:
    """A model that gave its golden answers."""

    manifest: Manifest
    backend: Backend
    reference: reference.Reference
    scoring: Scoring
    seconds_per_call: float
    """Duration of a warm prediction of the golden rows."""
    golden_rows: int
    golden: Any

    def prove(self) -> None:
        """NoriaError when the model does not give its golden answers any more."""
        check_golden(self.backend, self.golden)

    def rows_within(self, seconds: float) -> int:
        """How many rows take so long at most: the golden ones, or these over and over again, twice as many
        each time. A call costs far more than a row of it does, so that neither tells the other.
        """
        inputs, rows = decode_inputs(self.golden["inputs"], self.backend.signature.inputs), self.golden_rows
        while rows < MOST_ROWS:
            batch = repeated(inputs, 2 * rows)
            try:
                took, _ = quickest(self.backend, batch, enough=seconds)
            except Exception:
                log.info("model fails on more than its golden rows", exc_info=True)
                break
            if took > seconds:
                break
            rows *= 2
        return rows

    def close(self) -> None:
        """Give back what the model holds; it is not asked any more."""
        close(self.backend)


def load(
    location: str,
    *,
    digest: str | None = None,
    trust: Trust = NOBODY,
    allow_code: bool = False,
    warm_up: WarmUp = warmup.NONE,
) -> Loaded:
    """Everything between a location and readiness."""
    artifact = Artifact(open_source(location), digest=digest, trust=trust)
    return load_artifact(artifact, allow_code=allow_code, warm_up=warm_up)


def load_artifact(artifact: Artifact, *, allow_code: bool = False, warm_up: WarmUp = warmup.NONE) -> Loaded:
    manifest = artifact.manifest
    check_format(manifest.format, allow_code=allow_code)
    shape = signature.parse(artifact.document(contract.SIGNATURE))
    bins = reference.parse(artifact.document(contract.REFERENCE))
    golden = artifact.document(contract.GOLDEN)
    _check_reference(shape, bins)
    bins = _of_datatypes(shape, bins)
    scoring = _scoring(manifest, shape, bins)
    backend = open_model(artifact, shape, allow_code=allow_code)
    try:
        seconds, rows = check_golden(backend, golden)
        if warm_up.rows:
            warm(backend, golden, warm_up)
            seconds, rows = check_golden(backend, golden)
        return Loaded(manifest, backend, bins, scoring, seconds, rows, golden)
    except NoriaError:
        close(backend)
        raise


def _check_reference(shape: signature.Signature, bins: reference.Reference) -> None:
    sizes = {tensor.name: tensor.shape[1:] for tensor in shape.inputs}
    datatypes = {tensor.name: tensor.datatype for tensor in shape.inputs}
    for feature in bins.features:
        size = sizes.get(feature.input)
        if size is not None and -1 in size:
            raise NoriaError(
                Reason.MANIFEST_INVALID,
                f"reference.json: {feature.name!r} cannot be counted, as rows of {feature.input!r} differ in "
                "size; state their size in signature.json, or leave its features out of the reference",
            )
        last = feature.column + (feature.projection.width if feature.projection else 1) - 1
        if size is None or feature.column < 0 or last >= math.prod(size):
            raise NoriaError(
                Reason.MANIFEST_INVALID, f"reference.json: {feature.name!r} is not in the signature"
            )
        datatype = datatypes[feature.input]
        if (feature.kind == "category") != (datatype == "BYTES"):
            raise NoriaError(
                Reason.MANIFEST_INVALID,
                f"reference.json: {feature.name!r} is {feature.kind}, and {feature.input!r} holds {datatype}",
            )


def _of_datatypes(shape: signature.Signature, bins: reference.Reference) -> reference.Reference:
    """With slices that know in which precision the model takes numbers; bundles of earlier releases do not
    say it.
    """
    known = {tensor.name: tensor.datatype for tensor in shape.inputs}
    told = (replace(one, datatype=known.get(one.input, "") if one.numeric else "") for one in bins.slices)
    return replace(bins, slices=tuple(told))


def _scoring(manifest: Manifest, shape: signature.Signature, bins: reference.Reference) -> Scoring:
    scoring = Scoring(shape, manifest.task, manifest.classes)
    if scoring.labels_only != manifest.labels_only:
        raise NoriaError(
            Reason.MANIFEST_INVALID,
            f"a {manifest.task} model needs an output of probabilities, or one output of labels and "
            f"`{contract.LABELS_ONLY}` in {contract.MANIFEST}",
        )
    if manifest.labels_only and bins.prediction.kind != "category":
        raise NoriaError(
            Reason.MANIFEST_INVALID, "reference.json: predictions are classes, and its bins are of numbers"
        )
    if bins.called and not (scoring.calls and set(bins.called) == set(map(spelling, manifest.classes))):
        raise NoriaError(
            Reason.MANIFEST_INVALID, "reference.json: `called` must count the classes that noria.json lists"
        )
    return scoring


def check_golden(backend: Backend, golden: Any) -> tuple[float, int]:
    """(seconds of one warm call, rows); a different answer is `GoldenMismatch`."""
    try:
        inputs = decode_inputs(golden["inputs"], backend.signature.inputs)
        expected = decode_inputs(golden["outputs"], backend.signature.outputs)
        tolerance = float(golden["tolerance"])
    except (RequestError, KeyError, TypeError, ValueError) as error:
        raise NoriaError(
            Reason.MANIFEST_INVALID, f"golden.json does not fit the signature: {error}"
        ) from error
    try:
        backend.predict(inputs)
        seconds, outputs = quickest(backend, inputs)
    except NoriaError:
        raise
    except Exception as error:
        raise NoriaError(
            Reason.GOLDEN_MISMATCH,
            f"the model fails on its golden rows: {type(error).__name__}: {error!s:.500}",
        ) from error
    tensors = backend.signature.outputs
    if len(outputs) != len(tensors):
        raise NoriaError(
            Reason.GOLDEN_MISMATCH, f"the model has {len(outputs)} outputs, signature.json {len(tensors)}"
        )
    for tensor, output in zip(tensors, outputs, strict=True):
        if not same(output, expected[tensor.name], tolerance):
            raise NoriaError(
                Reason.GOLDEN_MISMATCH,
                f"output {tensor.name!r} differs from golden.json by more than {tolerance}",
            )
    return seconds, len(next(iter(inputs.values())))


def quickest(
    backend: Backend, inputs: Mapping[str, Array], *, enough: float = SHORT
) -> tuple[float, list[Array]]:
    """(seconds, outputs) of the fastest of a few calls, until one takes no more than `enough`."""
    least = math.inf
    for _ in range(TRIES):
        started = time.perf_counter()
        outputs = backend.predict(inputs)
        least = min(least, time.perf_counter() - started)
        if not enough < least < LONG:
            break
    return least, outputs


def warm(backend: Backend, golden: Any, plan: WarmUp) -> None:
    """Predict batches of golden rows, over and over again where there are fewer than a batch takes."""
    inputs = decode_inputs(golden["inputs"], backend.signature.inputs)
    for rows in plan.rows:
        batch = repeated(inputs, rows)
        seconds = []
        for _ in range(plan.calls):
            started = time.perf_counter()
            try:
                backend.predict(batch)
            except NoriaError:
                raise
            except Exception as error:
                raise NoriaError(
                    Reason.MODEL_INVALID,
                    f"the model fails on {rows} rows while it warms up: {type(error).__name__}: "
                    f"{error!s:.500}",
                ) from error
            seconds.append(round(time.perf_counter() - started, 6))
        log.info("warm", extra={"rows": rows, "first": seconds[0], "last": seconds[-1]})


def repeated(inputs: Mapping[str, Array], rows: int) -> dict[str, Array]:
    """So many rows: those given, over and over again."""
    return {name: array[np.arange(rows) % len(array)] for name, array in inputs.items()}


def same(actual: Array, expected: Array, tolerance: float) -> bool:
    """Equal labels, or numbers within the tolerance (absolute, and relative for large values)."""
    if actual.size != expected.size:
        return False
    left, right = actual.reshape(-1), expected.reshape(-1)
    if left.dtype.kind in "OUS" or right.dtype.kind in "OUS":
        return bool(np.array_equal(left.astype(str), right.astype(str)))
    return bool(np.allclose(left, right, rtol=tolerance, atol=tolerance, equal_nan=True))
