"""What the model servers of a ModelDeployment counted since a moment.

Comes in: the pods of all its revisions (any of them takes feedback for any version) and when the window
began. Goes out: summed counts, and the joined labels of one version. Invariants: nothing is written
anywhere; a pod that cannot be read keeps its last counts, and is named; after a restart of the operator the
servers' own memory fills the window, as they are told with each reading which moments it is counted from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from typing import Any

from noria_operator.domain.drift.columns import Reference
from noria_operator.domain.drift.season import Span
from noria_operator.domain.quality import Labels
from noria_operator.domain.server_pods import counts_ready, server_ends
from noria_operator.domain.verdict import Counts
from noria_operator.evidence import windows
from noria_operator.evidence.background import Background, Look
from noria_operator.evidence.fetch import Fetcher, address
from noria_operator.evidence.growth import opened
from noria_operator.evidence.heard import Heard, Reading
from noria_operator.evidence.totals import Totals
from noria_operator.evidence.windows import Document, Window
from noria_operator.recent import Recent
from noria_serving.contract import COUNTERS_PATH, COUNTERS_PORT, REFERENCE_PATH, Why

Json = dict[str, Any]
Place = tuple[str, str, float]
"""Namespace, ModelDeployment and beginning of a window."""

_OUTCOMES = ("ok", "client_error", "server_error")

SIZE_LIMIT = 4 * 1024 * 1024
"""Bytes of counters: of 10,000 features, the most that a server counts, up to 1.8 MB where these are numbers,
and 2.8 MB with 20 categories each."""
MAX_WINDOWS = 4096
"""Windows kept in memory; the one that was not read for longest goes first, and is filled again when asked
for."""
PATIENCE = 120.0
"""Seconds that the labels of a window wait for a ready pod that does not answer."""
FRESH = 1.0
"""Seconds for which an answer stands; servers are read every few seconds."""
MAX_PODS = 4096
"""Pods whose last answers are kept for that; the one that was not asked for longest goes first."""
MARGIN = timedelta(milliseconds=250)
"""How far the clocks of a pod and of the operator may seem apart because answers take time."""
MAX_REFERENCES = 2048
"""Frozen bins kept in memory; the oldest go first, and are read again."""
MAX_OPEN = 32
"""Windows kept of one ModelDeployment: one a trigger is read, two a stretch of a rollout at most, and one a
measure that found harm; closed ones are not asked for again."""


class CounterReader:
    """Reads model server pods; remembers windows, so that pods that are gone still count."""

    remembers = False
    """Whether windows of earlier weeks can be asked for: servers remember beginnings alone."""

    def __init__(
        self,
        fetcher: Fetcher | None = None,
        *,
        port: int = COUNTERS_PORT,
        clock: Callable[[], float] = monotonic,
        fresh: float = 0.0,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._fetcher = fetcher or Fetcher()
        self._now = now
        self._port = port
        self._clock = clock
        self._windows: dict[Place, Window] = {}
        self._fresh = fresh
        self._heard = Recent[str, Heard](MAX_PODS)
        self._references = Recent[tuple[str, str, str], Reference](MAX_REFERENCES)
        self._silent: dict[Place, dict[str, float]] = {}
        self._looks = Background[tuple[Totals | None, ...]](clock)

    async def close(self) -> None:
        """Close all connections."""
        await self._looks.close()
        await self._fetcher.close()

    def latest(
        self,
        namespace: str,
        deployment: str,
        pods: Iterable[Json],
        *,
        since: Sequence[datetime],
        every: timedelta,
    ) -> tuple[Totals | None, ...] | None:
        """What was counted since each of these moments, read together in the background `every` so often: a
        pass does not wait for model servers. None before the first time; a None inside: no pod could be read.
        """
        place, read = (namespace, deployment, *since), list(pods)
        self._looks.read(place, lambda: self._look(namespace, deployment, read, since), every=every)
        return self._looks.latest(place)

    async def settled(self) -> None:
        """Wait for what is being read in the background."""
        await self._looks.settled()

    async def _look(
        self, namespace: str, deployment: str, pods: Sequence[Json], since: Sequence[datetime]
    ) -> tuple[Totals | None, ...]:
        windows, unread = await self._filled(namespace, deployment, pods, since)
        return tuple(self._totals(window, unread) for window in windows)

    async def window(
        self, namespace: str, deployment: str, pods: Iterable[Json], *, since: datetime
    ) -> Totals | None:
        """Everything counted since `since`; None when no pod could be read and nothing is remembered."""
        return (await self._look(namespace, deployment, list(pods), [since]))[0]

    async def keep(
        self,
        namespace: str,
        deployment: str,
        pods: Iterable[Json],
        *,
        since: Sequence[datetime] = (),
        asked: Sequence[datetime] = (),
    ) -> None:
        """Read what was counted since each of these moments and add nothing up: so that pods that go before
        somebody asks are counted, too. `asked`: whose windows are asked for while they are open.
        """
        read = list(pods)
        _, unread = await self._filled(namespace, deployment, read, (*since, *asked))
        for one in asked:
            self._awaited((namespace, deployment, one.timestamp()), _ready(read, unread))

    async def _filled(
        self, namespace: str, deployment: str, pods: Iterable[Json], since: Sequence[datetime]
    ) -> tuple[list[Window], tuple[str, ...]]:
        """The windows with what all pods say now, and the uids of those that say nothing."""
        read = [pod for pod in pods if pod["metadata"]["namespace"] == namespace]
        windows = [self._window((namespace, deployment, one.timestamp())) for one in since]
        rest = [pod for pod in read if not self._at_once(pod, windows)]
        reading = (self._take(pod, windows) for pod in rest)
        done = await asyncio.gather(*reading) if len(rest) > 1 else [await each for each in reading]
        unread = tuple(pod["metadata"]["uid"] for pod, taken in zip(rest, done, strict=True) if not taken)
        return windows, unread

    def _totals(self, window: Window, unread: tuple[str, ...]) -> Totals | None:
        return Totals(window.total(), unread, self._end(), window.whole) if window.latest else None

    async def labels(
        self, namespace: str, deployment: str, pods: Iterable[Json], *, since: datetime, version: str
    ) -> Labels | None:
        """The labels joined since `since` with predictions of `version`; None as from `complete`."""
        totals = await self.complete(namespace, deployment, pods, since=since)
        return totals.labels(version) if totals else None

    async def complete(
        self, namespace: str, deployment: str, pods: Iterable[Json], *, since: datetime
    ) -> Totals | None:
        """Everything counted since `since`; None when nothing could be read, or while a ready pod that does
        not answer may have more of it (`PATIENCE` at most).
        """
        read = list(pods)
        totals = await self.window(namespace, deployment, read, since=since)
        unread = _ready(read, totals.unread if totals else ())
        place = (namespace, deployment, since.timestamp())
        return None if totals is None or self._awaited(place, unread) else totals

    async def reference(
        self, namespace: str, deployment: str, pods: Iterable[Json], *, version: str
    ) -> Reference | None:
        """The frozen bins of `version`, from the first of its pods that tells them; they never change. None
        where none does: nobody answers, or servers are of a release that does not tell.
        """
        key = (namespace, deployment, version)
        found = self._references.get(key)
        if found is None:
            read = [pod for pod in pods if pod["metadata"]["namespace"] == namespace]
            found = await self._told(read, version)
            if found is not None:
                self._references[key] = found
        return found

    async def _told(self, pods: Iterable[Json], version: str) -> Reference | None:
        for pod in pods:
            place = None if self._was_silent(self._of(pod)) else address(pod)
            url = f"http://{place}:{self._port}{REFERENCE_PATH}"
            read = partial(windows.reference, version=version)
            found: Reference | None = await self._fetcher.json(url, missing={}, read=read) if place else None
            if found is not None:
                return found
        return None

    async def earlier(
        self, namespace: str, deployment: str, *, windows: Sequence[Span], asker: str
    ) -> Look[tuple[Totals, ...]]:
        """Nothing: pods remember the beginnings of open windows alone."""
        return Look(())

    async def answered(self, pods: Iterable[Json]) -> dict[str, Counts]:
        """Inference requests and errors of each pod that could be read, by uid, since its process began; and
        under `UID.containers` and `UID.processes` one for each that ended before it, with what that had in
        flight: processes are counted from zero in each container, and containers also of pods that do not
        answer.
        """
        asked, found = list(pods), dict[str, Counts]()
        for pod in asked:
            ends = server_ends(pod)
            if ends is not None:
                found[f"{pod['metadata']['uid']}.containers"] = Counts(ends, ends)
        for pod, document in await self._documents(asked):
            uid, died = pod["metadata"]["uid"], document.restarts
            found |= {uid: _answered(document), f"{uid}.processes": Counts(died, died)}
        return found

    async def asked(self, pods: Iterable[Json]) -> dict[str, tuple[int, int]]:
        """Inference requests that each pod that could be read has answered since its process began, and those
        that it has not, by uid.
        """
        return {
            pod["metadata"]["uid"]: (_answered(document).requests, document.in_flight)
            for pod, document in await self._documents(pods)
        }

    async def under_way(self, pods: Iterable[Json]) -> int:
        """Inference requests that these pods have not answered, as far as they can be read."""
        return sum(document.in_flight for _, document in await self._documents(pods))

    async def refused(self, pods: Iterable[Json]) -> dict[str, int]:
        """Inference requests that these pods refused since their processes began, by why (`contract.Why`)."""
        told = [_refused(document) for _, document in await self._documents(pods)]
        return {why: sum(each[why] for each in told) for why in Why}

    async def _documents(self, pods: Iterable[Json]) -> list[tuple[Json, Document]]:
        """What those of the pods tell that can be read."""
        asked = list(pods)
        documents = await asyncio.gather(*(self._read(pod, self._of(pod)) for pod in asked))
        return [(pod, one) for pod, one in zip(asked, documents, strict=True) if one is not None]

    def problem(self, namespace: str, deployment: str, since: datetime) -> str:
        """Why the counts of a window cannot be read: pods that do not answer are in the log."""
        return ""

    def forget(self, namespace: str, deployment: str) -> None:
        """The ModelDeployment is gone."""
        self._windows = {
            place: window for place, window in self._windows.items() if place[:2] != (namespace, deployment)
        }
        self._silent = {place: known for place, known in self._silent.items() if place in self._windows}
        self._references.forget(lambda key: key[:2] == (namespace, deployment))

    def _awaited(self, place: Place, unread: Iterable[str]) -> bool:
        """Whether one of the pods that do not answer has been silent for less than `PATIENCE`."""
        before, now = self._silent.pop(place, {}), self._clock()
        silent = {uid: before.get(uid, now) for uid in unread}
        if silent:
            self._silent[place] = silent
            self._silent = {each: known for each, known in self._silent.items() if each in self._windows}
        return any(now - since < PATIENCE for since in silent.values())

    def _window(self, place: Place) -> Window:
        known = self._windows.pop(place, None)
        if known is not None:
            self._windows[place] = known
            return known
        window = self._windows[place] = Window(place[2], opened=self._clock())
        if len(self._windows) > MAX_WINDOWS:
            del self._windows[next(iter(self._windows))]
        same = [each for each in self._windows if each[:2] == place[:2]]
        for each in same[:-MAX_OPEN]:
            del self._windows[each]
        return window

    def _at_once(self, pod: Json, windows: Iterable[Window]) -> bool:
        """Take into the windows what the pod said a moment ago, if that is enough: nobody waits for it."""
        known = self._of(pod)
        now = self._standing(known)
        if now is None:
            return False
        return all([self._put(pod, each, known.when_ended(each.since), now) for each in windows])

    async def _take(self, pod: Json, windows: Sequence[Window]) -> bool:
        """Read one pod into the windows; False when it could not be read."""
        known = self._of(pod)
        before, now = [known.when_ended(each.since) for each in windows], self._standing(known)
        known.origins.update(ended.at for ended in before if ended is not None)
        if now is None and not self._was_silent(known):
            now = await self._read(pod, known)
        if now is None:
            return False
        taken = [self._put(pod, each, ended, now) for each, ended in zip(windows, before, strict=True)]
        rest = [each for each, enough in zip(windows, taken, strict=True) if not enough]
        ahead = known.ahead(now, self._now().timestamp()) if self._now else 0.0
        return all([await self._fill(pod, known, each, round(each.since + ahead, 3)) for each in rest])

    async def _fill(self, pod: Json, known: Heard, window: Window, since: float) -> bool:
        """Read what the pod counted since the window began, by its own clock; False where it does not say."""
        # First the difference, then the sum: what is counted in between is left out, never counted twice.
        difference = await self._read(pod, known, since)
        if difference is not None:
            known.origins.add(difference.origin)
        after = await self._read(pod, known)
        if difference is None or after is None or difference.process != after.process:
            return False
        if window.admits(pod["metadata"]["uid"], after.process):
            window.take(after, difference)
            window.whole = window.whole and difference.origin <= since
        return True

    def _put(self, pod: Json, window: Window, before: Document | None, now: Document) -> bool:
        """Take it into the window; False where that needs what was counted before the window, too."""
        if not window.admits(pod["metadata"]["uid"], now.process):
            return True
        if before is not None and before.process == now.process:
            window.begin(before)
        if window.needs_difference(now):
            return False
        # Who began after the window and before it was read may have taken the place of one that counted, too.
        late = self._clock() - window.opened < now.at - now.started
        window.whole = window.whole and not (late and now.process not in window.baselines)
        window.take(now)
        if now.process in window.origins:  # counted from there: a restarted operator will ask for it
            self._of(pod).origins.add(window.origins[now.process])
        return True

    def _of(self, pod: Json) -> Heard:
        uid = pod["metadata"]["uid"]
        known = self._heard.used(uid)
        if known is None:
            known = self._heard[uid] = Heard()
        return known

    def _standing(self, known: Heard) -> Document | None:
        """What a pod said less than `fresh` seconds ago: several windows are read in one pass."""
        return known.since(self._clock() - self._fresh)

    def _was_silent(self, known: Heard) -> bool:
        """Whether it was given up less than `fresh` seconds ago, which takes a second: for all windows that
        are read in one pass that is once.
        """
        return self._clock() - known.given_up < self._fresh

    def _end(self) -> datetime | None:
        """Where a window ends that is read now: a whole second which nothing that was read comes after, so
        that the next window, which begins there, counts none of it again.
        """
        if self._now is None:
            return None
        return (self._now() + MARGIN + timedelta(seconds=1)).replace(microsecond=0)

    async def _read(self, pod: Json, known: Heard, since: float | None = None) -> Document | None:
        place = address(pod)
        if place is None:
            return None
        query = known.query() if since is None else f"?since={since:.3f}"
        url = f"http://{place}:{self._port}{COUNTERS_PATH}{query}"
        found: Document | None = await self._fetcher.json(url, read=windows.parse, limit=SIZE_LIMIT)
        if found is None:
            known.given_up = self._clock()
        elif since is None and self._fresh:
            known.said(Reading(self._clock(), self._now().timestamp() if self._now else 0.0, found))
        return found


def _answered(document: Document) -> Counts:
    counts = opened(document.counts)
    numbers = {name: sum(counts.get(f"requests/{document.version}/{name}", ())) for name in _OUTCOMES}
    # As Envoy's are counted: who had no answer in time is not at fault.
    unanswered = _refused(document)[Why.UNANSWERED]
    errors, refused = numbers["server_error"] + unanswered, numbers["client_error"] - unanswered
    return Counts(sum(numbers.values()), errors, refused)


def _refused(document: Document) -> dict[str, int]:
    counts = opened(document.counts)
    return {why: sum(counts.get(f"refused/{document.version}/{why}", ())) for why in Why}


def _ready(pods: Iterable[Json], uids: Sequence[str]) -> list[str]:
    """Which of these are of pods that must have counts."""
    return [pod["metadata"]["uid"] for pod in pods if pod["metadata"]["uid"] in uids and counts_ready(pod)]
