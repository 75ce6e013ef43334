"""The objects that every new cluster gets: what CoreDNS and the storage provisioner may do, the StorageClass."""

from __future__ import annotations

from typing import Any

from tools.cluster.api import Api
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
    _put(api, "/api/v1/namespaces", "v1", "Namespace", STORAGE_NAMESPACE, {})
    scripts = {"data": {"setup": SETUP, "teardown": TEARDOWN}}
    maps = f"/api/v1/namespaces/{STORAGE_NAMESPACE}/configmaps"
    _put(api, maps, "v1", "ConfigMap", "local-path-config", scripts)
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    storage = {
        "provisioner": "rancher.io/local-path",
        "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Delete",
    }
    group = "storage.k8s.io/v1"
    _put(api, f"/apis/{group}/storageclasses", group, "StorageClass", "local-path", storage, default)


def _allow(api: Api, user: str, rules: list[dict[str, Any]]) -> None:
    group = "rbac.authorization.k8s.io"
    _put(api, f"{RBAC}/clusterroles", f"{group}/v1", "ClusterRole", user, {"rules": rules})
    binding = {
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": user},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }
    _put(api, f"{RBAC}/clusterrolebindings", f"{group}/v1", "ClusterRoleBinding", user, binding)


def _put(
    api: Api,
    collection: str,
    version: str,
    kind: str,
    name: str,
    content: dict[str, Any],
    annotations: dict[str, str] | None = None,
) -> None:
    metadata: dict[str, Any] = {"name": name}
    if annotations:
        metadata["annotations"] = annotations
    body = {"apiVersion": version, "kind": kind, "metadata": metadata, **content}
    api.apply(f"{collection}/{name}", body)
