"""What people say to a rollout: annotations `noria.dev/<command>: <id>` on the ModelDeployment.

Comes in: the ids of commands and those that status acknowledges. Goes out: the next state. Invariants: a
command is carried out once for each id and always acknowledged, also when there is nothing for it to do;
abort comes first and is never undone by a promotion that was asked for at the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from noria_operator.domain.rollout_advance import next_step
from noria_operator.domain.rollout_retreat import abort
from noria_operator.domain.rollout_scene import Outcome, Scene, at_endless_pause, happened, stopped
from noria_operator.domain.rollout_state import Happened, Mode, State


def obey(scene: Scene, state: State) -> Outcome | None:
    """Carry out the most urgent command that was not acknowledged yet."""
    for name, carry_out in COMMANDS.items():
        wanted = scene.observed.commands.get(name)
        if wanted and wanted != state.commands.get(name):
            acknowledged = replace(state, commands={**state.commands, name: wanted})
            return carry_out(scene, acknowledged)
    return None


def _abort(scene: Scene, state: State) -> Outcome:
    return abort(scene, state, f"noria.dev/abort {scene.observed.commands['abort']}")


def _promote(scene: Scene, state: State) -> Outcome:
    step, candidate = state.step, state.candidate
    if step is None or candidate is None:
        return state, None
    full = replace(
        step,
        index=len(scene.policy.steps),
        released=True,
        paused=False,
        kept_weight=None,
        mode=Mode.WAITING,
        since=scene.now,
        waited=timedelta(),
    )
    version = candidate.target.version
    message = f"{version} is promoted by hand; all traffic follows once all its pods are ready"
    return happened(scene, replace(state, step=full), Happened.RESUMED, version, message)


def _retry(scene: Scene, state: State) -> Outcome:
    wanted = scene.target.wanted
    if wanted is None or not state.is_rejected(wanted):
        return state, None
    left = tuple(
        one for one in state.rejected if (one.version, one.revision) != (wanted.version, wanted.revision)
    )
    message = f"{wanted.version} may be tried again"
    return happened(scene, replace(state, rejected=left), Happened.RETRIED, wanted.version, message)


def _pause(scene: Scene, state: State) -> Outcome:
    step, candidate = state.step, state.candidate
    if step is None or candidate is None or step.paused:
        return state, None
    weight, version = state.weight(candidate.target.name), candidate.target.version
    held = replace(stopped(step, scene.now), paused=True, kept_weight=weight)
    message = f"{version} stays at weight {weight}; annotate noria.dev/resume, promote or abort"
    return happened(scene, replace(state, step=held), Happened.PAUSED, version, message)


def _resume(scene: Scene, state: State) -> Outcome:
    step, candidate = state.step, state.candidate
    if step is None or candidate is None:
        return state, None
    version = candidate.target.version
    if step.paused:
        going = replace(step, paused=False, kept_weight=None, since=scene.now)
        return happened(scene, replace(state, step=going), Happened.RESUMED, version, f"{version} goes on")
    if at_endless_pause(scene.policy, step):
        return next_step(scene, state)
    return state, None


COMMANDS: dict[str, Callable[[Scene, State], Outcome]] = {
    "abort": _abort,
    "pause": _pause,
    "promote": _promote,
    "resume": _resume,
    "retry": _retry,
}
"""In order of urgency; what stops comes before what goes on."""
