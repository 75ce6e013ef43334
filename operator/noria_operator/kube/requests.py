"""Requests to the API server as data: what to send, prepared without sending it.

Kept apart from the client so that every header, parameter and body can be tested without a network, and so
that fault injection has one narrow place to look at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from noria_operator.kube.kinds import Json, Kind

Labels = str | Mapping[str, str]
Propagation = Literal["Background", "Foreground", "Orphan"]

PAGE = 500
"""Objects a page of a LIST; the API server's own clients use the same."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request to the API server. `verb` is Kubernetes' word for it, as in RBAC rules."""

    verb: str
    method: str
    kind: Kind
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    body: Json | None = None

    @property
    def writes(self) -> bool:
        """Whether it changes something in the cluster."""
        return self.method != "GET"

    def encoded(self) -> bytes | None:
        """The body as bytes; compact, since the API server counts them."""
        return None if self.body is None else json.dumps(self.body, separators=(",", ":")).encode()


def get(kind: Kind, namespace: str, name: str) -> Request:
    return Request("get", "GET", kind, kind.path(namespace, name))


def list_page(
    kind: Kind,
    namespace: str | None,
    labels: Labels | None = None,
    token: str | None = None,
    *,
    limit: int = PAGE,
) -> Request:
    params = {"limit": str(limit)}
    if labels:
        params["labelSelector"] = selector(labels)
    if token:
        params["continue"] = token
    return Request("list", "GET", kind, kind.path(namespace), params)


def create(kind: Kind, namespace: str, body: Json) -> Request:
    return Request(
        "create", "POST", kind, kind.path(namespace), {"fieldManager": "noria"}, body=typed(kind, body)
    )


def apply(kind: Kind, namespace: str, body: Json, *, manager: str, force: bool) -> Request:
    params = {"fieldManager": manager, "force": str(force).lower()}
    path = kind.path(namespace, body["metadata"]["name"])
    return Request("patch", "PATCH", kind, path, params, "application/apply-patch+yaml", typed(kind, body))


def apply_status(
    kind: Kind, namespace: str, name: str, status: Json, *, resource_version: str | None
) -> Request:
    meta: dict[str, Any] = {"name": name, "namespace": namespace}
    if resource_version is not None:
        meta["resourceVersion"] = resource_version
    body = typed(kind, {"metadata": meta, "status": status})
    params = {"fieldManager": "noria", "force": "true"}
    path = kind.path(namespace, name, "status")
    return Request("patch", "PATCH", kind, path, params, "application/apply-patch+yaml", body)


def merge(kind: Kind, namespace: str, name: str, body: Json) -> Request:
    params = {"fieldManager": "noria"}
    path = kind.path(namespace, name)
    return Request("patch", "PATCH", kind, path, params, "application/merge-patch+json", body)


def update(kind: Kind, namespace: str, body: Json) -> Request:
    path = kind.path(namespace, body["metadata"]["name"])
    return Request("update", "PUT", kind, path, {"fieldManager": "noria"}, body=typed(kind, body))


def delete(kind: Kind, namespace: str, name: str, *, uid: str | None, propagation: Propagation) -> Request:
    body: Json = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
    if uid is not None:
        body["preconditions"] = {"uid": uid}
    return Request("delete", "DELETE", kind, kind.path(namespace, name), body=body)


def selector(labels: Labels) -> str:
    """A label selector: a mapping becomes equalities, a string is taken as it is."""
    return labels if isinstance(labels, str) else ",".join(f"{k}={v}" for k, v in sorted(labels.items()))


def typed(kind: Kind, body: Json) -> Json:
    """The body with `apiVersion` and `kind`, which builders need not repeat."""
    return {**body, "apiVersion": kind.api_version, "kind": kind.kind}
