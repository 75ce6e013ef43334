"""What the operator writes into a TrainingJob's status.

Comes in: what Jobs and their results say. Goes out: typed status, read back at each pass. Invariant: what was
reserved or measured once (version number, evaluation) is never computed a second time.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field

from noria_operator.api.schema import Status
from noria_operator.api.slices import MOST_COMPARED, SliceScore
from noria_operator.api.status import (
    Conditions,
    Message,
    Metrics,
    ObservedGeneration,
    Text,
    Trigger,
)
from noria_operator.api.types import Time


class TrainingPhase(StrEnum):
    """Where a TrainingJob stands."""

    PENDING = "Pending"
    RUNNING = "Running"
    EVALUATING = "Evaluating"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SUSPENDED = "Suspended"


class TrainingFailure(StrEnum):
    """Reasons of the condition Failed."""

    INVALID_SPEC = "InvalidSpec"
    """The spec does not hold together; the message names the field."""
    RESULT_MISSING = "ResultMissing"
    """The container ended well but left no result in its termination message."""
    RESULT_INVALID = "ResultInvalid"
    """The result is not what the contract asks for."""
    TRAINING_FAILED = "TrainingFailed"
    """The container failed more often than spec.retries allows."""
    DO_NOT_RETRY = "DoNotRetry"
    """The container said by exit code 42 that trying again cannot help."""
    PENDING_DEADLINE = "PendingDeadline"
    """No pod ran within spec.deadlines.pending."""
    ACTIVE_DEADLINE = "ActiveDeadline"
    """Training took longer than spec.deadlines.active."""
    SELECTION_FAILED = "SelectionFailed"
    """The partitions that spec.data selects could not be listed, or there are none, or the model would be
    judged on what it is trained on.
    """
    DATA_REFUSED = "DataRefused"
    """The rows for training are worse than spec.dataQuality tolerates; nothing was trained."""
    CHECK_FAILED = "CheckFailed"
    """The rows for training could not be checked."""
    EVALUATION_FAILED = "EvaluationFailed"
    """The evaluation Job could not score the model."""
    GATE_FAILED = "GateFailed"
    """The model was scored and is not good enough."""
    IMAGE_PULL = "ImagePull"
    """The image cannot be pulled."""
    UNSCHEDULABLE = "Unschedulable"
    """No node can take the pod."""
    VOLUME_UNAVAILABLE = "VolumeUnavailable"
    """A claim is missing, unbound or cannot be mounted."""


REFUSALS: Final = frozenset({TrainingFailure.GATE_FAILED, TrainingFailure.DATA_REFUSED})
"""Failures of a run that went as it should: its rows, or its model, were judged and refused."""


class DataViolation(Status):
    """One way in which the rows for training are broken."""

    name: Text = Field(description="Feature; empty: all rows.")
    check: Text = Field(
        description="completeness, categoricalValues, range, dataType, missingColumn, duplicates, volume, "
        "freshness, baselineDrift or trainingServingSkew."
    )
    value: Text = Field(description="Share, rows, seconds or distance.")
    threshold: Text = Field(description="What is tolerated.")


class Skew(Status):
    """How far a feature of the rows for training is from what the champion was asked."""

    name: Text = Field(description="Feature.")
    value: Text = Field(description="PSI, in the champion's bins.")
    floor: Text = Field(description="PSI that noise alone hardly ever exceeds.")
    samples: int = Field(ge=0, le=2**53, description="Values that the champion was asked.")


class DataQualityStatus(Status):
    """How the rows for training looked before the run."""

    result: Literal["Pass", "Warn", "Refused", "Error"] = Field(
        description="Pass, Warn, Refused (nothing was trained) or Error (they could not be checked)."
    )
    message: Message = Field(default="", description="The finding in one sentence.")
    rows: int | None = Field(default=None, ge=0, le=2**53, description="Rows that were checked.")
    against: Text | None = Field(
        default=None, description="ModelVersion with whose training they were compared. Absent: none."
    )
    violations: Annotated[list[DataViolation], Field(max_length=10)] = Field(
        default_factory=list, description="What is broken, the worst first."
    )
    served_rows: int | None = Field(
        default=None,
        ge=0,
        le=2**53,
        description="Rows that the champion was asked in the day before, as far as they are known.",
    )
    skew: Annotated[list[Skew], Field(max_length=10)] = Field(
        default_factory=list, description="Features farthest from these."
    )


class EvaluationStatus(Status):
    """What the evaluation Job measured."""

    rows: int | None = Field(default=None, ge=0, le=2**53, description="Number of held-out rows.")
    digest: Text | None = Field(default=None, description="Digest of the held-out rows.")
    challenger: Metrics = Field(default_factory=dict, description="Metrics of the new model.")
    champion: Metrics | None = Field(
        default=None, description="Metrics of the champion on the same rows. Absent: there was none."
    )
    champion_version: Text | None = Field(default=None, description="ModelVersion that was the champion.")
    errors: Metrics | None = Field(
        default=None,
        description="Standard errors of the differences of both, by metric. Absent: none is known.",
    )
    slices: Annotated[list[SliceScore], Field(max_length=MOST_COMPARED)] = Field(
        default_factory=list, description="Both models by slice."
    )
    slices_left_out: int | None = Field(
        default=None, ge=0, le=2**53, description="Smallest slices that found no room in the result."
    )


class GateStatus(Status):
    """How one gate went."""

    metric: Text = Field(description="Metric of the gate.")
    result: Literal["Pass", "Fail"] = Field(description="Pass or Fail.")
    detail: Message = Field(default="", description="The comparison, for example auc 0.71 >= 0.65.")


class ArtifactStatus(Status):
    """What the training container handed over."""

    uri: Annotated[str, Field(max_length=1024)] = Field(description="Where the bundle lies.")
    digest: Text = Field(description="Digest of the bundle, sha256:<64 hex digits>.")
    format: Text = Field(description="Format of the model, for example onnx.")


class Partitions(Status):
    """The partitions that were chosen for the run, once, before it began."""

    by: Text = Field(description="The partition key.")
    oldest: Text = Field(description="The oldest value that is read.")
    newest: Text = Field(description="The newest value that is read; what lands later is not.")
    count: int = Field(ge=1, le=100_000, description="How many there were when they were chosen.")


class ResolvedData(Status):
    """A data set as the run read it."""

    name: Text = Field(description="Name of the data set.")
    digest: Text | None = Field(default=None, description="Digest that the trainer stated.")
    rows: int | None = Field(
        default=None, ge=0, le=2**53, description="Number of rows that the trainer stated."
    )
    partitions: Partitions | None = Field(
        default=None,
        description="The partitions that all pods of the run read. Absent: all of the directory.",
    )


class Resolved(Status):
    """What the run really used."""

    image: Annotated[str, Field(max_length=512)] | None = Field(
        default=None, description="Image by digest, as the node pulled it."
    )
    data: Annotated[list[ResolvedData], Field(max_length=16)] = Field(
        default_factory=list, description="Data sets as the run read them."
    )


class TrainingJobStatus(Status):
    """What the operator knows about the run."""

    phase: TrainingPhase | None = Field(
        default=None, description="Pending, Running, Evaluating, Succeeded, Failed or Suspended."
    )
    observed_generation: ObservedGeneration = None
    start_time: Time | None = Field(default=None, description="When the run started.")
    completion_time: Time | None = Field(default=None, description="When it ended, well or badly.")
    running_since: Time | None = Field(
        default=None, description="Since when its pods hold what they ask for. Absent: they hold nothing."
    )
    ran_seconds: int | None = Field(
        default=None, ge=0, le=2**53, description="How long they held it before, without waiting in a queue."
    )
    attempts: int | None = Field(default=None, ge=0, le=2**31 - 1, description="How many pods ran so far.")
    claims: Metrics = Field(
        default_factory=dict, description="The trainer's own figures; recorded, never used by gates."
    )
    data_quality: DataQualityStatus | None = Field(
        default=None, description="How the rows for training looked before the run."
    )
    evaluation: EvaluationStatus | None = Field(default=None, description="What the evaluation measured.")
    gates: Annotated[list[GateStatus], Field(max_length=16)] = Field(
        default_factory=list, description="How each gate went; those that failed come first."
    )
    artifact: ArtifactStatus | None = Field(default=None, description="What the container handed over.")
    reserved_version: int | None = Field(
        default=None,
        ge=1,
        le=2**31 - 1,
        description="Version number reserved for this run; never used twice.",
    )
    model_version: Text | None = Field(default=None, description="Name of the ModelVersion that was made.")
    trigger: Trigger | None = Field(default=None, description="Why a ContinuousTraining started the run.")
    resolved: Resolved | None = Field(default=None, description="What the run really used.")
    message: Message | None = Field(default=None, description="What it is doing and why, in one sentence.")
    conditions: Conditions = Field(default_factory=list)
