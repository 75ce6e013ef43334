"""How a challenger is judged: `strategy.analysis` of a ModelDeployment.

Comes in: JSON. Goes out: frozen, validated models. Invariant: every field has a default; errors are always
judged, everything else only when it is asked for.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal as PythonDecimal
from typing import Annotated, Literal

from pydantic import Field

from noria_operator.api.schema import Spec
from noria_operator.api.types import HOUR_AT_MOST, Duration, PositiveDuration, Probability


class Errors(Spec):
    """How many errors of the challenger are tolerated."""

    tolerated: Probability = Field(
        default=PythonDecimal("0.01"),
        description="A challenger whose share of failed requests is surely below this passes, whatever the "
        'champion\'s own is; between 0 and 1. Default: "0.01".',
    )


class Analysis(Spec):
    """How a challenger is judged against the champion, by a sequential test on counts."""

    errors: Errors = Field(default_factory=Errors, description="How many errors are tolerated.")
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
