"""What a loop forgets when `spec.deployment` names another one.

Comes in: the object and the deployment that it names. Goes out: the object as a pass takes it, which writes
it down. Invariants: windows, the best value, what was found and what was to follow it are of one deployment,
and say nothing of another; runs are the loop's own, so budget and cooldown count them on, and what a person
asked for waits on. Nothing is forgotten for a name that no deployment has: it may be a slip.
"""

from __future__ import annotations

from typing import Any

from noria_operator.domain.triggers import MANUAL

Json = dict[str, Any]


def of_its_deployment(obj: Json, deployment: Json | None) -> Json:
    """The object; without what belongs to another deployment, where the one that it names is there."""
    name, status = obj["spec"]["deployment"], obj.get("status", {})
    known = status.get("deployment", "")
    if deployment is None or known == name:
        return obj
    kept = status | {"deployment": name}
    if known:
        kept = {
            field: value for field, value in kept.items() if field not in ("triggers", "followUp", "queued")
        }
        kept["runs"] = [_unanswered(run) for run in status.get("runs", ())]
        queued = status.get("queued") or {}
        kept |= {"queued": _unanswered(queued)} if queued.get("reason") == MANUAL else {}
    return obj | {"status": kept}


def _unanswered(run: Json) -> Json:
    return {field: value for field, value in run.items() if field != "answers"}
