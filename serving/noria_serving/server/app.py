"""The routed port: Open Inference Protocol V2 over HTTP, and feedback. A bare ASGI application.

In: HTTP requests. Out: JSON, always; every error is `{"error": "<sentence>"}`. Invariants: bad input is 4xx,
a model that raises is 500 and nothing else is; every inference request is counted exactly once; a draining
server still answers, and tells its clients to come back elsewhere (`Connection: close`).
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from typing import Any, Final

from noria_serving import contract
from noria_serving.feedback.token import Refusal, Refused
from noria_serving.protocol import BadRequest, encode_tensor
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
from noria_serving.server.request import parse_object, parse_request, render
from noria_serving.server.service import Service, finite
from noria_serving.settings import Settings

log = logging.getLogger(__name__)
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
    """Routes by path; `service` appears when the model is ready."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.service: Service | None = None
        self.draining = False
        self.in_flight = 0
        self.started = time.time()
        self.process = str(uuid.uuid4())
        names = dict.fromkeys((settings.deployment, settings.model))
        self._bases = {
            f"/v2/models/{name}{suffix}": name
            for name in names
            for suffix in ("", f"/versions/{settings.number}")
        }
        self._infer = {f"{base}/infer": name for base, name in self._bases.items()}

    @property
    def ready(self) -> bool:
        return self.service is not None and not self.draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.in_flight += 1
        try:
            status, body, headers = await self._answer(scope, receive)
            if self.draining:
                headers = [*headers, (b"connection", b"close")]
            await respond(send, status, b"" if scope["method"] == "HEAD" else body, headers)
        except Disconnected:
            return
        finally:
            self.in_flight -= 1

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        name = self._infer.get(scope["path"])
        try:
            if name is not None:
                _allow(scope, "POST")
                return await self._inference(scope, receive, name)
            return await self._other(scope, receive)
        except BadRequest as error:
            return error.status, error_body(str(error)), [(b"allow", error.allow)] if error.allow else []

    async def _other(self, scope: Scope, receive: Receive) -> Answer:
        path: str = scope["path"]
        base, _, last = path.rpartition("/")
        if base in self._bases and last == "feedback":
            _allow(scope, "POST")
            return await self._feedback(scope, receive)
        route = self._plain(path, base, last)
        _allow(scope, "GET")
        status, document = route()
        return status, render(document), []

    def _plain(self, path: str, base: str, last: str) -> Callable[[], tuple[int, Any]]:
        """Routes without a body."""
        if path in ("/v2", "/v2/"):
            return lambda: (200, SERVER)
        if path == "/v2/health/live":
            return lambda: (200, {"live": True})
        if path == "/v2/health/ready":
            return lambda: (200 if self.ready else 503, {"live": self.ready, "ready": self.ready})
        if path == "/v2/models":
            return lambda: (200, {"models": list(dict.fromkeys(self._bases.values()))})
        if path in self._bases:
            return lambda: self._metadata(self._bases[path])
        if base in self._bases and last == "ready":
            return lambda: (200 if self.ready else 503, {"name": self._bases[base], "ready": self.ready})
        if path.startswith("/v2/models/"):
            served = list(self._bases)
            raise BadRequest(f"unknown model or path {path!r:.200}; served here: {served}", status=404)
        raise BadRequest(f"unknown path {path!r:.200}", status=404)

    def _metadata(self, name: str) -> tuple[int, Any]:
        service = self._serving()
        loaded = service.loaded
        return 200, {
            "name": name,
            "versions": [self.settings.number],
            "platform": {"onnx": "onnx_onnxruntime"}.get(loaded.manifest.format, "sklearn"),
            **loaded.backend.signature.as_json(),
        }

    def _serving(self) -> Service:
        if self.service is None:
            raise BadRequest("the model is not loaded yet", status=503)
        return self.service

    async def _inference(self, scope: Scope, receive: Receive, name: str) -> Answer:
        service = self._serving()
        started = time.perf_counter()
        try:
            answer = await self._infer_once(service, scope, receive, name)
        except BadRequest as error:
            service.recorder.refused(error.status)
            raise
        if answer[0] >= 500:
            service.recorder.refused(answer[0])
        service.latency.observe(time.perf_counter() - started)
        return answer

    async def _infer_once(self, service: Service, scope: Scope, receive: Receive, name: str) -> Answer:
        if header(scope, b"inference-header-content-length") is not None:
            raise BadRequest("binary tensors are not supported here: send the data as JSON")
        body = await read_body(scope, receive, self.settings.max_body)
        signature = service.loaded.backend.signature
        request = parse_request(body, signature)
        try:
            outputs = await service.predict(request.inputs, request.rows)
        except Exception as error:
            log.warning("model failed", exc_info=error)
            return 500, error_body(f"the model failed: {type(error).__name__}: {error!s:.300}"), []
        if not finite(outputs):
            return 500, error_body("the model gave NaN or infinity, which JSON cannot carry"), []
        token = service.account(request.inputs, outputs)
        document: dict[str, Any] = {"model_name": name, "model_version": self.settings.number}
        if request.id is not None:
            document["id"] = request.id
        headers: Headers = []
        if token is not None:
            document["parameters"] = {contract.FEEDBACK_PARAMETER: token}
            headers.append((TOKEN_HEADER, token.encode()))
        document["outputs"] = [encode_tensor(signature.outputs[i], outputs[i]) for i in request.outputs]
        return 200, render(document), headers

    async def _feedback(self, scope: Scope, receive: Receive) -> Answer:
        service = self._serving()
        document = parse_object(await read_body(scope, receive, self.settings.max_body))
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
            raise BadRequest(
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
    error = BadRequest(f"{scope['method']} is not allowed here; use {method}", status=405)
    error.allow = method.encode()
    raise error
