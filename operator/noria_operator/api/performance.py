"""Triggers on how well a binary classifier does, beside `performance`: before labels come, and wherever it
changed.

Comes in: part of a ContinuousTraining. Goes out: frozen, validated models. Invariant: what is estimated
without labels warns, unless the user says otherwise.
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar, Literal

from pydantic import Field

from noria_operator.api.schema import Rule, Spec
from noria_operator.api.types import Decimal, PositiveDuration, Probability, UnsignedDecimal


class EstimatedPerformance(Spec):
    """Performance as predictions say, before labels come; blind to concept drift."""

    metric: Literal["auc", "logloss", "accuracy", "brier", "f1", "precision", "recall", "rmse", "mae"] = (
        Field(
            description="What is estimated from scores, which are calibrated where the window has 500 "
            "labels; of several classes accuracy. rmse and mae of a regression: from errors by prediction in "
            "its bundle."
        )
    )
    min: Decimal | None = Field(default=None, description="Fires below this value.")
    max: Decimal | None = Field(default=None, description="Fires above this value.")
    relative_drop: Probability | None = Field(
        default=None, description="Fires when it is worse than the best by more than this share of it."
    )
    min_samples: int = Field(
        default=500, ge=50, le=1_000_000_000, description="Rows that a window needs. Default: 500."
    )
    for_: int = Field(
        default=2, alias="for", ge=1, le=100, description="Windows in a row that show it. Default: 2."
    )
    window: PositiveDuration = Field(
        default=timedelta(hours=1), description="Least length of a window. Default: 1h."
    )
    rules: ClassVar = (
        Rule(
            cel="[has(self.min), has(self.max), has(self.relativeDrop)].exists_one(x, x)",
            message="set exactly one of min, max and relativeDrop",
            holds=lambda it: [it.min, it.max, it.relative_drop].count(None) == 2,
        ),
    )


class ConceptDrift(Spec):
    """A classifier is wrong more often than it was, wherever in the past the change was."""

    min_labels: int = Field(
        default=32, ge=1, le=1_000_000, description="Labels of a step; fewer wait for more. Default: 32."
    )
    every: PositiveDuration = Field(
        default=timedelta(minutes=1), description="Least time from one step to the next. Default: 1m."
    )
    false_alarms_per_month: UnsignedDecimal | None = Field(
        default=None,
        description="As of performance. Absent: evidence of 10 nats counts.",
    )
