"""Asks every trigger of a ContinuousTraining what it says now, with what the model servers
counted.

Comes in: the object and what it watches. Goes out: one `Request` a trigger, the manual one first.
Invariant: reads only; servers that do not answer leave a window open, they never close it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from noria_operator.api.continuoustraining import ContinuousTraining
from noria_operator.api.performance import EstimatedPerformance
from noria_operator.api.triggers import DataChange, Performance, TriggerSpec
from noria_operator.controllers.context import Context
from noria_operator.controllers.trainingjob_runs import gather, images
from noria_operator.domain import triggers_estimated as estimated
from noria_operator.domain import triggers_monitoring
from noria_operator.domain.conditions import clip
from noria_operator.domain.drift.dirt import Asked
from noria_operator.domain.performance import Joined
from noria_operator.domain.serving_children import selector
from noria_operator.domain.training_jobs import fingerprint_job, fingerprint_name
from noria_operator.domain.training_times import moment
from noria_operator.domain.triggers import Champion, Request, opened_at
from noria_operator.domain.triggers_age import max_age
from noria_operator.domain.triggers_combine import in_order
from noria_operator.domain.triggers_concept import concept_drift
from noria_operator.domain.triggers_data import Looking, asked_at, data_change
from noria_operator.domain.triggers_hold import Watched
from noria_operator.domain.triggers_monitoring import Traffic, watch
from noria_operator.domain.triggers_performance import Coverage, performance, window_start
from noria_operator.domain.triggers_samples import counted_since, new_samples
from noria_operator.domain.triggers_schedule import schedule
from noria_operator.evidence.server import Totals
from noria_operator.kube.kinds import POD

Json = dict[str, Any]


async def requests(ctx: Context, obj: Json, training: ContinuousTraining, seen: Watched) -> Sequence[Request]:
    """The answers of this pass, in the order in which they are served."""
    entries = {entry["name"]: entry for entry in obj.get("status", {}).get("triggers", [])}
    plain = [trigger for trigger in training.spec.triggers if trigger.combine is None]
    question = _Question(ctx, obj, training, seen, _champion(seen))
    found = [await question.ask(trigger, entries.get(trigger.name, {})) for trigger in plain]
    return in_order(obj, training.spec.triggers, found)


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
        if trigger.performance is not None:
            rule, warmup = trigger.performance, self.training.spec.warmup
            labels, seen, now = await self._labels(rule, entry)
            return performance(
                trigger, rule, entry, champion=champion, labels=labels, now=now, seen=seen, warmup=warmup
            )
        if trigger.schedule is not None:
            # An added or edited trigger counts from now on, those of a new object from its creation on.
            edited = bool(entry) or bool(self.obj.get("status", {}).get("observedGeneration"))
            since = now if edited else moment(self.obj["metadata"]["creationTimestamp"])
            return schedule(trigger, entry, since=since, now=now)
        if trigger.max_age is not None:
            return max_age(trigger, champion, now)
        if trigger.data_change is not None:
            return data_change(trigger, entry, await self._looking(trigger, trigger.data_change, entry), now)
        return await self._counted(trigger, entry)

    async def _counted(self, trigger: TriggerSpec, entry: Json) -> Request:
        """What a trigger says that looks at what model servers count, but for `performance`."""
        now, champion = self.ctx.clock.now(), self.champion
        if trigger.estimated_performance is not None:
            return await self._estimated(trigger, trigger.estimated_performance, entry)
        if trigger.concept_drift is not None:
            totals = await self._totals(opened_at(entry, champion))
            labels = totals.joined(champion.name) if totals and champion else None
            now, warmup = self._end(totals), self.training.spec.warmup
            return concept_drift(trigger, entry, champion=champion, labels=labels, now=now, warmup=warmup)
        if triggers_monitoring.rule_of(trigger) is not None:
            traffic, warmup = await self._traffic(trigger, entry), self.training.spec.warmup
            now = (traffic and traffic.until) or now
            return watch(trigger, entry, champion=champion, traffic=traffic, now=now, warmup=warmup)
        counted, now = await self._joined(counted_since(entry))
        return new_samples(trigger, entry, labels=counted, now=now)

    async def _estimated(self, trigger: TriggerSpec, rule: EstimatedPerformance, entry: Json) -> Request:
        champion = self.champion
        totals = await self._totals(window_start(entry, estimated.as_performance(rule), champion))
        scores = totals.outputs(champion.name) if totals and champion else None
        labels = totals.joined(champion.name, rule.metric) if totals and champion else None
        predicted = await self._predicted(totals, champion.name) if totals and champion else None
        now, warmup = self._end(totals), self.training.spec.warmup
        return estimated.estimated(
            trigger, rule, entry, champion=champion, scores=scores, labels=labels, now=now, warmup=warmup,
            predicted=predicted,
        )  # fmt: skip

    async def _predicted(self, totals: Totals, version: str) -> estimated.Predicted | None:
        """What a regression predicted, with the errors of its reference; None of a classifier, and while
        nobody tells the reference.
        """
        seen, place = totals.predicted(version), self._place
        if totals.task(version) != "regression" or seen is None or place is None:
            return None
        reference = await self.ctx.counts.reference(*place, version=version)
        return estimated.Predicted(seen.bins, reference.errors) if reference else None

    async def _labels(self, rule: Performance, entry: Json) -> tuple[Joined | None, Coverage, datetime]:
        """What was joined for the champion since the open window started (None when there is none or nobody
        answers), how much of its traffic that tells, and until when.
        """
        champion = self.champion
        totals = await self._totals(window_start(entry, rule, champion))
        if totals is None or champion is None:
            return None, Coverage(), self._end(totals)
        predicted = totals.predicted(champion.name)
        joined = totals.joined(champion.name, rule.metric)
        coverage = Coverage(predicted.rows if predicted else 0, totals.median_delay())
        return joined, coverage, self._end(totals)

    async def _joined(self, since: datetime | None) -> tuple[int | None, datetime]:
        """Labels of all versions that were joined since a moment, and until when; None when no server could
        be read.
        """
        place = self._place
        if place is None or since is None:
            return None, self.ctx.clock.now()
        totals = await self.ctx.counts.window(*place, since=since)
        self._explain(place, since)
        return (totals.number("feedback/matched") if totals else None), self._end(totals)

    async def _totals(self, since: datetime | None) -> Totals | None:
        """All that the deployment's pods counted since a window was opened; None before that, and when nobody
        answers.
        """
        place = self._place
        if place is None or since is None or self.ctx.clock.now() < since:
            return None
        found = await self.ctx.counts.complete(*place, since=since)
        self._explain(place, since)
        return found

    def _end(self, totals: Totals | None) -> datetime:
        """Where a window ends that is read now, and so where the next one begins."""
        return (totals and totals.until) or self.ctx.clock.now()

    def _explain(self, place: tuple[str, str, Sequence[Json]], since: datetime) -> None:
        if why := self.ctx.counts.problem(*place[:2], since):
            self.problems.append(why)

    @cached_property
    def _place(self) -> tuple[str, str, Sequence[Json]] | None:
        """Where counters are read: the deployment's namespace and name, and its pods; None without one."""
        if self.seen.deployment is None:
            return None
        meta = self.seen.deployment["metadata"]
        pods = self.ctx.store.list(POD, meta["namespace"], selector(meta["name"], meta["uid"]))
        return meta["namespace"], meta["name"], pods

    async def _traffic(self, trigger: TriggerSpec, entry: Json) -> Traffic | None:
        """What the champion saw since the open window began; None while it is open, when there is none, or
        nobody answers.
        """
        counts, champion, place = self.ctx.counts, self.champion, self._place
        since = triggers_monitoring.window_start(trigger, entry, champion)
        rule = triggers_monitoring.rule_of(trigger)
        now = self.ctx.clock.now()
        if champion is None or since is None or place is None or rule is None or now < since:
            return None
        if now < since + rule.window:
            await counts.keep(*place, since=since)
            return None
        totals = await self._totals(since)
        if totals is None:
            return None
        reference = await counts.reference(*place, version=champion.name)
        groups = totals.groups(champion.name, reference.slices if reference else ())
        task = totals.task(champion.name)
        malformed = totals.number("malformed")
        asked = Asked(totals.number("requests/ok") + malformed, malformed)
        seen = totals.seen(champion.name)
        return Traffic(seen, reference, totals.until, groups=groups, task=task, asked=asked)

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


def _champion(seen: Watched) -> Champion | None:
    """The stable version of the deployment, with the metrics of its acceptance where it was evaluated."""
    status = (seen.deployment or {}).get("status", {})
    name = (status.get("stable") or {}).get("version")
    if not name:
        return None
    version = next((one for one in seen.versions if one["metadata"]["name"] == name), None)
    metrics = ((version or {}).get("spec", {}).get("evaluation") or {}).get("metrics", {})
    made = moment(version["metadata"]["creationTimestamp"]) if version else None
    return Champion(name, dict(metrics), made)
