"""A ModelDeployment on a real API server: what is created, in what order versions change, what an upgrade
leaves alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.integration.deployments import (
    NAME,
    Routers,
    approve,
    deploy,
    kubelet,
    say,
    serves,
    status,
    until,
)
from tests.integration.kubelet import remove
from tests.integration.running import Cluster, eventually, operator

from noria_operator.controllers import modeldeployment
from noria_operator.controllers.context import Config
from noria_operator.domain.verdict import Counts
from noria_operator.kube.kinds import (
    CONTROLLERREVISION,
    DEPLOYMENT,
    MODELDEPLOYMENT,
    POD,
    PVC,
    SERVICE,
    Json,
)


def condition(found: Json, type_: str) -> Json:
    result: Json = next(one for one in found["conditions"] if one["type"] == type_)
    return result


async def names(cluster: Cluster, kind: Any) -> list[str]:
    return sorted(one["metadata"]["name"] for one in await cluster.client.list(kind, cluster.namespace))


@asynccontextmanager
async def running(cluster: Cluster, config: Config, routers: Routers) -> AsyncIterator[Any]:
    async with (
        kubelet(cluster),
        operator(cluster, [modeldeployment], router=routers, config=config) as made,
    ):
        yield made


async def test_the_first_version_is_served_without_a_canary(cluster: Cluster, config: Config) -> None:
    await approve(cluster, 1)
    await deploy(cluster, replicas=2)
    async with running(cluster, config, Routers(cluster)):
        found = await until(cluster, lambda it: it.get("phase") == "Healthy")
    assert found["traffic"][0]["weight"] == 100
    assert {one: condition(found, one)["status"] for one in ("Ready", "Servable", "UpToDate", "Stalled")} == {
        "Ready": "True",
        "Servable": "True",
        "UpToDate": "True",
        "Stalled": "False",
    }
    assert found["url"] == f"http://{NAME}.{cluster.namespace}.svc"
    assert await names(cluster, SERVICE) == [NAME, "noria-router"]
    scale = await cluster.client.get(DEPLOYMENT, cluster.namespace, found["stable"]["name"])
    assert scale["spec"]["replicas"] == 2
    assert scale["metadata"]["labels"]["noria.dev/role"] == "stable"


async def test_a_bad_challenger_loses_its_weight_and_then_its_pods(cluster: Cluster, config: Config) -> None:
    await approve(cluster, 1)
    await deploy(cluster, strategy={"steps": [{"weight": 50, "duration": "1h"}]})
    routers = Routers(cluster)
    async with running(cluster, config, routers):
        first = await until(cluster, serves(1))
        await approve(cluster, 2)
        found = await until(cluster, lambda it: weight(it, 2) == 50)
        stable, loser = first["stable"]["name"], found["candidate"]["name"]
        await asyncio.sleep(1.5)
        routers.counted = {stable: Counts(500), loser: Counts(500, 500)}
        found = await until(cluster, lambda it: it.get("phase") == "RolledBack" and len(it["traffic"]) == 1)
        assert found["rejected"][0]["version"] == f"{NAME}-2"
        assert "500 errors in 500 requests" in found["rejected"][0]["reason"]
        assert found["analysis"]["verdict"] == "Fail"

        async def gone() -> bool:
            kinds = (DEPLOYMENT, SERVICE, CONTROLLERREVISION)
            return not any([loser in await names(cluster, kind) for kind in kinds])

        await eventually(gone)


async def test_a_good_challenger_is_promoted_without_restarting_a_pod(
    cluster: Cluster, config: Config
) -> None:
    await approve(cluster, 1)
    await deploy(cluster, strategy={"steps": [{"weight": 50}], "keepPrevious": "1h"})
    routers = Routers(cluster)
    async with running(cluster, config, routers):
        first = await until(cluster, serves(1))
        await approve(cluster, 2)
        found = await until(cluster, lambda it: weight(it, 2) == 50)
        stable, winner = first["stable"]["name"], found["candidate"]["name"]
        before = await pods(cluster, winner)
        await asyncio.sleep(1.5)
        routers.counted = {stable: Counts(900), winner: Counts(900)}
        found = await until(cluster, serves(2))
        assert found["previous"]["name"] == stable
        assert await pods(cluster, winner) == before

        async def relabelled() -> bool:
            found = await cluster.client.get(DEPLOYMENT, cluster.namespace, winner)
            return bool(found["metadata"]["labels"]["noria.dev/role"] == "stable")

        await eventually(relabelled)
        assert await pods(cluster, stable)


async def test_an_undo_makes_the_former_champion_again_as_it_was_and_stays_with_it(
    cluster: Cluster, config: Config
) -> None:
    await approve(cluster, 1)
    await deploy(cluster, strategy={"keepPrevious": "0s"})
    async with running(cluster, config, Routers(cluster)):
        first = (await until(cluster, serves(1)))["stable"]["name"]
        before = await template(cluster, first)
        await approve(cluster, 2)
        await until(cluster, serves(2))

        async def gone() -> bool:
            return first not in await names(cluster, DEPLOYMENT)

        await eventually(gone)
        await say(cluster, "undo", "ada, ticket 7")
        found = await until(cluster, lambda it: serves(1)(it) and it["phase"] == "RolledBack")
        assert (found["commands"], found["stable"]["name"]) == ({"undo": "ada, ticket 7"}, first)
        assert await template(cluster, first) == before
        assert "undone by noria.dev/undo ada, ticket 7" in found["message"]
        await approve(cluster, 3)
        found = await until(cluster, serves(3))
        assert "undo" not in found
        assert [one["version"] for one in found["champions"]] == [f"{NAME}-1", f"{NAME}-3"]


BEFORE: Json = {
    "image": "example.com/flights@sha256:" + "2" * 64,
    "env": [{"name": "MODE", "value": "exact"}],
    "envFrom": [{"configMapRef": {"name": "flights-1"}}],
    "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "256Mi"}},
    "terminationSeconds": 90,
}
AFTER: Json = {
    "image": "example.com/flights@sha256:" + "3" * 64,
    "env": [{"name": "MODE", "value": "fast"}],
    "envFrom": [{"configMapRef": {"name": "flights-2"}}],
    "resources": {"requests": {"cpu": "200m"}, "limits": {"memory": "512Mi"}},
    "terminationSeconds": 30,
}


async def test_an_undo_brings_back_image_environment_resources_and_settings_of_a_version(
    cluster: Cluster, config: Config
) -> None:
    """Case 34: the version stayed and its configuration changed for the worse."""
    await approve(cluster, 1)
    await deploy(cluster, strategy={"keepPrevious": "0s"}, server=BEFORE)
    async with running(cluster, config, Routers(cluster)):
        first = (await until(cluster, serves(1)))["stable"]["name"]
        before = await template(cluster, first)
        change = {"metadata": {"name": NAME}, "spec": {"server": AFTER}}
        await cluster.client.apply(MODELDEPLOYMENT, cluster.namespace, change, manager="owner", force=True)
        await until(cluster, lambda it: serves(1)(it) and it["stable"]["name"] != first)

        async def gone() -> bool:
            return first not in await names(cluster, DEPLOYMENT)

        await eventually(gone)
        await say(cluster, "undo", "1")
        await until(cluster, lambda it: serves(1)(it) and it["stable"]["name"] == first)
        again = await template(cluster, first)
    assert again == before
    (container,) = again["spec"]["containers"]
    assert container["image"] == BEFORE["image"]
    assert BEFORE["env"][0] in container["env"]
    assert BEFORE["envFrom"][0] in container["envFrom"]
    assert container["resources"] == BEFORE["resources"]
    assert again["spec"]["terminationGracePeriodSeconds"] == BEFORE["terminationSeconds"]


async def test_a_restart_replaces_the_champions_pods_by_the_installations_image(
    cluster: Cluster, config: Config
) -> None:
    await approve(cluster, 1)
    await deploy(cluster, replicas=2)
    newer = cluster.config(
        master_key_file=config.master_key_file, server_image="noria/server@sha256:" + "1" * 64
    )
    async with running(cluster, config, Routers(cluster)):
        stable = (await until(cluster, serves(1)))["stable"]
    before = await pods(cluster, stable["name"])
    async with running(cluster, newer, Routers(cluster)):
        await say(cluster, "restart", "17")

        async def replaced() -> bool:
            now = await pods(cluster, stable["name"])
            return len(now) == 2 and not set(now) & set(before)

        await eventually(replaced)
        found = await until(cluster, lambda it: it.get("commands") == {"restart": "17"})
    made = await template(cluster, stable["name"])
    assert made["spec"]["containers"][0]["image"] == newer.server_image
    assert (found["stable"], found["traffic"][0]["weight"]) == (stable, 100)
    assert found["restarts"] == {stable["name"]: "17"}
    found = await cluster.client.list(CONTROLLERREVISION, cluster.namespace)
    (record,) = [one for one in found if "noria.dev/revision" in one["metadata"]["labels"]]
    assert record["data"]["template"]["metadata"]["annotations"] == {"noria.dev/restart": "17"}


async def test_an_upgrade_of_noria_restarts_no_serving_pod(cluster: Cluster, config: Config) -> None:
    await approve(cluster, 1)
    await deploy(cluster)
    async with running(cluster, config, Routers(cluster)):
        found = await until(cluster, serves(1))
    name = found["stable"]["name"]
    before = await template(cluster, name), await pods(cluster, name)
    newer = cluster.config(
        master_key_file=config.master_key_file, server_image="noria/server@sha256:" + "1" * 64
    )
    change = {"metadata": {"name": NAME}, "spec": {"strategy": {"keepPrevious": "7m"}}}
    changed = await cluster.client.apply(
        MODELDEPLOYMENT, cluster.namespace, change, manager="test", force=True
    )
    generation = changed["metadata"]["generation"]
    async with running(cluster, newer, Routers(cluster)):
        await until(cluster, lambda now: now.get("observedGeneration") == generation and serves(1)(now))
        # The template is written before the status; the pods would follow it a moment later.
        assert (await template(cluster, name), await pods(cluster, name)) == before


async def test_a_converged_deployment_is_not_written_again(cluster: Cluster, config: Config) -> None:
    await approve(cluster, 1)
    await deploy(cluster)
    async with running(cluster, config, Routers(cluster)):
        await until(cluster, lambda it: it.get("phase") == "Healthy")
        await asyncio.sleep(1)
        before = await cluster.client.get(MODELDEPLOYMENT, cluster.namespace, NAME)
        await asyncio.sleep(1)
        after = await cluster.client.get(MODELDEPLOYMENT, cluster.namespace, NAME)
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_a_missing_claim_is_named_and_its_creation_goes_on(cluster: Cluster, config: Config) -> None:
    await approve(cluster, 1, "pvc://models/flights/1")
    await deploy(cluster)
    async with running(cluster, config, Routers(cluster)):
        found = await until(cluster, lambda it: "models does not exist" in it.get("message", ""))
        assert condition(found, "Stalled")["reason"] == "VolumeUnavailable"
        claim = {
            "metadata": {"name": "models"},
            "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
        }
        await cluster.client.create(PVC, cluster.namespace, claim)
        await until(cluster, serves(1))


async def test_a_foreign_service_of_the_same_name_is_not_touched_but_named(
    cluster: Cluster, config: Config
) -> None:
    foreign = {"metadata": {"name": NAME}, "spec": {"ports": [{"port": 80}], "selector": {"app": "other"}}}
    await cluster.client.create(SERVICE, cluster.namespace, foreign)
    await approve(cluster, 1)
    await deploy(cluster)
    async with running(cluster, config, Routers(cluster)):
        found = await until(cluster, lambda it: it.get("observedGeneration") == 1)
        assert condition(found, "Stalled")["reason"] == "NameConflict"
        assert condition(found, "Ready")["status"] == "False"
        await asyncio.sleep(0.5)
        again = await status(cluster)
        assert again == found
    kept = await cluster.client.get(SERVICE, cluster.namespace, NAME)
    assert kept["spec"]["selector"] == {"app": "other"}


def weight(found: Json, number: int) -> int:
    shares = found.get("traffic", ())
    wanted = (one["weight"] for one in shares if one["version"] == f"{NAME}-{number}" and one["verified"])
    return next(wanted, 0)


async def template(cluster: Cluster, name: str) -> Json:
    found: Json = (await cluster.client.get(DEPLOYMENT, cluster.namespace, name))["spec"]["template"]
    return found


async def pods(cluster: Cluster, name: str) -> list[str]:
    found = await cluster.client.list(POD, cluster.namespace)
    return sorted(
        pod["metadata"]["uid"]
        for pod in found
        if pod["metadata"]["name"].startswith(f"{name}-") and not pod["metadata"].get("deletionTimestamp")
    )


async def test_where_one_copy_fits_the_new_pods_are_made_when_the_old_ones_are_gone(
    cluster: Cluster, config: Config
) -> None:
    routers = Routers(cluster)
    await approve(cluster, 1)
    await deploy(cluster)
    async with running(cluster, config, routers):
        await until(cluster, serves(1))
        change = {"metadata": {"name": NAME}, "spec": {"model": NAME, "strategy": {"type": "Recreate"}}}
        changed = await cluster.client.apply(
            MODELDEPLOYMENT, cluster.namespace, change, manager="test", force=True
        )
        generation = changed["metadata"]["generation"]
        # Versions are told by another watch, and one that begins by the former spec goes on by it.
        await until(cluster, lambda it: it["observedGeneration"] == generation)
        await approve(cluster, 2)
        found = await until(cluster, lambda it: "nothing answers until it is ready" in it.get("message", ""))
        servable = next(one for one in found["conditions"] if one["type"] == "Servable")
        assert (servable["status"], servable["reason"]) in (("False", "Recreating"), ("True", "Serving"))

        async def ending() -> list[Json]:
            pods = await cluster.client.list(
                POD, cluster.namespace, labels={"noria.dev/version": f"{NAME}-1"}
            )
            return [pod for pod in pods if pod["metadata"].get("deletionTimestamp")]

        (old,) = await eventually(ending)
        made = await cluster.client.list(DEPLOYMENT, cluster.namespace)
        servers = [one for one in made if one["metadata"]["name"] != "noria-router"]
        rolling = [one["spec"]["strategy"]["rollingUpdate"] for one in servers]
        assert rolling == [{"maxUnavailable": "100%", "maxSurge": 0}]
        assert [one["spec"]["replicas"] for one in servers] == [0]
        await remove(cluster.client, old)
        found = await until(cluster, lambda it: serves(2)(it) and len(it["traffic"]) == 1)
        assert found.get("previous") is None
