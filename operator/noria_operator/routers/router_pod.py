"""The pods of a router: one Envoy, restricted, that is ready only with routes and leaves as a lame duck.

Comes in: image, the name of the Secret with its bootstrap, and the token of the drain hook. Goes out: a pod
template. Invariant: the pod meets the "restricted" Pod Security Standard, mounts no API token, and needs no
program in the image but Envoy.
"""

from __future__ import annotations

from typing import Any

from noria_operator.api import names
from noria_operator.routers import drain
from noria_operator.routers.stats_listener import READY_PATH

Json = dict[str, Any]

CONFIG_FILE = "envoy.json"
CONFIG_DIR = "/etc/noria"
MEMORY = 1024 * 1024 * 1024
"""Limit: 70 MB and two thirds of a megabyte for each revision of the namespace; requests are far below."""
_USER = 65532


def selector() -> dict[str, str]:
    """What Services and the Deployment find the pods by."""
    return {names.APP_LABEL: names.ROUTER_NAME, names.ROUTER_LABEL: "true"}


def labels() -> dict[str, str]:
    """Labels of everything that belongs to a router."""
    return {**selector(), names.MANAGED_BY_LABEL: names.MANAGED_BY}


def template(
    *, image: str, pull_policy: str, concurrency: int, config: str, token: str, annotations: dict[str, str]
) -> Json:
    """The template; `config` is the name of the Secret."""
    return {
        "metadata": {"labels": labels(), "annotations": annotations},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": drain.SECONDS + drain.GRACE,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "runAsGroup": _USER,
                "fsGroup": _USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [_container(image, pull_policy, concurrency, token)],
            "volumes": [
                {"name": "config", "secret": {"secretName": config, "defaultMode": 0o440}},
                {"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            ],
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": selector()},
                }
            ],
        },
    }


def _container(image: str, pull_policy: str, concurrency: int, token: str) -> Json:
    arguments = ["--config-path", f"{CONFIG_DIR}/{CONFIG_FILE}", "--service-node", "$(POD_NAME)"]
    arguments += ["--concurrency", str(concurrency), "--log-level", "warn", "--disable-hot-restart"]
    probe = {"httpGet": {"path": READY_PATH, "port": "stats"}, "timeoutSeconds": 2}
    return {
        "name": "envoy",
        "image": image,
        "imagePullPolicy": pull_policy,
        "args": arguments,
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [
            {"name": "http", "containerPort": names.ROUTER_TRAFFIC_PORT, "protocol": "TCP"},
            {"name": "stats", "containerPort": names.ROUTER_STATS_PORT, "protocol": "TCP"},
        ],
        "readinessProbe": {**probe, "periodSeconds": 1, "failureThreshold": 2},
        "livenessProbe": {
            "tcpSocket": {"port": "stats"},
            "timeoutSeconds": 2,
            "periodSeconds": 10,
            "failureThreshold": 6,
        },
        "lifecycle": {
            "preStop": {
                "httpGet": {
                    "path": drain.DRAIN_PATH,
                    "port": "stats",
                    "httpHeaders": [{"name": drain.DRAIN_HEADER, "value": token}],
                }
            }
        },
        "resources": {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": str(MEMORY)}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "config", "mountPath": CONFIG_DIR, "readOnly": True},
            {"name": "run", "mountPath": "/tmp"},
        ],
    }
