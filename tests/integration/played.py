"""An API server of which the transport alone is played: discovery, lists, watches that follow a script."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from aiohttp import web
from tests.integration.running import alongside

from noria_operator.kube.kinds import TRAININGJOB, Json
from noria_operator.kube.login import Endpoint
from noria_operator.kube.store import EventType
from noria_operator.kube.stream import State, Stream
from noria_operator.kube.watch import Watcher

Script = Callable[[web.StreamResponse], Awaitable[None]]
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
GROUP = "/apis/noria.dev/v1alpha1"


def job(name: str, version: int) -> Json:
    meta = {"name": name, "namespace": "ns", "uid": name, "resourceVersion": str(version)}
    return {"apiVersion": "noria.dev/v1alpha1", "kind": "TrainingJob", "metadata": meta}


def line(type: str, obj: Json) -> bytes:
    return json.dumps({"type": type, "object": obj}).encode() + b"\n"


def complete(version: int) -> bytes:
    """The bookmark after all there is."""
    marks = {"k8s.io/initial-events-end": "true"}
    meta = {"resourceVersion": str(version), "annotations": marks}
    return line("BOOKMARK", {"kind": "TrainingJob", "metadata": meta})


def resource(name: str, kind: str, *, namespaced: bool) -> Json:
    verbs = ["list", "watch", "get", "patch"]
    return {
        "name": name,
        "singularName": kind.lower(),
        "namespaced": namespaced,
        "kind": kind,
        "verbs": verbs,
    }


async def refuses(request: web.Request) -> web.StreamResponse:
    """As Kubernetes 1.33 does, and before 1.32."""
    about = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
    return web.json_response({"kind": "Status", "code": 422, "message": about}, status=422)


async def ignores(request: web.Request) -> web.StreamResponse:
    """As one that knows no such parameter: a watch in which nothing happens, until its time is over."""
    return web.Response()


async def tells(request: web.Request) -> web.StreamResponse:
    """As Kubernetes 1.34 does of a name that nothing has."""
    return web.Response(body=complete(30))


class Api:
    """Discovery, a list of one object, and watches that follow a script, the last one for ever. `whole`
    answers the question whether watches begin with all there is.
    """

    def __init__(self, *scripts: Script, whole: Answer = refuses) -> None:
        self._scripts = list(scripts)
        self._whole = whole
        self.forbidden: set[str] = set()
        """Namespaces in which nothing may be read."""
        self.asked = 0
        self.lists = 0
        self.watches = 0
        self.since: list[str | None] = []
        """The resourceVersion that each watch began at; None for one that begins with all there is."""

    async def discover(self, request: web.Request) -> web.Response:
        version = {"version": "v1alpha1", "groupVersion": "noria.dev/v1alpha1"}
        group = {"name": "noria.dev", "versions": [version], "preferredVersion": version}
        answers = {
            "/api": {"versions": ["v1"]},
            "/api/v1": {"resources": [resource("namespaces", "Namespace", namespaced=False)]},
            "/apis": {"groups": [group]},
            GROUP: {"resources": [resource("trainingjobs", "TrainingJob", namespaced=True)]},
        }
        return web.json_response(answers[request.path])

    async def collection(self, request: web.Request) -> web.StreamResponse:
        if request.match_info.get("namespace") in self.forbidden:
            return web.json_response({"kind": "Status", "code": 403, "reason": "Forbidden"}, status=403)
        if request.query.get("watch") != "true":
            self.lists += 1
            listed = {"metadata": {"resourceVersion": "10"}, "items": [job("listed", 5)]}
            return web.json_response(listed)
        if "fieldSelector" in request.query:
            self.asked += 1
            return await self._whole(request)
        response = web.StreamResponse()
        await response.prepare(request)
        self.watches += 1
        self.since.append(
            None if request.query.get("sendInitialEvents") == "true" else request.query["resourceVersion"]
        )
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        with contextlib.suppress(ConnectionError):
            await script(response)
        return response


@asynccontextmanager
async def watching(
    api: Api,
    *,
    namespaces: Sequence[str] = (),
    told: Callable[[State], object] = lambda _: None,
    period: float = 600.0,
) -> AsyncIterator[tuple[Watcher, list[tuple[EventType, str]], list[Stream]]]:
    application = web.Application()
    for path in ("/api", "/api/v1", "/apis", GROUP):
        application.router.add_get(path, api.discover)
    for path in ("trainingjobs", "namespaces/{namespace}/trainingjobs"):
        application.router.add_get(f"{GROUP}/{path}", api.collection)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    seen: list[tuple[EventType, str]] = []
    relisted: list[Stream] = []
    watcher = Watcher(
        Endpoint(f"http://127.0.0.1:{runner.addresses[0][1]}"),
        {TRAININGJOB: None},
        namespaces=namespaces,
        seen=lambda type, obj: seen.append((type, obj["metadata"]["name"])),
        relisted=relisted.append,
        told=told,
        period=period,
    )
    try:
        async with alongside(watcher.run()):
            yield watcher, seen, relisted
    finally:
        await runner.cleanup()


async def good(response: web.StreamResponse) -> None:
    await response.write(line("ADDED", job("late", 20)))
    await asyncio.sleep(30)


async def until(probe: Callable[[], bool]) -> None:
    async with asyncio.timeout(40):
        while not probe():  # noqa: ASYNC110 (the probes look at several things)
            await asyncio.sleep(0.02)
