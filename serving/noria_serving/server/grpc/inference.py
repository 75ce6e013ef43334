"""Predictions over gRPC: one, or a stream of them.

Invariants: every request that is seen to name a model is counted exactly once, as over HTTP; the requests of
a stream are answered in their order, and one that is refused ends no stream; when the server leaves, a stream
ends after everything that came was answered, and its client is told to go elsewhere: half of a request may be
here, and Triton's client takes a stream that ends well for one that still answers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Final

import grpc

from noria_serving.protocol import apart, packed, v2_grpc
from noria_serving.protocol.errors import FAULT, RequestError
from noria_serving.protocol.inference_pb2 import ModelInferResponse, ModelStreamInferResponse
from noria_serving.server.grpc.calls import (
    Context,
    Gate,
    Handler,
    Headers,
    deadline,
    metadata,
    request_id,
    status,
)
from noria_serving.server.models import Models
from noria_serving.server.service import Service

log = logging.getLogger(__name__)
IDLE_SECONDS: Final = 0.2
"""When the server leaves, a stream ends once its client has sent nothing for so long."""
BEGINNING: Final = 1024
"""Bytes in which a message that cannot be read may say for whom it was."""


def read(models: Models, gate: Gate, data: bytes) -> v2_grpc.Received:
    """A request for inference. One that cannot be read counts for the version that its beginning names."""
    try:
        return v2_grpc.received(gate.unpacked(data))
    except RequestError as error:
        name, version = apart.addressee(packed.beginning(data, BEGINNING))
        with suppress(RequestError):  # nobody here is called so
            models.find(name, version or None).refuse(error)
        raise


async def infer(
    models: Models, gate: Gate, received: v2_grpc.Received, context: Context, *, copied: bool = False
) -> tuple[ModelInferResponse, Headers]:
    """One prediction, and what stands beside it; a large request counts as held until then. `copied`: routers
    may copy such calls to other versions.
    """
    message = received.message
    service = models.find(message.model_name, message.model_version or None)
    try:
        taken = models.inbox.take_large(len(received.data))
    except RequestError as error:
        service.refuse(error)
        raise
    try:
        return await _predicted(service, gate, received, context, copied=copied)
    finally:
        models.inbox.held -= taken


async def _predicted(
    service: Service, gate: Gate, received: v2_grpc.Received, context: Context, *, copied: bool
) -> tuple[ModelInferResponse, Headers]:
    started, arrived = time.perf_counter(), time.monotonic()
    try:
        request = v2_grpc.decode(received, service.signature, deadline=deadline(context))
    except RequestError as error:
        service.refuse(error)
        raise
    key = (request_id(context), received.data) if copied and service.answers.wanted else None
    size = len(received.data)
    answer = await service.infer(request, arrived=arrived, key=key, entrance=gate.entrance, size=size)
    name, version = received.message.model_name, service.settings.number
    response = v2_grpc.encode(answer, request, service.signature, name=name, version=version)
    service.latency.observe(time.perf_counter() - started)
    return response, service.headers(answer)


class Streams:
    """The streams that are open now."""

    def __init__(self, models: Models, gate: Gate) -> None:
        self._models = models
        self._gate = gate
        self._idle = models.settings.limits.stream_idle
        self._reading: dict[asyncio.Task[bytes], float] = {}
        """What waits for a client's next request, and since when."""
        self._open = 0
        self._ending = self._over = False
        """Whether streams end on which nothing comes, and whether all do."""

    def method(self) -> grpc.RpcMethodHandler[bytes, bytes]:
        return grpc.stream_stream_rpc_method_handler(self._serve)

    async def end(self, seconds: float) -> None:
        """End each stream when nothing more comes, after so many seconds in any case: between two answers."""
        self._ending = True
        until = time.monotonic() + seconds
        while self._open and time.monotonic() < until:
            idle = time.monotonic() - IDLE_SECONDS
            for read in [read for read, since in self._reading.items() if since < idle]:
                read.cancel()
            await asyncio.sleep(IDLE_SECONDS / 4)
        self._over = True
        for read in self._reading:
            read.cancel()

    async def _serve(self, _: object, context: Context) -> None:
        try:
            self._gate.enter()
            with self._gate.lasting():
                await self._answered(context)
        except RequestError as refused:
            await context.abort(status(refused), str(refused))

    async def _answered(self, context: Context) -> None:
        """Everything that comes; RequestError where nothing does."""
        self._open += 1
        try:
            while (data := await self._next(context)) is not None:
                await context.write((await self._answer(data, context)).SerializeToString())
        finally:
            self._open -= 1

    async def _next(self, context: Context) -> bytes | None:
        """The next request, None at the end of the stream; RequestError where none is waited for."""
        if self._over:
            raise _leaves()
        read: asyncio.Task[bytes] = asyncio.ensure_future(context.read())
        self._reading[read] = time.monotonic()
        try:
            async with asyncio.timeout(self._idle or None):
                data = await read
        except TimeoutError:
            raise RequestError(f"nothing came for {self._idle:g} s: open a new stream", status=408) from None
        except asyncio.CancelledError:
            if self._ending and read.cancelled():
                raise _leaves() from None
            raise
        finally:
            del self._reading[read]
        return data if isinstance(data, bytes) else None  # else it is grpc.aio.EOF

    async def _answer(self, data: bytes, context: Context) -> ModelStreamInferResponse:
        identifier = ""
        try:
            received = read(self._models, self._gate, data)
            identifier = received.message.id
            response, _ = await infer(self._models, self._gate, received, context)
            return ModelStreamInferResponse(infer_response=response)
        except RequestError as refused:
            said = str(refused)
        except Exception:
            log.exception("request failed")
            said = FAULT
        return ModelStreamInferResponse(error_message=said, infer_response=ModelInferResponse(id=identifier))


def _leaves() -> RequestError:
    said = "this server leaves: open another stream, and ask there what has no answer here"
    return RequestError(said, status=409)


def unary(models: Models, gate: Gate) -> Handler:
    """One request, one answer."""

    async def model_infer(received: v2_grpc.Received, context: Context) -> ModelInferResponse:
        response, headers = await infer(models, gate, received, context, copied=True)
        context.set_trailing_metadata(metadata(headers))
        return response

    return model_infer
