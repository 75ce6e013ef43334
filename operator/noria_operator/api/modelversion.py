"""ModelVersion: this exact artifact, from this data, code and run, with these metrics.

Comes in: the object's JSON. Goes out: a frozen, validated model. Invariant: nothing of what was trained and
measured changes once written; only card, aliases and hold do.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from noria_operator.api.locations import Location
from noria_operator.api.schema import ListMap, ListSet, Rule, Spec, Status, immutable_spec
from noria_operator.api.slices import MOST_COMPARED, SliceScore
from noria_operator.api.status import Conditions, Message, Metadata, ObservedGeneration, Text
from noria_operator.api.types import Decimal, DnsLabel, ModelName, ObjectName, Sha256, Time

DataType = Literal[
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "BYTES",
]
LongText = Annotated[str, Field(max_length=1024)]
SpecText = Annotated[str, Field(max_length=256)]
SpecMetrics = Annotated[dict[str, Decimal], Field(max_length=64)]


class Artifact(Spec):
    """The files of the version."""

    uri: Location = Field(
        description="Where the bundle lies: pvc://<claim>/<path>, s3://, gs:// or az://<bucket>/<prefix>, "
        "https://<host>/<path> (a directory, .tar, .tar.gz, .tgz or .zip) or "
        "oci://<registry>/<repository>:<tag>, for example pvc://models/flight-delay/4."
    )
    digest: Sha256 = Field(description="sha256 of the bundle's manifest, as sha256:<64 hex digits>.")
    format: Literal["onnx", "skops", "xgboost", "lightgbm", "pickle", "python", "torch", "custom"] = Field(
        description="Format of the model. pickle, python and torch run code of their own and need the "
        "administrator's consent for the namespace; custom is for containers of your own."
    )
    secret_name: ObjectName | None = Field(
        default=None,
        description="Secret of the same namespace with the keys of the store, server or registry, seen by "
        "the pods only; it opens this location and no other. Absent: none.",
    )


class Tensor(Spec):
    """A named tensor of the Open Inference Protocol."""

    name: str = Field(min_length=1, max_length=128, description="Name of the tensor, for example dep_hour.")
    datatype: DataType = Field(description="Datatype of the Open Inference Protocol, for example FP32.")
    shape: Annotated[list[Annotated[int, Field(ge=-1, le=2**31 - 1)]], Field(max_length=8)] = Field(
        default_factory=list, description="Size of each dimension; -1 stands for any, for example [-1, 12]."
    )


class Signature(Spec):
    """What the model takes and gives."""

    inputs: Annotated[list[Tensor], Field(max_length=512), ListMap("name")] = Field(
        default_factory=list, description="Tensors that a request carries."
    )
    outputs: Annotated[list[Tensor], Field(max_length=64), ListMap("name")] = Field(
        default_factory=list, description="Tensors that a response carries."
    )


class Run(Spec):
    """The TrainingJob that made the version."""

    name: DnsLabel = Field(description="Name of the TrainingJob.")
    uid: str = Field(max_length=64, description="uid of the TrainingJob.")


class LineagePartitions(Spec):
    """The partitions that the run read."""

    by: str = Field(max_length=64, description="The partition key, for example day.")
    oldest: SpecText = Field(description="The oldest value that was read, for example 2026-01-01.")
    newest: SpecText = Field(description="The newest value that was read, for example 2026-03-01.")
    count: int = Field(ge=1, le=100_000, description="How many there were when they were chosen.")


class LineageData(Spec):
    """A data set that the version was trained or judged on."""

    name: str = Field(min_length=1, max_length=32, description="Name of the data set.")
    uri: LongText = Field(default="", description="Where it lay. Default: empty, not stated.")
    digest: SpecText = Field(default="", description="Its digest, as stated. Default: empty, not stated.")
    partitions: LineagePartitions | None = Field(
        default=None, description="Its partitions that were read. Absent: all, or not stated."
    )
    held_out: bool = Field(
        default=False,
        description="Whether the version was judged on it, and learnt nothing from it. Default: false.",
    )


class TriggerRecord(Spec):
    """Why a ContinuousTraining started the run."""

    reason: str = Field(
        default="",
        max_length=64,
        description="Kind of the trigger, such as Performance, or Manual. Default: empty, not stated.",
    )
    name: SpecText = Field(
        default="", description="Name of the trigger in the ContinuousTraining. Default: empty."
    )
    value: SpecText | None = Field(
        default=None, description="What was measured, for example 0.61. Absent: nothing."
    )
    threshold: SpecText | None = Field(
        default=None, description="What it was compared with, for example 0.65. Absent: nothing."
    )
    interval: SpecText | None = Field(
        default=None,
        description="Where the true value lies with 95 %, like 0.58 to 0.64. Absent: not known.",
    )
    samples: int | None = Field(
        default=None, ge=0, le=2**53, description="Number of labelled rows behind the value. Absent: none."
    )
    at: SpecText | None = Field(
        default=None, description="When the decision was made, in RFC 3339. Absent: not stated."
    )
    since: SpecText | None = Field(
        default=None,
        description="Since when the loss or drift was known that the run answers, in RFC 3339. Absent: "
        "there was none.",
    )


class Lineage(Spec):
    """Where the version comes from."""

    training_job: Run | None = Field(
        default=None, description="The run that made it. Absent: made elsewhere."
    )
    image: Annotated[str, Field(max_length=512)] = Field(
        default="", description="Image of the training code, by digest. Default: empty, not stated."
    )
    git: SpecText = Field(
        default="", description="Commit of the training code, as the trainer stated it. Default: empty."
    )
    data: Annotated[list[LineageData], Field(max_length=16)] = Field(
        default_factory=list, description="Data sets that it was trained on."
    )
    params: Annotated[dict[str, LongText], Field(max_length=64)] = Field(
        default_factory=dict, description="Hyperparameters of the run."
    )
    seed: int | None = Field(
        default=None, ge=0, le=2**31 - 1, description="Seed of the run. Absent: not stated."
    )
    parent: SpecText | None = Field(
        default=None, description="ModelVersion that was the champion when it was trained. Absent: the first."
    )
    trigger: TriggerRecord | None = Field(
        default=None, description="Why the run was started. Absent: by hand."
    )


class Versus(Spec):
    """The champion on the same rows."""

    version: SpecText = Field(description="Name of the champion's ModelVersion.")
    metrics: SpecMetrics = Field(default_factory=dict, description="Metrics of the champion.")
    errors: SpecMetrics | None = Field(
        default=None,
        description="Standard errors of the differences from it, by metric. Absent: none is known.",
    )


class EvaluationRecord(Spec):
    """What the evaluation measured on held-out rows."""

    metrics: SpecMetrics = Field(default_factory=dict, description='Metrics, for example {auc: "0.71"}.')
    rows: int | None = Field(
        default=None, ge=0, le=2**53, description="Number of held-out rows. Absent: not stated."
    )
    digest: SpecText | None = Field(
        default=None, description="Digest of the held-out rows. Absent: not stated."
    )
    versus: Versus | None = Field(
        default=None, description="The champion on the same rows. Absent: there was none."
    )
    slices: Annotated[list[SliceScore], Field(max_length=MOST_COMPARED)] = Field(
        default_factory=list, description="Both models by slice."
    )


class Reference(Spec):
    """The frozen reference bins; they themselves lie in the bundle."""

    digest: SpecText = Field(
        default="", description="Digest of the reference file in the bundle. Default: empty."
    )
    features: int = Field(default=0, ge=0, le=1_000_000, description="Number of features. Default: 0.")
    samples: int = Field(default=0, ge=0, le=2**53, description="Number of rows behind the bins. Default: 0.")


class Speed(Spec):
    """Of one row, measured once when the model was saved."""

    speedup: SpecText | None = Field(
        default=None,
        description="Times faster than the model that was handed over, for example 24.6. Absent: not stated.",
    )
    microseconds: SpecText | None = Field(
        default=None, description="Duration of one row, for example 7.31. Absent: not stated."
    )


class ModelVersionSpec(Spec):
    """One version of a model."""

    model: ModelName = Field(description="Name of the model, for example flight-delay.")
    version: int = Field(
        ge=1, le=2**31 - 1, description="Number of the version; never used twice for a model."
    )
    artifact: Artifact = Field(description="The files of the version, by digest.")
    signature: Signature = Field(default_factory=Signature, description="What the model takes and gives.")
    lineage: Lineage = Field(default_factory=Lineage, description="Where the version comes from.")
    evaluation: EvaluationRecord | None = Field(
        default=None, description="What the evaluation measured. Absent: not evaluated."
    )
    reference: Reference | None = Field(
        default=None, description="The frozen reference bins. Absent: the bundle holds none."
    )
    speed: Speed | None = Field(
        default=None,
        description="How fast the model answers, as the trainer measured it. Absent: not stated.",
    )
    card: str = Field(
        default="",
        max_length=16_384,
        description="What people should know, in Markdown. May change. Default: empty.",
    )
    aliases: Annotated[list[DnsLabel], Field(max_length=16), ListSet()] = Field(
        default_factory=list,
        description="Further names; a version that has one is never removed by retention. May change.",
    )
    hold: bool = Field(
        default=False, description="true: retention keeps it whatever else. May change. Default: false."
    )


class VersionPhase(StrEnum):
    """Where a ModelVersion stands."""

    PENDING = "Pending"
    VALIDATING = "Validating"
    PENDING_APPROVAL = "PendingApproval"
    APPROVED = "Approved"
    REJECTED = "Rejected"
    ARCHIVED = "Archived"


class VersionHistory(Status):
    """One change of phase."""

    at: Time = Field(description="When.")
    from_: Text = Field(default="", alias="from", description="Phase before.")
    to: Text = Field(description="Phase after.")
    reason: Message = Field(default="", description="Why.")


class Verification(Status):
    """The verification that follows one which came to no verdict: no room, no store, no end."""

    attempt: int = Field(ge=2, le=1_000_000, description="Which one it is, counted from 1.")
    not_before: Time = Field(description="When its Job is made; each time after twice as long, up to 1h.")


class ModelVersionStatus(Status):
    """What the operator knows about the version."""

    phase: VersionPhase | None = Field(
        default=None, description="Pending, Validating, PendingApproval, Approved, Rejected or Archived."
    )
    observed_generation: ObservedGeneration = None
    served_by: Annotated[list[Text], Field(max_length=64)] = Field(
        default_factory=list,
        description="ModelDeployments that serve it or keep it warm; absent while there is none.",
    )
    history: Annotated[list[VersionHistory], Field(max_length=20)] = Field(
        default_factory=list, description="The last 20 changes of phase, oldest first."
    )
    verification: Verification | None = Field(
        default=None, description="The next attempt, while those before could not read the artifact."
    )
    message: Message | None = Field(default=None, description="What it is doing and why, in one sentence.")
    conditions: Conditions = Field(default_factory=list)


class ModelVersion(Spec):
    """An immutable, digest-pinned version of a model; it outlives the TrainingJob that made it."""

    metadata: Metadata
    spec: ModelVersionSpec = Field(description="The version; immutable but for card, aliases and hold.")
    status: ModelVersionStatus = Field(
        default_factory=ModelVersionStatus, description="What the operator knows about the version."
    )
    rules: ClassVar = (
        Rule(
            # Not == model + '-' + string(version): the estimator of costs cannot bound string(int).
            cel="self.metadata.name.startsWith(self.spec.model + '-') && "
            "self.metadata.name.matches('-[1-9][0-9]{0,9}$') && "
            "self.metadata.name.substring(size(self.spec.model) + 1).matches('^[0-9]+$') && "
            "int(self.metadata.name.substring(size(self.spec.model) + 1)) == self.spec.version",
            message="metadata.name must be <spec.model>-<spec.version>, for example flight-delay-4",
            field=".metadata.name",
            holds=lambda it: it.metadata.name == f"{it.spec.model}-{it.spec.version}",
        ),
        *immutable_spec(
            ModelVersionSpec,
            but=("card", "aliases", "hold"),
            advice="a version never changes; make another version instead",
        ),
    )
