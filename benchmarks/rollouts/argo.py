"""The controller of Argo Rollouts, built from its Go module, and its objects: canaries by number of pods, or
by the weights of an Ingress.

By pods its users write two objects, as docs/getting-started/basic of that module has them: a Rollout, and a
Service of its name that selects its pods, by which they are called. Invariant: only `Access.NONE` leaves out
what somebody needs who calls what is rolled out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum

import psutil
from tools.cluster.layout import binary
from tools.ports import free_port

from benchmarks.harness import answers, cpu_seconds, eventually, kubectl
from benchmarks.rollouts.contender import ANALYSIS, ERRORS, GOOD, INTERVAL, Contender, Json, Key
from benchmarks.rollouts.ground import Ground, spawn
from benchmarks.rollouts.pods import template
from benchmarks.rollouts.watching import Watched, watching
from noria_operator.kube import kinds
from noria_operator.kube.kinds import Kind

ROLLOUT = Kind("argoproj.io", "v1alpha1", "rollouts", "Rollout")
REPLICASET = Kind("apps", "v1", "replicasets", "ReplicaSet")
ANALYSISTEMPLATE = Kind("argoproj.io", "v1alpha1", "analysistemplates", "AnalysisTemplate")
INGRESS = Kind("networking.k8s.io", "v1", "ingresses", "Ingress")
CANARY_WEIGHT = "nginx.ingress.kubernetes.io/canary-weight"
ACCOUNT = "argo-rollouts"
TUNED = ("--qps=500", "--burst=1000", "--rollout-threads=20", "--service-threads=20")
"""What its documentation advises where there are many rollouts: more requests, more threads."""


class Access(StrEnum):
    """How a rollout is called: what its user writes beside it, and what its name on the page adds."""

    SERVICE = ""
    """One Service for all pods: who has more of them gets more requests."""
    INGRESS = ", with a router"
    """Two Services and an Ingress, by whose weights a router would divide requests."""
    NONE = ", without a Service"
    """Nobody can."""


@dataclass
class Argo:
    """A running controller."""

    ground: Ground
    name: str
    process: psutil.Process
    metrics_url: str
    access: Access
    source: str = ""
    """Of what Prometheus errors are asked for, if any."""
    account: str = ACCOUNT
    kind: Kind = ROLLOUT
    reconcile_metric: str = "rollout_reconcile"

    def cpu(self) -> float:
        return cpu_seconds(self.process)

    async def prepare(self, keys: Sequence[Key]) -> None:
        for space in dict.fromkeys(space for space, _ in keys):
            await self.ground.client.create(kinds.NAMESPACE, "", {"metadata": {"name": space}})
            if self.source:
                await self.ground.client.create(ANALYSISTEMPLATE, space, analysis_template(self.source))

    async def create(self, key: Key) -> None:
        """A Rollout, and what its user writes to have it called."""
        for kind, body in objects(key, self.access, judged=bool(self.source)):
            await self.ground.client.create(kind, key[0], body)

    def healthy(self, obj: Json) -> bool:
        return bool(obj.get("status", {}).get("phase") == "Healthy")

    async def change(self, key: Key) -> None:
        await self.ground.client.merge(ROLLOUT, *key, {"spec": {"template": _pods(key, 2)}})

    def at_first_step(self, obj: Json) -> bool:
        status = obj.get("status", {})
        return bool(status.get("pauseConditions")) and status.get("currentStepIndex") == 1

    async def abort(self, key: Key) -> None:
        await self.ground.client.apply_status(ROLLOUT, *key, {"abort": True})

    @asynccontextmanager
    async def weightless(self, key: Key, watched: Watched) -> AsyncIterator[Awaitable[float]]:
        """When the Ingress says weight 0, or the challenger's ReplicaSet is asked for no pods: that is what
        weight 0 means here.
        """
        space, name = key
        digest = watched.objects[key]["status"]["currentPodHash"]
        routed = self.access is Access.INGRESS
        shown = (space, f"{name}-{name}-canary" if routed else f"{name}-{digest}")
        ended = _weightless if routed else _podless
        async with watching(self.ground.kubeconfig, INGRESS if routed else REPLICASET) as told:
            await told.one(shown, lambda _: True)
            yield told.one(shown, ended)


def objects(key: Key, access: Access, *, judged: bool = False) -> list[tuple[Kind, Json]]:
    """What a user writes for a rollout that stops at half, in the order in which it is created; `judged`: by
    the AnalysisTemplate of its namespace.
    """
    name = key[1]
    canary: Json = {"steps": [{"setWeight": 50}, {"pause": {}}]}
    services = {Access.SERVICE: [name], Access.INGRESS: [f"{name}-stable", f"{name}-canary"]}.get(access, [])
    written = [(kinds.SERVICE, _service(each, name)) for each in services]
    if access is Access.INGRESS:
        written.append((INGRESS, _ingress(name)))
        canary |= {f"{role}Service": f"{name}-{role}" for role in ("stable", "canary")}
        canary["trafficRouting"] = {"nginx": {"stableIngress": name}}
    if judged:
        rollout = {"name": "rollout", "value": "/".join(key)}
        canary["analysis"] = {"templates": [{"templateName": ANALYSIS}], "args": [rollout]}
    spec = {
        "replicas": 2,
        "selector": {"matchLabels": {"app": name}},
        "template": _pods(key, 1),
        "strategy": {"canary": canary},
    }
    return [*written, (ROLLOUT, {"metadata": {"name": name}, "spec": spec})]


def analysis_template(source: str) -> Json:
    """One bad answer of this Prometheus is the end of a rollout."""
    asked = {"address": source, "query": ERRORS.format("{{args.rollout}}")}
    metric = {
        "name": ANALYSIS,
        "interval": INTERVAL,
        "successCondition": GOOD,
        "provider": {"prometheus": asked},
    }
    return {"metadata": {"name": ANALYSIS}, "spec": {"args": [{"name": "rollout"}], "metrics": [metric]}}


def _podless(replicas: Json) -> bool:
    return bool(replicas["spec"]["replicas"] == 0)


def _weightless(ingress: Json) -> bool:
    return bool(ingress["metadata"]["annotations"].get(CANARY_WEIGHT) == "0")


def _pods(key: Key, number: int) -> Json:
    pods = template(*key, number)
    pods["metadata"]["labels"]["app"] = key[1]
    return pods


def _service(name: str, app: str) -> Json:
    port = {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}
    return {"metadata": {"name": name}, "spec": {"selector": {"app": app}, "ports": [port]}}


def _ingress(name: str) -> Json:
    backend = {"service": {"name": f"{name}-stable", "port": {"name": "http"}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    rule = {"host": f"{name}.example.com", "http": {"paths": [path]}}
    return {"metadata": {"name": name}, "spec": {"ingressClassName": "nginx", "rules": [rule]}}


@asynccontextmanager
async def argo(
    ground: Ground, *, tuned: bool, access: Access = Access.SERVICE, source: str = ""
) -> AsyncIterator[Contender]:
    """Start the controller, end it afterwards."""
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
        name = "Argo Rollouts" + (", tuned" if tuned else "") + access.value
        yield Argo(ground, name, psutil.Process(process.pid), url, access, source)
    finally:
        process.terminate()
        process.wait(timeout=40)
