"""The counters' port: `/counters` for the operator, `/metrics` for Prometheus. Never routed, read by machines
only.

In: GET requests. Out: counts as of now. Invariant: every answer is folded first, so it holds all answered
requests.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qs

from noria_serving import contract
from noria_serving.protocol.v2 import render
from noria_serving.server.http import Receive, Scope, Send, error_body, respond
from noria_serving.server.models import Models
from noria_serving.server.service import Service


class CountersApp:
    """Reads the counters of all models."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._exporter: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path, method = scope["path"], scope["method"]
        if path not in (contract.COUNTERS_PATH, "/metrics"):
            await respond(send, 404, error_body(f"unknown path {path!r:.100}"), [])
        elif method != "GET":
            await respond(
                send, 405, error_body(f"{method} is not allowed here; use GET"), [(b"allow", b"GET")]
            )
        elif path == "/metrics":
            await self._metrics(send)
        elif (service := next(self._models.services(), None)) is None:
            await respond(send, 503, error_body("the model is not loaded yet"), [])
        else:
            await self._counters(scope, send, service)

    async def _counters(self, scope: Scope, send: Send, service: Service) -> None:
        since = parse_qs(scope["query_string"].decode("latin-1")).get("since", [None])[0]
        try:
            when = None if since is None else float(since)
        except ValueError:
            await respond(send, 400, error_body("`since` must be a Unix time in seconds"), [])
            return
        await respond(send, 200, render(_document(service, when, time.time())), [])

    async def _metrics(self, send: Send) -> None:
        if self._exporter is None:
            from noria_serving.counters.prometheus import Exporter  # noqa: PLC0415  only where somebody scrapes

            self._exporter = Exporter(self._models)
        kind = (b"content-type", self._exporter.content_type)
        body = self._exporter.render()
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [kind, length]})
        await send({"type": "http.response.body", "body": body})


def _document(service: Service, since: float | None, now: float) -> dict[str, Any]:
    """The body of `/counters`; with `since`, what was counted after the snapshot named in `from`."""
    service.recorder.fold()
    state, origin = service.recorder.state, service.loaded_at
    vector = state.vector
    if since is not None:
        origin, older = service.ring.since(since)
        vector = state.difference(older)
    settings = service.settings
    return {
        "schema": contract.COUNTERS_SCHEMA,
        "namespace": settings.namespace,
        "deployment": settings.deployment,
        "version": settings.version,
        "digest": service.loaded.manifest.digest,
        "process": service.process,
        "started": service.loaded_at,
        "at": now,
        "from": origin,
        **state.as_json(vector),
    }
