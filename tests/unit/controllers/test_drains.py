"""What a drain of nodes may take from a ModelDeployment at a time: its disruption budget."""

from __future__ import annotations

from pathlib import Path

from tests.unit.controllers.serving_api import (
    KEY,
    NAME,
    NAMESPACE,
    Json,
    Routers,
    ServingApi,
    approve,
    claim,
    cluster,
    settle,
    started,
)
from tests.unit.controllers.training_api import as_sent

from noria_operator.controllers import modeldeployment
from noria_operator.kube.errors import Forbidden
from noria_operator.kube.kinds import PDB, POD, Key
from noria_operator.kube.ownership import controller_uid

BUDGET = Key(PDB, NAMESPACE, NAME)
MADE = f"create PodDisruptionBudget {NAME}"
CANARY: Json = {"steps": [{"weight": 50, "duration": "1h"}]}


async def serving(folder: Path) -> tuple[ServingApi, Routers]:
    """Version 1 has all traffic."""
    api = begun()
    routers = Routers(api)
    await settle(api, routers, folder)
    assert api.status["stable"]["version"] == "flights-1"
    return api, routers


def begun() -> ServingApi:
    """A deployment with an approved version, and nothing done about it."""
    api = cluster(replicas=2, strategy=CANARY)
    claim(api, "ReadWriteMany")
    approve(api, 1)
    return api


async def test_one_budget_selects_the_pods_of_every_revision(tmp_path: Path) -> None:
    api, routers = await serving(tmp_path)
    approve(api, 2)
    await settle(api, routers, tmp_path)
    (budget,) = [one for one in api.all(PDB) if one["metadata"]["name"] != "noria-router"]
    wanted = budget["spec"]["selector"]["matchLabels"].items()
    chosen = [one for one in api.all(POD) if wanted <= one["metadata"]["labels"].items()]
    assert {one["metadata"]["labels"]["noria.dev/version"] for one in chosen} == {"flights-1", "flights-2"}
    assert controller_uid(budget) == api.deployment["metadata"]["uid"], "it goes with the deployment"
    assert [text for text in api.writes if f"Budget {NAME}" in text] == [MADE], "one write for its life"


async def test_a_first_version_answers_before_its_budget_is_made(tmp_path: Path) -> None:
    api, _ = await serving(tmp_path)
    assert api.writes.index("status ModelDeployment flights") < api.writes.index(MADE)


async def test_nothing_is_budgeted_before_a_version_answers(tmp_path: Path) -> None:
    api = begun()
    await modeldeployment.reconcile(started(api, Routers(api), tmp_path), KEY)
    assert BUDGET not in api.objects


async def test_a_budget_that_somebody_deleted_or_changed_comes_back(tmp_path: Path) -> None:
    api, routers = await serving(tmp_path)
    wanted = api.objects.pop(BUDGET)["spec"]
    await settle(api, routers, tmp_path)
    assert api.objects[BUDGET]["spec"] == wanted
    other = as_sent(api.objects[BUDGET])
    other["spec"]["maxUnavailable"] = 0
    api.put(PDB, other)
    await settle(api, routers, tmp_path)
    assert api.objects[BUDGET]["spec"] == wanted


async def test_somebody_elses_budget_of_that_name_stays_and_takes_nothing_from_what_serves(
    tmp_path: Path,
) -> None:
    api = begun()
    theirs = {"name": NAME, "namespace": NAMESPACE, "uid": "theirs"}
    api.put(PDB, {"apiVersion": PDB.api_version, "kind": PDB.kind, "metadata": theirs, "spec": {}})
    routers = Routers(api)
    await settle(api, routers, tmp_path)
    approve(api, 2)
    await settle(api, routers, tmp_path)
    assert api.objects[BUDGET]["metadata"]["uid"] == "theirs"
    assert [one["weight"] for one in api.status["traffic"]] == [50, 50], "rollouts go on"
    result = await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert api.events[-1] == "NameConflict"
    assert result.after is not None
    assert result.after <= modeldeployment.AFTER_TROUBLE


async def test_a_budget_that_is_refused_is_told_and_tried_again(tmp_path: Path) -> None:
    api = begun()
    api.refuse = {"PodDisruptionBudget": Forbidden(403, "Forbidden", "exceeded quota: budgets")}
    routers = Routers(api)
    await settle(api, routers, tmp_path)
    result = await modeldeployment.reconcile(started(api, routers, tmp_path), KEY)
    assert (api.status["phase"], api.events[-1]) == ("Healthy", "WriteRefused")
    assert result.after == modeldeployment.AFTER_TROUBLE
    api.refuse = {}
    await settle(api, routers, tmp_path)
    assert BUDGET in api.objects
