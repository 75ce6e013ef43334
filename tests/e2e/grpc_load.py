"""Steady gRPC traffic through the router, every request accounted for: calls one by one, and a stream that
pauses, so that a server that leaves finds a moment to end it.

Invariant: nothing is retried; a call that fails, or a request on a stream without its answer, is counted.
"""

from __future__ import annotations

import asyncio
import queue
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from tests.e2e.traffic import Traffic

from noria_serving.protocol.inference_pb2 import (
    ModelInferRequest,
    ModelInferResponse,
    ModelStreamInferResponse,
)

METHOD = "/inference.GRPCInferenceService/"
BURST, PAUSE_SECONDS = 5, 0.4


def request(model: str) -> ModelInferRequest:
    message = ModelInferRequest(model_name=model)
    message.inputs.add(name="input-0", datatype="FP32", shape=[1, 3]).contents.fp32_contents.extend(
        [0.1, 0.2, 0.3]
    )
    return message


def stream_infer(channel: grpc.Channel | grpc.aio.Channel) -> Any:
    """The method that opens a stream on this channel."""
    return channel.stream_stream(
        f"{METHOD}ModelStreamInfer",
        request_serializer=ModelInferRequest.SerializeToString,
        response_deserializer=ModelStreamInferResponse.FromString,
    )


@dataclass
class GrpcLoad(Traffic):
    """A context manager; `address` is that of the deployment's Service."""

    address: str
    model: str
    calls: Counter[str] = field(default_factory=Counter)
    streamed: Counter[str] = field(default_factory=Counter)
    """Answers by version."""
    streams: int = 0
    failures: list[str] = field(default_factory=list)

    async def _run(self) -> None:
        options = [("grpc.default_authority", self.model)]
        async with grpc.aio.insecure_channel(self.address, options=options) as channel:
            await asyncio.gather(self._unary(channel), self._streams(channel))

    async def _unary(self, channel: grpc.aio.Channel) -> None:
        infer: Any = channel.unary_unary(
            f"{METHOD}ModelInfer",
            request_serializer=ModelInferRequest.SerializeToString,
            response_deserializer=ModelInferResponse.FromString,
        )
        while not self._stop.is_set():
            try:
                answer = await infer(request(self.model), timeout=15)
                self.calls[answer.model_version] += 1
            except grpc.aio.AioRpcError as error:
                self.failures.append(f"call: {error.code()} {error.details()}")
            await asyncio.sleep(0.03)

    async def _streams(self, channel: grpc.aio.Channel) -> None:
        infer = stream_infer(channel)
        while not self._stop.is_set():
            self.streams += 1
            try:
                await self._stream(infer())
            except grpc.aio.AioRpcError as error:
                self.failures.append(f"stream: {error.code()} {error.details()}")

    async def _stream(self, call: Any) -> None:
        """Until the server ends it."""
        while not self._stop.is_set():
            for _ in range(BURST):
                try:
                    await call.write(request(self.model))
                except asyncio.InvalidStateError:  # it was over before, so nothing was sent
                    return
                answer = await call.read()
                if answer is grpc.aio.EOF:
                    self.failures.append(f"stream: ended without an answer: {await call.code()}")
                    return
                if answer.error_message:
                    self.failures.append(f"stream: {answer.error_message}")
                else:
                    self.streamed[answer.infer_response.model_version] += 1
            await asyncio.sleep(PAUSE_SECONDS)
        await call.done_writing()


@contextmanager
def stream(address: str, model: str, metadata: Mapping[str, str]) -> Iterator[Callable[[], str]]:
    """One stream that stays open while the block lasts; what it gives asks on it and says which version
    answered.
    """
    asked: queue.Queue[ModelInferRequest | None] = queue.Queue()
    with grpc.insecure_channel(address, options=[("grpc.default_authority", model)]) as channel:
        answers = stream_infer(channel)(iter(asked.get, None), metadata=tuple(metadata.items()))

        def ask() -> str:
            asked.put(request(model))
            answer = next(answers)
            assert not answer.error_message, answer.error_message
            return str(answer.infer_response.model_version)

        yield ask
        asked.put(None)
        assert list(answers) == []
