"""What holds a run that a trigger asks for.

Comes in: the object, what it watches, its runs, this pass's requests. Goes out: for each request the reason
to wait, or nothing. Invariants: a person waits for neither cooldown, circuit nor a trigger that blocks, but
for everything else; what holds all runs is told before what holds one; what is under way is neither replaced
nor followed by a run for what it may answer itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from noria_operator.api.continuoustraining import ContinuousTraining
from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.budget import Block, Limits, Past, blocked, grown, next_eligible
from noria_operator.domain.training_status import is_finished
from noria_operator.domain.training_times import moment, stamp
from noria_operator.domain.triggers import FOLLOW_UP, LOSSES, MANUAL, Request
from noria_operator.domain.triggers_gap import Gap
from noria_operator.domain.triggers_rollout import rolling_out
from noria_operator.domain.triggers_runs import NOTHING
from noria_operator.domain.triggers_template import unusable

Json = dict[str, Any]

_OF_THE_CHAMPION: Final = LOSSES | {"Drift", "DataQuality", "Fairness"}
"""Kinds of triggers that see how the champion does."""
OF_THE_LOOP: Final = frozenset({"Schedule", "DataChange", FOLLOW_UP, MANUAL})
"""Reasons for a run that another loop's run is no answer to."""


@dataclass(frozen=True)
class Watched:
    """Everything that the decision looks at besides the triggers: own TrainingJobs, the deployment, its
    versions, names of unfinished TrainingJobs of the model that others made (people, other loops), when
    nobody looked, the newest run of other loops of the deployment, as their status has it, and when the one
    before it began that did not come to nothing.
    """

    jobs: Sequence[Json] = ()
    deployment: Json | None = None
    versions: Sequence[Json] = ()
    others: Sequence[str] = ()
    gap: Gap | None = None
    theirs: Json = field(default_factory=dict)
    preceded: str = ""

    @property
    def live(self) -> list[str]:
        """TrainingJobs that are not finished."""
        return [job["metadata"]["name"] for job in self.jobs if not is_finished(job.get("status", {}))]


@dataclass(frozen=True)
class Hold:
    """Why a run has to wait, and until when, where that is known."""

    block: Block
    why: str
    until: datetime | None = None


@dataclass(frozen=True)
class Gate:
    """`common` holds every run; the rest is asked of each request. `under_way` holds those that it may yet
    answer: `lasting` ones, and those that are named in `answering`. `theirs` is another loop's run from which
    a cooldown runs.
    """

    common: Hold | None
    under_way: Hold | None
    answering: frozenset[str]
    limits: Limits
    pasts: Sequence[Past]
    failures: int
    stop_after: int
    blocking: str
    now: datetime
    theirs: Json = field(default_factory=dict)

    def stop(self, request: Request) -> Hold | None:
        """What holds the run that this request asks for."""
        return self.common or self.own(request)

    def own(self, request: Request) -> Hold | None:
        """What holds it but for that which holds every run."""
        if self.under_way and (request.lasting or request.name in self.answering):
            return self.under_way
        by_hand = request.reason == MANUAL
        if not by_hand and self.blocking:
            return Hold(Block.TRIGGER, self.blocking)
        if not by_hand and 0 < self.stop_after <= self.failures:
            text = (
                f"{self.failures} runs in a row failed, were refused or rolled back; find out why, then ask "
                "with the annotation noria.dev/retrain, or change the spec"
            )
            return Hold(Block.CIRCUIT, text)
        # Cooldown is for triggers; a person who asks does not wait for it. The budget is for all.
        limit = blocked(self.limits, self.pasts, self.now, cooldown=not by_hand)
        if limit:
            until = next_eligible(self.limits, self.pasts, self.now, cooldown=not by_hand)
            return Hold(limit, f"until {stamp(until)}", until)
        if request.own_affair or request.reason in OF_THE_LOOP or self._rested <= self.now:
            return None
        text = f"until {stamp(self._rested)}, after {self.theirs['trainingJob']} of another loop"
        return Hold(Block.COOLDOWN, text)

    @property
    def eligible(self) -> datetime:
        """When neither cooldown nor budget holds a run."""
        return max(self._rested, next_eligible(self.limits, self.pasts, self.now))

    @property
    def _rested(self) -> datetime:
        """When the cooldown after the run of another loop is over."""
        return moment(self.theirs["at"]) + self.limits.cooldown if self.theirs else self.now

    def overall(self) -> Hold | None:
        """What holds a run of any trigger, for the object's own status."""
        return self.stop(Request({}, ""))


def common(obj: Json, training: ContinuousTraining, seen: Watched) -> Hold | None:
    """What holds every run whatever asks for it, and the sentence for it."""
    if wrong := unusable(obj, seen.deployment):
        return Hold(Block.INVALID, wrong)
    if training.spec.suspend:
        return Hold(Block.SUSPENDED, "spec.suspend is true")
    on_the_way = under_way(obj, seen)
    if seen.live:
        return on_the_way
    if other := elsewhere(training, seen):
        return other
    return None if training.spec.concurrency_policy == "Replace" else on_the_way


def under_way(obj: Json, seen: Watched) -> Hold | None:
    """What may bring another champion soon: a run, or the version of the last one, this loop's or another's
    of the deployment.
    """
    live = [*seen.live, *(name for name in seen.others if name == seen.theirs.get("trainingJob"))]
    if live:
        return Hold(Block.CONCURRENCY, f"TrainingJob {live[0]} is not finished")
    last: Json = obj.get("status", {}).get("lastTrigger") or {}
    for run in (last, seen.theirs):
        if text := rolling_out(run.get("trainingJob", ""), seen.deployment, seen.versions):
            return Hold(Block.CONCURRENCY, text)
    return None


def answering(requests: Sequence[Request], runs: Sequence[Json], theirs: Json) -> frozenset[str]:
    """Names of the requests that the last run was started for, or whose loss was known when it began, or when
    that of another loop did: windows go on to show it until its version is served, and a combination with one
    of them goes on to ask.
    """
    last: Json = runs[-1] if runs else {}
    begun = max(last.get("at", ""), theirs.get("at", ""))
    asked = {name for one in requests if one.name == last.get("trigger") for name in (one.name, *one.members)}
    known = {
        one.name
        for one in requests
        if one.reason in _OF_THE_CHAMPION and (one.name in asked or "" < one.entry.get("since", "") <= begun)
    }
    return frozenset(known.union(one.name for one in requests if known.intersection(one.members)))


def newest(runs: Sequence[Json]) -> tuple[Json, str]:
    """The newest run, and when the one before it began that did not come to nothing."""
    if not runs:
        return {}, ""
    *before, last = sorted(runs, key=lambda run: str(run["at"]))
    return last, max((str(run["at"]) for run in before if run.get("result") not in NOTHING), default="")


def resting(training: ContinuousTraining, seen: Watched, cooldown: timedelta) -> Json:
    """The run of another loop from which a cooldown runs; none where no trigger waits for that, and none that
    came to nothing. Nor one that began within two cooldowns of the one before: so nothing waits longer than
    one, however often the others run, and may go ahead for as long as it may have to wait.
    """
    triggers, run = training.spec.triggers, seen.theirs
    kinds = {one.name: one.reason for one in triggers}
    waits = any(one.effect == "Retrain" and _may_be_answered(one, kinds) for one in triggers)
    if not waits or not run or run.get("result") in NOTHING:
        return {}
    apart = not seen.preceded or moment(seen.preceded) + 2 * cooldown <= moment(run["at"])
    return run if apart else {}


def _may_be_answered(trigger: TriggerSpec, kinds: Mapping[str, str]) -> bool:
    """Whether it may ask for what another loop's run answers; `kinds` of all triggers by name."""
    if trigger.combine is None:
        return trigger.reason not in OF_THE_LOOP
    of = trigger.combine.of
    return sum(kinds[name] not in OF_THE_LOOP for name in of) >= (trigger.combine.at_least or len(of))


def shown_before(request: Request, theirs: Json) -> bool:
    """Whether all that it goes by was known when another loop's run began that did not come to nothing."""
    ended = str(request.entry.get("windowEndedAt") or "")
    return "" < ended <= theirs.get("at", "") and not request.back and theirs.get("result") not in NOTHING


def answered_elsewhere(request: Request, theirs: Json) -> Request:
    """The request; where all that it goes by was known when another loop's run began, that run is its answer,
    as an own one would be, unless it came to nothing.
    """
    if not (request.wanted and request.answered_by == "Wanted" and shown_before(request, theirs)):
        return request
    text = f"answered by {theirs['trainingJob']} of another loop"
    told = {"decision": "Wait", "message": text}
    return Request(request.entry | told | request.answer, request.reason, due=request.due)


def elsewhere(training: ContinuousTraining, seen: Watched) -> Hold | None:
    """A run of the model that this loop did not start: it waits for it, and never ends it."""
    if not seen.others:
        return None
    text = f"TrainingJob {seen.others[0]} of {training.spec.template.spec.model} is not finished"
    return Hold(Block.CONCURRENCY, f"{text}; this loop did not start it")


def limits(training: ContinuousTraining, failures: int) -> Limits:
    """Cooldown and budget of the spec; failures in a row make the cooldown longer."""
    cooldown, budget = grown(training.spec.cooldown, failures), training.spec.budget
    if budget is None:
        return Limits(cooldown)
    cpu, gpu = budget.max_cpu_hours, budget.max_gpu_hours
    return Limits(
        cooldown,
        budget.max_runs,
        budget.per,
        max_cpu_hours=None if cpu is None else float(cpu),
        max_gpu_hours=None if gpu is None else float(gpu),
    )


def blocking(training: ContinuousTraining, requests: Sequence[Request]) -> str:
    """The sentence of the first trigger with action Block that fires; empty when none does."""
    actions = {trigger.name: trigger.effect for trigger in training.spec.triggers}
    for one in requests:
        if one.wanted and actions.get(one.name) == "Block":
            return f"trigger {one.name} blocks: {reason_of(one)}"
    return ""


def reason_of(request: Request) -> str:
    """Why a request asks, in one sentence."""
    said = str(request.entry.get("message") or "").partition("; held by")[0]
    return request.says or said or "a run was asked for"
