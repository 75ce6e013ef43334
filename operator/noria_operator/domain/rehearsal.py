"""A ContinuousTraining in memory: what its policy would do, decided by the very code that decides in a
cluster.

Comes in: the object, predictions and labels as they arrive, the time. Goes out: what was decided, each change
once. Invariants: nothing but `triggers_plan.decide` and the triggers themselves decides; time is what the
caller says; the object in memory has exactly the status that a cluster's would have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from noria_operator.api import names
from noria_operator.api.continuoustraining import ContinuousTraining
from noria_operator.api.parsing import parse_as
from noria_operator.api.trainingjob import TrainingFailure, TrainingPhase
from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.performance import REGRESSION
from noria_operator.domain.recorded import BINARY_MODEL, Arrivals, Model
from noria_operator.domain.training_times import moment, stamp
from noria_operator.domain.triggers import Champion, Request
from noria_operator.domain.triggers_age import max_age
from noria_operator.domain.triggers_combine import in_order
from noria_operator.domain.triggers_counted import Evidence, counted, counts_since, past_windows
from noria_operator.domain.triggers_hold import Watched
from noria_operator.domain.triggers_monitoring import rule_of
from noria_operator.domain.triggers_plan import decide
from noria_operator.domain.triggers_schedule import schedule
from noria_operator.domain.triggers_unanswered import given_back

Json = dict[str, Any]

FROZEN_BINS: Final = "frozen bins"
"""What triggers on what a model sees lack where nobody tells of its training."""
_PASSES: Final = 6
"""Passes at one moment: a run takes two, the rest is room."""


@dataclass(frozen=True)
class Told:
    """One change of what a trigger says, or a run that started (`decision` Started)."""

    at: datetime
    trigger: str
    decision: str
    message: str


class Rehearsal:
    """One loop. Let time pass with `until`; say with `finish` how a run ended."""

    def __init__(self, obj: Json, champion: Champion, model: Model = BINARY_MODEL) -> None:
        self.training = parse_as(ContinuousTraining, obj)
        self.obj = obj
        self.champion = champion
        self.model = model
        self.arrivals = Arrivals(model)
        self.jobs: dict[str, Json] = {}
        self._due: datetime | None = None
        self._ends: list[tuple[datetime, str]] = []
        self._versions: list[Json] = []

    @property
    def left_out(self) -> list[tuple[str, str]]:
        """Triggers that need more than there is, so that they are not asked, and what each needs."""
        triggers = self.training.spec.triggers
        plain = [(one.name, why) for one in triggers if (why := _lacks(one, self.model))]
        cannot = [(one.name, missing) for one, missing in self._combined() if not _can_fire(one, missing)]
        return [*plain, *((name, f"its member {', '.join(missing)}") for name, missing in cannot)]

    @property
    def short(self) -> list[tuple[str, str]]:
        """Combinations that can fire without the members that are left out, and these."""
        return [
            (one.name, ", ".join(missing)) for one, missing in self._combined() if _can_fire(one, missing)
        ]

    def _combined(self) -> list[tuple[TriggerSpec, list[str]]]:
        """Combinations with members that are left out, and these."""
        triggers = self.training.spec.triggers
        lacking = {one.name for one in triggers if _lacks(one, self.model)}
        found = [
            (one, [name for name in one.combine.of if name in lacking]) for one in triggers if one.combine
        ]
        return [(one, missing) for one, missing in found if missing]

    def due(self, now: datetime) -> bool:
        """Whether something falls due up to `now`, which what arrives then has no part in."""
        moments = [end for end, _ in self._ends] + ([self._due] if self._due else [])
        return bool(moments) and min(moments) <= now

    def until(
        self, now: datetime, *, took: timedelta, ended: Callable[[str, datetime], None]
    ) -> Iterator[Told]:
        """Everything that falls due up to `now`, in its order, and a look at `now`; what changed. A run ends
        `took` after its start: `ended` has to `finish` it.
        """
        while True:
            at = min([end for end, _ in self._ends] + [self._due or now, now])
            for end, name in [one for one in self._ends if one[0] <= at]:
                self._ends.remove((end, name))
                if name in self.jobs:
                    ended(name, end)
            for told in self.look(at):
                if told.decision == "Started":
                    self._ends.append((at + took, told.message))
                yield told
            if at >= now:
                return

    def look(self, now: datetime) -> Iterator[Told]:
        """Decide at `now`; what changed."""
        for _ in range(_PASSES):
            self.obj = given_back(self.obj)
            before = {one["name"]: one.get("decision") for one in self._status().get("triggers", [])}
            plan = decide(self.obj, self.training, self._requests(now), self._watched(), now)
            if plan.create is not None:
                yield self._started(plan.create, now)
            for name in plan.delete:
                self.jobs.pop(name, None)
            status = {name: value for name, value in plan.status.items() if value is not None}
            self.obj = self.obj | {"status": status}
            for entry in status.get("triggers", []):
                if entry.get("decision") != before.get(entry["name"]):
                    yield Told(now, entry["name"], entry.get("decision", ""), entry.get("message", ""))
            self._due = plan.due
            if not plan.again:
                break
        entries = self._status().get("triggers", [])
        self.arrivals.watch({moment(at) for one in entries if (at := one.get("windowStartedAt"))})

    def finish(self, name: str, now: datetime, *, champion: Champion | None, refused: bool = False) -> None:
        """The TrainingJob ended: with a new champion, refused by a gate, or with a version that was kept."""
        job = self.jobs[name]
        lasted = now - moment(job["status"].pop("runningSince"))
        times = {"completionTime": stamp(now), "ranSeconds": int(lasted.total_seconds())}
        if refused:
            reason = TrainingFailure.GATE_FAILED.value
            failed = {"type": "Failed", "status": "True", "reason": reason}
            job["status"] |= {"phase": TrainingPhase.FAILED.value, "conditions": [failed], **times}
            return
        job["status"] |= {"phase": TrainingPhase.SUCCEEDED.value, **times}
        if champion is not None:
            self.champion = champion
        made = champion.name if champion else f"{self.obj['spec']['template']['spec']['model']}-0"
        lineage = {"trainingJob": {"name": name}}
        spec = {"model": self._model, "version": 0, "lineage": lineage}
        self._versions.append({"metadata": {"name": made}, "spec": spec, "status": {"phase": "Archived"}})

    @property
    def live(self) -> list[str]:
        """Runs that have not ended."""
        return self._watched().live

    @property
    def _model(self) -> str:
        return str(self.obj["spec"]["template"]["spec"]["model"])

    def _status(self) -> Json:
        return dict(self.obj.get("status", {}))

    def _started(self, job: Json, now: datetime) -> Told:
        name = job["metadata"]["name"]
        meta = job["metadata"] | {"creationTimestamp": stamp(now)}
        self.jobs[name] = job | {"metadata": meta, "status": {"phase": "Running", "runningSince": stamp(now)}}
        run = self._status()["runs"][-1]
        return Told(now, run["trigger"], "Started", name)

    def _watched(self) -> Watched:
        deployment = {
            "apiVersion": names.API_VERSION,
            "kind": names.MODEL_DEPLOYMENT,
            "metadata": {"name": self.obj["spec"]["deployment"]},
            "spec": {"model": self._model},
            "status": {"stable": {"version": self.champion.name}},
        }
        return Watched(list(self.jobs.values()), deployment, self._versions)

    def _requests(self, now: datetime) -> list[Request]:
        entries = {entry["name"]: entry for entry in self._status().get("triggers", [])}
        without = {name for name, _ in self.left_out}
        triggers = [one for one in self.training.spec.triggers if one.name not in without]
        plain = [one for one in triggers if one.combine is None]
        asked = [self._ask(one, entries.get(one.name, {}), now) for one in plain]
        return in_order(self.obj, triggers, asked, {})

    def _ask(self, trigger: TriggerSpec, entry: Json, now: datetime) -> Request:
        if trigger.schedule is not None:
            since = now if entry else moment(self.obj["metadata"]["creationTimestamp"])
            return schedule(trigger, entry, since=since, now=now)
        if trigger.max_age is not None:
            return max_age(trigger, self.champion, now)
        begun, bins = counts_since(trigger, entry, self.champion), self.model.of(self.champion.name)
        window = self.arrivals.since(begun) if begun is not None and begun <= now else None
        earlier = None
        if window is not None and begun is not None:
            spans = past_windows(trigger, window, self.champion, begun, now)
            earlier = [self.arrivals.between(*span) for span in spans]
        seen = Evidence(window, bins.reference if bins else None, earlier)
        warmup = self.training.spec.warmup
        return counted(trigger, entry, champion=self.champion, evidence=seen, now=now, warmup=warmup)


def _can_fire(trigger: TriggerSpec, missing: Sequence[str]) -> bool:
    """Whether enough members of a combination are left."""
    rule = trigger.combine
    return rule is not None and len(rule.of) - len(missing) >= (rule.at_least or len(rule.of))


def _lacks(trigger: TriggerSpec, model: Model) -> str:
    """What a trigger needs that no history has; empty: nothing."""
    if trigger.data_change is not None:
        return "the files that are trained on"
    estimated = trigger.estimated_performance
    of_errors = estimated is not None and estimated.metric in REGRESSION
    by_slice = trigger.performance is not None and trigger.performance.by_slice
    return FROZEN_BINS if (rule_of(trigger) or of_errors or by_slice) and not model.bins else ""
