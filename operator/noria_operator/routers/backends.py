"""What routers have to know of a serving pod, and nothing else of it.

Comes in: a pod. Goes out: its Backend, and the revision that it serves. Invariant: a pod counts as
EndpointSlices would count it (https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#conditions),
without the Service and the controllers between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from noria_operator.api import names
from noria_operator.domain.pod_status import ended, passes_probe

Json = dict[str, Any]

Arm = tuple[str, str, str]
"""The ModelDeployment's uid, version and revision, as labels of pods have them: whose pods they are."""
_LABELS = (names.OWNER_UID_LABEL, names.VERSION_LABEL, names.REVISION_LABEL)


@dataclass(frozen=True, slots=True)
class Backend:
    """One pod: its IP address, its ports by what is spoken there (None where it has none), whether it passes
    its readiness probe, whether it is being deleted, and whether a model server of Noria's is in it.
    """

    address: str
    http: int | None
    grpc: int | None
    serving: bool
    ending: bool
    ours: bool = False

    @property
    def ready(self) -> bool:
        """Whether it takes new requests."""
        return self.serving and not self.ending


def backend(pod: Json) -> Backend | None:
    """None as long as it has no address, and when its containers have ended."""
    address = pod.get("status", {}).get("podIP")
    if not address or ended(pod):
        return None
    ports = {
        port.get("name"): port["containerPort"]
        for container in reversed(pod["spec"]["containers"])
        for port in reversed(container.get("ports") or ())
    }
    return Backend(
        address,
        ports.get("http"),
        ports.get(names.GRPC_PORT_NAME),
        serving=passes_probe(pod),
        ending="deletionTimestamp" in pod["metadata"],
        ours=names.COUNTERS_PORT_NAME in ports,
    )


def arm_of(pod: Json) -> Arm | None:
    """None for a pod that serves no revision."""
    labels = pod["metadata"].get("labels") or {}
    uid, version, revision = (labels.get(label) for label in _LABELS)
    return (uid, version, revision) if uid and version and revision else None


def arm_of_share(deployment: Json, share: Json) -> Arm:
    """Whose pods get a share of the traffic in the status of a ModelDeployment."""
    return deployment["metadata"]["uid"], names.fit(share["version"]), share["revision"]
