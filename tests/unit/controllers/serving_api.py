"""A cluster for ModelDeployments behind the client's methods: Deployments get ready pods and endpoints at
once.

Routers act on what status said when `follow` was called last. It knows no schema; a real API server is used
elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, cast

from tests.backends import by_arm
from tests.unit.controllers.training_api import Api, as_sent, operator

from noria_operator.controllers import modeldeployment
from noria_operator.controllers.context import Context
from noria_operator.domain.access import Told
from noria_operator.domain.rollout_observed import InForce
from noria_operator.domain.verdict import Counts
from noria_operator.evidence.router import RouterReader
from noria_operator.kube.errors import Conflict, Forbidden
from noria_operator.kube.kinds import (
    DEPLOYMENT,
    ENDPOINTSLICE,
    MODELDEPLOYMENT,
    MODELVERSION,
    POD,
    PVC,
    SERVICE,
    Key,
    Kind,
)
from noria_operator.routers.first import first_share

Json = dict[str, Any]
NAMESPACE = "prod"
NAME = "flights"
KEY = Key(MODELDEPLOYMENT, NAMESPACE, NAME)


@dataclass
class ServingApi(Api):
    """Server-side apply as a deep merge, which is enough for bodies that always name the same fields."""

    refuse: dict[str, Exception] = field(default_factory=dict)
    kept: frozenset[Kind] = frozenset()
    """Kinds that a policy lets nobody delete."""

    async def delete(self, kind: Kind, namespace: str, name: str, **options: Any) -> Json | None:
        if kind in self.kept:
            raise Forbidden(403, "Forbidden", "deletions are for admins")
        return await super().delete(kind, namespace, name, **options)

    async def apply(
        self, kind: Kind, namespace: str, body: Json, *, manager: str = "", force: bool = True
    ) -> Json:
        key = Key(kind, namespace, body["metadata"]["name"])
        if error := self.refuse.get(kind.kind):
            raise error
        stored = self.objects.get(key)
        if stored is None:
            return await self.create(kind, namespace, body)
        if body["metadata"].get("resourceVersion") not in (None, stored["metadata"]["resourceVersion"]):
            raise Conflict(409, "Conflict", key.name)
        merged = _merged(as_sent(stored), as_sent(body))
        return merged if merged == stored else self.write("apply", key, merged)

    @property
    def deployment(self) -> Json:
        return self.objects[KEY]

    @property
    def status(self) -> Json:
        found: Json = self.deployment.get("status", {})
        return found

    def fork(self) -> Self:
        """The same cluster a second time."""
        return replace(
            self,
            clock=replace(self.clock),
            objects={key: as_sent(obj) for key, obj in self.objects.items()},
            writes=[*self.writes],
            events=[*self.events],
            refuse=dict(self.refuse),
        )

    def run_pods(self) -> None:
        """Every Deployment has all its pods, ready and among the endpoints of a Service of its name; others
        are gone.
        """
        gone = {key for key in self.objects if key.kind in (POD, ENDPOINTSLICE)}
        for number, workload in enumerate(self.all(DEPLOYMENT)):
            name = workload["metadata"]["name"]
            template = workload["spec"]["template"]
            count = workload["spec"].get("replicas", 1)
            ips = [f"10.0.{number}.{index + 1}" for index in range(count)]
            for index, ip in enumerate(ips):
                gone.discard(self.keep(POD, _pod(f"{name}-{index}", template, ip)))
            if Key(SERVICE, NAMESPACE, name) in self.objects:
                gone.discard(self.keep(ENDPOINTSLICE, _slice(name, template["metadata"]["labels"], ips)))
        for key in gone:
            del self.objects[key]

    def keep(self, kind: Kind, obj: Json) -> Key:
        """Somebody else writes an object where it differs from what is there."""
        key = Key(kind, NAMESPACE, obj["metadata"]["name"])
        there = self.objects.get(key, {"metadata": {"resourceVersion": ""}})
        version = {"resourceVersion": there["metadata"]["resourceVersion"]}
        if there != {**obj, "metadata": obj["metadata"] | version}:
            self.put(kind, obj)
        return key


@dataclass
class Routers:
    """Routers that act on the weights that `follow` gave them."""

    api: ServingApi
    weights: dict[str, int] = field(default_factory=dict)
    version: int = 0
    counted: dict[str, Counts] = field(default_factory=dict)
    busy: dict[str, int] = field(default_factory=dict)
    """Requests that are not answered yet, by revision."""
    reads: int = 0
    told: list[Told | None] = field(default_factory=list)
    """What routers report of the check of callers."""

    of_before: bool = False
    """Whether an operator answers them that goes by status alone."""

    def follow(self) -> None:
        first = None if self.of_before else first_share(self.api.deployment, by_arm(self.api.all(POD)))
        traffic = [first] if first else self.api.status.get("traffic", ())
        self.weights = {one["name"]: one["weight"] for one in traffic}
        self.version = 1 if first else self.api.status.get("trafficVersion", 0)

    async def access(self, namespace: str, deployment: str, pods: Iterable[Json]) -> list[Told | None]:
        return self.told

    async def active(self, namespace: str, pods: Iterable[Json], clusters: Collection[str]) -> dict[str, int]:
        return {name: self.busy.get(name, 0) for name in clusters}

    under_way = active

    async def in_force(self, namespace: str, deployment: str, pods: Iterable[Json]) -> list[InForce]:
        self.reads += 1
        return [InForce(self.version, dict(self.weights)) for _ in pods]

    async def counts(
        self, namespace: str, pods: Iterable[Json], clusters: Collection[str]
    ) -> dict[str, dict[str, Counts]]:
        counted = {name: self.counted.get(name, Counts()) for name in clusters}
        return {pod["metadata"]["uid"]: counted for pod in pods}


def fork(api: ServingApi, routers: Routers) -> tuple[ServingApi, Routers]:
    """The same cluster and its routers a second time."""
    own = api.fork()
    copies = {"weights": dict(routers.weights), "counted": dict(routers.counted), "busy": dict(routers.busy)}
    return own, replace(routers, api=own, **copies)


def cluster(**spec: Any) -> ServingApi:
    """A namespace with one ModelDeployment."""
    api = ServingApi()
    body = {"model": NAME, "router": {"replicas": 1}, **spec}
    meta = {"name": NAME, "namespace": NAMESPACE, "uid": "7b1c2d3e-0000", "generation": 1}
    api.put(MODELDEPLOYMENT, _object(MODELDEPLOYMENT, meta, spec=body))
    return api


def approve(
    api: ServingApi,
    number: int,
    uri: str = "pvc://models/flights",
    phase: str = "Approved",
    like: int | None = None,
) -> str:
    """A version with an artifact of its own, or with that of the version `like`."""
    name = f"{NAME}-{number}"
    artifact = {"uri": f"{uri}/{like or number}", "digest": "sha256:" + "a" * 64, "format": "onnx"}
    meta = {"name": name, "namespace": NAMESPACE, "uid": f"mv-{number}"}
    spec = {"model": NAME, "version": number, "artifact": artifact}
    api.put(MODELVERSION, _object(MODELVERSION, meta, spec=spec, status={"phase": phase}))
    return name


def claim(api: ServingApi, *modes: str) -> None:
    meta = {"name": "models", "namespace": NAMESPACE, "uid": "claim"}
    api.put(PVC, _object(PVC, meta, spec={"accessModes": list(modes)}))


def edit(api: ServingApi, **spec: Any) -> None:
    """The user changes the spec."""
    found = as_sent(api.deployment)
    found["spec"] |= spec
    found["metadata"]["generation"] += 1
    api.put(MODELDEPLOYMENT, found)


def say(api: ServingApi, command: str, id_: str) -> None:
    found = as_sent(api.deployment)
    found["metadata"].setdefault("annotations", {})[f"noria.dev/{command}"] = id_
    api.put(MODELDEPLOYMENT, found)


def started(api: ServingApi, routers: Routers, folder: Path, **config: Any) -> Context:
    """A freshly started operator."""
    key = folder / "master-key"
    if not key.exists():
        key.write_bytes(b"k" * 32)
    ctx = operator(api, master_key_file=key, router_image="noria/router@sha256:" + "c" * 64, **config)
    return replace(ctx, router=cast(RouterReader, routers))


async def settle(api: ServingApi, routers: Routers, folder: Path, *, passes: int = 12, **config: Any) -> None:
    """Pods, routers and operator do what they should until nothing is written any more."""
    for _ in range(passes):
        before = api.version
        await modeldeployment.reconcile(started(api, routers, folder, **config), KEY)
        wrote = api.version != before
        api.run_pods()
        routers.follow()
        if not wrote:
            return


def _object(kind: Kind, meta: Json, **parts: Any) -> Json:
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta, **parts}


def _pod(name: str, template: Json, ip: str) -> Json:
    ready = [{"type": "Ready", "status": "True"}]
    meta = {**template["metadata"], "name": name, "namespace": NAMESPACE, "uid": name}
    status = {"phase": "Running", "podIP": ip, "conditions": ready}
    return _object(POD, meta, spec=template["spec"], status=status)


def _slice(name: str, labels: Json, ips: list[str]) -> Json:
    meta = {"name": f"{name}-slice", "namespace": NAMESPACE, "uid": f"{name}-slice"}
    meta["labels"] = labels | {"kubernetes.io/service-name": name}  # type: ignore[assignment]
    endpoints = [{"addresses": [ip], "conditions": {"ready": True}} for ip in ips]
    return _object(ENDPOINTSLICE, meta, endpoints=endpoints, ports=[{"port": 8080}])


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return old | {key: _merged(old.get(key), value) for key, value in new.items()}
    return new
