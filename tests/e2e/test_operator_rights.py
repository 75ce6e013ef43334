"""The operator's rights, compared with the calls that the API server wrote down; runs after all other tests.

What the chart grants is read from the cluster, what was asked for from the audit log of the local cluster.
Other clusters keep theirs elsewhere, if any: there these tests are skipped. One turn of the wheel of its own
takes the paths that the other tests leave out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Program, cluster_command
from tests.e2e.kube import Json, Kube, namespace, phase
from tests.e2e.manifests import SMALL, claim, model_deployment, training_job
from tools.cluster.components import audit_log

COLLECTED = datetime.now(UTC)
"""All tests run after this; what stands in the log from before may be about another version of the chart."""

Right = tuple[str, str]
"""Group/resource, with its subresource, and verb."""

CONFLICT = "read again when somebody else wrote between our read and our write of status"
TAKEN = "read when a create finds the name taken, as after a crash between two writes"
ROUTED = "read where a gateway took a route, which extended tests have"
ASSUMED = "read where no proxy tells its weights: in routes of users' own, which an extended test has"
LISTED = "used where the API server does not begin watches with all there is, and when such a watch is cut"
CHILDREN = (
    *("/pods", "/services", "/persistentvolumeclaims", "apps/controllerrevisions", "apps/deployments"),
    *("batch/jobs", "discovery.k8s.io/endpointslices", "policy/poddisruptionbudgets"),
)
NOT_REACHED: dict[Right, str] = {
    **{(resource, "list"): LISTED for resource in CHILDREN},
    ("noria.dev/trainingjobs", "get"): CONFLICT,
    ("noria.dev/modelversions", "get"): CONFLICT,
    ("noria.dev/modeldeployments", "get"): CONFLICT,
    ("noria.dev/continuoustrainings", "get"): CONFLICT,
    ("batch/jobs", "get"): TAKEN,
    ("/services", "get"): TAKEN,
    ("apps/deployments", "get"): TAKEN,
    ("apps/controllerrevisions", "get"): TAKEN,
    ("policy/poddisruptionbudgets", "get"): TAKEN,
    ("gateway.networking.k8s.io/gateways", "get"): ROUTED,
    ("gateway.networking.k8s.io/gatewayclasses", "get"): ROUTED,
    ("gateway.networking.k8s.io/httproutes", "get"): ASSUMED,
}
"""Rights that these tests need by chance only; crashes and conflicts are tested on an API server alone."""

HELD: Json = {"resources": {"requests": {"cpu": "1000"}}, "deadlines": {"pending": "10s"}}
"""A run that finds no room."""


@dataclass(frozen=True)
class Call:
    """One request of the operator, as the API server saw it."""

    at: datetime
    resource: str
    verb: str
    where: str
    code: int
    allowed: bool
    causes: tuple[str, ...]

    @staticmethod
    def of(event: Json) -> Call:
        """An event of the audit log; https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/."""
        about = event.get("objectRef", {"resource": event["requestURI"]})
        status = event.get("responseStatus", {})
        parts = (about.get("apiGroup", ""), about["resource"], about.get("subresource"))
        causes = status.get("details", {}).get("causes", ())
        return Call(
            at=datetime.fromisoformat(event["requestReceivedTimestamp"]),
            resource="/".join(part for part in parts if part is not None),
            verb=event["verb"],
            where=f"{about.get('namespace', '')}/{about.get('name', '')}",
            code=status.get("code", 0),
            allowed=event["annotations"]["authorization.k8s.io/decision"] == "allow",
            causes=tuple(cause.get("reason", "") for cause in causes),
        )

    @property
    def denied(self) -> bool:
        """By RBAC, or by admission for another reason than that its namespace goes."""
        return not self.allowed or (self.code == 403 and "NamespaceTerminating" not in self.causes)

    @property
    def rights(self) -> set[Right]:
        """The rights that it took; an apply that makes the object needs both."""
        created = {(self.resource, "create")} if self.verb == "patch" and self.code == 201 else set()
        return {(self.resource, self.verb)} | created


def continuous_training(name: str, image: str) -> Json:
    """One that trains on demand and keeps no finished run."""
    run = training_job(name, image, model=name)["spec"]
    spec = {"deployment": name, "cooldown": "0s", "historyLimit": 0, "template": {"spec": run}}
    metadata = {"name": name, "annotations": {"noria.dev/retrain": "1"}}
    return {"kind": "ContinuousTraining", "metadata": metadata, "spec": spec}


def serving(*, routers: int, round: str, resources: Json = SMALL) -> Json:
    """A deployment that keeps no version warm; another `round` is another revision of the same version."""
    server = {"resources": resources, "env": [{"name": "ROUND", "value": round}]}
    strategy = {"keepPrevious": "0s", "preview": round == "1"}
    spec: Json = {"replicas": 1, "server": server, "strategy": strategy}
    return model_deployment("turned", model="turned", router={"replicas": routers}, **spec)


def suspend_and_give_up(kube: Kube, image: str) -> None:
    """A run that finds no room is suspended, goes on and fails at its deadline, which deletes its Job."""
    kube.apply(training_job("held", image, model="held", **HELD))
    kube.until("TrainingJob", "held", lambda tj: "cpu" in tj["status"].get("message", ""))
    kube.apply(training_job("held", image, model="held", suspend=True, **HELD))
    kube.until("TrainingJob", "held", phase("Suspended"))
    kube.until("Job", "held-train", lambda job: bool(job["spec"]["suspend"]))
    kube.apply(training_job("held", image, model="held", suspend=False, **HELD))
    kube.until("TrainingJob", "held", phase("Failed"))
    kube.until_gone("Job", "held-train")


def replace_the_revision(kube: Kube) -> None:
    """Another revision is served; one that found no room and was given up leaves nothing, not even the record
    that former champions keep; one router needs no budget.
    """
    first = kube.until("ModelDeployment", "turned", phase("Healthy"), timeout=240)["status"]["stable"]
    kube.apply(serving(routers=1, round="2"))
    kube.until_gone("Deployment", first["name"], timeout=120)
    kube.until_gone("Service", "turned-preview")
    kube.until_gone("PodDisruptionBudget", "noria-router")
    kube.apply(serving(routers=1, round="3", resources=HELD["resources"]))
    tried = kube.until("ModelDeployment", "turned", lambda md: "candidate" in md["status"])["status"][
        "candidate"
    ]
    kube.until("ControllerRevision", tried["name"], lambda _: True)
    kube.apply(serving(routers=1, round="2"))
    kube.until_gone("ControllerRevision", tried["name"])


@pytest.fixture(scope="module")
def calls(noria: Path, images: dict[str, str]) -> Iterator[list[Call]]:
    """What the operator asked for since these tests began, a turn of the wheel of our own included."""
    kind = json.loads(cluster_command("status", "--json").stdout)["kind"]
    if kind != "local":
        pytest.skip(f"the audit log of a cluster of kind {kind!r} is not ours to read")
    with namespace(noria, "e2e-rights") as kube:
        kube.apply(claim())
        kube.apply(serving(routers=2, round="1"))
        kube.apply(continuous_training("turned", images["example-flights"]))
        suspend_and_give_up(kube, images["example-flights"])
        replace_the_revision(kube)
        yield read(audit_log(noria.parent))


def read(log: Path) -> list[Call]:
    """All calls of these tests in the log and in the one that it followed, oldest first."""
    files = [*sorted(log.parent.glob(f"{log.stem}-*{log.suffix}")), log]
    texts = (file.read_text(encoding="utf-8").rpartition("\n")[0] for file in files)  # whole lines only
    events = (json.loads(line) for text in texts for line in text.splitlines())
    return [call for event in events if (call := Call.of(event)).at >= COLLECTED]


def granted(kubectl: Program) -> set[Right]:
    """What the chart's roles for the operator say."""
    roles = [
        kubectl.json("get", "clusterrole", "noria-operator"),
        kubectl.json("get", "role", "noria-operator-lease", "--namespace=noria-system"),
    ]
    rules: list[dict[str, Any]] = [rule for role in roles for rule in role["rules"]]
    return {
        (f"{group}/{resource}", verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_operator_is_denied_nothing_but_creates_where_the_namespace_goes(calls: list[Call]) -> None:
    assert calls
    assert [call for call in calls if call.denied] == []


def test_secrets_are_created_and_nothing_else(calls: list[Call]) -> None:
    verbs = {call.verb for call in calls if call.resource.startswith("/secrets")}
    assert verbs == {"create"}


def test_every_right_is_used(calls: list[Call], kubectl: Program) -> None:
    used: set[Right] = set().union(*(call.rights for call in calls if call.allowed))
    rights = granted(kubectl)
    assert rights - used <= set(NOT_REACHED), "rights that nothing used: take them out of the chart"
    assert set(NOT_REACHED) <= rights, "the list names rights that the chart does not grant"
