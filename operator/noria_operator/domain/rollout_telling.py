"""When the first status of a ModelDeployment may wait, and which Events need no telling.

Comes in: a plan, what was observed, when pods were asked for. Goes out: the moment up to which the status may
be put off; the notes that become Events. Invariants: what gives weight, obeys a command, or tells of trouble
is written at once; put off is only that a first version waits for its pods, or to be read back from routers
that go by these. Nothing depends on that: names are the same whoever plans again, so the next pass, or the
next operator, finds them. Mostly both happen by then, and one status tells what two or three would have told.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from noria_operator.domain.rollout_observed import Observed
from noria_operator.domain.rollout_plan import Note, Plan
from noria_operator.domain.rollout_state import Mode, State
from noria_operator.domain.rollout_words import Happened

SOON = timedelta(seconds=1)
"""How long people see nothing of a first version, after its pods were asked for."""
IN_A_RUSH = timedelta(seconds=30)
"""The same while other objects wait for a pass, or many for their first pods: those come before what only
reports, here and in Kubernetes' own controllers.
"""


def put_off(
    before: State, made: Plan, observed: Observed, *, asked: datetime, rush: bool, now: datetime
) -> datetime | None:
    """Until when the very first status, that of `made`, may wait; None where it is to be written now.

    `before` is what routers go by without one (`rollout_first`), empty where they know no version; `asked` is
    when the pods of the version were asked for; `rush` whether other objects wait.
    """
    until = asked + (IN_A_RUSH if rush else SOON)
    return until if now < until and _only_waits(before, made, observed) else None


def _only_waits(before: State, made: Plan, observed: Observed) -> bool:
    """Whether all there is to tell is that a first version waits for its pods, or to be read back from
    routers that give it the same weight already. Where there is no router, people hear of that.
    """
    state, step = made.state, made.state.step
    if state.candidate is None or step is None or state.others:
        return False
    quiet = not (state.commands or state.candidate.target.name in observed.problems)
    known = not state.traffic or (state.traffic == before.traffic and observed.in_force != ())
    waits = Mode.SHIFTING if state.traffic else Mode.WAITING
    return quiet and known and step.mode is waits and not (step.paused or step.stalled)


def events_of(before: State, made: Plan, *, routers: int) -> tuple[Note, ...]:
    """The notes that become Events. That a first version started goes without one where its pods were there
    before that was told, and routers to take it: `Promoted` is then a moment away.
    """
    if before != State() or not made.state.traffic or not routers:
        return made.events
    return tuple(note for note in made.events if note.reason is not Happened.STARTED)
