"""The gauges of all objects, made when somebody asks.

In: the cache, whether this process leads, the clock. Out: families for Prometheus, or their text. Invariants:
only the leader tells, so that nothing is there twice; an object that cannot be read hides no other one; what
is said of objects that are as they were at the last scrape is not written again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from noria_operator.kube.kinds import (
    CONTINUOUSTRAINING,
    MODELDEPLOYMENT,
    MODELVERSION,
    TRAININGJOB,
    Key,
    Kind,
)
from noria_operator.kube.store import Store
from noria_operator.state_metrics.deployments import Sample, deployment, served
from noria_operator.state_metrics.families import FAMILIES, UNTOLD
from noria_operator.state_metrics.trainings import model
from noria_operator.state_metrics.triggers import budget, training

Json = dict[str, Any]
Whose = tuple[str, str]
"""Kind and uid of an object."""
AT_ONCE: Final = 20
"""Objects that are told in a row: some milliseconds."""
log = logging.getLogger(__name__)


class _Part(NamedTuple):
    """Something to tell: what it is about, everything that it is made of, and how it is made."""

    obj: Json
    name: Hashable
    of: tuple[Any, ...]
    samples: Callable[..., Iterator[Sample]]


@dataclass(frozen=True, slots=True)
class _Written:
    """The lines of a part, by family; `untold`: whose status could not be read to its end."""

    of: tuple[Any, ...]
    lines: Mapping[str, str]
    untold: set[Whose]


class Objects(Collector):
    """Reads the cache at every scrape."""

    def __init__(self, store: Store, leading: Callable[[], bool], now: Callable[[], datetime]) -> None:
        self._store, self._leading, self._now = store, leading, now
        self._written: dict[Hashable, _Written] = {}

    def describe(self) -> list[GaugeMetricFamily]:
        return []

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The gauges of now."""
        made, untold = {family.name: family.gauge() for family in FAMILIES}, set[Whose]()
        for part in self._parts():
            for family, labels, value in _guarded(part, untold):
                made[family.name].add_metric(labels, value)
        for kind, count in _counted(untold):
            made[UNTOLD.name].add_metric([kind], count)
        return made.values()

    async def gathered(self) -> list[str]:
        """The same as text, in parts, with room for other work in between: a thousand objects take a quarter
        of a second the first time.
        """
        text = {family.name: [family.head()] for family in FAMILIES}
        before, now, untold = self._written, dict[Hashable, _Written](), set[Whose]()
        for number, part in enumerate(self._parts()):
            known = before.get(part.name)
            told = now[part.name] = known if known is not None and known.of == part.of else _written(part)
            for name, lines in told.lines.items():
                text[name].append(lines)
            untold |= told.untold
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
        self._written = now
        text[UNTOLD.name] += [UNTOLD.line([kind], count) for kind, count in _counted(untold)]
        return [each for lines in text.values() for each in lines]

    def _parts(self) -> Iterator[_Part]:
        if not self._leading():
            return
        jobs, versions = self._by_model(TRAININGJOB), self._by_model(MODELVERSION)
        for obj in self._store.list(MODELDEPLOYMENT):
            champion = self._store.get(Key(MODELVERSION, obj["metadata"]["namespace"], served(obj)))
            yield _part(obj, deployment, obj, champion)
        loops: dict[tuple[str, str], list[Json]] = defaultdict(list)
        for obj in self._store.list(CONTINUOUSTRAINING):
            namespace, model_name = obj["metadata"]["namespace"], obj["spec"]["template"]["spec"]["model"]
            loops[namespace, model_name].append(obj)
            watched = self._store.get(Key(MODELDEPLOYMENT, namespace, obj["spec"]["deployment"]))
            yield _part(obj, training, obj, watched)
            if "budget" in obj["spec"]:
                yield _part(obj, budget, obj, jobs.get((namespace, model_name), []), self._now())
        for place in jobs.keys() | versions.keys() | loops.keys():
            mine, made, asking = (kept.get(place, []) for kept in (jobs, versions, loops))
            yield _Part((mine or made or asking)[0], place, (place, mine, made, asking), model)

    def _by_model(self, kind: Kind) -> dict[tuple[str, str], list[Json]]:
        found: dict[tuple[str, str], list[Json]] = defaultdict(list)
        for obj in self._store.list(kind):
            found[obj["metadata"]["namespace"], obj["spec"]["model"]].append(obj)
        return found


def _part(obj: Json, samples: Callable[..., Iterator[Sample]], *of: Any) -> _Part:
    return _Part(obj, (samples, obj["metadata"]["uid"]), of, samples)


def _written(part: _Part) -> _Written:
    lines, untold = defaultdict[str, list[str]](list), set[Whose]()
    for family, labels, value in _guarded(part, untold):
        lines[family.name].append(family.line(labels, value))
    return _Written(part.of, {name: "".join(each) for name, each in lines.items()}, untold)


def _counted(untold: Iterable[Whose]) -> list[tuple[str, int]]:
    """By kind."""
    return sorted(Counter(kind for kind, _ in untold).items())


def _guarded(part: _Part, untold: set[Whose]) -> Iterator[Sample]:
    """The samples of one part, up to where it cannot be read."""
    obj = part.obj
    try:
        yield from part.samples(*part.of)
    except (AttributeError, KeyError, TypeError, ValueError):
        meta = obj["metadata"]
        about = {"kind": obj["kind"], "namespace": meta["namespace"], "object": meta["name"]}
        log.exception("An object cannot be told as metrics", extra=about)
        untold.add((obj["kind"], meta["uid"]))
