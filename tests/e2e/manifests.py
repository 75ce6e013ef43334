"""The objects that end-to-end tests apply: small, real models that train in a second."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

TRAIN = """
import os
import numpy as np
from sklearn.linear_model import LogisticRegression
from noria_serving import bundle

rng = np.random.default_rng(int(os.environ["NORIA_SEED"]))
X = rng.normal(size=(400, 3)).astype("float32")
y = (X[:, 0] + 0.5 * rng.normal(size=400) > 0).astype("int64")
bundle.save(LogisticRegression().fit(X, y), X, y, name="tiny").publish()
"""

SAY = "import os; open(os.environ['NORIA_RESULT'], 'w').write({text!r})"
"""A trainer that only says `text` when it ends."""

SMALL = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}


def claim(name: str = "models", *, modes: tuple[str, ...] = ("ReadWriteOnce",)) -> Json:
    """A claim on the default storage class."""
    spec = {"accessModes": list(modes), "resources": {"requests": {"storage": "1Gi"}}}
    return {"kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def training_job(name: str, image: str, *, code: str = TRAIN, model: str = "tiny", **spec: Any) -> Json:
    """A TrainingJob that runs `code` with Python in `image`."""
    return {
        "kind": "TrainingJob",
        "metadata": {"name": name},
        "spec": {
            "model": model,
            "image": image,
            "command": ["python3", "-c", code],
            "output": {"uri": f"pvc://models/{model}"},
            "retries": 0,
            "resources": SMALL,
            **spec,
        },
    }


def model_deployment(name: str = "tiny", *, model: str = "tiny", **spec: Any) -> Json:
    """A ModelDeployment of two pods behind two routers."""
    defaults: Json = {"model": model, "replicas": 2, "server": {"resources": SMALL}}
    return {"kind": "ModelDeployment", "metadata": {"name": name}, "spec": {**defaults, **spec}}


def autoscaler(name: str, *, least: int, most: int | None = None, cpu_percent: int = 80) -> Json:
    """An autoscaler of a ModelDeployment, without the patience that it has by default.

    Without a metrics server it still holds its least number.
    """
    target = {"apiVersion": "noria.dev/v1alpha1", "kind": "ModelDeployment", "name": name}
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": cpu_percent}}
    spec = {
        "scaleTargetRef": target,
        "minReplicas": least,
        "maxReplicas": most or least + 1,
        "metrics": [{"type": "Resource", "resource": cpu}],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    }
    return {"kind": "HorizontalPodAutoscaler", "metadata": {"name": name}, "spec": spec}


def tampering(name: str, image: str, path: str) -> Json:
    """A pod of somebody else that appends a byte to a file in the claim `models`."""
    return running(name, image, f"open({path!r}, 'ab').write(b'!')")


def running(name: str, image: str, code: str, *arguments: str) -> Json:
    """A pod that runs `code` with Python, with the claim `models` at /models."""
    security = {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "main",
        "image": image,
        "command": ["python3", "-c", code, *arguments],
        "volumeMounts": [{"name": "models", "mountPath": "/models"}],
        "securityContext": security,
    }
    volume = {"name": "models", "persistentVolumeClaim": {"claimName": "models"}}
    spec = {"restartPolicy": "Never", "containers": [container], "volumes": [volume]}
    return {"kind": "Pod", "metadata": {"name": name}, "spec": spec}
