"""What a run that came to nothing leaves unanswered: its triggers ask again.

Comes in: the requests that a run answers; later the status in which the run has its result. Goes out: what
the run keeps of them (`answers`), and the status in which that stands again. Invariants: an answer stands
while its run may still bring a version, and for good once it did; it is taken back once, in the write that
forgets it. Cooldown, which grows with failures, and the circuit hold what asks again as they hold anything.

Triggers that look again by themselves keep nothing: a schedule asks at its next time, quality that is lost is
seen to be lost in the next windows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from noria_operator.domain.triggers import FOLLOW_UP, Request, kind_named
from noria_operator.domain.triggers_concept import changed_again
from noria_operator.domain.triggers_data import unknown_again
from noria_operator.domain.triggers_runs import NOTHING
from noria_operator.domain.triggers_samples import counted_again

Json = dict[str, Any]

_AGAIN: Final[Mapping[str, Callable[[Json, Json], Json]]] = {
    "ConceptDrift": changed_again,
    "DataChange": unknown_again,
    "NewSamples": counted_again,
}


def kept(status: Json, requests: Sequence[Request], chosen: Request) -> Json:
    """What the run that `chosen` starts keeps, by trigger: newest first, as what waited in the queue was
    answered when it came there. The queue is empty once any run starts.
    """
    found = {one.name: [one.back] for one in requests if one.back and one.answered_with(chosen)}
    for name, earlier in (status.get("queued") or {}).get("answers", {}).items():
        if earlier:
            found[name] = [*found.get(name, []), *earlier]
    return found


def to_give_back(runs: Sequence[Json]) -> bool:
    """Whether a run that came to nothing still keeps what it answered."""
    return any("answers" in run and run.get("result") in NOTHING for run in runs)


def given_back(obj: Json) -> Json:
    """The object as a pass takes it: with what ended runs did not answer, and without what they kept. Nor is
    anything answered by a request that waits for a trigger which the spec has no more: it is forgotten, as
    is the planned run where the spec has no `followUp` any more.
    """
    status, triggers = obj.get("status", {}), obj["spec"].get("triggers", [])
    runs, queued = status.get("runs") or [], status.get("queued")
    removed = queued is not None and kind_named(queued["trigger"], triggers) == "removed"
    planned, follows = status.get("followUp"), bool(obj["spec"].get("followUp"))
    ended = any("answers" in run and run.get("result") for run in runs)
    if not (removed or ended or (planned and not follows)):
        return obj
    entries = {one["name"]: one for one in status.get("triggers", [])}
    lost = [run["answers"] for run in reversed(runs) if "answers" in run and run.get("result") in NOTHING]
    lost += [queued.get("answers") or {}] if queued and removed else []
    for name, backs in ((name, backs) for answers in lost for name, backs in answers.items()):
        if name == FOLLOW_UP:
            planned = planned or backs[0]
            continue
        again = _AGAIN.get(kind_named(name, triggers))
        if again is not None and name in entries:
            for back in backs:
                entries[name] = again(entries[name], back)
    open_ = [run if not run.get("result") else _without_keep(run) for run in runs]
    mended: Json = {"runs": open_, "triggers": [*entries.values()]}
    mended |= {"followUp": planned if follows else None} if planned else {}
    mended |= {"queued": None} if removed else {}
    return obj | {"status": status | mended}


def _without_keep(run: Json) -> Json:
    return {name: value for name, value in run.items() if name != "answers"}
