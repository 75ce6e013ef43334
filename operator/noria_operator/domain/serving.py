"""The pods that serve one revision of a model.

Comes in: a ModelVersion, the server settings of a ModelDeployment, how this installation is set up. Goes out:
a pod template. Invariants: every pod meets the Pod Security Standard "restricted", mounts no API token, has a
read-only root file system; the artifact is mounted read-only; nothing of the rollout (role, weight, attempt)
is part of the template, so that a promotion restarts no pod.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from noria_operator.api import names
from noria_operator.api.modelversion import ModelVersion
from noria_operator.api.server import Server
from noria_operator.domain import credentials, serving_payload
from noria_operator.domain.training_locations import VOLUMES, Location
from noria_operator.domain.training_pods import TERMINATION_LOG, USER
from noria_serving import contract

Json = dict[str, Any]

TERMINATION_SECONDS = 60
"""What a pod gets to finish its requests when the user says nothing."""
DRAIN_SECONDS = 8
"""How long a server goes on serving after SIGTERM, so that every router has left it before it stops
listening.
"""
LEAVE_SECONDS = 2
"""What is left of a grace period for the end of the process itself."""
KEYS_DIR = "/noria/feedback"
SCRATCH = "9Gi"
"""What a model server may put into /tmp: the largest archive, and what is in it."""
KEY_PERIODS = 16
"""Feedback keys that a pod can come to know; four years of them."""
LIVE_PATH = "/v2/health/live"
START_SECONDS = 7200
"""How long a process may take to be ready before its liveness is looked at; progressDeadline ends a rollout
earlier.
"""


@dataclass(frozen=True, slots=True)
class Serving:
    """What the pods of one revision are made from."""

    namespace: str
    deployment: str
    version: ModelVersion
    server: Server
    labels: Mapping[str, str]
    selector: Mapping[str, str]
    image: str
    pull_policy: str
    uid: str
    """Of the ModelDeployment."""
    key_period: int
    """The one in which the revision begins."""
    allow_code: bool = False
    fetching: Mapping[str, str] = field(default_factory=dict)
    """Variables that say from where the pods may fetch the model, and who must have signed it."""
    pull_secrets: tuple[str, ...] = ()
    """By which the installation pulls its own images."""

    @property
    def custom(self) -> bool:
        """Whether the container is the user's own."""
        return self.server.runtime == "custom"

    @property
    def port(self) -> int:
        """Where it takes requests."""
        return self.server.port if self.custom else contract.SERVER_PORT

    @property
    def grpc_port(self) -> int | None:
        """Where it takes gRPC, if it does."""
        told = self.server.grpc_port
        if told is None and not self.custom:
            return contract.GRPC_PORT
        return told or None

    @property
    def secrets(self) -> credentials.Secrets:
        """Which Secret opens the artifact, and which one the payload log."""
        artifact, log = self.version.spec.artifact, self.server.payload_log
        named = [(artifact.uri, artifact.secret_name)] + ([(log.uri, log.secret_name)] if log else [])
        return {Location.parse(uri).uri: secret for uri, secret in named if secret}

    @property
    def claim(self) -> str | None:
        """Where the artifact lies, for pvc://."""
        return Location.parse(self.version.spec.artifact.uri).claim


def pod_template(serving: Serving) -> Json:
    """The template of a revision's pods."""
    fields = serving.server.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    spec: Json = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _grace(serving),
        "securityContext": _pod_security(serving),
        "containers": [_container(serving, fields)],
        "volumes": _volumes(serving),
    }
    placed = ("nodeSelector", "tolerations", "affinity", "priorityClassName", "serviceAccountName")
    spec |= {name: fields[name] for name in placed if fields.get(name)}
    spec |= credentials.pulling(fields.get("imagePullSecrets") or [], serving.pull_secrets)
    spread = serving.server.model_dump(mode="json", by_alias=True)["topologySpreadConstraints"]
    if spread:
        selector = {"labelSelector": {"matchLabels": dict(serving.selector)}}
        spec["topologySpreadConstraints"] = [rule | selector for rule in spread]
    return {"metadata": {"labels": dict(serving.labels)}, "spec": spec}


def recorded_grpc_port(template: Json) -> int | None:
    """Where the pods of a recorded template take gRPC; None for those made before Noria spoke it."""
    ports = template["spec"]["containers"][0].get("ports", [])
    return next((port["containerPort"] for port in ports if port.get("name") == names.GRPC_PORT_NAME), None)


def _grace(serving: Serving) -> int:
    """What the user says, but never so short that requests in flight are cut off after the drain."""
    least = DRAIN_SECONDS + contract.FINISH_SECONDS + _flush(serving)
    return max(serving.server.termination_seconds or TERMINATION_SECONDS, least)


def _flush(serving: Serving) -> int:
    return serving_payload.FLUSH_SECONDS if serving.server.payload_log else 0


def _finish(serving: Serving) -> dict[str, str]:
    """What the grace period leaves to requests in flight, where a server gives them less unasked."""
    left = _grace(serving) - DRAIN_SECONDS - _flush(serving) - LEAVE_SECONDS
    if serving.custom or left <= contract.FINISH_SECONDS:
        return {}
    return {contract.ENV_FINISH_SECONDS: str(left)}


def _pod_security(serving: Serving) -> Json:
    security: Json = {
        "runAsNonRoot": True,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    # A user's image knows its own user; ours may run as any.
    return security if serving.custom else security | {"runAsUser": USER, "runAsGroup": USER}


def _container(serving: Serving, fields: Json) -> Json:
    ports = [{"name": "http", "containerPort": serving.port, "protocol": "TCP"}]
    if serving.grpc_port is not None:
        ports.append({"name": names.GRPC_PORT_NAME, "containerPort": serving.grpc_port, "protocol": "TCP"})
    if not serving.custom:
        ports.append(
            {"name": names.COUNTERS_PORT_NAME, "containerPort": contract.COUNTERS_PORT, "protocol": "TCP"}
        )
    container: Json = {
        "name": "server",
        "image": serving.image,
        "imagePullPolicy": serving.pull_policy,
        "env": _env(serving),
        "ports": ports,
        "resources": _resources(fields),
        "terminationMessagePath": TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": _mounts(serving),
        **_probes(serving),
    }
    sources = [*fields.get("envFrom", []), *credentials.sources(serving.secrets)]
    optional = {"command": fields.get("command"), "args": fields.get("args"), "envFrom": sources}
    if serving.custom:
        # Not every server goes on serving after SIGTERM; ours does, and needs no hook.
        optional["lifecycle"] = {"preStop": {"sleep": {"seconds": DRAIN_SECONDS}}}
    return container | {name: value for name, value in optional.items() if value}


def _env(serving: Serving) -> list[Json]:
    """The user's variables, then ours, which nobody may override."""
    artifact = serving.version.spec.artifact
    ours = {
        contract.ENV_NAMESPACE: serving.namespace,
        contract.ENV_DEPLOYMENT: serving.deployment,
        contract.ENV_MODEL: serving.version.spec.model,
        contract.ENV_VERSION: serving.version.metadata.name,
        contract.ENV_BUNDLE: Location.parse(artifact.uri).as_seen,
        contract.ENV_DIGEST: artifact.digest,
        contract.ENV_ALLOW_CODE: "1" if serving.allow_code else "0",
        contract.ENV_FEEDBACK_KEYS: KEYS_DIR,
        contract.ENV_DRAIN_SECONDS: str(DRAIN_SECONDS),
        **_finish(serving),
        **credentials.variables(serving.secrets),
        **serving.fetching,
        **serving_payload.variables(serving.server.payload_log),
        **_warm_up(serving.server),
        **({} if serving.custom or serving.grpc_port else {contract.ENV_GRPC_PORT: contract.NO_GRPC}),
    }
    user = {one.name: one.value for one in serving.server.env}
    # `$(NAME)` in a value would be expanded by the kubelet, and `$$` be one dollar: both stay what they are.
    return [
        {"name": name, "value": value.replace("$", "$$")}
        for name, value in {"HOME": "/tmp", **user, **ours}.items()
    ]


def _warm_up(server: Server) -> dict[str, str]:
    if server.warm_up is None:
        return {}
    return {
        contract.ENV_WARM_UP_ROWS: ",".join(map(str, server.warm_up.rows)),
        contract.ENV_WARM_UP_CALLS: str(server.warm_up.calls),
    }


def _resources(fields: Json) -> Json:
    """What the user asks for; without any request a small one, so that the scheduler knows of the pod."""
    resources: Json = fields.get("resources", {})
    if resources:
        return resources
    return {"requests": {"cpu": "50m", "memory": "256Mi"}}


def _probes(serving: Serving) -> Json:
    """Readiness is asked often, so that weight follows it; liveness seldom, and never before the pod was once
    ready: a model that is loaded may hold Python's lock for minutes.
    """
    ready = {"path": serving.server.health_path, "port": "http"}
    live: Json = {"httpGet": {"path": LIVE_PATH, "port": "http"}}
    alive = {"tcpSocket": {"port": "http"}} if serving.custom else live
    return {
        "startupProbe": {
            "httpGet": ready,
            "periodSeconds": 1,
            "timeoutSeconds": 2,
            "failureThreshold": START_SECONDS,
        },
        "readinessProbe": {"httpGet": ready, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {**alive, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3},
    }


def _mounts(serving: Serving) -> list[Json]:
    mounts: list[Json] = [
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "feedback", "mountPath": KEYS_DIR, "readOnly": True},
    ]
    if serving.claim:
        mounts.append({"name": "artifact", "mountPath": f"{VOLUMES}/{serving.claim}", "readOnly": True})
    mounts += serving_payload.mounts(serving.server.payload_log, serving.claim)
    return mounts + credentials.mounts(serving.secrets)


def _volumes(serving: Serving) -> list[Json]:
    volumes: list[Json] = [
        {"name": "tmp", "emptyDir": {} if serving.custom else {"sizeLimit": SCRATCH}},
        {"name": "feedback", "projected": _keys(serving)},
    ]
    log = serving.server.payload_log
    if serving.claim:
        # The whole claim, not a subPath: the kubelet would make a missing directory and hide the mistake.
        source: Json = {"claimName": serving.claim}
        if serving_payload.claim(log) != serving.claim:
            source["readOnly"] = True
        volumes.append({"name": "artifact", "persistentVolumeClaim": source})
    volumes += serving_payload.volumes(log, serving.claim)
    return volumes + credentials.volumes(serving.secrets)


def _keys(serving: Serving) -> Json:
    """Keys of the last period, of this one and of those to come, a file each. A Secret that is made later is
    brought to running pods by the kubelet: keys rotate without a restart.
    """
    last = serving.key_period - 1
    return {
        "defaultMode": 0o440,
        "sources": [
            {
                "secret": {
                    "name": names.feedback_secret_name(serving.deployment, serving.uid, period),
                    "items": [{"key": contract.FEEDBACK_KEYS_FILE, "path": f"{period}.json"}],
                    "optional": period != serving.key_period,
                }
            }
            for period in range(last, last + KEY_PERIODS)
        ],
    }
