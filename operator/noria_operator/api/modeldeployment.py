"""ModelDeployment: serve the best approved version of this model, and change versions this carefully.

Comes in: the object's JSON. Goes out: a frozen, validated model. Invariant: a name can be
a Service's and leaves room for versions and revisions.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

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
from noria_operator.api.routers import DEPLOYMENT_RULES, Router
from noria_operator.api.schema import STORE_DEFAULT, ListSet, Rule, Spec
from noria_operator.api.server import Server
from noria_operator.api.status import Metadata
from noria_operator.api.strategy import Step, Strategy
from noria_operator.api.trainingjob import is_dns_label
from noria_operator.api.types import (
    DnsLabel,
    HostName,
    ModelName,
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
        description="Approved: the newest approved version. Default, when version is absent: Approved.",
    )
    version: DnsLabel | None = Field(
        default=None,
        description="Name of the ModelVersion to serve, for example flight-delay-3. Absent: follow.",
    )
    replicas: int = Field(
        default=1,
        ge=0,
        le=1000,
        description="Pods of the champion; 0: nothing answers. Leave it out where an autoscaler owns it. "
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
        Rule(
            cel="!has(self.server) || !has(self.server.runtime) || self.server.runtime != 'custom' || "
            "!has(self.strategy) || !has(self.strategy.analysis) || !(has(self.strategy.analysis.quality) "
            "|| has(self.strategy.analysis.predictions) || has(self.strategy.analysis.disagreement))",
            message="analysis.quality, predictions and disagreement need runtime: noria; leave them out",
            field=".strategy.analysis",
            reason="FieldValueForbidden",
            holds=lambda it: (
                it.server.runtime != "custom"
                or (
                    it.strategy.analysis.quality
                    or it.strategy.analysis.predictions
                    or it.strategy.analysis.disagreement
                )
                is None
            ),
        ),
        Rule(
            cel="!has(self.version) || !has(self.strategy) || !has(self.strategy.experiment)",
            message="an experiment compares its arms with the version that serves: leave version out",
            field=".version",
            reason="FieldValueForbidden",
            holds=lambda it: it.version is None or it.strategy.experiment is None,
        ),
        *DEPLOYMENT_RULES,
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
