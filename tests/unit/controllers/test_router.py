"""The controller of routers: one pass for all ModelDeployments of a namespace, however many they are."""

from __future__ import annotations

import asyncio
import copy
from pathlib import Path

import pytest
from tests.unit.controllers.serving_api import NAMESPACE, Routers, ServingApi, started
from tests.unit.controllers.training_api import Crash

from noria_operator.controllers import router
from noria_operator.kube.errors import Forbidden
from noria_operator.kube.kinds import (
    CONTROLLERREVISION,
    DEPLOYMENT,
    EVENT,
    MODELDEPLOYMENT,
    PDB,
    SECRET,
    SERVICE,
    Json,
    Key,
    Kind,
)
from noria_operator.kube.kinds import NAMESPACE as NAMESPACE_KIND

KEY = Key(NAMESPACE_KIND, "", NAMESPACE)


def deployment(number: int, *, digit: str | None = None, **spec: object) -> Json:
    """The ModelDeployment `m<number>`; its uid begins with a digit of its own up to the sixteenth."""
    uid = f"{digit or f'{number % 16:x}'}{number:07d}-0000"
    meta = {"name": f"m{number}", "namespace": NAMESPACE, "uid": uid, "generation": 1}
    body = {"model": f"m{number}", **spec}
    kind = {"apiVersion": MODELDEPLOYMENT.api_version, "kind": MODELDEPLOYMENT.kind}
    return {**kind, "metadata": meta, "spec": body, "status": {"observedGeneration": 1}}


def namespace(*deployments: Json) -> ServingApi:
    api = ServingApi()
    for each in deployments:
        api.put(MODELDEPLOYMENT, each)
    return api


async def a_pass(api: ServingApi, folder: Path, **config: object) -> list[str]:
    """What one pass of a freshly started operator writes."""
    api.writes.clear()
    await router.reconcile(started(api, Routers(api), folder, **config), KEY)
    return list(api.writes)


def held(api: ServingApi) -> dict[str, list[str]]:
    """The owners of each anchor, by its last digit."""
    return {
        anchor["metadata"]["name"][-1]: sorted(one["name"] for one in anchor["metadata"]["ownerReferences"])
        for anchor in api.all(CONTROLLERREVISION)
    }


def owners(api: ServingApi, kind: object) -> list[str]:
    (found,) = [obj for key, obj in api.objects.items() if key.kind == kind and key.name == "noria-router"]
    return [one["name"][-1] for one in found["metadata"]["ownerReferences"]]


async def test_the_router_belongs_to_every_deployment_by_way_of_its_anchors(tmp_path: Path) -> None:
    api = namespace(*(deployment(number) for number in range(40)))
    await a_pass(api, tmp_path)
    digits = [f"{digit:x}" for digit in range(16)]
    assert [sorted(owners(api, kind)) for kind in (DEPLOYMENT, SERVICE, PDB)] == [digits] * 3
    assert list(held(api)) == digits
    assert sorted(name for group in held(api).values() for name in group) == sorted(
        f"m{number}" for number in range(40)
    )
    references = [
        reference
        for kind in (CONTROLLERREVISION, DEPLOYMENT, SERVICE, PDB)
        for found in api.all(kind)
        for reference in found["metadata"]["ownerReferences"]
    ]
    assert not any(reference.get("controller") for reference in references)


async def test_as_many_writes_for_a_thousand_as_for_sixteen_and_none_the_second_time(tmp_path: Path) -> None:
    few = namespace(*(deployment(number) for number in range(16)))
    many = namespace(*(deployment(number) for number in range(1000)))
    wrote = await a_pass(few, tmp_path)
    assert len(wrote) == 16 + len(["Deployment", "Secret", "Deployment", "Service", "PDB"])
    assert await a_pass(many, tmp_path) == wrote
    ctx = started(many, Routers(many), tmp_path)
    await router.reconcile(ctx, KEY)  # learns what is in force; the API server changes nothing
    before = many.version
    await router.reconcile(ctx, KEY)
    assert many.version == before


async def test_one_more_deployment_changes_one_anchor_alone(tmp_path: Path) -> None:
    api = namespace(*(deployment(number) for number in range(100)))
    await a_pass(api, tmp_path)
    api.put(MODELDEPLOYMENT, deployment(100, digit="a"))
    assert await a_pass(api, tmp_path) == ["apply ControllerRevision noria-router-a"]
    assert "m100" in held(api)["a"]


async def test_an_anchor_goes_after_the_router_has_let_go_of_it(tmp_path: Path) -> None:
    api = namespace(deployment(1), deployment(2))
    await a_pass(api, tmp_path)
    del api.objects[Key(MODELDEPLOYMENT, NAMESPACE, "m2")]
    wrote = await a_pass(api, tmp_path)
    assert wrote[-1] == "delete ControllerRevision noria-router-2"
    assert {text.split()[1] for text in wrote[:-1]} == {"Deployment", "Service", "PodDisruptionBudget"}
    assert held(api) == {"1": ["m1"]}
    assert owners(api, DEPLOYMENT) == owners(api, SERVICE) == ["1"]


async def test_one_that_is_leaving_owns_nothing_any_more(tmp_path: Path) -> None:
    leaving = deployment(2)
    leaving["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    api = namespace(deployment(1), leaving)
    await a_pass(api, tmp_path)
    assert held(api) == {"1": ["m1"]}


async def test_the_last_one_leaves_the_router_to_the_garbage_collector(tmp_path: Path) -> None:
    api = namespace(deployment(1))
    await a_pass(api, tmp_path)
    del api.objects[Key(MODELDEPLOYMENT, NAMESPACE, "m1")]
    assert await a_pass(api, tmp_path) == []
    assert held(api) == {"1": ["m1"]}
    assert await a_pass(ServingApi(), tmp_path) == []


def world(api: ServingApi) -> dict[str, Json]:
    """Everything but what counts writes."""
    shown = copy.deepcopy({str(key): obj for key, obj in api.objects.items() if key.kind != SECRET})
    for obj in shown.values():
        obj["metadata"].pop("resourceVersion")
        obj["metadata"].pop("generation", None)
    return shown


async def test_a_crash_after_any_write_ends_in_the_same_place(tmp_path: Path) -> None:
    def changed() -> ServingApi:
        return namespace(*(deployment(number) for number in range(5)))

    whole = changed()
    writes = len(await a_pass(whole, tmp_path))
    assert writes == 10
    for crash in range(writes):
        api = changed()
        api.crash_after = crash
        with pytest.raises(Crash):
            await a_pass(api, tmp_path)
        api.crash_after = None
        await a_pass(api, tmp_path)
        assert _without_uids(world(api)) == _without_uids(world(whole)), f"crash after write {crash}"


def _without_uids(shown: dict[str, Json]) -> dict[str, Json]:
    """The uids of children are counted up by the tests' API server, also over a crash."""
    for obj in shown.values():
        if obj["kind"] != MODELDEPLOYMENT.kind:
            obj["metadata"].pop("uid", None)
        for reference in obj["metadata"].get("ownerReferences", ()):
            reference.pop("uid")
    return shown


async def test_a_deployment_wakes_its_router_until_the_router_is_its_own(tmp_path: Path) -> None:
    api = namespace(deployment(1))
    new = api.objects[Key(MODELDEPLOYMENT, NAMESPACE, "m1")]
    ctx = started(api, Routers(api), tmp_path)
    assert router.related(ctx.store, new) == [KEY]
    await router.reconcile(ctx, KEY)
    assert router.related(ctx.store, new) == []
    edited = copy.deepcopy(new)
    edited["metadata"]["generation"] = 2  # it may ask for more routers now
    assert router.related(ctx.store, edited) == [KEY]
    leaving = copy.deepcopy(new)
    leaving["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    assert router.related(ctx.store, leaving) == [KEY]
    gone = deployment(2)
    assert router.related(ctx.store, gone) == [KEY]


async def test_the_objects_of_a_router_wake_it_and_those_of_deployments_do_not(tmp_path: Path) -> None:
    api = namespace(deployment(1))
    ctx = started(api, Routers(api), tmp_path)
    await router.reconcile(ctx, KEY)
    await router.ensure(ctx, api.objects[Key(MODELDEPLOYMENT, NAMESPACE, "m1")])
    for kind in (CONTROLLERREVISION, DEPLOYMENT, PDB):
        (found,) = api.all(kind)
        assert router.related(ctx.store, found) == [KEY]
    woken = {obj["metadata"]["name"]: router.related(ctx.store, obj) for obj in api.all(SERVICE)}
    assert woken == {"noria-router": [KEY], "m1": []}


@pytest.mark.parametrize("lost", [DEPLOYMENT, SERVICE, PDB])
async def test_a_deployment_makes_the_router_that_is_not_there_and_leaves_the_other_alone(
    lost: object, tmp_path: Path
) -> None:
    api = namespace(deployment(1), deployment(2))
    one = api.objects[Key(MODELDEPLOYMENT, NAMESPACE, "m1")]
    await router.ensure(started(api, Routers(api), tmp_path), one)
    assert held(api) == {"1": ["m1"], "2": ["m2"]}
    api.put(MODELDEPLOYMENT, deployment(3))
    api.writes.clear()
    await router.ensure(started(api, Routers(api), tmp_path), one)
    assert api.writes == []
    del api.objects[next(key for key in api.objects if key.kind == lost and key.name == "noria-router")]
    await router.ensure(started(api, Routers(api), tmp_path), one)
    assert {"1", "2", "3"} == set(owners(api, lost))


async def test_a_router_that_was_left_half_made_is_not_complete(tmp_path: Path) -> None:
    api = namespace(deployment(1))
    api.crash_after = 1  # the anchor and the Deployment without pods
    one = api.objects[Key(MODELDEPLOYMENT, NAMESPACE, "m1")]
    with pytest.raises(Crash):
        await router.ensure(started(api, Routers(api), tmp_path), one)
    assert [obj["spec"]["replicas"] for obj in api.all(DEPLOYMENT)] == [0]
    api.crash_after = None
    await router.ensure(started(api, Routers(api), tmp_path), one)
    assert [obj["spec"]["replicas"] for obj in api.all(DEPLOYMENT)] == [2]


async def test_hosts_behind_a_gateway_are_the_gateways_business(tmp_path: Path) -> None:
    asked = {"type": "Gateway", "gateway": {"name": "public"}}
    behind = deployment(1, hosts=["a.example"], router=asked)
    api = namespace(behind, deployment(2, hosts=["a.example"]))
    store = started(api, Routers(api), tmp_path).store
    assert [router.refused_hosts(store, one) for one in api.all(MODELDEPLOYMENT)] == ["", ""]
    assert router.related(store, behind) == []


async def test_a_refused_change_is_told_to_a_deployment_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, told = namespace(deployment(1)), []
    create = api.create

    async def heard(kind: Kind, namespace: str, body: Json) -> Json:
        if kind == EVENT:
            told.append(body)
        return await create(kind, namespace, body)

    monkeypatch.setattr(api, "create", heard)
    api.refuse = {"Deployment": Forbidden(403, "Forbidden", "policy says no")}
    with pytest.raises(Forbidden):
        await a_pass(api, tmp_path)
    assert "policy says no" in str(told)


async def test_many_passes_that_find_no_router_make_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = namespace(*(deployment(number) for number in range(30)))
    ctx, get = started(api, Routers(api), tmp_path), api.get

    async def slowly(kind: Kind, namespace: str, name: str) -> Json:
        await asyncio.sleep(0)
        return await get(kind, namespace, name)

    monkeypatch.setattr(api, "get", slowly)
    passes = [router.ensure(ctx, owner) for owner in api.all(MODELDEPLOYMENT)]
    await asyncio.gather(*passes, router.reconcile(ctx, KEY))
    made = [text for text in api.writes if "noria-router" in text]
    assert sorted(made) == sorted({*made, "apply Deployment noria-router"})
    assert len(made) == 16 + len(["Deployment", "Secret", "Deployment", "Service", "PDB"])


async def test_routers_follow_an_installation_that_moved_and_its_master_key(tmp_path: Path) -> None:
    api = namespace(deployment(1))
    await a_pass(api, tmp_path, pull_secrets=("registry",))
    assert router_pod(api)["imagePullSecrets"] == [{"name": "registry"}]
    assert await a_pass(api, tmp_path) == []
    before = router_pod(api)
    written = await a_pass(api, tmp_path, xds_address="ml-noria-xds.ml-system.svc:18000")
    assert len(written) == 2, written
    moved = router_pod(api)
    assert moved != before
    (tmp_path / "master-key").write_bytes(b"l" * 32)
    await a_pass(api, tmp_path, xds_address="ml-noria-xds.ml-system.svc:18000")
    assert router_pod(api) != moved
    assert await a_pass(api, tmp_path, xds_address="ml-noria-xds.ml-system.svc:18000") == []


def router_pod(api: ServingApi) -> Json:
    (found,) = api.all(DEPLOYMENT)
    pod: Json = found["spec"]["template"]["spec"]
    return pod
