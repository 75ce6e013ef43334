"""Why pods do not become ready: each cause is named with what to do about it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from noria_operator.domain.serving_problems import claim_obstacle, is_pinned, problem


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "spec": {}, "status": {"phase": "Running", **status}}


def ended(message: str, reason: str = "Error", code: int = 1) -> dict[str, Any]:
    last = {"terminated": {"reason": reason, "exitCode": code, "message": message}}
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    return pod(containerStatuses=[{"name": "server", "ready": False, "state": waiting, "lastState": last}])


DIGEST = json.dumps(
    {
        "schema": "noria.verification/v1",
        "error": {"reason": "DigestMismatch", "message": "noria.json is not it"},
    }
)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (ended(DIGEST), "DigestMismatch: noria.json is not it"),
        (ended("Traceback\nValueError: no such file"), "ValueError: no such file"),
        (ended(""), "kubectl logs --previous"),
        (ended("", "OOMKilled", 137), "raise spec.server.resources.limits.memory"),
        (
            pod(
                phase="Pending",
                containerStatuses=[
                    {
                        "image": "x:1",
                        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "denied"}},
                    }
                ],
            ),
            "x:1 cannot be pulled; check name, digest and imagePullSecrets",
        ),
        (
            pod(
                phase="Pending",
                conditions=[
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/1 nodes: Insufficient cpu",
                    }
                ],
            ),
            "Insufficient cpu",
        ),
    ],
)
def test_a_pod_that_does_not_serve_says_why(found: dict[str, Any], expected: str) -> None:
    assert expected in (problem(None, [found], {}) or "")


def test_a_pod_that_serves_again_has_no_problem() -> None:
    found = ended("old trouble")
    found["status"]["containerStatuses"][0] |= {"ready": True, "state": {"running": {}}}
    assert problem(None, [found], {}) is None


def test_a_pod_that_is_going_is_not_looked_at() -> None:
    found = ended("bye")
    found["metadata"]["deletionTimestamp"] = "now"
    assert problem(None, [found], {}) is None


def test_a_quota_shows_on_the_deployment_because_there_are_no_pods() -> None:
    failure = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    assert "exceeded quota" in (problem({"status": {"conditions": [failure]}}, [], {}) or "")


@pytest.mark.parametrize(
    ("modes", "nodes", "pinned", "expected"),
    [
        (None, 1, False, "does not exist"),
        (["ReadWriteOnce"], 1, False, ""),
        (["ReadWriteOnce"], 3, False, "ReadWriteMany"),
        (["ReadWriteOnce"], 3, True, ""),
        (["ReadOnlyMany"], 3, False, ""),
        (["ReadWriteOnce"], 0, False, ""),
    ],
)
def test_a_claim_that_pods_cannot_share_is_found_before_any_pod_is_made(
    modes: list[str] | None, nodes: int, pinned: bool, expected: str
) -> None:
    claims = {"models": modes} if modes is not None else {}
    text = claim_obstacle("models", claims, nodes=nodes, pinned=pinned)
    assert (expected in text) if expected else text == ""


def test_an_artifact_outside_of_claims_has_no_obstacle() -> None:
    assert claim_obstacle(None, {}, nodes=3, pinned=False) == ""


def test_a_host_name_in_the_node_selector_pins_pods_to_a_node() -> None:
    assert is_pinned({"kubernetes.io/hostname": "a"})
    assert not is_pinned({"disktype": "ssd"})
