"""What a pod says of the model server of Noria's in it: containers of users' own have no counts.

Comes in: a pod as the API server shows it, or what pods are made of. Goes out: whether there are counts,
whether they must be there now, and how often the server ended.
"""

from __future__ import annotations

from typing import Any

from noria_operator.api import names
from noria_operator.domain.pod_status import ended, passes_probe

Json = dict[str, Any]


def counts_requests(template: Json) -> bool:
    """Whether pods of this template count what they answer."""
    return any(map(_has_counters, _containers(template)))


def counts_ready(pod: Json) -> bool:
    """Whether a model server takes requests in this pod, so that it must have counts."""
    return passes_probe(pod) and counts_requests(pod)


def server_ends(pod: Json) -> int | None:
    """How many containers with a model server ended in a pod that stays; None of any other pod, as those that
    leave are told to end. What others put into the pod, such as a mesh's proxy, ends for reasons of its own.
    """
    if not counts_requests(pod) or ended(pod) or "deletionTimestamp" in pod["metadata"]:
        return None
    ours = {one["name"] for one in _containers(pod) if _has_counters(one)}
    containers = pod.get("status", {}).get("containerStatuses") or ()
    return sum(int(one.get("restartCount", 0)) + _is_down(one) for one in containers if one["name"] in ours)


def _is_down(container: Json) -> bool:
    """Whether it ended and was not started again yet, which `restartCount` does not count."""
    state, last = container.get("state") or {}, container.get("lastState") or {}
    return "terminated" in state or ("waiting" in state and "terminated" in last)


def _containers(pod: Json) -> list[Json]:
    return pod.get("spec", {}).get("containers") or []


def _has_counters(container: Json) -> bool:
    return any(port.get("name") == names.COUNTERS_PORT_NAME for port in container.get("ports") or ())
