"""How versions change: `strategy` of a ModelDeployment.

Comes in: JSON. Goes out: frozen, validated models. Invariant: steps rise, so a challenger's weight only grows
while it is judged.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Annotated, ClassVar

from pydantic import Field

from noria_operator.api.analysis import Analysis
from noria_operator.api.retry import Retry
from noria_operator.api.schema import Rule, Spec
from noria_operator.api.types import Duration, PositiveDuration

WEIGHTS_RISE = "steps must rise in weight, each weight once: sort them, for example 10, 50"


class Step(Spec):
    """One step of a canary: a weight that is held, or a pause that waits for a person."""

    weight: int | None = Field(
        default=None,
        ge=1,
        le=99,
        description="Share of requests for the challenger in percent, for example 10.",
    )
    pause: bool = Field(
        default=False,
        description="true: wait for the annotation noria.dev/promote or resume. Default: false.",
    )
    duration: PositiveDuration | None = Field(
        default=None,
        description="Least time in the step, for example 5m; a pause goes on by itself after it. Absent: "
        "no least time.",
    )
    min_requests: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="Least number of requests that the challenger answers in the step, for example 500. "
        "Absent: none.",
    )
    rules: ClassVar = (
        Rule(
            cel="has(self.weight) != (has(self.pause) && self.pause)",
            message="set exactly one of weight and pause: true",
            holds=lambda it: (it.weight is not None) != it.pause,
        ),
        Rule(
            cel="!has(self.minRequests) || has(self.weight)",
            message="minRequests goes with weight only",
            holds=lambda it: it.min_requests is None or it.weight is not None,
        ),
    )


class Strategy(Spec):
    """How versions change."""

    steps: Annotated[
        list[Step],
        Field(max_length=20),
        Rule(
            cel="self.filter(s, has(s.weight)).map(s, s.weight).isSorted() && "
            "self.all(a, !has(a.weight) || self.exists_one(b, has(b.weight) && b.weight == a.weight))",
            message=WEIGHTS_RISE,
            holds=lambda steps: all(
                a < b for a, b in pairwise(step.weight for step in steps if step.weight is not None)
            ),
        ),
    ] = Field(
        default_factory=list,
        description="Canary steps in order, for example [{weight: 10, minRequests: 500}, {weight: 50, "
        "duration: 5m}]. "
        "Default: none, the challenger takes over once it is ready.",
    )
    analysis: Analysis = Field(default_factory=Analysis, description="How a challenger is judged.")
    progress_deadline: PositiveDuration = Field(
        default=timedelta(minutes=10),
        description="Longest time for a new version's pods to become ready; then it is aborted. Default: "
        "10m.",
    )
    keep_previous: Duration = Field(
        default=timedelta(minutes=10),
        description="How long the former version stays warm after a promotion; 0s means not at all. "
        "Default: 10m.",
    )
    retry: Retry | None = Field(
        default=None,
        description="Try a rejected version again by itself, unless a person rejected it or a newer one is "
        "there. Absent: it waits for noria.dev/retry.",
    )
