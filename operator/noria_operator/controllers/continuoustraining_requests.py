"""Asks every trigger of a ContinuousTraining what it says now, with what the model servers
counted.

Comes in: the object and what it watches. Goes out: one `Request` a trigger, the manual one first, and the
windows that all of them wait for. Invariant: reads only; servers that do not answer leave a window open, they
never close it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from noria_operator.api.continuoustraining import ContinuousTraining
from noria_operator.api.triggers import DataChange, TriggerSpec
from noria_operator.controllers.context import Context
from noria_operator.controllers.trainingjob_runs import gather, images
from noria_operator.domain.conditions import clip
from noria_operator.domain.drift.season import Span
from noria_operator.domain.serving_children import selector
from noria_operator.domain.training_jobs import fingerprint_job, fingerprint_name
from noria_operator.domain.training_times import moment
from noria_operator.domain.triggers import Champion, Request, champion_of
from noria_operator.domain.triggers_age import max_age
from noria_operator.domain.triggers_aside import leads_aside
from noria_operator.domain.triggers_combine import in_order
from noria_operator.domain.triggers_copies import copies_itself
from noria_operator.domain.triggers_counted import (
    Evidence,
    closes_at,
    counted,
    counts_since,
    needs_reference,
    past_windows,
)
from noria_operator.domain.triggers_data import Looking, asked_at, data_change
from noria_operator.domain.triggers_hold import Watched
from noria_operator.domain.triggers_monitoring import rule_of
from noria_operator.domain.triggers_runs import GOOD
from noria_operator.domain.triggers_schedule import schedule
from noria_operator.evidence.totals import Totals
from noria_operator.kube.kinds import POD

Json = dict[str, Any]


Place = tuple[str, str, Sequence[Json]]
"""The namespace and name of a deployment, and its pods."""
Windows = tuple[tuple[TriggerSpec, datetime], ...]
"""Triggers, and since when their windows are open."""


async def requests(
    ctx: Context, obj: Json, training: ContinuousTraining, seen: Watched
) -> tuple[Sequence[Request], Windows]:
    """The answers of this pass, in the order in which they are served; and the open windows, where every
    trigger waits for the end of one, or for a date.
    """
    entries = {entry["name"]: entry for entry in obj.get("status", {}).get("triggers", [])}
    plain = [trigger for trigger in training.spec.triggers if trigger.combine is None]
    question = _Question(ctx, obj, training, seen, _champion(seen))
    found = [await question.ask(trigger, entries.get(trigger.name, {})) for trigger in plain]
    waiting = [trigger for trigger in plain if trigger.schedule is None]
    windows = tuple((one, question.open[one.name]) for one in waiting if one.name in question.open)
    answers = in_order(obj, training.spec.triggers, found, seen.theirs)
    return answers, windows if len(windows) == len(waiting) else ()


async def reread(ctx: Context, seen: Watched, windows: Windows) -> bool:
    """Read open windows and judge none. False where that is not enough: their counts cannot be read."""
    place = _place(ctx, seen)
    if place is None:
        return False
    kept = [since for trigger, since in windows if rule_of(trigger) is not None]
    asked = [since for trigger, since in windows if rule_of(trigger) is None]
    await ctx.counts.keep(*place, since=kept, asked=asked)
    return not any(ctx.counts.problem(*place[:2], since) for since in asked)


@dataclass(frozen=True)
class _Question:
    """What every trigger is asked about."""

    ctx: Context
    obj: Json
    training: ContinuousTraining
    seen: Watched
    champion: Champion | None
    problems: list[str] = field(default_factory=list)
    """Why counts that the trigger looks at cannot be read."""
    open: dict[str, datetime] = field(default_factory=dict)
    """Since when windows are open that stay so for some time, whatever is counted, by trigger."""

    async def ask(self, trigger: TriggerSpec, entry: Json) -> Request:
        """What one trigger says; `entry` is what it said last. Where its counts cannot be read, that stands
        and the entry says why.
        """
        self.problems.clear()
        found = await self._asked(trigger, entry)
        said = {name: value for name, value in found.entry.items() if name != "problem"}
        return replace(found, entry=said | ({"problem": clip(self.problems[0])} if self.problems else {}))

    async def _asked(self, trigger: TriggerSpec, entry: Json) -> Request:
        now, champion = self.ctx.clock.now(), self.champion
        if trigger.schedule is not None:
            # An added or edited trigger counts from now on, those of a new object from its creation on.
            edited = bool(entry) or bool(self.obj.get("status", {}).get("observedGeneration"))
            since = now if edited else moment(self.obj["metadata"]["creationTimestamp"])
            grace = self.seen.gap.grace(now) if self.seen.gap else timedelta()
            return schedule(trigger, entry, since=since, now=now, grace=grace)
        if trigger.max_age is not None:
            return max_age(trigger, champion, now)
        if trigger.data_change is not None:
            return data_change(trigger, entry, await self._looking(trigger, trigger.data_change, entry), now)
        return await self._counted(trigger, entry)

    async def _counted(self, trigger: TriggerSpec, entry: Json) -> Request:
        """What a trigger says that looks at what model servers count."""
        champion, warmup = self.champion, self.training.spec.warmup
        since = counts_since(trigger, entry, champion)
        totals = await self._window(trigger, since)
        # A window that is read now ends there, and so the next one begins there.
        now = (totals and totals.until) or self.ctx.clock.now()
        if since is not None and self._stays_open(trigger, since, totals, now):
            self.open[trigger.name] = since
        earlier, remembers = None, self.ctx.counts.remembers
        if totals and since and (spans := past_windows(trigger, totals, champion, since, now)) and remembers:
            earlier = await self._earlier(trigger, spans)
            totals = None if earlier is None else totals  # nothing is decided before they are known
        reference = None
        if totals and champion and self._place and needs_reference(trigger):
            reference = await self.ctx.counts.reference(*self._place, version=champion.name)
        whole = totals is None or totals.whole
        theirs, deployment = self.seen.theirs, self.seen.deployment
        aside, copied = leads_aside(deployment), copies_itself(deployment)
        elsewhere = str(theirs["at"]) if theirs.get("result") in GOOD else ""
        seen = Evidence(totals, reference, earlier, whole, self.seen.gap, aside, copied, elsewhere)
        return counted(trigger, entry, champion=champion, evidence=seen, now=now, warmup=warmup)

    def _stays_open(
        self, trigger: TriggerSpec, since: datetime, totals: Totals | None, now: datetime
    ) -> bool:
        """Whether nothing can be said of a window before its end, now that it is known what is counted."""
        closes, known = closes_at(trigger, since), totals is not None or rule_of(trigger) is not None
        return closes is not None and since <= now < closes and known and not self.problems

    async def _window(self, trigger: TriggerSpec, since: datetime | None) -> Totals | None:
        """What counts into the open window of a trigger; None where nobody can tell, or needs to yet."""
        counts, place, rule, now = self.ctx.counts, self._place, rule_of(trigger), self.ctx.clock.now()
        if place is None or since is None or now < since:
            return None
        if rule is not None and now < since + rule.window:
            await counts.keep(*place, since=[since])
            return None
        found = await counts.complete(*place, since=since)
        if why := counts.problem(*place[:2], since):
            self.problems.append(why)
        return found

    async def _earlier(self, trigger: TriggerSpec, spans: Sequence[Span]) -> Sequence[Totals] | None:
        """What was counted in these windows; None until that is known."""
        counts, place = self.ctx.counts, self._place
        if place is None:
            return None
        asker = f"{self.obj['metadata']['uid']}/{trigger.name}"
        told = await counts.earlier(*place[:2], windows=spans, asker=asker)
        if told.problem:
            self.problems.append(told.problem)
        return told.found

    @cached_property
    def _place(self) -> Place | None:
        return _place(self.ctx, self.seen)

    async def _looking(self, trigger: TriggerSpec, rule: DataChange, entry: Json) -> Looking:
        meta, spec = self.obj["metadata"], self.training.spec.template.spec
        source = next(one for one in spec.data if one.name == rule.data)
        shown = images(self.ctx, meta["namespace"])

        def name(at: str) -> str:
            return fingerprint_name(meta["name"], meta["uid"], trigger.name, at)

        def job(at: str) -> Json:
            return fingerprint_job(self.obj, spec, source, shown, name=name(at), dvc_file=rule.dvc_file)

        at = asked_at(entry)
        return Looking(await gather(self.ctx, self.obj, name(at)) if at else None, job)


def _place(ctx: Context, seen: Watched) -> Place | None:
    """Where counters are read; None without a deployment."""
    if seen.deployment is None:
        return None
    meta = seen.deployment["metadata"]
    pods = ctx.store.list(POD, meta["namespace"], selector(meta["name"], meta["uid"]))
    return meta["namespace"], meta["name"], pods


def _champion(seen: Watched) -> Champion | None:
    """The stable version of the deployment, with the metrics of its acceptance where it was evaluated."""
    status = (seen.deployment or {}).get("status", {})
    name = (status.get("stable") or {}).get("version")
    if not name:
        return None
    version = next((one for one in seen.versions if one["metadata"]["name"] == name), None)
    return champion_of(name, version)
