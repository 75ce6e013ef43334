"""A controller small enough to see through, for tests of the machinery below the real ones.

For each TrainingJob it keeps a Service of the same name and one Job, and counts the finished Jobs in status.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from tests.integration.running import Cluster

from noria_operator.controllers.context import Context, Result
from noria_operator.kube.errors import Terminal
from noria_operator.kube.kinds import JOB, SERVICE, TRAININGJOB, Json, Key, Kind
from noria_operator.kube.store import Store


@dataclass
class Toy:
    """Behaves like a controller module. `passes` counts its passes by object name."""

    KIND: Kind = TRAININGJOB
    OWNS: tuple[Kind, ...] = (JOB, SERVICE)
    passes: dict[str, int] = field(default_factory=dict)
    again: timedelta | None = None

    async def reconcile(self, ctx: Context, key: Key) -> Result:
        obj = ctx.store.get(key)
        self.passes[key.name] = self.passes.get(key.name, 0) + 1
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            return Result()
        if obj["spec"]["model"] == "impossible":
            raise Terminal("Impossible", "choose a model that exists")
        await ctx.writer.apply(SERVICE, service(key.name), owner=obj)
        made = await ctx.writer.create_once(JOB, job(key.name), owner=obj)
        phase = "Succeeded" if made.get("status", {}).get("succeeded") else "Running"
        status = {"phase": phase, "observedGeneration": obj["metadata"]["generation"]}
        await ctx.writer.status(TRAININGJOB, obj, status)
        if phase == "Succeeded" and obj["status"].get("phase") != phase:
            await ctx.events.emit(obj, "Normal", "Succeeded", "the Job succeeded")
        return Result(after=self.again)

    def related(self, store: Store, obj: Json) -> list[Key]:
        return []


def service(name: str) -> Json:
    meta = {"name": name, "labels": {"noria.dev/revision": "1"}}
    return {"metadata": meta, "spec": {"ports": [{"port": 80}], "selector": {"app": name}}}


def job(name: str) -> Json:
    container = {"name": "main", "image": "none"}
    pod = {"restartPolicy": "Never", "containers": [container]}
    labels = {"app.kubernetes.io/managed-by": "noria"}
    return {
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }


async def create(cluster: Cluster, name: str = "train", model: str = "flight-delay") -> Json:
    spec = {
        "model": model,
        "image": "example/train:1",
        "command": ["python", "train.py"],
        "output": {"uri": "pvc://models/flight-delay"},
    }
    return await cluster.client.create(
        TRAININGJOB, cluster.namespace, {"metadata": {"name": name}, "spec": spec}
    )


async def phase(cluster: Cluster, name: str = "train") -> str:
    obj = await cluster.client.get(TRAININGJOB, cluster.namespace, name)
    return str(obj["status"].get("phase"))
