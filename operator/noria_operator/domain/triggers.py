"""Triggers: whether a reason to retrain is there, written down also when it is not.

Each kind is a module of its own: one trigger of the spec, its entry in status and the evidence come in, and a
`Request` goes out, the new entry and whether it asks for a run. Invariants: a trigger only asks, cooldown,
budget and `Forbid` decide elsewhere; an open window changes nothing in status, so scraping costs no writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.training_times import moment

Json = dict[str, Any]

MANUAL: Final = "Manual"
"""Name of the entry for the annotation; no DNS label, so no trigger of a spec can have it."""

ALARMS: Final = ("Warn", "Block")
"""Decisions that stand until the trigger is quiet, and that somebody is to be told of."""

LOSSES: Final = frozenset({"Performance", "EstimatedPerformance", "ConceptDrift"})
"""Kinds of triggers that see quality lost; what others ask for is no loss."""
_HELD: Final = frozenset({"Fire", "Blocked", "Wait"})
"""Decisions that leave what was found as it is: a run is held, on its way, or has yet to help."""
STANDS: Final = dict.fromkeys(LOSSES, _HELD | {"Observe", *ALARMS}) | {"Drift": _HELD}
"""By kind, the decisions through which a finding is timed, until a promotion answers it: a loss also where a
combination may ask for the run, drift where its own action is Retrain.
"""

IN_THE_QUEUE: Final = "waits in the queue"
"""How the message of a trigger begins whose request does."""

FOLLOW_UP: Final = "FollowUp"
"""Name and reason of the run that follows a loss of quality, and of the entry that tells what holds it; no
DNS label either.
"""


@dataclass(frozen=True)
class Request:
    """What one trigger says. `key` tells this request from every other one of the same trigger; `says` is why
    it asks, where the entry's message does not say it. A run merges `answer` into the entry: any run, any run
    while it asks (`Wanted`), or its own; the run of a combination is that of its `members`, too. `back` is
    what of that stands again when the run comes to nothing (`triggers_unanswered`). A `lasting` one asks on
    until another version is served: what is under way may be the answer. A combination is its loop's
    `own_affair` where another loop's run is no answer to one of its members. `fell_due`: when it began to
    ask, where nothing but the clock made it. Once the entry is in status, `job` is made, the Job named `drop`
    is removed, and with `again` all is asked anew.
    """

    entry: Json
    reason: str
    wanted: bool = False
    key: str = ""
    due: datetime | None = None
    says: str = ""
    answer: Json = field(default_factory=dict)
    answered_by: Literal["Any", "Wanted", "Own"] = "Own"
    back: Json = field(default_factory=dict)
    members: tuple[str, ...] = ()
    lasting: bool = False
    own_affair: bool = False
    fell_due: datetime | None = None
    job: Json | None = None
    drop: str = ""
    again: bool = False

    @property
    def name(self) -> str:
        """The trigger's name."""
        return str(self.entry.get("name", ""))

    def answered_with(self, chosen: Request) -> bool:
        """Whether the run that `chosen` starts answers this one, too."""
        if self is chosen or self.name in chosen.members or self.answered_by == "Any":
            return True
        return self.wanted and self.answered_by == "Wanted"


@dataclass(frozen=True)
class Champion:
    """The stable version, the metrics with which it was accepted, and when it was registered."""

    name: str
    metrics: dict[str, str]
    made: datetime | None = None


def champion_of(name: str, version: Json | None) -> Champion:
    """As its ModelVersion tells, where there is one."""
    metrics = ((version or {}).get("spec", {}).get("evaluation") or {}).get("metrics", {})
    made = moment(version["metadata"]["creationTimestamp"]) if version else None
    return Champion(name, dict(metrics), made)


def kind_named(name: str, triggers: Iterable[Json]) -> str:
    """What kind of trigger has this name, as reasons are written: the field of its spec that says so;
    `removed` where the spec has none of that name any more.
    """
    if name in (MANUAL, FOLLOW_UP):
        return name
    trigger = next((one for one in triggers if one["name"] == name), None)
    if trigger is None:
        return "removed"
    kind = next((field for field in trigger if field not in ("name", "timeZone", "action")), "")
    return kind[:1].upper() + kind[1:]


def loss_since(entry: Json, triggers: Sequence[Json]) -> str | None:
    """Since when the loss, or the drift, is known that a trigger answers with a run, its own or that of a
    combination; None while it sees none.
    """
    stands = STANDS.get(kind_named(entry["name"], triggers), frozenset())
    if not any(_retrains_by(entry["name"], one) for one in triggers):
        stands &= _HELD
    return entry.get("since") if entry.get("decision") in stands else None


def _retrains_by(member: str, trigger: Json) -> bool:
    """Whether a trigger is a combination that asks for runs, and has this member."""
    asks = trigger.get("action") in (None, "Retrain")
    return asks and member in trigger.get("combine", {}).get("of", ())


def opened_at(entry: Json, champion: Champion | None) -> datetime | None:
    """Since when what is counted of the champion goes into the open window; None when one has yet to be
    opened.
    """
    if champion is None or entry.get("version") != champion.name or not entry.get("windowStartedAt"):
        return None
    return moment(entry["windowStartedAt"])


def in_a_row(streak: int, enough: int) -> str:
    """How many windows one after the other show it, of those that it takes."""
    more = f", {streak} by now" if streak > enough else ""
    return f"{min(streak, enough)} of {enough} windows in a row{more}"


def window_key(entry: Json) -> str:
    """Tells what one window asks for from what every other one does."""
    return f"{entry.get('version', '')} {entry.get('windowStartedAt', '')}"


def answered_by(trigger: TriggerSpec) -> Literal["Wanted", "Own"]:
    """Any run answers what asks for one; a warning stands whoever starts a run, unless it is part of a
    combination that asks for one.
    """
    return "Wanted" if trigger.effect == "Retrain" else "Own"


def manual(said: str, acknowledged: str | None, entry: Json | None) -> Request | None:
    """A run that a person asked for, unless this very request was carried out already; one that is held is
    asked for as long as the annotation says so.
    """
    if said in ("", acknowledged):
        return Request(_withdrawn(entry), MANUAL) if entry else None
    asked = (entry or {}) | {"name": MANUAL, "reason": "Asked"}
    return Request(asked, MANUAL, wanted=True, key=said, says="a person asked")


def _withdrawn(entry: Json) -> Json:
    """The entry once nobody asks; what waits in the queue asks on."""
    if entry.get("decision") != "Blocked" or entry.get("message", "").startswith(IN_THE_QUEUE):
        return entry
    text = "the request was taken back"
    return {"name": MANUAL, "decision": "No", "reason": "Withdrawn", "message": text}
