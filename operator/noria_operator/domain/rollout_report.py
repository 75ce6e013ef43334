"""What a ModelDeployment says about itself: one phase, one sentence.

Comes in: policy, state, observation, target. Goes out: words. Invariant: the sentence names what is waited
for and what a person can do; a phase never says more than was verified.
"""

from __future__ import annotations

from datetime import datetime

from noria_operator.domain.rollout_arms import for_a_winner, seats, standings
from noria_operator.domain.rollout_children import in_its_way, in_the_way, recreating
from noria_operator.domain.rollout_observed import Observed
from noria_operator.domain.rollout_policy import Policy
from noria_operator.domain.rollout_scene import apart, begun, named, returns
from noria_operator.domain.rollout_state import Mode, Revision, State, Step
from noria_operator.domain.rollout_steps import asked, asleep, at_endless_pause, current, pods, waits_for_spec
from noria_operator.domain.rollout_target import Target
from noria_operator.domain.rollout_traffic import demand_now
from noria_operator.domain.rollout_words import Phase
from noria_operator.domain.training_times import stamp


def phase_of(policy: Policy, state: State, observed: Observed, target: Target) -> Phase:
    """The one word for where it stands."""
    step = state.step
    if step is not None:
        if step.stalled:
            return Phase.DEGRADED
        mine = policy.of(state.candidate.target.version) if state.candidate else policy
        waits = step.paused or (step.mode == Mode.RUNNING and at_endless_pause(mine, step))
        return Phase.PAUSED if waits else Phase.PROGRESSING
    if state.stable is None:
        return Phase.PENDING
    if target.rejected and not _awaited(state, target):
        return Phase.ROLLED_BACK
    if observed.ready.get(state.stable.name, 0) < policy.replicas:
        return Phase.DEGRADED
    return Phase.HEALTHY if state.verified and not _awaited(state, target) else Phase.PROGRESSING


def _awaited(state: State, target: Target) -> bool:
    """Whether anybody but the champion is to be tried or to serve."""
    return any(one != state.stable for one in target.challengers)


def message_of(policy: Policy, state: State, observed: Observed, target: Target, now: datetime) -> str:
    """What it is doing, what it waits for, what to do about it; it changes with time only where a time is
    over that it names.
    """
    places = _of_places(policy, state, observed, target, now)
    parts = (places, policy.unread, _of_leaving(state), _of_draining(state))
    return "; ".join(filter(None, parts))


def _of_draining(state: State) -> str:
    """Who gets nothing any more and still answers."""
    last = ", ".join(one.target.version for one in state.traffic if one.draining_since)
    return f"{last} finishes its last requests" if last else ""


def _of_leaving(state: State) -> str:
    """Who still serves without a place, because nobody else can carry it."""
    if not state.leaving or state.stable is None:
        return ""
    left = ", ".join(f"{one.target.version} keeps weight {one.weight}" for one in state.leaving)
    advice = "" if state.candidate else "; annotate noria.dev/abort to end that at once"
    return f"{left} until {state.stable.version} has the pods for it{advice}"


def _of_places(policy: Policy, state: State, observed: Observed, target: Target, now: datetime) -> str:
    if state.candidate is not None:
        mine = policy.of(state.candidate.target.version)
        if mine.compares and state.step is not None and not state.step.released:
            return _of_experiment(policy, state, state.step, observed, target, now=now)
        return _of_rollout(mine, state, observed, now)
    if observed.obstacle and _awaited(state, target):
        return observed.obstacle
    if state.stable is None:
        if target.rejected:
            return f"nothing serves; {_of_rejection(state, target)}"
        return target.message or "nothing serves"
    return _of_champion(policy, state, state.stable, observed, target)


def _of_experiment(
    policy: Policy, state: State, step: Step, observed: Observed, target: Target, *, now: datetime
) -> str:
    arms = standings(state)
    if step.paused:
        advice = "annotate noria.dev/promote: <version>, resume or abort"
        return f"experiment paused at {arms}{_because(step)}; {advice}"
    if step.mode == Mode.WAITING:
        waits = [
            _of_waiting(policy.of(mine.candidate.target.version), mine, mine.step, observed)
            for mine in seats(state)
            if mine.candidate is not None and mine.step is not None
        ]
        return f"experiment: {', '.join(waits)}"
    if step.mode == Mode.SHIFTING:
        shifts = f"experiment: waiting until every ready router has {arms} in force"
        return f"experiment stays at {arms}" if waits_for_spec(policy, state) else shifts
    rest = for_a_winner(policy) if step.index else _of_arms(policy, state, now)
    told = (f"experiment: {arms}{rest}", _of_latecomers(state), target.message, observed.obstacle)
    return "; ".join(filter(None, told))


def _of_arms(policy: Policy, state: State, now: datetime) -> str:
    """Until when arms are compared at least, and who got too few requests for a choice."""
    ends, few = now, ""
    for mine in seats(state):
        if mine.candidate is None or mine.step is None:
            continue
        name = mine.candidate.target.version
        asked, one = policy.of(name), current(policy.of(name), mine.step)
        ends = max(ends, begun(asked, mine, mine.step) + one.duration)
        if mine.step.requests < one.min_requests:
            few += f", {name} got {mine.step.requests} of {one.min_requests} requests"
    return (f", until {stamp(ends)} at least" if ends > now else "") + few


def _because(step: Step) -> str:
    """Why it was paused, where that is known."""
    return f": {step.why}" if step.why else ""


def _of_latecomers(state: State) -> str:
    """Who cannot be compared with the others, which were there before."""
    began = {
        mine.candidate.target.version: mine.analysis.since
        for mine in seats(state)
        if mine.candidate and mine.analysis and mine.analysis.since
    }
    late = ", ".join(name for name, since in began.items() if since > min(began.values()))
    return f"{late} began later, so that a person has to choose" if late else ""


def _of_champion(policy: Policy, state: State, stable: Revision, observed: Observed, target: Target) -> str:
    name = stable.version
    if not state.verified:
        return f"{name}: waiting until every ready router has its weights in force"
    missing = _of_missing(policy, stable, state, observed)
    if target.revision is not None and returns(state, target.revision):
        return "; ".join(filter(None, (missing, _of_return(policy, state, observed, target.revision))))
    if target.rejected:
        missing = f"{missing or f'{name} serves'}; {_of_rejection(state, target)}"
    if missing:
        return missing
    if target.message:
        return target.message
    if not policy.replicas:
        new = target.revision
        waits = f"; {new.version} starts when it is raised" if new not in (None, stable) and new else ""
        return f"{name}: replicas is 0, nothing answers{waits}"
    surplus = observed.problems.get(stable.name)  # of a pod that is to take another's place
    return f"{name} serves" + (f"; {surplus}" if surplus else "")


def _of_missing(policy: Policy, stable: Revision, state: State, observed: Observed) -> str:
    """Which pods a champion waits for, if any."""
    ready = observed.ready.get(stable.name, 0)
    if ready >= policy.replicas:
        return ""
    if in_its_way(policy, state, observed):
        return _of_room(stable.version, "every other version")
    cause = observed.problems.get(stable.name, "waiting for the others to become ready")
    return f"{stable.version}: {ready} of {policy.replicas} pods ready; {cause}"


def _of_room(name: str, others: str) -> str:
    gone = f"the pods of {others} are gone"
    return f"{name} starts when {gone}, since one copy fits; nothing answers until it is ready"


def _of_return(policy: Policy, state: State, observed: Observed, warm: Revision) -> str:
    """How many pods a warm version still lacks for what the champion's ready ones carry."""
    demand, ready = demand_now(policy, state, observed), observed.ready.get(warm.name, 0)
    enough = "all its pods are ready"
    if demand < policy.replicas:
        enough = f"its pods carry what those of {named(state.stable)} do"
    cause = observed.problems.get(warm.name)
    text = f"{warm.version} is still warm and takes all traffic once {enough}: {ready} of {demand} ready"
    return text + (f"; {cause}" if cause else "")


def _of_rejection(state: State, target: Target) -> str:
    wanted = target.wanted
    found = next((one for one in reversed(state.rejected) if wanted and one.of(wanted)), None)
    if wanted and state.undo and not found:
        return f"an undo holds in place of {wanted.version}; annotate noria.dev/retry to end it"
    why = found.reason if found else "it failed before"
    version = apart(wanted, state.stable) if wanted and found else "the wanted version"
    advice = "annotate noria.dev/retry to try it again"
    if found and found.retry_at:
        advice = f"it is tried again by itself at {stamp(found.retry_at)}"
    return f"{version} was rejected: {why}; {advice}"


def _of_waiting(policy: Policy, state: State, step: Step, observed: Observed) -> str:
    if state.candidate is None:
        return ""
    name, target = state.candidate.target.version, state.candidate.target
    if asleep(policy, state):
        return f"{name} stays at {state.reach} until replicas, which is 0, is raised; nothing answers"
    if in_the_way(policy, state, observed):
        return _of_room(name, named(state.stable))
    cause, ready = observed.problems.get(target.name), observed.ready.get(target.name, 0)
    down = ", nothing answers until they are" if recreating(policy, state) else ""
    return f"{name}: {ready} of {pods(policy, step)} pods ready{down}" + (f"; {cause}" if cause else "")


def _of_rollout(policy: Policy, state: State, observed: Observed, now: datetime) -> str:
    step, candidate = state.step, state.candidate
    if step is None or candidate is None:
        return ""
    name = candidate.target.version
    wanted = asked(policy, step)
    if step.paused:
        told = f"{name} is paused at {state.reach}{_because(step)}"
        return f"{told}; annotate noria.dev/resume, promote or abort"
    if step.mode == Mode.WAITING:
        return _of_waiting(policy, state, step, observed)
    if step.mode == Mode.SHIFTING:
        shifts = f"{name}: waiting until every ready router has {wanted} in force"
        return f"{name} stays at {state.reach}" if waits_for_spec(policy, state) else shifts
    if at_endless_pause(policy, step):
        return f"{name} pauses at {wanted}; annotate noria.dev/resume, promote or abort"
    judged = state.analysis.message if state.analysis else ""
    ready, size = observed.ready.get(candidate.target.name, 0), pods(policy, step)
    grows = f", {ready} of {size} pods ready" if ready < size else ""
    waits = _of_step(policy, state, step, now)
    return f"{name} has {wanted}{waits}{grows}" + (f": {judged}" if judged else "")


def _of_step(policy: Policy, state: State, step: Step, now: datetime) -> str:
    """Which step runs, until when, and of how many requests, those of closed windows; nothing after the
    last.
    """
    if step.released or step.index >= len(policy.steps):
        return ""
    one = current(policy, step)
    ends = begun(policy, state, step) + one.duration
    climbs = one.ramp_from is not None and state.reach.weight < (one.weight or 0)
    told = f" in step {step.index + 1} of {len(policy.steps)}"
    told += f" until {stamp(ends)}" if ends > now and not climbs else ""
    few = step.requests < one.min_requests
    return told + (f", {step.requests} of {one.min_requests} requests" if few else "")
