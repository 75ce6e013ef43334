"""ModelDeployment: serve the best approved version of this model, and change versions this carefully.

Comes in: the object's JSON. Goes out: a frozen, validated model. Invariant: steps rise, so a challenger's
weight only grows while it is judged; a name can be a Service's and leaves room for versions and revisions.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from noria_operator.api.analysis import Analysis
from noria_operator.api.modeldeployment_status import (
    AnalysisStatus,
    CandidateStatus,
    CountsStatus,
    DeploymentHistory,
    DeploymentPhase,
    ModelDeploymentStatus,
    PreviousStatus,
    RejectedStatus,
    Served,
    StepStatus,
    TrafficStatus,
    UndoStatus,
)
from noria_operator.api.names import RESERVED_HOST_SUFFIX, ROUTER_NAME
from noria_operator.api.payload_log import PayloadLog
from noria_operator.api.pods import PodFields
from noria_operator.api.schema import STORE_DEFAULT, ListSet, Rule, Spec
from noria_operator.api.status import Metadata
from noria_operator.api.trainingjob import is_dns_label
from noria_operator.api.types import (
    Argument,
    DnsLabel,
    Duration,
    HostName,
    Image,
    ModelName,
    PositiveDuration,
)

__all__ = [
    "Analysis",
    "AnalysisStatus",
    "CandidateStatus",
    "CountsStatus",
    "DeploymentHistory",
    "DeploymentPhase",
    "ModelDeployment",
    "ModelDeploymentSpec",
    "ModelDeploymentStatus",
    "PreviousStatus",
    "RejectedStatus",
    "Router",
    "Served",
    "Server",
    "Step",
    "StepStatus",
    "Strategy",
    "TrafficStatus",
    "UndoStatus",
]


WEIGHTS_RISE = "steps must rise in weight, each weight once: sort them, for example 10, 50"


class WarmUp(Spec):
    """Predictions of the bundle's golden rows before a pod is ready."""

    rows: Annotated[
        list[Annotated[int, Field(ge=1, le=65_536)]], Field(min_length=1, max_length=16), ListSet()
    ] = Field(description="Sizes of batches that are predicted, for example [1, 64].")
    calls: int = Field(default=3, ge=1, le=1000, description="How often each is predicted. Default: 3.")


def _noria_only(name: str, value: Callable[[Any], object]) -> Rule:
    """A field that a container of the user's own does not know."""
    return Rule(
        cel=f"!has(self.runtime) || self.runtime != 'custom' || !has(self.{name})",
        message=f"{name} is for runtime: noria only; leave it out",
        field=f".{name}",
        reason="FieldValueForbidden",
        holds=lambda it: it.runtime != "custom" or value(it) is None,
    )


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
        description="Seconds that a pod gets to finish its requests when it stops, at least 28. Absent: 60.",
    )
    payload_log: PayloadLog | None = Field(
        default=None,
        description="Write requests, answers and labels down, for audits and training. Absent: nothing is.",
    )
    warm_up: WarmUp | None = Field(
        default=None,
        description="Predictions before a pod is ready, for models that are slow at first. Absent: the "
        "golden rows alone, twice.",
    )
    rules: ClassVar = (
        _noria_only("warmUp", lambda it: it.warm_up),
        _noria_only("payloadLog", lambda it: it.payload_log),
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
