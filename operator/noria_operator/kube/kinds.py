"""The kinds of objects that the operator reads and writes, and how one of them is addressed.

A `Kind` knows the path of its objects on the API server; a `Key` names one object. Both are values:
comparable, free of I/O, and hashed some hundred times in each pass, so they are tuples. The work queue and
the store use them as keys.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from noria_operator.api import names

Json = dict[str, Any]
"""One Kubernetes object (or a part of one) as it travels on the wire."""


class Kind(NamedTuple):
    """One resource type, by the four words that the API server needs to find it."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """`apiVersion` of its objects: `v1` for the core group, `group/version` else."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(
        self, namespace: str | None = None, name: str | None = None, subresource: str | None = None
    ) -> str:
        """The URL path of a collection, an object, or a subresource of an object."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced and namespace is not None:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part is not None]
        return "/" + "/".join(parts)

    def __str__(self) -> str:
        return self.kind


class Key(NamedTuple):
    """The address of one object: what the work queue holds, and what `reconcile` is given."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.kind} {self.namespace}/{self.name}"


def _own(kind: str) -> Kind:
    return Kind(names.GROUP, names.VERSION, names.PLURALS[kind], kind)


TRAININGJOB = _own(names.TRAINING_JOB)
MODELVERSION = _own(names.MODEL_VERSION)
MODELDEPLOYMENT = _own(names.MODEL_DEPLOYMENT)
CONTINUOUSTRAINING = _own(names.CONTINUOUS_TRAINING)
JOB = Kind("batch", "v1", "jobs", "Job")
POD = Kind("", "v1", "pods", "Pod")
DEPLOYMENT = Kind("apps", "v1", "deployments", "Deployment")
SERVICE = Kind("", "v1", "services", "Service")
ENDPOINTSLICE = Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
CONTROLLERREVISION = Kind("apps", "v1", "controllerrevisions", "ControllerRevision")
SECRET = Kind("", "v1", "secrets", "Secret")
PVC = Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
PDB = Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
HTTPROUTE = Kind("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute")
"""Only where the installation says that the cluster knows it (`Config.gateway`)."""
GATEWAY = Kind("gateway.networking.k8s.io", "v1", "gateways", "Gateway")
GATEWAYCLASS = Kind("gateway.networking.k8s.io", "v1", "gatewayclasses", "GatewayClass", namespaced=False)
"""Read one by one where a route asks for what not every class can do; never watched."""
EVENT = Kind("", "v1", "events", "Event")
LEASE = Kind("coordination.k8s.io", "v1", "leases", "Lease")
NODE = Kind("", "v1", "nodes", "Node", namespaced=False)
NAMESPACE = Kind("", "v1", "namespaces", "Namespace", namespaced=False)
"""Neither read nor written; its keys stand for what a namespace has once, which is the router."""

OWN_KINDS = (TRAININGJOB, MODELVERSION, MODELDEPLOYMENT, CONTINUOUSTRAINING)
"""The kinds that Noria defines: their status is ours, their spec belongs to the user."""

KINDS = (
    *OWN_KINDS,
    *(JOB, POD, DEPLOYMENT, SERVICE, ENDPOINTSLICE, CONTROLLERREVISION),
    *(SECRET, PVC, PDB, HTTPROUTE, GATEWAY, GATEWAYCLASS, EVENT, LEASE, NODE),
)

_BY_TYPE = {(kind.api_version, kind.kind): kind for kind in KINDS}
_BY_NAME = {kind.kind: kind for kind in KINDS}
_BY_PLURAL = {(kind.group, kind.version, kind.plural): kind for kind in KINDS}


def kind_of(obj: Json) -> Kind:
    """The `Kind` of an object, by its `apiVersion` and `kind`. `KeyError` for one we do not know."""
    return _BY_TYPE[obj["apiVersion"], obj["kind"]]


def kind_named(kind: str) -> Kind:
    """The `Kind` called so in an owner label or an owner reference. Raises `KeyError` for any other."""
    return _BY_NAME[kind]


def kind_at(path: str) -> Kind | None:
    """The `Kind` whose collection this URL path lists or watches, or None."""
    parts = path.strip("/").split("/")
    if len(parts) < 3:
        return None
    group, version, rest = ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
    plural = rest[2] if len(rest) == 3 and rest[0] == "namespaces" else rest[0] if len(rest) == 1 else ""
    return _BY_PLURAL.get((group, version, plural))


def key_of(obj: Json) -> Key:
    """The address of an object; cluster-scoped ones have the namespace ''."""
    meta = obj["metadata"]
    return Key(kind_of(obj), meta.get("namespace", ""), meta["name"])
