"""Requests and errors of every version, and the weights in force, as the routers tell them.

Comes in: the router pods of a namespace. Goes out: counts that only grow, by pod and revision; `router_stats`
says what is an error. Invariant: a pod that cannot be read is left out, never counted as zero.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any
from urllib.parse import quote

from noria_operator.api import names
from noria_operator.domain.access import Told
from noria_operator.domain.latency import Histogram
from noria_operator.domain.rollout_observed import InForce
from noria_operator.domain.verdict import Counts
from noria_operator.evidence.fetch import Fetcher, address
from noria_operator.evidence.router_stats import ACTIVE, COUNTED, TIME, counted, pattern, timed, waiting
from noria_operator.recent import Recent
from noria_operator.tasks import Turns

Json = dict[str, Any]

_SLACK = 64
"""Requests by which a reading may lie below the one before without meaning a restart."""
FRESH = 0.5
"""Seconds for which an answer stands; routers are read every second."""
MANY = 20
"""Clusters that are asked for by name."""
REMEMBERED = 5.0
"""Seconds for which a cluster that was asked for is read together with others."""
MAX_PODS = 4096
"""Router pods whose last counts are kept in memory."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the routers of a namespace told, and when; `asked` says when each cluster was asked for."""

    at: float
    pods: frozenset[str]
    asked: Mapping[str, float]
    counts: Mapping[str, Mapping[str, Counts]]

    def answers(self, pods: frozenset[str], clusters: Collection[str]) -> bool:
        """Whether it was the same question, or a larger one."""
        return self.pods == pods and self.asked.keys() >= set(clusters)


class RouterReader:
    """Reads router pods."""

    def __init__(
        self,
        fetcher: Fetcher | None = None,
        *,
        stats_port: int = names.ROUTER_STATS_PORT,
        traffic_port: int = names.ROUTER_TRAFFIC_PORT,
        fresh: float = 0.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._fetcher = fetcher or Fetcher()
        self._stats_port, self._traffic_port = stats_port, traffic_port
        self._known = Recent[str, dict[str, Counts]](MAX_PODS)
        self._fresh, self._clock = fresh, clock
        self._latest: dict[str, _Reading] = {}
        self._turns = Turns()

    async def close(self) -> None:
        """Close all connections."""
        await self._fetcher.close()

    async def counts(
        self, namespace: str, pods: Iterable[Json], clusters: Collection[str] | None = None
    ) -> dict[str, dict[str, Counts]]:
        """Cumulative counts by uid of each pod that could be read, and cluster (of all, or of `clusters`).

        Envoy walks through all of its statistics for each question, on the thread that also takes its
        configuration: one that was answered less than `fresh` seconds ago is answered from memory, and who
        asks meanwhile waits for that answer. What others asked for lately is asked for again with it.
        """
        read = [pod for pod in pods if pod["metadata"]["namespace"] == namespace]
        if clusters is None:
            return await self._counted(read, None)
        uids = frozenset(pod["metadata"]["uid"] for pod in read)
        async with self._turns(namespace):
            now = self._clock()
            latest = self._latest.get(namespace)
            if latest is None or now - latest.at >= self._fresh or not latest.answers(uids, clusters):
                before = latest.asked.items() if latest else ()
                asked = {name: at for name, at in before if now - at < REMEMBERED}
                asked |= dict.fromkeys(clusters, now)
                latest = _Reading(now, uids, asked, await self._counted(read, asked.keys()))
                kept = {name: one for name, one in self._latest.items() if now - one.at < REMEMBERED}
                self._latest = kept | {namespace: latest}
            return {uid: {name: each[name] for name in clusters} for uid, each in latest.counts.items()}

    async def _counted(
        self, pods: Sequence[Json], clusters: Collection[str] | None
    ) -> dict[str, dict[str, Counts]]:
        # With many clusters it is cheaper for the router to tell of all that were ever used.
        few = clusters is None or len(clusters) <= MANY
        filter_ = quote(pattern(clusters if few else None, COUNTED), safe="")
        query = f"/stats?format=json{'' if few else '&usedonly'}&filter={filter_}"
        bodies = await asyncio.gather(*(self._stats(pod, query) for pod in pods))
        found = {pod["metadata"]["uid"]: counted(body) for pod, body in zip(pods, bodies, strict=True)}
        nothing = dict.fromkeys(clusters or (), Counts())
        return {uid: self._steady(uid, nothing | each) for uid, each in found.items() if each is not None}

    async def active(
        self, namespace: str, pods: Iterable[Json], clusters: Collection[str]
    ) -> dict[str, int] | None:
        """Requests by cluster that these routers wait for just now; None when one of them could not be
        read.
        """
        told = await self._waiting(namespace, pods, pattern(clusters, ACTIVE, beside=True))
        return None if None in told else _summed(told, clusters)

    async def under_way(
        self, namespace: str, pods: Iterable[Json], clusters: Collection[str]
    ) -> dict[str, int]:
        """As `active`, of what weights divide alone, at those of these routers that could be read: each
        divides alike.
        """
        return _summed(await self._waiting(namespace, pods, pattern(clusters, ACTIVE)), clusters)

    async def _waiting(
        self, namespace: str, pods: Iterable[Json], filter_: str
    ) -> list[dict[str, int] | None]:
        read = [pod for pod in pods if pod["metadata"]["namespace"] == namespace]
        query = f"/stats?format=json&filter={quote(filter_, safe='')}"
        return [waiting(body) for body in await asyncio.gather(*(self._stats(pod, query) for pod in read))]

    async def timings(
        self, namespace: str, pods: Iterable[Json], clusters: Collection[str]
    ) -> dict[str, dict[str, Histogram]]:
        """Answers by their time in milliseconds, by uid of each pod that could be read and cluster. Envoy
        merges its threads' histograms every five seconds, those of all clusters at once.
        """
        read = [pod for pod in pods if pod["metadata"]["namespace"] == namespace]
        filter_ = quote(pattern(clusters, TIME), safe="")
        query = f"/stats?format=json&histogram_buckets=cumulative&filter={filter_}"
        bodies = await asyncio.gather(*(self._stats(pod, query) for pod in read))
        found = {pod["metadata"]["uid"]: timed(body) for pod, body in zip(read, bodies, strict=True)}
        return {uid: each for uid, each in found.items() if each is not None}

    async def in_force(self, namespace: str, deployment: str, pods: Iterable[Json]) -> list[InForce] | None:
        """What each of these routers acts on; None when one of them could not be read.

        A router that does not know the deployment (yet, or any more) acts on no weights: an empty mapping.
        """
        read = [pod for pod in pods if pod["metadata"]["namespace"] == namespace]
        path = f"/{quote(deployment, safe='')}"
        bodies = await asyncio.gather(*(self._version(pod, path, {"weights": {}}) for pod in read))
        told = [_told(body) for body in bodies]
        return None if None in told else [each for each in told if each is not None]

    async def access(self, namespace: str, deployment: str, pods: Iterable[Json]) -> list[Told | None]:
        """What each of these routers checks a deployment's callers by; None for one that could not be
        asked. One that checks nobody has no rules.
        """
        read = [pod for pod in pods if pod["metadata"]["namespace"] == namespace]
        path = f"{names.ACCESS_PATH}{quote(deployment, safe='')}"
        bodies = await asyncio.gather(*(self._version(pod, path, {"rules": ""}) for pod in read))
        return [Told.of(body) for body in bodies]

    def _steady(self, uid: str, counts: dict[str, Counts]) -> dict[str, Counts]:
        known = self._known.get(uid, {})
        now = {cluster: steady(known.get(cluster), each) for cluster, each in counts.items()}
        self._known[uid] = known | now
        return now

    async def _stats(self, pod: Json, path: str) -> Any | None:
        place = address(pod)
        return None if place is None else await self._fetcher.json(f"http://{place}:{self._stats_port}{path}")

    async def _version(self, pod: Json, path: str, missing: Json) -> Any | None:
        place, headers = address(pod), {"Host": names.VERSION_HOST}
        if place is None:
            return None
        url = f"http://{place}:{self._traffic_port}{path}"
        return await self._fetcher.json(url, headers=headers, missing=missing)


def steady(before: Counts | None, now: Counts) -> Counts:
    """`now`, but not a little less than before: Envoy counts a time-out and its cut connection one after the
    other, and a reading between the two must not look like a router that began again from zero."""
    if before is None or now.requests < before.requests - _SLACK:
        return now
    return Counts(
        max(before.requests, now.requests),
        _held(before.errors, now.errors),
        _held(before.refused, now.refused),
    )


def _held(before: int, now: int) -> int:
    """The larger one, unless this one began again."""
    return max(before, now) if before - _SLACK <= now else now


def _summed(told: Iterable[Mapping[str, int] | None], clusters: Iterable[str]) -> dict[str, int]:
    """Over the routers that could be read."""
    read = [each for each in told if each is not None]
    return {name: sum(each.get(name, 0) for each in read) for name in clusters}


def _told(body: Any) -> InForce | None:
    """A configuration of an earlier release tells no version; its traffic had none either."""
    if not isinstance(body, dict) or not isinstance(body.get("weights"), dict):
        return None
    weights, version = body["weights"], body.get("version", 0)
    if not all(isinstance(number, int) for number in (version, *weights.values())):
        return None
    return InForce(version, {str(name): weight for name, weight in weights.items()})
