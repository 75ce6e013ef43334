"""The judgements on running rollouts as Prometheus metrics, made when somebody asks.

Comes in: ModelDeployments in the cache. Goes out: gauges by deployment, challenger and measure. Invariants:
only the leader's are told, so that they are not there twice; there are as many as challengers, whatever the
number of deployments, and they end with the rollout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from noria_operator.kube.kinds import MODELDEPLOYMENT
from noria_operator.kube.store import Store

Json = dict[str, Any]
LABELS = ("namespace", "deployment", "challenger", "measure")


class Judgements(Collector):
    """Reads the cache at every scrape."""

    def __init__(self, store: Store, leading: Callable[[], bool]) -> None:
        self._store = store
        self._leading = leading

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The gauges of now."""
        verdicts = GaugeMetricFamily(
            "noria_analysis_verdict",
            "1 for the verdict on each measure of a running rollout: Pass, Fail, Hold or Error.",
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
            status = obj.get("status", {})
            if "candidate" in status:
                meta, first = obj["metadata"], status["candidate"] | {"analysis": status.get("analysis", {})}
                for one in (first, *status.get("others", ())):
                    place = meta["namespace"], meta["name"], one["version"]
                    for measure in one["analysis"].get("measures", ()):
                        yield (*place, measure["name"]), measure
