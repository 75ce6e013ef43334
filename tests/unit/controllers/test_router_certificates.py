"""A Secret with a certificate that is not there holds up nobody but who named it, and that one is told."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.unit.controllers.serving_api import KEY, NAMESPACE, Routers, ServingApi, settle, started
from tests.unit.controllers.test_access import after, serving
from tests.unit.controllers.test_modeldeployment import condition
from tests.unit.controllers.test_router import KEY as ROUTER
from tests.unit.controllers.test_router import deployment

from noria_operator.controllers import modeldeployment, router
from noria_operator.controllers.router_certificates import PATIENCE, RETRY
from noria_operator.domain.training_times import stamp
from noria_operator.kube.kinds import DEPLOYMENT, MODELDEPLOYMENT, POD, Key, Kind
from noria_operator.routers.children import MISSING_ANNOTATION

Json = dict[str, Any]
STARTS = {"type": "PodReadyToStartContainers", "status": "True"}
SECOND = timedelta(seconds=1)


class Forgetting(ServingApi):
    """An API server that takes an annotation away that is applied no more."""

    async def apply(self, kind: Kind, namespace: str, body: Json, **options: Any) -> Json:
        found = self.objects.get(Key(kind, namespace, body["metadata"]["name"]))
        if found is not None and MISSING_ANNOTATION not in body["metadata"].get("annotations", {}):
            found["metadata"].get("annotations", {}).pop(MISSING_ANNOTATION, None)
        return await super().apply(kind, namespace, body, **options)


def named(*secrets: str) -> list[Json]:
    """ModelDeployments that name these Secrets."""
    return [deployment(at, router={"tls": {"secretName": name}}) for at, name in enumerate(secrets)]


def tls(*secrets: str) -> ServingApi:
    """A namespace with them."""
    api = Forgetting()
    for each in named(*secrets):
        api.put(MODELDEPLOYMENT, each)
    return api


def router_pod(api: ServingApi, mounts: str, *conditions: Json, phase: str = "Pending") -> None:
    """A router's pod that has a node since now."""
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp(api.clock.now())}
    meta = {"name": f"router-{phase}", "namespace": NAMESPACE, "uid": f"router-{phase}"}
    meta |= {
        "labels": {"noria.dev/router": "true"},  # type: ignore[dict-item]
        "annotations": {"noria.dev/certificates": mounts},  # type: ignore[dict-item]
    }
    status = {"phase": phase, "conditions": [scheduled, *conditions]}
    api.put(POD, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {}, "status": status})


def running(api: ServingApi, mounts: str = "") -> None:
    api.objects.pop(Key(POD, NAMESPACE, "router-Pending"), None)
    router_pod(api, mounts, phase="Running")


async def a_pass(api: ServingApi, folder: Path) -> timedelta | None:
    return (await router.reconcile(started(api, Routers(api), folder), ROUTER)).after


def mounted(api: ServingApi) -> list[str]:
    (made,) = api.all(DEPLOYMENT)
    volumes = made["spec"]["template"]["spec"]["volumes"]
    return [one["secret"]["secretName"] for one in volumes if one["name"].startswith("tls-")]


def missing(api: ServingApi) -> list[str]:
    (made,) = api.all(DEPLOYMENT)
    noted = made["metadata"]["annotations"].get(MISSING_ANNOTATION, "")
    return [one.partition("=")[0] for one in noted.split(",") if one]


async def test_routers_do_without_a_secret_that_is_not_there_and_try_it_again(tmp_path: Path) -> None:
    api = tls("good", "typo")
    running(api, "good")
    assert await a_pass(api, tmp_path) == PATIENCE
    assert mounted(api) == ["good", "typo"]
    router_pod(api, "good,typo")
    api.clock.time += PATIENCE - SECOND
    await a_pass(api, tmp_path)
    assert (mounted(api), missing(api)) == (["good", "typo"], [])
    api.clock.time += SECOND
    assert await a_pass(api, tmp_path) == RETRY
    assert (mounted(api), missing(api)) == (["good"], ["typo"])
    written = api.version
    api.clock.time += SECOND
    await a_pass(api, tmp_path)
    assert api.version == written, "the pod that waits is on its way out"
    running(api, "good")
    api.clock.time += RETRY
    await a_pass(api, tmp_path)
    assert (mounted(api), missing(api)) == (["good", "typo"], ["typo"])
    router_pod(api, "good,typo")
    api.clock.time += PATIENCE
    await a_pass(api, tmp_path)
    assert (mounted(api), missing(api)) == (["good"], ["typo"])
    api.clock.time += RETRY
    await a_pass(api, tmp_path)
    running(api, "good,typo")
    assert await a_pass(api, tmp_path) is None
    assert (mounted(api), missing(api)) == (["good", "typo"], [])


async def test_of_several_new_secrets_those_that_are_there_come_one_by_one_once_a_router_runs(
    tmp_path: Path,
) -> None:
    api = tls("a-good", "b-typo", "c-good")
    await a_pass(api, tmp_path)
    router_pod(api, "a-good,b-typo,c-good")
    api.clock.time += PATIENCE
    await a_pass(api, tmp_path)
    assert (mounted(api), len(missing(api))) == ([], 3)
    running(api)
    await a_pass(api, tmp_path)
    assert mounted(api) == ["a-good"]
    running(api, "a-good")
    await a_pass(api, tmp_path)
    assert mounted(api) == ["a-good", "b-typo"]
    router_pod(api, "a-good,b-typo")
    api.clock.time += PATIENCE
    await a_pass(api, tmp_path)
    assert mounted(api) == ["a-good", "c-good"]
    running(api, "a-good,c-good")
    await a_pass(api, tmp_path)
    assert (mounted(api), missing(api)) == (["a-good", "c-good"], ["b-typo"])


async def test_a_pod_whose_image_is_pulled_leaves_nothing_out(tmp_path: Path) -> None:
    api = tls("slow")
    await a_pass(api, tmp_path)
    router_pod(api, "slow", STARTS)
    api.clock.time += 2 * PATIENCE
    await a_pass(api, tmp_path)
    assert (mounted(api), missing(api)) == (["slow"], [])


async def test_what_a_running_router_mounts_is_not_left_out(tmp_path: Path) -> None:
    api = tls("there", "typo")
    running(api, "there")
    await a_pass(api, tmp_path)
    router_pod(api, "there,typo")
    api.clock.time += PATIENCE
    await a_pass(api, tmp_path)
    assert (mounted(api), missing(api)) == (["there"], ["typo"])


async def test_another_name_is_tried_at_once(tmp_path: Path) -> None:
    api = tls("typo")
    await a_pass(api, tmp_path)
    router_pod(api, "typo")
    api.clock.time += PATIENCE
    await a_pass(api, tmp_path)
    assert missing(api) == ["typo"]
    api.put(MODELDEPLOYMENT, *named("right"))
    await a_pass(api, tmp_path)
    assert (mounted(api), missing(api)) == (["right"], [])


async def test_the_certificate_before_stays_while_the_one_in_its_place_is_missing(tmp_path: Path) -> None:
    api = tls("typo")
    running(api, "before")
    await a_pass(api, tmp_path)
    assert mounted(api) == ["typo"]
    router_pod(api, "typo")
    api.clock.time += PATIENCE
    await a_pass(api, tmp_path)
    assert (mounted(api), missing(api)) == (["before"], ["typo"])
    running(api, "before")
    api.clock.time += RETRY
    await a_pass(api, tmp_path)
    assert (mounted(api), missing(api)) == (["before", "typo"], ["typo"])
    running(api, "before,typo")
    await a_pass(api, tmp_path)
    assert (mounted(api), missing(api)) == (["typo"], [])


async def test_an_annotation_that_somebody_edited_is_written_anew(tmp_path: Path) -> None:
    api = tls("typo")
    await a_pass(api, tmp_path)
    (made,) = api.all(DEPLOYMENT)
    made["metadata"]["annotations"][MISSING_ANNOTATION] = "typo"
    api.put(DEPLOYMENT, made)
    await a_pass(api, tmp_path)
    assert (mounted(api), missing(api)) == (["typo"], [])


async def test_who_named_it_is_told_and_goes_on_otherwise(tmp_path: Path) -> None:
    api, routers = serving(router={"replicas": 1, "tls": {"secretName": "typo"}})
    await settle(api, routers, tmp_path)
    assert condition(api, "Stalled")[0] == "False"
    key = Key(DEPLOYMENT, NAMESPACE, "noria-router")
    made = api.objects[key]
    noted = made["metadata"]["annotations"] | {MISSING_ANNOTATION: f"typo={stamp(api.clock.now())}"}
    api.put(DEPLOYMENT, made | {"metadata": made["metadata"] | {"annotations": noted}})
    ctx = started(api, routers, tmp_path)
    assert KEY in modeldeployment.related(ctx.store, api.objects[key])
    assert await after(api, routers, tmp_path) == modeldeployment.AFTER_TROUBLE
    assert condition(api, "Stalled") == ("True", "CertificateMissing")
    assert condition(api, "Ready")[0] == "True", "port 80 answers"
    assert "Secret typo of spec.router.tls" in api.status["message"]
    assert "where it is there, their Events say what they waited for" in api.status["message"]
