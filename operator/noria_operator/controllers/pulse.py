"""Wakes rollouts whose counts moved: a thousand of them at a step cost one small read a router and second.

Comes in: the ModelDeployments that have a challenger, from the cache. Goes out: keys for the work queue.
Invariants: a rollout whose router counted something, or cannot be read, is woken within one interval,
whatever routers of other namespaces do; one that nobody sends anything is left alone, and looks by itself at
what time decides.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from noria_operator.controllers import router
from noria_operator.controllers.context import Context
from noria_operator.domain.verdict import Counts
from noria_operator.kube.kinds import MODELDEPLOYMENT, Key, key_of
from noria_operator.kube.queue import Queue
from noria_operator.routers.source import by_envoy
from noria_operator.tasks import cancelled

Json = dict[str, Any]
Seen = Mapping[str, Mapping[str, Counts]]

log = logging.getLogger(__name__)


class Pulse:
    """One for the process; runs where the workers do."""

    def __init__(self, ctx: Context, queue: Queue) -> None:
        self._ctx = ctx
        self._queue = queue
        self._interval = ctx.config.evidence_interval.total_seconds()
        self._seen: dict[Key, Seen] = {}
        self._looking: dict[str, asyncio.Task[dict[Key, Seen]]] = {}
        """By namespace."""

    async def run(self) -> None:
        """Beat for ever."""
        try:
            while True:
                await asyncio.gather(self._tried(), asyncio.sleep(self._interval))
        finally:
            await cancelled(*self._looking.values())

    async def _tried(self) -> None:
        try:
            await self.beat()
        except Exception:
            log.exception("Counts could not be looked at; rollouts look at them by themselves")
            for obj in filter(watched, self._ctx.store.list(MODELDEPLOYMENT)):
                self._queue.add(key_of(obj))

    async def beat(self) -> None:
        """Look once, where nobody looks still; who takes longer than an interval is not waited for."""
        spaces: dict[str, list[Json]] = defaultdict(list)
        for obj in self._ctx.store.list(MODELDEPLOYMENT):
            if watched(obj):
                spaces[obj["metadata"]["namespace"]].append(obj)
        for space in spaces.keys() - self._looking.keys():
            self._looking[space] = asyncio.create_task(self._moved(space, spaces[space]))
        if self._looking:
            await asyncio.wait(self._looking.values(), timeout=self._interval)
        ended = [self._looking.pop(space) for space, task in list(self._looking.items()) if task.done()]
        seen = {key: counts for key, counts in self._seen.items() if key.namespace in self._looking}
        self._seen = seen | {key: counts for task in ended for key, counts in task.result().items()}

    async def _moved(self, namespace: str, deployments: Iterable[Json]) -> dict[Key, Seen]:
        arms = {key_of(obj): _arms(obj) for obj in deployments}
        clusters = {name for each in arms.values() for name in each}
        pods = router.pods(self._ctx.store, namespace)
        read = await self._ctx.router.counts(namespace, pods, clusters)
        seen: dict[Key, Seen] = {
            key: {uid: {name: counted[name] for name in each} for uid, counted in read.items()}
            for key, each in arms.items()
        }
        for key, counts in seen.items():
            if not counts or counts != self._seen.get(key):
                self._queue.add(key)
        return seen


def watched(obj: Json) -> bool:
    """Whether Envoy counts for two versions of it."""
    status = obj.get("status", {})
    return by_envoy(obj) and "candidate" in status and "stable" in status


def _arms(obj: Json) -> tuple[str, ...]:
    status = obj["status"]
    others = status.get("others") or ()
    return tuple(one["name"] for one in (status["stable"], status["candidate"], *others))
