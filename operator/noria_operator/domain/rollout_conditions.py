"""The conditions of a ModelDeployment, and its whole status.

Comes in: a plan, what was observed, the status before. Goes out: the status to write. Invariants: `Servable`
and `Ready` stay true through a rollout as long as requests are answered by versions that status names;
`UpToDate` says apart from them whether the wanted version serves; each message names a cause and what to do
next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from noria_operator.api.modeldeployment_status import DeploymentPhase, ModelDeploymentStatus
from noria_operator.api.status import Condition as WireCondition
from noria_operator.domain.conditions import Condition, clip, merge_conditions, since
from noria_operator.domain.rollout_children import in_its_way, recreating
from noria_operator.domain.rollout_observed import Observed
from noria_operator.domain.rollout_plan import Plan
from noria_operator.domain.rollout_policy import Experiment, Policy
from noria_operator.domain.rollout_scene import spelled
from noria_operator.domain.rollout_state import Mode, Revision, State
from noria_operator.domain.rollout_traffic import realised
from noria_operator.domain.rollout_wire import status_fields
from noria_operator.domain.rollout_words import Phase
from noria_operator.domain.training_times import TOLERANCE, moment, stamp

Json = dict[str, Any]


_UNCOUNTED = (
    "nobody counts the errors of versions: this router tells none, and a container of yours has no counters "
    "of Noria's; every rollout holds until noria.dev/promote-full; add analysis.queries or take router.type "
    "Envoy to have them judged"
)
_UNFILLED = (
    "nobody counts the requests of versions: this router tells none, and a container of yours has no "
    "counters of Noria's; minRequests is never full, and what asks for it holds until a promotion by hand; "
    "take duration or router.type Envoy instead"
)
_UNHEARD = (
    "not every ready router acted on it for {}: look at what keeps routers from the operator (network "
    "policies, logs of noria-router), or a gateway from its HTTPRoute"
)
_VERIFIABLE = "Verifiable"
_UNSEEN = 10
"""Numbers beyond the newest version that is looked at which others may have: refused ones, and of runs that
failed.
"""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why objects of ours could not be written; `fatal` when no request can reach the deployment because
    of it.
    """

    reason: str
    message: str
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What a status is written from; `routers` is the number of ready ones, `waits_for` what to look at while
    there is none, `pods` the number of the champion's, `refused_hosts` why some hosts do not lead here;
    `access` whether callers are checked, `before` the
    state that routers had when the plan was made, at `now`.
    """

    plan: Plan
    policy: Policy
    observed: Observed
    before: State
    now: datetime
    routers: int
    pods: int
    selector: str
    url: str
    preview_url: str | None = None
    waits_for: str = ""
    trouble: Trouble | None = None
    refused_hosts: str = ""
    access: Condition | None = None


def conditions(report: Report, before: Sequence[Mapping[str, Any]] = ()) -> list[Condition]:
    """Ready, Reconciling, Stalled, Servable, UpToDate; AccessReady where not everybody may call; Judgeable
    where rollouts cannot be judged; Verifiable where routers that may be asked did not tell; Readable where
    the spec is not read whole. `before` are those of the status before."""
    servable = _servable(report)
    ready = Condition("Ready", servable.status, servable.reason, servable.message)
    found = [ready, _reconciling(report), _stalled(report, before), servable, _up_to_date(report)]
    found += [report.access] if report.access else []
    found += _unverifiable(report.observed, before)
    found += _unread(report.policy)
    return [*found, *_unjudgeable(report.policy)]


def status(report: Report, before: Mapping[str, Any], *, generation: int) -> Json:
    """The whole status in its wire form."""
    known = [_not_ahead(one, report.now) for one in before.get("conditions", ())]
    merged = merge_conditions(
        known,
        conditions(report, known),
        now=report.now,
        generation=generation,
    )
    message = report.trouble.message if report.trouble else report.plan.message
    return ModelDeploymentStatus(
        **status_fields(
            report.plan.state,
            realised=realised(report.plan.state, report.observed.ready) if report.policy.by_pods else None,
            compares=_compares(report),
        ),
        phase=DeploymentPhase(report.plan.phase.value),
        observed_generation=generation,
        replicas=report.pods,
        selector=report.selector,
        url=report.url,
        preview_url=report.preview_url,
        message=clip(message),
        conditions=[WireCondition.model_validate(one) for one in merged],
    ).to_json()


def _compares(report: Report) -> bool:
    """Whether an experiment is under way."""
    candidate, step = report.plan.state.candidate, report.plan.state.step
    if candidate is None or step is None or step.released:
        return False
    return report.policy.of(candidate.target.version).compares


def _not_ahead(condition: Mapping[str, Any], now: datetime) -> Mapping[str, Any]:
    """As it is, but since now where a clock wrote it that was ahead."""
    at = condition.get("lastTransitionTime")  # one that somebody wrote by hand may have none
    early = at is not None and moment(at) > now + TOLERANCE
    return {**condition, "lastTransitionTime": stamp(now)} if early else condition


def _unjudgeable(policy: Policy) -> list[Condition]:
    """What a rollout would wait for in vain, where nobody counts what versions answer."""
    arms, steps = policy.experiment, list(policy.steps)
    steps += [step for arm in arms.arms for step in arms.steps(arm)] if arms else []
    if policy.counted or not steps:
        return []
    if not policy.queries:
        return [Condition("Judgeable", False, "NoCounts", _UNCOUNTED)]
    asks = any(step.min_requests for step in steps)
    return [Condition("Judgeable", False, "NoRequestsCounted", _UNFILLED)] if asks else []


def _unread(policy: Policy) -> list[Condition]:
    """What this release of Noria cannot read, and what it does not do for that."""
    return [Condition("Readable", False, "SpecUnread", clip(policy.unread))] if policy.unread else []


def _unverifiable(observed: Observed, before: Sequence[Mapping[str, Any]]) -> list[Condition]:
    """As it was where nobody was asked since: routers are asked only while something is under way."""
    if observed.in_force is None:
        return [
            Condition(_VERIFIABLE, False, one["reason"], one.get("message", ""))
            for one in before
            if one["type"] == _VERIFIABLE
        ]
    unread = next((one for one in observed.in_force if one.unread), None)
    if unread is None:
        return []
    reason = "RoutersUnread" if unread.assumed else "RoutersBehind"
    return [Condition(_VERIFIABLE, False, reason, clip(unread.unread))]


def _servable(report: Report) -> Condition:
    state = report.plan.state
    if report.trouble is not None and report.trouble.fatal:
        return Condition("Servable", False, report.trouble.reason, report.trouble.message)
    if report.policy.replicas == 0:
        whose = f"{state.stable.version} has" if state.stable else "there are"
        message = f"{whose} no pods because spec.replicas is 0; raise it with kubectl scale"
        return Condition("Servable", False, "ScaledToZero", message)
    if state.stable is None:
        return Condition("Servable", False, "NoVersion", report.plan.message)
    if report.routers == 0:
        return Condition("Servable", False, "NoRouter", report.waits_for)
    return _answered(report, state.stable)


def _answered(report: Report, stable: Revision) -> Condition:
    """Whether who has the traffic has pods for it; where nobody else has, every router has to send there."""
    state, ready = report.plan.state, report.observed.ready
    carrier = _carrier(state, stable)
    in_force = carrier == stable or state.verified or ready.get(stable.name, 0)
    if ready.get(carrier.name, 0) and in_force:
        astray = _astray(report)
        if astray:
            message = f"{carrier.version} is ready, but a router still sends to {astray}, of which no pod is"
            return Condition("Servable", False, "NoReadyPods", message)
        return Condition("Servable", True, "Serving", f"requests are answered by {carrier.version}")
    if recreating(report.policy, state) or in_its_way(report.policy, state, report.observed):
        return Condition("Servable", False, "Recreating", report.plan.message)
    cause = report.observed.problems.get(carrier.name, "waiting for its pods")
    return Condition("Servable", False, "NoReadyPods", f"no pod of {carrier.version} is ready: {cause}")


def _astray(report: Report) -> str:
    """Whom a router sends everything to in vain, by the weights that it is known to act on."""
    state, ready = report.plan.state, report.observed.ready
    if state.verified:
        return ""
    read, before = report.observed.in_force, report.before
    acts_on = [one.weights for one in read] if read is not None else []
    if read is None and before.verified:
        acts_on = [{share.target.name: share.weight for share in before.traffic}]
    for weights in acts_on:
        asked = [name for name, weight in weights.items() if weight]
        if asked and not any(ready.get(name) for name in asked):
            known = {share.target.name: share.target.version for share in (*before.traffic, *state.traffic)}
            return ", ".join(known.get(name, name) for name in asked)
    return ""


def _carrier(state: State, stable: Revision) -> Revision:
    """The champion, or where it gets nothing any more, who gets most instead."""
    heaviest = max(state.traffic, key=lambda share: share.weight, default=None)
    return stable if heaviest is None or state.weight(stable.name) else heaviest.target


def _reconciling(report: Report) -> Condition:
    plan = report.plan
    under_way = plan.state.candidate is not None or bool(plan.state.leaving) or not plan.state.verified
    working = under_way or plan.phase is Phase.DEGRADED
    return Condition("Reconciling", working, plan.phase.value, plan.message if working else "")


def _stalled(report: Report, before: Sequence[Mapping[str, Any]]) -> Condition:
    plan, step, trouble = report.plan, report.plan.state.step, report.trouble
    unheard = f"{plan.message}; {_UNHEARD.format(spelled(report.policy.progress_deadline))}"
    unusable = "; ".join(
        f"analysis.queries {name}: {one.problem}"
        for name, one in report.observed.of(plan.state.candidate).queries.items()
        if one.problem
    )
    chain = (
        (trouble is not None, trouble.reason if trouble else "", trouble.message if trouble else ""),
        (step is not None and step.stalled, "ProgressDeadlineExceeded", plan.message),
        (report.observed.obstacle == plan.message != "", "VolumeUnavailable", plan.message),
        (_is_missing(report), "VersionUnavailable", plan.message),
        (unusable != "", "AnalysisInvalid", unusable),
        (report.refused_hosts != "", "HostConflict", report.refused_hosts),
        (_unheard(report, before), "WeightsNotInForce", unheard),
    )
    found = (Condition("Stalled", True, reason, message) for holds, reason, message in chain if holds)
    return next(found, Condition("Stalled", False, plan.phase.value))


def _is_missing(report: Report) -> bool:
    """Whether what is asked for is not there; of a spec that is not read whole nobody knows."""
    return report.plan.wanted is None and not report.policy.unread and _names_versions(report)


def _names_versions(report: Report) -> bool:
    """Whether the spec says which versions it is about, and they do not come by themselves; arms wait for the
    first champion, as it waits.
    """
    policy, stable = report.policy, report.plan.state.stable
    if policy.experiment is None or stable is None:
        return policy.pinned is not None
    return not _come(report, policy.experiment, stable)


def _come(report: Report, experiment: Experiment, stable: Revision) -> bool:
    """Whether what is named and not approved yet is being verified, or bears one of the next numbers of the
    model, which runs will take.
    """
    versions, model = report.observed.versions, stable.version.rpartition("-")[0]
    newest = max((one.number for one in versions), default=0)
    near = range(newest + 1, newest + 1 + len(experiment.arms) + _UNSEEN)
    coming = {f"{model}-{number}": "Pending" for number in near}
    phases = coming | {one.target.version: one.phase for one in versions}
    phases |= dict.fromkeys((one.version for one in report.plan.state.rejected), "Approved")
    asked = filter(None, (report.policy.pinned, *(arm.version for arm in experiment.arms)))
    return all(phases.get(one) in ("Pending", "Validating", "Approved") for one in asked)


def _unheard(report: Report, before: Sequence[Mapping[str, Any]]) -> bool:
    """Whether routers were told weights so long ago that pods would be given up by now. That is no fault of
    the version's: nobody is rejected for it.
    """
    state, step = report.plan.state, report.plan.state.step
    if state.verified or (step is not None and step.mode is not Mode.SHIFTING):
        return False
    # Without a step weights change by what is in history; those that leave give theirs in parts. Routers may
    # fall behind what was in force for long, too: something is under way since then.
    told = state.history[-1].at if state.history and not state.leaving else report.now
    under_way = since((one for one in before if one["status"] == "True"), "Reconciling") or report.now
    ended = told if told <= report.now + TOLERANCE else under_way  # a clock was ahead
    return report.now - max(step.since if step else ended, under_way) >= report.policy.progress_deadline


def _up_to_date(report: Report) -> Condition:
    plan, state = report.plan, report.plan.state
    alone = state.candidate is None and not state.leaving and state.verified
    arms = plan.phase is Phase.PROGRESSING  # they are to be tried, and nobody is on trial yet
    if plan.wanted is not None and plan.wanted == state.stable and alone and not arms:
        return Condition("UpToDate", True, "WantedVersionServes", f"{plan.wanted.version} serves")
    return Condition("UpToDate", False, plan.phase.value, plan.message)
