"""What people say to a rollout: annotations `noria.dev/<command>: <id>` on the ModelDeployment.

Comes in: the ids of commands and those that status acknowledges. Goes out: the next state. Invariants: a
command is carried out once for each id and always acknowledged, also when there is nothing for it to do;
what takes traffic away or holds it comes first, and nothing that is found at the same time undoes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from noria_operator.domain.commands import AGAIN, earlier
from noria_operator.domain.rollout_advance import next_step
from noria_operator.domain.rollout_arms import kept
from noria_operator.domain.rollout_experiment import crown
from noria_operator.domain.rollout_retreat import abort, rejecting, without_candidate
from noria_operator.domain.rollout_scene import Outcome, Scene, happened, named, released
from noria_operator.domain.rollout_state import Revision, State, Undo
from noria_operator.domain.rollout_steps import at_endless_pause, upheld
from noria_operator.domain.rollout_target import present
from noria_operator.domain.rollout_words import Cause, Happened


def obey(scene: Scene, state: State) -> Outcome | None:
    """Carry out the most urgent command that was not acknowledged yet, once what would undo it is refused."""
    for name in COMMANDS:
        if state.is_old(name, scene.observed.commands):
            return _refuse(scene, _acknowledge(scene, state, name), f"{_said(scene, name)}: {AGAIN}")
    new = [name for name in COMMANDS if state.is_new(name, scene.observed.commands)]
    if not new:
        return None
    first = new[0]
    against = [name for name in new if name in GOES_ON] if first in STOPS else []
    name = against[0] if against else first
    acknowledged = _acknowledge(scene, state, name)
    if against:
        why = f"{_said(scene, name)}: {_said(scene, first)} was found at the same time, and what stops wins"
        return _refuse(scene, acknowledged, f"{why}; give it again if it is meant")
    if scene.policy.unread and name in NEEDS_ALL:
        return _refuse(scene, acknowledged, f"{_said(scene, name)}: {scene.policy.unread}")
    return _for_another(scene, acknowledged, name) or COMMANDS[name](scene, acknowledged)


def _acknowledge(scene: Scene, state: State, command: str) -> State:
    given, last = scene.observed.commands[command], state.commands.get(command)
    before = {command: earlier(last, state.earlier.get(command, ()), given)} if last else {}
    return replace(state, commands={**state.commands, command: given}, earlier={**state.earlier, **before})


def _for_another(scene: Scene, state: State, command: str) -> Outcome | None:
    """Refuse an approval whose id names a version before an `@` that is not the one on trial (any more)."""
    name, at, _ = scene.observed.commands[command].partition("@")
    if command not in APPROVALS or not at or state.candidate is None or _several(scene, state):
        return None
    trial = state.candidate.target
    model, deployment = trial.version.rpartition("-")[0], trial.name.rsplit("-", 2)[0]
    other = re.fullmatch(f"{re.escape(model)}-[0-9]+|{re.escape(deployment)}-[0-9]+-[0-9a-f]+", name)
    if other is None or name in (trial.version, trial.name):
        return None
    why = f"{_said(scene, command)}: {trial.version} is on trial, not {name}"
    return _refuse(scene, state, f"{why}; name {trial.version} if that is meant")


def _abort(scene: Scene, state: State) -> Outcome:
    why = _said(scene, "abort")
    made = abort(scene, state, why, Cause.COMMAND, by_hand=True, everyone=True)
    if made[0] is state and state.candidate is not None:
        version = state.candidate.target.version
        why = f"{why}: {version} is the first version and takes all traffic; nobody else could"
        return _refuse(scene, state, why)
    return made


def _said(scene: Scene, command: str) -> str:
    """The command with its id, which may tell who gave it and why."""
    return f"noria.dev/{command} {scene.observed.commands[command]}"


def _promote(scene: Scene, state: State) -> Outcome:
    """On to the next step, whatever the present one waits for; after the last one, to all traffic."""
    step, why = state.step, _said(scene, "promote")
    if step is None:
        return _idle(scene, state, "promote")
    if step.released and not step.paused:
        return state, None
    if _several(scene, state):
        return _choose(scene, state, "promote")
    if step.released or step.index >= len(scene.policy.steps):
        return _release(scene, state, why)
    return next_step(scene, state, why)


def _promote_full(scene: Scene, state: State) -> Outcome:
    if state.candidate is None:
        return _idle(scene, state, "promote-full")
    if _several(scene, state):
        return _choose(scene, state, "promote-full")
    return _release(scene, state, _said(scene, "promote-full"))


def _several(scene: Scene, state: State) -> bool:
    """Whether arms are compared, of which one has to be chosen; also while the first of them leaves the
    spec, which would else get all traffic beside what the others have.
    """
    compared = scene.policy.compares or (bool(state.others) and scene.target.arms is not None)
    return compared and state.step is not None and not state.step.released


def _choose(scene: Scene, state: State, command: str) -> Outcome:
    """The arm that the id names before an `@` wins, whatever the evidence says; the last needs no name."""
    wanted, why = scene.target.challengers, _said(scene, command)
    places = {one.target.version: at for at, one in enumerate(state.challengers) if one.target in wanted}
    name = next(iter(places)) if len(places) == 1 else scene.observed.commands[command].partition("@")[0]
    if name not in places:
        arms = ", ".join(places) or "those that the spec asks for, once they have begun"
        return _refuse(scene, state, f"{why}: name the version to promote, one of {arms}")
    return crown(scene, state, places[name], f"{name} is promoted by hand ({why})", by_hand=True)


def _release(scene: Scene, state: State, why: str) -> Outcome:
    """All traffic, past steps, pauses and evidence, once all pods are ready; an abort still wins."""
    step, candidate = state.step, state.candidate
    if step is None or candidate is None:
        return state, None
    full = replace(released(step, scene.now), index=len(scene.policy.steps), paused=False)
    version = candidate.target.version
    message = f"{version} is promoted by hand ({why}); all traffic follows once all its pods are ready"
    return happened(scene, replace(state, step=full), Happened.BY_HAND, version, message)


def _retry(scene: Scene, state: State) -> Outcome:
    """Try again what is wanted; of an experiment all arms, unless something else was rejected after it."""
    wanted = scene.target.wanted
    undone = state.undo is not None and wanted is not None and wanted.may_be(state.undo.left)
    again = [wanted] if wanted and (undone or state.is_rejected(wanted)) else []
    if not again or wanted in scene.target.refused:
        again = [*dict.fromkeys((*again, *scene.target.refused))]
    if not again:
        why = "no version that is asked for was rejected"
        return _refuse(scene, state, f"{_said(scene, 'retry')}: {why}")
    left = tuple(
        one
        for one in state.rejected
        if not any(one.of(target) or (one.lost and one.version == target.version) for target in again)
    )
    state = replace(state, rejected=left, undo=None if undone else state.undo)
    version = ", ".join(one.version for one in again)
    message = f"{version} may be tried again ({_said(scene, 'retry')})"
    return happened(scene, state, Happened.RETRIED, version, message)


def _undo(scene: Scene, state: State) -> Outcome:
    """Go back to the last good revision, or to the one named before an `@` in the id, as it was. An abort
    that is found at the same time is part of it: what it would end ends, nobody is kept from going back.
    """
    id_, why = scene.observed.commands["undo"], _said(scene, "undo")
    aborted = state.is_new("abort", scene.observed.commands)
    name = id_.partition("@")[0] if "@" in id_ else None
    target = next((one for one in _good(scene, state) if name in (None, one.version, one.name)), None)
    asked = scene.target.wanted or scene.target.unmet
    if target is None or asked is None:
        return _refuse(scene, state, f"{why}: {_no_way_back(scene, state, name)}")
    # The champion may serve in another configuration than the spec has by now.
    left, champion = present(scene.observed.versions, asked), state.stable.version if state.stable else ""
    asked = left if left.version == champion else scene.target.wanted
    trial = [one.target for one in state.challengers]
    if target in trial:
        return _refuse(scene, state, f"{why}: {target.version} is on its way already")
    leaving, arms = (share.target for share in state.leaving), scene.target.arms or ()
    arms = scene.target.waiting if trial or aborted else arms
    for one in dict.fromkeys((*trial, *arms, state.stable, *leaving, asked)):
        if one is not None and not one.may_be(target):
            state = rejecting(scene, state, one, f"undone by {why}", by_hand=True)
    state = without_candidate(scene, replace(state, others=()))
    state = replace(state, undo=Undo(target, left) if target != left else state.undo)
    froms = ", ".join(one.version for one in trial) or named(state.stable)
    if aborted:
        state, why = _acknowledge(scene, state, "abort"), f"{why} and {_said(scene, 'abort')}"
    message = f"back from {froms} to {target.version} ({why})"
    return happened(scene, state, Happened.UNDONE, target.version, message, warning=True)


def _good(scene: Scene, state: State) -> list[Revision]:
    """What can be gone back to, the last one first: in a rollout the champion, then those before it."""
    past = [
        one
        for one in reversed(state.champions)
        if one != state.stable and one.name in scene.observed.restorable
    ]
    places = [state.stable] if state.stable and state.candidate else []
    return [one for one in (*places, *past) if not state.is_rejected(one)]


def _no_way_back(scene: Scene, state: State, name: str | None) -> str:
    good = ", ".join(one.version for one in _good(scene, state))
    if name is None:
        return f"no good version from before {named(state.stable)} is remembered"
    wanted = scene.target.wanted
    rest = f"there are {good}" if good else "there is none"
    if wanted is not None and name in (wanted.version, wanted.name) and state.is_rejected(wanted):
        rest = "annotate noria.dev/retry to try it again"
    return f"{name} is no good version from before; {rest}"


def _restart(scene: Scene, state: State) -> Outcome:
    """Replace the champion's pods one by one; before there is one, those of the first version."""
    why = _said(scene, "restart")
    candidate = state.candidate.target if state.candidate else None
    target = state.stable or candidate
    if target is None:
        return _refuse(scene, state, f"{why}: nothing serves yet")
    previous = state.previous.target if state.previous else None
    trial = (one.target for one in state.challengers)
    known = {one.name for one in (*state.champions, *trial, previous) if one}
    kept = {name: earlier for name, earlier in state.restarts.items() if name in known}
    state = replace(state, restarts={**kept, target.name: scene.observed.commands["restart"]})
    message = f"the pods of {target.version} are replaced one by one ({why})"
    return happened(scene, state, Happened.RESTARTED, target.version, message)


def _idle(scene: Scene, state: State, command: str) -> Outcome:
    """There is no rollout (any more) that the command could be about."""
    return _refuse(scene, state, f"{_said(scene, command)}: no version is on trial")


def _refuse(scene: Scene, state: State, message: str) -> Outcome:
    """Nothing changes, and people are told why; of many refusals history keeps the last."""
    version = state.stable.version if state.stable else ""
    refused = [entry for entry in state.history if entry.event == Happened.REFUSED][: 1 - REFUSALS]
    state = replace(state, history=tuple(entry for entry in state.history if entry not in refused))
    return happened(scene, state, Happened.REFUSED, version, message, warning=True)


def _pause(scene: Scene, state: State) -> Outcome:
    step, candidate = state.step, state.candidate
    if step is None or candidate is None:
        return _idle(scene, state, "pause")
    if step.paused:
        return state, None
    weight, version = state.weight(candidate.target.name), candidate.target.version
    if step.recreate:
        message = f"{_said(scene, 'pause')}: nothing answers before {version} is ready; abort, or wait"
        return _refuse(scene, state, message)
    why = _said(scene, "pause")
    message = f"{version} stays at weight {weight} ({why}); annotate noria.dev/resume, promote or abort"
    if state.others:
        arms = ", ".join(one.target.version for one in state.challengers)
        message = f"{arms} stay as they are ({why}); annotate noria.dev/resume, promote or abort"
    return happened(scene, kept(scene, state, why), Happened.PAUSED, version, message)


def _resume(scene: Scene, state: State) -> Outcome:
    """The end of a pause, and of nothing else: what its step waits for beside it, it still waits for."""
    step, candidate = state.step, state.candidate
    if step is None or candidate is None:
        return _idle(scene, state, "resume")
    version, why = candidate.target.version, _said(scene, "resume")
    if step.paused:
        going = replace(step, paused=False, since=scene.now, hold_from=scene.now)
        going = upheld(scene.policy, going, step.kept_weight)
        others = tuple(replace(one, kept_weight=None) for one in state.others)
        message = f"{version} goes on ({why})"
        state = replace(state, step=going, others=others)
        return happened(scene, state, Happened.RESUMED, version, message)
    if at_endless_pause(scene.policy, step):
        going = replace(step, resumed=True, since=scene.now, spent=timedelta())
        message = f"{version} goes on once all is there that the step waits for beside a person ({why})"
        return happened(scene, replace(state, step=going), Happened.RESUMED, version, message)
    return _refuse(scene, state, f"{why}: {version} waits for no person; promote ends what it waits for")


REFUSALS = 5
"""Refused commands that history keeps, so that it tells of what happened."""
APPROVALS = frozenset({"promote", "promote-full", "resume"})
"""What lets a version go on."""
GOES_ON = APPROVALS | {"retry"}
NEEDS_ALL = GOES_ON - {"promote-full"}
"""What goes on by the spec, which has to be read whole for that."""
STOPS = frozenset({"abort", "undo", "pause"})
"""Where one of these and one of `GOES_ON` are found in one pass, which was said last is not known."""
COMMANDS: dict[str, Callable[[Scene, State], Outcome]] = {
    "undo": _undo,
    "abort": _abort,
    "pause": _pause,
    "resume": _resume,
    "promote": _promote,
    "promote-full": _promote_full,
    "retry": _retry,
    "restart": _restart,
}
"""In order of urgency; what stops comes before what goes on. Of two that are found at once none reaches
further than it was meant: an undo beside an abort goes back from the challenger, not from the champion, where
there is one, and a resume beside a promotion ends no later pause.
"""
