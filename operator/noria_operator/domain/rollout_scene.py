"""What every move of a rollout looks at and leaves behind.

Comes in: policy, observation, target, reading and the time, bound together as a `Scene`. Goes out: small
answers that several moves share. Invariant: nothing here moves anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from noria_operator.domain.conditions import clip
from noria_operator.domain.rollout_analysis import Reading
from noria_operator.domain.rollout_observed import Observed
from noria_operator.domain.rollout_plan import Note
from noria_operator.domain.rollout_policy import Policy
from noria_operator.domain.rollout_state import (
    CHAMPIONS,
    REMEMBERED,
    Candidate,
    Entry,
    Mode,
    Previous,
    Revision,
    State,
    Step,
)
from noria_operator.domain.rollout_steps import asked, current, pods
from noria_operator.domain.rollout_target import Target
from noria_operator.domain.rollout_words import Happened


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that a move may look at; `policy` is what is asked of the first challenger, `reading` what
    was read of it.
    """

    policy: Policy
    observed: Observed
    target: Target
    reading: Reading
    now: datetime
    spec: Policy
    """What is asked of the deployment."""
    readings: Mapping[Candidate, Reading] = field(default_factory=dict)
    views: list[tuple[Scene, State]] = field(default_factory=list, compare=False, repr=False)
    """What each challenger sees of the state that this was made for, once `rollout_arms.views` was asked."""

    def of(self, state: State) -> Scene:
        """What the first challenger of `state` sees. What was read belongs to the challengers of before, not
        to one that stands here since this pass.
        """
        candidate = state.candidate
        policy = self.spec.of(candidate.target.version) if candidate else self.spec
        reading = self.readings.get(candidate) if candidate else None
        reading = reading or Reading(self.observed)
        return Scene(policy, self.observed, self.target, reading, self.now, self.spec, self.readings)


Outcome = tuple[State, Note | None]


def happened(
    scene: Scene,
    state: State,
    event: Happened,
    version: str,
    message: str,
    *,
    warning: bool = False,
    cause: str = "",
) -> Outcome:
    """The state with one more line of history, and the Event for it."""
    text = clip(message)
    entry = Entry(scene.now, event.value, version, text)
    return replace(state, history=(*state.history, entry)[-REMEMBERED:]), Note(event, text, warning, cause)


def crowned(state: State, target: Revision) -> State:
    """The state with `target` as its champion, last of those that can be gone back to.

    Going back drops those after it, as they were left; any other way keeps them.
    """
    past, undo = state.champions, state.undo if state.undo and state.undo.target == target else None
    if undo is not None and target in past:
        past = past[: past.index(target)]
    champions = (*(one for one in past if one != target), target)[-CHAMPIONS:]
    newest = max(state.turns.values(), default=0) + 1
    turns = {one.name: state.turns.get(one.name, newest) for one in champions}
    return replace(state, stable=target, champions=champions, turns=turns, undo=undo)


def returns(state: State, wanted: Revision) -> bool:
    """Whether this is the warm previous version and takes over at once: an undo asks for it, or the champion
    came after it. One that came after the champion was left for what had served before.
    """
    if state.previous is None or wanted != state.previous.target:
        return False
    if state.undo is not None and wanted == state.undo.target:
        return True
    turn = state.turns.get(wanted.name)
    return turn is not None and state.stable is not None and turn < state.turns.get(state.stable.name, 0)


def kept_warm(scene: Scene, state: State, left: Revision) -> Previous | None:
    """The champion that was left, with its warm time; None where pods divide the traffic and it was rejected:
    clients that keep a connection would stay with its pods for as long.
    """
    if scene.policy.by_pods and state.is_rejected(left):
        return None
    return Previous(left, scene.now + scene.policy.keep_previous)


def released(step: Step, now: datetime) -> Step:
    """The step after which all traffic follows; its wait for pods begins now."""
    fresh = replace(step, released=True, kept_weight=None, mode=Mode.WAITING, since=now, spent=timedelta())
    return replace(fresh, wait=step.wait.anew())


def attempt(scene: Scene, state: State, wanted: Revision) -> Candidate:
    """A challenger that begins now. Tries count from when it was promoted last."""
    tried = 0
    for entry in state.history:
        if entry.version == wanted.version:
            tried = 0 if entry.event == Happened.PROMOTED else tried + (entry.event == Happened.STARTED)
    return Candidate(wanted, tried + 1, scene.now)


def has_its_pods(scene: Scene, state: State) -> bool:
    """Whether as many of the first challenger's pods are ready as its step asks for, or asked for before
    `replicas` grew: what it has is in force, and the pods beside are a wish.
    """
    step, candidate = state.step, state.candidate
    if step is None or candidate is None:
        return True
    ready = scene.observed.ready.get(candidate.target.name, 0)
    waits = step.released or step.mode is Mode.WAITING or state.reach != asked(scene.policy, step)
    return ready >= pods(scene.policy, step) or (not waits and step.wait.keeps_up(ready))


def received(scene: Scene, step: Step) -> int:
    """Requests that reached the first challenger in the step, those of the open window included."""
    belongs = scene.policy.compares or scene.reading.step == step.index
    return step.requests + (scene.reading.window.challenger.requests if belongs else 0)


def too_few(scene: Scene, state: State) -> str:
    """That the first challenger got fewer requests than its step waits for; empty where it got them."""
    step, candidate = state.step, state.candidate
    if step is None or candidate is None:
        return ""
    got, least = received(scene, step), current(scene.policy, step).min_requests
    return f"{candidate.target.version} got {got} of {least} requests" if got < least else ""


def begun(policy: Policy, state: State, step: Step) -> datetime:
    """From when on the step's duration counts, were there no break in it: in an experiment from the
    challenger's first request, so that pods which come and go cost an arm no time.
    """
    since = state.analysis.since if state.analysis else None
    return since if policy.compares and since else running_since(step)


def running_since(step: Step) -> datetime:
    """Since when the step would run, had it no break."""
    return step.since - step.spent


def ran(step: Step, now: datetime) -> timedelta:
    """How long the step ran up to now; in a pause it does not."""
    runs = step.mode is Mode.RUNNING and not step.paused
    return step.spent + (now - step.since if runs else timedelta())


def hold_ends(policy: Policy, state: State, step: Step) -> datetime:
    """Until when the step may wait: for `maxHold` after all that it has to wait for, which is its duration,
    and where it needs the verdict Pass, the least time of evidence; and after a person resumed it.
    """
    one = policy.steps[0] if policy.compares else current(policy, step)
    times = [running_since(step), begun(policy, state, step) + one.duration]
    times += [step.hold_from] if step.hold_from else []
    since = state.analysis.since if state.analysis else None
    if since and (one.gate or policy.compares or step.index >= len(policy.steps)):
        times.append(since + policy.min_duration)
    return max(times) + policy.max_hold


def named(target: Revision | None) -> str:
    return target.version if target else "none"


def apart(target: Revision, champion: Revision | None) -> str:
    """The version; where that alone would be the champion, which configuration of it is meant."""
    if champion is None or target.may_be(champion) or champion.version != target.version:
        return target.version
    return f"{target.version} in another configuration ({target.name})"


def spelled(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}m" if not rest and minutes else f"{seconds}s"
