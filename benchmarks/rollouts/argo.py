"""The controller of Argo Rollouts, built from its Go module, and its objects: canaries by number of pods."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psutil
from tools.cluster import binaries
from tools.cluster.layout import binary

from benchmarks.harness import answers, eventually, free_port, kubectl
from benchmarks.objects import IMAGE
from benchmarks.rollouts.contender import Contender, Json, Key
from benchmarks.rollouts.ground import Ground, spawn
from benchmarks.rollouts.watching import Watched, watching
from noria_operator.kube import kinds
from noria_operator.kube.kinds import Kind

ROLLOUT = Kind("argoproj.io", "v1alpha1", "rollouts", "Rollout")
REPLICASET = Kind("apps", "v1", "replicasets", "ReplicaSet")
ACCOUNT = "argo-rollouts"
TUNED = ("--qps=500", "--burst=1000", "--rollout-threads=20", "--service-threads=20")
"""What its documentation advises where there are many rollouts: more requests, more threads."""


@dataclass
class Argo:
    """A running controller."""

    ground: Ground
    name: str
    process: psutil.Process
    metrics_url: str
    sets: Watched
    account: str = ACCOUNT
    kind: Kind = ROLLOUT
    reconcile_metric: str = "rollout_reconcile"

    async def prepare(self, keys: Sequence[Key]) -> None:
        for space in dict.fromkeys(space for space, _ in keys):
            await self.ground.client.create(kinds.NAMESPACE, "", {"metadata": {"name": space}})

    def body(self, key: Key) -> Json:
        labels = {"app": key[1]}
        pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": IMAGE}]}}
        steps = [{"setWeight": 50}, {"pause": {}}]
        spec = {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": pod,
            "strategy": {"canary": {"steps": steps}},
        }
        api = {"apiVersion": self.kind.api_version, "kind": self.kind.kind}
        return {**api, "metadata": {"name": key[1]}, "spec": spec}

    def healthy(self, obj: Json) -> bool:
        return bool(obj.get("status", {}).get("phase") == "Healthy")

    async def change(self, key: Key) -> None:
        container = {"name": "main", "image": IMAGE.replace("0" * 64, "1" * 64)}
        body = {"spec": {"template": {"spec": {"containers": [container]}}}}
        await self.ground.client.merge(ROLLOUT, *key, body)

    def at_first_step(self, obj: Json) -> bool:
        status = obj.get("status", {})
        return bool(status.get("pauseConditions")) and status.get("currentStepIndex") == 1

    async def abort(self, key: Key, watched: Watched) -> float:
        """Until the challenger's ReplicaSet is asked for no pods: that is what weight 0 means here."""
        digest = watched.objects[key]["status"]["currentPodHash"]
        start = time.monotonic()
        patch = ["--subresource=status", "--type=merge", "-p", '{"status": {"abort": true}}']
        patching = asyncio.to_thread(
            kubectl, self.ground.kubeconfig, "patch", "rollout", key[1], "-n", key[0], *patch
        )
        task = asyncio.create_task(patching)
        end = await self.sets.one((key[0], f"{key[1]}-{digest}"), lambda it: it["spec"]["replicas"] == 0)
        await task
        return end - start


@asynccontextmanager
async def argo(ground: Ground, *, tuned: bool) -> AsyncIterator[Contender]:
    """Start the controller, end it afterwards."""
    binaries.ensure("argo-rollouts")
    crds = str(binary("argo-rollouts-crds.yaml"))
    kubectl(ground.kubeconfig, "apply", "--server-side", "-f", crds)
    kubectl(ground.kubeconfig, "wait", "--for=condition=Established", "-f", crds)
    kubectl(ground.kubeconfig, "create", "namespace", ACCOUNT)
    kubectl(ground.kubeconfig, "create", "serviceaccount", ACCOUNT, "-n", ACCOUNT)
    rights = ["--clusterrole=cluster-admin", f"--serviceaccount={ACCOUNT}:{ACCOUNT}"]
    kubectl(ground.kubeconfig, "create", "clusterrolebinding", ACCOUNT, *rights)
    login = await ground.login(ACCOUNT, namespace=ACCOUNT)
    metrics, health = free_port(), free_port()
    command = [str(binary("rollouts-controller")), f"--kubeconfig={login}", "--leader-elect=false"]
    command += [f"--metricsport={metrics}", f"--healthzPort={health}", "--loglevel=error"]
    process = spawn([*command, *(TUNED if tuned else ())], ground.folder / "argo.log")
    try:
        url = f"http://127.0.0.1:{metrics}/metrics"
        await eventually(lambda: answers(url))
        async with watching(ground.kubeconfig, REPLICASET) as sets:
            name = "Argo Rollouts, tuned" if tuned else "Argo Rollouts"
            yield Argo(ground, name, psutil.Process(process.pid), url, sets)
    finally:
        process.terminate()
        process.wait(timeout=40)
