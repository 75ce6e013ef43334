"""The counters' port: `/counters`, `/reference` and `/answers` for the operator, `/metrics` for Prometheus
(and `/metrics/counts`, where the operator asks that). Never routed, read by machines only.

In: GET requests. Out: counts as of now: `/metrics` of all models, `/counters` of one version (`?model=` and
`version=`; without them the only one, or the first), its frozen bins in `/reference`, its newest answers in
`/answers`. Invariant: counts are folded first, so they hold all answered requests.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

from noria_serving import contract, reference
from noria_serving.counters import counts
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.v2 import JSON, render
from noria_serving.server.http import Answer, Call, Receive, Scope, Send, error, respond
from noria_serving.server.models import Models
from noria_serving.server.service import Service


class CountersApp:
    """Reads the counters of all models."""

    def __init__(self, models: Models, clock: Callable[[], float] = time.time) -> None:
        self._models, self._clock = models, clock
        self._exporter: Any = None
        self._told: Mapping[str, Callable[[Mapping[str, str]], Answer]] = {
            contract.COUNTERS_PATH: self._counters,
            contract.REFERENCE_PATH: self._reference,
            contract.COUNTS_PATH: self._counts,
            contract.ANSWERS_PATH: self._answers,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        call = Call(scope, receive)
        try:
            answer = self._answer(call)
        except RequestError as refused:
            answer = error(str(refused), refused.status, refused.headers)
        await respond(scope, send, *answer)

    def _answer(self, call: Call) -> Answer:
        if call.path != "/metrics" and call.path not in self._told:
            raise RequestError(f"unknown path {call.path!r:.100}", status=404)
        call.allow("GET")
        if call.path == "/metrics":
            return self._metrics()
        query = {key: values[0] for key, values in parse_qs(call.query.decode("latin-1")).items()}
        return self._told[call.path](query)

    def _reference(self, query: Mapping[str, str]) -> Answer:
        service = self._service(query.get("model"), query.get("version"))
        settings, loaded = service.settings, service.loaded
        whose = {"version": settings.version, "digest": loaded.manifest.digest}
        return 200, render({**whose, **reference.document(loaded.reference)}), [JSON]

    def _counters(self, query: Mapping[str, str]) -> Answer:
        when = _moment("since", query["since"]) if "since" in query else None
        begun = [_moment("keep", each) for each in query.get("keep", "").split(",") if each]
        service = self._service(query.get("model"), query.get("version"))
        now = self._clock()
        service.ring.keep(begun)
        beside = {"restarts": self._models.restarts, "in_flight": service.in_flight}
        body = render({**_document(service, when, now), **beside})
        if when is None:
            # Whoever reads may begin a window here, and ask for it again when it has forgotten this answer.
            service.ring.take(service.recorder.state.vector, now)
        return 200, body, [JSON]

    def _counts(self, query: Mapping[str, str]) -> Answer:
        service = self._service(query.get("model"), query.get("version"))
        body = counts.page(_document(service, None, self._clock()), service.settings.model)
        return 200, body, [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")]

    def _answers(self, query: Mapping[str, str]) -> Answer:
        """Of the process that the reader knows, those from `after` on; else none, and where they begin.
        Who asks has answers kept from now on.
        """
        service = self._service(query.get("model"), query.get("version"))
        after = query.get("after", "")
        known = query.get("process") == service.process and after.isdecimal() and len(after) < 19
        kept = service.answers
        kept.ask(time.monotonic())
        return (
            200,
            render(
                {
                    "schema": contract.ANSWERS_SCHEMA,
                    "version": service.settings.version,
                    "process": service.process,
                    "task": kept.task,
                    "next": kept.next,
                    "answers": kept.since(int(after)) if known else [],
                }
            ),
            [JSON],
        )

    def _service(self, name: str | None, version: str | None) -> Service:
        """A version's counters, also while it is not ready any more."""
        slots = self._models.select(name or self._models.names()[0], version)
        loaded = [slot.service for slot in slots if slot.service is not None]
        if not loaded:
            raise RequestError("the model is not loaded yet", status=503)
        return loaded[-1] if name is not None else loaded[0]

    def _metrics(self) -> Answer:
        if self._exporter is None:
            from noria_serving.counters.prometheus import Exporter  # noqa: PLC0415  only where somebody scrapes

            self._exporter = Exporter(self._models)
        return 200, self._exporter.render(), [(b"content-type", self._exporter.content_type)]


def _moment(name: str, text: str) -> float:
    """What a reader says of a time."""
    try:
        when = float(text)
    except ValueError:
        when = math.nan
    if not math.isfinite(when):
        raise RequestError(f"`{name}` must be a Unix time in seconds")
    return when


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
        "task": service.loaded.manifest.task,
        "labels_only": service.loaded.scoring.labels_only,
        "classes": service.desk.classes,
        "error_units": state.units,
        **state.as_json(vector),
    }
