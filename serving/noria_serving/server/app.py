"""The routed port: Open Inference Protocol V2 over HTTP, and feedback. A bare ASGI application.

In: HTTP requests. Out: JSON, always; every error is `{"error": "<sentence>"}`. Invariants: bad input is 4xx,
a model that raises is 500 and nothing else is; every inference request is counted exactly once; a draining
server still answers, and tells its clients to come back elsewhere (`Connection: close`).
"""

from __future__ import annotations

import time
from typing import Any, Final

from noria_serving import contract
from noria_serving.feedback.token import Refusal, Refused
from noria_serving.protocol import v2
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.inference import InferRequest
from noria_serving.protocol.v2 import parse_object, render
from noria_serving.server.http import (
    Disconnected,
    Headers,
    Receive,
    Scope,
    Send,
    error_body,
    header,
    read_body,
    respond,
)
from noria_serving.server.models import Models
from noria_serving.server.service import Service

Answer = tuple[int, bytes, Headers]
SERVER: Final = {"name": "noria", "version": "0.1.0", "extensions": ["noria_feedback"]}
MAX_ITEMS: Final = 4096
TOKEN_HEADER: Final = contract.FEEDBACK_HEADER.lower().encode()
STATUSES: Final = {
    Refusal.INVALID: 400,
    Refusal.FOREIGN: 403,
    Refusal.FORGED: 403,
    Refusal.EXPIRED: 410,
    Refusal.DUPLICATE: 409,
}


class App:
    """Routes by path."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self._max_body = models.settings.max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            status, body, headers = await self._answer(scope, receive)
            if self.models.draining:
                headers = [*headers, (b"connection", b"close")]
            await respond(send, status, b"" if scope["method"] == "HEAD" else body, headers)
        except Disconnected:
            return

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        try:
            match scope["path"].split("/"):
                case ["", "v2", "models", name, "infer"]:
                    return await self._inference(scope, receive, name, None)
                case ["", "v2", "models", name, "versions", version, "infer"]:
                    return await self._inference(scope, receive, name, version)
                case ["", "v2", "models", name, *rest]:
                    return await self._model(scope, receive, name, rest)
            return self._server(scope)
        except RequestError as error:
            return error.status, error_body(str(error)), [*error.headers]

    def _server(self, scope: Scope) -> Answer:
        """Routes that name no model."""
        models = self.models
        document: dict[str, Any]
        match scope["path"]:
            case "/v2" | "/v2/":
                status, document = 200, SERVER
            case "/v2/health/live":
                status, document = 200, {"live": True}
            case "/v2/health/ready":
                status = 200 if models.ready else 503
                document = {"live": models.ready, "ready": models.ready}
            case "/v2/models":
                status, document = 200, {"models": models.names()}
            case path:
                raise RequestError(f"unknown path {path!r:.200}", status=404)
        _allow(scope, "GET")
        return status, render(document), []

    async def _model(self, scope: Scope, receive: Receive, name: str, rest: list[str]) -> Answer:
        """Routes of one model or version but inference."""
        version = None
        if rest[:1] == ["versions"] and len(rest) > 1:
            version, rest = rest[1], rest[2:]
        match rest:
            case []:
                _allow(scope, "GET")
                return 200, render(self._metadata(name, self.models.find(name, version))), []
            case ["ready"]:
                _allow(scope, "GET")
                return self._model_ready(name, version)
            case ["feedback"]:
                _allow(scope, "POST")
                return await self._feedback(scope, receive, self.models.find(name, version))
        raise RequestError(f"unknown path {scope['path']!r:.200}", status=404)

    def _model_ready(self, name: str, version: str | None) -> Answer:
        try:
            self.models.find(name, version)
            ready = not self.models.draining
        except RequestError as error:
            if error.status != 503:
                raise
            ready = False
        return 200 if ready else 503, render({"name": name, "ready": ready}), []

    def _metadata(self, name: str, service: Service) -> dict[str, Any]:
        return {
            "name": name,
            "versions": self.models.versions(name),
            "platform": {"onnx": "onnx_onnxruntime"}.get(service.loaded.manifest.format, "sklearn"),
            **service.signature.as_json(),
        }

    async def _inference(self, scope: Scope, receive: Receive, name: str, version: str | None) -> Answer:
        _allow(scope, "POST")
        service = self.models.find(name, version)
        started = time.perf_counter()
        try:
            request = await self._read(scope, receive, service)
        except RequestError as error:
            service.refused(error.status)
            raise
        answer = await service.infer(request)
        number = service.settings.number
        body, headers = v2.encode(answer, request, service.signature, name=name, version=number)
        if answer.token is not None:
            headers.append((TOKEN_HEADER, answer.token.encode()))
        service.latency.observe(time.perf_counter() - started)
        return 200, body, headers

    async def _read(self, scope: Scope, receive: Receive, service: Service) -> InferRequest:
        if header(scope, b"inference-header-content-length") is not None:
            raise RequestError("binary tensors are not supported here: send the data as JSON")
        return v2.decode(await read_body(scope, receive, self._max_body), service.signature)

    async def _feedback(self, scope: Scope, receive: Receive, service: Service) -> Answer:
        document = parse_object(await read_body(scope, receive, self._max_body))
        if "items" in document:
            return self._feedback_batch(service, document["items"])
        sent = header(scope, TOKEN_HEADER)
        token = document.get("token", sent.decode("latin-1") if sent else None)
        try:
            rows = service.desk.accept(token, document.get("labels"), time.time())
        except Refused as refused:
            body = render({"error": str(refused), "reason": str(refused.refusal)})
            return STATUSES[refused.refusal], body, []
        return 200, render({"result": "matched", "rows": rows}), []

    def _feedback_batch(self, service: Service, items: object) -> Answer:
        if not isinstance(items, list) or len(items) > MAX_ITEMS:
            raise RequestError(
                f"`items` must be a list of at most {MAX_ITEMS} objects with `token` and `labels`"
            )
        results, now = [], time.time()
        for item in items:
            fields = item if isinstance(item, dict) else {}
            try:
                rows = service.desk.accept(fields.get("token"), fields.get("labels"), now)
                results.append({"result": "matched", "rows": rows})
            except Refused as refused:
                results.append({"result": str(refused.refusal), "error": str(refused)})
        matched = sum(1 for entry in results if entry["result"] == "matched")
        return 200, render({"matched": matched, "results": results}), []


def _allow(scope: Scope, method: str) -> None:
    if scope["method"] == method or (scope["method"] == "HEAD" and method == "GET"):
        return
    raise RequestError(
        f"{scope['method']} is not allowed here; use {method}",
        status=405,
        headers=[(b"allow", method.encode())],
    )
