"""From a TrainingJob to an approved ModelVersion on a real API server, whenever the operator stops."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.integration import kubelet
from tests.integration.faults import CrashAfter, Faults
from tests.integration.running import Cluster, eventually, operator, run_to_end
from tests.unit.domain.training_world import deployment, evaluation, result, training_job, version

from noria_operator.controllers import continuoustraining, modelversion, trainingjob
from noria_operator.kube.kinds import (
    CONTINUOUSTRAINING,
    JOB,
    MODELDEPLOYMENT,
    MODELVERSION,
    POD,
    TRAININGJOB,
    Json,
)

CONTROLLERS: tuple[Any, ...] = (trainingjob, modelversion, continuoustraining)
DIGEST = "sha256:" + "a" * 64
VERIFIED = f'{{"schema": "noria.verification/v1", "digest": "{DIGEST}", "bytes": 3}}'


async def create(cluster: Cluster, name: str = "flights-1", **spec: Any) -> Json:
    body = {"metadata": {"name": name}, "spec": training_job(**spec)["spec"]}
    return await cluster.client.create(TRAININGJOB, cluster.namespace, body)


async def play(cluster: Cluster, *, code: int = 0, scored: str = evaluation("0.72", None)) -> None:
    """Let every pending pod end as its program should (`scored`: what the evaluation says), or all with this
    exit code.
    """
    pods = await cluster.client.list(POD, cluster.namespace)  # first: the owner of each is there then
    jobs = {obj["metadata"]["uid"]: obj for obj in await cluster.client.list(TRAININGJOB, cluster.namespace)}
    for pod in pods:
        if pod.get("status", {}).get("phase") != "Pending":
            continue
        program = pod["spec"]["containers"][0]["name"]
        owner = jobs.get(pod["metadata"]["labels"]["noria.dev/owner-uid"])
        said = {"evaluate": scored, "verify": VERIFIED}.get(program, "")
        message = result(owner) if program == "train" and owner else said
        await kubelet.finish(cluster.client, pod, message="" if code else message, exit_code=code)


async def phases(cluster: Cluster) -> dict[str, str]:
    """Phase of every object of ours in the namespace."""
    found = {}
    for kind in (TRAININGJOB, MODELVERSION):
        for obj in await cluster.client.list(kind, cluster.namespace):
            found[obj["metadata"]["name"]] = str(obj["status"].get("phase"))
    return found


def over(cluster: Cluster, wanted: dict[str, str]) -> Any:
    async def check() -> bool:
        await play(cluster)
        return await phases(cluster) == wanted

    return check


@pytest.mark.parametrize("write", range(1, 14, 2))
async def test_the_version_is_made_once_wherever_the_operator_stops(cluster: Cluster, write: int) -> None:
    await create(cluster, "run")
    done = over(cluster, {"run": "Succeeded", "flights-1": "Approved"})
    crash = CrashAfter(write)
    await run_to_end(cluster, CONTROLLERS, faults=crash.faults(), until=done)
    await run_to_end(cluster, CONTROLLERS, faults=Faults(), until=done)
    jobs = sorted(one["metadata"]["name"] for one in await cluster.client.list(JOB, cluster.namespace))
    assert jobs == ["flights-1-verify", "run-evaluate", "run-train"]


@pytest.mark.parametrize("challenger", ["0.60", "0.71"])
async def test_a_loss_in_one_slice_refuses_a_model_and_a_kept_one_has_its_slices(
    cluster: Cluster, challenger: str
) -> None:
    gate = {"metric": "auc", "versus": "champion", "maxDrop": "0.02", "bySlice": True}
    slices = [{"feature": "sex"}, {"feature": "age", "bounds": ["25", "40"]}]
    champion, served = version(1), deployment(1)
    for kind, obj in ((MODELVERSION, champion), (MODELDEPLOYMENT, served)):
        body = {"metadata": {"name": obj["metadata"]["name"]}, "spec": obj["spec"]}
        await cluster.client.create(kind, cluster.namespace, body)
    await cluster.client.apply_status(MODELDEPLOYMENT, cluster.namespace, "flights", served["status"])
    await create(cluster, "run", slices=slices, gates=[gate])
    told = [
        ["sex", "f", 400, "auc", challenger, "0.70", "0.01"],
        ["age", "..25", 9, "auc", "0.5", None, None],
    ]
    scored = json.dumps(json.loads(evaluation("0.72", "0.71")) | {"slices": told, "slicesLeftOut": 2})

    async def ended() -> Json | None:
        await play(cluster, scored=scored)
        obj = await cluster.client.get(TRAININGJOB, cluster.namespace, "run")
        return obj if obj["status"].get("phase") in ("Failed", "Succeeded") else None

    async with operator(cluster, CONTROLLERS):
        obj = await eventually(ended)
    measured = obj["status"]["evaluation"]
    assert [one["rows"] for one in measured["slices"]] == [400, 9]
    assert measured["slicesLeftOut"] == 2
    assert "sex=f (400 rows)" in obj["status"]["gates"][0]["detail"]
    made = {
        one["metadata"]["name"]: one for one in await cluster.client.list(MODELVERSION, cluster.namespace)
    }
    if challenger == "0.60":
        assert (obj["status"]["phase"], set(made)) == ("Failed", {"flights-1"})
        return
    assert made["flights-2"]["spec"]["evaluation"]["slices"] == measured["slices"]


async def test_a_failed_run_says_why_and_its_retries_are_counted_by_the_job(cluster: Cluster) -> None:
    await create(cluster, "run", retries=0)

    async def failed() -> Json | None:
        await play(cluster, code=1)
        obj = await cluster.client.get(TRAININGJOB, cluster.namespace, "run")
        return obj if obj["status"].get("phase") == "Failed" else None

    async with operator(cluster, CONTROLLERS):
        obj = await eventually(failed)
    condition = next(one for one in obj["status"]["conditions"] if one["type"] == "Failed")
    assert condition["reason"] == "TrainingFailed"
    assert "kubectl logs" in condition["message"]
    assert await cluster.client.list(MODELVERSION, cluster.namespace) == []


async def test_suspend_holds_the_pods_and_resume_finishes_the_run(cluster: Cluster) -> None:
    await create(cluster, "run", evaluation=None, gates=None)

    async def pods() -> list[Json] | None:
        return await cluster.client.list(POD, cluster.namespace) or None

    async def suspended() -> bool:
        obj = await cluster.client.get(TRAININGJOB, cluster.namespace, "run")
        return obj["status"].get("phase") == "Suspended" and not await pods()

    async with operator(cluster, CONTROLLERS):
        await eventually(pods)
        await cluster.client.merge(TRAININGJOB, cluster.namespace, "run", {"spec": {"suspend": True}})
        await eventually(suspended)
        await cluster.client.merge(TRAININGJOB, cluster.namespace, "run", {"spec": {"suspend": False}})
        await eventually(over(cluster, {"run": "Succeeded", "flights-1": "Approved"}))


async def test_a_person_asks_a_loop_for_a_run_and_gets_one(cluster: Cluster) -> None:
    template = training_job(deployment=None)["spec"]
    body = {
        "metadata": {"name": "loop", "annotations": {"noria.dev/retrain": "now-1"}},
        "spec": {"deployment": "flights", "template": {"spec": template}},
    }
    await cluster.client.create(CONTINUOUSTRAINING, cluster.namespace, body)

    async def done() -> Json | None:
        await play(cluster)
        obj = await cluster.client.get(CONTINUOUSTRAINING, cluster.namespace, "loop")
        made = await cluster.client.list(TRAININGJOB, cluster.namespace)
        ended = [one for one in made if one["status"].get("phase") == "Succeeded"]
        return obj if ended and "active" not in obj["status"] else None

    async with operator(cluster, CONTROLLERS):
        loop = await eventually(done)
    assert loop["status"]["commands"] == {"retrain": "now-1"}
    assert len(loop["status"]["runs"]) == 1
    (made,) = await cluster.client.list(TRAININGJOB, cluster.namespace)
    assert made["status"]["trigger"]["reason"] == "Manual"
    assert made["metadata"]["name"] == loop["status"]["lastTrigger"]["trainingJob"]
