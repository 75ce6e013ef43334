"""What the model servers counted of champion and challenger since the analysis began, and what both answered
to the same requests.

Comes in: a ModelDeployment and its state. Goes out: counts of both versions and pairs of their answers, for
measures that need them. Invariants: nothing here waits for a model server; counts are read of pods of every
revision, since any of them takes feedback for any version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from noria_operator.api.modeldeployment import ModelDeployment
from noria_operator.controllers.context import Context
from noria_operator.domain import predictions, quality_drop
from noria_operator.domain.analysis import Counted, Stretch
from noria_operator.domain.classes import Classes
from noria_operator.domain.disagreement import Paired
from noria_operator.domain.measures import doubted
from noria_operator.domain.quality import Labels
from noria_operator.domain.rollout_policy import Policy
from noria_operator.domain.rollout_state import State
from noria_operator.domain.serving_children import revision_selector, selector
from noria_operator.domain.stretches import stretches
from noria_operator.evidence.growth import Growth
from noria_operator.evidence.pairs import Servers
from noria_operator.evidence.totals import Totals
from noria_operator.kube.kinds import POD
from noria_serving.contract import NO_PROBABILITIES, OF_PROBABILITIES


def counted(ctx: Context, deployment: ModelDeployment, policy: Policy, state: State) -> Counted | None:
    """The counts; None where no measure asks for them, and before they were read for the first time."""
    analysis, asked = state.analysis, policy.quality is not None or policy.max_distance is not None
    if not asked or analysis is None or analysis.since is None:
        return None
    if state.stable is None or state.candidate is None:
        return None
    # What a version predicted before it was compared is labelled for the champion alone: with a delay as
    # long as labels take, those that count are of predictions of the same time.
    quality = policy.quality
    delay = quality.initial_delay if quality else timedelta()
    compared = stretches(analysis, delay)
    now = max([ctx.clock.now(), *(one.began for one in compared)])
    versions = (state.stable.version, state.candidate.target.version, quality.metric if quality else "")
    asked_of = {analysis.since, analysis.since + delay}.union(*(one.moments for one in compared))
    read = _read(ctx, deployment, asked_of, now)
    if read is None:
        return None
    if not read:
        return Counted(readable=False)
    counts = _Counts(read, *versions)
    later: dict[str, Counted] = {}
    for measure in (quality_drop.MEASURE, predictions.MEASURE):
        since = doubted(policy, analysis, measure)
        if since is None or since > now:
            continue
        parts = [one.since(since) for one in compared if one.ended is None or one.ended > since]
        # Asked by itself: while it is not known yet, what came in all is.
        came = _read(ctx, deployment, {since}.union(*(one.moments for one in parts)), now)
        if came:
            again = _Counts(came, *versions)
            later[measure] = Counted(stretches={one: again.of(one) for one in parts})
    return replace(
        counts.of(Stretch(analysis.since, analysis.since + delay)),
        delay=read[analysis.since].longest_delay(),
        stretches={one: counts.of(one) for one in compared},
        later=later,
    )


@dataclass(frozen=True, slots=True)
class _Counts:
    """What was counted since each moment, and whose of it is compared by which metric."""

    read: Mapping[datetime, Totals]
    champion: str
    challenger: str
    metric: str

    def of(self, stretch: Stretch) -> Counted:
        """What was counted in it."""
        predicted = self._between(stretch.began, stretch.ended)
        champion, one_why = self._labels(self.champion, stretch)
        challenger, other_why = self._labels(self.challenger, stretch)
        return Counted(
            champion=champion,
            challenger=challenger,
            unsuitable=one_why or other_why,
            champion_outputs=predicted.outputs(self.champion),
            challenger_outputs=predicted.outputs(self.challenger),
            champion_called=predicted.called(self.champion),
            challenger_called=predicted.called(self.challenger),
        )

    def _labels(self, version: str, stretch: Stretch) -> tuple[Labels, str]:
        if stretch.labelled is None or stretch.labelled not in self.read:
            return Labels.none(), ""
        return _labels(self._between(stretch.labelled, stretch.ended), version, self.metric)

    def _between(self, began: datetime, ended: datetime | None) -> Totals:
        found = self.read[began]
        if ended is None:
            return found
        return replace(found, counts=Growth([(found.counts, self.read[ended].counts)]))


def _labels(totals: Totals, version: str, metric: str) -> tuple[Labels, str]:
    """Labels that the metric is taken of, none before it is asked for; and why the version cannot be compared
    by it, empty where it can.
    """
    joined = totals.joined(version) if metric else Labels.none()
    if isinstance(joined, Labels):
        wrong = not joined.scored and metric in OF_PROBABILITIES
        return joined, f"{version} {NO_PROBABILITIES}, of which {metric} is; use accuracy" if wrong else ""
    if isinstance(joined, Classes):
        found, use = joined.as_labels(), "accuracy"
    else:
        found, use = Labels.none(), "predictions and a query"
    if metric == use:
        return found, ""
    kind = totals.task(version)
    return found, f"{version} predicts {kind}, of which {metric} cannot be told from counts; use {use}"


def paired(ctx: Context, deployment: ModelDeployment, policy: Policy, state: State) -> Paired | None:
    """Answers of both to the same requests, read while the challenger gets copies; None where nobody asks,
    and before the first reading.
    """
    analysis, asked, meta = state.analysis, policy.disagreement, deployment.metadata
    if asked is None or analysis is None or analysis.since is None:
        return None
    if state.stable is None or state.candidate is None:
        return None
    champion, challenger = state.stable, state.candidate.target
    place = (meta.namespace, meta.name, champion.name, challenger.name, analysis.since.timestamp())
    if state.reach.mirror:
        pods = (
            ctx.store.list(POD, meta.namespace, revision_selector(meta.name, meta.uid, one))
            for one in (champion, challenger)
        )
        every = ctx.config.counters_interval
        ctx.pairs.read(place, Servers(*pods), tolerance=asked.tolerance, every=every)
    return ctx.pairs.latest(place)


def _read(
    ctx: Context, deployment: ModelDeployment, asked_of: Iterable[datetime], now: datetime
) -> dict[datetime, Totals] | None:
    """What came since each moment up to now; None before it was read for the first time, empty where pods
    cannot be read.
    """
    moments = sorted(moment for moment in asked_of if moment <= now)
    look = _look(ctx, deployment, moments)
    if look is None:
        return None
    read = {moment: one for moment, one in zip(moments, look, strict=True) if one is not None}
    return read if len(read) == len(moments) else {}


def _look(
    ctx: Context, deployment: ModelDeployment, since: Sequence[datetime]
) -> tuple[Totals | None, ...] | None:
    meta = deployment.metadata
    pods = ctx.store.list(POD, meta.namespace, selector(meta.name, meta.uid))
    every = ctx.config.counters_interval
    return ctx.servers.latest(meta.namespace, meta.name, pods, since=since, every=every)
