"""Predictions: the Open Inference Protocol V2 and V1 over HTTP.

Invariants: every request is counted exactly once, under the version that its answer names in the header
Noria-Version, whether that answer is good or bad.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from noria_serving import contract
from noria_serving.protocol import v1, v2
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.inference import InferAnswer, InferRequest
from noria_serving.server.http import Answer, Call
from noria_serving.server.models import Models
from noria_serving.server.service import Service
from noria_serving.signature import Signature

_REQUEST_ID: Final = contract.REQUEST_ID_HEADER.encode()


async def infer(models: Models, call: Call, name: str, version: str | None) -> Answer:
    """POST /v2/models/M[/versions/N]/infer."""
    started = time.perf_counter()
    length = call.headers.get(v2.LENGTH_HEADER)
    service, request, answer = await _infer(
        models, call, name, version, lambda body, shape: v2.decode(body, shape, json_length=length)
    )
    number = service.settings.number
    body, headers = v2.encode(answer, request, service.signature, name=name, version=number)
    return _answered(service, started, answer, body, headers)


async def predict(models: Models, call: Call, name: str) -> Answer:
    """POST /v1/models/M:predict."""
    started = time.perf_counter()
    service, _, answer = await _infer(models, call, name, None, v1.decode)
    return _answered(service, started, answer, v1.encode(answer, service.signature), [v2.JSON])


async def _infer(
    models: Models,
    call: Call,
    name: str,
    version: str | None,
    decode: Callable[[bytes, Signature], InferRequest],
) -> tuple[Service, InferRequest, InferAnswer]:
    call.allow("POST")
    service = models.find(name, version)
    try:
        body = await call.body(models.settings.max_body)
        service = models.find(name, version)  # it may have been replaced while the body came
        request = decode(body, service.signature)
    except RequestError as error:
        service.refuse(error)
        raise
    arrived, wanted = call.arrived(), service.answers.wanted
    key = (call.headers.get(_REQUEST_ID), body) if wanted else None
    call.abandonable()
    until, ahead = call.until(arrived), call.ahead()
    answer = await service.infer(
        request, arrived=arrived, deadline=until, ahead=ahead, key=key, size=len(body)
    )
    return service, request, answer


def _answered(
    service: Service, started: float, answer: InferAnswer, body: bytes, headers: v2.Headers
) -> Answer:
    headers.extend(service.headers(answer))
    service.latency.observe(time.perf_counter() - started)
    return 200, body, headers
