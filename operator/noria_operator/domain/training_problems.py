"""Why a pod of a Job does not run: cause and fix in one sentence, from the pod itself.

Comes in: a pod as the API server shows it, the access modes of the claims it mounts. Goes out: a reason
that status keeps if it lasts past the pending deadline, and a message. Invariant: reads what Kubernetes
wrote into the pod and nothing else; an unknown kind of waiting is passed on in its own words rather than
hidden.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from noria_operator.api.trainingjob import TrainingFailure
from noria_operator.domain.conditions import clip
from noria_operator.domain.pod_status import ended, waits_for_volumes

Json = dict[str, Any]

_TEXT_LIMIT: Final = 400


@dataclass(frozen=True)
class Problem:
    """What keeps a pod from running."""

    reason: TrainingFailure
    message: str


def pod_problem(
    pod: Json, claims: Mapping[str, Sequence[str]] | None = None, others: Iterable[Json] = ()
) -> Problem | None:
    """The first thing that keeps this pod from running; None for one that runs, ended or is merely young.

    `claims` maps a claim's name to its access modes, as far as known; `others` are the pods of the namespace.
    """
    if pod.get("status", {}).get("phase", "Pending") != "Pending":
        return None
    return _scheduling(pod) or _waiting(pod) or _mounting(pod, claims or {}, others)


def claims_of(pod: Json) -> list[str]:
    """Names of the PersistentVolumeClaims that a pod mounts."""
    volumes = pod.get("spec", {}).get("volumes", [])
    return [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in volumes
        if "persistentVolumeClaim" in volume
    ]


def started(pod: Json) -> bool:
    """Whether the pod's container has ever run."""
    return pod.get("status", {}).get("phase") in ("Running", "Succeeded", "Failed")


def _scheduling(pod: Json) -> Problem | None:
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["type"] != "PodScheduled" or condition["status"] != "False":
            continue
        text = clip(condition.get("message", ""), _TEXT_LIMIT)
        if (
            "persistentvolumeclaim" in text.lower()
            or "volume node affinity" in text
            or "ReadWriteOncePod" in text
        ):
            return Problem(
                TrainingFailure.VOLUME_UNAVAILABLE, f"{_volume_advice(pod, text)} (scheduler: {text})"
            )
        if condition.get("reason") == "SchedulingGated":
            return None
        advice = (
            "no node can take the pod; lower resources, change nodeSelector or tolerations, or add a node"
        )
        return Problem(TrainingFailure.UNSCHEDULABLE, f"{advice} (scheduler: {text})")
    return None


def _volume_advice(pod: Json, text: str) -> str:
    names = ", ".join(claims_of(pod)) or "of the pod"
    if "not found" in text:
        return f"a PersistentVolumeClaim does not exist; create it or correct pvc:// (mounted: {names})"
    if "being deleted" in text:
        return f"a PersistentVolumeClaim is being deleted; create it anew (mounted: {names})"
    if "unbound" in text:
        return (
            f"a PersistentVolumeClaim is not bound; check its StorageClass with kubectl describe pvc {names}"
        )
    return f"no node can mount every claim ({names}); use ReadWriteMany, or claims of one node"


def _waiting(pod: Json) -> Problem | None:
    status = pod.get("status", {})
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        waiting = container.get("state", {}).get("waiting")
        if not waiting:
            continue
        reason, text = waiting.get("reason", ""), clip(waiting.get("message", ""), _TEXT_LIMIT)
        if reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"):
            image = container.get("image", "the image")
            advice = f"{image} cannot be pulled; check name, digest and imagePullSecrets"
            return Problem(TrainingFailure.IMAGE_PULL, f"{advice} ({reason}: {text})")
        if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
            advice = (
                "the container cannot be made; create the Secret or ConfigMap that it names, or fix the spec"
            )
            return Problem(TrainingFailure.PENDING_DEADLINE, f"{advice} ({reason}: {text})")
    return None


def _mounting(pod: Json, claims: Mapping[str, Sequence[str]], others: Iterable[Json]) -> Problem | None:
    """A scheduled pod whose claim is held by a pod on another node. The pod itself does not say so, and
    without such a neighbour it is merely starting: its image is pulled, its volume attached.
    """
    if not waits_for_volumes(pod):
        return None
    single = {name for name in claims_of(pod) if claims.get(name) and _one_node(claims[name])}
    away = (other for other in others if _elsewhere(pod, other))
    held = {name for other in away for name in single.intersection(claims_of(other))}
    if not held:
        return None
    names = ", ".join(sorted(held))
    message = (
        f"the pod waits for its volumes; claim {names} is in use on another node and can be mounted by one "
        "node at a time (ReadWriteOnce): "
        "use a ReadWriteMany claim, or keep all pods that mount it on one node with nodeSelector"
    )
    return Problem(TrainingFailure.VOLUME_UNAVAILABLE, message)


def _elsewhere(pod: Json, other: Json) -> bool:
    """Whether the other pod holds its volumes on another node."""
    node = other["spec"].get("nodeName")
    return bool(node) and node != pod["spec"].get("nodeName") and not ended(other)


def _one_node(modes: Sequence[str]) -> bool:
    return not {"ReadWriteMany", "ReadOnlyMany"} & set(modes)
