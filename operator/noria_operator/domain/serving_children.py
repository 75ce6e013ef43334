"""The objects around the pods of a revision: Deployment, and Service where a router goes by one; and those of
a ModelDeployment: its disruption budget, and the Secret of its keys.

Comes in: a revision, its recorded pod template, the owner's names. Goes out: bodies to apply or create.
Invariants: a selector always holds the owner's uid, so that it never catches somebody else's pods; a
Deployment never takes a ready pod away before its successor is ready, unless only one copy fits.
"""

from __future__ import annotations

from typing import Any

from noria_operator.api import names
from noria_operator.domain.keys import feedback_keys
from noria_operator.domain.rollout_plan import Child
from noria_operator.domain.rollout_state import Revision
from noria_serving.contract import FEEDBACK_KEYS_FILE

Json = dict[str, Any]

SERVER_APP = "noria-server"
HEADLESS = "None"
"""The `clusterIP` of a Service that has none."""
EVICTED = "25%"


def selector(deployment: str, uid: str) -> dict[str, str]:
    """Every serving pod of a ModelDeployment."""
    return {names.DEPLOYMENT_LABEL: names.fit(deployment), names.OWNER_UID_LABEL: uid}


def revision_selector(deployment: str, uid: str, target: Revision) -> dict[str, str]:
    """The serving pods of one revision."""
    return {
        **selector(deployment, uid),
        names.VERSION_LABEL: names.fit(target.version),
        names.REVISION_LABEL: target.revision,
    }


def pod_labels(deployment: str, uid: str, target: Revision) -> dict[str, str]:
    """Labels of serving pods; those of the owner make its reconcile wake when a pod changes."""
    return {
        names.APP_LABEL: SERVER_APP,
        names.MANAGED_BY_LABEL: names.MANAGED_BY,
        names.OWNER_KIND_LABEL: names.MODEL_DEPLOYMENT,
        names.OWNER_NAME_LABEL: names.fit(deployment),
        **revision_selector(deployment, uid, target),
    }


def child_labels(deployment: str, target: Revision) -> dict[str, str]:
    """Labels of a revision's objects; the writer adds those of the owner."""
    return {
        names.APP_LABEL: SERVER_APP,
        names.DEPLOYMENT_LABEL: names.fit(deployment),
        names.VERSION_LABEL: names.fit(target.version),
        names.REVISION_LABEL: target.revision,
    }


_BESIDE: Json = {"maxUnavailable": 0, "maxSurge": 1}
_ALONE: Json = {"maxUnavailable": "100%", "maxSurge": 0}
"""As `Recreate`, but for that it has the same fields, so that either can be applied over the other."""

_TEMPLATE_NUMBER = "deployment.kubernetes.io/revision"
_FIRST = "1"
_NO_DEADLINE = 2**31 - 1
"""What Kubernetes takes for none: `progressDeadline` of the strategy is looked at here, and nobody reads the
condition Progressing."""


def _first_template(live: Json | None) -> dict[str, str]:
    """The number of a Deployment's template, for as long as it is the first: what Kubernetes notes on it as
    soon as there is a ReplicaSet. Where it finds that, and has no deadline to keep, it goes without a status
    of its own (and without another that is refused, since it goes by the object from before).
    """
    annotations = (live or {}).get("metadata", {}).get("annotations") or {}
    return {_TEMPLATE_NUMBER: _FIRST} if annotations.get(_TEMPLATE_NUMBER, _FIRST) == _FIRST else {}


def workload(
    namespace: str,
    deployment: str,
    uid: str,
    child: Child,
    template: Json,
    *,
    replicas: int,
    live: Json | None = None,
) -> Json:
    """The Deployment of a revision; `live` is what the API server has."""
    target = child.target
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": target.name,
            "namespace": namespace,
            "labels": {**child_labels(deployment, target), names.ROLE_LABEL: child.role},
            "annotations": _first_template(live),
        },
        "spec": {
            "replicas": replicas,
            "progressDeadlineSeconds": _NO_DEADLINE,
            "revisionHistoryLimit": 1,
            "selector": {"matchLabels": revision_selector(deployment, uid, target)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": _ALONE if child.recreate else _BESIDE},
            "template": template,
        },
    }


def service(
    namespace: str,
    deployment: str,
    uid: str,
    target: Revision,
    *,
    port: int,
    grpc_port: int | None,
    headless: bool = False,
) -> Json:
    """The Service of a revision, for routers that know pods by Services. Where only its endpoints are read it
    needs no address (`headless`), which costs the API server more than the Service, and every node.
    """
    ports: list[Json] = [{"name": "http", "port": 80, "targetPort": port, "protocol": "TCP"}]
    if grpc_port is not None:
        grpc = {"name": names.GRPC_PORT_NAME, "port": grpc_port, "targetPort": grpc_port, "protocol": "TCP"}
        ports.append({**grpc, "appProtocol": "kubernetes.io/h2c"})
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": target.name,
            "namespace": namespace,
            "labels": child_labels(deployment, target),
        },
        "spec": {
            "type": "ClusterIP",
            **({"clusterIP": HEADLESS} if headless else {}),
            "selector": revision_selector(deployment, uid, target),
            "ports": ports,
        },
    }


def disruption_budget(namespace: str, deployment: str, uid: str) -> Json:
    """How many serving pods drains may evict at a time: a quarter, which Kubernetes rounds up, so that one of
    any number may go. It is for all revisions: an eviction is refused where two budgets select the pod.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {
            "name": deployment,
            "namespace": namespace,
            "labels": {names.APP_LABEL: SERVER_APP, names.DEPLOYMENT_LABEL: names.fit(deployment)},
        },
        "spec": {
            "maxUnavailable": EVICTED,
            "selector": {"matchLabels": selector(deployment, uid)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def keys_secret(namespace: str, deployment: str, uid: str, master: bytes, *, period: int) -> Json:
    """The Secret with which the servers of all revisions sign and check feedback tokens of a period; created
    once.
    """
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "immutable": True,
        "metadata": {
            "name": names.feedback_secret_name(deployment, uid, period),
            "namespace": namespace,
            "labels": {names.DEPLOYMENT_LABEL: names.fit(deployment)},
        },
        "stringData": {FEEDBACK_KEYS_FILE: feedback_keys(master, namespace, deployment, uid, period=period)},
    }
