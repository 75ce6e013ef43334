"""A thousand models with two pods each, as the operator's cache would hold them; their pods' addresses are on
loopback.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

from noria_operator.api import names
from noria_operator.api.types import parse_duration
from noria_operator.domain.serving_children import selector
from noria_operator.domain.training_times import stamp
from noria_operator.kube.kinds import CONTINUOUSTRAINING, MODELDEPLOYMENT, MODELVERSION, POD, Kind

Json = dict[str, Any]
NAMESPACE = "bench"
PODS = 2
EVERY = 15.0
"""Seconds after which each pod is read again, and the operator's metrics too."""
BEFORE = datetime(2026, 1, 1, tzinfo=UTC)

TRIGGERS: list[Json] = [
    {"name": "quality", "performance": {"metric": "logloss", "relativeDrop": "0.05", "window": "1h"}},
    {"name": "drift", "drift": {"window": "1h"}},
    {"name": "dirty", "dataQuality": {"window": "15m"}},
]
"""What the documentation's first example watches, and broken data; windows as long as they are unless asked
for others (that of labels has no usual length).
"""


def address(model: int, pod: int) -> str:
    """127.1.0.1 and up."""
    return f"127.{1 + pod}.{model // 250}.{model % 250 + 1}"


def model_of(ip: str) -> int:
    """The model whose pod has this address."""
    _, _, high, low = map(int, ip.split("."))
    return 250 * high + low - 1


def model(number: int) -> list[Json]:
    """All objects of one model."""
    name = f"m{number}"
    deployed = _own(MODELDEPLOYMENT, name, {"model": name})
    target = {"name": f"{name}-1-aaaaaa", "version": f"{name}-1", "revision": "aaaaaa"}
    deployed["status"] = {"phase": "Healthy", "stable": target}
    version = _own(MODELVERSION, f"{name}-1", {"model": name, "version": 1})
    job = {"model": name, "image": "bench/none@sha256:" + "0" * 64, "output": {"uri": "s3://bench/models"}}
    spec = {"deployment": name, "triggers": TRIGGERS, "template": {"spec": job}}
    return [
        deployed,
        version,
        _own(CONTINUOUSTRAINING, name, spec),
        *(_pod(deployed, number, pod) for pod in range(PODS)),
    ]


def observed(first: Json, number: int, share: float, now: datetime) -> Json:
    """The status of a model, as that of the first one is, whose windows have gone on for this share of their
    length.
    """
    status: Json = json.loads(re.sub(r"\bm0\b", f"m{number}", json.dumps(first)))
    for entry, asked in zip(status["triggers"], TRIGGERS, strict=True):
        (policy,) = (value for name, value in asked.items() if name != "name")
        ago = parse_duration(policy["window"]) * share
        entry["windowStartedAt"] = stamp(now - ago)
    return status


def _pod(deployed: Json, number: int, pod: int) -> Json:
    name, uid = deployed["metadata"]["name"], deployed["metadata"]["uid"]
    made = _own(POD, f"{name}-{pod}", {"containers": [{"ports": [{"name": "counters"}]}]})
    made["metadata"]["labels"] = {**selector(name, uid), names.MANAGED_BY_LABEL: names.MANAGED_BY}
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": stamp(BEFORE)}
    made["status"] = {"podIP": address(number, pod), "conditions": [ready]}
    return made


def _own(kind: Kind, name: str, spec: Json) -> Json:
    meta = {
        "name": name, "namespace": NAMESPACE, "uid": f"{kind.plural}-{name}", "generation": 1,
        "resourceVersion": "1", "creationTimestamp": stamp(BEFORE),
    }  # fmt: skip
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta, "spec": spec}
