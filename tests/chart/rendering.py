"""Render the chart with the real Helm, and read what comes out."""

from __future__ import annotations

import copy
import functools
import json
import subprocess
from pathlib import Path
from typing import Any

import yaml
from tools.cluster import binaries, layout

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "noria"
PUBLIC_KEY = (ROOT / "tests" / "signed" / "p256.pub").read_text()

VARIANTS: dict[str, Json] = {
    "default": {},
    "one replica": {"replicas": 1},
    "namespaced": {"watchNamespaces": ["team-a", "team-b"]},
    "pinned": {
        "images": {
            "registry": "127.0.0.1:5000",
            "operator": {"digest": "sha256:" + "a" * 64, "tag": "ignored"},
            "server": "registry.example/noria/server@sha256:" + "b" * 64,
            "router": {"registry": "other.example", "tag": "1.2"},
            "pullSecrets": [{"name": "registry"}],
        }
    },
    "bare": {
        "crds": {"enabled": False},
        "serviceAccount": {"create": False, "name": "mine"},
        "rbac": {"create": False, "aggregateUserRoles": False},
        "admission": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "masterKey": {"existingSecret": "mine"},
    },
    "everything": {
        "nameOverride": "wheel",
        "commonLabels": {"team": "ml"},
        "allowCodeNamespaces": ["legacy"],
        "privateHosts": ["mirror.example", "10.0.0.0/8"],
        "signatures": {"trustedKeys": [PUBLIC_KEY, PUBLIC_KEY.rstrip()], "requiredNamespaces": ["prod", "*"]},
        "crds": {"keep": False},
        "routers": {
            "maxBodyBytes": 3_000_000_000,
            "gateway": {
                "enabled": True,
                "probes": [
                    {"name": "public", "gateway": "infra/public", "urls": ["http://envoy.infra:8080"]},
                    {
                        "name": "edge",
                        "gateway": "edge/tls",
                        "urls": ["https://10.0.0.1:8443", "https://[fd00::1]"],
                        "host": "edge.example",
                        "caFrom": {"secretName": "authorities", "key": "ca.crt"},
                    },
                ],
            },
        },
        "serviceMonitor": {"enabled": True, "labels": {"release": "stack"}},
        "podMonitors": {"enabled": True, "labels": {"release": "stack"}, "interval": "5s"},
        "prometheusRule": {
            "enabled": True,
            "labels": {"release": "stack"},
            "runbookUrl": "https://runbooks.example/noria/",
            "disabled": ["NoriaQueueSlow"],
            "objectives": {"availability": "0.99", "latencySeconds": "1.0", "modelAgeSeconds": 604800},
        },
        "grafanaDashboards": {"enabled": True, "annotations": {"grafana_folder": "Noria"}},
        "notifications": [
            {"name": "open", "url": "https://hooks.example/a?b=c", "events": ["rollout.aborted"]},
            {
                "name": "chat",
                "urlFrom": {"secretName": "slack", "key": "url"},
                "format": "slack",
                "namespaces": ["prod"],
            },
            {
                "name": "signed",
                "urlFrom": {"secretName": "hooks", "key": "address"},
                "signingKeyFrom": {"secretName": "hooks", "key": "secret"},
            },
        ],
        "metricSources": [
            {"name": "near", "address": "http://prometheus.monitoring:9090"},
            {
                "name": "mimir",
                "address": "https://mimir.example/prometheus",
                "tenant": "models$(a)",
                "tokenFrom": {"secretName": "mimir", "key": "token"},
                "caFrom": {"secretName": "authorities", "key": "ca.crt"},
                "delay": "1m",
            },
        ],
        "countsFrom": "mimir",
        "queryTemplates": [
            {"name": "by-source", "source": "mimir", "query": "up"},
            {
                "name": "error-share",
                "address": "http://prometheus.monitoring:9090",
                "query": 'sum(rate(x{namespace="{{namespace}}",y=~"{{what}}$(a)"}[{{window}}]))',
                "args": {"window": "duration", "what": "label"},
            },
        ],
        "networkPolicy": {"metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]},
        "podAnnotations": {"a.example/b": "c"},
        "podLabels": {"tier": "control"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "system-cluster-critical",
        "serviceAccount": {"annotations": {"a.example/role": "r"}},
    },
}


def helm(*words: str, values: Json | None = None) -> subprocess.CompletedProcess[str]:
    """Run Helm; `values` come in through stdin."""
    binaries.ensure("helm")
    options = [] if values is None else ["--values=-"]
    return subprocess.run(
        [str(layout.binary("helm")), *words, *options],
        input=json.dumps(values or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@functools.cache
def _rendered(values: str, release: str) -> list[Json]:
    done = helm("template", release, str(CHART), "--namespace=noria-system", values=json.loads(values))
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.load_all(done.stdout, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if one]


def objects(values: Json | None = None, *, release: str = "noria") -> list[Json]:
    """The objects of a release with these values."""
    return copy.deepcopy(_rendered(json.dumps(values or {}), release))


def named(found: list[Json], kind: str, name: str) -> Json:
    """The one object of that kind and name."""
    (one,) = [it for it in found if it["kind"] == kind and it["metadata"]["name"] == name]
    return one


def pods(found: list[Json]) -> list[Json]:
    """The pod specs of all objects that make pods."""
    return [
        it["spec"] if it["kind"] == "Pod" else it["spec"]["template"]["spec"]
        for it in found
        if it["kind"] in ("Pod", "Deployment", "Job", "DaemonSet", "StatefulSet")
    ]
