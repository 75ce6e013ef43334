"""A real gRPC port in this process: every method, every way of being refused, and what is counted."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import itertools
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import grpc
import numpy as np
import pytest

from noria_serving import contract
from noria_serving.counters import recorder
from noria_serving.errors import NoriaError
from noria_serving.limits import DEFAULT, Limits
from noria_serving.model.loaded import Loaded
from noria_serving.protocol import health_pb2, inference_pb2
from noria_serving.protocol.inference_pb2 import ModelInferRequest
from noria_serving.server.grpc import health, listener
from noria_serving.server.grpc.inference import Streams
from noria_serving.server.grpc.listener import Listener
from noria_serving.server.models import Models
from noria_serving.server.service import Service
from noria_serving.settings import ModelSettings, Settings

LATE = ModelSettings("", deployment="late", model="late-model", version="late-model-4", number="4")
MAX_BODY = 128 * 1024
INFERENCE, HEALTH = "/inference.GRPCInferenceService/", "/grpc.health.v1.Health/"
ROWS = np.array([[1, 2, 3], [-1, 0, 1]], np.float32)
CODES = grpc.StatusCode


def request(rows: np.ndarray = ROWS, **fields: Any) -> ModelInferRequest:
    """A request with raw tensors."""
    message = ModelInferRequest(**{"model_name": "late", "raw_input_contents": [rows.tobytes()], **fields})
    message.inputs.add(name="input-0", datatype="FP32", shape=rows.shape)
    return message


LARGE = request(np.zeros((MAX_BODY // 12 + 1, 3), np.float32))


@dataclass
class Port:
    """A listener, what it serves, and a client of it."""

    models: Models
    listener: Listener
    channel: grpc.aio.Channel
    number: int

    @property
    def service(self) -> Service:
        return next(self.models.services())

    async def ask(self, method: str, message: Any) -> Any:
        """One call; the answer as a message, its metadata in `self.trailers`."""
        module = health_pb2 if method.startswith(HEALTH) else inference_pb2
        kind = method.rpartition("/")[2] if module is inference_pb2 else "HealthCheck"
        data = message if isinstance(message, bytes) else message.SerializeToString()
        call = self.channel.unary_unary(method)(data, timeout=20)
        answer = await call
        self.trailers = dict(await call.trailing_metadata())
        return getattr(module, f"{kind}Response").FromString(answer)

    async def infer(self, message: Any) -> Any:
        return await self.ask(f"{INFERENCE}ModelInfer", message)

    async def refusal(self, method: str, message: Any) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await self.ask(method, message)
        return refused.value

    async def named(self, message: Any, request: str) -> None:
        """A call that the router has given an id."""
        data, told = message.SerializeToString(), ((contract.REQUEST_ID_HEADER, request),)
        await self.channel.unary_unary(f"{INFERENCE}ModelInfer")(data, timeout=20, metadata=told)

    def stream(self) -> grpc.aio.StreamStreamCall[bytes, bytes]:
        return self.channel.stream_stream(f"{INFERENCE}ModelStreamInfer")()

    def requests(self) -> dict[str, int]:
        recorder = self.service.recorder
        recorder.fold()
        return dict(recorder.state.as_json(recorder.state.vector)["requests"])


@pytest.fixture
async def port(loaded: Loaded) -> AsyncIterator[Port]:
    async with opened(loaded) as port:
        yield port


@contextlib.asynccontextmanager
async def opened(loaded: Loaded, limits: Limits = DEFAULT) -> AsyncIterator[Port]:
    models = Models(Settings((LATE,), max_body=MAX_BODY, limits=limits))
    models.serve(Service(LATE, loaded))
    listener = Listener(models)
    number = await listener.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{number}") as channel:
        yield Port(models, listener, channel, number)
    await listener.stop(0)


async def test_health_and_metadata_say_what_they_say_over_http(port: Port) -> None:
    pb = inference_pb2
    assert (await port.ask(f"{INFERENCE}ServerLive", pb.ServerLiveRequest())).live
    assert (await port.ask(f"{INFERENCE}ServerReady", pb.ServerReadyRequest())).ready
    for name, version in (("late", ""), ("late-model", "4")):
        asked = pb.ModelReadyRequest(name=name, version=version)
        assert (await port.ask(f"{INFERENCE}ModelReady", asked)).ready
    server = await port.ask(f"{INFERENCE}ServerMetadata", pb.ServerMetadataRequest())
    assert (server.name, "binary_tensor_data" in server.extensions) == ("noria", True)
    model = await port.ask(f"{INFERENCE}ModelMetadata", pb.ModelMetadataRequest(name="late"))
    assert (model.name, list(model.versions), model.platform) == ("late", ["4"], "onnx_onnxruntime")
    assert [(one.name, one.datatype, list(one.shape)) for one in model.inputs] == [
        ("input-0", "FP32", [-1, 3])
    ]
    assert model.outputs[-1].parameters["classes"].string_param == "[0, 1]"


async def test_a_prediction_is_that_of_the_model_with_token_and_version_beside_it(
    port: Port, loaded: Loaded
) -> None:
    answer = await port.infer(request(id="q1"))
    label, score = loaded.backend.predict({"input-0": ROWS})
    assert (answer.model_name, answer.model_version, answer.id) == ("late", "4", "q1")
    assert np.frombuffer(answer.raw_output_contents[0], np.int64).tolist() == label.tolist()
    assert np.frombuffer(answer.raw_output_contents[1], np.float32).tolist() == score.reshape(-1).tolist()
    token = answer.parameters["feedback_token"].string_param
    assert (port.trailers["noria-version"], port.trailers["noria-feedback"]) == ("late-model-4", token)
    assert port.requests() == {"ok": 1, "client_error": 0, "server_error": 0}
    assert port.service.in_flight == 0


@pytest.mark.parametrize(
    ("message", "code", "said", "counted"),
    [
        (request(model_name="nope"), CODES.NOT_FOUND, "unknown model 'nope'", 0),
        (request(model_version="9"), CODES.NOT_FOUND, "no version '9'", 0),
        (request(ROWS[:, :2]), CODES.INVALID_ARGUMENT, "shape must be [-1, 3]", 1),
        (request(raw_input_contents=[b"123"]), CODES.INVALID_ARGUMENT, "not 3", 1),
        (request().SerializeToString()[:-1], CODES.INVALID_ARGUMENT, "not a valid ModelInferRequest", 1),
        (b"\xff\xff", CODES.INVALID_ARGUMENT, "not a valid ModelInferRequest", 0),
        (b"\x0a", CODES.INVALID_ARGUMENT, "not a valid ModelInferRequest", 0),
        (b"\0" * (MAX_BODY + 1), CODES.RESOURCE_EXHAUSTED, "larger than max", 0),
    ],
    ids=["model", "version", "shape", "raw", "cut off", "garbage", "nothing", "size"],
)
async def test_a_bad_request_is_told_so_and_counted_once_under_its_model(
    port: Port, message: Any, code: grpc.StatusCode, said: str, counted: int
) -> None:
    refused = await port.refusal(f"{INFERENCE}ModelInfer", message)
    assert (refused.code(), said in str(refused.details())) == (code, True), refused
    assert port.requests()["client_error"] == counted
    version = dict(refused.trailing_metadata()).get("noria-version")
    assert version == ("late-model-4" if counted else None)


async def test_large_messages_share_the_memory_that_large_bodies_have(port: Port) -> None:
    large = request(np.zeros((8_000, 3), np.float32))
    port.models.inbox.limit = 90_000
    refused = await port.refusal(f"{INFERENCE}ModelInfer", large)
    assert (refused.code(), "holds 0 bytes" in str(refused.details())) == (CODES.RESOURCE_EXHAUSTED, True)
    assert dict(refused.trailing_metadata())["noria-version"] == "late-model-4"
    assert port.requests()["client_error"] == 1, "as over HTTP"
    stream = port.stream()
    await stream.write(request(np.zeros((8_000, 3), np.float32), id="b").SerializeToString())
    answer = inference_pb2.ModelStreamInferResponse.FromString(await stream.read())
    assert (answer.infer_response.id, "holds 0 bytes" in answer.error_message) == ("b", True)
    await stream.done_writing()
    port.models.inbox.limit = 200_000
    await port.infer(large)
    assert port.models.inbox.held == 0


async def test_what_large_messages_held_waits_for_no_further_ones_to_be_counted(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "SMALL", 1)
    monkeypatch.setattr(recorder, "FOLD_BYTES", 1)
    await port.infer(request())
    state = port.service.recorder.state
    assert state.vector[state.predictions] == len(ROWS)


async def until(port: Port, *, ready: bool) -> None:
    async with asyncio.timeout(20):
        while (await port.ask(f"{INFERENCE}ServerReady", inference_pb2.ServerReadyRequest())).ready != ready:
            pass


async def test_a_model_that_fails_is_internal_and_one_that_is_not_ready_unavailable(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> None:
        raise ValueError("boom")

    monkeypatch.setattr(type(port.service.loaded.backend), "predict", lambda *_: fails(_))
    monkeypatch.setattr(port.service.line, "predict", fails)
    refused = await port.refusal(f"{INFERENCE}ModelInfer", request())
    assert (refused.code(), "boom" in str(refused.details())) == (CODES.INTERNAL, True)
    await until(port, ready=False)  # it was tried with its golden rows, too
    monkeypatch.undo()
    port.service.soundness.fault = "differs from golden.json"
    refused = await port.refusal(f"{INFERENCE}ModelInfer", request())
    assert (refused.code(), "golden" in str(refused.details())) == (CODES.UNAVAILABLE, True)
    asked = inference_pb2.ModelReadyRequest(name="late")
    assert not (await port.ask(f"{INFERENCE}ModelReady", asked)).ready
    assert not (await port.ask(f"{INFERENCE}ServerReady", inference_pb2.ServerReadyRequest())).ready
    refused = await port.refusal(f"{INFERENCE}ModelReady", inference_pb2.ModelReadyRequest(name="nope"))
    assert refused.code() == CODES.NOT_FOUND


async def test_a_model_that_answers_nan_is_not_ready_until_it_gives_its_golden_answers_again(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nan(_: object, inputs: Any) -> list[Any]:
        rows = len(next(iter(inputs.values())))
        return [np.ones(rows, np.int64), np.full((rows, 2), np.nan, np.float32)]

    monkeypatch.setattr(type(port.service.loaded.backend), "predict", nan)
    answer = await port.infer(request(np.full((2, 3), np.nan, np.float32)))  # like rows, like answer
    assert np.isnan(np.frombuffer(answer.raw_output_contents[1], np.float32)).all()
    refused = await port.refusal(f"{INFERENCE}ModelInfer", request())
    assert refused.code() == CODES.INTERNAL
    assert refused.details() == "the model gave NaN or infinity, and never did in training"
    await until(port, ready=False)
    assert "golden.json" in port.service.soundness.fault
    monkeypatch.undo()
    port.service.tick()
    await until(port, ready=True)
    assert port.requests() == {"ok": 1, "client_error": 0, "server_error": 1}


async def flood(port: Port, count: int) -> list[Any]:
    """Calls that all begin at once; their answers and refusals."""
    ask = port.channel.unary_unary(f"{INFERENCE}ModelInfer")
    data = request().SerializeToString()
    async with asyncio.timeout(20):  # not the calls': they would send it as their deadline
        return await asyncio.gather(*(ask(data) for _ in range(count)), return_exceptions=True)


def slow(port: Port, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """A model that keeps the event loop for so long."""
    predict = port.service.loaded.backend.predict

    def wait(_: object, inputs: Any) -> Any:
        time.sleep(seconds)
        return predict(inputs)

    monkeypatch.setattr(type(port.service.loaded.backend), "predict", wait)


async def test_beyond_the_line_for_the_event_loop_calls_are_refused_and_counted(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(port, monkeypatch, 0.005)
    port.listener._gate.entrance._limit = 4
    answers = await flood(port, 200)
    refused = [one for one in answers if isinstance(one, grpc.aio.AioRpcError)]
    assert 0 < len(refused) < 200
    assert {one.code() for one in refused} == {CODES.RESOURCE_EXHAUSTED}
    assert "requests wait for this model already" in str(refused[0].details())
    assert dict(refused[0].trailing_metadata())["retry-after"] == "1"
    assert port.requests() == {"ok": 200 - len(refused), "client_error": len(refused), "server_error": 0}
    assert port.service.admission.refused["queue_full"] == len(refused)
    assert port.listener._gate.entrance.waiting == 0


@pytest.mark.parametrize(
    ("limits", "code", "reason"),
    [
        (Limits(max_wait=0.05), CODES.RESOURCE_EXHAUSTED, "wait"),
        (Limits(deadline=0.05), CODES.DEADLINE_EXCEEDED, "deadline"),
    ],
)
async def test_a_call_that_waited_too_long_for_the_event_loop_is_not_begun(
    port: Port, monkeypatch: pytest.MonkeyPatch, limits: Limits, code: grpc.StatusCode, reason: str
) -> None:
    slow(port, monkeypatch, 0.005)
    port.service.limits = port.service.admission._limits = limits
    answers = await flood(port, 100)
    refused = [one for one in answers if isinstance(one, grpc.aio.AioRpcError)]
    assert 0 < len(refused) < 100
    assert {one.code() for one in refused} == {code}
    assert port.service.admission.refused[reason] == len(refused)


async def test_a_call_may_take_as_long_as_its_router_waits(port: Port) -> None:
    """No library of gRPC's sets a deadline that its user did not ask for."""
    data, infer = request().SerializeToString(), port.channel.unary_unary(f"{INFERENCE}ModelInfer")
    port.service.limits = Limits(deadline=1e-6)
    late = CODES.DEADLINE_EXCEEDED
    for told, code in ((), late), (("60000",), CODES.OK), (("0",), late), (("soon",), late):
        call = infer(data, metadata=[("x-envoy-expected-rq-timeout-ms", one) for one in told])
        assert await call.code() == code, told
    call = infer(data, timeout=20, metadata=[("x-envoy-expected-rq-timeout-ms", "0")])
    assert await call.code() == late, "the earlier one counts"


async def test_metadata_may_be_as_large_as_headers_of_http(port: Port) -> None:
    data, infer = request().SerializeToString(), port.channel.unary_unary(f"{INFERENCE}ModelInfer")
    for size in (9_000, 15_000, 60_000):
        for _ in range(8):  # what lies between two limits of gRPC's is refused by chance
            call = infer(data, timeout=20, metadata=[("authorization", "x" * size)])
            assert await call.code() == CODES.OK, size


async def test_a_client_that_leaves_the_line_for_the_event_loop_is_no_ones_turn(port: Port) -> None:
    entrance = port.listener._gate.entrance
    assert await entrance.turn()  # nobody was there
    first, second = asyncio.ensure_future(entrance.turn()), asyncio.ensure_future(entrance.turn())
    await asyncio.sleep(0)
    first.cancel()
    async with asyncio.timeout(20):
        assert await second
    assert entrance.waiting == 0


async def test_a_message_that_does_not_come_is_not_waited_for_for_ever(port: Port) -> None:
    port.models.patience.seconds = 0.1
    for method in ("ModelInfer", "ServerLive"):
        call = port.channel.stream_unary(f"{INFERENCE}{method}")()
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await call
        assert late.value.code() == CODES.ABORTED
        assert "not here within 0.1 s" in str(late.value.details())
    assert port.models.patience.lost["slow_request"] == 2


async def test_a_call_without_a_message_is_told_so(port: Port) -> None:
    call = port.channel.stream_unary(f"{INFERENCE}ModelInfer")()
    await call.done_writing()
    with pytest.raises(grpc.aio.AioRpcError, match="without a message") as refused:
        await call
    assert refused.value.code() == CODES.INVALID_ARGUMENT


@pytest.mark.parametrize("character", ["é", "型", "\U0001f41f", "%"])
async def test_a_long_error_reaches_the_client_in_any_script(port: Port, character: str) -> None:
    what = character * 3000
    port.service.soundness.fault = what
    refused = await port.refusal(f"{INFERENCE}ModelInfer", request())
    assert refused.code() == CODES.UNAVAILABLE
    said = str(refused.details())
    assert said.endswith(character * 100)
    assert "model 'late' failed" in said


async def test_a_fault_of_ours_says_no_more_than_that(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port.models, "find", lambda *_: 1 / 0)
    refused = await port.refusal(f"{INFERENCE}ModelInfer", request())
    assert (refused.code(), refused.details()) == (CODES.INTERNAL, "a fault of the server; its log says more")


async def test_an_unknown_method_is_unimplemented(port: Port) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await port.channel.unary_unary(f"{INFERENCE}ModelExplain")(b"")
    assert refused.value.code() == CODES.UNIMPLEMENTED


@contextlib.asynccontextmanager
async def packing(port: Port, how: grpc.Compression = grpc.Compression.Gzip) -> AsyncIterator[Port]:
    """A client that packs what it sends."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port.number}", compression=how) as channel:
        yield replace(port, channel=channel)


async def test_a_packed_message_is_answered_as_a_plain_one_in_calls_and_in_streams(port: Port) -> None:
    rows = np.zeros((1000, 3), np.float32)
    plain = (await port.infer(request(rows))).raw_output_contents
    async with packing(port) as packed:
        assert (await packed.infer(request(rows))).raw_output_contents == plain
        stream = packed.stream()
        await stream.write(request(rows).SerializeToString())
        answer = inference_pb2.ModelStreamInferResponse.FromString(await stream.read())
        assert answer.infer_response.raw_output_contents == plain
        await stream.done_writing()
        watched = packed.channel.unary_stream(f"{HEALTH}Watch")(
            health_pb2.HealthCheckRequest(service="n" * 300).SerializeToString()
        )
        told = health_pb2.HealthCheckResponse.FromString(await watched.read())
        assert told.status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watched.cancel()


@pytest.mark.parametrize(
    ("data", "code", "said", "counted"),
    [
        (b"\0" * (MAX_BODY + 1), CODES.RESOURCE_EXHAUSTED, f"the limit of {MAX_BODY} bytes", 0),
        (LARGE.SerializeToString(), CODES.RESOURCE_EXHAUSTED, f"the limit of {MAX_BODY} bytes", 1),
        (request(model_version="5").SerializeToString()[:-1], CODES.INVALID_ARGUMENT, "not a valid", 0),
    ],
    ids=["garbage", "too large", "another version"],
)
async def test_a_packed_message_that_is_too_large_or_broken_is_refused(
    port: Port, data: bytes, code: grpc.StatusCode, said: str, counted: int
) -> None:
    """grpcio itself would unpack to any size: a small message could take all memory."""
    refused = await port.refusal(f"{INFERENCE}ModelInfer", gzip.compress(data))
    assert (refused.code(), said in str(refused.details())) == (code, True), refused.details()
    assert port.requests()["client_error"] == counted


@pytest.mark.parametrize(
    ("data", "said", "counted"),
    [
        (gzip.compress(request().SerializeToString())[:-9], "cut off", 1),
        (gzip.compress(request().SerializeToString()) + b"!", "more follows", 1),
        (b"\x1f\x8b\x08garbage", "gzip", 0),
    ],
    ids=["cut off", "more follows", "no gzip"],
)
async def test_packing_that_is_broken_is_refused_in_calls_and_in_streams_for_whom_it_names(
    port: Port, data: bytes, said: str, counted: int
) -> None:
    refused = await port.refusal(f"{INFERENCE}ModelInfer", data)
    assert (refused.code(), said in str(refused.details())) == (CODES.INVALID_ARGUMENT, True)
    stream = port.stream()
    await stream.write(data)
    answer = inference_pb2.ModelStreamInferResponse.FromString(await stream.read())
    await stream.done_writing()
    assert said in answer.error_message
    assert port.requests()["client_error"] == 2 * counted


async def test_packed_messages_share_memory_by_their_unpacked_size(port: Port) -> None:
    port.models.inbox.limit = 90_000
    async with packing(port) as packed:
        refused = await packed.refusal(f"{INFERENCE}ModelInfer", request(np.zeros((8_000, 3), np.float32)))
    assert (refused.code(), port.models.inbox.held) == (CODES.RESOURCE_EXHAUSTED, 0)


async def test_the_other_way_of_packing_is_refused(port: Port) -> None:
    """Deflated bytes may also be a message, gzipped ones never are."""
    async with packing(port, grpc.Compression.Deflate) as packed:
        refused = await packed.refusal(f"{INFERENCE}ModelInfer", request())
    assert refused.code() == CODES.UNIMPLEMENTED


async def test_the_repository_lists_and_changes_nothing_unless_it_may(port: Port) -> None:
    pb = inference_pb2
    index = await port.ask(f"{INFERENCE}RepositoryIndex", pb.RepositoryIndexRequest(ready=True))
    assert {(one.name, one.version, one.state, one.reason) for one in index.models} == {
        ("late", "4", "READY", ""),
        ("late-model", "4", "READY", ""),
    }
    for command in ("Load", "Unload"):
        asked = getattr(pb, f"RepositoryModel{command}Request")(model_name="late")
        refused = await port.refusal(f"{INFERENCE}RepositoryModel{command}", asked)
        assert (refused.code(), "--repository-writable" in str(refused.details())) == (
            CODES.INVALID_ARGUMENT,
            True,
        )
        asked.model_name = "nope"
        refused = await port.refusal(f"{INFERENCE}RepositoryModel{command}", asked)
        assert refused.code() == CODES.NOT_FOUND


@pytest.mark.parametrize("parameter", ["config", "file:1/model.onnx"])
async def test_a_load_that_brings_a_model_of_its_own_is_refused(port: Port, parameter: str) -> None:
    asked = inference_pb2.RepositoryModelLoadRequest(model_name="late")
    asked.parameters[parameter].string_param = "{}"
    refused = await port.refusal(f"{INFERENCE}RepositoryModelLoad", asked)
    assert refused.code() == CODES.INVALID_ARGUMENT
    assert f"parameter '{parameter}'" in str(refused.details())


async def test_a_stream_answers_in_order_and_outlives_a_bad_request(port: Port) -> None:
    stream = port.stream()
    sent = [request(id="a"), request(ROWS[:, :2], id="b"), b"\xff", request(id="c")]
    for message in sent:
        await stream.write(message if isinstance(message, bytes) else message.SerializeToString())
    await stream.done_writing()
    answers = [inference_pb2.ModelStreamInferResponse.FromString(data) async for data in stream]
    assert [answer.infer_response.id for answer in answers] == ["a", "b", "", "c"]
    assert [bool(answer.error_message) for answer in answers] == [False, True, True, False]
    assert answers[3].infer_response.raw_output_contents
    assert await stream.code() == CODES.OK
    assert port.requests() == {"ok": 2, "client_error": 1, "server_error": 0}


async def test_words_that_are_no_unicode_end_no_stream_and_hide_no_model(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the name of a file, within the error of a class of the user's."""

    def fails(*_: object) -> None:
        raise ValueError("no file caf\udce9")

    monkeypatch.setattr(type(port.service.loaded.backend), "predict", fails)
    stream = port.stream()
    await stream.write(request(id="a").SerializeToString())
    answer = inference_pb2.ModelStreamInferResponse.FromString(await stream.read())
    await stream.done_writing()
    assert "no file caf?" in answer.error_message
    assert await stream.code() == CODES.OK
    while not port.service.soundness.fault:  # noqa: ASYNC110  it proves itself after it failed
        await asyncio.sleep(0.01)
    found = await port.ask(f"{INFERENCE}RepositoryIndex", inference_pb2.RepositoryIndexRequest())
    assert found.models[0].reason == "the model fails on its golden rows: ValueError: no file caf?"


async def aborted(stream: grpc.aio.StreamStreamCall[bytes, bytes]) -> str:
    """What a stream that ends without a further answer is told: to open another one."""
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await stream.read()
    assert ended.value.code() == CODES.ABORTED
    return str(ended.value.details())


async def test_a_stream_that_is_open_at_the_end_is_answered_and_told_to_go_elsewhere(port: Port) -> None:
    """Half of a message may be on its way, and Triton's client takes OK for a stream that answers on."""
    idle, busy = port.stream(), port.stream()
    for number in range(20):
        await busy.write(request(id=str(number)).SerializeToString())
    await idle.write(request(id="only").SerializeToString())
    assert await idle.read()
    answered = [await busy.read()]  # a call that the server has not seen yet may be refused
    await port.listener.stop(10)
    answered += [await busy.read() for _ in range(19)]
    answers = [inference_pb2.ModelStreamInferResponse.FromString(data) for data in answered]
    assert [answer.infer_response.id for answer in answers] == [str(number) for number in range(20)]
    for stream in (busy, idle):
        assert "this server leaves" in await aborted(stream)


async def test_a_stream_on_which_requests_go_on_coming_ends_in_time(port: Port) -> None:
    """Of a client with threads: asyncio's says INTERNAL, itself, where the end comes while it sends."""
    begun = threading.Event()

    def ask() -> grpc.StatusCode:
        with grpc.insecure_channel(f"127.0.0.1:{port.number}") as channel:
            stream = channel.stream_stream(f"{INFERENCE}ModelStreamInfer")
            with pytest.raises(grpc.RpcError) as ended:
                for _ in stream(itertools.repeat(request().SerializeToString()), timeout=20):
                    begun.set()
            return ended.value.code()

    asking = asyncio.create_task(asyncio.to_thread(ask))
    assert await asyncio.to_thread(begun.wait, 20)
    await port.listener._streams.end(0.5)
    assert await asking == CODES.ABORTED
    assert port.listener._streams._open == 0


async def test_a_stream_that_is_being_answered_at_the_end_is_waited_for(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, begun, going = Streams._answer, asyncio.Event(), asyncio.Event()

    async def slowly(self: Streams, data: bytes, context: Any) -> Any:
        begun.set()
        await going.wait()
        return await answer(self, data, context)

    monkeypatch.setattr(Streams, "_answer", slowly)
    stream = port.stream()
    await stream.write(request(id="only").SerializeToString())
    await begun.wait()
    ending = asyncio.ensure_future(port.listener._streams.end(10))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not ending.done()
    going.set()
    await ending
    assert inference_pb2.ModelStreamInferResponse.FromString(await stream.read()).infer_response.id == "only"
    assert "this server leaves" in await aborted(stream)


async def test_a_client_that_goes_away_in_mid_stream_leaves_nothing_behind(port: Port) -> None:
    stream = port.stream()
    await stream.write(request().SerializeToString())
    assert await stream.read()
    stream.cancel()
    async with asyncio.timeout(10):
        while port.listener._streams._reading:  # noqa: ASYNC110  another task empties it
            await asyncio.sleep(0.01)
    assert (await port.infer(request())).raw_output_contents


async def test_a_stream_on_which_nothing_comes_ends_and_one_that_is_answered_does_not(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(loaded, Limits(stream_idle=0.5)) as port:
        slow(port, monkeypatch, 0.8)  # an answer takes longer than a client may be silent
        silent, begun = port.stream(), port.stream()
        await begun.write(request(id="a").SerializeToString())
        assert await begun.read() is not grpc.aio.EOF
        for stream in (silent, begun):
            assert "nothing came for 0.5 s" in await aborted(stream)
        assert port.listener._streams._reading == {}
        assert (await port.infer(request())).raw_output_contents


async def test_streams_and_watches_are_open_in_a_bounded_number(loaded: Loaded) -> None:
    async with opened(loaded, Limits(max_streams=2)) as port:
        stream, watch = port.stream(), port.channel.unary_stream(f"{HEALTH}Watch")(b"")
        await stream.write(request(id="a").SerializeToString())
        assert await stream.read() is not grpc.aio.EOF
        assert await watch.read() is not grpc.aio.EOF
        for further in (port.stream(), port.channel.unary_stream(f"{HEALTH}Watch")(b"")):
            with pytest.raises(grpc.aio.AioRpcError, match="2 streams are open here already") as refused:
                await further.read()
            assert refused.value.code() == CODES.RESOURCE_EXHAUSTED
        assert (await port.infer(request())).raw_output_contents  # calls are none
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        after = port.channel.unary_stream(f"{HEALTH}Watch")(b"")
        assert await after.read() is not grpc.aio.EOF


async def test_a_watch_of_a_client_that_is_gone_without_a_word_ends(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its machine lost power, or a firewall forgot the connection."""
    monkeypatch.setattr(listener, "KEEPALIVE_MS", 200)
    monkeypatch.setattr(listener, "GONE_MS", 1000)
    async with (
        opened(loaded) as port,
        relayed(port) as (number, cut),
        grpc.aio.insecure_channel(f"127.0.0.1:{number}") as channel,
    ):
        watch = channel.unary_stream(f"{HEALTH}Watch")(b"")
        assert await watch.read() is not grpc.aio.EOF
        assert port.listener._health._watching == 1
        cut.set()
        async with asyncio.timeout(20):
            while port.listener._health._watching:  # noqa: ASYNC110  grpcio tells nobody
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def relayed(port: Port) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """Another port that leads there, until the event is set: then bytes are lost, and nothing is closed."""
    cut, tasks = asyncio.Event(), []

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            if not cut.is_set():
                target.write(data)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port.number)
        tasks.extend([asyncio.ensure_future(copy(reader, back)), asyncio.ensure_future(copy(there, writer))])

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], cut
    for task in tasks:
        task.cancel()
    server.close()


async def test_a_watch_that_names_nothing_is_not_waited_for_for_ever(port: Port) -> None:
    port.models.patience.seconds = 0.1
    with pytest.raises(grpc.aio.AioRpcError, match=r"not here within 0\.1 s") as late:
        await port.channel.stream_stream(f"{HEALTH}Watch")().read()
    assert late.value.code() == CODES.ABORTED


async def test_the_health_service_follows_readiness_and_tells_who_watches(port: Port) -> None:
    pb = health_pb2
    for service in ("", "inference.GRPCInferenceService", "late"):
        asked = pb.HealthCheckRequest(service=service)
        assert (await port.ask(f"{HEALTH}Check", asked)).status == pb.HealthCheckResponse.SERVING
    refused = await port.refusal(f"{HEALTH}Check", pb.HealthCheckRequest(service="nope"))
    assert refused.code() == CODES.NOT_FOUND
    watching = port.channel.unary_stream(f"{HEALTH}Watch")(b"")
    unknown = port.channel.unary_stream(f"{HEALTH}Watch")(
        pb.HealthCheckRequest(service="x").SerializeToString()
    )
    garbage = port.channel.unary_stream(f"{HEALTH}Watch")(b"\xff")
    assert await garbage.code() == CODES.INVALID_ARGUMENT
    read = pb.HealthCheckResponse.FromString
    assert read(await watching.read()).status == pb.HealthCheckResponse.SERVING
    assert read(await unknown.read()).status == pb.HealthCheckResponse.SERVICE_UNKNOWN
    port.models.draining = True
    assert read(await watching.read()).status == pb.HealthCheckResponse.NOT_SERVING
    await port.listener.stop(10)
    assert (await watching.code(), await unknown.code()) == (CODES.OK, CODES.OK)


async def test_who_watches_costs_nothing_until_something_changes(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a few connections with a thousand watchers each take all CPU."""
    looks: Counter[str] = Counter()

    def counted(self: health.Health, *what: Any, real: Any) -> Any:
        looks[real.__name__] += 1
        return real(self, *what)

    for name in ("_status", "_all"):
        real = getattr(health.Health, name)
        monkeypatch.setattr(health.Health, name, functools.partialmethod(counted, real=real))
    monkeypatch.setattr(health, "LOOK_SECONDS", 0.01)
    asked = health_pb2.HealthCheckRequest(service="late").SerializeToString()
    watched = [port.channel.unary_stream(f"{HEALTH}Watch")(asked) for _ in range(50)]

    async def told() -> set[int]:
        return {health_pb2.HealthCheckResponse.FromString(await one.read()).status for one in watched}

    async with asyncio.timeout(20):
        assert await told() == {health_pb2.HealthCheckResponse.SERVING}
        asleep = looks["_status"]
        while looks["_all"] < 20:
            await asyncio.sleep(0.01)
            assert looks["_status"] == asleep
        port.service.soundness.fault = "golden rows differ"
        assert await told() == {health_pb2.HealthCheckResponse.NOT_SERVING}
    for one in watched:
        one.cancel()
    assert looks["_status"] == 2 * len(watched)


async def test_a_port_that_is_taken_is_refused_and_not_shared(port: Port, loaded: Loaded) -> None:
    first, second = Listener(port.models), Listener(port.models)
    number = await first.start("127.0.0.1", 0)
    with pytest.raises(NoriaError, match=f"cannot listen on 127.0.0.1:{number} for gRPC"):
        await second.start("127.0.0.1", number)
    await first.stop(0)
    await second.stop(0)


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS_FRAME = b"\0\0\0\4\0\0\0\0\0"
HEADERS_FRAME = b"\0\0\xff\1\4\0\0\0\1" + b"\x82" * 255
GARBAGE = [
    b"GET / HTTP/1.1\r\n\r\n", b"\0" * 4096, bytes(range(256)) * 16, PREFACE, PREFACE + b"\xff" * 9000,
    PREFACE + SETTINGS_FRAME + HEADERS_FRAME,
]  # fmt: skip


async def test_garbage_on_the_port_harms_nobody_else(port: Port) -> None:
    await port.infer(request())
    for data in GARBAGE:
        reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
        async with asyncio.timeout(20):
            with contextlib.suppress(OSError):  # it may be cut off at once
                writer.write(data)
                writer.write_eof()
                await reader.read(1 << 16)
        writer.close()
    assert (await port.infer(request())).raw_output_contents


async def test_answers_are_kept_by_the_routers_id_and_those_of_streams_are_not(port: Port) -> None:
    answers, told = port.service.answers, contract.REQUEST_ID_HEADER
    await port.named(request(), "2f1a")
    answers.ask(0.0)
    await port.named(request(), "2f1a")
    await port.named(request(), "2f1a")
    await port.named(request(), "3b5c")
    stream = port.channel.stream_stream(f"{INFERENCE}ModelStreamInfer")(metadata=((told, "2f1a"),))
    await stream.write(request().SerializeToString())
    await stream.read()
    stream.cancel()
    first, again, other = (name for name, _ in answers.since(0))
    assert first == again != other
