"""ContinuousTraining: retrain when it is worth it, by schedule, lost quality or on demand.

Comes in: the object's JSON. Goes out: a frozen, validated model. Invariant: triggers can only ask for a run;
cooldown, budget and `Forbid` decide whether it starts.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from noria_operator.api.schema import PRESERVE, ListMap, Rule, Spec, Status
from noria_operator.api.status import Commands, Conditions, Message, Metadata, ObservedGeneration, Text
from noria_operator.api.trainingjob import TrainingJobSpec, is_dns_label
from noria_operator.api.types import (
    Decimal,
    DnsLabel,
    Duration,
    ModelName,
    PositiveDuration,
    Probability,
    Time,
)


def _cron_field(number: str) -> str:
    item = rf"(\*|({number})(-({number}))?)(/[1-9][0-9]?)?"
    return f"{item}(,{item})*"


_MONTHS: Final = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
_DAYS: Final = "SUN|MON|TUE|WED|THU|FRI|SAT"
CRON_PATTERN: Final = (
    "^"
    + " ".join(
        _cron_field(number)
        for number in (
            "[0-5]?[0-9]",
            "[01]?[0-9]|2[0-3]",
            "0?[1-9]|[12][0-9]|3[01]",
            f"0?[1-9]|1[0-2]|{_MONTHS}",
            f"[0-7]|{_DAYS}",
        )
    )
    + "$"
)


class Performance(Spec):
    """Retrain when the quality that production shows is lost."""

    metric: Literal["auc", "logloss", "accuracy", "calibration"] = Field(
        description="Metric computed from feedback: auc, logloss, accuracy or calibration."
    )
    min: Decimal | None = Field(default=None, description='Fires below this value, for example "0.65".')
    max: Decimal | None = Field(
        default=None, description='Fires above this value, for example "0.6" for logloss.'
    )
    relative_drop: Probability | None = Field(
        default=None,
        description="Fires when the metric is worse than the best ever reached by more than this share "
        "of it, "
        'for example "0.05".',
    )
    min_labels: int = Field(
        default=500,
        ge=1,
        le=1_000_000_000,
        description="Labelled rows that a window needs before it is judged. Default: 500.",
    )
    for_: int = Field(
        default=2,
        alias="for",
        ge=1,
        le=100,
        description="Windows in a row that must show the loss. Default: 2.",
    )
    window: PositiveDuration | None = Field(
        default=None,
        description="Least length of a window: it closes when this time has passed and minLabels is reached. "
        "Absent: minLabels alone counts.",
    )
    rules: ClassVar = (
        Rule(
            cel="[has(self.min), has(self.max), has(self.relativeDrop)].exists_one(x, x)",
            message="set exactly one of min, max and relativeDrop",
            holds=lambda it: [it.min, it.max, it.relative_drop].count(None) == 2,
        ),
    )


class TriggerSpec(Spec):
    """One reason to retrain."""

    name: DnsLabel = Field(description="Name of the trigger, for example quality.")
    performance: Performance | None = Field(default=None, description="Lost quality in production.")
    schedule: str | None = Field(
        default=None,
        min_length=9,
        max_length=128,
        pattern=CRON_PATTERN,
        description='Cron expression of five fields (minute hour day month weekday), for example "0 2 * '
        '* 1".',
    )
    time_zone: str | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$",
        description="IANA time zone of the schedule, for example Europe/Berlin. Absent: UTC.",
    )
    rules: ClassVar = (
        Rule(
            cel="has(self.performance) != has(self.schedule)",
            message="set exactly one of performance and schedule",
            holds=lambda it: (it.performance is None) != (it.schedule is None),
        ),
        Rule(
            cel="!has(self.timeZone) || has(self.schedule)",
            message="timeZone goes with schedule only",
            field=".timeZone",
            holds=lambda it: it.time_zone is None or it.schedule is not None,
        ),
    )


class Budget(Spec):
    """How many runs may start in a time."""

    max_runs: int = Field(ge=1, le=10_000, description="Runs that may start within per, for example 10.")
    per: PositiveDuration = Field(description="The time, counted back from now, for example 168h.")


class Template(Spec):
    """The TrainingJob that a trigger starts."""

    spec: TrainingJobSpec = Field(description="Spec of the TrainingJob; deployment is filled in.")


class ContinuousTrainingSpec(Spec):
    """When to retrain, and how."""

    deployment: ModelName = Field(
        description="ModelDeployment whose production quality is watched and whose champion is challenged."
    )
    triggers: Annotated[list[TriggerSpec], Field(max_length=16), ListMap("name")] = Field(
        default_factory=list,
        description="Reasons to retrain. The annotation noria.dev/retrain: <id> starts a run as well.",
    )
    cooldown: Duration = Field(
        default=timedelta(hours=6),
        description="Least time from one run's start to the next; 0s means none. Default: 6h.",
    )
    budget: Budget | None = Field(default=None, description="How many runs may start. Absent: no limit.")
    concurrency_policy: Literal["Forbid"] = Field(
        default="Forbid", description="Forbid: no run starts while another is active. Default: Forbid."
    )
    suspend: bool = Field(
        default=False, description="true: nothing is started; decisions are still written. Default: false."
    )
    history_limit: int = Field(
        default=10,
        ge=0,
        le=100,
        description="Finished TrainingJobs that are kept; 0 keeps none. Default: 10.",
    )
    template: Template = Field(description="The TrainingJob that a trigger starts.")
    rules: ClassVar = (
        Rule(
            cel="!has(self.template.spec.deployment) || self.template.spec.deployment == self.deployment",
            message="template.spec.deployment must equal deployment; leave it out",
            field=".template.spec.deployment",
            holds=lambda it: it.template.spec.deployment in (None, it.deployment),
        ),
    )


class LastTrigger(Status):
    """The last run that was started, and why."""

    name: Text = Field(default="", description="Name of the trigger.")
    reason: Text = Field(default="", description="Performance, Schedule or Manual.")
    at: Time | None = Field(default=None, description="When.")
    training_job: Text = Field(default="", description="Name of the TrainingJob.")


class TriggerStatus(Status):
    """The last decision on a trigger, also when it was no."""

    name: Text = Field(description="Name of the trigger.")
    value: Text | None = Field(default=None, description="What was measured, for example 0.61.")
    threshold: Text | None = Field(default=None, description="What it was compared with, for example 0.65.")
    samples: int | None = Field(default=None, ge=0, le=2**53, description="Labelled rows behind the value.")
    decision: Text | None = Field(
        default=None, description="Fire, Wait or another word for what was decided."
    )
    message: Message | None = Field(default=None, description="The decision in one sentence.")
    streak: int | None = Field(
        default=None, ge=0, le=2**31 - 1, description="Windows in a row that show the loss."
    )
    best: Text | None = Field(default=None, description="Best value ever reached.")
    version: Text | None = Field(default=None, description="ModelVersion that the figures belong to.")
    window_started_at: Time | None = Field(default=None, description="When the open window started.")
    next_run: Time | None = Field(default=None, description="With schedule: when it fires next.")
    last_scheduled: Time | None = Field(
        default=None, description="With schedule: the last time that was handled."
    )
    state: dict[str, Any] | None = Field(
        default=None, description="Exact marks, so that a restart goes on.", json_schema_extra=PRESERVE
    )


class RunStatus(Status):
    """A run that counts against the budget."""

    at: Time = Field(description="When it started.")
    trigger: Text = Field(default="", description="Name of the trigger.")
    training_job: Text = Field(default="", description="Name of the TrainingJob.")


class ContinuousTrainingStatus(Status):
    """What the operator knows about the loop."""

    observed_generation: ObservedGeneration = None
    last_trigger: LastTrigger | None = Field(
        default=None, description="The last run that was started, and why."
    )
    last_evaluation: Time | None = Field(default=None, description="When the triggers were last evaluated.")
    triggers: Annotated[list[TriggerStatus], Field(max_length=17), ListMap("name")] = Field(
        default_factory=list, description="The last decision on each trigger, also when it was no."
    )
    next_eligible_time: Time | None = Field(default=None, description="Before this time no run starts.")
    blocked_by: Literal["Cooldown", "Budget", "Concurrency", "Suspended", "InvalidSpec", ""] | None = Field(
        default=None, description="What keeps a run from starting. Empty: nothing."
    )
    runs: Annotated[list[RunStatus], Field(max_length=10_000)] = Field(
        default_factory=list, description="Runs that count against the budget, oldest first."
    )
    active: Text | None = Field(default=None, description="TrainingJob that is running. Absent: none.")
    commands: Commands = Field(default_factory=dict)
    message: Message | None = Field(default=None, description="What it is doing and why, in one sentence.")
    conditions: Conditions = Field(default_factory=list)


class ContinuousTraining(Spec):
    """Watches a ModelDeployment and starts TrainingJobs when it is worth it, one at a time."""

    metadata: Metadata
    spec: ContinuousTrainingSpec = Field(description="When to retrain, and how.")
    status: ContinuousTrainingStatus = Field(
        default_factory=ContinuousTrainingStatus, description="What the operator knows about the loop."
    )
    rules: ClassVar = (
        Rule(
            cel="self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$')",
            message="metadata.name must be a DNS label of at most 40 characters: its TrainingJobs are "
            "called after it",
            field=".metadata.name",
            holds=lambda it: is_dns_label(it.metadata.name, 40),
        ),
    )
