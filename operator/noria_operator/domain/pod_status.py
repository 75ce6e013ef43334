"""What the status of a pod says, whatever runs in it.

Comes in: a pod as the API server shows it; what its status lacks is not so yet. Goes out: yes or no.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def passes_probe(pod: Json) -> bool:
    """Whether its readiness probes pass; so it may be while the pod is deleted."""
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def waits_for_volumes(pod: Json) -> bool:
    """Whether it has a node, and what it mounts is not there yet; then its images are pulled."""
    conditions = {one["type"]: one["status"] for one in pod.get("status", {}).get("conditions") or ()}
    scheduled = conditions.get("PodScheduled") == "True"
    return scheduled and conditions.get("PodReadyToStartContainers") != "True"


def ended(pod: Json) -> bool:
    """Whether its containers have ended for good: an evicted pod stands there for long after that."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
