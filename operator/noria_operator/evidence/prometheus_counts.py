"""Counts of model servers from a Prometheus that scrapes them, in the place of reading their pods.

Comes in: the pods of a ModelDeployment and when the window began. Goes out: the same totals as from the pods,
or why there are none. Invariants: nothing waits for the source; an answer that is missing, late, too large or
not whole is a problem with a reason, never a count of zero; a ready pod that stays without samples is one,
too. A window ends at a moment that the totals name (`until`), so that the next one begins there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, TypeVar, cast

from noria_operator.domain import promql_counts as promql
from noria_operator.domain.drift.columns import Reference
from noria_operator.domain.drift.season import Span
from noria_operator.domain.metric_sources import Source
from noria_operator.domain.promql_samples import (
    OtherProcesses,
    Process,
    WrongCounts,
    by_pod,
    witnessed,
)
from noria_operator.evidence.background import Background, Look
from noria_operator.evidence.prometheus_api import BadAnswer, PrometheusApi
from noria_operator.evidence.prometheus_kept import Kept
from noria_operator.evidence.prometheus_lives import Lives
from noria_operator.evidence.prometheus_look import look
from noria_operator.evidence.prometheus_past import Past
from noria_operator.evidence.prometheus_pods import KnownPods, expected
from noria_operator.evidence.server import CounterReader
from noria_operator.evidence.totals import Totals

Json = dict[str, Any]
Rows = Mapping[str, promql.Row]
"""Counts by place."""
Answer = TypeVar("Answer", bound=Mapping[str, Any])
Place = tuple[str, str, float]
"""Namespace, ModelDeployment and beginning of a window."""

ANSWER_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of one answer: some ten thousand rows, as many as a thousand features have."""
EXACT: Final = {
    "dedup": "true",
    "max_source_resolution": "0s",
    "lookback_delta": f"{promql.LOOKBACK:g}s",
}
"""What a question says although a source may be set up otherwise: samples as they were scraped and not
thinned out, each once (Thanos), and for how long one is the value of now.
"""
LONGEST_LOOK: Final = 60.0
"""Seconds for all answers about a window; what was answered about the past is kept for the next look."""


class PrometheusCounts:
    """Asks one source; frozen bins, which are no counts, are still told by the pods."""

    remembers = True
    """Whether windows of earlier weeks can be asked for: what the source has of them."""

    def __init__(
        self,
        source: Source,
        servers: CounterReader,
        now: Callable[[], datetime],
        *,
        api: PrometheusApi | None = None,
    ) -> None:
        self._source, self._servers, self._now = source, servers, now
        self._api = api or PrometheusApi()
        self._looks = Background[Look[Totals]]()
        self._past = Past(source, self._long_ago)
        self._lives, self._kept, self._known = Lives(self._result), Kept(), KnownPods()

    async def close(self) -> None:
        """Give up what is being asked, and close the connections."""
        await self._looks.close()
        await self._past.close()
        await self._api.close()

    async def settled(self) -> None:
        """Wait for what is being asked."""
        await self._looks.settled()
        await self._past.settled()

    async def window(
        self, namespace: str, deployment: str, pods: Iterable[Json], *, since: datetime
    ) -> Totals | None:
        """What was counted since `since`, as it was read last; None before, and when it cannot be read."""
        place, read = (namespace, deployment, since.timestamp()), list(pods)
        self._looks.read(
            place, lambda: look(self._read(place, read), longest=LONGEST_LOOK), every=self._source.interval
        )
        known = self._looks.latest(place)
        return known.found if known else None

    complete = window
    """Samples of all ready pods are needed in any case."""

    async def earlier(
        self, namespace: str, deployment: str, *, windows: Sequence[Span], asker: str
    ) -> Look[tuple[Totals, ...]]:
        """What was counted in these windows, without those that cannot be told; nothing until the source has
        answered. Empty totals: it remembers nothing of the time. Who asks again when its own window goes on
        to grow meanwhile (`asker` is the same, and so are the beginnings) is told what was found.
        """
        found = self._past.windows((namespace, deployment), windows, asker)
        return replace(found, problem=self._problem(found.problem))

    async def _long_ago(self, place: tuple[str, str], since: float, until: float) -> dict[str, promql.Row]:
        counts, _ = await self._counts(place, since, until, ())
        return counts

    async def keep(
        self,
        namespace: str,
        deployment: str,
        pods: Iterable[Json],
        *,
        since: Sequence[datetime] = (),
        asked: Sequence[datetime] = (),
    ) -> None:
        """Ask for windows that are asked for while they are open; the source itself keeps what pods counted
        before they went.
        """
        for one in asked:
            await self.window(namespace, deployment, pods, since=one)

    async def reference(
        self, namespace: str, deployment: str, pods: Iterable[Json], *, version: str
    ) -> Reference | None:
        """As `CounterReader.reference`."""
        return await self._servers.reference(namespace, deployment, pods, version=version)

    def problem(self, namespace: str, deployment: str, since: datetime) -> str:
        """Why the counts of a window cannot be read; empty: they can, or nobody knows yet."""
        known = self._looks.latest((namespace, deployment, since.timestamp()))
        return self._problem(known.problem if known else "")

    def _problem(self, why: str) -> str:
        return f"counts cannot be read from {self._source.name}: {why}" if why else ""

    def forget(self, namespace: str, deployment: str) -> None:
        """The ModelDeployment is gone."""
        self._servers.forget(namespace, deployment)
        self._lives.forget((namespace, deployment))
        self._kept.forget((namespace, deployment))
        self._known.forget((namespace, deployment))

    async def _read(self, place: Place, pods: Sequence[Json]) -> Totals | None:
        delay = self._source.delay.total_seconds()
        until = math.floor(self._now().timestamp())
        if until <= place[2]:
            return None
        counts, whole = await self._counts(place[:2], place[2] - delay, until - delay, pods)
        return Totals(counts, until=datetime.fromtimestamp(until, UTC), whole=whole)

    async def _counts(
        self, place: tuple[str, str], since: float, until: float, pods: Iterable[Json]
    ) -> tuple[dict[str, promql.Row], bool]:
        """The window's counts, from samples up to `since` and `until`, and whether they are all of it: where
        a pod was not scraped when it began, they are from its first sample on.
        """
        after = await self._processes(place, promql.started(*place), until)
        if missing := sorted(expected(pods, place[0], until) - after.keys()):
            raise WrongCounts(
                f"it has no samples of {', '.join(missing[:3])}: does it scrape /metrics/counts of model "
                "servers, with the labels namespace, pod and deployment?"
            )
        before = await self._processes(place, promql.started(*place), since)
        changed = await self._processes(place, promql.changes(*place, seconds=until - since), until)
        self._known.check(place, since, before.keys() | changed.keys())
        new = (after.keys() | changed.keys()) - before.keys()
        young = promql.changes(*place, seconds=promql.LOOKBACK)
        earlier = await self._processes(place, young, since) if new else {}
        known = promql.Beginning(since, before, earlier.keys())
        simple = promql.plain(known, after, changed)
        others = sorted((before.keys() | after.keys() | changed.keys()) - simple.keys())
        lives = await self._lives.of(place, others, since, until) if others else []
        whole = all(map(known.knows, lives))
        while True:
            terms = promql.terms(known, simple, lives, until)
            try:
                return promql.total(await self._parts(place, terms, until)), whole
            except OtherProcesses as found:  # of which replicas tell differently: seen just once or so
                sure = [one for one in lives if one.process not in found.processes]
                if len(sure) == len(lives):
                    raise
                lives = sure

    async def _parts(
        self, place: tuple[str, str], terms: Sequence[promql.Term], until: float
    ) -> list[tuple[int, Rows]]:
        """The rows of each term, with its sign. Raises `OtherProcesses` with all of which that is so."""
        parts, others = [], set[Process]()
        for term in terms:
            try:
                parts.append((term.sign, await self._summed(place, term, until)))
            except OtherProcesses as found:
                others |= found.processes
        if others:
            raise OtherProcesses(others)
        return parts

    async def _processes(self, place: tuple[str, str], query: str, at: float) -> Mapping[str, float]:
        """The value of each pod."""
        return await self._once(place, query, at, by_pod)

    async def _summed(self, place: tuple[str, str], term: promql.Term, until: float) -> Rows:
        """What pods had counted at a moment, or at several."""
        query = promql.sums(*place, term.moments)

        def rows(vector: Any) -> Rows:
            return promql.rows(witnessed(vector, term.moments))

        # A group that grows as long as the window does is another question each time.
        grows = not self._over(until) and len(term.moments) not in (1, promql.AT_ONCE)
        if grows:
            return rows(await self._vector(query, term.newest))
        return await self._once(place, query, term.newest, rows)

    async def _once(
        self, place: tuple[str, str], query: str, at: float, read: Callable[[Any], Answer]
    ) -> Answer:
        """The answer to a question, which is asked once where its moment is over."""
        known = self._kept.get(place, (query, at))
        if known is not None:
            return cast(Answer, known)
        found = read(await self._vector(query, at))
        if self._over(at):
            self._kept.put(place, (query, at), found)
        return found

    def _over(self, at: float) -> bool:
        """Whether the samples of a moment are what they will be: those of a process that goes on are others
        with each look.
        """
        return at < self._now().timestamp() - self._source.delay.total_seconds() - promql.LOOKBACK

    async def _vector(self, query: str, at: float) -> Any:
        return await self._result(query, at, "vector")

    async def _result(self, query: str, at: float, kind: str) -> Any:
        found = await self._api.ask(self._source, query, at=at, limit=ANSWER_LIMIT, exact=EXACT)
        if found["resultType"] != kind:
            raise BadAnswer(f"a result of type {found['resultType']}, not {kind}")
        return found["result"]
