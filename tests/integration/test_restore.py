"""Objects that are made again from a copy, as docs/operations.md says: what was decided stays decided."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

from tests.integration.deployments import NAME, Routers, approve, deploy, kubelet, say, serves, until
from tests.integration.running import Cluster, eventually, operator
from tests.unit.domain.training_world import training_job
from tools.cluster import layout

from noria_operator.controllers import modeldeployment, modelversion, trainingjob
from noria_operator.controllers.context import Config
from noria_operator.kube.kinds import (
    DEPLOYMENT,
    JOB,
    MODELDEPLOYMENT,
    MODELVERSION,
    TRAININGJOB,
    Json,
)

CONTROLLERS = (modeldeployment, modelversion, trainingjob)
OF_THE_OLD_OBJECT = (
    "uid", "resourceVersion", "ownerReferences", "creationTimestamp", "generation", "managedFields",
)  # fmt: skip
KINDS = "trainingjobs,modelversions,modeldeployments,continuoustrainings"


async def kubectl(kubeconfig: Path, cluster: Cluster, *words: str, told: str = "") -> str:
    command = [str(layout.binary("kubectl")), f"--kubeconfig={kubeconfig}", "-n", cluster.namespace, *words]
    done = await asyncio.to_thread(
        subprocess.run, command, input=told, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def phases(cluster: Cluster) -> dict[str, str]:
    return {
        obj["metadata"]["name"]: obj["status"]["phase"]
        for kind in (TRAININGJOB, MODELVERSION, MODELDEPLOYMENT)
        for obj in await cluster.client.list(kind, cluster.namespace)
    }


async def test_what_was_decided_stays_decided_in_objects_that_come_back_with_their_status(
    cluster: Cluster, config: Config, kubeconfig: Path
) -> None:
    space, client = cluster.namespace, cluster.client
    await client.create(TRAININGJOB, space, {"metadata": {"name": "old-run"}, "spec": training_job()["spec"]})
    await client.apply_status(
        TRAININGJOB, space, "old-run", {"phase": "Succeeded", "modelVersion": "flights-1"}
    )
    await approve(cluster, 1)
    await deploy(cluster, strategy={"steps": [{"weight": 10, "duration": "1h"}]})
    async with kubelet(cluster), operator(cluster, CONTROLLERS, router=Routers(cluster), config=config):
        await until(cluster, serves(1))
        await approve(cluster, 2)
        await until(cluster, lambda found: found["phase"] == "Progressing")
        await say(cluster, "abort", "1")
        await until(cluster, lambda found: found["phase"] == "RolledBack" and serves(1)(found))
    before = await phases(cluster)

    copy = json.loads(await kubectl(kubeconfig, cluster, "get", KINDS, "-o", "json"))
    other = await cluster.another()
    for obj in copy["items"]:
        for name in OF_THE_OLD_OBJECT:
            obj["metadata"].pop(name, None)
        obj["metadata"]["namespace"] = other.namespace
    await kubectl(kubeconfig, other, "create", "-f", "-", told=json.dumps(copy))
    await kubectl(kubeconfig, other, "replace", "--subresource=status", "-f", "-", told=json.dumps(copy))
    mine = other.config(master_key_file=config.master_key_file)
    async with kubelet(other), operator(other, CONTROLLERS, router=Routers(other), config=mine):
        await eventually(lambda: serving(other))
        found: Json = await until(other, lambda it: serves(1)(it) and ready(it))
    assert [one["version"] for one in found["rejected"]] == [f"{NAME}-2"]
    assert await phases(other) == before
    assert await other.client.list(JOB, other.namespace) == []


async def serving(cluster: Cluster) -> bool:
    """Whether there are pods of version 1 again."""
    found = await cluster.client.list(DEPLOYMENT, cluster.namespace)
    return any(
        one["metadata"]["name"].startswith(f"{NAME}-1-") and one.get("status", {}).get("readyReplicas") == 1
        for one in found
    )


def ready(found: Json) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in found["conditions"])
