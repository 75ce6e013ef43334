"""ContinuousTraining: retrain when it is worth it, by schedule, lost quality or on demand.

Comes in: the object's JSON. Goes out: a frozen, validated model. Invariant: triggers can only ask for a run;
cooldown, budget and `Forbid` decide whether it starts.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from noria_operator.api.schema import PRESERVE, ListMap, Rule, Spec, Status
from noria_operator.api.status import (
    Commands,
    Conditions,
    EarlierCommands,
    Message,
    Metadata,
    ObservedGeneration,
    Text,
)
from noria_operator.api.trainingjob import TrainingJobSpec, is_dns_label
from noria_operator.api.triggers import TriggerSpec, combines_known
from noria_operator.api.types import (
    Decimal,
    Duration,
    ModelName,
    PositiveDuration,
    Time,
    UnsignedDecimal,
)


class Budget(Spec):
    """How many runs may start in a time, and what they may use."""

    max_runs: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Runs that may start within per, for example 10. Absent: no limit.",
    )
    max_cpu_hours: UnsignedDecimal | None = Field(
        default=None,
        description="No run starts once runs within per have used so many hours of a CPU (as requested), "
        'for example "48". Absent: no limit.',
    )
    max_gpu_hours: UnsignedDecimal | None = Field(
        default=None, description='The same for GPUs, for example "12". Absent: no limit.'
    )
    per: PositiveDuration = Field(description="The time, counted back from now, for example 168h.")
    rules: ClassVar = (
        Rule(
            cel="has(self.maxRuns) || has(self.maxCpuHours) || has(self.maxGpuHours)",
            message="set at least one of maxRuns, maxCpuHours and maxGpuHours",
            holds=lambda it: not it.max_runs == it.max_cpu_hours == it.max_gpu_hours is None,
        ),
    )


class Template(Spec):
    """The TrainingJob that a trigger starts."""

    spec: TrainingJobSpec = Field(
        description="Spec of the TrainingJob, which `kubectl explain tj.spec` describes."
    )


class ContinuousTrainingSpec(Spec):
    """When to retrain, and how."""

    deployment: ModelName = Field(
        description="ModelDeployment that is watched and whose champion is challenged."
    )
    triggers: Annotated[
        list[TriggerSpec],
        Field(max_length=16),
        ListMap("name"),
        Rule(
            cel="self.all(c, !has(c.combine) || c.combine.of.all(n, "
            "self.exists(t, t.name == n && !has(t.combine))))",
            message="combine.of must name triggers of this list that do not combine others",
            holds=combines_known,
        ),
    ] = Field(
        default_factory=list,
        description="Reasons to retrain. The annotation noria.dev/retrain: <id> starts a run as well.",
    )
    cooldown: Duration = Field(
        default=timedelta(hours=6),
        description="Least time from one run's start to the next; 0s means none. Default: 6h.",
    )
    budget: Budget | None = Field(default=None, description="How many runs may start. Absent: no limit.")
    warmup: Duration = Field(
        default=timedelta(),
        description="How long a new champion serves before its quality is watched. Default: 0s.",
    )
    follow_up: PositiveDuration | None = Field(
        default=None,
        description="One more run so long after one for a loss started: as long as the training "
        "window and the delay of labels. Example: 72h. Absent: none.",
    )
    stop_after_failures: int = Field(
        default=5,
        ge=0,
        le=100,
        description="Each run in a row that came to nothing doubles the cooldown; after so many none starts "
        "until a person asks or the spec changes. 0: never stop. Default: 5.",
    )
    concurrency_policy: Literal["Forbid", "Replace", "Queue"] = Field(
        default="Forbid",
        description="While a run is active. Forbid: none starts. Replace: the unfinished TrainingJob is "
        "deleted for the new one. Queue: one request waits. Default: Forbid.",
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
        Rule(
            cel="!has(self.triggers) || self.triggers.all(t, !has(t.dataChange) || "
            "(has(self.template.spec.data) && self.template.spec.data.exists(d, d.name == "
            "t.dataChange.data)))",
            message="dataChange.data must be the name of an entry in template.spec.data",
            field=".triggers",
            holds=lambda it: (
                {one.data_change.data for one in it.triggers if one.data_change}
                <= {source.name for source in it.template.spec.data}
            ),
        ),
    )


class LastTrigger(Status):
    """The last run that was started, and why."""

    name: Text = Field(default="", description="Name of the trigger.")
    reason: Text = Field(default="", description="Kind of the trigger, Manual or FollowUp.")
    at: Time | None = Field(default=None, description="When.")
    training_job: Text = Field(default="", description="Name of the TrainingJob.")


class ColumnStatus(Status):
    """One feature, the predictions, or a slice, in the last closed window."""

    name: Text = Field(description="Feature, __prediction__, or slice such as carrier=AA.")
    check: Text | None = Field(
        default=None,
        description="What is wrong, such as completeness, range or demographicParityRatio; of a slice the "
        "metric. Absent: its distribution.",
    )
    value: Text = Field(description="Distance, share, or what is said of shares.")
    threshold: Text = Field(description="Above it (ratios: below) a value counts.")
    floor: Text | None = Field(
        default=None, description="PSI that noise may have; of fairness and slices: what is sure."
    )
    samples: int = Field(ge=0, le=2**53, description="Rows behind the value.")
    drifted: bool | None = Field(default=None, description="Whether it stood out in enough windows.")


class TriggerStatus(Status):
    """The last decision on a trigger, also when it was no."""

    name: Text = Field(description="Name of the trigger.")
    value: Text | None = Field(default=None, description="What was measured, for example 0.61.")
    threshold: Text | None = Field(default=None, description="What it was compared with, for example 0.65.")
    samples: int | None = Field(default=None, ge=0, le=2**53, description="Rows behind the value.")
    decision: Text | None = Field(
        default=None,
        description="Fire, Wait, No, Error, Skipped, Blocked (its run is held), or its action where it "
        "fires: Warn, Block, Observe.",
    )
    since: Time | None = Field(
        default=None,
        description="Since when an alarm, loss or drift stands, also while its run is held or under way.",
    )
    reason: Text | None = Field(
        default=None,
        description="Why, in one word such as Drifted or MetricUnsuitable.",
    )
    message: Message | None = Field(default=None, description="The decision in one sentence.")
    problem: Message | None = Field(
        default=None, description="Why its counts cannot be read; the last decision stands meanwhile."
    )
    streak: int | None = Field(
        default=None, ge=0, le=2**31 - 1, description="Windows in a row that show the loss."
    )
    best: Text | None = Field(default=None, description="Best value ever reached.")
    interval: Text | None = Field(
        default=None, description="Where the true value lies with a probability of 95 %, like 0.71 to 0.75."
    )
    coverage: Text | None = Field(
        default=None, description="Labelled rows by rows predicted in the window, like 0.4."
    )
    label_delay: Duration | None = Field(
        default=None,
        description="Half of the window's labels came within this time, as the upper end of a bucket.",
    )
    regret: Text | None = Field(
        default=None, description="With cost: what the loss has cost since the last run."
    )
    forecast: Time | None = Field(
        default=None, description="With cost: when a run will be worth it, if the loss stays as it is."
    )
    version: Text | None = Field(default=None, description="ModelVersion that the figures belong to.")
    window_started_at: Time | None = Field(default=None, description="When the open window started.")
    window_ended_at: Time | None = Field(
        default=None,
        description="When the window of the value closed.",
    )
    window_length: Duration | None = Field(default=None, description="How long that window was.")
    expected_false_alarms: Text | None = Field(
        default=None, description="False alarms a month to expect at most where nothing changes."
    )
    columns: Annotated[list[ColumnStatus], Field(max_length=10)] = Field(
        default_factory=list, description="The columns that stand out most."
    )
    next_run: Time | None = Field(default=None, description="With schedule: when it fires next, or was due.")
    last_scheduled: Time | None = Field(
        default=None, description="With schedule: the last time that was handled."
    )
    state: dict[str, Any] | None = Field(
        default=None, description="Exact marks, so that a restart goes on.", json_schema_extra=PRESERVE
    )


class RunStatus(Status):
    """A run."""

    at: Time = Field(description="When it started.")
    trigger: Text = Field(default="", description="Name of the trigger.")
    reason: Text = Field(default="", description="Kind of the trigger, Manual or FollowUp.")
    training_job: Text = Field(default="", description="Name of the TrainingJob.")
    result: Literal["Promoted", "Kept", "Failed", "Refused", "RolledBack", "Replaced", "Gone", ""] | None = (
        Field(
            default=None,
            description="Promoted: its version became the champion. Kept: it did not. Refused: by a gate, "
            "the verification or a person. Absent: not known yet.",
        )
    )
    cpu_hours: Decimal | None = Field(default=None, description="Hours of a CPU that it held.")
    gpu_hours: Decimal | None = Field(default=None, description="Hours of a GPU that it held.")
    answers: dict[str, Any] | None = Field(
        default=None,
        description="While its result is open: what stands again by trigger if it comes to nothing.",
        json_schema_extra=PRESERVE,
    )


class OlderRunsStatus(Status):
    """Runs before the last ones, within a 32nd of the budget's time."""

    at: Time = Field(description="When the newest started.")
    runs: int = Field(ge=1, le=2**31 - 1, description="How many.")
    cpu_hours: Decimal | None = Field(default=None, description="Hours of CPUs.")
    gpu_hours: Decimal | None = Field(default=None, description="Hours of GPUs.")


class QueuedStatus(Status):
    """The request that waits for the active run to end."""

    trigger: Text = Field(default="", description="Name of the trigger.")
    reason: Text = Field(default="", description="Its kind.")
    at: Time = Field(description="Since when it waits.")
    message: Message = Field(default="", description="Why it asked.")
    answers: dict[str, Any] | None = Field(
        default=None, description="As of a run.", json_schema_extra=PRESERVE
    )


class FollowUpStatus(Status):
    """The run that is to follow once the training window holds only data from after the alarm."""

    at: Time = Field(description="When.")
    of: Text = Field(default="", description="TrainingJob that it follows.")


class ContinuousTrainingStatus(Status):
    """What the operator knows about the loop."""

    observed_generation: ObservedGeneration = None
    last_trigger: LastTrigger | None = Field(
        default=None, description="The last run that was started, and why."
    )
    last_evaluation: Time | None = Field(default=None, description="When the triggers were last evaluated.")
    deployment: Text | None = Field(default=None, description="Whose triggers these are.")
    triggers: Annotated[list[TriggerStatus], Field(max_length=17), ListMap("name")] = Field(
        default_factory=list, description="The last decision on each trigger, also when it was no."
    )
    next_eligible_time: Time | None = Field(default=None, description="Before this time no run starts.")
    blocked_by: (
        Literal["Cooldown", "Budget", "Concurrency", "Trigger", "CircuitOpen", "Suspended", "InvalidSpec", ""]
        | None
    ) = Field(default=None, description="What keeps a run from starting. Empty: nothing.")
    failures: int | None = Field(
        default=None,
        ge=0,
        le=2**31 - 1,
        description="Runs in a row that failed, were refused, rolled back or vanished.",
    )
    queued: QueuedStatus | None = Field(default=None, description="The request that waits. Absent: none.")
    follow_up: FollowUpStatus | None = Field(
        default=None, description="The run that is to follow a loss of quality. Absent: none."
    )
    runs: Annotated[list[RunStatus], Field(max_length=10_000)] = Field(
        default_factory=list, description="The last 20 runs, oldest first."
    )
    older_runs: Annotated[list[OlderRunsStatus], Field(max_length=100)] = Field(
        default_factory=list, description="Those before that count against the budget, in sums."
    )
    active: Text | None = Field(default=None, description="TrainingJob that is running. Absent: none.")
    commands: Commands = Field(default_factory=dict)
    earlier_commands: EarlierCommands = Field(default_factory=dict)
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
