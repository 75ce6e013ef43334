"""What the store keeps of an object."""

from __future__ import annotations

import copy
from typing import Any

from noria_operator.kube.kinds import DEPLOYMENT, POD
from noria_operator.kube.lean import lean

Json = dict[str, Any]

TEMPLATE: Json = {
    "containers": [
        {
            "name": "server",
            "image": "noria/server",
            "env": [{"name": "HOME", "value": "/tmp"}],
            "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
            "volumeMounts": [{"name": "models", "mountPath": "/models"}],
        },
        {"name": "sidecar"},
    ],
    "volumes": [
        {"name": "feedback", "projected": {"sources": [{"secret": {"name": f"key-{n}"}} for n in range(16)]}},
        {"name": "models", "persistentVolumeClaim": {"claimName": "models"}},
    ],
    "tolerations": [{"operator": "Exists"}],
}
META: Json = {"name": "m", "labels": {"app": "m"}, "annotations": {"a": "b"}}
MANAGED = {**META, "managedFields": [{"manager": "noria"}]}
STATUS = {"phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [{"name": "server", "ready": True}]}


def test_of_a_pod_is_kept_where_it_is_what_it_listens_to_and_what_it_mounts() -> None:
    pod: Json = {"metadata": MANAGED, "spec": {**TEMPLATE, "nodeName": "node-1"}, "status": STATUS}
    before = copy.deepcopy(pod)
    kept = lean(POD, pod)
    assert pod == before, "others see the whole object"
    assert kept == {
        "metadata": META,
        "spec": {
            "nodeName": "node-1",
            "containers": [
                {"name": "server", "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]},
                {"name": "sidecar"},
            ],
            "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}],
        },
        "status": STATUS,
    }


def test_of_what_was_applied_all_is_kept() -> None:
    """It is compared with what is wanted."""
    made: Json = {"metadata": MANAGED, "spec": {"template": {"spec": TEMPLATE}}}
    assert lean(DEPLOYMENT, made)["spec"] == made["spec"]


def test_of_the_status_of_a_deployment_is_kept_that_its_pods_are_refused() -> None:
    counts = {"replicas": 2, "readyReplicas": 1}
    refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    conditions = [{"type": "Available", "status": "False"}, refused]
    made: Json = {"metadata": MANAGED, "spec": {}, "status": {**counts, "conditions": conditions}}
    assert lean(DEPLOYMENT, made)["status"] == {"conditions": [refused]}
    assert lean(DEPLOYMENT, {**made, "status": counts})["status"] == {}
