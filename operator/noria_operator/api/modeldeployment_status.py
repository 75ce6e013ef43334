"""What the operator writes into a ModelDeployment's status.

Comes in: what pods and routers say, and the judgement on it. Goes out: typed status, read back at each pass.
Invariant: it holds everything that a rollout needs to go on after a restart.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from noria_operator.api.schema import PRESERVE, Status
from noria_operator.api.status import (
    Commands,
    Conditions,
    EarlierCommands,
    Message,
    ObservedGeneration,
    Text,
)
from noria_operator.api.types import Time


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

    version: Text = Field(description="Its ModelVersion.")
    revision: Text = Field(description="Hash of what its pods depend on.")
    name: Text = Field(description="Name of its Deployment and Service.")


class CandidateStatus(Served):
    """The challenger."""

    attempt: int = Field(
        default=1,
        ge=1,
        le=2**31 - 1,
        description="How often this version was tried, as far as history goes back.",
    )
    started_at: Time | None = Field(default=None, description="When the attempt started.")


class ChampionStatus(Served):
    """A version that had all traffic."""

    turn: int = Field(
        default=0,
        ge=0,
        le=2**53,
        description="Its place in the order in which they came; going back does not change it.",
    )


class PreviousStatus(Served):
    """The former version, kept warm."""

    keep_until: Time | None = Field(default=None, description="When it is taken down.")


class StepStatus(Status):
    """Where the canary stands."""

    index: int = Field(ge=0, le=100, description="Index of the step in spec.strategy.steps.")
    started_at: Time | None = Field(
        default=None, description="Since when it waits for pods, for routers, or runs."
    )
    requests: int = Field(
        default=0, ge=0, le=2**53, description="Requests that the challenger answered in the step."
    )


class MatchStatus(Status):
    """A header that leads requests to a version."""

    name: Text = Field(description="Name of the header.")
    value: Text = Field(description="Its exact value.")


class TrafficStatus(Served):
    """The share of one version."""

    weight: int = Field(ge=0, le=100, description="Share of requests in percent.")
    verified: bool = Field(
        default=False, description="Whether every ready router confirmed weight, mirror and match."
    )
    draining_since: Time | None = Field(
        default=None, description="Since when its last requests are waited for. Absent: they are not."
    )
    mirror: int | None = Field(
        default=None, ge=1, le=100, description="Percent of requests whose copies it gets. Absent: none."
    )
    match: Annotated[list[MatchStatus], Field(max_length=4)] | None = Field(
        default=None, description="Requests with all of these headers go to it. Absent: none do."
    )
    assumed: bool | None = Field(
        default=None,
        description="Whether it is taken to be in force, by a router that cannot be asked.",
    )
    ranges: Text | None = Field(
        default=None,
        description="Percents of users that it has, in an experiment. Example: 60-79.",
    )
    realised: int | None = Field(
        default=None,
        ge=0,
        le=100,
        description="Share of the pods that it comes to, with router type Service.",
    )


class CountsStatus(Status):
    """Requests and errors counted by the routers."""

    requests: int = Field(default=0, ge=0, le=2**53, description="Requests answered or failed.")
    errors: int = Field(default=0, ge=0, le=2**53, description="Requests that failed.")


class MeasureStatus(Status):
    """The judgement on one measure."""

    name: Text = Field(description="errors, latency, or another measure of spec.strategy.analysis.")
    verdict: Literal["Pass", "Fail", "Hold", "Error"] = Field(description="Pass, Fail, Hold or Error.")
    message: Message = Field(default="", description="The judgement in one sentence.")
    figures: Annotated[dict[str, Text], Field(max_length=16)] = Field(
        default_factory=dict,
        description="What it was decided by, as decimals.",
    )
    query: Message = Field(default="", description="What the source is asked, where it is a query.")


class AnalysisStatus(Status):
    """The judgement on the challenger, with its evidence."""

    version: Text = Field(default="", description="Whom it judges.")
    verdict: Literal["Pass", "Fail", "Hold", "Error"] | None = Field(
        default=None, description="Only Fail aborts, only Pass promotes."
    )
    windows: int = Field(default=0, ge=0, le=2**53, description="Windows of counts judged so far.")
    champion: CountsStatus | None = Field(default=None, description="Counts of the champion.")
    challenger: CountsStatus | None = Field(default=None, description="Counts of the challenger.")
    measures: Annotated[list[MeasureStatus], Field(max_length=16)] = Field(
        default_factory=list,
        description="What was last said of each measure.",
    )
    message: Message | None = Field(default=None, description="The judgement in one sentence.")
    state: dict[str, Any] | None = Field(
        default=None,
        description="Exact sums and marks, so that a restart goes on.",
        json_schema_extra=PRESERVE,
    )


class DecisionStatus(Served):
    """A version that was promoted or rejected on evidence."""

    decision: Literal["Promoted", "Rejected"] = Field(description="How it ended.")
    at: Time = Field(description="When.")
    evidence: dict[str, Any] = Field(
        default_factory=dict, description="As status.analysis.", json_schema_extra=PRESERVE
    )


class RivalStatus(CandidateStatus):
    """A challenger beside the first."""

    started_at: Time = Field(description="When the attempt started.")
    analysis: dict[str, Any] = Field(
        default_factory=dict, description="As status.analysis.", json_schema_extra=PRESERVE
    )


class RejectedStatus(Status):
    """A version that failed here."""

    version: Text = Field(description="Its ModelVersion.")
    revision: Text = Field(default="", description="Revision that failed.")
    reason: Message = Field(default="", description="Why, with the evidence.")
    at: Time | None = Field(default=None, description="When.")
    retries: int = Field(default=0, ge=0, le=2**31 - 1, description="How often it was tried again by itself.")
    next_retry_time: Time | None = Field(
        default=None, description="When it is tried again by itself. Absent: it is not."
    )
    by_hand: bool = Field(
        default=False, description="Whether a person rejected it: it waits for noria.dev/retry."
    )
    retrying: bool = Field(default=False, description="Whether it is being tried again.")
    lost: bool = Field(default=False, description="Whether another arm of its experiment won.")


class UndoStatus(Status):
    """What noria.dev/undo went back to."""

    target: Served = Field(description="The revision to serve, with the configuration it had.")
    left: Served = Field(description="What spec asked for and was left.")


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
        default=None,
        description="Label selector of the pods that get requests or copies of them, for autoscalers.",
    )
    stable: Served | None = Field(default=None, description="The champion.")
    candidate: CandidateStatus | None = Field(default=None, description="The challenger. Absent: none.")
    others: Annotated[list[RivalStatus], Field(max_length=8)] = Field(
        default_factory=list, description="The other challengers of an experiment."
    )
    previous: PreviousStatus | None = Field(default=None, description="The former champion, kept warm.")
    step: StepStatus | None = Field(default=None, description="Where the canary stands.")
    traffic: Annotated[list[TrafficStatus], Field(max_length=24)] = Field(
        default_factory=list,
        description="Share of each version, the stable one first, then challengers; the sum is 100.",
    )
    traffic_version: int = Field(
        default=0,
        ge=0,
        le=2**53,
        description="Counts the changes of weights.",
    )
    analysis: AnalysisStatus | None = Field(default=None, description="The judgement on the challenger.")
    rejected: Annotated[list[RejectedStatus], Field(max_length=20)] = Field(
        default_factory=list,
        description="Versions that failed here; noria.dev/retry tries again.",
    )
    decisions: Annotated[list[DecisionStatus], Field(max_length=10)] = Field(
        default_factory=list,
        description="The last 10 made on evidence, oldest first.",
    )
    champions: Annotated[list[ChampionStatus], Field(max_length=10)] = Field(
        default_factory=list,
        description="The last 10 champions, the present one last.",
    )
    undo: UndoStatus | None = Field(
        default=None,
        description="What was gone back to, until noria.dev/retry, a newer version, or a change of spec.",
    )
    restarts: Annotated[dict[str, Text], Field(max_length=16)] = Field(
        default_factory=dict,
        description="Revision → id of the last noria.dev/restart that its pods were made after.",
    )
    commands: Commands = Field(default_factory=dict)
    earlier_commands: EarlierCommands = Field(default_factory=dict)
    url: Annotated[str, Field(max_length=512)] | None = Field(
        default=None, description="Address inside the cluster that never changes."
    )
    preview_url: Annotated[str, Field(max_length=512)] | None = Field(
        default=None, description="Address of the challenger, with spec.strategy.preview."
    )
    history: Annotated[list[DeploymentHistory], Field(max_length=20)] = Field(
        default_factory=list, description="The last 20 events, oldest first."
    )
    message: Message | None = Field(default=None, description="What it is doing and why, in one sentence.")
    conditions: Conditions = Field(default_factory=list)
