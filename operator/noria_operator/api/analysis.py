"""How a challenger is judged: `strategy.analysis` of a ModelDeployment.

Comes in: JSON. Goes out: frozen, validated models. Invariant: every field has a default; errors are always
judged, everything else only when it is asked for.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal as PythonDecimal
from typing import Annotated, Literal

from pydantic import Field

from noria_operator.api.schema import Rule, Spec
from noria_operator.api.types import (
    HOUR_AT_MOST,
    Duration,
    PositiveDuration,
    Probability,
    UnsignedDecimal,
)


class Errors(Spec):
    """How many errors of the challenger are tolerated."""

    tolerated: Probability = Field(
        default=PythonDecimal("0.01"),
        description="A challenger whose share of failed requests is surely below this passes, whatever the "
        'champion\'s own is; between 0 and 1. Default: "0.01".',
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
        description="Answers above this quantile of the champion's latency (the next bound of the routers' "
        'buckets) are slow; from 0.5 to 0.999. Default: "0.9".',
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
        description="A challenger passes when its share of slow answers is surely below this many times the "
        'champion\'s, or below 1 - quantile; from 1.5 to 10. Default: "2".',
    )


class Analysis(Spec):
    """How a challenger is judged against the champion, by a sequential test on counts."""

    errors: Errors = Field(default_factory=Errors, description="How many errors are tolerated.")
    latency: Latency | None = Field(
        default=None,
        description="Judge latency, too, as the routers see it; {} takes the defaults. Absent: it is not "
        "judged.",
    )
    interval: Annotated[PositiveDuration, HOUR_AT_MOST] = Field(
        default=timedelta(seconds=10),
        description="Length of a window of counts, from 1s to 1h; one burst of errors that is shorter holds "
        "a rollout and does not abort it. Default: 10s.",
    )
    min_duration: Duration = Field(
        default=timedelta(),
        description="Least time of evidence before promotion; 0s means none. Default: 0s.",
    )
    max_hold: PositiveDuration = Field(
        default=timedelta(hours=1),
        description="Longest time that a step waits for its requests beyond its duration, and the longest "
        "wait for a verdict after the last step. Default: 1h.",
    )
    on_max_hold: Literal["Pause", "Abort"] = Field(
        default="Pause",
        description="What happens then: Pause waits for a person, Abort goes back. Default: Pause.",
    )
