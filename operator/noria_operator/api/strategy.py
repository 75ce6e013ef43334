"""How versions change: `strategy` of a ModelDeployment.

Comes in: JSON. Goes out: frozen, validated models. Invariant: steps rise, so a challenger's weight only grows
while it is judged.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.alias_generators import to_snake

from noria_operator.api.analysis import Analysis
from noria_operator.api.experiment import Experiment
from noria_operator.api.headers import Header
from noria_operator.api.retry import Retry
from noria_operator.api.schema import Rule, Spec
from noria_operator.api.types import Duration, HeaderName, PositiveDuration, Scale

WEIGHTS_RISE = "steps must rise in weight, each weight once: sort them, for example 10, 50"


class Gate(Spec):
    """The verdict that a step waits for; it needs no settings."""


_DOES = ("weight", "mirror", "match", "replicas", "analysis", "duration", "minRequests")


class Step(Spec):
    """Settings, each in force until a later step changes it, and what to wait for."""

    weight: int | None = Field(
        default=None,
        ge=0,
        le=99,
        description="Percent of requests for the challenger, for example 10. Absent: as before; first 0.",
    )
    ramp: Literal["Auto"] | None = Field(
        default=None,
        description="Auto: weight grows from `from` as fast as the evidence allows. Absent: at once.",
    )
    from_: int | None = Field(
        default=None,
        alias="from",
        ge=1,
        le=98,
        description="With ramp: where weight begins, if it was less before. Absent: 1.",
    )
    mirror: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Percent of requests whose copies the challenger gets, at weight 0; after the last "
        "step until the verdict. Absent: none.",
    )
    match: Annotated[list[Header], Field(max_length=4)] | None = Field(
        default=None,
        description="Requests with all these headers go to the challenger. Absent: as before; empty: no "
        "longer.",
    )
    replicas: Scale | None = Field(
        default=None,
        description="Pods of the challenger, a number or percent of spec.replicas, if weight and mirror "
        "need no more. Absent: as before.",
    )
    pause: bool = Field(
        default=False,
        description="true: wait for the annotation noria.dev/promote or resume. Default: false.",
    )
    analysis: Gate | None = Field(
        default=None,
        description="{}: wait for the verdict Pass, for analysis.maxHold at most. Absent: only harm stops"
        " the step.",
    )
    duration: PositiveDuration | None = Field(
        default=None,
        description="Least time in the step, for example 5m; a pause ends after it. Absent: none.",
    )
    min_requests: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="Least number of requests to the challenger in the step, for example 500. Absent: none.",
    )
    rules: ClassVar = (
        Rule(
            cel=" || ".join([*(f"has(self.{name})" for name in _DOES), "(has(self.pause) && self.pause)"]),
            message="set something (weight, mirror, match, replicas) or wait (pause, analysis, duration, "
            "minRequests)",
            holds=lambda it: it.pause or any(getattr(it, to_snake(name)) is not None for name in _DOES),
        ),
        Rule(
            cel="(!has(self.from) || has(self.ramp)) && (!has(self.ramp) || (has(self.weight) && "
            "self.weight > (has(self.from) ? self.from : 1)))",
            message="a ramp goes from `from` up to a greater weight: set ramp, weight and, if not 1, from",
            holds=lambda it: (
                it.from_ is None if it.ramp is None else it.weight is not None and it.weight > (it.from_ or 1)
            ),
        ),
        Rule(
            cel="!has(self.minRequests) || !(has(self.pause) && self.pause)",
            message="minRequests does not go with pause: a person or the duration ends it",
            holds=lambda it: it.min_requests is None or not it.pause,
        ),
    )


def _mirrors_first(steps: list[Step]) -> bool:
    kinds = [1 if one.mirror else 2 if one.weight else 0 for one in steps]
    found = [kind for kind in kinds if kind]
    return found == sorted(found) and not any(one.mirror and one.weight for one in steps)


class Sticky(Spec):
    """By what a user is known, so that each stays with one version while weights do not change, and a user of
    the challenger stays its user while its weight grows.
    """

    header: HeaderName | None = Field(
        default=None, description="Header with the user's key; in gRPC, metadata. Example: x-user."
    )
    cookie: HeaderName | None = Field(default=None, description="Cookie with the user's key. Example: uid.")
    rules: ClassVar = (
        Rule(
            cel="has(self.header) != has(self.cookie)",
            message="set exactly one of header and cookie",
            holds=lambda it: (it.header is None) != (it.cookie is None),
        ),
    )


class Strategy(Spec):
    """How versions change."""

    type: Literal["RollingUpdate", "Recreate"] = Field(
        default="RollingUpdate",
        description="RollingUpdate: the new version comes up beside the old one. Recreate: the old one goes "
        "down first; nothing answers (503) until one is ready. Default: RollingUpdate.",
    )
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
        Rule(
            cel="self.all(s, !has(s.mirror) || !has(s.weight) || s.weight == 0) && self.map(s, "
            "has(s.mirror) ? 1 : (has(s.weight) && s.weight > 0 ? 2 : 0)).filter(x, x > 0).isSorted()",
            message="mirror comes before any weight: a challenger that gets requests needs no copies",
            holds=_mirrors_first,
        ),
    ] = Field(
        default_factory=list,
        description="For example [{weight: 10, minRequests: 500}]. Default: none, the challenger takes "
        "over once it is ready.",
    )
    experiment: Experiment | None = Field(
        default=None,
        description="Compare several versions at once; the best takes over. Absent: one by one.",
    )
    sticky: Sticky | None = Field(
        default=None,
        description="Divide users by a hash of their key; requests without it go by weight. Absent: each "
        "request by itself.",
    )
    preview: bool = Field(
        default=False,
        description="true: an address, <name>-preview, of the challenger while there is one, else the "
        "champion. Default: false.",
    )
    analysis: Analysis = Field(default_factory=Analysis, description="How a challenger is judged.")
    progress_deadline: PositiveDuration = Field(
        default=timedelta(minutes=10),
        description="Longest wait for a new version's pods; then it is aborted. Default: 10m.",
    )
    keep_previous: Duration = Field(
        default=timedelta(minutes=10),
        description="How long the former version stays warm: to the next promotion (router Service: rollout) "
        "at most. 0s: not at all. Default: 10m.",
    )
    retry: Retry | None = Field(
        default=None,
        description="Try a rejected version again, unless a person rejected it. Absent: it waits for "
        "noria.dev/retry.",
    )
    rules: ClassVar = (
        Rule(
            cel="!has(self.type) || self.type != 'Recreate' || !has(self.steps) || size(self.steps) == 0",
            message="type Recreate has no second version to send requests to: leave steps out",
            field=".steps",
            reason="FieldValueForbidden",
            holds=lambda it: it.type != "Recreate" or not it.steps,
        ),
        Rule(
            cel="!has(self.experiment) || ((!has(self.type) || self.type != 'Recreate') && "
            "(!has(self.preview) || !self.preview))",
            message="an experiment has several challengers: leave out type Recreate and preview",
            field=".experiment",
            reason="FieldValueForbidden",
            holds=lambda it: it.experiment is None or not (it.type == "Recreate" or it.preview),
        ),
        Rule(
            cel="!has(self.analysis) || !has(self.analysis.disagreement) || (!has(self.experiment) && "
            "has(self.steps) && self.steps.exists(s, has(s.mirror)))",
            message="disagreement is seen in copies: add a step with mirror, leave experiment out",
            field=".analysis.disagreement",
            holds=lambda it: (
                it.analysis.disagreement is None
                or (it.experiment is None and any(one.mirror for one in it.steps))
            ),
        ),
        Rule(
            cel="!has(self.experiment) || !has(self.experiment.metric) || self.experiment.metric == 'errors' "
            "|| (has(self.analysis) && (self.experiment.metric == 'latency' ? has(self.analysis.latency) : "
            "has(self.analysis.quality)))",
            message="the metric of an experiment has to be judged: add analysis.latency or analysis.quality",
            field=".experiment",
            holds=lambda it: (
                it.experiment is None
                or it.experiment.metric == "errors"
                or getattr(it.analysis, it.experiment.metric) is not None
            ),
        ),
    )
