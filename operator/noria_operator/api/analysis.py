"""How a challenger is judged: `strategy.analysis` of a ModelDeployment.

Comes in: JSON. Goes out: frozen, validated models. Invariant: every field has a default; errors are always
judged, everything else only when it is asked for.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal as PythonDecimal
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from noria_operator.api.schema import ListMap, Rule, Spec
from noria_operator.api.types import (
    HOUR_AT_MOST,
    DnsLabel,
    Duration,
    PositiveDuration,
    Probability,
    UnsignedDecimal,
    map_keys,
)

Arguments = Annotated[
    dict[str, Annotated[str, Field(max_length=256)]],
    Field(max_length=16),
    map_keys(r"^[a-zA-Z][a-zA-Z0-9]{0,62}$", "names of args are letters and digits, for example window"),
]
Condition = Annotated[str, Field(min_length=1, max_length=256)]


class Errors(Spec):
    """How many errors of the challenger are tolerated."""

    tolerated: Probability = Field(
        default=PythonDecimal("0.01"),
        description="An error rate surely below this passes, whatever the champion's; 0 to 1. Default: "
        '"0.01".',
    )


class Latency(Spec):
    """How slow a challenger's answers may be, compared with the champion's of the same time."""

    quantile: Annotated[
        Probability,
        Rule(
            cel="double(self) >= 0.5 && double(self) <= 0.999",
            message="must be between 0.5 and 0.999",
            holds=lambda value: PythonDecimal("0.5") <= value <= PythonDecimal("0.999"),
        ),
    ] = Field(
        default=PythonDecimal("0.9"),
        description="Answers above this quantile of the champion's latency are slow; from 0.5 to 0.999. "
        'Default: "0.9".',
    )
    factor: Annotated[
        UnsignedDecimal,
        Rule(
            cel="double(self) >= 1.5 && double(self) <= 10.0",
            message="must be between 1.5 and 10",
            holds=lambda value: PythonDecimal("1.5") <= value <= PythonDecimal(10),
        ),
    ] = Field(
        default=PythonDecimal(2),
        description="A share of slow answers surely below this many times the champion's passes; 1.5 to "
        '10. Default: "2".',
    )


class Quality(Spec):
    """How much worse a challenger's predictions may be than the champion's, once labels arrive."""

    metric: Literal["auc", "accuracy", "logloss", "brier"] = Field(
        default="auc", description="What is compared: auc, accuracy, logloss or brier. Default: auc."
    )
    max_drop: UnsignedDecimal = Field(
        default=PythonDecimal("0.02"),
        description="How much worse, in the metric's units, is good: surely more fails, surely less "
        'passes. Default: "0.02".',
    )
    initial_delay: Duration = Field(
        default=timedelta(),
        description="From the first request until labels count: as long as labels take. Default: 0s.",
    )
    optional: bool = Field(
        default=False,
        description="true: too few labels hold no promotion. Default: false.",
    )


class Predictions(Spec):
    """How far the distribution of a challenger's predictions may lie from the champion's."""

    max_distance: Probability = Field(
        default=PythonDecimal("0.2"),
        description='Largest difference of the shares of predictions below any value. Default: "0.2".',
    )


class Disagreement(Spec):
    """How often a challenger may answer the copy of a request otherwise than the champion answers it."""

    max_rate: Probability = Field(
        default=PythonDecimal("0.1"),
        description='Share of copied requests; surely more fails, surely less passes. Default: "0.1".',
    )
    tolerance: Probability = Field(
        default=PythonDecimal("0.01"),
        description='How far numbers may differ, as a share of the larger one. Default: "0.01".',
    )


class Query(Spec):
    """A query; limits are those of Argo Rollouts."""

    name: DnsLabel = Field(description="Name of the measure in status, for example late-orders.")
    template: DnsLabel = Field(
        description="A query in the installation's queryTemplates, for example error-share."
    )
    args: Arguments = Field(
        default_factory=dict,
        description="Arguments of the template: labels' values, numbers or durations. Default: none.",
    )
    success_condition: Condition | None = Field(
        default=None,
        description="Good when true of result, for example result[0] < 0.05. Absent: when "
        "failureCondition is not.",
    )
    failure_condition: Condition | None = Field(
        default=None,
        description="Failed when true. Absent: when successCondition is not. Neither: inconclusive.",
    )
    interval: Annotated[Duration, HOUR_AT_MOST] | None = Field(
        default=None, description="From one measurement to the next, from 1s to 1h. Absent: measured once."
    )
    count: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Measurements after which it passes, in each step with analysis anew. Absent, with "
        "interval: while the last one is good.",
    )
    initial_delay: Duration = Field(
        default=timedelta(),
        description="From the first weight, or a step with analysis, to the first measurement. Default: 0s.",
    )
    failure_limit: int = Field(
        default=0, ge=0, le=10_000, description="Failed measurements that are borne. Default: 0."
    )
    inconclusive_limit: int = Field(
        default=0,
        ge=0,
        le=10_000,
        description="Inconclusive measurements that are borne; more hold the rollout. Default: 0.",
    )
    consecutive_error_limit: int = Field(
        default=4,
        ge=0,
        le=10_000,
        description="Errors in a row that are borne; more hold until the source answers. Default: 4.",
    )
    rules: ClassVar = (
        Rule(
            cel="has(self.successCondition) || has(self.failureCondition)",
            message="set successCondition, failureCondition or both",
            reason="FieldValueRequired",
            holds=lambda it: it.success_condition is not None or it.failure_condition is not None,
        ),
        Rule(
            cel="!has(self.count) || self.count == 1 || has(self.interval)",
            message="a count above 1 needs an interval",
            field=".interval",
            reason="FieldValueRequired",
            holds=lambda it: it.count in (None, 1) or it.interval is not None,
        ),
    )


class Analysis(Spec):
    """How a challenger is judged against the champion, by a sequential test on counts."""

    errors: Errors = Field(default_factory=Errors, description="How many errors are tolerated.")
    latency: Latency | None = Field(
        default=None,
        description="Judge latency, too, as routers see it. Absent: it is not judged.",
    )
    quality: Quality | None = Field(
        default=None,
        description="Judge predictions by labels, too. Absent: they are not judged.",
    )
    predictions: Predictions | None = Field(
        default=None,
        description="Judge the distribution of predictions, too. Absent: it is not judged.",
    )
    disagreement: Disagreement | None = Field(
        default=None, description="Judge answers to copies, too. Absent: they are not compared."
    )
    queries: Annotated[list[Query], Field(max_length=8), ListMap("name")] = Field(
        default_factory=list,
        description="Judge what Prometheus knows, too, by queries of the cluster's admin. Default: none.",
    )
    interval: Annotated[Duration, HOUR_AT_MOST] = Field(
        default=timedelta(seconds=10),
        description="Length of a window, from 1s to 1h; one shorter burst of errors aborts nothing. "
        "Default: 10s.",
    )
    min_duration: Duration = Field(
        default=timedelta(),
        description="Least time of evidence before promotion; 0s means none. Default: 0s.",
    )
    max_hold: PositiveDuration = Field(
        default=timedelta(hours=1),
        description="How long a step waits beyond its duration, and the last one for a verdict. Default: 1h.",
    )
    on_max_hold: Literal["Pause", "Abort"] = Field(
        default="Pause",
        description="What happens then: Pause waits for a person, Abort goes back. Default: Pause.",
    )
