"""A version under more load than it can carry, and one whose model never returns."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn

from noria_serving.contract import Why
from noria_serving.counters import recorder
from noria_serving.limits import Limits
from noria_serving.model.loaded import Loaded
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.inference import InferRequest
from noria_serving.server import models as served_models
from noria_serving.server.app import App
from noria_serving.server.counters_app import CountersApp
from noria_serving.server.http import Call, Inbox
from noria_serving.server.lifecycle import Lifecycle
from noria_serving.server.models import Models
from noria_serving.server.service import Service
from noria_serving.settings import ModelSettings, Settings

ONE = ModelSettings("", deployment="m", model="m", version="m-1", number="1")
LIMITS = Limits(max_queue=2, max_wait=30.0)
BODY = {"inputs": [{"name": "input-0", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}
PATH = "/v2/models/m/infer"
WAIT = 20.0


class Gate:
    """The real model behind a gate, in as many calls as there were."""

    def __init__(self, loaded: Loaded) -> None:
        self._predict = loaded.backend.predict
        self.signature = loaded.backend.signature
        self.open, self.entered = threading.Event(), threading.Semaphore(0)
        self.calls: list[int] = []

    def predict(self, inputs: Mapping[str, Any]) -> list[Any]:
        rows = len(next(iter(inputs.values())))
        self.calls.append(rows)
        self.entered.release()
        if not self.open.wait(WAIT):
            raise TimeoutError
        if any(np.isnan(array).any() for array in inputs.values()):
            raise ValueError("poison")
        return self._predict(inputs)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=WAIT)


@pytest.fixture
async def gate(loaded: Loaded) -> AsyncIterator[Gate]:
    gate = Gate(loaded)
    yield gate
    gate.open.set()


def served(loaded: Loaded, gate: Gate, limits: Limits = LIMITS, *, joins: bool = False) -> Service:
    """A service that runs every prediction in its thread."""
    slow = replace(loaded, backend=gate, seconds_per_call=1.0)
    service = Service(ONE, slow, limits)
    if joins:
        service.admission._rows, service.line.joins = limits.batch_rows, True
    return service


def client_of(service: Service) -> tuple[Models, httpx.AsyncClient]:
    models = Models(Settings((ONE,), limits=service.limits))
    models.serve(service)
    transport = httpx.ASGITransport(app=App(models))
    return models, httpx.AsyncClient(transport=transport, base_url="http://m", timeout=WAIT)


def request(value: float = 1.0) -> InferRequest:
    return InferRequest({"input-0": np.full((1, 3), value, np.float32)}, 1, (0, 1))


async def until_waiting(service: Service, count: int) -> None:
    async with asyncio.timeout(WAIT):
        while service.admission.waiting != count:  # noqa: ASYNC110  the line tells nobody
            await asyncio.sleep(0)


@pytest.mark.parametrize("joins", [False, True])
async def test_who_waits_for_a_version_that_is_closed_is_told_so_and_its_call_is_answered(
    loaded: Loaded, gate: Gate, joins: bool
) -> None:
    """One that was replaced is closed after 20 s, whoever waits for it still."""
    service = served(loaded, gate, joins=joins)
    first = asyncio.create_task(service.infer(request()))
    await gate.reached()
    waiting = [asyncio.create_task(service.infer(request())) for _ in range(2)]
    await until_waiting(service, 2)
    service.close()
    for each in (*waiting, asyncio.create_task(service.infer(request()))):
        with pytest.raises(RequestError, match="another one takes its place") as refused:
            await each
        assert refused.value.status == 503
    gate.open.set()
    assert (await first).outputs
    assert not service.at_work


async def test_a_request_whose_time_is_over_counts_as_that_once_though_its_client_goes_in_that_moment(
    loaded: Loaded, gate: Gate
) -> None:
    """As clients of gRPC do: their library gives the call up at the deadline that the server has, too."""
    service, loop = served(loaded, gate), asyncio.get_running_loop()
    service.admission.seconds = 0.0
    first = asyncio.create_task(service.infer(request()))
    await gate.reached()
    until = time.monotonic() + 0.5
    before, after = (asyncio.create_task(service.infer(request(), deadline=until)) for _ in range(2))
    await until_waiting(service, 2)
    loop.call_later(until + 0.001 - time.monotonic(), after.cancel)  # in one round with the end of its time
    while time.monotonic() < until + 0.002:
        pass  # the loop is not to come to either
    before.cancel()
    given = await asyncio.gather(before, after, return_exceptions=True)
    assert {type(each) for each in given} == {asyncio.CancelledError}
    refused = service.admission.refused
    assert (refused["deadline"], refused["client_gone"]) == (2, 0)
    service.recorder.fold()
    requests = service.recorder.state.as_json(service.recorder.state.vector)["requests"]
    assert requests == {"ok": 0, "client_error": 0, "server_error": 2}
    gate.open.set()
    assert (await first).outputs


async def test_beyond_the_line_it_is_429_and_the_rest_is_answered(loaded: Loaded, gate: Gate) -> None:
    service = served(loaded, gate)
    models, client = client_of(service)
    async with client:
        sent = [asyncio.create_task(client.post(PATH, json=BODY))]
        await gate.reached()
        sent += [asyncio.create_task(client.post(PATH, json=BODY)) for _ in range(2)]
        await until_waiting(service, 2)
        refused = await client.post(PATH, json=BODY)
        assert (refused.status_code, set(refused.json())) == (429, {"error"})
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["noria-version"] == "m-1"
        assert (await client.get("/v2/health/ready")).status_code == 200
        gate.open.set()
        assert [(await each).status_code for each in sent] == [200] * 3
    transport = httpx.ASGITransport(app=CountersApp(models))
    async with httpx.AsyncClient(transport=transport, base_url="http://m") as counters:
        text = (await counters.get("/metrics")).text
    assert 'model_requests_rejected_total{model="m",reason="queue_full",version="m-1"} 1.0' in text
    assert 'model_requests_waiting{model="m",version="m-1"} 0.0' in text
    assert 'model_batch_rows_count{model="m",version="m-1"} 3.0' in text
    assert 'model_server_connections_lost_total{reason="slow_request"} 0.0' in text


async def test_a_request_of_more_rows_than_may_be_asked_at_once_meets_no_model(
    loaded: Loaded, gate: Gate
) -> None:
    """A body within its limit has a row a byte, where rows are narrow."""
    gate.open.set()
    service = served(loaded, gate, Limits(max_rows=2))
    _, client = client_of(service)

    def body(rows: int) -> dict[str, Any]:
        return {"inputs": [{**BODY["inputs"][0], "shape": [rows, 3], "data": [1, 2, 3] * rows}]}

    async with client:
        assert (await client.post(PATH, json=body(2))).status_code == 200
        for path, sent in ((PATH, body(3)), ("/v1/models/m:predict", {"instances": [[1, 2, 3]] * 3})):
            refused = await client.post(path, json=sent)
            assert (refused.status_code, refused.headers["noria-version"]) == (413, "m-1")
            assert refused.json() == {
                "error": "the request has 3 rows, the limit is 2: ask for them in several requests"
            }
    assert gate.calls == [2]
    service.recorder.fold()
    counted = service.recorder.state.as_json(service.recorder.state.vector)["requests"]
    assert counted == {"ok": 1, "client_error": 2, "server_error": 0}
    anything = served(loaded, gate, Limits(max_rows=0))
    assert (await anything.infer(request())).outputs


def posted(path: str = PATH) -> bytes:
    body = json.dumps(BODY).encode()
    return b"POST %b HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (path.encode(), len(body), body)


async def answers(server: uvicorn.Server, *requests: bytes, split: bool = False) -> list[tuple[int, bytes]]:
    """Status and answer of each, over a connection each; all are whole before the server reads any.

    `split`: it has begun all of them before their last byte comes, as of clients that send the body apart.
    """
    port, tasks = server.servers[0].sockets[0].getsockname()[1], server.server_state.tasks
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in requests]
    async with asyncio.timeout(WAIT):
        if split:
            for (_, writer), request in zip(opened, requests, strict=True):
                writer.write(request[:-1])
            while len(tasks) < len(requests):  # noqa: ASYNC110  the server tells nobody
                await asyncio.sleep(0)
        for (_, writer), request in zip(opened, requests, strict=True):
            writer.write(request[-1:] if split else request)
        answered = [await reader.readuntil(b"}") for reader, _ in opened]
    for _, writer in opened:
        writer.close()
    return [(int(answer[9:12]), answer) for answer in answered]


@pytest.mark.parametrize("split", [False, True])
async def test_beyond_the_line_for_the_event_loop_it_is_429_too(loaded: Loaded, split: bool) -> None:
    """One begins, two wait; the line is empty again once they are answered."""
    service = Service(ONE, replace(loaded, seconds_per_call=1e-5), LIMITS)
    life = Lifecycle(Settings((ONE,), limits=LIMITS))
    life.models.serve(service)
    server = life._server(App(life.models), 20)
    serving = asyncio.create_task(server.serve(sockets=[socket.create_server(("127.0.0.1", 0))]))
    while not server.started:  # noqa: ASYNC110  nor this
        await asyncio.sleep(0)
    for _ in range(2):
        answered = await answers(server, *[posted()] * 9, split=split)
        assert sorted(status for status, _ in answered) == [200] * 3 + [429] * 6
    refused = next(answer for status, answer in answered if status == 429)
    assert b"\r\nretry-after: 1\r\n" in refused
    assert b"\r\nnoria-version: m-1\r\n" in refused
    assert service.admission.refused["queue_full"] == 12
    mixed = await answers(server, *[posted("/v2/models/nobody/infer")] * 4, posted())
    assert [status for status, _ in mixed] == [404] * 4 + [429]  # what came first takes the loop's time, too
    assert [status for status, _ in await answers(server, posted())] == [200]
    server.should_exit = True
    await serving


async def test_a_server_whose_line_has_no_place_takes_no_prediction(loaded: Loaded) -> None:
    """Not only where some would have to wait."""
    service = Service(ONE, replace(loaded, seconds_per_call=1e-5), Limits(max_queue=0))
    with pytest.raises(RequestError, match="takes no requests") as refused:
        await service.infer(request())
    assert refused.value.status == 429


async def test_golden_rows_in_the_thread_meet_no_prediction_beside_it(loaded: Loaded, gate: Gate) -> None:
    service = served(loaded, gate)
    service.line._thread.submit(gate.open.wait)  # a thread that gets no CPU yet
    proving = asyncio.create_task(service.line.call(lambda: gate.predict(request().inputs)))
    await asyncio.sleep(0)
    assert not service.line.idle
    gate.open.set()
    await proving
    assert service.line.idle


@pytest.mark.parametrize(
    ("headers", "parameters"),
    [({"x-envoy-expected-rq-timeout-ms": "1000"}, {}), ({}, {"timeout": 1_000_000})],
)
async def test_a_deadline_is_504_also_when_the_model_is_at_it_and_what_waits_is_not_begun(
    loaded: Loaded, gate: Gate, headers: dict[str, str], parameters: dict[str, int]
) -> None:
    service = served(loaded, gate)
    _, client = client_of(service)
    body = {**BODY, "parameters": parameters}
    async with client:
        answers = await asyncio.gather(*(client.post(PATH, json=body, headers=headers) for _ in range(2)))
        assert [answer.status_code for answer in answers] == [504, 504]
        assert all("time was over" in answer.json()["error"] for answer in answers)
        gate.open.set()
        assert (await client.post(PATH, json=BODY)).status_code == 200
    assert gate.calls == [1, 1]


async def test_a_deadline_that_passed_on_the_way_is_not_begun(loaded: Loaded) -> None:
    service = Service(ONE, loaded)
    with pytest.raises(RequestError) as caught:
        await service.infer(request(), deadline=time.monotonic())
    assert caught.value.status == 504
    assert service.recorder._requests == [0, 0, 1]


async def test_a_client_that_leaves_gives_its_place_to_another(loaded: Loaded, gate: Gate) -> None:
    service = served(loaded, gate)
    tasks = [asyncio.create_task(service.infer(request()))]
    await gate.reached()
    tasks += [asyncio.create_task(service.infer(request())) for _ in range(2)]
    await until_waiting(service, 2)
    tasks[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    assert (service.admission.waiting, service.admission.refused["client_gone"]) == (1, 1)
    assert service.recorder._refused[Why.UNANSWERED] == 1
    tasks.append(asyncio.create_task(service.infer(request())))
    await until_waiting(service, 2)
    gate.open.set()
    for index in (0, 2, 3):
        assert (await tasks[index]).outputs
    assert (service.in_flight, len(gate.calls)) == (0, 3)


async def test_requests_that_wait_are_answered_by_one_call_and_the_poisoned_one_fails_alone(
    loaded: Loaded, gate: Gate
) -> None:
    limits = Limits(max_queue=9)
    service = served(loaded, gate, limits, joins=True)
    first = asyncio.create_task(service.infer(request()))
    await gate.reached()
    values = [-1.0, 0.5, float("nan"), 2.0]
    others = [asyncio.create_task(service.infer(request(value))) for value in values]
    await until_waiting(service, 4)
    gate.open.set()
    answers = await asyncio.gather(first, *others, return_exceptions=True)
    assert gate.calls == [1, 4, 1, 1, 1, 1]
    assert isinstance(answers[3], RequestError)
    for value, answer in zip(values, answers[1:], strict=True):
        if not np.isnan(value):
            alone = loaded.backend.predict({"input-0": np.full((1, 3), value, np.float32)})
            np.testing.assert_allclose(answer.outputs[1], alone[1], rtol=1e-6)


async def test_a_model_that_exits_the_interpreter_is_an_error_of_the_model(
    loaded: Loaded, gate: Gate
) -> None:
    service = served(loaded, gate)

    def leave(inputs: Mapping[str, Any]) -> list[Any]:
        raise SystemExit(3)

    service.line.predict = leave
    with pytest.raises(RequestError, match="SystemExit") as caught:
        await service.infer(request())
    assert caught.value.status == 500


async def test_a_prediction_that_never_returns_ends_ready_and_then_live_until_it_does(
    loaded: Loaded, gate: Gate
) -> None:
    service = served(loaded, gate, replace(LIMITS, deadline=30))
    models, client = client_of(service)
    async with client:
        headers = {"x-envoy-expected-rq-timeout-ms": "1000"}
        assert (await client.post(PATH, json=BODY, headers=headers)).status_code == 504
        await gate.reached()
        began = service.line._began
        assert began is not None
        service.line._began = began - 60
        service.tick()
        assert (await client.get("/v2/health/ready")).status_code == 503
        assert "has been running for" in (await client.post(PATH, json=BODY)).json()["error"]
        assert (await client.get("/v2/health/live")).status_code == 200
        service.line._began = began - 120
        live = await client.get("/v2/health/live")
        assert live.status_code == 503
        assert live.json() == {
            "live": False, "error": "a prediction does not end: this process will be replaced",
        }  # fmt: skip
        gate.open.set()
        async with asyncio.timeout(WAIT):
            while not models.ready:
                service.tick()
                await asyncio.sleep(0.01)
        assert (await client.get("/v2/health/live")).status_code == 200


async def test_a_client_that_would_wait_for_years_hides_no_model_that_is_stuck(
    loaded: Loaded, gate: Gate
) -> None:
    service = served(loaded, gate, replace(LIMITS, deadline=30))
    asked = asyncio.create_task(service.infer(request()._replace(deadline=time.monotonic() + 1e9)))
    await gate.reached()
    began = service.line._began
    assert began is not None
    service.line._began = began - 7000
    service.tick()
    assert not service.soundness.fault
    service.line._began = began - 7300
    service.tick()
    assert "has been running for" in service.soundness.fault
    service.line._began = began - 14500
    assert service.soundness.hopeless
    gate.open.set()
    assert (await asked).outputs
    service.close()


async def test_a_version_whose_housekeeping_fails_takes_it_from_no_other_and_gets_it_again(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls that do not end are found there."""
    two = replace(ONE, version="m-2", number="2")
    models, ticked = Models(Settings((ONE, two))), asyncio.Queue[str]()
    for settings in (ONE, two):
        models.serve(Service(settings, loaded))

    def tick(service: Service) -> None:
        ticked.put_nowait(service.settings.number)
        if service.settings == ONE:
            raise ValueError("one")

    monkeypatch.setattr(Service, "tick", tick)
    monkeypatch.setattr(served_models, "INTERVAL_SECONDS", 0)
    ticking = asyncio.create_task(models.keep_ticking())
    async with asyncio.timeout(WAIT):
        assert [await ticked.get() for _ in range(4)] == ["1", "2", "1", "2"]
    ticking.cancel()
    assert caplog.messages[0] == "housekeeping failed"


async def test_small_predictions_stay_off_the_thread_and_are_never_joined(loaded: Loaded) -> None:
    service = Service(ONE, loaded)
    await asyncio.gather(*(service.infer(request()) for _ in range(5)))
    assert sum(service.line.rows.counts) == 0
    assert not service.line.joins


async def test_large_bodies_share_a_bounded_memory(loaded: Loaded) -> None:
    models = Models(Settings((ONE,), limits=replace(LIMITS, max_buffered=1000)))
    models.serve(Service(ONE, loaded))
    transport = httpx.ASGITransport(app=App(models))

    async def pieces(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b" " * 100

    async with httpx.AsyncClient(transport=transport, base_url="http://m") as client:
        answer = await client.post(PATH, content=pieces(11))
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert (await client.post(PATH, content=pieces(9))).status_code == 400
    assert models.inbox.held == 0


async def test_a_large_body_that_comes_in_one_piece_is_held_against_the_same() -> None:
    """As those of up to 250 kB do."""
    inbox = Inbox(100_000)

    def call(size: int) -> Call:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b" " * size, "more_body": False}

        return Call({"method": "POST", "path": PATH, "query_string": b"", "headers": []}, receive, inbox)

    first, small, second = call(70_000), call(60_000), call(70_000)
    assert [len(await each.body(10**6)) for each in (first, small)] == [70_000, 60_000]
    assert inbox.held == 70_000
    with pytest.raises(RequestError) as refused:
        await second.body(10**6)
    assert refused.value.status == 429
    for each in (first, small, second):
        each.release()
    assert inbox.held == 0


async def test_what_large_bodies_held_waits_for_no_further_ones_to_be_counted(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "SMALL", 1)
    monkeypatch.setattr(recorder, "FOLD_BYTES", 1)
    service = Service(ONE, loaded)
    _, client = client_of(service)
    async with client:
        assert (await client.post(PATH, json=BODY)).status_code == 200
    await asyncio.sleep(0)
    state = service.recorder.state
    assert state.vector[state.predictions] == 1


async def test_packed_bodies_count_with_their_unpacked_size(loaded: Loaded) -> None:
    models = Models(Settings((ONE,), limits=replace(LIMITS, max_buffered=100_000)))
    models.serve(Service(ONE, loaded))
    transport = httpx.ASGITransport(app=App(models))
    async with httpx.AsyncClient(transport=transport, base_url="http://m") as client:
        for size, status in ((90_000, 400), (110_000, 429)):
            packed = gzip.compress(b" " * size)
            answer = await client.post(PATH, content=packed, headers={"content-encoding": "gzip"})
            assert (answer.status_code, models.inbox.held) == (status, 0)
