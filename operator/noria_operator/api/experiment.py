"""Several versions compared at once: `strategy.experiment` of a ModelDeployment.

Comes in: JSON. Goes out: frozen, validated models. Invariants: the champion keeps a weight; what ends an
experiment is said beforehand.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from noria_operator.api.headers import Header
from noria_operator.api.schema import ListMap, Rule, Spec
from noria_operator.api.types import DnsLabel, PositiveDuration, Scale


class Arm(Spec):
    """One version that is compared with the champion."""

    version: DnsLabel = Field(description="Its ModelVersion, for example flight-delay-4.")
    weight: int = Field(
        default=0, ge=0, le=99, description="Percent of requests for it, for example 20. Default: 0."
    )
    match: Annotated[list[Header], Field(max_length=4)] | None = Field(
        default=None, description="Requests with all these headers go to it. Absent: none do."
    )
    replicas: Scale | None = Field(
        default=None, description="Pods, as a number or percent of spec.replicas. Absent: what weight needs."
    )


class Experiment(Spec):
    """Arms get their weights together and are judged each by itself; one that fails loses its weight at
    once. Then the best one takes over.
    """

    arms: Annotated[
        list[Arm],
        Field(min_length=2, max_length=8),
        ListMap("version"),
        Rule(
            cel="self.all(a, (has(a.weight) && a.weight > 0) || (has(a.match) && size(a.match) > 0)) && "
            "self.map(a, has(a.weight) ? a.weight : 0).sum() < 100",
            message="each arm needs a weight or match, and the champion something: the sum of weights is "
            "at most 99",
            holds=lambda arms: (
                all(arm.weight or arm.match for arm in arms) and sum(arm.weight for arm in arms) < 100
            ),
        ),
    ] = Field(description="The versions beside the champion, with their weights.")
    duration: PositiveDuration | None = Field(
        default=None, description="Least time of each arm, for example 24h. Absent: none."
    )
    min_requests: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="Least number of requests to each arm, for example 5000. Absent: none.",
    )
    metric: Literal["errors", "latency", "quality"] = Field(
        default="errors",
        description="What the best is chosen by, as analysis judges it. Default: errors.",
    )
    promote: Literal["Sure", "Best", "Never"] = Field(
        default="Sure",
        description="Who wins. Sure: an arm surely better than each other version. Best: the best, once "
        "all pass. Never: who a person names. Default: Sure.",
    )
    rules: ClassVar = (
        Rule(
            cel="has(self.duration) || has(self.minRequests)",
            message="say how long: set duration, minRequests or both",
            reason="FieldValueRequired",
            holds=lambda it: it.duration is not None or it.min_requests is not None,
        ),
    )
