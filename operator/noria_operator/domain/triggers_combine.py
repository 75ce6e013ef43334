"""The trigger `combine`: enough other triggers fire at the same time.

Comes in: the trigger and what the others said in this very pass. Goes out: a request, or all requests of the
pass. Invariants: it asks only while its members ask, and a run that it starts answers those that did; so does
any run of the loop that starts while it asks, unless a member asks for what the loop does of itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from noria_operator.api import names
from noria_operator.api.status import MESSAGE_LIMIT
from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.conditions import clip
from noria_operator.domain.triggers import MANUAL, Request, manual
from noria_operator.domain.triggers_hold import OF_THE_LOOP, shown_before
from noria_operator.domain.triggers_start import asked_again

Json = dict[str, Any]

_SHOWN: Final = MESSAGE_LIMIT - 64
"""Letters of the names of triggers, so that there is room for how many are needed."""


def combined(trigger: TriggerSpec, others: Mapping[str, Request]) -> Request:
    """`others` are the requests of the other triggers by name."""
    if trigger.combine is None:
        raise ValueError(f"{trigger.name} combines nothing")
    members = trigger.combine.of
    firing = tuple(name for name in members if name in others and others[name].wanted)
    needed = trigger.combine.at_least or len(members)
    entry: Json = {"name": trigger.name, "value": str(len(firing)), "threshold": str(needed)}
    shown = f"{len(firing)} of {', '.join(members)} fire" + (f": {', '.join(firing)}" if firing else "")
    shown = clip(shown, _SHOWN)
    if len(firing) < needed:
        text = f"{shown}; {needed} are needed"
        return Request(entry | {"decision": "No", "reason": "TooFewFire", "message": text}, trigger.reason)
    key = "+".join(others[name].key for name in firing)
    entry |= {"reason": "EnoughFire"}
    lasting = all(others[name].lasting for name in firing)
    times = [time for name in firing if (time := others[name].fell_due)]
    return Request(
        entry,
        trigger.reason,
        wanted=True,
        key=key,
        says=shown,
        members=firing,
        lasting=lasting,
        own_affair=any(others[name].reason in OF_THE_LOOP for name in firing),
        fell_due=max(times) if len(times) == len(firing) else None,
    )


def in_order(
    obj: Json, triggers: Sequence[TriggerSpec], plain: Sequence[Request], theirs: Json
) -> list[Request]:
    """All requests of a pass in the order in which they are served: what a person asked for, `plain` (of the
    triggers that combine nothing), and what combinations make of them, but for what `theirs`, the newest run
    of other loops, answers.
    """
    status = obj.get("status", {})
    entry = next((one for one in status.get("triggers", []) if one["name"] == MANUAL), None)
    said = "" if asked_again(obj) else names.command_id(obj["metadata"].get("annotations"), "retrain")
    asked = manual(said, status.get("commands", {}).get("retrain"), entry)
    found = [*([asked] if asked else []), *plain]
    others = {one.name: one for one in found if not shown_before(one, theirs)}
    return [*found, *(combined(one, others) for one in triggers if one.combine is not None)]


def with_combined(request: Request, asking: Sequence[Request]) -> Request:
    """The request; the run that it starts answers the combinations among `asking`, too, and their members."""
    combinations = [one for one in asking if one.members and not one.own_affair and one is not request]
    also = tuple(name for one in combinations for name in (one.name, *one.members))
    return replace(request, members=(*request.members, *also)) if also else request
