"""What a finished Job says about itself: the JSON in its termination message, checked to the last field.

Comes in: the termination message of a training, evaluation or verification container (the kubelet keeps
at most `RESULT_LIMIT` bytes and cuts the rest). Goes out: a frozen result, or `ResultError` with a reason
and what to do. Invariant: nothing that is not finite, not digest-shaped or outside the run's own output
gets past this module. Unknown fields are ignored: a newer training library may say more than this
operator knows.
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, NoReturn, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from noria_operator.api.modelversion import DataType
from noria_operator.api.slices import MOST_COMPARED, Column, Group
from noria_operator.api.types import Digest, MetricName, Sha256, format_decimal
from noria_operator.domain.conditions import clip
from noria_operator.domain.training_locations import Location, LocationError
from noria_serving.contract import (
    CHECK_SCHEMA,
    EVALUATION_SCHEMA,
    FINGERPRINT_SCHEMA,
    RESULT_LIMIT,
    RESULT_SCHEMA,
    SELECTION_SCHEMA,
    VERIFICATION_SCHEMA,
)

METRICS_LIMIT = 64


class ResultError(Exception):
    """A Job ended without a result that can be used. `reason` is `ResultMissing` or `ResultInvalid`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def _decimal(value: object) -> str:
    """A finite number as a decimal string without exponent, which is how status shows it."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be a number, or a string that holds one")  # noqa: TRY004
    text = repr(value) if isinstance(value, float) else str(value)
    try:
        return format_decimal(Decimal(text))
    except (InvalidOperation, ValueError):
        raise ValueError(
            f"{text[:40]!r} is not a finite number of at most 15 digits before the dot"
        ) from None


Number = Annotated[str, BeforeValidator(_decimal)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Format = Literal["onnx", "skops", "xgboost", "lightgbm", "pickle", "python", "torch", "custom"]
Metrics = Annotated[dict[MetricName, Number], Field(max_length=METRICS_LIMIT)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Artifact(_Part):
    """Where the bundle lies, and what its manifest hashes to."""

    uri: Annotated[str, Field(max_length=1024)]
    digest: Sha256
    format: Format


class Tensor(_Part):
    """One input or output of the model; -1 in `shape` is a free dimension."""

    name: Annotated[str, Field(min_length=1, max_length=128)]
    datatype: DataType
    shape: Annotated[list[Annotated[int, Field(ge=-1, lt=2**31)]], Field(max_length=8)] = []


class Signature(_Part):
    """The tensors that the model takes and gives."""

    inputs: Annotated[list[Tensor], Field(max_length=512)] = []
    outputs: Annotated[list[Tensor], Field(max_length=64)] = []


class Reference(_Part):
    """Frozen reference statistics inside the bundle: their digest and size."""

    digest: Sha256
    features: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    samples: Count = 0


class DataUsed(_Part):
    """What the trainer says it read of one data entry."""

    name: Annotated[str, Field(min_length=1, max_length=32)]
    digest: Digest | None = None
    rows: Count | None = None


class Speed(_Part):
    """What the library measured once when it saved the model."""

    speedup: Annotated[str, Field(max_length=32)] | None = None
    microseconds: Annotated[str, Field(max_length=32)] | None = None


class TrainingResult(_Part):
    """Result of a training container; `metrics` are its own figures: claims, never gated on."""

    artifact: Artifact
    metrics: Metrics = {}
    signature: Signature | None = None
    reference: Reference | None = None
    speed: Speed | None = None
    data: Annotated[list[DataUsed], Field(max_length=16)] = []
    git: Annotated[str, Field(max_length=256)] = ""
    card: Annotated[str, Field(max_length=4096)] = ""


class Scores(_Part):
    """Metrics of both models on the same rows; no champion, no scores of one."""

    challenger: Annotated[dict[MetricName, Number], Field(min_length=1, max_length=METRICS_LIMIT)]
    champion: Metrics | None = None


Slice = Annotated[
    tuple[Column, Group, Count, MetricName, Number, Number | None, Number | None], Field(strict=False)
]
"""Column, group, rows, metric, challenger, champion, standard error of the difference; a list in JSON."""


class EvaluationResult(_Part):
    """Result of our evaluation Job: what gates read."""

    rows: Annotated[int, Field(ge=1, le=2**53)]
    digest: Digest
    metrics: Scores
    errors: Metrics = {}
    slices: Annotated[list[Slice], Field(max_length=MOST_COMPARED)] = []
    slices_left_out: Annotated[Count, Field(alias="slicesLeftOut")] = 0


class Fault(_Part):
    """Why one of our own programs refused what it was given."""

    reason: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]{0,63}$")]
    message: str


class _Refusal(_Part):
    error: Fault


class Range(_Part):
    """The partitions that were chosen of one data set."""

    name: Annotated[str, Field(min_length=1, max_length=32)]
    by: Annotated[str, Field(min_length=1, max_length=64)]
    oldest: Annotated[str, Field(min_length=1, max_length=256)]
    newest: Annotated[str, Field(min_length=1, max_length=256)]
    count: Annotated[int, Field(ge=1, le=100_000)]


class SelectionResult(_Part):
    """Result of our selection Job."""

    data: Annotated[list[Range], Field(max_length=16)]


class FingerprintResult(_Part):
    """Result of our look at stored data."""

    digest: Digest
    files: Count
    bytes: Count


class DirtyColumn(_Part):
    """One feature of rows for training: counts beside the bins, and the champion's missing and other rows."""

    name: str
    rows: Count
    missing: Count
    unseen: Count
    outside: Count
    wrong: Count
    known: Annotated[list[Count], Field(min_length=2, max_length=2)]
    beyond: Count = 0
    """Of the champion's rows those that were infinite; servers of earlier releases do not tell."""


class SkewedColumn(_Part):
    """One feature of rows for training: PSI of so many bins, and rows in them on both sides."""

    name: str
    psi: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    bins: Annotated[int, Field(ge=1, le=10_000)]
    rows: Count
    known: Count


class CheckResult(_Part):
    """Result of our look at rows for training: the columns that stand out most."""

    rows: Count
    features: Count
    duplicates: Count
    newest: Annotated[float, Field(allow_inf_nan=False)] | None = None
    absent: Annotated[list[str], Field(max_length=64)] = []
    dirty: Annotated[list[DirtyColumn], Field(max_length=64)] = []
    skewed: Annotated[list[SkewedColumn], Field(max_length=64)] = []
    """Beside what the champion learned from."""
    served: Annotated[list[SkewedColumn], Field(max_length=64)] = []
    """Beside what it was asked."""


class VerificationResult(_Part):
    """Result of our verification Job: the digest and size that were found and the key that signed, or the
    fault.
    """

    digest: Sha256 | None = None
    bytes: Count | None = None
    signer: Sha256 | None = None
    error: Fault | None = None


_P = TypeVar("_P", bound=_Part)


def training_result(message: str, output: str) -> TrainingResult:
    """Parse what a training container wrote; its artifact must lie in `output`, the location of this run."""
    result = _parse(message, RESULT_SCHEMA, TrainingResult)
    if not _inside(result.artifact.uri, output):
        _invalid(
            f"artifact.uri {result.artifact.uri[:200]!r} is not inside this run's output {output!r}; "
            "write the bundle to $NORIA_OUTPUT and report $NORIA_OUTPUT_URI"
        )
    return result


def evaluation_result(message: str, *, champion: bool) -> EvaluationResult:
    """Parse what our evaluation Job wrote; with a champion there must be scores of it."""
    result = _parse(message, EVALUATION_SCHEMA, EvaluationResult)
    if champion and result.metrics.champion is None:
        _invalid("there are no scores of the champion in it; the server image may be older than the operator")
    return result


def selection_result(message: str) -> SelectionResult:
    """Parse what our selection Job wrote."""
    return _parse(message, SELECTION_SCHEMA, SelectionResult)


def check_result(message: str) -> CheckResult:
    """Parse what our look at rows for training wrote."""
    return _parse(message, CHECK_SCHEMA, CheckResult)


def fingerprint_result(message: str) -> FingerprintResult:
    """Parse what our look at stored data wrote."""
    return _parse(message, FINGERPRINT_SCHEMA, FingerprintResult)


def verification_result(message: str) -> VerificationResult:
    """Parse what our verification Job wrote."""
    result = _parse(message, VERIFICATION_SCHEMA, VerificationResult)
    if result.error is None and result.digest is None:
        _invalid("it names neither a digest nor an error")
    return result


def fault(message: str) -> Fault | None:
    """The refusal in the termination message of a Job that failed, if it left one."""
    try:
        return _Refusal.model_validate(json.loads(message)).error
    except (ValueError, RecursionError):
        return None


def _parse(message: str, schema: str, kind: type[_P]) -> _P:
    if not message.strip():
        raise ResultError(
            "ResultMissing",
            "the container ended with exit code 0 but wrote no result; "
            "write it as JSON to $NORIA_RESULT (noria_serving.bundle does so in publish())",
        )
    if len(message.encode()) > RESULT_LIMIT:
        _invalid(
            f"it is longer than {RESULT_LIMIT} bytes; keep figures and card short, the bundle holds the rest"
        )
    try:
        body = json.loads(message, parse_constant=_no_constant)
    except RecursionError:
        _invalid("its JSON is nested too deep")
    except ValueError as error:
        cut = (
            f" (the kubelet cuts it at {RESULT_LIMIT} bytes)"
            if len(message.encode()) >= RESULT_LIMIT - 3
            else ""
        )
        _invalid(f"it is not JSON{cut}: {clip(str(error), 200)}")
    if not isinstance(body, dict) or body.get("schema") != schema:
        _invalid(f"its schema is not {schema!r}; use the noria_serving version that belongs to this operator")
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        _invalid(f"{clip(path, 200)}: {clip(first['msg'], 200)}")


def _inside(uri: str, output: str) -> bool:
    try:
        return Location.parse(output).holds(Location.parse(uri))
    except LocationError:
        return False


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a finite number")


def _invalid(message: str) -> NoReturn:
    raise ResultError("ResultInvalid", f"the result in the termination message cannot be used: {message}")
