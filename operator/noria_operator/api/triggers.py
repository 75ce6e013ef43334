"""Reasons to retrain: `triggers` of a ContinuousTraining.

Comes in: JSON. Goes out: frozen, validated models. Invariant: a trigger has exactly one kind; what it does
when it fires is its action, and only Retrain starts anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal as PythonDecimal
from functools import cached_property
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field
from pydantic.alias_generators import to_snake

from noria_operator.api.monitoring import DataQuality, Drift, Fairness
from noria_operator.api.performance import ConceptDrift, EstimatedPerformance
from noria_operator.api.schema import ListMap, Rule, Spec
from noria_operator.api.types import (
    Decimal,
    DnsLabel,
    Duration,
    PositiveDuration,
    Probability,
    UnsignedDecimal,
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


class Cost(Spec):
    """What staying costs, and what a run costs, in one unit of the user's choice."""

    point_day: UnsignedDecimal = Field(
        description='Cost of a day with a metric that is 0.01 worse than the best ever, for example "12.5".'
    )
    run: UnsignedDecimal = Field(description='Cost of a run, in the same unit, for example "40".')


_ClassName = Annotated[str, Field(min_length=1, max_length=256)]


class ClassCost(Spec):
    """What a row of one class costs that was predicted to be of one."""

    label: _ClassName = Field(description='True class, such as fraud, or "2" of numbers.')
    predicted: _ClassName = Field(description="Predicted class.")
    cost: Decimal = Field(description='Cost of such a row, for example "40"; a gain is negative.')


_OF_TWO: Final = ("falsePositive", "falseNegative", "truePositive", "trueNegative")


class CostMatrix(Spec):
    """What one label costs, by what was predicted and what was true; a gain is negative."""

    false_positive: Decimal = Field(default=PythonDecimal(1), description='Default: "1".')
    false_negative: Decimal = Field(default=PythonDecimal(1), description='Default: "1".')
    true_positive: Decimal = Field(default=PythonDecimal(0), description='Default: "0".')
    true_negative: Decimal = Field(default=PythonDecimal(0), description='Default: "0".')
    classes: (
        Annotated[list[ClassCost], Field(min_length=1, max_length=400), ListMap("label", "predicted")] | None
    ) = Field(
        default=None,
        description='Of several classes, up to 20: what pairs of them cost. Of others a mistake costs "1", '
        'a right answer "0".',
    )
    rules: ClassVar = (
        Rule(
            cel=f"!has(self.classes) || ![{', '.join(f'has(self.{name})' for name in _OF_TWO)}].exists(x, x)",
            message="falsePositive and the like are of two classes: leave them out with classes",
            field=".classes",
            holds=lambda it: it.classes is None or not it.model_fields_set & {*map(to_snake, _OF_TWO)},
        ),
    )


class Performance(Spec):
    """Retrain when the quality that production shows is lost."""

    metric: Literal[
        "auc", "logloss", "accuracy", "calibration", "ece", "brier", "f1", "precision", "recall",
        "expectedCost", "rmse", "mae",
    ] = Field(
        description="Metric computed from feedback. Two classes (threshold 0.5): all but rmse and mae; "
        "calibration is the gap between mean score and share of positives, ece that in tenths of the score. "
        "Several: accuracy, calibration, ece and, of up to 20, auc, logloss, brier, f1, precision, recall, "
        "expectedCost. Regression: rmse, mae."
    )  # fmt: skip
    cost_matrix: CostMatrix | None = Field(
        default=None, description="With metric expectedCost: what a label costs. Absent: 1 for each mistake."
    )
    min: Decimal | None = Field(default=None, description='Fires when surely below this value, like "0.65".')
    max: Decimal | None = Field(
        default=None, description='Fires when surely above this value, like "0.6" for logloss.'
    )
    relative_drop: Probability | None = Field(
        default=None,
        description='Fires when surely worse than the best ever by more than this share of it, like "0.05".',
    )
    false_alarms_per_month: UnsignedDecimal | None = Field(
        default=None,
        description='False alarms a month that may come, like "0.1". Absent: 1 in 10,000 windows.',
    )
    min_labels: int = Field(
        default=1000,
        ge=1,
        le=1_000_000_000,
        description="Labelled rows that a window (bySlice: a slice) needs before it is judged. Default: "
        "1000.",
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
        description="Least length of a window. Absent: minLabels alone counts.",
    )
    by_slice: bool = Field(
        default=False,
        description="true: judge each slice of template.spec.slices by itself. Default: false.",
    )
    cost: Cost | None = Field(
        default=None,
        description="Fires when the loss has cost more than a run since the last one.",
    )
    rules: ClassVar = (
        Rule(
            cel="[has(self.min), has(self.max), has(self.relativeDrop), has(self.cost)].exists_one(x, x)",
            message="set exactly one of min, max, relativeDrop and cost",
            holds=lambda it: [it.min, it.max, it.relative_drop, it.cost].count(None) == 3,
        ),
        Rule(
            cel="!has(self.costMatrix) || self.metric == 'expectedCost'",
            message="costMatrix goes with metric expectedCost only",
            field=".costMatrix",
            holds=lambda it: it.cost_matrix is None or it.metric == "expectedCost",
        ),
        Rule(
            cel="!has(self.cost) || !has(self.falseAlarmsPerMonth) && (!has(self.bySlice) || !self.bySlice)",
            message="bySlice and falseAlarmsPerMonth go without cost",
            field=".cost",
            holds=lambda it: it.cost is None or not (it.by_slice or it.false_alarms_per_month),
        ),
    )


class NewSamples(Spec):
    """Retrain when production has labelled enough new rows."""

    count: int = Field(
        ge=1, le=1_000_000_000, description="Labels joined since the last run, for example 10000."
    )


class DataChange(Spec):
    """Retrain when what is stored for training has changed."""

    data: Annotated[str, Field(min_length=1, max_length=32)] = Field(
        description="Name of an entry in template.spec.data. Example: train."
    )
    every: PositiveDuration = Field(
        default=timedelta(hours=1),
        description="How often a small pod lists the location, for example 15m. Default: 1h.",
    )
    settle: Duration = Field(
        default=timedelta(minutes=10),
        description="A change counts when the location has stood as it is for so long; 0s: at once. Default: "
        "10m.",
    )
    dvc_file: (
        Annotated[str, Field(min_length=5, max_length=253, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*\.dvc$")]
        | None
    ) = Field(
        default=None,
        description="A .dvc file right in the location whose md5 is compared. Absent: names, sizes and "
        "times (or ETags) of all files.",
    )


class Combine(Spec):
    """Fires when enough other triggers do at the same time."""

    of: Annotated[
        list[DnsLabel],
        Field(min_length=2, max_length=15),
        Rule(
            cel="self.all(a, self.exists_one(b, a == b))",
            message="name each trigger once",
            holds=lambda names: len(set(names)) == len(names),
        ),
    ] = Field(
        description="Names of triggers, for example [quality, drift]. Give them action Observe or Warn."
    )
    at_least: int | None = Field(
        default=None, ge=1, le=15, description="How many must fire: 1 means any. Absent: all."
    )
    rules: ClassVar = (
        Rule(
            cel="!has(self.atLeast) || self.atLeast <= size(self.of)",
            message="atLeast must not be more than the triggers in of",
            field=".atLeast",
            holds=lambda it: it.at_least is None or it.at_least <= len(it.of),
        ),
    )


KINDS: Final = (
    *("performance", "estimatedPerformance", "conceptDrift", "schedule", "maxAge", "newSamples"),
    *("dataChange", "drift", "dataQuality", "fairness", "combine"),
)
"""Wire names of the fields of which a trigger has exactly one."""
_FIELDS: Final = tuple((kind, to_snake(kind)) for kind in KINDS)
"""The same, and what they are called in Python."""
_EFFECTS: Final = {
    "Drift": "Warn",
    "EstimatedPerformance": "Warn",
    "DataQuality": "Block",
    "Fairness": "Warn",
}
"""Drift alone says nothing about quality; a model that learns from broken data is worse than an old one; what
is unfair was mostly learned from data that are, and is not mended by more of them."""


class TriggerSpec(Spec):
    """One reason to retrain, to warn, or not to retrain."""

    name: DnsLabel = Field(description="Name of the trigger, for example quality.")
    performance: Performance | None = Field(default=None, description="Lost quality in production.")
    estimated_performance: EstimatedPerformance | None = Field(
        default=None, description="Quality as the scores say, before labels come."
    )
    concept_drift: ConceptDrift | None = Field(
        default=None, description="Errors became more frequent, by labels."
    )
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
        description="IANA time zone of the schedule, or of the hours of the week, for example "
        "Europe/Berlin. Absent: UTC.",
    )
    max_age: PositiveDuration | None = Field(
        default=None,
        description="Fires when the champion was registered longer ago than this, for example 720h.",
    )
    new_samples: NewSamples | None = Field(default=None, description="Enough new labels in production.")
    data_change: DataChange | None = Field(default=None, description="New or other training data.")
    drift: Drift | None = Field(default=None, description="Features or predictions moved away from training.")
    data_quality: DataQuality | None = Field(default=None, description="Data that comes in is broken.")
    fairness: Fairness | None = Field(default=None, description="Groups are treated differently.")
    combine: Combine | None = Field(default=None, description="Several triggers at the same time.")
    action: Literal["Retrain", "Warn", "Block", "Observe"] | None = Field(
        default=None,
        description="Retrain: ask for a run. Warn: Event and condition Alarm. Block: as Warn, and no other "
        "trigger starts a run. Observe: for combine. Default: Warn for drift, estimatedPerformance and "
        "fairness, Block for dataQuality, else Retrain.",
    )
    rules: ClassVar = (
        Rule(
            cel="[" + ", ".join(f"has(self.{kind})" for kind in KINDS) + "].exists_one(x, x)",
            message="set exactly one kind, like performance",
            holds=lambda it: len(it.set_kinds()) == 1,
        ),
        Rule(
            cel="!has(self.timeZone) || has(self.schedule) || has(self.drift) || has(self.dataQuality)",
            message="timeZone goes with schedule, drift and dataQuality only",
            field=".timeZone",
            holds=lambda it: (
                it.time_zone is None or bool({"schedule", "drift", "dataQuality"} & {*it.set_kinds()})
            ),
        ),
    )

    def set_kinds(self) -> tuple[str, ...]:
        """Wire names of the kinds that are set: exactly one in a valid trigger."""
        return tuple(kind for kind, name in _FIELDS if getattr(self, name) is not None)

    @property
    def effect(self) -> str:
        """Its action, where none is set that of its kind."""
        return self.action or _EFFECTS.get(self.reason, "Retrain")

    @cached_property
    def reason(self) -> str:
        """Its kind in one CamelCase word, as status and Events have it."""
        (kind,) = self.set_kinds()
        return kind[0].upper() + kind[1:]


def combines_known(triggers: Iterable[TriggerSpec]) -> bool:
    """Whether every combination names triggers of the list that are no combinations themselves."""
    found = list(triggers)
    plain = {one.name for one in found if one.combine is None}
    return all(set(one.combine.of) <= plain for one in found if one.combine is not None)
