"""Requests and errors of every version, and the weights in force, as the routers tell them.

Comes in: the router pods of a namespace. Goes out: counts that only grow, by pod and revision (its cluster
for HTTP and the one for gRPC together). Invariant: every way of failing is an error of the version that was
to answer: a 5xx of its own or the gRPC status of a fault, a 429 (it could not take the request), and what the
router answered in its place (503 for a reset, refused or impossible connection, 504 for a time-out), a
request that the client gave up waiting for, and one that a pod dropped, whoever answered it then. A pod that
cannot be read is left out, never counted as zero.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any
from urllib.parse import quote

from noria_operator.api import names
from noria_operator.domain.access import Told
from noria_operator.domain.latency import Histogram
from noria_operator.domain.rollout_observed import InForce
from noria_operator.domain.verdict import Counts
from noria_operator.evidence.fetch import Fetcher, address
from noria_operator.tasks import Turns

Json = dict[str, Any]

_COMPLETED, _FAILED, _REFUSED = "upstream_rq_completed", "upstream_rq_5xx", "upstream_rq_429"
_CUT, _TIMED_OUT = "upstream_cx_destroy_local_with_active_rq", "upstream_rq_timeout"
_RESET = "upstream_rq_tx_reset"
_SAVED, _DROPPED = "upstream_rq_retry_success", "upstream_cx_destroy_remote_with_active_rq"
_FAULTS = tuple(f"grpc.{code}" for code in (2, 4, 8, 13, 14, 15))
"""UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE, DATA_LOSS: what HTTP calls 5xx and
429 (and 413, which gRPC does not tell apart; clients that send too much do so to every version)."""
_ACTIVE = "upstream_rq_active"
_UNDER_WAY = re.compile(rf"cluster\.([^.]+)\.{_ACTIVE}")
_STATS = (_COMPLETED, _FAILED, _REFUSED, _CUT, _TIMED_OUT, _RESET, _SAVED, _DROPPED, *_FAULTS)
_STAT = "|".join(map(re.escape, _STATS))
_NAME = re.compile(rf"cluster\.([^.]+)\.({_STAT})")
_TIME = "upstream_rq_time"
_TIMED = re.compile(rf"cluster\.([^.]+)\.{_TIME}")

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
    ) -> None:
        self._fetcher = fetcher or Fetcher()
        self._stats_port, self._traffic_port = stats_port, traffic_port
        self._known: dict[str, dict[str, Counts]] = {}
        self._fresh = fresh
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
            now = asyncio.get_running_loop().time()
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
        pattern = quote(_pattern(clusters if few else None, _STAT), safe="")
        query = f"/stats?format=json{'' if few else '&usedonly'}&filter={pattern}"
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
        read = [pod for pod in pods if pod["metadata"]["namespace"] == namespace]
        query = f"/stats?format=json&filter={quote(_pattern(clusters, _ACTIVE), safe='')}"
        bodies = await asyncio.gather(*(self._stats(pod, query) for pod in read))
        told = [waiting(body) for body in bodies]
        if None in told:
            return None
        return {name: sum(each.get(name, 0) for each in told if each is not None) for name in clusters}

    async def timings(
        self, namespace: str, pods: Iterable[Json], clusters: Collection[str]
    ) -> dict[str, dict[str, Histogram]]:
        """Answers by their time in milliseconds, by uid of each pod that could be read and cluster. Envoy
        merges its threads' histograms every five seconds, those of all clusters at once.
        """
        read = [pod for pod in pods if pod["metadata"]["namespace"] == namespace]
        filter_ = quote(_pattern(clusters, _TIME), safe="")
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
        known = self._known.pop(uid, {})
        now = {cluster: steady(known.get(cluster), each) for cluster, each in counts.items()}
        self._known[uid] = known | now
        if len(self._known) > MAX_PODS:
            del self._known[next(iter(self._known))]
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


def counted(body: Any) -> dict[str, Counts] | None:
    """The counts in an answer of Envoy's `/stats?format=json`; None when it is no such answer."""
    stats = _listed(body)
    if stats is None:
        return None
    figures: dict[str, dict[str, int]] = {}
    for match, value in _valued(stats, _NAME):
        figures.setdefault(match[1], dict.fromkeys(_STATS, 0))[match[2]] = value
    found: dict[str, Counts] = {}
    for cluster, values in figures.items():
        revision = cluster.removesuffix(names.GRPC_SUFFIX)
        now = _counts(values) if cluster == revision else _grpc_counts(values)
        before = found.get(revision, Counts())
        found[revision] = Counts(before.requests + now.requests, before.errors + now.errors)
    return found


def waiting(body: Any) -> dict[str, int] | None:
    """Requests under way by revision; None when it is no answer of Envoy's `/stats?format=json`."""
    stats = _listed(body)
    if stats is None:
        return None
    found: dict[str, int] = {}
    for match, value in _valued(stats, _UNDER_WAY):
        revision = match[1].removesuffix(names.GRPC_SUFFIX)
        found[revision] = found.get(revision, 0) + value
    return found


def timed(body: Any) -> dict[str, Histogram] | None:
    """The histograms in an answer of `/stats?format=json&histogram_buckets=cumulative`, HTTP and gRPC of a
    revision together; None when it is no such answer."""
    stats = _listed(body)
    if stats is None:
        return None
    found: dict[str, Histogram] = {}
    given = (stat.get("histograms") or () for stat in stats)
    for one in chain.from_iterable(given):
        match = _TIMED.fullmatch(str(one.get("name", "")))
        if match:
            revision = match[1].removesuffix(names.GRPC_SUFFIX)
            found[revision] = found.get(revision, Histogram()) + _histogram(one["buckets"])
    return found


def _listed(body: Any) -> list[Json] | None:
    """What an answer of Envoy's `/stats?format=json` lists; None when it is no such answer."""
    if not isinstance(body, dict) or not isinstance(body.get("stats"), list):
        return None
    return [stat for stat in body["stats"] if isinstance(stat, dict)]


def _valued(stats: Iterable[Json], name: re.Pattern[str]) -> Iterator[tuple[re.Match[str], int]]:
    """Statistics of such a name that count something, with their value."""
    for stat in stats:
        match = name.fullmatch(str(stat.get("name", "")))
        if match and isinstance(stat.get("value"), int):
            yield match, stat["value"]


def _histogram(buckets: Iterable[Json]) -> Histogram:
    rows = [(float(one["upper_bound"]), int(one["cumulative"])) for one in buckets]
    return Histogram(tuple(bound for bound, _ in rows), tuple(count for _, count in rows))


def _counts(values: dict[str, int]) -> Counts:
    """A request that the client gave up on is in none of Envoy's response counters: it shows as a connection
    to a pod that the router cut in mid-request without a time-out (one request a connection: HTTP/1.1).
    One that a pod dropped and another one answered is an error of the version too, though no client saw it.
    """
    given_up = max(0, values[_CUT] - values[_TIMED_OUT])
    dropped = min(values[_SAVED], values[_DROPPED])
    errors = values[_FAILED] + values[_REFUSED] + given_up + dropped
    return Counts(requests=values[_COMPLETED] + given_up, errors=errors)


def _grpc_counts(values: dict[str, int]) -> Counts:
    """A call that fails is a 200 with a status behind it. What the router answers itself counts as both, so
    the larger number is that of all. A call that was given up is a stream that the router reset.
    """
    given_up = max(0, values[_RESET] - values[_TIMED_OUT])
    faults = max(sum(values[name] for name in _FAULTS), values[_FAILED])
    return Counts(values[_COMPLETED] + given_up, faults + given_up + values[_SAVED])


def steady(before: Counts | None, now: Counts) -> Counts:
    """`now`, but not a little less than before: Envoy counts a time-out and its cut connection one after the
    other, and a reading between the two must not look like a router that began again from zero."""
    if before is None or now.requests < before.requests - _SLACK:
        return now
    errors = before.errors if before.errors - _SLACK <= now.errors else now.errors
    return Counts(max(before.requests, now.requests), max(errors, now.errors))


def _pattern(clusters: Collection[str] | None, stat: str) -> str:
    names_ = "[^.]+" if clusters is None else f"({'|'.join(re.escape(name) for name in sorted(clusters))})"
    return rf"^cluster\.{names_}({names.GRPC_SUFFIX})?\.({stat})$"


def _told(body: Any) -> InForce | None:
    """A configuration of an earlier release tells no version; its traffic had none either."""
    if not isinstance(body, dict) or not isinstance(body.get("weights"), dict):
        return None
    weights, version = body["weights"], body.get("version", 0)
    if not all(isinstance(number, int) for number in (version, *weights.values())):
        return None
    return InForce(version, {str(name): weight for name, weight in weights.items()})
