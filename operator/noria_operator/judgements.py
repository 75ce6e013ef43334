"""The judgements on rollouts as Prometheus metrics, made when somebody asks.

Comes in: ModelDeployments in the cache. Goes out: gauges by deployment, challenger and measure. Invariants:
only the leader's are told, so that they are not there twice; there are as many as challengers, whatever the
number of deployments, and they end a while after the rollout: what ended it is seen by whoever looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from noria_operator.domain.training_times import moment
from noria_operator.kube.kinds import MODELDEPLOYMENT
from noria_operator.kube.store import Store

Json = dict[str, Any]
KEPT = timedelta(minutes=10)
"""How long the last judgement on a version is told after it was decided upon."""
LABELS = ("namespace", "deployment", "challenger", "measure")


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
        for place, measure in self._measures():
            verdicts.add_metric([*place, measure["verdict"]], 1)
            for name, value in measure.get("figures", {}).items():
                figures.add_metric([*place, name], float(value))
        return (verdicts, figures)

    def _measures(self) -> Iterator[tuple[tuple[str, str, str, str], Json]]:
        if not self._leading():
            return
        for obj in self._store.list(MODELDEPLOYMENT):
            status, meta = obj.get("status", {}), obj["metadata"]
            fresh = [one for one in status.get("decisions", ()) if self._now() - moment(one["at"]) < KEPT]
            found = {one["version"]: one["evidence"] for one in fresh}
            if "candidate" in status:
                found[status["candidate"]["version"]] = status.get("analysis", {})
                found |= {one["version"]: one["analysis"] for one in status.get("others", ())}
            for version, analysis in found.items():
                for measure in analysis.get("measures", ()):
                    yield (meta["namespace"], meta["name"], version, measure["name"]), measure
