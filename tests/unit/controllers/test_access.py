"""When callers of a deployment are checked, and what its status says of that."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.controllers.serving_api import (
    KEY,
    Routers,
    ServingApi,
    approve,
    claim,
    cluster,
    edit,
    say,
    settle,
    started,
)
from tests.unit.controllers.test_modeldeployment import condition

from noria_operator.controllers import access, modeldeployment
from noria_operator.domain.access import Held, Told, guard, lost_headers
from noria_operator.kube.kinds import POD
from noria_operator.routers.source import routed

Json = dict[str, Any]

ACCESS: Json = {"router": {"replicas": 1, "access": {"apiKeys": {"secretName": "keys"}}}}


def serving(**spec: Any) -> tuple[ServingApi, Routers]:
    api = cluster(**spec)
    claim(api, "ReadWriteMany")
    approve(api, 1)
    return api, Routers(api)


def report(api: ServingApi, keys: Held = Held.PRESENT) -> Told:
    rules = guard(api.deployment)
    assert rules is not None
    return Told(rules.rules, keys)


def is_guarded(api: ServingApi) -> bool:
    return routed(api.deployment, {}).guarded


async def after(api: ServingApi, routers: Routers, folder: Path) -> timedelta | None:
    return (await modeldeployment.reconcile(started(api, routers, folder), KEY)).after


async def test_one_that_is_guarded_from_the_beginning_is_never_open(tmp_path: Path) -> None:
    api, routers = serving(**ACCESS)
    assert is_guarded(api)
    routers.told = [Told()]
    await settle(api, routers, tmp_path)
    assert api.status["traffic"]
    assert condition(api, "AccessReady") == ("False", "RoutersChanging")
    assert is_guarded(api)
    routers.told = [report(api)]
    await settle(api, routers, tmp_path)
    assert condition(api, "AccessReady") == ("True", "Checked")


async def test_one_that_was_open_is_guarded_once_every_router_can_check(tmp_path: Path) -> None:
    api, routers = serving()
    await settle(api, routers, tmp_path)
    assert "AccessReady" not in [one["type"] for one in api.status["conditions"]]
    edit(api, **ACCESS)
    assert not is_guarded(api)
    routers.told = [report(api), Told()]
    assert await after(api, routers, tmp_path) == timedelta(seconds=1)
    assert condition(api, "AccessReady") == ("False", "RoutersStarting")
    assert not is_guarded(api)
    routers.told = [report(api), report(api)]
    assert await after(api, routers, tmp_path) == timedelta(minutes=1)
    assert condition(api, "AccessReady") == ("True", "Checked")
    assert is_guarded(api)
    routers.told = [report(api), Told()]
    await settle(api, routers, tmp_path)
    assert is_guarded(api), "a router that forgot closes, it does not open"


@pytest.mark.parametrize(
    ("strategy", "where"),
    [
        ({"sticky": {"header": "x-api-key"}}, "x-api-key in spec.strategy.sticky"),
        ({"steps": [{"match": [{"name": "X-Api-Key", "value": "k"}], "pause": True}]}, "X-Api-Key in spec."),
        ({"sticky": {"header": "x-user"}}, ""),
        ({"sticky": {"cookie": "uid"}}, ""),
        ({"sticky": {"header": "authorization"}}, ""),
    ],
)
async def test_a_header_that_is_taken_off_before_a_version_is_chosen_by_it_is_told(
    tmp_path: Path, strategy: Json, where: str
) -> None:
    api, routers = serving(**ACCESS, strategy=strategy)
    routers.told = [report(api)]
    await settle(api, routers, tmp_path)
    found = next(one for one in api.status["conditions"] if one["type"] == "Stalled")
    assert (found["status"], found["reason"] == "HeaderTakenOff") == (str(bool(where)), bool(where))
    assert found.get("message", "").startswith(where)


def test_arms_and_tokens_have_such_headers_too() -> None:
    jwt = {"issuer": "me", "audiences": ["a"], "jwks": {"secretName": "keys"}}
    arms = [{"version": "m-2", "match": [{"name": "Authorization", "value": "x"}]}]
    spec = {"router": {"access": {"jwt": jwt}}, "strategy": {"experiment": {"arms": arms}}}
    made = {"metadata": {"name": "flights"}, "spec": spec}
    assert lost_headers(made).startswith("Authorization in spec.strategy.experiment: ")
    assert not lost_headers(made | {"spec": {"strategy": spec["strategy"]}})


async def test_a_secret_that_goes_is_told_and_opens_nothing(tmp_path: Path) -> None:
    api, routers = serving(**ACCESS)
    routers.told = [report(api)]
    await settle(api, routers, tmp_path)
    routers.told = [report(api, Held.MISSING)]
    await settle(api, routers, tmp_path)
    assert condition(api, "AccessReady") == ("False", "KeysMissing")
    assert condition(api, "Ready")[0] == "True", "the version itself serves"
    assert is_guarded(api)
    written = api.version
    assert await after(api, routers, tmp_path) == timedelta(seconds=10)
    assert api.version == written, "said once"


async def test_routers_that_nobody_can_ask_are_not_asked_every_second(tmp_path: Path) -> None:
    """Each question takes its whole second, for which other rollouts wait: a network policy may last."""
    api, routers = serving(**ACCESS)
    routers.told = [report(api)]
    await settle(api, routers, tmp_path)
    routers.told = [None]
    assert await after(api, routers, tmp_path) == access.WAITING
    assert condition(api, "AccessReady") == ("Unknown", "RoutersSilent")


async def test_taking_the_guard_away_opens_at_once(tmp_path: Path) -> None:
    api, routers = serving(**ACCESS)
    routers.told = [report(api)]
    await settle(api, routers, tmp_path)
    edit(api, router={"replicas": 1})
    assert not is_guarded(api)
    await settle(api, routers, tmp_path)
    assert "AccessReady" not in [one["type"] for one in api.status["conditions"]]


async def test_routers_that_are_on_their_way_out_are_asked_too(tmp_path: Path) -> None:
    api, routers = serving()
    await settle(api, routers, tmp_path)
    edit(api, **ACCESS)
    asked: list[str] = []

    class Asked(Routers):
        async def access(self, namespace: str, deployment: str, pods: Any) -> list[Told | None]:
            asked.extend(pod["metadata"]["name"] for pod in pods)
            return self.told

    (pod,) = (one for one in api.all(POD) if one["metadata"]["name"].startswith("noria-router"))
    ready = [{"type": "Ready", "status": "False"}]
    for name, more, conditions in (
        ("leaving", {"deletionTimestamp": "2026-01-01T00:00:00Z"}, ready),
        ("starting", {}, ready),
    ):
        meta = {**pod["metadata"], "name": name, "uid": name, **more}
        api.put(POD, {**pod, "metadata": meta, "status": {**pod["status"], "conditions": conditions}})
    await after(api, Asked(api, routers.weights, routers.version), tmp_path)
    assert sorted(asked) == sorted([pod["metadata"]["name"], "leaving"])


async def test_an_abort_waits_for_no_answer_about_callers_and_opens_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, routers = serving(**ACCESS)
    routers.told = [report(api)]
    await settle(api, routers, tmp_path)
    assert condition(api, "AccessReady") == ("True", "Checked")

    async def never(*_: Any) -> Any:
        raise AssertionError("the routers were asked")

    say(api, "abort", "1")
    with monkeypatch.context() as patched:
        patched.setattr(routers, "access", never)
        assert await after(api, routers, tmp_path) == access.CALMLY
    assert api.status["commands"] == {"abort": "1"}
    assert is_guarded(api)
    assert condition(api, "AccessReady") == ("True", "Checked"), "nobody was silent: nobody was asked"
    edit(api, router={"access": {"apiKeys": {"secretName": "others"}}})
    say(api, "abort", "2")
    assert await after(api, routers, tmp_path) == access.WAITING
    assert condition(api, "AccessReady") == ("Unknown", "RoutersSilent"), "of these rules nobody told"
    assert is_guarded(api)
