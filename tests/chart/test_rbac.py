"""The operator's rights are what it calls, and no more."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import pytest
from tests.chart.rendering import ROOT, VARIANTS, named, objects

from noria_operator.api import names
from noria_operator.controllers.context import Config
from noria_operator.kube import kinds
from noria_operator.kube.kinds import Kind
from noria_operator.process import selectors

Json = dict[str, Any]
Right = tuple[str, str, str]
GATEWAY: Json = {"routers": {"gateway": {"enabled": True}}}
VALUES = [VARIANTS["default"], VARIANTS["namespaced"], GATEWAY]
variants = pytest.mark.parametrize("values", VALUES, ids=["default", "namespaced", "gateway"])
CLUSTER_WIDE = {("", "nodes", "list")}
"""To know whether several nodes would mount a claim; only where the operator works in all namespaces."""
OF_CLASSES = {(kinds.GATEWAYCLASS.group, kinds.GATEWAYCLASS.plural, "get")}
"""To know what a gateway can do; there too."""
APPLIED = (kinds.DEPLOYMENT, kinds.SERVICE, kinds.CONTROLLERREVISION, kinds.PDB)


def rights(roles: list[Json]) -> set[Right]:
    return {
        (group, resource, verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def operator_roles(found: list[Json]) -> list[Json]:
    return [
        it
        for it in found
        if it["kind"] in ("Role", "ClusterRole") and it["metadata"]["name"].startswith("noria-operator")
    ]


def needed(*, gateway: bool) -> set[Right]:
    """What the code asks for: caches, children by apply or create, status, events, the lease; HTTPRoutes only
    where they are enabled, and never to delete: they go with their owner.
    """

    def of(kind: Kind, *verbs: str) -> Iterator[Right]:
        return ((kind.group, kind.plural, verb) for verb in verbs)

    watched = selectors(Config(namespace="noria-system", gateway=gateway))
    rows = [row for kind in watched for row in of(kind, "list", "watch")]
    rows += [row for kind in APPLIED for row in of(kind, "get", "create", "patch", "delete")]
    if gateway:
        rows += of(kinds.HTTPROUTE, "get", "create", "patch")
        rows += of(kinds.GATEWAY, "get")
    rows += of(kinds.JOB, "get", "create", "patch", "delete")
    rows += of(kinds.TRAININGJOB, "create", "delete")
    rows += of(kinds.MODELVERSION, "create")
    rows += of(kinds.SECRET, "create")
    rows += of(kinds.EVENT, "create")
    rows += of(kinds.LEASE, "get", "create", "update")
    for kind in kinds.OWN_KINDS:
        rows += of(kind, "get")
        rows += [(kind.group, f"{kind.plural}/status", "patch")]
    return set(rows)


@variants
def test_the_operator_may_do_what_it_calls_and_nothing_else(values: Json) -> None:
    wanted = needed(gateway=values == GATEWAY) | (set() if values.get("watchNamespaces") else CLUSTER_WIDE)
    wanted |= OF_CLASSES if values == GATEWAY else set()
    assert rights(operator_roles(objects(values))) == wanted


@variants
def test_secrets_can_only_be_created(values: Json) -> None:
    secret = {right for right in rights(operator_roles(objects(values))) if right[1].startswith("secrets")}
    assert secret == {("", "secrets", "create")}


@variants
def test_no_right_is_a_wildcard_or_reaches_past_pods(values: Json) -> None:
    for group, resource, verb in rights(operator_roles(objects(values))):
        assert "*" not in (group, resource, verb)
        assert verb not in ("impersonate", "escalate", "bind", "deletecollection")
        assert resource not in ("pods/exec", "pods/attach", "serviceaccounts/token", "namespaces")
        assert resource != "nodes" or verb == "list"


def test_the_lease_is_the_operators_own_namespace_only() -> None:
    found = objects()
    cluster = rights([named(found, "ClusterRole", "noria-operator")])
    assert not [right for right in cluster if right[1] == "leases"]
    assert named(found, "Role", "noria-operator-lease")["metadata"]["namespace"] == "noria-system"


def test_named_namespaces_give_no_right_outside_them() -> None:
    found = objects(VARIANTS["namespaced"])
    bound = [it for it in found if it["kind"] == "ClusterRoleBinding"]
    roles = operator_roles(found)
    assert bound == []
    assert {it["metadata"]["namespace"] for it in roles} == {"team-a", "team-b", "noria-system"}
    assert {it["kind"] for it in roles} == {"Role"}


def test_people_may_not_write_status() -> None:
    found = objects()
    view, edit = (rights([named(found, "ClusterRole", f"noria-{it}")]) for it in ("view", "edit"))
    assert {verb for _, _, verb in view} == {"get", "list", "watch"}
    assert not [right for right in edit if right[1].endswith("/status")]
    assert {resource for _, resource, _ in edit} == {*names.PLURALS.values(), "modeldeployments/scale"}


def test_every_write_that_names_its_kind_is_in_the_table() -> None:
    """A new write in a controller must come with its right; e2e compares with the calls really made."""
    assert written() <= needed(gateway=True)


def written() -> set[Right]:
    """What calls such as `writer.apply(DEPLOYMENT, …)` need; a Secret is never read, not even to look."""
    calls = {
        "apply": ("get", "create", "patch"),
        "create_once": ("get", "create"),
        "create": ("create",),
        "delete": ("delete",),
        "update": ("update",),
    }
    found = [
        (getattr(kinds, name), verb)
        for name, call in _calls()
        if call in calls and isinstance(getattr(kinds, name, None), Kind)
        for verb in calls[call]
    ]
    rights = {(kind.group, kind.plural, verb) for kind, verb in found}
    return rights - {(kinds.SECRET.group, kinds.SECRET.plural, "get")}


def _calls() -> Iterator[tuple[str, str]]:
    """The first argument and the name of each method call that begins with a constant."""
    for path in (ROOT / "operator/noria_operator").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                first = node.args[0]
                name = first.attr if isinstance(first, ast.Attribute) else getattr(first, "id", "")
                if name.isupper():
                    yield name, node.func.attr
