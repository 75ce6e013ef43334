"""The objects of every new cluster: what CoreDNS and the storage provisioner may do, the StorageClass."""

from __future__ import annotations

from typing import Any

from tools.cluster.api import Api, Json
from tools.cluster.node import STORAGE_NAMESPACE

READ = ["get", "list", "watch"]
WRITE = [*READ, "create", "patch", "update", "delete"]
RBAC = "/apis/rbac.authorization.k8s.io/v1"

DNS_RULES = [
    {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
]
STORAGE_RULES = [
    {
        "apiGroups": [""],
        "resources": ["nodes", "persistentvolumeclaims", "configmaps", "pods/log"],
        "verbs": READ,
    },
    {"apiGroups": [""], "resources": ["persistentvolumes", "pods"], "verbs": WRITE},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
    {"apiGroups": ["storage.k8s.io"], "resources": ["storageclasses"], "verbs": READ},
]
SETUP = '#!/bin/sh\nset -eu\nmkdir -m 0777 -p "$VOL_DIR"\n'
TEARDOWN = '#!/bin/sh\nset -eu\nrm -rf "$VOL_DIR"\n'


def install(api: Api) -> None:
    """Apply all of them; applying them again changes nothing."""
    for user, rules in (("system:coredns", DNS_RULES), ("system:local-path-provisioner", STORAGE_RULES)):
        _allow(api, user, rules)
    _put(api, "/api/v1/namespaces", _object("v1", "Namespace", STORAGE_NAMESPACE))
    scripts = _object("v1", "ConfigMap", "local-path-config", data={"setup": SETUP, "teardown": TEARDOWN})
    _put(api, f"/api/v1/namespaces/{STORAGE_NAMESPACE}/configmaps", scripts)
    storage = _object(
        "storage.k8s.io/v1",
        "StorageClass",
        "local-path",
        provisioner="rancher.io/local-path",
        volumeBindingMode="WaitForFirstConsumer",
        reclaimPolicy="Delete",
    )
    storage["metadata"]["annotations"] = {"storageclass.kubernetes.io/is-default-class": "true"}
    _put(api, "/apis/storage.k8s.io/v1/storageclasses", storage)


def _allow(api: Api, user: str, rules: list[Json]) -> None:
    group = "rbac.authorization.k8s.io"
    _put(api, f"{RBAC}/clusterroles", _object(f"{group}/v1", "ClusterRole", user, rules=rules))
    binding = _object(
        f"{group}/v1",
        "ClusterRoleBinding",
        user,
        roleRef={"apiGroup": group, "kind": "ClusterRole", "name": user},
        subjects=[{"apiGroup": group, "kind": "User", "name": user}],
    )
    _put(api, f"{RBAC}/clusterrolebindings", binding)


def _object(version: str, kind: str, name: str, **content: Any) -> Json:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **content}


def _put(api: Api, collection: str, body: Json) -> None:
    api.apply(f"{collection}/{body['metadata']['name']}", body)
