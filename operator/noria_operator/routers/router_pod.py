"""The pods of a router: one Envoy, restricted, that is ready only with routes and leaves as a lame duck.

Comes in: image, the name of the Secret with its bootstrap, and the token of the drain hook. Goes out: a pod
template. Invariant: the pod meets the "restricted" Pod Security Standard, mounts no API token, and needs no
program in the image but Envoy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from noria_operator.api import names
from noria_operator.domain import credentials
from noria_operator.domain.access import Guard
from noria_operator.routers import access, drain, tls
from noria_operator.routers.bootstrap import CONFIG_DIR, CONFIG_FILE, TLS_DIR
from noria_operator.routers.stats_listener import READY_PATH

Json = dict[str, Any]

MEMORY = 1024 * 1024 * 1024
"""Limit: 70 MB and a twelfth of a megabyte a cluster, up to three a revision (ADRs 24, 46); requests are far
below."""
_USER = 65532


def selector() -> dict[str, str]:
    """What Services and the Deployment find the pods by."""
    return {names.APP_LABEL: names.ROUTER_NAME, names.ROUTER_LABEL: "true"}


def labels() -> dict[str, str]:
    """Labels of everything that belongs to a router."""
    return {**selector(), names.MANAGED_BY_LABEL: names.MANAGED_BY}


def template(
    *,
    image: str,
    pull_policy: str,
    pull_secrets: Sequence[str],
    concurrency: int,
    config: str,
    token: str,
    annotations: dict[str, str],
    certificates: Sequence[str] = (),
    guards: Sequence[Guard] = (),
) -> Json:
    """The template; `config` is the name of the Secret, `certificates` are those with certificates, `guards`
    say who may call."""
    keys = access.volumes(guards)
    container = _container(image, pull_policy, concurrency, token)
    if certificates:
        container["ports"].append({"name": "tls", "containerPort": names.ROUTER_TLS_PORT, "protocol": "TCP"})
    container["volumeMounts"] += [
        {"name": f"tls-{index}", "mountPath": f"{TLS_DIR}/{name}", "readOnly": True}
        for index, name in enumerate(certificates)
    ]
    container["volumeMounts"] += [
        {"name": f"access-{index}", "mountPath": f"{access.ACCESS_DIR}/{place}", "readOnly": True}
        for index, (place, _) in enumerate(keys)
    ]
    return {
        "metadata": {"labels": labels(), "annotations": annotations},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": drain.LONGEST + drain.GRACE,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "runAsGroup": _USER,
                "fsGroup": _USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            **credentials.pulling([], pull_secrets),
            "containers": [container],
            "volumes": [
                {"name": "config", "secret": {"secretName": config, "defaultMode": 0o440}},
                {"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
                *(_certificate(index, name) for index, name in enumerate(certificates)),
                *({"name": f"access-{index}", **source} for index, (_, source) in enumerate(keys)),
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


def _certificate(index: int, name: str) -> Json:
    items = [{"key": key, "path": key} for key in (tls.CERTIFICATE, tls.KEY)]
    return {"name": f"tls-{index}", "secret": {"secretName": name, "defaultMode": 0o440, "items": items}}


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
