"""From the spec of a ModelDeployment to the planner's `Policy`.

Comes in: the validated spec. Goes out: a frozen value with plain numbers. Nothing is decided here; what the
kind of router is able to do is that of `CAPABILITIES`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from noria_operator.api import experiment as api
from noria_operator.api.analysis import Disagreement, Latency, Quality, Query
from noria_operator.api.headers import Header
from noria_operator.api.modeldeployment import ModelDeploymentSpec
from noria_operator.api.routers import CAPABILITIES, ROUTER
from noria_operator.domain.disagreement import DisagreementPolicy
from noria_operator.domain.quality_drop import QualityPolicy
from noria_operator.domain.queries import QueryPolicy
from noria_operator.domain.rollout_policy import Arm, Experiment, LatencyPolicy, Policy, PolicyStep


def policy_of(spec: ModelDeploymentSpec) -> Policy:
    """What the spec asks for, with plain numbers."""
    strategy, analysis, able = spec.strategy, spec.strategy.analysis, CAPABILITIES[spec.router.type]
    return Policy(
        replicas=spec.replicas,
        pinned=spec.version,
        steps=tuple(
            PolicyStep(
                weight=one.weight,
                duration=one.duration or timedelta(),
                min_requests=one.min_requests or 0,
                mirror=one.mirror or 0,
                match=None if one.match is None else _headers(one.match),
                replicas=one.replicas,
                pause=one.pause,
                gate=one.analysis is not None,
                ramp_from=(one.from_ or 1) if one.ramp else None,
            )
            for one in strategy.steps
        ),
        tolerated=float(analysis.errors.tolerated),
        latency=_latency(analysis.latency) if analysis.latency else None,
        quality=_quality(analysis.quality) if analysis.quality else None,
        max_distance=float(analysis.predictions.max_distance) if analysis.predictions else None,
        disagreement=_disagreement(analysis.disagreement) if analysis.disagreement else None,
        queries=tuple(map(_query, analysis.queries)),
        interval=analysis.interval,
        timeout=spec.router.timeout,
        min_duration=analysis.min_duration,
        max_hold=analysis.max_hold,
        abort_on_max_hold=analysis.on_max_hold == "Abort",
        progress_deadline=strategy.progress_deadline,
        keep_previous=strategy.keep_previous,
        recreate=strategy.type == "Recreate",
        retry_limit=strategy.retry.limit if strategy.retry else 0,
        retry_delay=strategy.retry.delay if strategy.retry else timedelta(),
        by_pods=not able.any_weight,
        sticky=strategy.sticky is not None,
        preview=strategy.preview and able.counts != ROUTER,
        counted=able.counts == ROUTER or spec.server.runtime == "noria",
        experiment=_experiment(strategy.experiment) if strategy.experiment else None,
    )


def _experiment(asked: api.Experiment) -> Experiment:
    return Experiment(
        arms=tuple(
            Arm(one.version, one.weight, _headers(one.match or ()), one.replicas) for one in asked.arms
        ),
        duration=asked.duration or timedelta(),
        min_requests=asked.min_requests or 0,
        metric=asked.metric,
        promote=asked.promote,
    )


def _latency(asked: Latency) -> LatencyPolicy:
    return LatencyPolicy(float(asked.quantile), float(asked.factor))


def _quality(asked: Quality) -> QualityPolicy:
    return QualityPolicy(asked.metric, float(asked.max_drop), asked.optional, asked.initial_delay)


def _disagreement(asked: Disagreement) -> DisagreementPolicy:
    return DisagreementPolicy(float(asked.max_rate), float(asked.tolerance))


def _query(asked: Query) -> QueryPolicy:
    return QueryPolicy(
        name=asked.name,
        template=asked.template,
        args=dict(asked.args),
        success=asked.success_condition,
        failure=asked.failure_condition,
        interval=asked.interval,
        count=asked.count,
        initial_delay=asked.initial_delay,
        failure_limit=asked.failure_limit,
        inconclusive_limit=asked.inconclusive_limit,
        error_limit=asked.consecutive_error_limit,
    )


def _headers(found: Iterable[Header]) -> tuple[tuple[str, str], ...]:
    return tuple((one.name, one.value) for one in found)
