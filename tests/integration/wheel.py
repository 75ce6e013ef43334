"""One turn of the whole wheel, with everything outside the operator played by the test.

A ModelDeployment and a ContinuousTraining whose `retrain` was asked for: TrainingJob → training Job →
evaluation Job → ModelVersion → verification Job → rollout. The kubelet runs what the controllers of
Kubernetes made, routers act on status at once, and traffic flows wherever there is weight.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.integration import kubelet
from tests.integration.running import Cluster

from noria_operator.domain.rollout_observed import InForce
from noria_operator.domain.verdict import Counts
from noria_operator.kube.errors import ApiError, NotFound
from noria_operator.kube.kinds import (
    CONTINUOUSTRAINING,
    CONTROLLERREVISION,
    DEPLOYMENT,
    JOB,
    MODELDEPLOYMENT,
    MODELVERSION,
    PDB,
    POD,
    PVC,
    SECRET,
    SERVICE,
    TRAININGJOB,
    Json,
    Kind,
)

NAME = "flight-delay"
DIGEST = "sha256:" + "ab" * 32
_CHILDREN = (TRAININGJOB, MODELVERSION, JOB, DEPLOYMENT, SERVICE, CONTROLLERREVISION, PDB, SECRET)


@dataclass
class World:
    """The cluster's other inhabitants. Lives longer than any operator, as they do."""

    cluster: Cluster
    requests: Counter[str] = field(default_factory=Counter)
    failing: frozenset[str] = frozenset()
    _addresses: Any = field(default_factory=lambda: itertools.count(1))

    async def prepare(self) -> None:
        """What a user applies before the first turn."""
        space, client = self.cluster.namespace, self.cluster.client
        claim = {
            "metadata": {"name": "models"},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "storageClassName": "shared",
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }
        await kubelet.add_node(client, space)
        await client.create(PVC, space, claim)
        await client.create(MODELDEPLOYMENT, space, model_deployment())
        await client.create(CONTINUOUSTRAINING, space, continuous_training())

    async def retrain(self, turn: int) -> None:
        """Ask for another turn, as a user does."""
        annotation = {"metadata": {"annotations": {"noria.dev/retrain": str(turn)}}}
        await self.cluster.client.merge(CONTINUOUSTRAINING, self.cluster.namespace, NAME, annotation)

    async def step(self) -> None:
        """Let every pod that waits for the kubelet go on."""
        for pod in await self.cluster.client.list(POD, self.cluster.namespace):
            try:
                if pod["metadata"].get("deletionTimestamp"):
                    await kubelet.remove(self.cluster.client, pod)
                elif pod["status"].get("phase") == "Pending":
                    await self._run(pod)
            except (NotFound, ApiError):
                continue  # it went meanwhile

    async def turned(self, version: int) -> bool:
        """Whether this version is served to everybody, and nothing is under way any more."""
        await self.step()
        found = await self.cluster.client.get(MODELDEPLOYMENT, self.cluster.namespace, NAME)
        status = found.get("status", {})
        settled = "candidate" not in status and "previous" not in status
        stable = status.get("stable", {}).get("version")
        if not (settled and stable == f"{NAME}-{version}" and status.get("phase") == "Healthy"):
            return False
        return all(share["verified"] for share in status["traffic"]) and await self._recorded(version)

    async def state(self) -> Json:
        """Everything that must be the same after any fault; without times, uids and counts of evidence."""
        space, client = self.cluster.namespace, self.cluster.client
        state: Json = {}
        for kind in _CHILDREN:
            found = await client.list(kind, space)
            state[kind.plural] = sorted(_shape(kind, obj) for obj in found)
        deployment = await client.get(MODELDEPLOYMENT, space, NAME)
        status = deployment["status"]
        state["traffic"] = [
            (share["version"], share["weight"], share["verified"]) for share in status["traffic"]
        ]
        state["phase"] = status["phase"]
        state["rejected"] = status.get("rejected", [])
        training = await client.get(CONTINUOUSTRAINING, space, NAME)
        state["runs"] = len(training["status"].get("runs", []))
        state["commands"] = training["status"].get("commands", {})
        return state

    async def orphans(self) -> list[str]:
        """Objects with an owner that does not exist."""
        client, space = self.cluster.client, self.cluster.namespace
        kinds = (*_CHILDREN, MODELDEPLOYMENT, CONTINUOUSTRAINING)
        every = [obj for kind in kinds for obj in await client.list(kind, space)]
        uids = {obj["metadata"]["uid"] for obj in every}
        return [
            f"{obj['kind']} {obj['metadata']['name']}"
            for obj in every
            if any(owner["uid"] not in uids for owner in obj["metadata"].get("ownerReferences", ()))
        ]

    async def _recorded(self, version: int) -> bool:
        """Whether the controllers beside the rollout have caught up with it."""
        client, space = self.cluster.client, self.cluster.namespace
        served = await client.get(MODELVERSION, space, f"{NAME}-{version}")
        jobs = await client.list(TRAININGJOB, space)
        training = await client.get(CONTINUOUSTRAINING, space, NAME)
        return (
            bool(served["status"].get("servedBy"))
            and all(job["status"].get("phase") == "Succeeded" for job in jobs)
            and training["status"].get("commands", {}).get("retrain") == str(version)
            and not training["status"].get("active")
        )

    async def _run(self, pod: Json) -> None:
        client = self.cluster.client
        env = {one["name"]: one.get("value", "") for one in pod["spec"]["containers"][0].get("env", [])}
        if "batch.kubernetes.io/job-name" in pod["metadata"].get("labels", {}):
            await kubelet.finish(client, pod, message=json.dumps(result(env)))
        else:
            number = next(self._addresses)
            await kubelet.make_ready(
                client, pod, node=self.cluster.namespace, ip=f"10.200.{number // 250}.{number % 250 + 1}"
            )

    # -- what the operator asks of routers
    # --------------------------------------------------------------------

    async def in_force(self, namespace: str, deployment: str, pods: Any) -> list[InForce] | None:
        """Routers that act on status in the instant in which it is written."""
        found = await self.cluster.client.get(MODELDEPLOYMENT, namespace, deployment)
        weights = {share["name"]: share["weight"] for share in found["status"].get("traffic", [])}
        return [InForce(found["status"].get("trafficVersion", 0), weights) for _ in pods]

    async def active(self, namespace: str, pods: Any, clusters: Any) -> dict[str, int]:
        """Every request was answered before weights changed."""
        return dict.fromkeys(clusters, 0)

    under_way = active

    async def counts(self, namespace: str, pods: Any, clusters: Any = None) -> dict[str, dict[str, Counts]]:
        """Steady traffic, wherever there is weight."""
        for one in (await self.in_force(namespace, NAME, [None])) or []:
            for name, weight in one.weights.items():
                self.requests[name] += weight * 40
        read = {
            name: Counts(self.requests[name], self.requests[name] if name in self.failing else 0)
            for name in clusters or self.requests
        }
        return {pod["metadata"]["uid"]: read for pod in pods}


def result(env: dict[str, str]) -> Json:
    """What a Job's container writes into its termination message."""
    if "NORIA_CHALLENGER" in env:
        scores = {"challenger": {"auc": "0.71"}}
        if env.get("NORIA_CHAMPION"):
            scores["champion"] = {"auc": "0.70"}
        return {"schema": "noria.evaluation/v1", "rows": 1000, "digest": DIGEST, "metrics": scores}
    if "NORIA_BUNDLE" in env:
        return {"schema": "noria.verification/v1", "digest": env["NORIA_DIGEST"], "bytes": 4096}
    return {
        "schema": "noria.result/v1",
        "artifact": {"uri": env["NORIA_OUTPUT_URI"], "digest": DIGEST, "format": "onnx"},
        "metrics": {"auc": "0.72"},
        "signature": {
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
            "outputs": [{"name": "probability", "datatype": "FP32", "shape": [-1]}],
        },
        "reference": {"digest": DIGEST, "features": 4, "samples": 1000},
    }


def model_deployment() -> Json:
    strategy = {
        "steps": [{"weight": 50, "minRequests": 100}],
        "analysis": {"interval": "1s"},
        "keepPrevious": "0s",
    }
    return {"metadata": {"name": NAME}, "spec": {"model": NAME, "replicas": 1, "strategy": strategy}}


def continuous_training() -> Json:
    training = {
        "model": NAME,
        "image": "example/train:1",
        "command": ["python", "train.py"],
        "output": {"uri": "pvc://models/flight-delay"},
        "data": [{"name": "holdout", "uri": "pvc://models/holdout"}],
        "evaluation": {"data": "holdout", "label": "late"},
        "gates": [
            {"metric": "auc", "min": "0.65"},
            {"metric": "auc", "versus": "champion", "maxDrop": "0.01"},
        ],
    }
    return {
        "metadata": {"name": NAME},
        "spec": {
            "deployment": NAME,
            "cooldown": "0s",
            "historyLimit": 100,
            "triggers": [{"name": "yearly", "schedule": "0 0 1 1 *", "timeZone": "UTC"}],
            "template": {"spec": training},
        },
    }


def _shape(kind: Kind, obj: Json) -> str:
    """One object in a word: names where they are deterministic, the end state where there is one."""
    meta, status = obj["metadata"], obj.get("status", {})
    name = re.sub(r"(-[0-9a-f]{6,10})+(?=-|$)|(?<=^noria-router)-[0-9a-f]$", "-#", meta["name"])
    end = status.get("phase") or ("complete" if status.get("succeeded") else "")
    replicas = obj["spec"].get("replicas") if kind == DEPLOYMENT else ""
    return f"{name} {end}{replicas}".strip()
