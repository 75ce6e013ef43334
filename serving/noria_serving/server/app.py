"""The routed port: a bare ASGI application that finds who answers a path.

In: HTTP requests. Out: answers; every error is `{"error": "<sentence>"}`. Invariants: bad input is 4xx, a
model that raises is 500 and nothing else is; no answer begins before its request is whole, where that takes
neither long nor much; a draining server still answers, and tells its clients to come back elsewhere
(`Connection: close`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from noria_serving.protocol.errors import FAULT, RequestError
from noria_serving.server.http import (
    ARRIVED,
    CLOSE,
    Answer,
    Call,
    Disconnected,
    Receive,
    Scope,
    Send,
    error,
    respond,
)
from noria_serving.server.models import Models
from noria_serving.server.routes import description, feedback, inference, openapi, page, repository

log = logging.getLogger(__name__)


class App:
    """Routes by path."""

    def __init__(self, models: Models) -> None:
        self.models = models

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        call = Call(scope, receive, self.models.inbox)
        try:
            status, body, headers = await self._route(call)
        except RequestError as refused:
            status, body, headers = error(str(refused), refused.status, refused.headers)
        except Disconnected:
            return
        except asyncio.CancelledError:  # the client is gone, which makes sending do nothing, or time is over
            status, body, headers = error("the server ends before it could answer; try again", 503)
            call.coming = False
        except Exception:
            log.exception("request failed")
            status, body, headers = error(FAULT, 500)
        finally:
            call.release()
        if ARRIVED not in scope:
            await call.discard()
        if self.models.draining:
            headers = [*headers, CLOSE]
        await respond(scope, send, status, body, headers)

    async def _route(self, call: Call) -> Answer:
        models = self.models
        match call.path.split("/"):
            case ["", "v2", "models", name, "infer"]:
                answer = inference.infer(models, call, name, None)
            case ["", "v2", "models", name, "versions", version, "infer"]:
                answer = inference.infer(models, call, name, version)
            case ["", "v2", "models", name, "versions", version, *rest]:
                answer = self._model(call, name, version, rest)
            case ["", "v2", "models", name, *rest] if name:
                answer = self._model(call, name, None, rest)
            case ["", "v2", "repository", "index"]:
                answer = repository.index(models, call)
            case ["", "v2", "repository", "models", name, ("load" | "unload") as command]:
                answer = repository.change(models, call, name, command)
            case ["", "v1", "models", last] if last:
                answer = self._v1(call, last)
            case _:
                return self._server(call)
        return await answer

    async def _model(self, call: Call, name: str, version: str | None, rest: list[str]) -> Answer:
        """What one model or version answers, but inference."""
        match rest:
            case []:
                call.allow("GET")
                return description.model(self.models, name, version)
            case ["ready"]:
                call.allow("GET")
                return description.model_ready(self.models, name, version)
            case ["feedback"]:
                return await feedback.accept(self.models, call, name, version)
        raise _unknown(call)

    async def _v1(self, call: Call, last: str) -> Answer:
        name, colon, verb = last.rpartition(":")
        if colon and verb == "predict":
            return await inference.predict(self.models, call, name)
        if colon:
            said = "this server explains nothing" if verb == "explain" else f"there is no verb {verb!r:.60}"
            raise RequestError(f"{said}; POST to :predict for predictions", status=404)
        call.allow("GET")
        return description.model_ready(self.models, last, None)

    def _server(self, call: Call) -> Answer:
        """Routes that name no model."""
        models = self.models
        if call.path == "/" and b"text/html" in call.headers.get(b"accept", b""):
            call.allow("GET")
            return page.show(models)
        routes: dict[str, Callable[[], Answer]] = {
            "/": description.alive,
            "/openapi.json": lambda: openapi.describe(models),
            "/v2": description.server,
            "/v2/": description.server,
            "/v2/health/live": lambda: description.live(models),
            "/v2/health/ready": lambda: description.ready(models),
            "/v2/models": lambda: description.names(models),
            "/v1/models": lambda: description.names(models),
        }
        route = routes.get(call.path)
        if route is None:
            raise _unknown(call)
        call.allow("GET")
        return route()


def _unknown(call: Call) -> RequestError:
    return RequestError(f"unknown path {call.path!r:.200}", status=404)
