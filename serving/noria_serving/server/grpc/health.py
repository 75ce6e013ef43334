"""gRPC's own health service, for kubelets and load balancers that ask for nothing else.

In: the name of a service, of a model, or nothing for the server as a whole. Out: SERVING or NOT_SERVING,
which follow readiness. Invariant: those who watch cost nothing until something changes, however many they
are.
"""

from __future__ import annotations

import asyncio
from typing import Final

import grpc

from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.health_pb2 import HealthCheckRequest, HealthCheckResponse
from noria_serving.protocol.v2_grpc import parse
from noria_serving.server.grpc.calls import Context, Gate, status
from noria_serving.server.models import Models
from noria_serving.server.routes.description import is_model_ready

SERVICE: Final = "grpc.health.v1.Health"
INFERENCE: Final = "inference.GRPCInferenceService"
LOOK_SECONDS: Final = 0.2
"""How often it is looked whether a status has changed, while somebody watches."""

_Status = HealthCheckResponse.ServingStatus


class Health:
    """Answers who asks and tells who watches."""

    def __init__(self, models: Models, gate: Gate) -> None:
        self._models, self._gate = models, gate
        self._ending = False
        self._changed = asyncio.Event()
        """Set at the next change, and replaced then."""
        self._watching = 0
        self._looking: asyncio.Task[None] | None = None

    def end(self) -> None:
        """Watchers are let go."""
        self._ending = True
        self._changed.set()

    async def check(self, message: HealthCheckRequest, _: Context) -> HealthCheckResponse:
        return HealthCheckResponse(status=self._status(message.service))

    def watching(self) -> grpc.RpcMethodHandler[bytes, bytes]:
        """To grpcio it is a stream, whose first message we wait for."""
        return grpc.stream_stream_rpc_method_handler(self._watch)

    async def _watch(self, _: object, context: Context) -> None:
        try:
            with self._gate.lasting():
                data = await self._gate.read(context)
                await self._watched(parse(HealthCheckRequest, self._gate.unpacked(data)).service, context)
        except RequestError as refused:
            await context.abort(status(refused), str(refused))

    async def _watched(self, service: str, context: Context) -> None:
        self._watching += 1
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(self._all()))
        try:
            await self._tell(service, context)
        finally:
            self._watching -= 1

    async def _tell(self, service: str, context: Context) -> None:
        """What the status is, and each other one that it becomes."""
        told: _Status | None = None
        while True:
            changed = self._changed
            try:
                now = self._status(service)
            except RequestError:
                now = HealthCheckResponse.SERVICE_UNKNOWN
            if now != told:
                await context.write(HealthCheckResponse(status=now).SerializeToString())
                told = now
            if self._ending:
                return
            await changed.wait()

    async def _look(self, before: list[bool]) -> None:
        """For all who watch, as long as somebody does."""
        while self._watching and not self._ending:
            await asyncio.sleep(LOOK_SECONDS)
            now = self._all()
            if now != before:
                before, changed = now, self._changed
                self._changed = asyncio.Event()
                changed.set()

    def _all(self) -> list[bool]:
        """Whether the server, and each model, may get traffic."""
        models = self._models
        return [models.ready, *(is_model_ready(models, name, None) for name in models.names())]

    def _status(self, service: str) -> _Status:
        """RequestError 404 for a name that nothing here has."""
        if service in ("", INFERENCE, SERVICE):
            ready = self._models.ready
        else:
            ready = is_model_ready(self._models, service, None)
        return HealthCheckResponse.SERVING if ready else HealthCheckResponse.NOT_SERVING
