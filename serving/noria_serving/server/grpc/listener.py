"""The gRPC port: listens, serves, and ends without losing a call.

In: Models, an address. Out: a Listener. Invariants: nobody else can listen on the same port (one that is
shared is held, hold.py); a message is at most as large as a body over HTTP may be, also once it is unpacked;
after `stop` began, what is in flight is answered.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Final

import grpc
from google.protobuf.message import Message

from noria_serving.errors import NoriaError, Reason
from noria_serving.protocol import health_pb2, inference_pb2, v2_grpc
from noria_serving.server.grpc import calls
from noria_serving.server.grpc.calls import Gate, Handler
from noria_serving.server.grpc.description import Description
from noria_serving.server.grpc.health import INFERENCE, SERVICE, Health
from noria_serving.server.grpc.inference import Streams, read
from noria_serving.server.grpc.inference import unary as model_infer
from noria_serving.server.models import Models
from noria_serving.server.wire import MAX_HEADERS

_PLAIN_OR_GZIP: Final = 0b101
"""Of grpcio's bits for compression. Deflated messages, the other kind, cannot be told from plain ones."""
STREAMS: Final = 1024
"""Calls and streams of a connection at a time; a client keeps further ones to itself until there is room."""
_OPTIONS: Final = (
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.compression_enabled_algorithms_bitset", _PLAIN_OR_GZIP),
    ("grpc.per_message_decompression", 0),
    # Else some calls with more than 8 KiB are refused by chance.
    ("grpc.max_metadata_size", MAX_HEADERS),
    ("grpc.absolute_max_metadata_size", MAX_HEADERS),
    # Clients that ping to keep their connection open are not cut off for it.
    ("grpc.max_concurrent_streams", STREAMS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
)
KEEPALIVE_MS: Final = 60_000
"""How often a silent connection is asked whether its client is still there."""
GONE_MS: Final = 20_000
"""When it is not: all its streams end."""
REFUSE_SECONDS: Final = 2.0
"""How long calls are refused at most, before grpcio cancels those that still come."""
ASKED: Final = 0.75
"""Of the time to finish: so long streams are answered on which requests go on coming."""
ASKED_SECONDS: Final = 15.0
"""But no longer than this, however long a request in flight may take."""


class Listener:
    """A port that answers."""

    def __init__(self, models: Models, *, shared: bool = False) -> None:
        self._gate = Gate(models)
        self._streams = Streams(models, self._gate)
        self._health = Health(models, self._gate)
        limit = ("grpc.max_receive_message_length", models.settings.max_body)
        alive = ("grpc.keepalive_time_ms", KEEPALIVE_MS), ("grpc.http2.ping_timeout_ms", GONE_MS)
        port = ("grpc.so_reuseport", int(shared))
        self._server = grpc.aio.server(options=(*_OPTIONS, *alive, port, limit))
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(INFERENCE, self._inference(models)),
                grpc.method_handlers_generic_handler(
                    SERVICE,
                    {
                        "Check": self._unary(health_pb2.HealthCheckRequest, self._health.check),
                        "Watch": self._health.watching(),
                    },
                ),
            )
        )

    def _inference(self, models: Models) -> dict[str, grpc.RpcMethodHandler[bytes, bytes]]:
        described, pb, unary = Description(models), inference_pb2, self._unary
        infer = calls.unary(self._gate, partial(read, models, self._gate), model_infer(models, self._gate))
        return {
            "ServerLive": unary(pb.ServerLiveRequest, described.live),
            "ServerReady": unary(pb.ServerReadyRequest, described.ready),
            "ModelReady": unary(pb.ModelReadyRequest, described.model_ready),
            "ServerMetadata": unary(pb.ServerMetadataRequest, described.server),
            "ModelMetadata": unary(pb.ModelMetadataRequest, described.model),
            "ModelInfer": infer,
            "ModelStreamInfer": self._streams.method(),
            "RepositoryIndex": unary(pb.RepositoryIndexRequest, described.index),
            "RepositoryModelLoad": unary(pb.RepositoryModelLoadRequest, described.load),
            "RepositoryModelUnload": unary(pb.RepositoryModelUnloadRequest, described.unload),
        }

    def _unary(self, kind: type[Message], handler: Handler) -> grpc.RpcMethodHandler[bytes, bytes]:
        return calls.unary(self._gate, lambda data: v2_grpc.parse(kind, self._gate.unpacked(data)), handler)

    async def start(self, host: str, port: int) -> int:
        """Listen; the port, which 0 leaves to the system. NoriaError where it is taken."""
        try:
            bound = self._server.add_insecure_port(address(host, port))
        except RuntimeError as error:
            raise taken(host, port, error) from error
        await self._server.start()
        return int(bound)

    async def stop(self, seconds: float) -> None:
        """Take no new calls; finish those in flight, for so many seconds at most."""
        until = time.monotonic() + seconds
        self._health.end()
        await asyncio.gather(
            self._gate.close(min(seconds, REFUSE_SECONDS)),
            self._streams.end(min(ASKED * seconds, ASKED_SECONDS)),
        )
        await self._server.stop(max(0.0, until - time.monotonic()))


def address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def taken(host: str, port: int, error: Exception) -> NoriaError:
    """What to say when nobody can listen there."""
    return NoriaError(
        Reason.CONFIGURATION,
        f"cannot listen on {address(host, port)} for gRPC: {error}; choose another port, or off",
    )
