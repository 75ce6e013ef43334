"""The ModelVersion's controller verifies once and follows who serves the version."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.controllers.training_api import Api, Crash, minutes, operator
from tests.unit.domain.training_world import DIGEST, deployment, served, version

from noria_operator.controllers.modelversion import reconcile, related
from noria_operator.controllers.worker import mark_stalled
from noria_operator.domain.retention import KEEP_ANNOTATION
from noria_operator.kube.errors import Terminal
from noria_operator.kube.kinds import JOB, MODELDEPLOYMENT, MODELVERSION, POD, Key, key_of

Json = dict[str, Any]
KEY = Key(MODELVERSION, "demo", "flights-1")
VERIFIED = json.dumps({"schema": "noria.verification/v1", "digest": DIGEST, "bytes": 3})


async def run(api: Api, rounds: int = 3) -> None:
    for _ in range(rounds):
        try:
            await reconcile(operator(api), KEY)
        except Crash:
            api.crash_after = None
            continue
        api.end_jobs(lambda _: (VERIFIED, 0))


@pytest.mark.parametrize("writes", [None, 0, 1, 2, 3])
async def test_a_version_is_verified_by_one_job_and_approved(writes: int | None) -> None:
    api = Api(crash_after=writes)
    api.put(MODELVERSION, version(1, phase="Pending"))
    await run(api, 5)
    assert api.objects[KEY]["status"]["phase"] == "Approved"
    assert [text for text in api.writes if text.startswith("create")] == ["create Job flights-1-verify"]
    (job,) = api.all(JOB)
    assert job["metadata"]["ownerReferences"][0]["kind"] == "ModelVersion"
    before = len(api.writes)
    await run(api, 2)
    assert len(api.writes) == before
    for gone in api.all(POD):
        del api.objects[key_of(gone)]
    api.lists = 0
    await run(api, 2)
    assert api.lists == 0, "what was read once is not asked for again"


async def test_a_version_is_verified_in_an_image_pulled_by_the_installations_secrets() -> None:
    api = Api()
    api.put(MODELVERSION, version(1, phase="Pending"))
    await reconcile(operator(api, pull_secrets=("registry",)), KEY)
    (job,) = api.all(JOB)
    assert job["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "registry"}]


async def test_a_version_whose_store_was_away_is_verified_by_another_job_later() -> None:
    api = Api()
    api.put(MODELVERSION, version(1, phase="Pending"))
    await reconcile(operator(api), KEY)
    api.end_jobs(lambda _: (json.dumps({"error": {"reason": "StorageUnavailable", "message": "503"}}), 3))
    asked = await reconcile(operator(api), KEY)
    assert asked.after == minutes(1)
    assert api.objects[KEY]["status"]["verification"]["attempt"] == 2
    before = len(api.writes)
    again = await reconcile(operator(api), KEY)
    assert (again.after, len(api.writes)) == (asked.after, before), "nothing to write while it waits"
    api.clock.time += minutes(1)
    await run(api)
    assert {job["metadata"]["name"] for job in api.all(JOB)} == {"flights-1-verify", "flights-1-verify-2"}
    assert api.objects[KEY]["status"]["phase"] == "Approved"


@pytest.mark.parametrize("phase", ["Pending", "Approved"])
async def test_a_version_that_a_newer_operator_wrote_keeps_its_phase(phase: str) -> None:
    api = Api()
    found = version(1, phase=phase)
    api.put(MODELVERSION, found | {"spec": found["spec"] | {"newField": 1}})
    with pytest.raises(Terminal) as refusal:
        await reconcile(operator(api), KEY)
    await mark_stalled(operator(api), KEY, refusal.value)
    assert api.objects[KEY]["status"]["phase"] == phase
    assert api.all(JOB) == []


async def test_code_may_be_verified_only_where_the_administrator_allows_it() -> None:
    for namespaces, expected in ((frozenset({"demo"}), "1"), (frozenset({"other"}), "0")):
        api = Api()
        api.put(MODELVERSION, version(1, phase="Pending"))
        await reconcile(operator(api, allow_code_namespaces=namespaces), KEY)
        (job,) = api.all(JOB)
        env = {one["name"]: one["value"] for one in job["spec"]["template"]["spec"]["containers"][0]["env"]}
        assert env["NORIA_ALLOW_CODE"] == expected


async def test_a_version_is_verified_by_the_keys_and_the_rule_of_its_namespace() -> None:
    for namespaces, required in ((frozenset({"demo"}), "1"), (frozenset({"other"}), "0")):
        api = Api()
        api.put(MODELVERSION, version(1, phase="Pending"))
        await reconcile(operator(api, trusted_keys="PEM", signed_namespaces=namespaces), KEY)
        (job,) = api.all(JOB)
        env = {one["name"]: one["value"] for one in job["spec"]["template"]["spec"]["containers"][0]["env"]}
        assert (env["NORIA_TRUSTED_KEYS"], env["NORIA_REQUIRE_SIGNATURE"]) == ("PEM", required)


async def test_who_serves_it_follows_the_deployment() -> None:
    api = Api()
    api.put(MODELVERSION, version(1))
    api.put(MODELDEPLOYMENT, deployment(1))
    await run(api, 1)
    assert api.objects[KEY]["status"]["servedBy"] == ["flights (stable)"]
    api.put(MODELVERSION, api.objects[KEY])
    moved = api.put(MODELDEPLOYMENT, deployment(2))
    assert KEY in related(operator(api).store, moved)
    await run(api, 1)
    assert api.objects[KEY]["status"].keys().isdisjoint({"servedBy"})


async def test_a_deployment_wakes_its_versions_only_when_they_tell_of_another_use_or_when_it_goes() -> None:
    api = Api()
    api.put(MODELVERSION, version(1))
    api.put(MODELDEPLOYMENT, deployment(1))
    await run(api, 1)
    store = operator(api).store
    found = store.list(MODELDEPLOYMENT)[0]
    assert related(store, {**found, "status": {**found["status"], "message": "still here"}}) == []
    store.observe("DELETED", found)
    assert related(store, found) == [KEY]


async def test_a_first_version_is_told_of_once_it_serves_or_when_it_is_given_up() -> None:
    api = Api()
    api.put(MODELVERSION, version(1))
    serving = api.put(MODELDEPLOYMENT, deployment(1))
    store = operator(api).store
    begun = {"stable": None, "candidate": served(1)}
    status = {name: one for name, one in (serving["status"] | begun).items() if one}
    assert related(store, {**serving, "status": status}) == []
    assert related(store, serving) == [KEY]
    api.put(MODELDEPLOYMENT, {**serving, "status": status})
    await run(api, 1)
    store = operator(api).store
    given_up = {name: one for name, one in status.items() if name != "candidate"}
    assert related(store, {**serving, "status": given_up}) == [KEY]
    (found,) = store.list(MODELDEPLOYMENT)
    store.observe("DELETED", found)
    assert related(store, found) == [KEY]


def keeping_one() -> tuple[Api, dict[str, Any]]:
    """Three versions, and the newest, which says that one is kept."""
    api, newest = Api(), version(3)
    newest["metadata"]["annotations"] = {KEEP_ANNOTATION: "1"}
    for one in (version(1), version(2), newest):
        api.put(MODELVERSION, one)
    return api, newest


async def test_a_newer_version_wakes_those_that_retention_may_archive() -> None:
    api, newest = keeping_one()
    api.put(MODELDEPLOYMENT, deployment(3, previous=served(2)))
    store = operator(api).store
    assert related(store, newest) == [KEY]
    await run(api, 1)
    assert api.objects[KEY]["status"]["phase"] == "Archived"


async def test_a_champion_that_leaves_the_list_of_its_deployment_is_archived_then() -> None:
    api, _ = keeping_one()
    remembered = deployment(3, champions=[served(1), served(2), served(3)])
    api.put(MODELDEPLOYMENT, remembered)
    assert KEY not in related(operator(api).store, remembered)
    await run(api, 1)
    assert api.objects[KEY]["status"]["phase"] == "Approved"
    forgotten = deployment(3, champions=[served(2), served(3)])
    api.put(MODELDEPLOYMENT, forgotten)
    assert KEY in related(operator(api).store, forgotten)
    await run(api, 1)
    assert api.objects[KEY]["status"]["phase"] == "Archived"


async def test_a_verification_that_the_api_server_refuses_is_terminal() -> None:
    api = Api(refused=frozenset({JOB}))
    api.put(MODELVERSION, version(1, phase="Pending"))
    with pytest.raises(Terminal, match="make another version"):
        await reconcile(operator(api), KEY)


async def test_a_spec_that_cannot_be_used_is_terminal() -> None:
    api = Api()
    api.put(MODELVERSION, version(1, phase="Pending", artifact={"uri": "http://169.254.169.254/"}))
    with pytest.raises(Terminal) as caught:
        await reconcile(operator(api), KEY)
    assert "spec.artifact.uri" in caught.value.message
    assert api.writes == []
