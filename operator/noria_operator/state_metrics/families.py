"""Every metric that is made from the objects: the only place that says what there is.

In: nothing. Out: families that the other modules fill, and the operator's part of docs/metrics.md.
Invariants: base units and timestamps; labels are names of objects and words of enums, so there are as many
series as objects, whatever happens to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client.core import GaugeMetricFamily

from noria_operator.state_metrics import text

MODEL: Final = ("namespace", "model")
DEPLOYMENT: Final = ("namespace", "deployment", "model")
TRAINING: Final = (*DEPLOYMENT, "training")
TRIGGER: Final = (*TRAINING, "trigger")


@dataclass(frozen=True)
class Family:
    """One gauge; `common` labels come before its own."""

    name: str
    text: str
    common: tuple[str, ...]
    labels: tuple[str, ...] = ()

    def gauge(self) -> GaugeMetricFamily:
        """Empty, to be filled."""
        return GaugeMetricFamily(self.name, self.text, labels=[*self.common, *self.labels])

    def head(self) -> str:
        """What stands before its samples in the text that Prometheus reads."""
        return text.head(self.name, self.text)

    def line(self, labels: Sequence[str], value: float) -> str:
        """A sample in that text; values of `common` labels come first."""
        named = dict(zip((*self.common, *self.labels), labels, strict=True))
        return text.line(self.name, named, value)


PHASE: Final = Family(
    "noria_deployment_phase", "1 for the phase that a ModelDeployment is in.", DEPLOYMENT, ("phase",)
)
CONDITION: Final = Family(
    "noria_deployment_condition",
    "1 where a condition of a ModelDeployment is True, else 0; reason: that of the condition, such as "
    "NoReadyPods.",
    DEPLOYMENT,
    ("condition", "reason"),
)
WEIGHT: Final = Family(
    "noria_deployment_weight_ratio",
    "Share of requests of each version in use. Role: champion, challenger, previous; revision: its "
    "name at routers.",
    DEPLOYMENT,
    ("version", "role", "revision"),
)
ASKED: Final = Family(
    "noria_deployment_asked",
    "1 for a version in use that clients' requests go to, by weight or by header; 0 for one that gets copies "
    "of them, or nothing.",
    DEPLOYMENT,
    ("version", "role", "revision"),
)
ASIDE: Final = Family(
    "noria_deployment_led_aside",
    "1 while a header leads clients' requests past the champion (match of a step or an arm), else 0.",
    DEPLOYMENT,
)
HAPPENED: Final = Family(
    "noria_deployment_event_timestamp_seconds",
    "When status.history last tells an event of this kind, and of which version.",
    DEPLOYMENT,
    ("event", "version"),
)
MODEL_TIME: Final = Family(
    "noria_deployment_model_timestamp_seconds",
    "When the champion was registered: its age is now less this.",
    DEPLOYMENT,
    ("version",),
)
DATA_TIME: Final = Family(
    "noria_deployment_data_timestamp_seconds",
    "The newest partition that the champion learnt from, where partitions are named by date.",
    DEPLOYMENT,
    ("version",),
)
FIX_SECONDS: Final = Family(
    "noria_deployment_fix_seconds",
    "From when a loss of quality, or drift with action Retrain, was seen to the promotion of the champion "
    "that answers it; absent of one that was trained while none was.",
    DEPLOYMENT,
    ("version",),
)
VALUE: Final = Family("noria_trigger_value", "What a trigger measured last.", TRIGGER)
THRESHOLD: Final = Family("noria_trigger_threshold", "What the value was compared with.", TRIGGER)
BEST: Final = Family("noria_trigger_best", "The best value ever reached.", TRIGGER)
SAMPLES: Final = Family("noria_trigger_samples", "Rows behind the value.", TRIGGER)
WINDOW: Final = Family(
    "noria_trigger_window_seconds", "How long the last closed window of a trigger was.", TRIGGER
)
WINDOW_END: Final = Family(
    "noria_trigger_window_end_timestamp_seconds", "When the last window of a trigger closed.", TRIGGER
)
BOUND: Final = Family(
    "noria_trigger_interval",
    "Where the value of a performance trigger lies with 95 %: its low and high end.",
    TRIGGER,
    ("end",),
)
COVERAGE: Final = Family(
    "noria_trigger_coverage_ratio", "Labelled rows by rows predicted in the window.", TRIGGER
)
SCORE: Final = Family(
    "noria_drift_score",
    "Distance of the ten columns that stand out most; with a check, the share that is broken, the rows "
    "(volume) or the seconds (freshness).",
    TRIGGER,
    ("feature", "check"),
)
FLOOR: Final = Family("noria_drift_floor", "PSI that noise may have.", TRIGGER, ("feature",))
FAIRNESS: Final = Family(
    "noria_fairness_value",
    "How differently groups of a column are treated: fairlearn's metric of the check's name.",
    TRIGGER,
    ("feature", "check"),
)
FAIRNESS_BOUND: Final = Family(
    "noria_fairness_bound", "What is tolerated of it.", TRIGGER, ("feature", "check")
)
UNFAIR: Final = Family(
    "noria_fairness_exceeded", "1 where the last closed window surely exceeds that.", TRIGGER,
    ("feature", "check"),
)  # fmt: skip
SLICE_VALUE: Final = Family(
    "noria_trigger_slice_value",
    "What a performance trigger with bySlice measured last in the ten slices that are worst.",
    TRIGGER,
    ("slice",),
)
SLICE_LOST: Final = Family(
    "noria_trigger_slice_lost", "1 where quality in the slice is surely lost.", TRIGGER, ("slice",)
)
DECISION: Final = Family(
    "noria_trigger_decision",
    "1 for what was decided last: No, Wait, Skipped, Fire, Blocked, Warn, Block, Observe or Error. Kind: "
    "of the trigger, such as Drift.",
    TRIGGER,
    ("decision", "kind"),
)
REASON: Final = Family(
    "noria_trigger_reason",
    "1 for why it was decided like that, in one word, such as NotWorse; one for each trigger.",
    TRIGGER,
    ("reason",),
)
PROBLEM: Final = Family(
    "noria_trigger_problem",
    "1 while the counts that a trigger looks at cannot be read, so that its last decision stands; absent "
    "while they can.",
    TRIGGER,
)
LOST: Final = Family(
    "noria_trigger_loss_timestamp_seconds",
    "Since when the loss of quality, or the drift with action Retrain, that a trigger sees has waited for a "
    "promotion; absent while it sees none. Kind: of the trigger.",
    TRIGGER,
    ("kind",),
)
NEXT: Final = Family(
    "noria_trigger_next_run_timestamp_seconds",
    "When a schedule fires next; while a run is held, when that was due.",
    TRIGGER,
)
BLOCKED: Final = Family(
    "noria_training_blocked",
    "1 for what keeps a ContinuousTraining from starting a run: Cooldown, Budget, Concurrency, Trigger, "
    "CircuitOpen, Suspended, InvalidSpec.",
    TRAINING,
    ("by",),
)
BUDGET: Final = Family("noria_training_budget_runs", "Runs that the budget allows in its time.", TRAINING)
LEFT: Final = Family("noria_training_budget_left_runs", "Runs that the budget still allows now.", TRAINING)
TIME_BUDGET: Final = Family(
    "noria_training_budget_seconds",
    "What the budget allows in its time: seconds of one CPU, of one GPU.",
    TRAINING,
    ("resource",),
)
TIME_LEFT: Final = Family(
    "noria_training_budget_left_seconds", "What the budget still allows now.", TRAINING, ("resource",)
)
RESULTS: Final = Family(
    "noria_training_results",
    "Runs that status still tells of, by how they ended: Promoted, Kept, Failed, Refused, RolledBack, "
    "Replaced, Gone.",
    TRAINING,
    ("result",),
)
UNTOLD: Final = Family(
    "noria_objects_untold", "Objects whose status could not be read; the log names them.", (), ("kind",)
)
JOBS: Final = Family("noria_training_jobs", "TrainingJobs that are kept, by phase.", MODEL, ("phase",))
VERSIONS: Final = Family("noria_model_versions", "ModelVersions, by phase.", MODEL, ("phase",))
SUCCEEDED: Final = Family(
    "noria_training_last_success_timestamp_seconds", "When the newest version was made.", MODEL
)
FAILED: Final = Family(
    "noria_training_last_failure_timestamp_seconds", "When a run last failed, and why.", MODEL, ("reason",)
)
FAILURES: Final = Family(
    "noria_training_failures",
    "Runs that failed since the last one that made a version, also of a TrainingJob that is deleted while "
    "status of a ContinuousTraining tells how it ended.",
    MODEL,
)
STARTED: Final = Family(
    "noria_training_last_start_timestamp_seconds",
    "When a run last started, and what started it: Manual, or a trigger's reason; empty: a person.",
    MODEL,
    ("trigger",),
)
LASTED: Final = Family(
    "noria_training_last_duration_seconds", "How long the last finished run took.", MODEL, ("result",)
)

FAMILIES: Final[tuple[Family, ...]] = (
    PHASE, CONDITION, WEIGHT, ASKED, ASIDE, HAPPENED, MODEL_TIME, DATA_TIME, FIX_SECONDS,
    VALUE, THRESHOLD, BEST, SAMPLES, WINDOW, WINDOW_END, BOUND, COVERAGE,
    SCORE, FLOOR, FAIRNESS, FAIRNESS_BOUND, UNFAIR, SLICE_VALUE, SLICE_LOST,
    DECISION, REASON, PROBLEM, LOST, NEXT, BLOCKED, BUDGET, LEFT, TIME_BUDGET, TIME_LEFT, RESULTS, UNTOLD,
    JOBS, VERSIONS, SUCCEEDED, FAILED, FAILURES, STARTED, LASTED,
)  # fmt: skip
