"""TrainingJob: train this model once, on this data, and keep the result only if it passes these gates.

Comes in: the object's JSON. Goes out: a frozen, validated model. Invariant: the spec does not change once
made, but for `suspend` and `ttlSecondsAfterFinished`, so what ran is always what the object says.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from noria_operator.api.locations import StoreLocation
from noria_operator.api.pods import PodFields
from noria_operator.api.schema import ListMap, ListSet, Rule, Spec, immutable_spec
from noria_operator.api.slices import METRICS, MOST_SLICES, Slice
from noria_operator.api.status import (
    Metadata,
)
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
    Decimal,
    Digest,
    Identifier,
    Image,
    MetricName,
    ModelName,
    ObjectName,
    PositiveDuration,
    UnsignedDecimal,
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


class Select(Spec):
    """Which hive-style partitions (`key=value` directories) of a data set to take."""

    by: Identifier = Field(
        description="The partition key: directories are named <by>=<value>, for example day."
    )
    last: int = Field(ge=1, le=100_000, description="How many of the newest values to take, for example 60.")
    skip: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="How many of the newest values to leave out first. Default: 0.",
    )


class Data(Spec):
    """A data set that the training container reads."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=32,
            pattern=r"^[a-z][a-z0-9_]*$",
            description="Name of the data set; the container finds it as NORIA_DATA_<NAME>, for example "
            "train.",
        ),
        Rule(
            cel="!self.endsWith('_select')",
            message="must not end in _select: NORIA_DATA_<NAME>_SELECT is taken; choose another name",
            holds=lambda name: not name.endswith("_select"),
        ),
    ]
    uri: StoreLocation = Field(
        description="Where the data lies: pvc://<claim>/<path>, or s3://, gs:// or az://<bucket>/<prefix>, "
        "for example pvc://lake/flights."
    )
    digest: Digest | None = Field(
        default=None,
        description="Expected digest, recorded in the lineage, for example md5:<32 hex digits>. Absent: "
        "not stated.",
    )
    secret_name: ObjectName | None = Field(
        default=None,
        description="Secret with the keys of the store, seen by the pods only, for this location alone. "
        "Absent: none.",
    )
    select: Select | None = Field(
        default=None,
        description="Take only the newest partitions; chosen once, before the run begins. Absent: all.",
    )


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
        description="How many ModelVersions of the model are kept, beside those in use, aliased or on hold. "
        "Default: 20.",
    )


class Evaluation(Spec):
    """Score challenger and champion on the same held-out rows, by a Job of Noria's own."""

    data: str = Field(
        min_length=1,
        max_length=32,
        description="Name of the entry in spec.data that holds the held-out rows.",
    )
    label: str = Field(
        min_length=1,
        max_length=128,
        description="Column of the held-out rows with the true outcome, for example late.",
    )
    metrics: Annotated[list[MetricName], Field(max_length=16), ListSet()] = Field(
        default_factory=list,
        description="Metrics to compute besides those the gates name, for example [auc, logloss].",
    )
    image: Image | None = Field(
        default=None,
        description="Image of the Job, made from Noria's server image with more libraries. Absent: that one.",
    )


class Gate(Spec):
    """One condition that the evaluation must meet, else no ModelVersion is made."""

    metric: MetricName = Field(description="Metric of the evaluation, for example auc.")
    min: Decimal | None = Field(default=None, description='Least value that passes, for example "0.65".')
    max: Decimal | None = Field(default=None, description='Greatest value that passes, for example "0.2".')
    versus: Literal["champion"] | None = Field(
        default=None,
        description="Compare with the champion on the same rows; passes while nothing serves yet, fails when "
        "its ModelVersion was deleted.",
    )
    max_drop: UnsignedDecimal | None = Field(
        default=None,
        description='With versus: by how much it may be worse, for example "0.01"; "0": not at all.',
    )
    min_delta: UnsignedDecimal | None = Field(
        default=None, description='With versus: by how much it must be better at least, for example "0.005".'
    )
    by_slice: bool = Field(
        default=False,
        description="true, with maxDrop: it may surely be worse by more in no slice of spec.slices. Default: "
        "false.",
    )
    min_rows: int = Field(
        default=100,
        ge=20,
        le=1_000_000,
        description="With bySlice: rows that a slice needs. Default: 100.",
    )
    rules: ClassVar = (
        Rule(
            cel="!has(self.bySlice) || !self.bySlice || (has(self.maxDrop) && self.metric in "
            + str(list(METRICS))
            + ")",
            message="bySlice goes with versus and maxDrop, and metric " + ", ".join(METRICS),
            field=".bySlice",
            holds=lambda it: not it.by_slice or (it.max_drop is not None and it.metric in METRICS),
        ),
        Rule(
            cel="[has(self.min), has(self.max), has(self.versus)].exists_one(x, x)",
            message="set exactly one of min, max and versus",
            holds=lambda it: [it.min, it.max, it.versus].count(None) == 2,
        ),
        Rule(
            cel="has(self.versus) ? has(self.maxDrop) != has(self.minDelta) "
            ": !has(self.maxDrop) && !has(self.minDelta)",
            message="set exactly one of maxDrop and minDelta with versus, and none without it",
            holds=lambda it: [it.max_drop, it.min_delta].count(None) == (2 if it.versus is None else 1),
        ),
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
            holds=lambda it: _one_secret_each(it.data),
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


def _one_secret_each(data: list[Data]) -> bool:
    """Whether no two entries with the same uri name different Secrets."""
    named = {(source.uri.rstrip("/"), source.secret_name) for source in data if source.secret_name}
    return len(named) == len({uri for uri, _ in named})


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
