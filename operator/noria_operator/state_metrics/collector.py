"""The gauges of all objects, made when somebody asks.

In: the cache, whether this process leads, the clock. Out: families for Prometheus. Invariant: only the leader
tells, so that nothing is there twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from noria_operator.kube.kinds import (
    CONTINUOUSTRAINING,
    MODELDEPLOYMENT,
    MODELVERSION,
    TRAININGJOB,
    Key,
)
from noria_operator.kube.store import Store
from noria_operator.state_metrics.deployments import Sample, deployment
from noria_operator.state_metrics.families import FAMILIES
from noria_operator.state_metrics.trainings import model
from noria_operator.state_metrics.triggers import training

Json = dict[str, Any]


class Objects(Collector):
    """Reads the cache at every scrape."""

    def __init__(self, store: Store, leading: Callable[[], bool], now: Callable[[], datetime]) -> None:
        self._store, self._leading, self._now = store, leading, now

    def describe(self) -> list[GaugeMetricFamily]:
        return []

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The gauges of now."""
        made = {family.name: family.gauge() for family in FAMILIES}
        if self._leading():
            for family, labels, value in self._samples():
                made[family.name].add_metric(labels, value)
        return made.values()

    def _samples(self) -> Iterator[Sample]:
        jobs, versions = self._by_model(TRAININGJOB), self._by_model(MODELVERSION)
        named: dict[str, dict[str, Json]] = defaultdict(dict)
        for obj in self._store.list(MODELVERSION):
            named[obj["metadata"]["namespace"]][obj["metadata"]["name"]] = obj
        for obj in self._store.list(MODELDEPLOYMENT):
            yield from deployment(obj, named.get(obj["metadata"]["namespace"], {}))
        for obj in self._store.list(CONTINUOUSTRAINING):
            watched = Key(MODELDEPLOYMENT, obj["metadata"]["namespace"], obj["spec"]["deployment"])
            yield from training(obj, self._store.get(watched), self._now())
        for place in jobs.keys() | versions.keys():
            yield from model(place, jobs.get(place, []), versions.get(place, []))

    def _by_model(self, kind: Any) -> dict[tuple[str, str], list[Json]]:
        found: dict[tuple[str, str], list[Json]] = defaultdict(list)
        for obj in self._store.list(kind):
            found[obj["metadata"]["namespace"], obj["spec"]["model"]].append(obj)
        return found
