"""The judgements on rollouts as Prometheus metrics, made when somebody asks.

Comes in: ModelDeployments in the cache. Goes out: gauges by deployment, challenger and measure. Invariants:
only the leader's are told, so that they are not there twice; there are as many as challengers, whatever the
number of deployments, and they end a while after the rollout: what ended it is seen by whoever looks; an
object that cannot be read hides no other one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from noria_operator.domain.training_times import moment
from noria_operator.kube.kinds import MODELDEPLOYMENT
from noria_operator.kube.store import Store

Json = dict[str, Any]
KEPT = timedelta(minutes=10)
"""How long the last judgement on a version is told after it was decided upon."""
LABELS = ("namespace", "deployment", "challenger", "measure")
log = logging.getLogger(__name__)


class _Told(NamedTuple):
    """A measure: the values of LABELS, its verdict and its figures."""

    place: tuple[str, str, str, str]
    verdict: str
    figures: dict[str, float]


class Judgements(Collector):
    """Reads the cache at every scrape."""

    def __init__(self, store: Store, leading: Callable[[], bool], now: Callable[[], datetime]) -> None:
        self._store = store
        self._leading = leading
        self._now = now

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The gauges of now."""
        verdicts = GaugeMetricFamily(
            "noria_analysis_verdict",
            "1 for the verdict on each measure of a rollout, and for ten minutes after it: Pass, Fail, Hold "
            "or Error.",
            labels=(*LABELS, "verdict"),
        )
        figures = GaugeMetricFamily(
            "noria_analysis_figure",
            "What a measure is decided by, by the name it has in status.analysis.measures[].figures.",
            labels=(*LABELS, "figure"),
        )
        for told in self._measures():
            verdicts.add_metric([*told.place, told.verdict], 1)
            for name, value in told.figures.items():
                figures.add_metric([*told.place, name], value)
        return (verdicts, figures)

    def _measures(self) -> Iterator[_Told]:
        if not self._leading():
            return
        for obj in self._store.list(MODELDEPLOYMENT):
            try:
                yield from list(_of(obj, self._now()))
            except (AttributeError, KeyError, TypeError, ValueError):
                meta = obj["metadata"]
                about = {"kind": obj["kind"], "namespace": meta["namespace"], "object": meta["name"]}
                log.exception("An object cannot be told as metrics", extra=about)


def _of(obj: Json, now: datetime) -> Iterator[_Told]:
    status, meta = obj.get("status", {}), obj["metadata"]
    fresh = [one for one in status.get("decisions", ()) if now - moment(one["at"]) < KEPT]
    found = {one["version"]: one["evidence"] for one in fresh}
    if "candidate" in status:
        found[status["candidate"]["version"]] = status.get("analysis", {})
        found |= {one["version"]: one.get("analysis", {}) for one in status.get("others", ())}
    for version, analysis in found.items():
        for measure in analysis.get("measures", ()):
            place = (meta["namespace"], meta["name"], version, measure["name"])
            figures = {name: float(value) for name, value in measure.get("figures", {}).items()}
            yield _Told(place, measure["verdict"], figures)
