"""The gauges of all objects, made when somebody asks.

In: the cache, whether this process leads, the clock. Out: families for Prometheus. Invariants: only the
leader tells, so that nothing is there twice; an object that cannot be read hides no other one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

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
from noria_operator.state_metrics.families import FAMILIES, UNTOLD
from noria_operator.state_metrics.trainings import model
from noria_operator.state_metrics.triggers import training

Json = dict[str, Any]
AT_ONCE: Final = 20
"""Objects that are told in a row: some milliseconds."""
log = logging.getLogger(__name__)


def _empty() -> dict[str, GaugeMetricFamily]:
    return {family.name: family.gauge() for family in FAMILIES}


class Objects(Collector):
    """Reads the cache at every scrape."""

    def __init__(self, store: Store, leading: Callable[[], bool], now: Callable[[], datetime]) -> None:
        self._store, self._leading, self._now = store, leading, now

    def describe(self) -> list[GaugeMetricFamily]:
        return []

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The gauges of now."""
        made = _empty()
        for _ in self._filled(made):
            pass
        return made.values()

    async def gathered(self) -> list[GaugeMetricFamily]:
        """The same, with room for other work in between: a thousand objects take a quarter of a second."""
        made = _empty()
        for number, _ in enumerate(self._filled(made)):
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
        return list(made.values())

    def _filled(self, made: Mapping[str, GaugeMetricFamily]) -> Iterator[None]:
        """Fill the gauges, object by object."""
        if not self._leading():
            return
        untold: Counter[str] = Counter()
        for obj, samples in self._told():
            for family, labels, value in _guarded(obj, samples, untold):
                made[family.name].add_metric(labels, value)
            yield
        for kind, count in untold.items():
            made[UNTOLD.name].add_metric([kind], count)

    def _told(self) -> Iterator[tuple[Json, Iterator[Sample]]]:
        jobs, versions = self._by_model(TRAININGJOB), self._by_model(MODELVERSION)
        named: dict[str, dict[str, Json]] = defaultdict(dict)
        for obj in self._store.list(MODELVERSION):
            named[obj["metadata"]["namespace"]][obj["metadata"]["name"]] = obj
        for obj in self._store.list(MODELDEPLOYMENT):
            known = named.get(obj["metadata"]["namespace"], {})
            yield obj, deployment(obj, known)
        loops: dict[tuple[str, str], list[Json]] = defaultdict(list)
        for obj in self._store.list(CONTINUOUSTRAINING):
            namespace, model_name = obj["metadata"]["namespace"], obj["spec"]["template"]["spec"]["model"]
            loops[namespace, model_name].append(obj)
            watched = self._store.get(Key(MODELDEPLOYMENT, namespace, obj["spec"]["deployment"]))
            yield obj, training(obj, watched, jobs.get((namespace, model_name), []), self._now())
        for place in jobs.keys() | versions.keys() | loops.keys():
            mine, made, asking = (kept.get(place, []) for kept in (jobs, versions, loops))
            one = (mine or made or asking)[0]
            yield one, model(place, mine, made, asking)

    def _by_model(self, kind: Any) -> dict[tuple[str, str], list[Json]]:
        found: dict[tuple[str, str], list[Json]] = defaultdict(list)
        for obj in self._store.list(kind):
            found[obj["metadata"]["namespace"], obj["spec"]["model"]].append(obj)
        return found


def _guarded(obj: Json, samples: Iterator[Sample], untold: Counter[str]) -> Iterator[Sample]:
    """The samples of one object, up to where it cannot be read."""
    try:
        yield from samples
    except (AttributeError, KeyError, TypeError, ValueError):
        meta = obj["metadata"]
        about = {"kind": obj["kind"], "namespace": meta["namespace"], "object": meta["name"]}
        log.exception("An object cannot be told as metrics", extra=about)
        untold[obj["kind"]] += 1
