"""A few objects behind the client's methods, and a crash after any write: for tests of the order of writes.

It knows no schema, no defaults and no controllers; convergence against a real API server is tested elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import orjson

from noria_operator.controllers.context import Config, Context
from noria_operator.domain.drift.columns import Reference
from noria_operator.domain.quality import Labels
from noria_operator.domain.training_times import stamp
from noria_operator.evidence.background import Look
from noria_operator.evidence.pairs import PairReader
from noria_operator.evidence.prometheus import QueryReader
from noria_operator.evidence.router import RouterReader
from noria_operator.evidence.server import CounterReader
from noria_operator.evidence.totals import Totals
from noria_operator.kube.apply import Writer
from noria_operator.kube.client import Client
from noria_operator.kube.errors import AlreadyExists, Conflict, Invalid, NotFound
from noria_operator.kube.events import Events
from noria_operator.kube.kinds import EVENT, JOB, OWN_KINDS, POD, Key, Kind
from noria_operator.kube.store import Store

Json = dict[str, Any]


class Crash(Exception):
    """The process ended right after a write."""


@dataclass
class TestClock:
    """A clock that is set by hand."""

    __test__ = False
    time: datetime = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


def as_sent(obj: Json) -> Json:
    """The object after its way over the wire: a copy, and many times faster than `copy.deepcopy`."""
    sent: Json = orjson.loads(orjson.dumps(obj))
    return sent


@dataclass
class Api:
    """The client's methods over a dictionary. `crash_after` counts down with each write."""

    clock: TestClock = field(default_factory=TestClock)
    objects: dict[Key, Json] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    crash_after: int | None = None
    version: int = 0
    lists: int = 0
    refused: frozenset[Kind] = frozenset()

    async def get(self, kind: Kind, namespace: str, name: str) -> Json:
        found = self.objects.get(Key(kind, namespace, name))
        if found is None:
            raise NotFound(404, "NotFound", name)
        return as_sent(found)

    async def list(self, kind: Kind, namespace: str | None = None, *, labels: Any = None) -> list[Json]:
        self.lists += 1
        wanted = dict(labels or {})
        return [
            as_sent(obj)
            for key, obj in self.objects.items()
            if key.kind == kind and wanted.items() <= obj["metadata"].get("labels", {}).items()
        ]

    async def create(self, kind: Kind, namespace: str, body: Json) -> Json:
        key = Key(kind, namespace, body["metadata"]["name"])
        if kind == EVENT:
            self.events.append(body["reason"])
            return body
        if key in self.objects:
            raise AlreadyExists(409, "AlreadyExists", key.name)
        if kind in self.refused:
            raise Invalid(422, "Invalid", "spec.template: wrong")
        made = as_sent(body) | {"apiVersion": kind.api_version, "kind": kind.kind}
        made["metadata"] |= {
            "namespace": namespace,
            "uid": f"{kind.plural}-{key.name}-{self.version}",
            "generation": 1,
            "creationTimestamp": stamp(self.clock.now()),
        }
        return self.write("create", key, made)

    async def apply(
        self, kind: Kind, namespace: str, body: Json, *, manager: str = "", force: bool = True
    ) -> Json:
        key = Key(kind, namespace, body["metadata"]["name"])
        found = as_sent(self.objects[key])
        found["spec"] |= body["spec"]
        return self.write("apply", key, found)

    async def apply_status(
        self, kind: Kind, namespace: str, name: str, status: Json, *, resource_version: str | None = None
    ) -> Json:
        key = Key(kind, namespace, name)
        found = as_sent(self.objects[key])
        if resource_version not in (None, found["metadata"]["resourceVersion"]):
            raise Conflict(409, "Conflict", name)
        return self.write("status", key, found | {"status": as_sent(status)})

    async def delete(
        self, kind: Kind, namespace: str, name: str, *, uid: str | None = None, propagation: str = ""
    ) -> Json | None:
        self.objects.pop(Key(kind, namespace, name), None)
        self.note(f"delete {kind.kind} {name}")
        return None

    def write(self, verb: str, key: Key, obj: Json) -> Json:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self.objects[key] = obj
        self.note(f"{verb} {key.kind.kind} {key.name}")
        return as_sent(obj)

    def note(self, text: str) -> None:
        self.writes.append(text)
        if self.crash_after is not None:
            self.crash_after -= 1
            if self.crash_after < 0:
                raise Crash(text)

    def put(self, kind: Kind, obj: Json) -> Json:
        """Somebody else writes an object."""
        self.version += 1
        made = as_sent(obj)
        made["metadata"]["resourceVersion"] = str(self.version)
        self.objects[Key(kind, obj["metadata"]["namespace"], obj["metadata"]["name"])] = made
        return made

    def all(self, kind: Kind) -> list[Json]:
        return [
            obj
            for key, obj in sorted(self.objects.items(), key=lambda item: item[0].name)
            if key.kind == kind
        ]

    def end_jobs(self, say: Callable[[Json], tuple[str, int]]) -> None:
        """The cluster runs every Job that has not ended: `say` gives the last word and the exit code of its
        pod.
        """
        for job in self.all(JOB):
            if job.get("status", {}).get("conditions") or job["spec"].get("suspend"):
                continue
            message, code = say(job)
            name = job["metadata"]["name"]
            done = as_sent(job)
            kind = "Complete" if code == 0 else "Failed"
            done["status"] = {"conditions": [{"type": kind, "status": "True", "reason": "PodFailurePolicy"}]}
            self.put(JOB, done)
            state = {"terminated": {"exitCode": code, "message": message}}
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": f"{name}-x",
                    "namespace": job["metadata"]["namespace"],
                    "uid": f"{name}-x",
                    "creationTimestamp": stamp(self.clock.now()),
                    "labels": job["metadata"]["labels"] | {"batch.kubernetes.io/job-name": name},
                },
                "spec": {},
                "status": {
                    "phase": "Succeeded" if code == 0 else "Failed",
                    "containerStatuses": [{"name": "main", "state": state}],
                },
            }
            self.put(POD, pod)


@dataclass
class Servers:
    """Model servers with these labels since whenever."""

    joined: Labels | None = None
    totals: Totals | None = None
    bins: Reference | None = None
    kept: list[datetime] = field(default_factory=list)
    asked: list[datetime] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    unreadable: str = ""
    weeks: tuple[Totals, ...] | None = None
    remembers: bool = False
    looked_back: list[Any] = field(default_factory=list)
    why: dict[str, int] = field(default_factory=dict)
    """What they say of requests that they refuse."""

    async def refused(self, pods: Any) -> dict[str, int]:
        return self.why if [*pods] else {}

    async def earlier(
        self, namespace: str, deployment: str, *, windows: Any, asker: str
    ) -> Look[tuple[Totals, ...]]:
        self.looked_back.append(windows)
        return Look(self.weeks)

    def problem(self, namespace: str, deployment: str, since: datetime) -> str:
        return self.unreadable

    async def window(self, namespace: str, deployment: str, pods: Any, *, since: datetime) -> Totals | None:
        self.asked.append(since)
        return self.totals

    async def complete(self, namespace: str, deployment: str, pods: Any, *, since: datetime) -> Any:
        self.asked.append(since)
        self.read += [pod["metadata"]["name"] for pod in pods]
        if self.joined is None:
            return self.totals
        sides = ("negatives", self.joined.negatives), ("positives", self.joined.positives)
        versions = [f"flights-{number}" for number in range(1, 6)]
        return Totals({f"scores/{name}/{side}": row for name in versions for side, row in sides})

    async def keep(
        self, namespace: str, deployment: str, pods: Any, *, since: Any = (), asked: Any = ()
    ) -> None:
        self.kept += since
        self.asked += asked

    async def reference(self, namespace: str, deployment: str, pods: Any, *, version: str) -> Any:
        return self.bins

    def forget(self, namespace: str, deployment: str) -> None:
        self.forgotten.append(deployment)


def operator(api: Api, servers: Servers | None = None, **config: Any) -> Context:
    """A freshly started operator: its cache holds what the API server has."""
    store, client = Store(), cast(Client, api)
    for obj in api.objects.values():
        store.observe(None, obj)  # which keeps a copy
    for kind in (*OWN_KINDS, JOB, POD):
        store.mark_synced(kind)
    settings = Config(**{"namespace": "noria", "server_image": "noria/server@sha256:" + "b" * 64} | config)
    return Context(
        client=client,
        store=store,
        writer=Writer(client, store, api.clock),
        events=Events(client, api.clock),
        clock=api.clock,
        config=settings,
        router=cast(RouterReader, None),
        servers=cast(CounterReader, servers or Servers()),
        pairs=PairReader(),
        queries=QueryReader(api.clock.now),
    )


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)
