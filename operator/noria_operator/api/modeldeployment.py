"""ModelDeployment: serve the best approved version of this model, and change versions this carefully.

Comes in: the object's JSON. Goes out: a frozen, validated model. Invariant: steps rise, so a challenger's
weight only grows while it is judged; a name can be a Service's and leaves room for versions and revisions.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal as PythonDecimal
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from noria_operator.api.names import RESERVED_HOST_SUFFIX, ROUTER_NAME
from noria_operator.api.pods import PodFields
from noria_operator.api.schema import PRESERVE, STORE_DEFAULT, ListSet, Rule, Spec, Status
from noria_operator.api.status import Commands, Conditions, Message, Metadata, ObservedGeneration, Text
from noria_operator.api.trainingjob import is_dns_label
from noria_operator.api.types import (
    Argument,
    DnsLabel,
    Duration,
    HostName,
    Image,
    ModelName,
    PositiveDuration,
    Probability,
    Time,
)

WEIGHTS_RISE = "steps must rise in weight, each weight once: sort them, for example 10, 50"


class Server(PodFields):
    """What answers requests in each pod of a version."""

    runtime: Literal["noria", "custom"] = Field(
        default="noria",
        description="noria: Noria's own model server. custom: a container of yours that speaks HTTP. "
        "Default: noria.",
    )
    image: Image | None = Field(
        default=None,
        description="Container image; required with custom. Absent: the operator's server image.",
    )
    command: Annotated[list[Argument], Field(max_length=32)] = Field(
        default_factory=list,
        description="With custom: command in exec form, no shell. Absent: the image's own.",
    )
    args: Annotated[list[Argument], Field(max_length=128)] = Field(
        default_factory=list, description="With custom: arguments in exec form. Absent: the image's own."
    )
    port: int = Field(
        default=8080,
        ge=1,
        le=65535,
        description="Port of the container that takes requests; noria always uses 8080. Default: 8080.",
    )
    health_path: str = Field(
        default="/v2/health/ready",
        min_length=1,
        max_length=256,
        pattern=r"^/[A-Za-z0-9._~/-]*$",
        description="Path that answers 200 once the container can take requests. Default: /v2/health/ready.",
    )
    termination_seconds: int | None = Field(
        default=None,
        ge=1,
        le=3600,
        description="Seconds that a pod gets to finish its requests when it stops. Absent: 60.",
    )
    rules: ClassVar = (
        Rule(
            cel="!has(self.runtime) || self.runtime != 'custom' || has(self.image)",
            message="runtime: custom needs an image",
            field=".image",
            reason="FieldValueRequired",
            holds=lambda it: it.runtime != "custom" or it.image is not None,
        ),
        Rule(
            cel="(has(self.runtime) && self.runtime == 'custom') || ((!has(self.command) || "
            "size(self.command) == 0)"
            " && (!has(self.args) || size(self.args) == 0) && (!has(self.port) || self.port == 8080))",
            message="command, args and port are for runtime: custom only; leave them out",
            reason="FieldValueForbidden",
            holds=lambda it: it.runtime == "custom" or (not it.command and not it.args and it.port == 8080),
        ),
    )


class Step(Spec):
    """One step of a canary: a weight that is held, or a pause that waits for a person."""

    weight: int | None = Field(
        default=None,
        ge=1,
        le=99,
        description="Share of requests for the challenger in percent, for example 10.",
    )
    pause: bool = Field(
        default=False,
        description="true: wait for the annotation noria.dev/promote or resume. Default: false.",
    )
    duration: PositiveDuration | None = Field(
        default=None,
        description="Least time in the step, for example 5m; a pause goes on by itself after it. Absent: "
        "no least time.",
    )
    min_requests: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="Least number of requests that the challenger answers in the step, for example 500. "
        "Absent: none.",
    )
    rules: ClassVar = (
        Rule(
            cel="has(self.weight) != (has(self.pause) && self.pause)",
            message="set exactly one of weight and pause: true",
            holds=lambda it: (it.weight is not None) != it.pause,
        ),
        Rule(
            cel="!has(self.minRequests) || has(self.weight)",
            message="minRequests goes with weight only",
            holds=lambda it: it.min_requests is None or it.weight is not None,
        ),
    )


class Errors(Spec):
    """How many errors of the challenger are tolerated."""

    tolerated: Probability = Field(
        default=PythonDecimal("0.01"),
        description="Share of failed requests that is still acceptable, beyond the champion's own, "
        "between 0 and 1. "
        'Default: "0.01".',
    )


class Analysis(Spec):
    """How a challenger is judged against the champion, by a sequential test on counts."""

    errors: Errors = Field(default_factory=Errors, description="How many errors are tolerated.")
    interval: Annotated[
        PositiveDuration,
        Rule(
            cel="duration(self) >= duration('1s') && duration(self) <= duration('1h')",
            message="must be between 1s and 1h",
            holds=lambda it: timedelta(seconds=1) <= it <= timedelta(hours=1),
        ),
    ] = Field(
        default=timedelta(seconds=10),
        description="Length of a window of counts, from 1s to 1h. Default: 10s.",
    )
    min_duration: Duration = Field(
        default=timedelta(),
        description="Least time of evidence before promotion; 0s means none. Default: 0s.",
    )
    max_hold: PositiveDuration = Field(
        default=timedelta(hours=1),
        description="Longest time without a verdict after the last step. Default: 1h.",
    )
    on_max_hold: Literal["Pause", "Abort"] = Field(
        default="Pause",
        description="What happens then: Pause waits for a person, Abort goes back. Default: Pause.",
    )


class Strategy(Spec):
    """How versions change."""

    steps: Annotated[
        list[Step],
        Field(max_length=20),
        Rule(
            cel="self.filter(s, has(s.weight)).map(s, s.weight).isSorted() && "
            "self.all(a, !has(a.weight) || self.exists_one(b, has(b.weight) && b.weight == a.weight))",
            message=WEIGHTS_RISE,
            holds=lambda steps: all(
                a < b for a, b in pairwise(step.weight for step in steps if step.weight is not None)
            ),
        ),
    ] = Field(
        default_factory=list,
        description="Canary steps in order, for example [{weight: 10, minRequests: 500}, {weight: 50, "
        "duration: 5m}]. "
        "Default: none, the challenger takes over once it is ready.",
    )
    analysis: Analysis = Field(default_factory=Analysis, description="How a challenger is judged.")
    progress_deadline: PositiveDuration = Field(
        default=timedelta(minutes=10),
        description="Longest time for a new version's pods to become ready; then it is aborted. Default: "
        "10m.",
    )
    keep_previous: Duration = Field(
        default=timedelta(minutes=10),
        description="How long the former version stays warm after a promotion; 0s means not at all. "
        "Default: 10m.",
    )


class Router(Spec):
    """What splits the traffic; one router a namespace, shared by its ModelDeployments."""

    type: Literal["Envoy"] = Field(default="Envoy", description="Kind of router. Default: Envoy.")
    replicas: int = Field(
        default=2,
        ge=1,
        le=20,
        description="Router pods; the largest number in the namespace counts. 1 means requests fail "
        "while it moves. "
        "Default: 2.",
    )
    timeout: PositiveDuration = Field(
        default=timedelta(seconds=30), description="Longest time for one request. Default: 30s."
    )


ServedHost = Annotated[
    HostName,
    Rule(
        cel=f"self != '{RESERVED_HOST_SUFFIX}' && !self.endsWith('.{RESERVED_HOST_SUFFIX}')",
        message=f"{RESERVED_HOST_SUFFIX} is the router's own: choose another host",
        holds=lambda host: host != RESERVED_HOST_SUFFIX and not host.endswith(f".{RESERVED_HOST_SUFFIX}"),
    ),
]


class ModelDeploymentSpec(Spec):
    """What to serve, and how to change it."""

    model: ModelName = Field(description="Name of the model to serve; immutable. Example: flight-delay.")
    follow: Literal["Approved"] | None = Field(
        default=None,
        description="Approved: always the newest approved version. Default, when version is absent: "
        "Approved.",
    )
    version: DnsLabel | None = Field(
        default=None,
        description="Name of the ModelVersion to serve, for example flight-delay-3. Absent: follow.",
    )
    replicas: int = Field(
        default=1,
        ge=0,
        le=1000,
        description="Pods of the stable version; 0 means nothing answers. Leave it out where an "
        "autoscaler owns it. "
        "Default: 1.",
        json_schema_extra=STORE_DEFAULT,
    )
    hosts: Annotated[list[ServedHost], Field(max_length=16), ListSet()] = Field(
        default_factory=list, description="Further host names that the router answers to. Default: none."
    )
    server: Server = Field(default_factory=Server, description="What answers requests in each pod.")
    strategy: Strategy = Field(default_factory=Strategy, description="How versions change.")
    router: Router = Field(default_factory=Router, description="What splits the traffic.")
    rules: ClassVar = (
        Rule(
            cel="!(has(self.follow) && has(self.version))",
            message="set follow or version, not both",
            field=".version",
            holds=lambda it: it.follow is None or it.version is None,
        ),
        Rule(
            cel="!has(self.version) || (self.version.startsWith(self.model + '-') && "
            "self.version.substring(size(self.model) + 1).matches('^[1-9][0-9]{0,9}$'))",
            message="version must be <model>-<N>, the name of a ModelVersion of this model",
            field=".version",
            holds=lambda it: it.version is None or _is_version_of(it.version, it.model),
        ),
        Rule(
            cel="self.model == oldSelf.model",
            message="model is immutable: make a new ModelDeployment for the other model",
            field=".model",
            reason="FieldValueForbidden",
            holds=lambda _: True,
        ),
    )


def _is_version_of(version: str, model: str) -> bool:
    number = version.removeprefix(f"{model}-")
    return number != version and number.isdecimal() and len(number) <= 10 and not number.startswith("0")


class DeploymentPhase(StrEnum):
    """Where a ModelDeployment stands."""

    PENDING = "Pending"
    PROGRESSING = "Progressing"
    PAUSED = "Paused"
    HEALTHY = "Healthy"
    ROLLED_BACK = "RolledBack"
    DEGRADED = "Degraded"


class Served(Status):
    """A version that serves or served."""

    version: Text = Field(description="Name of the ModelVersion.")
    revision: Text = Field(description="Hash of everything that its pods depend on.")
    name: Text = Field(description="Name of its Deployment, Service and router cluster.")


class CandidateStatus(Served):
    """The challenger."""

    attempt: int = Field(default=1, ge=1, le=2**31 - 1, description="How many times this revision was tried.")
    started_at: Time | None = Field(default=None, description="When the attempt started.")


class PreviousStatus(Served):
    """The former version, kept warm."""

    keep_until: Time | None = Field(default=None, description="When it is taken down.")


class StepStatus(Status):
    """Where the canary stands."""

    index: int = Field(ge=0, le=100, description="Index of the step in spec.strategy.steps.")
    started_at: Time | None = Field(default=None, description="When the step's weight was first read back.")
    requests: int = Field(
        default=0, ge=0, le=2**53, description="Requests that the challenger answered in the step."
    )


class TrafficStatus(Served):
    """The share of one version."""

    weight: int = Field(ge=0, le=100, description="Share of requests in percent.")
    verified: bool = Field(default=False, description="Whether every ready router confirmed the weight.")


class CountsStatus(Status):
    """Requests and errors counted by the routers."""

    requests: int = Field(default=0, ge=0, le=2**53, description="Requests answered or failed.")
    errors: int = Field(default=0, ge=0, le=2**53, description="Requests that failed.")


class AnalysisStatus(Status):
    """The judgement on the challenger, with its evidence."""

    verdict: Literal["Pass", "Fail", "Hold", "Error"] | None = Field(
        default=None, description="Pass, Fail, Hold or Error; only Fail aborts, only Pass promotes."
    )
    windows: int = Field(default=0, ge=0, le=2**53, description="Windows of counts judged so far.")
    champion: CountsStatus | None = Field(default=None, description="Counts of the champion.")
    challenger: CountsStatus | None = Field(default=None, description="Counts of the challenger.")
    log_e_harm: Text | None = Field(default=None, description="Log evidence that the challenger is worse.")
    log_e_ok: Text | None = Field(default=None, description="Log evidence that it is not worse.")
    log_e_abs: Text | None = Field(default=None, description="Log evidence of the absolute test.")
    message: Message | None = Field(default=None, description="The judgement in one sentence.")
    state: dict[str, Any] | None = Field(
        default=None,
        description="Exact accumulators and marks, so that a restart goes on.",
        json_schema_extra=PRESERVE,
    )


class RejectedStatus(Status):
    """A version that failed here and is not tried again by itself."""

    version: Text = Field(description="Name of the ModelVersion.")
    revision: Text = Field(default="", description="Revision that failed.")
    reason: Message = Field(default="", description="Why, with the evidence.")
    at: Time | None = Field(default=None, description="When.")


class DeploymentHistory(Status):
    """One event of the deployment's life."""

    at: Time = Field(description="When.")
    event: Text = Field(description="What, in one CamelCase word, for example Promoted.")
    version: Text = Field(default="", description="ModelVersion concerned.")
    message: Message = Field(default="", description="What happened, for people.")


class ModelDeploymentStatus(Status):
    """What the operator knows about the deployment."""

    phase: DeploymentPhase | None = Field(
        default=None, description="Pending, Progressing, Paused, Healthy, RolledBack or Degraded."
    )
    observed_generation: ObservedGeneration = None
    replicas: int | None = Field(default=None, ge=0, le=2**31 - 1, description="Pods of the stable version.")
    selector: Annotated[str, Field(max_length=1024)] | None = Field(
        default=None, description="Label selector of the stable version's pods, for autoscalers."
    )
    stable: Served | None = Field(default=None, description="The champion.")
    candidate: CandidateStatus | None = Field(default=None, description="The challenger. Absent: none.")
    previous: PreviousStatus | None = Field(default=None, description="The former champion, kept warm.")
    step: StepStatus | None = Field(default=None, description="Where the canary stands.")
    traffic: Annotated[list[TrafficStatus], Field(max_length=8)] = Field(
        default_factory=list, description="Share of each version; the weights sum up to 100."
    )
    analysis: AnalysisStatus | None = Field(default=None, description="The judgement on the challenger.")
    rejected: Annotated[list[RejectedStatus], Field(max_length=20)] = Field(
        default_factory=list,
        description="Versions that failed here; noria.dev/retry tries again.",
    )
    commands: Commands = Field(default_factory=dict)
    url: Annotated[str, Field(max_length=512)] | None = Field(
        default=None, description="Address inside the cluster that never changes."
    )
    history: Annotated[list[DeploymentHistory], Field(max_length=20)] = Field(
        default_factory=list, description="The last 20 events, oldest first."
    )
    message: Message | None = Field(default=None, description="What it is doing and why, in one sentence.")
    conditions: Conditions = Field(default_factory=list)


class ModelDeployment(Spec):
    """Serves a model at an address that never changes, and rolls new versions out judged by evidence."""

    metadata: Metadata
    spec: ModelDeploymentSpec = Field(description="What to serve, and how to change it.")
    status: ModelDeploymentStatus = Field(
        default_factory=ModelDeploymentStatus, description="What the operator knows about the deployment."
    )
    rules: ClassVar = (
        Rule(
            cel="self.metadata.name.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$')",
            message="metadata.name must begin with a letter and be a DNS label of at most 40 characters: "
            "a Service "
            "gets this name",
            field=".metadata.name",
            holds=lambda it: is_dns_label(it.metadata.name, 40) and it.metadata.name[0].isalpha(),
        ),
        Rule(
            cel=f"self.metadata.name != '{ROUTER_NAME}'",
            message=f"the name {ROUTER_NAME} belongs to the namespace's router: choose another",
            field=".metadata.name",
            holds=lambda it: it.metadata.name != ROUTER_NAME,
        ),
    )
