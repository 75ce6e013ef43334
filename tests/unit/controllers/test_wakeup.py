from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from tests.unit.kube.api_server import obj

from noria_operator.controllers.context import Context, Controller, Result
from noria_operator.controllers.wakeup import delay, edited, everything, foreseen, keys
from noria_operator.kube.kinds import (
    MODELDEPLOYMENT,
    MODELVERSION,
    NAMESPACE,
    OWN_KINDS,
    TRAININGJOB,
    Json,
    Key,
    Kind,
    kind_of,
)
from noria_operator.kube.store import Store

NORIA = "noria.dev/v1alpha1"


@dataclass
class Stub:
    """A controller that is woken by every ModelVersion, if it is that of ModelDeployments."""

    KIND: Kind
    OWNS: tuple[Kind, ...] = ()

    async def reconcile(self, ctx: Context, key: Key) -> Result:
        return Result()

    def related(self, store: Store, obj: Json) -> list[Key]:
        if self.KIND == MODELDEPLOYMENT and kind_of(obj) == MODELVERSION:
            return [Key(MODELDEPLOYMENT, "ns", "md")]
        return []


CONTROLLERS: list[Controller] = [Stub(kind) for kind in OWN_KINDS]


def labels(kind: str, name: str, uid: str) -> dict[str, str]:
    return {"noria.dev/owner-kind": kind, "noria.dev/owner-name": name, "noria.dev/owner-uid": uid}


def test_an_object_of_ours_wakes_itself() -> None:
    md = obj("md", api=(NORIA, "ModelDeployment"))
    assert keys(Store(), md, CONTROLLERS) == [Key(MODELDEPLOYMENT, "ns", "md")]


def test_a_child_wakes_its_controller_and_whoever_its_labels_name() -> None:
    store = Store()
    store.observe(None, obj("tj", uid="u1", api=(NORIA, "TrainingJob")))
    assert keys(store, obj("a", owner="x"), CONTROLLERS) == [Key(MODELDEPLOYMENT, "ns", "md")]
    pod = obj("p", api=("v1", "Pod"), labels=labels("TrainingJob", "tj", "u1"))
    assert keys(store, pod, CONTROLLERS) == [Key(TRAININGJOB, "ns", "tj")]


def test_an_owner_with_a_shortened_name_is_found_by_its_uid() -> None:
    store = Store()
    long = "x" * 100
    store.observe(None, obj(long, uid="u1", api=(NORIA, "TrainingJob")))
    pod = obj("p", api=("v1", "Pod"), labels=labels("TrainingJob", "shortened", "u1"))
    assert keys(store, pod, CONTROLLERS) == [Key(TRAININGJOB, "ns", long)]


def test_what_belongs_to_an_owner_that_is_gone_wakes_nobody() -> None:
    pod = obj("p", api=("v1", "Pod"), labels=labels("TrainingJob", "tj", "gone"))
    assert keys(Store(), pod, CONTROLLERS) == []


def test_owners_that_share_an_object_are_not_woken_by_it() -> None:
    shared = obj("noria-router-a", api=("apps/v1", "ControllerRevision"), owner="x")
    del shared["metadata"]["ownerReferences"][0]["controller"]
    assert keys(Store(), shared, CONTROLLERS) == []


def test_a_full_round_takes_every_object_of_ours_and_every_namespace_with_one() -> None:
    store = Store()
    for name in ("a", "b"):
        store.observe(None, obj(name, api=(NORIA, "ModelDeployment")))
    store.observe(None, obj("d"))
    routers = [*CONTROLLERS, Stub(NAMESPACE)]
    mine = [Key(MODELDEPLOYMENT, "ns", "a"), Key(MODELDEPLOYMENT, "ns", "b")]
    assert list(everything(store, routers)) == [*mine, Key(NAMESPACE, "", "ns")]
    assert list(everything(store, CONTROLLERS)) == mine


def test_relations_of_a_controller_count_and_each_key_comes_once() -> None:
    version = obj("m-1", api=(NORIA, "ModelVersion"), owner="md-uid")
    assert keys(Store(), version, CONTROLLERS) == [
        Key(MODELVERSION, "ns", "m-1"),
        Key(MODELDEPLOYMENT, "ns", "md"),
    ]


@pytest.mark.parametrize(
    ("kind", "at_once"), [(MODELDEPLOYMENT, True), (MODELVERSION, False), (NAMESPACE, False)]
)
def test_what_only_keeps_account_of_a_deployment_waits_for_more_news(kind: Kind, at_once: bool) -> None:
    md = obj("md", api=(NORIA, "ModelDeployment"))
    assert (delay(Key(kind, "ns", "x"), md) == 0) is at_once
    assert delay(Key(kind, "ns", "x"), obj("p", api=("v1", "Pod"))) == 0


def test_foreign_labels_do_no_harm() -> None:
    pod = obj("p", api=("v1", "Pod"), labels=labels("Deployment", "x", "y"))
    assert keys(Store(), pod, CONTROLLERS) == []


@pytest.mark.parametrize(
    ("type", "generation", "observed", "annotations", "commands", "wanted"),
    [
        ("ADDED", 1, None, {}, {}, True),
        ("MODIFIED", 2, 2, {}, {}, False),
        ("MODIFIED", 3, 2, {}, {}, True),
        (None, 3, 2, {}, {}, False),
        ("DELETED", 2, 2, {}, {}, True),
        ("MODIFIED", 2, 2, {"noria.dev/abort": "1"}, {}, True),
        ("MODIFIED", 2, 2, {"noria.dev/abort": "1"}, {"abort": "1"}, False),
        ("MODIFIED", 2, 2, {"noria.dev/abort": "2"}, {"abort": "1"}, True),
        ("MODIFIED", 2, 2, {"team.example/abort": "2"}, {}, False),
    ],
)
def test_what_a_person_did_is_told_from_what_we_did(
    *, type: Any, generation: int, observed: int | None, annotations: Json, commands: Json, wanted: bool
) -> None:
    md = obj(
        "md",
        api=(NORIA, "ModelDeployment"),
        status={"observedGeneration": observed, "commands": commands},
    )
    md["metadata"] |= {"generation": generation, "annotations": annotations}
    assert edited(type, md) is wanted


def test_children_are_never_urgent() -> None:
    assert not edited("ADDED", obj("a", owner="x"))


def reconciling(status: str) -> Json:
    conditions = [{"type": "Ready", "status": "True"}, {"type": "Reconciling", "status": status}]
    return obj("md", api=(NORIA, "ModelDeployment"), status={"conditions": conditions})


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (obj("w"), True),
        (obj("s", api=("v1", "Service")), True),
        (obj("b", api=("policy/v1", "PodDisruptionBudget")), True),
        (obj("j", api=("batch/v1", "Job")), False),
        (obj("h", api=("gateway.networking.k8s.io/v1", "HTTPRoute")), False),
        (obj("mv", api=(NORIA, "ModelVersion")), False),
        (obj("tj", api=(NORIA, "TrainingJob")), False),
        (obj("md", api=(NORIA, "ModelDeployment")), False),
        (reconciling("True"), False),
        (reconciling("False"), True),
    ],
)
def test_what_a_pass_wrote_brings_it_again_unless_it_leads_to_nothing_new(
    written: Json, expected: bool
) -> None:
    assert foreseen("MODIFIED", written) is expected


def test_what_a_pass_deleted_brings_it_again() -> None:
    assert not foreseen("DELETED", obj("w"))
