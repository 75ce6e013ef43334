"""New training data start a run: our own program looks, on a real API server, whenever the operator stops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.integration import kubelet
from tests.integration.faults import CrashAfter, Faults
from tests.integration.running import Cluster, eventually, operator, run_to_end
from tests.unit.domain.training_world import training_job

from noria_operator.controllers import continuoustraining
from noria_operator.kube.kinds import CONTINUOUSTRAINING, JOB, POD, TRAININGJOB, Json
from noria_serving.errors import NoriaError
from noria_serving.fingerprint import fingerprint

CONTROLLERS: tuple[Any, ...] = (continuoustraining,)


async def watch(cluster: Cluster, **rule: Any) -> None:
    """A loop that looks at its data every second."""
    template = training_job(deployment=None)["spec"]
    trigger = {"name": "fresh", "dataChange": {"data": "train", "every": "1s", "settle": "0s", **rule}}
    spec = {"deployment": "flights", "triggers": [trigger], "cooldown": "0s", "template": {"spec": template}}
    body = {"metadata": {"name": "loop"}, "spec": spec}
    await cluster.client.create(CONTINUOUSTRAINING, cluster.namespace, body)


async def look(cluster: Cluster, lake: Path) -> None:
    """Let every pending pod run our program on this directory."""
    for pod in await cluster.client.list(POD, cluster.namespace):
        if pod.get("status", {}).get("phase") != "Pending":
            continue
        (container,) = pod["spec"]["containers"]
        assert container["command"] == ["python", "-m", "noria_serving.fingerprint"]
        env = {one["name"]: one.get("value", "") for one in container["env"]} | {"NORIA_LOCATION": str(lake)}
        try:
            message, code = json.dumps(fingerprint(env)), 0
        except NoriaError as error:
            refused = {"reason": str(error.reason), "message": error.message}
            message, code = json.dumps({"schema": "noria.fingerprint/v1", "error": refused}), 1
        await kubelet.finish(cluster.client, pod, message=message, exit_code=code)


async def said(cluster: Cluster) -> Json:
    obj = await cluster.client.get(CONTINUOUSTRAINING, cluster.namespace, "loop")
    found: Json = next(iter(obj.get("status", {}).get("triggers", [])), {})
    return found


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    place = tmp_path / "lake"
    place.mkdir()
    (place / "day=1.csv").write_text("a\n1\n")
    return place


@pytest.mark.parametrize("write", [None, 2, 3, 5])
async def test_a_file_more_starts_one_run_wherever_the_operator_stops(
    cluster: Cluster, lake: Path, write: int | None
) -> None:
    await watch(cluster)

    async def known() -> bool:
        await look(cluster, lake)
        return (await said(cluster)).get("decision") == "No"

    await run_to_end(cluster, CONTROLLERS, faults=CrashAfter(write).faults(), until=known)
    await run_to_end(cluster, CONTROLLERS, faults=Faults(), until=known)
    assert await cluster.client.list(TRAININGJOB, cluster.namespace) == []
    (lake / "day=2.csv").write_text("a\n2\n")

    async def started() -> bool:
        await look(cluster, lake)
        return bool(await cluster.client.list(TRAININGJOB, cluster.namespace))

    await run_to_end(cluster, CONTROLLERS, faults=CrashAfter(write).faults(), until=started)
    await run_to_end(cluster, CONTROLLERS, faults=Faults(), until=started)
    await run_to_end(cluster, CONTROLLERS, faults=Faults(), until=known)
    (made,) = await cluster.client.list(TRAININGJOB, cluster.namespace)
    trigger = json.loads(made["metadata"]["annotations"]["noria.dev/trigger"])
    assert (trigger["reason"], trigger["name"]) == ("DataChange", "fresh")

    async def tidy() -> bool:
        await look(cluster, lake)
        return len(await cluster.client.list(JOB, cluster.namespace)) <= 1

    await run_to_end(cluster, CONTROLLERS, faults=Faults(), until=tidy)


async def test_a_location_that_is_gone_is_said_and_starts_nothing(cluster: Cluster, lake: Path) -> None:
    await watch(cluster, dvcFile="flights.dvc")

    async def failed() -> Json | None:
        await look(cluster, lake)
        entry = await said(cluster)
        return entry if entry.get("decision") == "Error" else None

    async with operator(cluster, CONTROLLERS):
        entry = await eventually(failed)
    assert "there is no flights.dvc" in entry["message"]
    assert await cluster.client.list(TRAININGJOB, cluster.namespace) == []
