"""TrainingJob: train this model once, on this data, and keep the result only if it passes these gates.

Comes in: the object's JSON. Goes out: a frozen, validated model. Invariant: the spec does not change once
made, but for `suspend` and `ttlSecondsAfterFinished`, so what ran is always what the object says.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar

from pydantic import Field

from noria_operator.api.data_sources import Data, Select, one_secret_each
from noria_operator.api.gates import Evaluation, Gate
from noria_operator.api.locations import StoreLocation
from noria_operator.api.pods import PodFields
from noria_operator.api.schema import ListMap, Rule, Spec, immutable_spec
from noria_operator.api.slices import MOST_SLICES, Slice
from noria_operator.api.status import Metadata
from noria_operator.api.training_data import TrainingData
from noria_operator.api.trainingjob_status import (
    REFUSALS,
    ArtifactStatus,
    EvaluationStatus,
    GateStatus,
    Resolved,
    ResolvedData,
    TrainingFailure,
    TrainingJobStatus,
    TrainingPhase,
)
from noria_operator.api.types import (
    Argument,
    Image,
    ModelName,
    ObjectName,
    PositiveDuration,
    map_keys,
)

__all__ = [
    "REFUSALS",
    "ArtifactStatus",
    "Data",
    "Deadlines",
    "Evaluation",
    "EvaluationStatus",
    "Gate",
    "GateStatus",
    "Output",
    "Resolved",
    "ResolvedData",
    "Select",
    "TrainingFailure",
    "TrainingJob",
    "TrainingJobSpec",
    "TrainingJobStatus",
    "TrainingPhase",
    "is_dns_label",
]


class Output(Spec):
    """Where the model goes."""

    uri: StoreLocation = Field(
        description="Parent directory or prefix of the runs' results: pvc://<claim>/<path>, or s3://, gs:// "
        "or az://<bucket>/<prefix>."
    )
    secret_name: ObjectName | None = Field(
        default=None,
        description="Secret with the keys of the store, seen by the pods only, for this location alone. "
        "Absent: none.",
    )
    keep: int = Field(
        default=20,
        ge=1,
        le=1000,
        description="How many ModelVersions of the model are kept, beside those in use, aliased, on hold or "
        "good for undo. Default: 20.",
    )


class Deadlines(Spec):
    """How long the run may take."""

    pending: PositiveDuration = Field(
        default=timedelta(hours=1),
        description="Longest time from the start until a pod runs, for example 30m. Default: 1h.",
    )
    active: PositiveDuration = Field(
        default=timedelta(hours=8),
        description="Longest time that training may run, over all attempts, for example 2h. Default: 8h.",
    )


class TrainingJobSpec(PodFields):
    """What to train, on what, and what the result must reach."""

    model: ModelName = Field(
        description="Name of the model; versions are called <model>-<N>. Example: flight-delay."
    )
    image: Image = Field(description="Container image of the training code, best pinned by digest.")
    command: Annotated[list[Argument], Field(max_length=32)] = Field(
        default_factory=list, description="Command in exec form, no shell. Absent: the image's own."
    )
    args: Annotated[list[Argument], Field(max_length=128)] = Field(
        default_factory=list, description="Arguments in exec form. Absent: the image's own."
    )
    params: Annotated[
        dict[str, Annotated[str, Field(max_length=1024)]],
        Field(max_length=64),
        map_keys(
            "^[a-z][a-z0-9_]{0,62}$",
            "names must be lower case with digits and _, at most 63 characters, for example max_depth",
        ),
    ] = Field(
        default_factory=dict,
        description="Hyperparameters: PARAM_<NAME> and the JSON file $NORIA_PARAMS. Example: {max_depth: "
        '"6"}.',
    )
    seed: int = Field(
        default=0, ge=0, le=2**31 - 1, description="Seed of random numbers, as NORIA_SEED. Default: 0."
    )
    data: Annotated[list[Data], Field(max_length=16), ListMap("name")] = Field(
        default_factory=list, description="Data sets that the container reads."
    )
    data_quality: TrainingData | None = Field(
        default=None, description="Check rows before they are trained on. Absent: no check."
    )
    output: Output = Field(description="Where the model goes.")
    deployment: ModelName | None = Field(
        default=None,
        description="ModelDeployment whose champion the gates compare with; a ContinuousTraining fills "
        "it in.",
    )
    evaluation: Evaluation | None = Field(
        default=None, description="Score challenger and champion on held-out rows. Absent: no evaluation."
    )
    slices: Annotated[list[Slice], Field(max_length=MOST_SLICES), ListMap("feature")] = Field(
        default_factory=list,
        description="Columns by which the evaluation compares models, and servers count (where the model "
        "takes them). Default: none.",
    )
    gates: Annotated[list[Gate], Field(max_length=16)] = Field(
        default_factory=list,
        description="Conditions on the evaluation; all must pass. Default: none, every model is kept.",
    )
    retries: int = Field(
        default=2,
        ge=0,
        le=10,
        description="How often a failed run is started again; 0 means never. Exit code 42 is never retried. "
        "Default: 2.",
    )
    deadlines: Deadlines = Field(default_factory=Deadlines, description="How long the run may take.")
    suspend: bool = Field(
        default=False,
        description="true holds the run before it starts, or stops its pods and starts anew later. "
        "Default: false.",
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=2**31 - 1,
        description="Seconds after the end until the TrainingJob is deleted; 0 means at once. Absent: it "
        "stays.",
    )
    rules: ClassVar = (
        Rule(
            cel="!has(self.evaluation) || (has(self.data) && self.data.exists(d, d.name == "
            "self.evaluation.data))",
            message="evaluation.data must be the name of an entry in data",
            field=".evaluation.data",
            holds=lambda it: it.evaluation is None or any(d.name == it.evaluation.data for d in it.data),
        ),
        Rule(
            cel="!has(self.dataQuality) || (has(self.data) && self.data.exists(d, d.name == "
            "self.dataQuality.data))",
            message="dataQuality.data must be the name of an entry in data",
            field=".dataQuality.data",
            holds=lambda it: it.data_quality is None or any(d.name == it.data_quality.data for d in it.data),
        ),
        Rule(
            cel="!has(self.gates) || size(self.gates) == 0 || has(self.evaluation)",
            message="gates read the evaluation: add evaluation with the held-out data and its label",
            field=".gates",
            reason="FieldValueRequired",
            holds=lambda it: not it.gates or it.evaluation is not None,
        ),
        Rule(
            cel="!has(self.gates) || !self.gates.exists(g, has(g.bySlice) && g.bySlice) || "
            "(has(self.slices) && size(self.slices) > 0)",
            message="a gate with bySlice needs slices",
            field=".slices",
            reason="FieldValueRequired",
            holds=lambda it: bool(it.slices) or not any(gate.by_slice for gate in it.gates),
        ),
        Rule(
            cel="!has(self.data) || self.data.all(a, !has(a.secretName) || self.data.all(b, "
            "!has(b.secretName) || a.secretName == b.secretName || "
            "(a.uri.endsWith('/') ? a.uri : a.uri + '/') != (b.uri.endsWith('/') ? b.uri : b.uri + '/')))",
            message="one location has two Secrets: use the same secretName for entries with the same uri",
            field=".data",
            holds=lambda it: one_secret_each(it.data),
        ),
    )


class TrainingJob(Spec):
    """Trains a model once, evaluates it, and makes a ModelVersion when it passes its gates."""

    metadata: Metadata
    spec: TrainingJobSpec = Field(
        description="What to train; immutable but for suspend and ttlSecondsAfterFinished."
    )
    status: TrainingJobStatus = Field(
        default_factory=TrainingJobStatus, description="What the operator knows about the run."
    )
    rules: ClassVar = (
        Rule(
            cel="self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",
            message="metadata.name must be a DNS label of at most 63 characters, for example flight-delay-1",
            field=".metadata.name",
            holds=lambda it: is_dns_label(it.metadata.name, 63),
        ),
        Rule(
            cel="!has(self.spec.gates) || !self.spec.gates.exists(g, has(g.versus)) || "
            "has(self.spec.deployment)",
            message="a gate with versus: champion needs spec.deployment, the ModelDeployment whose "
            "champion is meant",
            field=".spec.deployment",
            reason="FieldValueRequired",
            holds=lambda it: it.spec.deployment is not None or all(g.versus is None for g in it.spec.gates),
        ),
        *immutable_spec(
            TrainingJobSpec,
            but=("suspend", "ttlSecondsAfterFinished"),
            advice="make a new TrainingJob with the other value",
        ),
    )


def is_dns_label(name: str, limit: int) -> bool:
    """Whether `name` is a DNS label of at most `limit` characters."""
    body = name.replace("-", "a")
    return (
        0 < len(name) <= limit
        and body.isascii()
        and body.isalnum()
        and name == name.lower()
        and not name.startswith("-")
        and not name.endswith("-")
    )
