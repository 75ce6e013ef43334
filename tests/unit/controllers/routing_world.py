"""A deployment behind a router that is not Noria's own, on a played API server: made, looked at and led on.

Comes in: what a ModelDeployment asks for. Goes out: its status, routes and Services after so many passes. The
gateway takes every route that it is given, at once.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.controllers.serving_api import (
    KEY,
    NAME,
    NAMESPACE,
    Routers,
    ServingApi,
    approve,
    claim,
    cluster,
    started,
)
from tests.unit.controllers.training_api import as_sent

from noria_operator.controllers import modeldeployment
from noria_operator.controllers.context import Context
from noria_operator.domain.training_times import stamp
from noria_operator.domain.verdict import Counts
from noria_operator.evidence.server import CounterReader
from noria_operator.evidence.stillness import Stillness
from noria_operator.kube.errors import Conflict, Unavailable
from noria_operator.kube.kinds import GATEWAY as GATEWAY_KIND
from noria_operator.kube.kinds import GATEWAYCLASS, HTTPROUTE, SERVICE, Key, Kind

Json = dict[str, Any]
STEPS = {"steps": [{"weight": 20, "duration": "1h"}]}
GATEWAY = {"type": "Gateway", "gateway": {"name": "public"}}
MINE = {"type": "Gateway", "gateway": {"route": "mine"}}
CONTROLLER = "acme.example/gateways"
QUIET = 6
"""Passes without a write after which none follows: a minute, twice what anything here waits for."""


@dataclass
class RoutingApi(ServingApi):
    """An API server that notes when a manager wrote, and a gateway that takes what it is given."""

    accepts: bool = True

    def write(self, verb: str, key: Key, obj: Json) -> Json:
        if key.kind in (HTTPROUTE, SERVICE) and verb != "status":
            self._stamp(key, obj)
        return super().write(verb, key, obj)

    async def apply(self, kind: Kind, namespace: str, body: Json, **options: Any) -> Json:
        """A selector that is applied loses the labels that it no longer names."""
        key = Key(kind, namespace, body["metadata"]["name"])
        stored = self.objects.get(key)
        if kind == SERVICE and stored is not None and stored["spec"]["selector"] != body["spec"]["selector"]:
            return self.write("apply", key, as_sent({**stored, "spec": body["spec"]}))
        return await super().apply(kind, namespace, body, **options)

    async def merge(self, kind: Kind, namespace: str, name: str, body: Json) -> Json:
        key = Key(kind, namespace, name)
        found = await self.get(kind, namespace, name)
        if body["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", name)
        return self.write("merge", key, found | {"spec": found["spec"] | body["spec"]})

    def _stamp(self, key: Key, obj: Json) -> None:
        meta = obj["metadata"]
        meta["managedFields"] = [{"manager": "noria", "time": stamp(self.clock.now())}]
        if key.kind == HTTPROUTE:
            meta["generation"] = meta.get("generation", 1) + 1

    @property
    def controller(self) -> str:
        """Who looks after the Gateway, as its class says."""
        classes = [one["spec"]["controllerName"] for one in self.all(GATEWAYCLASS)]
        return classes[0] if classes else CONTROLLER

    def serve(self) -> None:
        """Pods run; the gateway looks at every route, and leaves what it said where it is gone."""
        self.run_pods()
        for route in self.all(HTTPROUTE):
            status = "True" if self.accepts else "False"
            said = {"status": status, "observedGeneration": route["metadata"]["generation"], "reason": "Why"}
            kinds = ("Accepted", "ResolvedRefs")
            conditions = [{"type": kind, "message": "not allowed", **said} for kind in kinds]
            parents = [
                {"parentRef": parent, "controllerName": self.controller, "conditions": conditions}
                for parent in route["spec"]["parentRefs"]
                if Key(GATEWAY_KIND, parent.get("namespace", NAMESPACE), parent["name"]) in self.objects
            ]
            if parents and route.get("status") != {"parents": parents}:
                self.put(HTTPROUTE, {**route, "status": {"parents": parents}})


@dataclass
class Servers:
    """What model servers counted."""

    counted: dict[str, Counts]
    silent: Collection[str] = ()
    """Versions of which nobody answers."""
    busy: dict[str, int] = field(default_factory=dict)
    """Requests that each pod of a version has not answered."""

    async def answered(self, pods: list[Json]) -> dict[str, Counts]:
        versions = {pod["metadata"]["uid"]: pod["metadata"]["labels"]["noria.dev/version"] for pod in pods}
        return {
            uid: self.counted.get(version, Counts())
            for uid, version in versions.items()
            if version not in self.silent
        }

    async def asked(self, pods: list[Json]) -> dict[str, tuple[int, int]]:
        versions = {pod["metadata"]["uid"]: pod["metadata"]["labels"]["noria.dev/version"] for pod in pods}
        told = await self.answered(pods)
        return {uid: (told[uid].requests, self.busy.get(versions[uid], 0)) for uid in told}

    async def refused(self, pods: Iterable[Json]) -> dict[str, int]:
        return {}

    async def under_way(self, pods: Iterable[Json]) -> int:
        return sum(self.busy.get(pod["metadata"]["labels"]["noria.dev/version"], 0) for pod in pods)


class World:
    def __init__(self, folder: Path, **spec: Any) -> None:
        found = cluster(**spec)
        self.api = RoutingApi(clock=found.clock, objects=found.objects, version=found.version)
        self.folder = folder
        self.servers = Servers({})
        self.stillness = Stillness()
        self.gateways: Any = None
        """What stands in for proxies that may be asked."""
        claim(self.api, "ReadWriteMany")
        asked = spec["router"].get("gateway", {})
        gateway(self, namespace=asked.get("namespace", NAMESPACE))

    def fork(self, folder: Path) -> World:
        """The same a second time."""
        own = copy(self)
        own.api, own.folder, own.servers = self.api.fork(), folder, Servers(dict(self.servers.counted))
        own.stillness = Stillness()
        return own

    def operator(self, **config: Any) -> Context:
        ctx = started(self.api, Routers(self.api), self.folder, **{"gateway": True, **config})
        return replace(
            ctx,
            servers=cast(CounterReader, self.servers),
            stillness=self.stillness,
            gateways=self.gateways or ctx.gateways,
        )

    async def once(self, **config: Any) -> timedelta | None:
        return (await modeldeployment.reconcile(self.operator(**config), KEY)).after

    async def passes(self, times: int, *, seconds: float) -> None:
        """So many, and time between them."""
        for _ in range(times):
            await self.once()
            self.api.serve()
            self.api.clock.time += timedelta(seconds=seconds)

    async def settle(self, *, seconds: float = 10, passes: int = 20, **config: Any) -> None:
        """Until nothing is written any more, though time goes on; after each write with an operator that
        remembers nothing.
        """
        quiet, ctx = 0, self.operator(**config)
        for _ in range(passes):
            before = self.api.version
            await modeldeployment.reconcile(ctx, KEY)
            quiet = quiet + 1 if self.api.version == before else 0
            self.api.serve()
            self.api.clock.time += timedelta(seconds=seconds)
            if quiet == QUIET:
                return
            ctx = ctx if self.api.version == before else self.operator(**config)

    @property
    def status(self) -> Json:
        return self.api.status

    def condition(self, kind: str) -> tuple[str, str, str]:
        found = next(one for one in self.status["conditions"] if one["type"] == kind)
        return found["status"], found["reason"], found["message"]

    def route(self, name: str = NAME) -> Json:
        return self.api.objects[Key(HTTPROUTE, NAMESPACE, name)]

    def backends(self, name: str = NAME) -> list[list[tuple[str, int]]]:
        rules = self.route(name)["spec"]["rules"]
        return [[(one["name"], one["weight"]) for one in rule.get("backendRefs", ())] for rule in rules]

    def selected(self) -> str:
        """The version that the Service of the deployment's name leads to; empty for all of them."""
        service = self.api.objects[Key(SERVICE, NAMESPACE, NAME)]
        return str(service["spec"]["selector"].get("noria.dev/version", ""))

    def names(self) -> list[str]:
        return [one["name"] for one in self.status["traffic"]]


def gateway(world: World, name: str = "public", namespace: str = NAMESPACE, **condition: Any) -> None:
    """A Gateway of the class `acme`, which is not there yet; `condition` is what it says of itself."""
    meta = {"name": name, "namespace": namespace, "uid": name}
    kind = {"apiVersion": GATEWAY_KIND.api_version, "kind": GATEWAY_KIND.kind}
    status = {"conditions": [condition] if condition else []}
    world.api.put(
        GATEWAY_KIND,
        {**kind, "metadata": meta, "spec": {"gatewayClassName": "acme"}, "status": status},
    )


def gateway_class(
    world: World,
    *features: Json | str,
    annotations: Json | None = None,
    controller: str = CONTROLLER,
) -> None:
    """Who controls the Gateway, and what its class says that it can do."""
    meta = {"name": "acme", "namespace": "", "uid": "acme", "annotations": annotations or {}}
    said = {"spec": {"controllerName": controller}, "status": {"supportedFeatures": list(features)}}
    kind = {"apiVersion": GATEWAYCLASS.api_version, "kind": GATEWAYCLASS.kind}
    world.api.put(GATEWAYCLASS, {**kind, "metadata": meta, **said})


def no_answer_about_classes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the API server does not say what a GatewayClass is."""
    get = world.api.get

    async def answers(kind: Kind, namespace: str, name: str) -> Json:
        if kind == GATEWAYCLASS:
            raise Unavailable(0, "Timeout", "no answer")
        return await get(kind, namespace, name)

    monkeypatch.setattr(world.api, "get", answers)


BEGUN: dict[str, World] = {}
"""Canaries that were made, by what was asked for."""


async def canary(folder: Path, router: Json, **spec: Any) -> World:
    """Version 2 beside version 1, at the weight of its step."""
    asked = json.dumps([router, spec])
    if asked not in BEGUN:
        BEGUN[asked] = await made(folder, router, **spec)
    return BEGUN[asked].fork(folder)


async def made(folder: Path, router: Json, **spec: Any) -> World:
    world = World(folder, router=router, replicas=2, strategy=STEPS, **spec)
    if router is MINE:
        mine = {"name": NAME, "port": 80, "weight": 100}
        meta = {"name": "mine", "namespace": NAMESPACE, "uid": "r", "generation": 1}
        rules = [{"matches": ["m"], "backendRefs": [{"name": "legacy", "port": 80, "weight": 300}, mine]}]
        spec_ = {"parentRefs": [{"name": "public"}], "rules": rules}
        kind = {"apiVersion": HTTPROUTE.api_version, "kind": HTTPROUTE.kind}
        world.api.put(HTTPROUTE, {**kind, "metadata": meta, "spec": spec_})
    approve(world.api, 1)
    await world.settle()
    assert world.status["phase"] == "Healthy"
    approve(world.api, 2)
    await world.settle()
    assert [one["weight"] for one in world.status["traffic"]] == [80, 20]
    return world
