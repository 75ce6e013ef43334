"""Every name that Noria gives to something in a cluster, in one place.

Comes in: the names and uids of users' objects. Goes out: the API group, label and annotation keys, field
managers, and the names of children. Invariant: names are deterministic (same inputs, same name) and always
valid DNS labels, so that a repeated pass after a crash finds its own work.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

GROUP: Final = "noria.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
CATEGORY: Final = "noria"

TRAINING_JOB: Final = "TrainingJob"
MODEL_VERSION: Final = "ModelVersion"
MODEL_DEPLOYMENT: Final = "ModelDeployment"
CONTINUOUS_TRAINING: Final = "ContinuousTraining"

PLURALS: Final = {
    TRAINING_JOB: "trainingjobs",
    MODEL_VERSION: "modelversions",
    MODEL_DEPLOYMENT: "modeldeployments",
    CONTINUOUS_TRAINING: "continuoustrainings",
}
SHORT_NAMES: Final = {
    TRAINING_JOB: "tj",
    MODEL_VERSION: "mv",
    MODEL_DEPLOYMENT: "md",
    CONTINUOUS_TRAINING: "ct",
}

# -- field managers --------------------------------------------------------------------------------
MANAGER: Final = "noria"
"""Owns everything that Noria writes."""

# -- labels ----------------------------------------------------------------------------------------
MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "noria"
APP_LABEL: Final = "app.kubernetes.io/name"
OWNER_KIND_LABEL: Final = f"{GROUP}/owner-kind"
OWNER_NAME_LABEL: Final = f"{GROUP}/owner-name"
OWNER_UID_LABEL: Final = f"{GROUP}/owner-uid"
DEPLOYMENT_LABEL: Final = f"{GROUP}/deployment"
"""Name of the ModelDeployment, on its serving children and their pods."""
VERSION_LABEL: Final = f"{GROUP}/version"
"""Name of the ModelVersion, on serving children and their pods."""
REVISION_LABEL: Final = f"{GROUP}/revision"
ROLE_LABEL: Final = f"{GROUP}/role"
"""stable, candidate or previous; on the Deployment object only: a pod label would restart pods at
promotion."""
ROUTER_LABEL: Final = f"{GROUP}/router"

# -- annotations -----------------------------------------------------------------------------------
TRIGGER_ANNOTATION: Final = f"{GROUP}/trigger"
"""JSON: why a ContinuousTraining started this TrainingJob."""
SUPPORTED_FEATURES_ANNOTATION: Final = f"{GROUP}/supported-features"
"""On a GatewayClass whose controller lists none in status: what its gateways can do, by commas."""
WEIGHTS_ANNOTATION: Final = f"{GROUP}/weights"
"""On a GatewayClass: `endpoints` where its gateways give weights to endpoints, and not to routes."""
DEPLOYMENT_COMMANDS: Final = (
    *("abort", "undo", "pause", "resume", "retry", "restart"),
    *("promote", "promote-full"),
)
TRAINING_COMMANDS: Final = ("retrain",)

# -- the router of a namespace ---------------------------------------------------------------------
ROUTER_NAME: Final = "noria-router"
ROUTER_TRAFFIC_PORT: Final = 8080
ROUTER_TLS_PORT: Final = 8443
ROUTER_STATS_PORT: Final = 9902
RESERVED_HOST_SUFFIX: Final = "noria.internal"
VERSION_HOST: Final = f"version.{RESERVED_HOST_SUFFIX}"
"""Host of the direct-response route that tells which configuration is in force."""
ACCESS_PATH: Final = "/-/access/"
"""There, before a deployment's name: what a router has to check its callers with."""

COUNTERS_PORT_NAME: Final = "counters"
"""Of the container's port: only those with a model server of Noria's have it."""

# -- gRPC ------------------------------------------------------------------------------------------
GRPC_PORT_NAME: Final = "grpc"
"""Of the container's port, and of a Service's: by it everybody knows which revision speaks gRPC."""
GRPC_SUFFIX: Final = "_grpc"
"""Behind a revision's name: its Envoy cluster for gRPC. No name of an object has an underscore."""
FEEDBACK_SUFFIX: Final = "_feedback"
"""The same for feedback."""
ASIDE_SUFFIX: Final = "_aside"
"""Behind a name for HTTP or gRPC: of requests that no weight divides, as their path names the version, or
they come to the preview's address."""

LABEL_LIMIT: Final = 63
COMMAND_LIMIT: Final = 256
"""Letters of a command's id that count: those that `status.commands` holds."""


def command_annotation(command: str) -> str:
    """The annotation key of a user command such as `promote`."""
    return f"{GROUP}/{command}"


def command_id(annotations: Mapping[str, str] | None, command: str) -> str:
    """The id that a person gave a command, cut to what status can acknowledge; empty when there is none."""
    return (annotations or {}).get(command_annotation(command), "")[:COMMAND_LIMIT]


def short_uid(uid: str) -> str:
    """The first eight characters of a uid: what names of children carry to tell owners of one name apart."""
    return uid.replace("-", "")[:8]


def fit(name: str, limit: int = LABEL_LIMIT) -> str:
    """`name` when it is short enough, else its beginning and a hash of the whole: still unique, still
    stable."""
    if len(name) <= limit:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: limit - 9].rstrip('-.')}-{digest}"


def model_version_name(model: str, version: int) -> str:
    """`<model>-<N>`; ModelName is at most 40 characters, so this always fits."""
    return f"{model}-{version}"


def version_number(model_version: str) -> int:
    """N of `<model>-<N>`, 0 for any other name: a spec may name what is none."""
    number = model_version.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def revision_name(deployment: str, version: int, revision: str) -> str:
    """Name of the Deployment and Envoy cluster of one revision, and of its Service where it has one."""
    return fit(f"{deployment}-{version}-{revision[:6]}")


def preview_name(deployment: str) -> str:
    """Name of the Service that leads to the challenger; a ModelDeployment's name is at most 40 characters."""
    return f"{deployment}-preview"


def record_name(revision: str, restart: str) -> str:
    """Name of the ControllerRevision with the pod template of a revision since a restart; an empty id means
    since the beginning."""
    if not restart:
        return revision
    tail = f"-r{hashlib.sha256(restart.encode()).hexdigest()[:8]}"
    return fit(revision, LABEL_LIMIT - len(tail)) + tail


def feedback_secret_name(deployment: str, uid: str, period: int) -> str:
    """Name of the Secret with the key that signs feedback tokens of one ModelDeployment in a period."""
    tail = f"-feedback-{short_uid(uid)}-{period}"
    return fit(deployment, LABEL_LIMIT - len(tail)) + tail


def router_secret_name(router_deployment_uid: str) -> str:
    """Name of the Secret with the bootstrap configuration of a namespace's router."""
    return f"{ROUTER_NAME}-{short_uid(router_deployment_uid)}"
