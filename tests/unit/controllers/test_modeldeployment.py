"""The controller of ModelDeployments: what is written, in which order, and after a crash at any write."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.controllers.serving_api import (
    KEY,
    NAME,
    NAMESPACE,
    Routers,
    ServingApi,
    approve,
    claim,
    cluster,
    edit,
    fork,
    say,
    settle,
    started,
)
from tests.unit.controllers.training_api import Crash, Servers, as_sent, minutes

from noria_operator.api import names
from noria_operator.controllers import modeldeployment, routing_envoy
from noria_operator.controllers.modeldeployment_status import MANY
from noria_operator.domain import disagreement, predictions, quality_drop, rollout_telling
from noria_operator.domain import serving as serving_domain
from noria_operator.domain.keys import KEY_AHEAD, KEY_PERIOD, key_period, period_start
from noria_operator.domain.rollout_words import Cause
from noria_operator.domain.verdict import Counts
from noria_operator.kube.errors import Conflict, Forbidden, ServerError, Terminal
from noria_operator.kube.kinds import (
    CONTROLLERREVISION,
    DEPLOYMENT,
    MODELDEPLOYMENT,
    MODELVERSION,
    POD,
    PVC,
    SECRET,
    SERVICE,
    Key,
    Kind,
)
from noria_operator.kube.metrics import ROLLBACKS
from noria_operator.routers import children

Json = dict[str, Any]
STEPS = {"steps": [{"weight": 50, "duration": "10s"}], "keepPrevious": "1m"}


BEGUN: dict[str, tuple[ServingApi, Routers]] = {}
"""Where many tests begin, made once."""


async def serving(folder: Path) -> tuple[ServingApi, Routers]:
    """Version 1 has all traffic."""
    if "serving" not in BEGUN:
        api = cluster(strategy=STEPS)
        claim(api, "ReadWriteMany")
        routers = Routers(api)
        approve(api, 1)
        await settle(api, routers, folder)
        assert stable(api) == "flights-1"
        BEGUN["serving"] = api, routers
    return fork(*BEGUN["serving"])


async def canary(folder: Path) -> tuple[ServingApi, Routers]:
    """Version 2 has half of it."""
    if "canary" not in BEGUN:
        api, routers = await serving(folder)
        approve(api, 2)
        await settle(api, routers, folder)
        assert weights(api) == {"flights-1": 50, "flights-2": 50}
        BEGUN["canary"] = api, routers
    return fork(*BEGUN["canary"])


async def promoted(folder: Path) -> tuple[ServingApi, Routers]:
    """Version 2 has all of it, and the pods of version 1 are gone."""
    api, routers = await canary(folder)
    say(api, "promote-full", "1")
    await settle(api, routers, folder)
    api.clock.time += minutes(2)
    await settle(api, routers, folder)
    assert (stable(api), len(servers(api))) == ("flights-2", 1)
    return api, routers


def stable(api: ServingApi) -> str:
    return str(api.status.get("stable", {}).get("version", ""))


def weights(api: ServingApi) -> dict[str, int]:
    return {one["version"]: one["weight"] for one in api.status["traffic"] if one["weight"]}


def count(api: ServingApi, routers: Routers, *, errors: int = 0) -> None:
    """Both versions answered five hundred more requests; `errors` of the challenger's failed."""
    loser = api.status["candidate"]["name"]
    for one in api.status["traffic"]:
        failed = errors if one["name"] == loser else 0
        routers.counted[one["name"]] = routers.counted.get(one["name"], Counts()) + Counts(500, failed)


def templates(api: ServingApi) -> dict[str, Json]:
    return {one["metadata"]["name"]: one["spec"]["template"] for one in api.all(DEPLOYMENT)}


def servers(api: ServingApi) -> dict[str, Json]:
    """The templates of models' pods."""
    return {name: one for name, one in templates(api).items() if name != "noria-router"}


def condition(api: ServingApi, type_: str) -> tuple[str, str]:
    found = next(one for one in api.status["conditions"] if one["type"] == type_)
    return found["status"], found["reason"]


async def test_the_keys_exist_before_the_pods_that_mount_them(tmp_path: Path) -> None:
    api, _ = await serving(tmp_path)
    made = [text for text in api.writes if text.startswith("create")]
    keys = next(i for i, text in enumerate(made) if "Secret flights-feedback" in text)
    pods = next(i for i, text in enumerate(made) if "Deployment flights-1" in text)
    router = next(i for i, text in enumerate(made) if "Secret noria-router" in text)
    assert keys < pods
    assert router < made.index("create Service noria-router")
    assert f"flights-feedback-7b1c2d3e-{key_period(api.clock.now())}" in {
        obj["metadata"]["name"] for obj in api.all(SECRET)
    }


async def test_a_version_that_refuses_all_for_want_of_an_input_is_rejected_with_its_name(
    tmp_path: Path,
) -> None:
    api, routers = await canary(tmp_path)
    for name, inputs in (("flights-1", "ab"), ("flights-2", "abc")):
        tensors = [{"name": it, "datatype": "FP64", "shape": [-1, 1]} for it in inputs]
        found = api.objects[Key(MODELVERSION, NAMESPACE, name)]
        api.put(MODELVERSION, {**found, "spec": {**found["spec"], "signature": {"inputs": tensors}}})
    loser = api.status["candidate"]["name"]
    for one in api.status["traffic"]:
        refused = Counts(500, refused=500) if one["name"] == loser else Counts(500)
        routers.counted[one["name"]] = routers.counted.get(one["name"], Counts()) + refused
    await settle(api, routers, tmp_path, servers=Servers(why={"inputs": 480}))
    assert stable(api) == "flights-1"
    told = (
        "its servers say most that inputs are missing or unknown (480 of 480 times); of its inputs c is new"
    )
    assert api.status["rejected"][0]["reason"].endswith(told)


async def test_nobody_is_promoted_while_his_requests_hang_until_they_would_have_timed_out(
    tmp_path: Path,
) -> None:
    api, routers = await canary(tmp_path)
    loser = api.status["candidate"]["name"]
    routers.busy = {loser: 300}
    api.clock.time += minutes(0.5)
    count(api, routers)
    await settle(api, routers, tmp_path)
    assert stable(api) == "flights-1"
    assert "300 requests wait for its answer" in api.status["analysis"]["message"]
    api.clock.time += minutes(1)
    await settle(api, routers, tmp_path)
    assert stable(api) == "flights-2", "what takes longer is an error, and none was seen"


async def test_the_pods_of_a_version_are_asked_for_by_one_write_in_their_number(tmp_path: Path) -> None:
    api, _ = await canary(tmp_path)
    for name in servers(api):
        (made,) = [text for text in api.writes if text.endswith(f" Deployment {name}")]
        assert made.startswith("create")
        assert api.objects[Key(DEPLOYMENT, NAMESPACE, name)]["spec"]["replicas"] >= 1


async def test_a_first_version_waits_for_nothing_that_no_pod_needs_yet(tmp_path: Path) -> None:
    api, _ = await serving(tmp_path)
    assert len([text for text in api.writes if "Secret flights-feedback" in text]) == 1
    # The same in the last days of a period: the next key is soon needed, but not by anybody who waits.
    late = cluster()
    claim(late, "ReadWriteMany")
    approve(late, 1)
    late.clock.time = period_start(key_period(late.clock.now()) + 1) - KEY_AHEAD
    await settle(late, Routers(late), tmp_path)
    (promoted,) = [i for i, text in enumerate(late.writes) if text.startswith("status")][-1:]
    keys = [i for i, text in enumerate(late.writes) if "Secret flights-feedback" in text]
    assert keys[0] < promoted < keys[1]


async def test_the_pass_that_makes_a_champion_asks_for_the_one_that_makes_the_next_key(
    tmp_path: Path,
) -> None:
    """Its own status brings no further pass."""
    late = cluster()
    claim(late, "ReadWriteMany")
    approve(late, 1)
    late.clock.time = period_start(key_period(late.clock.now()) + 1) - KEY_AHEAD
    routers, at_once = Routers(late), []
    for _ in range(6):
        result = await modeldeployment.reconcile(started(late, routers, tmp_path), KEY)
        keys = len([text for text in late.writes if "Secret flights-feedback" in text])
        at_once += [(late.status.get("phase"), keys)] if result.after == timedelta() else []
        late.run_pods()
        routers.follow()
    assert at_once == [("Healthy", 1)]


def asking(api: ServingApi, discovery: str, kind: Kind = DEPLOYMENT) -> None:
    """How the router's pods, or its only pod, ask for their configuration."""
    name = "noria-router" if kind == DEPLOYMENT else "noria-router-0"
    found = as_sent(api.objects[Key(kind, NAMESPACE, name)])
    made = found["spec"]["template"] if kind == DEPLOYMENT else found
    made["metadata"]["annotations"][children.DISCOVERY_ANNOTATION] = discovery
    api.put(kind, found)


def services(api: ServingApi) -> dict[str, str]:
    """Addresses of versions' Services, by version."""
    found = (one for one in api.all(SERVICE) if names.VERSION_LABEL in one["metadata"]["labels"])
    return {one["metadata"]["labels"][names.VERSION_LABEL]: one["spec"].get("clusterIP") for one in found}


def first(**spec: Any) -> tuple[ServingApi, Routers]:
    """A cluster with one approved version, and nothing done about it."""
    api = cluster(**spec)
    claim(api, "ReadWriteMany")
    approve(api, 1)
    return api, Routers(api)


def statuses(api: ServingApi) -> list[str]:
    return [text for text in api.writes if text.startswith("status")]


async def test_a_first_version_takes_one_status_and_an_event(tmp_path: Path) -> None:
    """Pods that are there within the second: that its weight was read back."""
    api, _ = await serving(tmp_path)
    assert statuses(api) == ["status ModelDeployment flights"]
    assert api.events == ["Promoted"]
    assert [one["event"] for one in api.status["history"]] == ["RolloutStarted", "Promoted"]
    assert api.status["traffic"][0]["verified"]


async def test_what_a_router_does_not_find_by_itself_is_written_for_it(tmp_path: Path) -> None:
    """It may ask an operator of before."""
    api, routers = first()
    routers.of_before = True
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    api.run_pods()
    result = await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert (api.status, result.after) == ({}, routing_envoy.READ_BACK)
    api.clock.time += rollout_telling.SOON
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert weights(api) == {"flights-1": 100}
    assert condition(api, "Ready") == ("False", "NoVersion")
    routers.follow()
    await settle(api, routers, tmp_path)
    assert (stable(api), len(statuses(api))) == ("flights-1", 2)


async def test_a_version_that_takes_requests_is_replaced_as_any_champion_is(tmp_path: Path) -> None:
    """Its pods are not taken away under a router, though no status names them yet."""
    api, routers = first(strategy=STEPS)
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    api.run_pods()
    approve(api, 2)
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert [name.rsplit("-", 1)[0] for name in servers(api)] == ["flights-1"]
    routers.follow()
    await settle(api, routers, tmp_path)
    assert weights(api) == {"flights-1": 50, "flights-2": 50}


async def test_an_abort_takes_nothing_from_a_first_version_that_has_everything(tmp_path: Path) -> None:
    api, routers = first()
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    api.run_pods()
    say(api, "abort", "1")
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert (weights(api), api.status["commands"]) == ({"flights-1": 100}, {"abort": "1"})
    routers.follow()
    await settle(api, routers, tmp_path)
    assert stable(api) == "flights-1"


async def test_pods_without_a_workload_of_ours_make_no_champion(tmp_path: Path) -> None:
    api, routers = first()
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    api.run_pods()
    for name in servers(api):
        for pod in api.all(POD):
            if pod["metadata"]["name"].startswith(name):
                forged = as_sent(pod)
                forged["metadata"]["labels"][names.REVISION_LABEL] = "forged"
                api.put(POD, forged)
    routers.follow()
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert (api.status, stable(api)) == ({}, "")


async def test_behind_another_router_weight_is_written_before_it_is_read_back(tmp_path: Path) -> None:
    api, routers = first(router={"type": "Service"})
    for _ in range(2):
        await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
        api.run_pods()
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert (weights(api), stable(api), len(statuses(api))) == ({"flights-1": 100}, "", 1)


async def test_a_first_version_that_waits_for_its_pods_is_told_after_a_second(tmp_path: Path) -> None:
    api = cluster()
    claim(api, "ReadWriteMany")
    approve(api, 1)
    routers = Routers(api)
    result = await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert (api.status, api.events) == ({}, [])
    assert result.after == rollout_telling.SOON
    api.clock.time += rollout_telling.SOON
    rush = replace(started(api, routers, tmp_path), rush=lambda: True)
    await modeldeployment.reconcile(rush, KEY)
    assert api.status == {}  # others need their pods first
    others = {Key(MODELDEPLOYMENT, NAMESPACE, f"other-{number}") for number in range(MANY)}
    many = replace(started(api, routers, tmp_path), untold=others | {KEY})
    await modeldeployment.reconcile(many, KEY)
    assert api.status == {}
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert (api.status["phase"], api.events) == ("Progressing", ["RolloutStarted"])
    assert "0 of 1 pods ready" in api.status["message"]


async def test_a_crash_after_any_write_of_a_first_version_ends_in_the_same_place(tmp_path: Path) -> None:
    api = cluster()
    claim(api, "ReadWriteMany")
    approve(api, 1)
    begun = fork(api, Routers(api))
    api, routers = fork(*begun)
    await settle(api, routers, tmp_path)
    expected, writes = shape(api), len(api.writes)
    for crash in range(writes):
        api, routers = fork(*begun)
        api.crash_after = crash
        with contextlib.suppress(Crash):
            await settle(api, routers, tmp_path)
        api.crash_after = None
        await settle(api, routers, tmp_path)
        await settle(api, routers, tmp_path)
        assert shape(api) == expected, f"crash after write {crash}"


async def test_behind_envoy_a_version_has_no_service(tmp_path: Path) -> None:
    api, _ = await canary(tmp_path)
    assert services(api) == {}
    assert {key.name for key in api.objects if key.kind == SERVICE} == {NAME, "noria-router"}


@pytest.mark.parametrize("kind", [DEPLOYMENT, POD])
async def test_a_version_has_a_service_while_operators_of_before_may_answer_a_router(
    tmp_path: Path, kind: Kind
) -> None:
    api, routers = await canary(tmp_path)
    asking(api, "delta", kind)
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert services(api) == {"flights-1": "None", "flights-2": "None"}, "without an address"
    before = api.version
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert api.version == before


async def test_a_router_of_before_that_was_evicted_asks_nobody_any_more(tmp_path: Path) -> None:
    api, routers = await canary(tmp_path)
    asking(api, "delta", POD)
    ended = as_sent(api.objects[Key(POD, NAMESPACE, "noria-router-0")])
    ended["metadata"] |= {"name": "noria-router-before", "uid": "before"}
    ended["status"]["phase"] = "Failed"
    api.put(POD, ended)
    asking(api, children.DISCOVERY, POD)
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert services(api) == {}


async def test_services_of_before_stay_as_they_are_and_go_with_their_version(tmp_path: Path) -> None:
    api, routers = await canary(tmp_path)
    asking(api, "delta")
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    for one in api.all(SERVICE):
        one["spec"]["clusterIP"] = "10.96.0.7"  # as a still earlier Noria left them
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert services(api) == {"flights-1": "10.96.0.7", "flights-2": "10.96.0.7"}
    asking(api, children.DISCOVERY)
    api.run_pods()
    say(api, "abort", "1")
    await settle(api, routers, tmp_path)
    assert services(api) == {"flights-1": "10.96.0.7"}


async def test_the_next_feedback_key_comes_in_time_and_restarts_no_pod(tmp_path: Path) -> None:
    api, routers = await serving(tmp_path)
    before = templates(api)
    ctx = started(api, routers, tmp_path)
    due = (await modeldeployment.reconcile(ctx, KEY)).after
    assert due is not None
    api.clock.time += due
    assert period_start(key_period(api.clock.now()) + 1) - api.clock.now() == KEY_AHEAD
    this, later = key_period(api.clock.now()), await modeldeployment.reconcile(ctx, KEY)
    assert f"flights-feedback-7b1c2d3e-{this + 1}" in {obj["metadata"]["name"] for obj in api.all(SECRET)}
    assert later.after == KEY_PERIOD
    assert templates(api) == before
    pod = before[api.status["stable"]["name"]]
    (keys,) = [one["projected"] for one in pod["spec"]["volumes"] if one["name"] == "feedback"]
    assert f"flights-feedback-7b1c2d3e-{this + 1}" in [each["secret"]["name"] for each in keys["sources"]]


async def test_a_converged_deployment_is_read_without_a_write_and_without_asking_routers(
    tmp_path: Path,
) -> None:
    api, routers = await serving(tmp_path)
    ctx = started(api, routers, tmp_path)
    await modeldeployment.reconcile(ctx, KEY)
    before, reads = api.version, routers.reads
    result = await modeldeployment.reconcile(ctx, KEY)
    until_new_keys = period_start(key_period(api.clock.now()) + 1) - KEY_AHEAD - api.clock.now()
    assert (api.version, routers.reads, result.after) == (before, reads, until_new_keys)


@pytest.mark.parametrize("id_", ["1", "the model is worse " * 30])
async def test_an_abort_is_written_before_anything_that_could_fail(tmp_path: Path, id_: str) -> None:
    """Cases 14 and 15, and rule 1."""
    api, routers = await canary(tmp_path)
    say(api, "abort", id_)
    api.refuse = {
        "Deployment": Forbidden(403, "Forbidden", "quota"),
        "Service": Forbidden(403, "Forbidden", "no"),
    }
    api.writes.clear()
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert api.writes[0] == "status ModelDeployment flights"
    assert weights(api) == {"flights-1": 100}
    assert api.status["commands"] == {"abort": id_[:256]}


@pytest.mark.parametrize("command", ["abort", "undo"])
async def test_what_takes_traffic_away_waits_for_no_router(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    api, routers = await canary(tmp_path)
    say(api, command, "1")

    async def never(*_: Any) -> Any:
        raise AssertionError("the routers were asked")

    ctx = started(api, routers, tmp_path)
    for question in ("in_force", "counts", "active"):
        monkeypatch.setattr(routers, question, never)
    await modeldeployment.reconcile(ctx, KEY)
    assert weights(api) == {"flights-1": 100}
    with pytest.raises(AssertionError, match="were asked"):
        await modeldeployment.reconcile(ctx, KEY)


@pytest.mark.parametrize("command", ["abort", "undo"])
async def test_what_takes_traffic_away_asks_no_server_what_it_refuses(tmp_path: Path, command: str) -> None:
    class Asked(Servers):
        async def refused(self, pods: Iterable[Json]) -> dict[str, int]:
            raise AssertionError("the servers were asked")

    api, routers = await canary(tmp_path)
    loser = api.status["candidate"]["name"]
    routers.counted |= {one["name"]: Counts(500) for one in api.status["traffic"]}
    routers.counted[loser] = Counts(500, refused=20)
    for _ in range(2):
        api.clock.time += minutes(0.2)
        await settle(api, routers, tmp_path, servers=Servers())
    ctx = started(api, routers, tmp_path, servers=Asked())
    with pytest.raises(AssertionError, match="were asked"):
        await modeldeployment.reconcile(ctx, KEY)
    say(api, command, "1")
    await modeldeployment.reconcile(started(api, routers, tmp_path, servers=Asked()), KEY)
    assert weights(api) == {"flights-1": 100}


async def test_an_abort_is_told_by_an_event_whatever_fails_after_it(tmp_path: Path) -> None:
    api, routers = await canary(tmp_path)
    say(api, "abort", "1")
    api.refuse = {"Deployment": ServerError(500, "InternalError", "etcd")}
    before = ROLLBACKS.labels("command")._value.get()
    with pytest.raises(ServerError):
        await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert api.events[-1] == "RolledBack"
    assert ROLLBACKS.labels("command")._value.get() == before + 1


@pytest.mark.parametrize("by_hand", [True, False])
async def test_an_abort_is_told_once_whatever_is_refused_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_hand: bool
) -> None:
    """`status.history` is what notifications are made of: a line of another second is another abort."""
    api, routers = await canary(tmp_path)
    edit(api, replicas=3)
    if by_hand:
        say(api, "abort", "1")
    else:
        count(api, routers, errors=500)
    ctx, cause = started(api, routers, tmp_path), ROLLBACKS.labels("command" if by_hand else "errors")
    apply, told, before = api.apply, [], cause._value.get()

    async def late(*given: Any, **options: Any) -> Json:
        told.append(api.status["history"])
        api.clock.time += timedelta(seconds=3)
        return await apply(*given, **options)

    api.refuse = {"Deployment": Forbidden(403, "Forbidden", "by policy")}
    monkeypatch.setattr(api, "apply", late)
    api.events.clear()
    await modeldeployment.reconcile(ctx, KEY)
    assert condition(api, "Stalled") == ("True", "WriteRefused")
    assert api.status["history"] == told[0]
    assert (api.events.count("RolledBack"), cause._value.get() - before) == (1, 1)
    assert weights(api) == {"flights-1": 100}


def test_the_metric_of_rollbacks_names_every_reason_that_it_may_have() -> None:
    measures = (
        "errors",
        "latency",
        "query",
        *(one.MEASURE for one in (disagreement, predictions, quality_drop)),
    )
    assert [one for one in (*measures, *Cause) if one not in ROLLBACKS._documentation] == []


async def test_pods_of_an_aborted_challenger_go_only_when_no_router_sends_to_them(tmp_path: Path) -> None:
    """Case 2."""
    api, routers = await canary(tmp_path)
    loser = api.status["candidate"]["name"]
    count(api, routers, errors=500)
    api.writes.clear()
    ctx = started(api, routers, tmp_path)
    result = await modeldeployment.reconcile(ctx, KEY)
    assert api.writes == ["status ModelDeployment flights"]
    assert result.after is not None
    assert result.after <= routing_envoy.READ_BACK
    assert Key(DEPLOYMENT, NAMESPACE, loser) in api.objects
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert Key(DEPLOYMENT, NAMESPACE, loser) in api.objects
    routers.follow()
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    left = [key for key in api.objects if key.name == loser and key.kind in (DEPLOYMENT, SERVICE)]
    assert left == []
    assert api.status["phase"] == "RolledBack"


async def test_pods_of_an_aborted_challenger_go_when_its_last_request_was_seen_to_be_answered(
    tmp_path: Path,
) -> None:
    api, routers = await canary(tmp_path)
    loser = api.status["candidate"]["name"]
    routers.busy[loser] = 1
    say(api, "abort", "1")
    await settle(api, routers, tmp_path)
    (share,) = (one for one in api.status["traffic"] if one["name"] == loser)
    assert (share["weight"], share["verified"], "drainingSince" in share) == (0, True, True)
    assert Key(DEPLOYMENT, NAMESPACE, loser) in api.objects
    again = await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert again.after is not None
    assert again.after.total_seconds() <= 1
    routers.busy.clear()
    await settle(api, routers, tmp_path)
    assert Key(DEPLOYMENT, NAMESPACE, loser) not in api.objects


async def rollout(api: ServingApi, routers: Routers, folder: Path) -> list[tuple[ServingApi, Routers]]:
    """Version 2 from its approval to the end of the warm time of version 1, crash or no crash; what was there
    before each pass.
    """
    passes = []
    for _ in range(40):
        before = api.version
        passes.append(fork(api, routers))
        try:
            await modeldeployment.reconcile(started(api, routers, folder), KEY)
        except Crash:
            api.crash_after = None
        except Conflict:
            continue
        if api.version == before and stable(api) == "flights-2" and "previous" not in api.status:
            break
        api.run_pods()
        routers.follow()
        if "candidate" in api.status:
            count(api, routers)
        api.clock.time += minutes(0.5)
    return passes


def shape(api: ServingApi) -> tuple[object, ...]:
    """The end state that matters: names of children, sizes, weights, who serves."""
    sizes = {one["metadata"]["name"]: one["spec"].get("replicas") for one in api.all(DEPLOYMENT)}
    services = [one["metadata"]["name"] for one in api.all(SERVICE)]
    return sizes, services, weights(api), stable(api), api.status["phase"]


async def test_a_crash_after_any_write_ends_in_the_same_place(tmp_path: Path) -> None:
    """Case 40."""
    api, routers = await serving(tmp_path)
    approve(api, 2)
    api.writes.clear()
    passes = await rollout(api, routers, tmp_path)
    expected, writes = shape(api), len(api.writes)
    assert expected[3:] == ("flights-2", "Healthy")
    for crash in range(writes):
        before = [one for one in passes if len(one[0].writes) <= crash]
        api, routers = fork(*before[-1])
        api.crash_after = crash - len(api.writes)
        await rollout(api, routers, tmp_path)
        assert shape(api) == expected, f"crash after write {crash}"


async def test_a_newer_operator_changes_no_pod_template_but_that_of_the_next_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, routers = await canary(tmp_path)
    before = templates(api)
    monkeypatch.setattr(serving_domain, "DRAIN_SECONDS", 30)
    newer: Json = {
        "server_image": "noria/server@sha256:" + "d" * 64,
        "image_pull_policy": "Always",
        "private_hosts": ("mirror.example",),
        "allow_code_namespaces": frozenset({NAMESPACE}),
    }
    await modeldeployment.reconcile(started(api, routers, tmp_path, **newer), KEY)
    assert templates(api) == before

    say(api, "abort", "1")
    approve(api, 3)
    for _ in range(4):
        await modeldeployment.reconcile(started(api, routers, tmp_path, **newer), KEY)
        api.run_pods()
        routers.follow()
    after = templates(api)
    (made,) = after.keys() - before.keys()
    (container,) = after.pop(made)["spec"]["containers"]
    assert container["image"] == newer["server_image"]
    assert {"name": "NORIA_DRAIN_SECONDS", "value": "30"} in container["env"]
    assert after.items() <= before.items()


async def test_a_previous_version_whose_time_is_over_waits_for_routers_without_a_hot_loop(
    tmp_path: Path,
) -> None:
    api, routers = await serving(tmp_path)
    edit(api, strategy={"keepPrevious": "1m"})
    approve(api, 2)
    await settle(api, routers, tmp_path)
    edit(api, version="flights-1")
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert (stable(api), api.status["previous"]["version"]) == ("flights-1", "flights-2")
    for key in [key for key in api.objects if key.kind == POD and key.name.startswith("noria-router")]:
        del api.objects[key]
    api.clock.time += minutes(2)
    result = await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert "previous" in api.status
    assert result.after is not None
    assert result.after >= minutes(1)


async def test_a_lost_record_is_made_from_the_pods_that_run(tmp_path: Path) -> None:
    api, routers = await serving(tmp_path)
    name = api.status["stable"]["name"]
    del api.objects[Key(CONTROLLERREVISION, NAMESPACE, name)]
    del api.objects[Key(MODELVERSION, NAMESPACE, "flights-1")]
    before = api.objects[Key(DEPLOYMENT, NAMESPACE, name)]["spec"]["template"]
    await settle(api, routers, tmp_path)
    assert api.objects[Key(CONTROLLERREVISION, NAMESPACE, name)]["data"]["template"] == before
    assert condition(api, "Servable") == ("True", "Serving")


async def test_an_undo_brings_back_the_pods_of_that_revision_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 34: image, environment, resources and settings of the installation, whatever they are by now."""
    api = cluster(strategy={"keepPrevious": "0s"}, server={"env": [{"name": "MODE", "value": "old"}]})
    claim(api, "ReadWriteMany")
    routers = Routers(api)
    approve(api, 1)
    await settle(api, routers, tmp_path)
    first, before = api.status["stable"]["name"], servers(api)
    resources = {"requests": {"cpu": "2"}}
    monkeypatch.setattr(serving_domain, "DRAIN_SECONDS", 30)
    edit(api, server={"env": [{"name": "MODE", "value": "new"}], "resources": resources})
    await settle(api, routers, tmp_path)
    assert servers(api).keys().isdisjoint(before)
    say(api, "undo", "ada, ticket 7")
    await settle(api, routers, tmp_path)
    assert servers(api) == before
    assert (api.status["stable"]["name"], weights(api)) == (first, {"flights-1": 100})
    assert (api.status["phase"], condition(api, "UpToDate")[0]) == ("RolledBack", "False")
    assert "undone by noria.dev/undo ada, ticket 7" in api.status["message"]
    approve(api, 2)
    await settle(api, routers, tmp_path)
    assert stable(api) == "flights-2"


async def succeeded(folder: Path) -> tuple[ServingApi, Routers]:
    """flights-2 serves, and nothing is left of the pods of flights-1."""
    api = cluster(strategy={"keepPrevious": "0s"})
    claim(api, "ReadWriteMany")
    routers = Routers(api)
    for number in (1, 2):
        approve(api, number)
        await settle(api, routers, folder)
    return api, routers


async def test_an_undo_knows_its_target_in_the_pass_that_finds_it(tmp_path: Path) -> None:
    """No further event may come: nobody else names a former champion whose pods are gone."""
    api, routers = await succeeded(tmp_path)
    say(api, "undo", "1")
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert api.status["candidate"]["version"] == "flights-1"


async def test_a_champion_without_a_record_of_its_pods_cannot_be_gone_back_to(tmp_path: Path) -> None:
    api, routers = await succeeded(tmp_path)
    del api.objects[Key(CONTROLLERREVISION, NAMESPACE, api.status["champions"][0]["name"])]
    say(api, "undo", "1")
    await settle(api, routers, tmp_path)
    assert (stable(api), api.status["commands"], api.events[-1]) == (
        "flights-2",
        {"undo": "1"},
        "CommandRefused",
    )


NEWER: Json = {"server_image": "noria/server@sha256:" + "d" * 64}


def records(api: ServingApi) -> list[Json]:
    """The recorded templates of models' pods."""
    found = api.all(CONTROLLERREVISION)
    return [one["data"]["template"] for one in found if "noria.dev/revision" in one["metadata"]["labels"]]


def marked(template: Json) -> str:
    return str(template["metadata"].get("annotations", {}).get("noria.dev/restart", ""))


async def test_a_restart_takes_the_installations_image_and_stays_the_same_revision(tmp_path: Path) -> None:
    api, routers = await serving(tmp_path)
    before = api.status["stable"]
    say(api, "restart", "17")
    await settle(api, routers, tmp_path, **NEWER)
    (made,) = servers(api).values()
    assert (made["spec"]["containers"][0]["image"], marked(made)) == (NEWER["server_image"], "17")
    assert (api.status["stable"], api.status["phase"]) == (before, "Healthy")
    assert records(api) == [made]
    say(api, "restart", "18")
    await settle(api, routers, tmp_path, **NEWER)
    (again,) = servers(api).values()
    assert (again["spec"], marked(again)) == (made["spec"], "18")


async def test_pods_of_noria_s_own_image_pull_it_by_the_installations_secrets(tmp_path: Path) -> None:
    api, routers = await serving(tmp_path)
    edit(api, server={"imagePullSecrets": [{"name": "mine"}]})
    await settle(api, routers, tmp_path, pull_secrets=("registry", "mine"))
    pulling = [one["spec"].get("imagePullSecrets") for one in servers(api).values()]
    assert [{"name": "mine"}, {"name": "registry"}] in pulling
    edit(api, server={"image": "elsewhere/server:1"})
    await settle(api, routers, tmp_path, pull_secrets=("registry",))
    (own,) = [
        one for one in servers(api).values() if one["spec"]["containers"][0]["image"] == "elsewhere/server:1"
    ]
    assert "imagePullSecrets" not in own["spec"]


async def test_a_restart_leaves_a_champion_its_settings_while_others_are_rolled_out(tmp_path: Path) -> None:
    """Case 34."""
    api, routers = await serving(tmp_path)
    name, before = api.status["stable"]["name"], servers(api)
    edit(api, server={"env": [{"name": "MODE", "value": "new"}]})
    await settle(api, routers, tmp_path, **NEWER)
    assert weights(api) == {"flights-1": 50}
    say(api, "restart", "17")
    await settle(api, routers, tmp_path, **NEWER)
    made = servers(api)[name]
    assert (made["spec"], marked(made)) == (before[name]["spec"], "17")
    assert [marked(one) for one in servers(api).values()].count("17") == 1


async def test_a_crash_after_any_write_of_a_restart_ends_in_the_same_place(tmp_path: Path) -> None:
    """Case 40."""
    for crash in range(6):
        api, routers = await serving(tmp_path)
        say(api, "restart", "17")
        api.crash_after = crash
        with contextlib.suppress(Crash):
            await settle(api, routers, tmp_path, **NEWER)
        api.crash_after = None
        await settle(api, routers, tmp_path, **NEWER)
        (made,) = servers(api).values()
        assert (made["spec"]["containers"][0]["image"], marked(made)) == (NEWER["server_image"], "17"), crash
        assert records(api) == [made]
        assert api.status["commands"] == {"restart": "17"}


async def test_scaling_reaches_the_pods_in_the_middle_of_a_rollout(tmp_path: Path) -> None:
    """Cases 11 and 26."""
    api, routers = await canary(tmp_path)
    edit(api, replicas=4)
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    sizes = {one["metadata"]["labels"].get("noria.dev/version"): one["spec"] for one in api.all(DEPLOYMENT)}
    assert sizes["flights-1"]["replicas"] == 4
    assert sizes["flights-2"]["replicas"] == 2
    assert weights(api) == {"flights-1": 50, "flights-2": 50}


async def test_what_the_api_server_refuses_is_told_in_status_and_not_written_over_and_over(
    tmp_path: Path,
) -> None:
    api = cluster()
    claim(api, "ReadWriteMany")
    approve(api, 1)
    routers = Routers(api)
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    api.refuse = {"Deployment": Forbidden(403, "Forbidden", "exceeded quota: pods")}
    result = await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert condition(api, "Stalled") == ("True", "WriteRefused")
    assert "exceeded quota" in api.status["message"]
    before = api.version
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert api.version == before
    assert result.after == modeldeployment.AFTER_TROUBLE
    api.refuse = {}
    await settle(api, routers, tmp_path)
    assert condition(api, "Stalled")[0] == "False"


async def test_what_may_not_be_deleted_takes_nothing_from_what_serves(tmp_path: Path) -> None:
    api, routers = await canary(tmp_path)
    loser = api.status["candidate"]["name"]
    api.kept = frozenset({DEPLOYMENT})
    say(api, "abort", "1")
    await settle(api, routers, tmp_path)
    result = await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert (result.after, api.events[-1]) == (modeldeployment.AFTER_TROUBLE, "WriteRefused")
    assert condition(api, "Ready") == ("True", "Serving")
    api.kept = frozenset()
    await settle(api, routers, tmp_path)
    assert Key(DEPLOYMENT, NAMESPACE, loser) not in api.objects


@pytest.mark.parametrize(
    ("kind", "ready"), [(DEPLOYMENT, ("True", "Serving")), (SERVICE, ("False", "NameConflict"))]
)
async def test_a_name_that_somebody_took_ends_ready_only_where_it_is_the_address(
    tmp_path: Path, kind: Kind, ready: tuple[str, str]
) -> None:
    other, _ = await canary(tmp_path)
    challenger = other.status["candidate"]["name"]
    api, routers = await serving(tmp_path)
    foreign = {
        "name": challenger if kind == DEPLOYMENT else "flights",
        "namespace": NAMESPACE,
        "uid": "theirs",
    }
    api.put(kind, {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": foreign, "spec": {}})
    approve(api, 2)
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert condition(api, "Stalled") == ("True", "NameConflict")
    assert condition(api, "Ready") == ready
    assert stable(api) == "flights-1"


async def test_a_preview_has_a_service_and_a_url_for_as_long_as_it_is_asked_for(tmp_path: Path) -> None:
    api, routers = await serving(tmp_path)
    key = Key(SERVICE, NAMESPACE, f"{KEY.name}-preview")
    assert (api.objects.get(key), api.status.get("previewUrl")) == (None, None)
    edit(api, strategy={**STEPS, "preview": True})
    await settle(api, routers, tmp_path)
    assert api.objects[key]["spec"]["selector"]["noria.dev/router"] == "true"
    assert api.status["previewUrl"] == f"http://{KEY.name}-preview.{NAMESPACE}.svc"
    edit(api, strategy=STEPS)
    await settle(api, routers, tmp_path)
    assert (api.objects.get(key), api.status.get("previewUrl")) == (None, None)


async def test_a_preview_whose_name_is_taken_stops_no_requests_and_says_so(tmp_path: Path) -> None:
    api, routers = await serving(tmp_path)
    foreign = {"name": f"{KEY.name}-preview", "namespace": NAMESPACE, "uid": "theirs"}
    api.put(SERVICE, {"apiVersion": "v1", "kind": "Service", "metadata": foreign, "spec": {}})
    edit(api, strategy={**STEPS, "preview": True})
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert condition(api, "Stalled") == ("True", "NameConflict")
    assert condition(api, "Ready") == ("True", "Serving")


async def test_a_claim_that_does_not_exist_is_named_before_any_pod_is_made(tmp_path: Path) -> None:
    api = cluster()
    approve(api, 1)
    await settle(api, Routers(api), tmp_path)
    assert condition(api, "Stalled") == ("True", "VolumeUnavailable")
    assert "claim models does not exist" in api.status["message"].replace("PersistentVolumeClaim", "claim")
    assert [one["metadata"]["name"] for one in api.all(DEPLOYMENT)] == ["noria-router"]


async def test_an_invalid_spec_is_terminal_and_names_the_field(tmp_path: Path) -> None:
    api = cluster(replicas=-1)
    with pytest.raises(Terminal, match=r"spec\.replicas"):
        await modeldeployment.reconcile(started(api, Routers(api), tmp_path), KEY)


UNKNOWN = {"newField": {"on": True}}
"""What an operator of a later release would know."""
UNREADABLE: list[Json] = [
    {"strategy": {**STEPS, "progressDeadline": "soon"}},
    {"server": {"runtime": "of a later release"}},
]


@pytest.mark.parametrize("command", ["abort", "undo"])
async def test_a_person_stops_a_rollout_whose_spec_a_newer_operator_wrote(
    tmp_path: Path, command: str
) -> None:
    api, routers = await canary(tmp_path)
    edit(api, **UNKNOWN)
    say(api, command, "1")
    await settle(api, routers, tmp_path)
    assert (weights(api), api.status["commands"][command]) == ({"flights-1": 100}, "1")
    assert [*servers(api)] == [api.status["stable"]["name"]]


async def test_evidence_ends_a_rollout_whose_spec_a_newer_operator_wrote_and_promotes_nobody(
    tmp_path: Path,
) -> None:
    api, routers = await canary(tmp_path)
    edit(api, **UNKNOWN)
    for _ in range(5):
        count(api, routers)
        api.clock.time += timedelta(seconds=20)
        await settle(api, routers, tmp_path)
    assert api.status["analysis"]["verdict"] == "Pass"
    assert (weights(api), stable(api)) == ({"flights-1": 50, "flights-2": 50}, "flights-1")
    assert condition(api, "Readable") == ("False", "SpecUnread")
    assert condition(api, "Stalled")[0] == "False"
    assert condition(api, "Ready")[0] == "True"
    told = next(one["message"] for one in api.status["conditions"] if one["type"] == "Readable")
    assert told.startswith("spec.newField: this release of Noria has no such field")
    assert told in api.status["message"]
    for _ in range(4):
        count(api, routers, errors=500)
        api.clock.time += timedelta(seconds=20)
        await settle(api, routers, tmp_path)
    assert weights(api) == {"flights-1": 100}


async def test_a_rollout_goes_on_with_the_operator_that_can_read_its_spec(tmp_path: Path) -> None:
    api, routers = await canary(tmp_path)
    edit(api, **UNKNOWN)
    for _ in range(3):
        count(api, routers)
        api.clock.time += timedelta(seconds=20)
        await settle(api, routers, tmp_path)
    assert stable(api) == "flights-1"
    found = as_sent(api.deployment)
    del found["spec"]["newField"]
    api.put(MODELDEPLOYMENT, found)
    await settle(api, routers, tmp_path)
    assert (stable(api), weights(api)) == ("flights-2", {"flights-2": 100})
    assert "Readable" not in [one["type"] for one in api.status["conditions"]]


async def test_a_rollout_whose_spec_a_newer_operator_wrote_ends_with_its_time(tmp_path: Path) -> None:
    api, routers = await canary(tmp_path)
    analysis = {"maxHold": "1m", "onMaxHold": "Abort"}
    edit(api, strategy={**STEPS, "analysis": analysis}, **UNKNOWN)
    for _ in range(5):
        await settle(api, routers, tmp_path)
        api.clock.time += timedelta(seconds=30)
    assert weights(api) == {"flights-1": 100}


async def test_a_challenger_whose_pods_come_once_a_newer_operator_wrote_its_spec_ends_with_its_time(
    tmp_path: Path,
) -> None:
    """Nobody gives it the weight of its step by then, and no router is what it waits for."""
    api, routers = await serving(tmp_path)
    analysis = {"maxHold": "1m", "onMaxHold": "Abort"}
    edit(api, strategy={**STEPS, "analysis": analysis})
    approve(api, 2)
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert weights(api) == {"flights-1": 100}
    edit(api, **UNKNOWN)
    await settle(api, routers, tmp_path)
    assert api.status["message"].startswith("flights-2 stays at weight 0; spec.newField: ")
    for _ in range(3):
        await settle(api, routers, tmp_path)
        api.clock.time += timedelta(seconds=30)
    await settle(api, routers, tmp_path)
    assert "candidate" not in api.status
    assert "no decision within maxHold 1m" in api.status["history"][-1]["message"]


async def test_a_challenger_whose_pods_come_once_a_newer_operator_wrote_its_spec_gets_its_time_after_that(
    tmp_path: Path,
) -> None:
    api, routers = await serving(tmp_path)
    approve(api, 2)
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    edit(api, **UNKNOWN)
    for _ in range(3):
        await settle(api, routers, tmp_path)
        api.clock.time += minutes(1)
    found = as_sent(api.deployment)
    del found["spec"]["newField"]
    api.put(MODELDEPLOYMENT, found)
    await settle(api, routers, tmp_path)
    assert weights(api) == {"flights-1": 50, "flights-2": 50}
    step = api.status["step"]
    assert (step["index"], step["startedAt"][:16]) == (0, "2026-03-01T12:03")


@pytest.mark.parametrize(
    "spec",
    [
        UNKNOWN,
        {"server": {"newField": 1}},
        {"strategy": {"newField": 1}},
        {"strategy": {**STEPS, "newField": 1}},
    ],
    ids=["spec", "server", "no steps", "steps"],
)
async def test_nothing_begins_and_no_weight_grows_by_a_spec_that_is_not_read_whole(
    tmp_path: Path, spec: Json
) -> None:
    """Whatever the fields are about: pods of other settings, other steps, or a third version."""
    api, routers = await canary(tmp_path)
    edit(api, **spec)
    approve(api, 3)
    pods = servers(api)
    for _ in range(3):
        count(api, routers)
        api.clock.time += timedelta(seconds=20)
        await settle(api, routers, tmp_path)
    assert servers(api) == pods
    assert weights(api) == {"flights-1": 50, "flights-2": 50}
    assert api.status["phase"] == "Progressing"


@pytest.mark.parametrize("spec", [{}, {"server": {"newField": 1}}, {"version": "flights-2"}])
async def test_a_champion_of_a_spec_that_is_not_read_whole_serves_on(tmp_path: Path, spec: Json) -> None:
    api, routers = await serving(tmp_path)
    edit(api, **UNKNOWN, **spec)
    approve(api, 2)
    await settle(api, routers, tmp_path)
    assert (weights(api), len(servers(api)), api.status["phase"]) == ({"flights-1": 100}, 1, "Healthy")
    assert api.status["message"].startswith("flights-1 serves; spec.")
    assert (condition(api, "UpToDate")[0], condition(api, "Stalled")[0]) == ("False", "False")


@pytest.mark.parametrize("more", [{}, {"server": {"newField": 1}}], ids=["elsewhere", "server"])
@pytest.mark.parametrize("retried", [False, True])
async def test_an_abort_of_what_has_yet_to_begin_holds_when_the_spec_is_read_whole_again(
    tmp_path: Path, retried: bool, more: Json
) -> None:
    """Also of what would be tried again by itself."""
    api, routers = await serving(tmp_path)
    if retried:
        edit(api, strategy={**STEPS, "retry": {"limit": 1, "delay": "1m"}})
        approve(api, 2)
        await settle(api, routers, tmp_path)
        for _ in range(4):
            count(api, routers, errors=500)
            api.clock.time += timedelta(seconds=20)
            await settle(api, routers, tmp_path)
            if "candidate" not in api.status:
                break
    edit(api, **UNKNOWN, **more)
    approve(api, 2)
    await settle(api, routers, tmp_path)
    say(api, "abort", "1")
    await settle(api, routers, tmp_path)
    found = as_sent(api.deployment)
    del found["spec"]["newField"]
    api.put(MODELDEPLOYMENT, found)
    edit(api, server={})
    api.clock.time += minutes(10)
    await settle(api, routers, tmp_path)
    assert (weights(api), api.status["phase"]) == ({"flights-1": 100}, "RolledBack")
    assert {one["version"]: one["revision"] == "*" for one in api.status["rejected"]} == {
        "flights-2": bool(more)
    }


async def test_nothing_is_made_of_a_new_deployment_that_is_not_read_whole(tmp_path: Path) -> None:
    api, routers = first(newField=1)
    await settle(api, routers, tmp_path)
    assert servers(api) == {}
    assert api.status["message"].startswith("nothing serves; spec.newField")


@pytest.mark.parametrize("part", ["spec", "version", "unreadable"])
async def test_a_person_goes_back_from_a_champion_whose_spec_is_not_read_whole(
    tmp_path: Path, part: str
) -> None:
    """Also to a version whose pods are gone: they are made as they were."""
    api, routers = await promoted(tmp_path)
    if part == "version":
        found = as_sent(api.objects[Key(MODELVERSION, NAMESPACE, "flights-1")])
        api.put(MODELVERSION, {**found, "spec": {**found["spec"], **UNKNOWN}})
    else:
        edit(api, **(UNKNOWN if part == "spec" else UNREADABLE[0]))
    say(api, "undo", "1")
    with pytest.raises(Terminal) if part == "unreadable" else contextlib.nullcontext():
        await settle(api, routers, tmp_path, passes=24)
    assert (stable(api), weights(api)) == ("flights-1", {"flights-1": 100})


@pytest.mark.parametrize("spec", [{"server": {"newField": 1}}, UNREADABLE[1]], ids=["newer", "wrong"])
async def test_an_undo_that_is_on_its_way_goes_on_when_the_spec_is_read_whole_again(
    tmp_path: Path, spec: Json
) -> None:
    """Where `server` could not be read, whatever it says then."""
    api, routers = await promoted(tmp_path)
    edit(api, **spec)
    say(api, "undo", "1")
    for _ in range(2):
        await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert api.status["candidate"]["version"] == "flights-1"
    edit(api, server={"terminationSeconds": 20})
    await settle(api, routers, tmp_path, passes=24)
    told = (stable(api), weights(api), api.status["phase"])
    assert told == ("flights-1", {"flights-1": 100}, "RolledBack")


@pytest.mark.parametrize("command", ["promote", "resume", "retry"])
async def test_what_goes_on_is_refused_by_an_operator_that_does_not_read_the_spec_whole(
    tmp_path: Path, command: str
) -> None:
    api, routers = await canary(tmp_path)
    edit(api, **UNKNOWN)
    say(api, command, "1")
    await settle(api, routers, tmp_path)
    assert (weights(api), api.status["commands"][command]) == ({"flights-1": 50, "flights-2": 50}, "1")
    refused = api.status["history"][-1]
    assert (refused["event"], "spec.newField" in refused["message"]) == ("CommandRefused", True)


async def test_a_person_may_give_everything_to_a_challenger_though_the_spec_is_not_read_whole(
    tmp_path: Path,
) -> None:
    api, routers = await canary(tmp_path)
    edit(api, **UNKNOWN)
    say(api, "promote-full", "1")
    await settle(api, routers, tmp_path)
    assert (stable(api), weights(api)) == ("flights-2", {"flights-2": 100})


@pytest.mark.parametrize("part", ["", "artifact"])
@pytest.mark.parametrize("number", [1, 2])
async def test_a_version_that_a_newer_operator_wrote_keeps_its_place(
    tmp_path: Path, number: int, part: str
) -> None:
    api, routers = await canary(tmp_path)
    found = as_sent(api.objects[Key(MODELVERSION, NAMESPACE, f"flights-{number}")])
    (found["spec"][part] if part else found["spec"])["newField"] = 1
    api.put(MODELVERSION, found)
    pods = servers(api)
    for _ in range(3):
        count(api, routers)
        api.clock.time += timedelta(seconds=20)
        await settle(api, routers, tmp_path)
    assert (servers(api), weights(api)) == (pods, {"flights-1": 50, "flights-2": 50})
    assert f"ModelVersion flights-{number}: spec." in api.status["message"]


async def test_a_version_that_a_newer_operator_wrote_is_not_begun_with(tmp_path: Path) -> None:
    api, routers = await serving(tmp_path)
    approve(api, 2)
    found = as_sent(api.objects[Key(MODELVERSION, NAMESPACE, "flights-2")])
    found["spec"]["newField"] = 1
    api.put(MODELVERSION, found)
    await settle(api, routers, tmp_path)
    assert (weights(api), len(servers(api)), api.status["message"]) == (
        {"flights-1": 100},
        1,
        "flights-1 serves",
    )


async def test_a_challenger_that_was_rejected_leaves_though_the_spec_is_not_read_whole(
    tmp_path: Path,
) -> None:
    api, routers = await canary(tmp_path)
    edit(api, **UNKNOWN)
    approve(api, 2, phase="Rejected")
    await settle(api, routers, tmp_path)
    assert weights(api) == {"flights-1": 100}


@pytest.mark.parametrize("spec", UNREADABLE, ids=["strategy", "server"])
@pytest.mark.parametrize("command", ["abort", "undo"])
async def test_a_person_stops_a_rollout_whatever_the_spec_says(
    tmp_path: Path, command: str, spec: Json
) -> None:
    """To its end: no router sends the challenger anything, and its pods are gone."""
    api, routers = await canary(tmp_path)
    edit(api, **spec)
    with pytest.raises(Terminal, match=r"spec\."):
        await settle(api, routers, tmp_path)
    assert weights(api) == {"flights-1": 50, "flights-2": 50}
    approve(api, 3)
    say(api, command, "1")
    with pytest.raises(Terminal, match=r"spec\."):
        await settle(api, routers, tmp_path)
    assert (weights(api), api.status["commands"][command]) == ({"flights-1": 100}, "1")
    assert [*servers(api)] == [api.status["stable"]["name"]]


async def test_an_undo_waits_for_pods_as_long_as_a_spec_says_that_cannot_be_read_otherwise(
    tmp_path: Path,
) -> None:
    api, routers = await promoted(tmp_path)
    edit(api, strategy={**STEPS, "progressDeadline": "1h"}, **UNREADABLE[1])
    say(api, "undo", "1")
    for _ in range(4):
        await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
        api.clock.time += minutes(11)
    assert (api.status["candidate"]["version"], stable(api)) == ("flights-1", "flights-2")
    with pytest.raises(Terminal):
        for _ in range(6):
            api.clock.time += minutes(11)
            await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert "not ready within progressDeadline 60m" in api.status["history"][-1]["message"]


@pytest.mark.parametrize("kept", ["0s", "24h"])
async def test_a_former_version_stays_as_long_as_a_spec_says_that_cannot_be_read_otherwise(
    tmp_path: Path, kept: str
) -> None:
    api, routers = await canary(tmp_path)
    edit(api, strategy={**STEPS, "keepPrevious": "24h"})
    say(api, "promote-full", "1")
    await settle(api, routers, tmp_path)
    edit(api, strategy={**STEPS, "keepPrevious": kept}, **UNREADABLE[1])
    say(api, "undo", "1")
    with pytest.raises(Terminal):
        await settle(api, routers, tmp_path)
    assert stable(api) == "flights-1"
    until = api.status.get("previous", {}).get("keepUntil", "")
    assert until[:10] == {"0s": "", "24h": "2026-03-02"}[kept]


async def test_an_undo_of_a_pinned_version_holds_once_its_spec_can_be_read_again(tmp_path: Path) -> None:
    api, routers = await promoted(tmp_path)
    edit(api, version="flights-2", **UNREADABLE[1])
    approve(api, 3)
    say(api, "undo", "1")
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    edit(api, server={})
    await settle(api, routers, tmp_path, passes=24)
    assert (weights(api), api.status["phase"]) == ({"flights-1": 100}, "RolledBack")


async def test_a_command_that_is_refused_leaves_a_rollout_alone_whose_spec_cannot_be_read(
    tmp_path: Path,
) -> None:
    """Its steps were not read, nor what it is judged by."""
    api, routers = await serving(tmp_path)
    step = {"match": [{"name": "x-tester", "value": "yes"}], "pause": True}
    edit(api, strategy={"steps": [step], "analysis": {"interval": "1m"}})
    approve(api, 2)
    await settle(api, routers, tmp_path)
    assert api.status["phase"] == "Paused"
    name, before = api.status["candidate"]["name"], copy.deepcopy(api.status)
    edit(api, **UNREADABLE[1])
    say(api, "undo", "flights-9@1")
    with pytest.raises(Terminal):
        await settle(api, routers, tmp_path)
    assert api.status["history"][-1]["event"] == "CommandRefused"
    assert api.objects[Key(DEPLOYMENT, NAMESPACE, name)]["spec"]["replicas"] == 1
    same = ("candidate", "step", "analysis", "traffic")
    assert [api.status.get(part) for part in same] == [before.get(part) for part in same]


async def test_nothing_can_be_stopped_by_a_spec_that_does_not_even_name_a_number_of_pods(
    tmp_path: Path,
) -> None:
    api, routers = await canary(tmp_path)
    edit(api, replicas=-1)
    say(api, "abort", "1")
    with pytest.raises(Terminal, match=r"spec\.replicas"):
        await settle(api, routers, tmp_path)
    assert weights(api) == {"flights-1": 50, "flights-2": 50}


async def test_a_deployment_that_is_gone_or_going_is_left_to_the_garbage_collector(tmp_path: Path) -> None:
    """Case 54."""
    api, routers = await serving(tmp_path)
    api.deployment["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    before = api.version
    assert (await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)).after is None
    del api.objects[KEY]
    assert (await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)).after is None
    assert api.version == before


async def test_status_tells_autoscalers_which_pods_to_count(tmp_path: Path) -> None:
    api, routers = await serving(tmp_path)
    mine = "noria.dev/deployment=flights,noria.dev/owner-uid=7b1c2d3e-0000"
    first = api.status["stable"]["revision"]
    asked = f"noria.dev/version in (flights-1),noria.dev/revision in ({first})"
    assert api.status["selector"] == f"{mine},{asked}"
    assert api.status["replicas"] == 1
    for name, change in (("evicted", {"status": {"phase": "Failed"}}), ("going", {})):
        pod = copy.deepcopy(
            next(one for one in api.all(POD) if one["metadata"]["name"].startswith("flights-1"))
        )
        pod["metadata"] |= {"name": name, "uid": name} | ({} if change else {"deletionTimestamp": "now"})
        api.put(POD, pod | change)
    await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert api.status["replicas"] == 1
    assert api.status["url"] == "http://flights.prod.svc"


async def test_autoscalers_measure_those_that_carry_traffic_and_no_idle_previous_version(
    tmp_path: Path,
) -> None:
    """Case 26."""
    api, routers = await canary(tmp_path)
    both = sorted(api.status[role]["revision"] for role in ("stable", "candidate"))
    assert api.status["selector"].endswith(f",noria.dev/revision in ({','.join(both)})")
    second = api.status["candidate"]["revision"]
    say(api, "promote-full", "1")
    await settle(api, routers, tmp_path)
    assert api.status["previous"]["version"] == "flights-1"
    assert api.status["selector"].endswith(f",noria.dev/revision in ({second})")


@pytest.mark.parametrize(
    ("steps", "counts"),
    [
        ([{"replicas": "100%", "pause": True}], False),
        ([{"mirror": 50, "pause": True}], True),
        ([{"match": [{"name": "x-canary", "value": "always"}], "replicas": 1, "pause": True}], True),
    ],
)
async def test_a_challenger_that_gets_nothing_makes_no_busy_champion_look_idle(
    tmp_path: Path, steps: list[Json], counts: bool
) -> None:
    """Case 26."""
    api, routers = await serving(tmp_path)
    edit(api, strategy={"steps": steps})
    approve(api, 2)
    await settle(api, routers, tmp_path)
    assert api.status["phase"] == "Paused"
    assert ("flights-2" in api.status["selector"]) == counts


async def test_an_idle_version_of_the_same_artifact_is_not_measured(tmp_path: Path) -> None:
    api, routers = await serving(tmp_path)
    approve(api, 2, like=1)
    await settle(api, routers, tmp_path)
    say(api, "promote-full", "1")
    await settle(api, routers, tmp_path)
    assert api.status["previous"]["revision"] == api.status["stable"]["revision"]
    assert "noria.dev/version in (flights-2)," in api.status["selector"]


async def test_versions_claims_and_routers_wake_those_that_wait_for_them(tmp_path: Path) -> None:
    api, routers = await serving(tmp_path)
    store = started(api, routers, tmp_path).store
    version = api.objects[Key(MODELVERSION, NAMESPACE, "flights-1")]
    assert modeldeployment.related(store, version) == [KEY]
    assert modeldeployment.related(store, api.objects[Key(PVC, NAMESPACE, "models")]) == []
    say(api, "abort", "unrelated")
    other = api.objects[Key(DEPLOYMENT, NAMESPACE, api.status["stable"]["name"])]
    assert modeldeployment.related(store, other) == []


async def test_a_host_that_another_deployment_has_is_told_until_it_is_free(tmp_path: Path) -> None:
    api, routers = await serving(tmp_path)
    mine = copy.deepcopy(api.deployment)
    mine["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    mine["spec"]["hosts"] = ["flights.example.com", "own.example.com"]
    api.put(MODELDEPLOYMENT, mine)
    first = copy.deepcopy(mine)
    first["metadata"] |= {"name": "trains", "uid": "9999-0000", "creationTimestamp": "2025-12-31T23:59:59Z"}
    first["spec"]["hosts"] = ["flights.example.com"]
    api.put(MODELDEPLOYMENT, first)
    await settle(api, routers, tmp_path)
    assert condition(api, "Stalled") == ("True", "HostConflict")
    assert condition(api, "Ready")[0] == "True"
    told = next(one for one in api.status["conditions"] if one["type"] == "Stalled")["message"]
    assert "flights.example.com (trains)" in told
    assert "own.example.com" not in told
    del api.objects[Key(MODELDEPLOYMENT, NAMESPACE, "trains")]
    store = started(api, routers, tmp_path).store
    assert modeldeployment.related(store, first) == [KEY]
    await settle(api, routers, tmp_path)
    assert condition(api, "Stalled")[0] == "False"


async def test_where_one_copy_fits_the_champions_pods_are_gone_before_the_challengers_are_asked_for(
    tmp_path: Path,
) -> None:
    api, routers = await serving(tmp_path)
    edit(api, strategy={"type": "Recreate"})
    await settle(api, routers, tmp_path)
    approve(api, 2)
    for _ in range(3):
        await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
        (champion,) = (one for one in api.all(DEPLOYMENT) if one["metadata"]["name"] != "noria-router")
        assert champion["metadata"]["labels"]["noria.dev/version"] == "flights-1"
        rolling = champion["spec"]["strategy"]["rollingUpdate"]
        assert (champion["spec"]["replicas"], rolling) == (0, {"maxUnavailable": "100%", "maxSurge": 0})
    assert condition(api, "Reconciling")[0] == "True"
    assert "nothing answers until it is ready" in api.status["message"]
    api.run_pods()
    await settle(api, routers, tmp_path)
    assert (stable(api), weights(api)) == ("flights-2", {"flights-2": 100})
