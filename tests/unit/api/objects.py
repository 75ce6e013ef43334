"""One good object of each kind, with every field that its kind has."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
SHA = "sha256:" + "a" * 64


def _object(kind: str, name: str, spec: Json) -> Json:
    return {"apiVersion": "noria.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


TRAINING = _object(
    "TrainingJob",
    "flight-delay-1",
    {
        "model": "flight-delay",
        "image": "registry:5000/flights-train@" + SHA,
        "command": ["python", "train.py"],
        "args": ["--fast"],
        "params": {"max_depth": "6"},
        "seed": 7,
        "data": [
            {"name": "train", "uri": "s3://lake/flights/", "digest": "md5:" + "0" * 32, "secretName": "lake"},
            {"name": "holdout", "uri": "pvc://lake/days", "select": {"by": "day", "last": 60, "skip": 1}},
        ],
        "output": {"uri": "pvc://models/flight-delay", "keep": 5},
        "deployment": "flight-delay",
        "evaluation": {"data": "holdout", "label": "late", "metrics": ["logloss"]},
        "gates": [
            {"metric": "auc", "min": "0.65"},
            {"metric": "logloss", "max": "0.6"},
            {"metric": "auc", "versus": "champion", "maxDrop": "0.01"},
            {"metric": "auc", "versus": "champion", "minDelta": "0"},
            {"metric": "auc", "versus": "champion", "maxDrop": "0", "bySlice": True, "minRows": 50},
        ],
        "slices": [{"feature": "carrier", "values": ["AA"]}, {"feature": "age", "bounds": ["25", "40"]}],
        "env": [{"name": "OMP_NUM_THREADS", "value": "1"}, {"name": "PATHS", "value": "a"}],
        "envFrom": [{"secretRef": {"name": "a"}}, {"configMapRef": {"name": "b"}}],
        "resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"nvidia.com/gpu": "1"}},
        "nodeSelector": {"disktype": "ssd"},
        "tolerations": [
            {"operator": "Exists"},
            {
                "key": "gpu",
                "operator": "Equal",
                "value": "yes",
                "effect": "NoExecute",
                "tolerationSeconds": 0,
            },
        ],
        "affinity": {"nodeAffinity": {"anything": [None]}},
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone"}],
        "imagePullSecrets": [{"name": "registry"}],
        "serviceAccountName": "trainer",
        "priorityClassName": "low",
        "retries": 0,
        "deadlines": {"pending": "30m", "active": "1h30m"},
        "suspend": False,
        "ttlSecondsAfterFinished": 0,
    },
)

VERSION = _object(
    "ModelVersion",
    "flight-delay-4",
    {
        "model": "flight-delay",
        "version": 4,
        "artifact": {"uri": "s3://models/flight-delay/4", "digest": SHA, "format": "onnx", "secretName": "s"},
        "signature": {
            "inputs": [{"name": "hour", "datatype": "FP32", "shape": [-1, 1]}],
            "outputs": [{"name": "late", "datatype": "FP32", "shape": [-1]}],
        },
        "lineage": {
            "trainingJob": {"name": "flight-delay-1", "uid": "u"},
            "image": "i",
            "git": "abc",
            "data": [{"name": "train", "uri": "s3://lake/flights", "digest": "md5:0"}],
            "params": {"max_depth": "6"},
            "seed": 7,
            "parent": "flight-delay-3",
            "trigger": {"reason": "Performance", "name": "quality", "value": "0.61", "samples": 500},
        },
        "evaluation": {
            "metrics": {"auc": "0.71"},
            "rows": 100,
            "digest": SHA,
            "versus": {"version": "flight-delay-3", "metrics": {"auc": "0.7"}},
            "slices": [
                {
                    "feature": "age",
                    "group": "25..40",
                    "rows": 60,
                    "metric": "auc",
                    "challenger": "0.7",
                    "champion": "0.69",
                    "error": "0.01",
                }
            ],
        },
        "reference": {"digest": SHA, "features": 12, "samples": 51955},
        "speed": {"speedup": "24.6", "microseconds": "7.31"},
        "card": "# Flights\n",
        "aliases": ["prod"],
        "hold": False,
    },
)

DEPLOYMENT = _object(
    "ModelDeployment",
    "flight-delay",
    {
        "model": "flight-delay",
        "follow": "Approved",
        "replicas": 2,
        "hosts": ["flights.example.com"],
        "server": {
            "runtime": "custom",
            "image": "my/server:1",
            "command": ["serve"],
            "args": ["-v"],
            "port": 9000,
            "healthPath": "/healthz",
            "terminationSeconds": 30,
            "env": [{"name": "A", "value": "b"}],
        },
        "strategy": {
            "steps": [
                {
                    "mirror": 100,
                    "match": [{"name": "x-canary", "value": "always"}],
                    "replicas": "50%",
                    "analysis": {},
                },
                {"weight": 10, "minRequests": 500, "replicas": 3},
                {"pause": True, "duration": "1h"},
                {"ramp": "Auto", "from": 12, "weight": 50, "duration": "5m"},
            ],
            "analysis": {
                "errors": {"tolerated": "0.01"},
                "latency": {"quantile": "0.9", "factor": "2"},
                "queries": [
                    {
                        "name": "late-orders",
                        "template": "share",
                        "args": {"window": "5m"},
                        "successCondition": "result[0] < 0.05",
                        "failureCondition": "result[0] > 0.1",
                        "interval": "30s",
                        "count": 10,
                        "initialDelay": "1m",
                        "failureLimit": 1,
                        "inconclusiveLimit": 2,
                        "consecutiveErrorLimit": 3,
                    }
                ],
                "interval": "10s",
                "minDuration": "0s",
                "maxHold": "1h",
                "onMaxHold": "Pause",
            },
            "type": "RollingUpdate",
            "sticky": {"header": "x-user"},
            "preview": True,
            "progressDeadline": "10m",
            "keepPrevious": "0s",
            "retry": {"limit": 3, "delay": "10m"},
        },
        "router": {"type": "Envoy", "replicas": 2, "timeout": "30s", "tls": {"secretName": "flights-tls"}},
    },
)

CONTINUOUS = _object(
    "ContinuousTraining",
    "flight-delay",
    {
        "deployment": "flight-delay",
        "triggers": [
            {
                "name": "quality",
                "performance": {
                    "metric": "auc",
                    "relativeDrop": "0.05",
                    "minLabels": 500,
                    "for": 2,
                    "window": "1h",
                },
            },
            {"name": "floor", "performance": {"metric": "accuracy", "min": "0.7"}},
            {"name": "ceiling", "performance": {"metric": "logloss", "max": "0.7"}},
            {"name": "weekly", "schedule": "0 2 * * 1", "timeZone": "Europe/Berlin"},
        ],
        "cooldown": "6h",
        "budget": {"maxRuns": 10, "per": "168h"},
        "concurrencyPolicy": "Forbid",
        "suspend": False,
        "historyLimit": 10,
        "template": {
            "spec": {
                "model": "flight-delay",
                "image": "i",
                "output": {"uri": "pvc://models/flight-delay"},
                "data": [{"name": "holdout", "uri": "pvc://lake/days"}],
                "evaluation": {"data": "holdout", "label": "late"},
                "gates": [{"metric": "auc", "versus": "champion", "maxDrop": "0.01"}],
            }
        },
    },
)

BASES = {"tj": TRAINING, "mv": VERSION, "md": DEPLOYMENT, "ct": CONTINUOUS}
