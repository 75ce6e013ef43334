"""Answers of an API server by hand, for tests of what is sent and when.

Convergence is tested on a real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from noria_operator.kube.client import Answer, Client
from noria_operator.kube.kinds import Json
from noria_operator.kube.login import Endpoint
from noria_operator.kube.requests import Request

Respond = Callable[[Request], Answer]


class Scripted(Client):
    """A client whose requests are recorded, with their time, and answered by a function."""

    def __init__(self, respond: Respond) -> None:
        super().__init__(Endpoint("http://none"))
        self.respond = respond
        self.sent: list[tuple[float, Request]] = []

    async def send(self, request: Request) -> Answer:
        await asyncio.sleep(0)
        self.sent.append((asyncio.get_running_loop().time(), request))
        return self.respond(request)

    @property
    def verbs(self) -> list[str]:
        return [request.verb for _, request in self.sent]


class LoopClock:
    """Wall-clock time that goes with the virtual time of the loop."""

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=asyncio.get_running_loop().time())


def refusal(status: int, reason: str = "", **answer: Any) -> Answer:
    """An answer that is no success."""
    return Answer(status, {"kind": "Status", "reason": reason, "message": "no"}, **answer)


def namespace_terminating(namespace: str = "ns") -> Answer:
    """What Kubernetes 1.34 answers to a create in a namespace that is being deleted."""
    about = f'secrets "a" is forbidden: unable to create new content in namespace {namespace} because it is'
    cause = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {namespace} is being terminated",
        "field": "metadata.namespace",
    }
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"{about} being terminated",
        "reason": "Forbidden",
        "details": {"name": "a", "kind": "secrets", "causes": [cause]},
        "code": 403,
    }
    return Answer(403, body)


def obj(
    name: str = "a",
    *,
    version: int = 1,
    uid: str | None = None,
    api: tuple[str, str] = ("apps/v1", "Deployment"),
    labels: dict[str, str] | None = None,
    owner: str | None = None,
    **rest: Any,
) -> Json:
    """An object as the API server would show it."""
    meta: Json = {
        "name": name,
        "namespace": "ns",
        "uid": uid or f"uid-{name}",
        "resourceVersion": str(version),
        "labels": labels if labels is not None else {"app.kubernetes.io/managed-by": "noria"},
    }
    if owner is not None:
        reference = {"apiVersion": "noria.dev/v1alpha1", "kind": "ModelDeployment", "name": "md"}
        meta["ownerReferences"] = [{**reference, "uid": owner, "controller": True}]
    return {"apiVersion": api[0], "kind": api[1], "metadata": meta, **rest}
