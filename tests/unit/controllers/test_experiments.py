"""The controller with several challengers: each has pods and a weight of its own, and a crash at any write
changes nothing of how it ends.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.controllers.serving_api import (
    KEY,
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
from tests.unit.controllers.training_api import Crash, minutes

from noria_operator.controllers import modeldeployment
from noria_operator.domain.verdict import Counts
from noria_operator.kube.errors import Conflict
from noria_operator.kube.kinds import DEPLOYMENT, Key

Json = dict[str, Any]
ARMS = [{"version": "flights-2", "weight": 20}, {"version": "flights-3", "weight": 10}]
STRATEGY: Json = {"experiment": {"arms": ARMS, "duration": "1m"}, "keepPrevious": "1m"}


async def compared(folder: Path) -> tuple[ServingApi, Routers]:
    """Versions 2 and 3 have their weights beside version 1."""
    api = cluster(strategy={"keepPrevious": "1m"}, replicas=2)
    claim(api, "ReadWriteMany")
    routers = Routers(api)
    approve(api, 1)
    await settle(api, routers, folder)
    approve(api, 2)
    approve(api, 3)
    edit(api, strategy=STRATEGY)
    await settle(api, routers, folder)
    return api, routers


def weights(api: ServingApi) -> dict[str, int]:
    return {one["version"]: one["weight"] for one in api.status["traffic"] if one["weight"]}


def count(api: ServingApi, routers: Routers, **errors: int) -> None:
    """Five hundred more requests to each version; `errors` by version."""
    for one in api.status["traffic"]:
        failed = errors.get(one["version"].replace("-", "_"), 0)
        routers.counted[one["name"]] = routers.counted.get(one["name"], Counts()) + Counts(500, failed)


async def test_every_arm_has_its_pods_weight_and_judgement_in_status(tmp_path: Path) -> None:
    api, routers = await compared(tmp_path)
    assert weights(api) == {"flights-1": 70, "flights-2": 20, "flights-3": 10}
    assert len(api.all(DEPLOYMENT)) == 4, "three versions and the router"
    for _ in range(3):
        count(api, routers)
        api.clock.time += minutes(0.2)
        await settle(api, routers, tmp_path)
    (other,) = api.status["others"]
    assert (api.status["candidate"]["version"], other["version"]) == ("flights-2", "flights-3")
    assert other["analysis"]["verdict"] == "Pass"
    assert other["analysis"]["challenger"]["requests"] > 0
    asked = "noria.dev/version in (flights-1,flights-2,flights-3)"
    assert asked in api.status["selector"], "autoscalers measure all three"


async def test_an_arm_that_fails_loses_weight_and_pods_and_the_other_keeps_both(tmp_path: Path) -> None:
    api, routers = await compared(tmp_path)
    loser, other = api.status["candidate"]["name"], api.status["others"][0]["name"]
    for _ in range(4):
        count(api, routers, flights_2=500)
        api.clock.time += minutes(0.2)
        await settle(api, routers, tmp_path)
    assert weights(api) == {"flights-1": 90, "flights-3": 10}
    assert Key(DEPLOYMENT, NAMESPACE, loser) not in api.objects
    assert Key(DEPLOYMENT, NAMESPACE, other) in api.objects
    assert "others" not in api.status or not api.status["others"]


async def test_one_arm_cannot_begin_while_the_other_is_not_approved(tmp_path: Path) -> None:
    api = cluster(strategy=STRATEGY)
    claim(api, "ReadWriteMany")
    routers = Routers(api)
    approve(api, 1)
    approve(api, 2)
    await settle(api, routers, tmp_path)
    assert weights(api) == {"flights-1": 100}
    assert "flights-3 does not exist" in api.status["message"]


def shape(api: ServingApi) -> tuple[object, ...]:
    sizes = {one["metadata"]["name"]: one["spec"].get("replicas") for one in api.all(DEPLOYMENT)}
    return sizes, weights(api), api.status["stable"]["version"], api.status["phase"]


async def experiment(api: ServingApi, routers: Routers, folder: Path) -> list[tuple[ServingApi, Routers]]:
    """From the edit of the spec to a winner that a person names, crash or no crash."""
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
        done = api.status["stable"]["version"] == "flights-3" and "previous" not in api.status
        if api.version == before and done:
            break
        api.run_pods()
        routers.follow()
        if weights(api) == {"flights-1": 70, "flights-2": 20, "flights-3": 10}:
            say(api, "promote", "flights-3@ada")
        api.clock.time += minutes(0.5)
    return passes


@pytest.mark.extended
async def test_a_crash_after_any_write_of_an_experiment_ends_in_the_same_place(tmp_path: Path) -> None:
    """Case 40, with several challengers."""
    api = cluster(strategy={"keepPrevious": "1m"}, replicas=2)
    claim(api, "ReadWriteMany")
    routers = Routers(api)
    approve(api, 1)
    await settle(api, routers, tmp_path)
    approve(api, 2)
    approve(api, 3)
    edit(api, strategy=STRATEGY)
    api.writes.clear()
    passes = await experiment(api, routers, tmp_path)
    expected, writes = shape(api), len(api.writes)
    assert expected[1:] == ({"flights-3": 100}, "flights-3", "Healthy")
    for crash in range(writes):
        before = [one for one in passes if len(one[0].writes) <= crash]
        api, routers = fork(*before[-1])
        api.crash_after = crash - len(api.writes)
        await experiment(api, routers, tmp_path)
        assert shape(api) == expected, f"crash after write {crash}"
