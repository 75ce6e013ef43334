"""Why the pods of a revision do not become ready: cause and fix in one sentence.

Comes in: the pods and the Deployment of a revision, claims, the number of nodes. Goes out: a sentence, or
None when nothing is known to be wrong. Invariant: what a container said when it ended is passed on in its own
words, cut short.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from noria_operator.domain.conditions import clip
from noria_operator.domain.training_problems import pod_problem

Json = dict[str, Any]

_TEXT_LIMIT = 400
_HOSTNAME = "kubernetes.io/hostname"


def problem(
    workload: Json | None,
    pods: Iterable[Json],
    claims: Mapping[str, Sequence[str]],
    others: Sequence[Json] = (),
) -> str | None:
    """What keeps a revision from its ready pods: the first pod with a reason, else what the Deployment
    says.
    """
    young = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    for pod in sorted(young, key=lambda pod: str(pod["metadata"]["name"])):
        found = pod_problem(pod, claims, others)
        text = found.message if found else _ending(pod)
        if text:
            return clip(f"pod {pod['metadata']['name']}: {text}")
    return _refusal(workload) if workload else None


def claim_obstacle(
    claim: str | None, claims: Mapping[str, Sequence[str]], *, nodes: int, pinned: bool
) -> str:
    """Why pods that mount this claim cannot all run, before any is scheduled; empty when they can.

    `claims` has the access modes of the claims of the namespace; `nodes` is 0 when they cannot be listed;
    `pinned` whether the user bound the pods to one node.
    """
    if claim is None:
        return ""
    modes = claims.get(claim)
    if modes is None:
        return (
            f"PersistentVolumeClaim {claim} does not exist in this namespace; create it, or serve from s3://"
        )
    if {"ReadWriteMany", "ReadOnlyMany"} & set(modes) or nodes < 2 or pinned:
        return ""
    return (
        f"PersistentVolumeClaim {claim} is {', '.join(modes)}: pods on different nodes cannot mount it "
        "together; use a ReadWriteMany claim, or bind the pods to one node with "
        f"spec.server.nodeSelector {_HOSTNAME}"
    )


def is_pinned(node_selector: Mapping[str, str]) -> bool:
    """Whether a node selector names one node."""
    return _HOSTNAME in node_selector


def _ending(pod: Json) -> str | None:
    """What a container said when it ended last, while it waits to be started again or after it was."""
    for container in pod.get("status", {}).get("containerStatuses", []):
        state, last = container.get("state", {}), container.get("lastState", {})
        ended = state.get("terminated") or last.get("terminated")
        if container.get("ready") or not ended:
            continue
        said = _said(ended.get("message", ""))
        reason, code = ended.get("reason", "Error"), ended.get("exitCode")
        if reason == "OOMKilled":
            return "the server ran out of memory (OOMKilled); raise spec.server.resources.limits.memory"
        return f"the server ended with {reason} (exit code {code}), {said or 'see kubectl logs --previous'}"
    return None


def _said(message: str) -> str:
    """The reason in a termination message: ours is JSON with an error inside, others are text; the end
    counts.
    """
    text = message.strip()
    try:
        document = json.loads(text)
    except ValueError:
        lines = [line for line in text.splitlines() if line.strip()]
        return clip(lines[-1], _TEXT_LIMIT) if lines else ""
    error = document.get("error", document) if isinstance(document, dict) else {}
    if not isinstance(error, dict):
        return clip(text, _TEXT_LIMIT)
    parts = (str(error.get("reason", "")), str(error.get("message", "")))
    return clip(": ".join(part for part in parts if part) or text, _TEXT_LIMIT)


def _refusal(workload: Json) -> str | None:
    """A quota or an admission policy that refuses the pods themselves shows on the Deployment only."""
    for condition in workload.get("status", {}).get("conditions", []):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return clip(f"pods are refused: {condition.get('message', '')}")
    return None
