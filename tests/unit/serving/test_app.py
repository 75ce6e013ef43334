import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

from noria_operator.domain.drift import columns as drift
from noria_operator.evidence import windows
from noria_serving import contract, reference
from noria_serving.model.loaded import Loaded
from noria_serving.server.app import App
from noria_serving.server.counters_app import CountersApp
from noria_serving.server.models import Models
from noria_serving.server.routes import feedback
from noria_serving.server.service import Service
from noria_serving.settings import ModelSettings, Settings

LATE = ModelSettings(
    bundle="", namespace="shop", deployment="late", model="late-model", version="late-model-4", number="4"
)
SETTINGS = Settings((LATE,), max_body=4096)
GOOD: dict[str, Any] = {
    "id": "q1",
    "inputs": [{"name": "input-0", "shape": [2, 3], "datatype": "FP32", "data": [[1, 2, 3], [-1, 0, 1]]}],
}
BASE = "/v2/models/late"


@pytest.fixture
def models(loaded: Loaded) -> Models:
    models = Models(SETTINGS)
    models.serve(Service(LATE, loaded))
    return models


@pytest.fixture
async def client(models: Models) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=App(models))
    async with httpx.AsyncClient(transport=transport, base_url="http://late") as client:
        yield client


async def counts(models: Models, query: str = "") -> dict[str, Any]:
    transport = httpx.ASGITransport(app=CountersApp(models))
    async with httpx.AsyncClient(transport=transport, base_url="http://late") as client:
        return (await client.get(f"/counters{query}")).json()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2", {"name", "version", "extensions"}),
        ("/v2/", {"name", "version", "extensions"}),
        ("/v2/health/live", {"live"}),
        ("/v2/health/ready", {"live", "ready"}),
        (BASE, {"name", "versions", "platform", "inputs", "outputs"}),
        (f"{BASE}/versions/4", {"name", "versions", "platform", "inputs", "outputs"}),
        (f"{BASE}/ready", {"name", "ready"}),
        ("/v2/models/late-model/versions/4/ready", {"name", "ready"}),
    ],
)
async def test_what_has_no_body_is_answered_as_the_protocol_says(
    client, path: str, expected: set[str]
) -> None:
    response = await client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert set(response.json()) == expected


@pytest.mark.parametrize("path", [BASE, f"{BASE}/versions/4", "/v2/models/late-model"])
async def test_an_inference_is_answered_under_every_name(client, loaded: Loaded, path: str) -> None:
    response = await client.post(f"{path}/infer", json=GOOD)
    document = response.json()
    assert response.status_code == 200
    assert (document["model_name"], document["model_version"], document["id"]) == (
        path.split("/")[3],
        "4",
        "q1",
    )
    assert [output["shape"] for output in document["outputs"]] == [[2], [2, 2]]
    rows = np.array(GOOD["inputs"][0]["data"], dtype=np.float32)
    expected = loaded.backend.predict({"input-0": rows})[1]
    np.testing.assert_allclose(np.reshape(document["outputs"][1]["data"], (2, 2)), expected, rtol=1e-6)
    assert document["parameters"]["feedback_token"] == response.headers["noria-feedback"]


async def test_only_the_outputs_asked_for_come_and_no_id_is_made_up(client) -> None:
    document = (
        await client.post(f"{BASE}/infer", json={"inputs": GOOD["inputs"], "outputs": [{"name": "label"}]})
    ).json()
    assert [output["name"] for output in document["outputs"]] == ["label"]
    assert "id" not in document


def wrong(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{**GOOD["inputs"][0], **changes}]}


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", f"{BASE}/infer", "{", 400),
        ("POST", f"{BASE}/infer", "", 400),
        ("POST", f"{BASE}/infer", "{}", 400),
        ("POST", f"{BASE}/infer", json.dumps(wrong(datatype="FLOAT")), 400),
        ("POST", f"{BASE}/infer", json.dumps(wrong(shape=[3, 3])), 400),
        ("POST", f"{BASE}/infer", json.dumps(wrong(data=["a"] * 6)), 400),
        ("POST", f"{BASE}/infer", json.dumps({"inputs": []}), 400),
        ("POST", f"{BASE}/infer", json.dumps({**GOOD, "outputs": [{"name": "nope"}]}), 400),
        ("POST", f"{BASE}/infer", " " * 5000, 413),
        ("POST", "/v2/models/other/infer", json.dumps(GOOD), 404),
        ("POST", f"{BASE}/versions/5/infer", json.dumps(GOOD), 404),
        ("GET", "/v2/models/other", "", 404),
        ("GET", "/v2/models/other/ready", "", 404),
        ("GET", "/nothing", "", 404),
        ("GET", "/metrics", "", 404),
        ("GET", f"{BASE}/infer", "", 405),
        ("DELETE", BASE, "", 405),
        ("POST", "/v2/health/live", "", 405),
        ("GET", f"{BASE}/feedback", "", 405),
    ],
)
async def test_every_mistake_is_a_4xx_with_one_sentence(
    client, method: str, path: str, content: str, status: int
) -> None:
    response = await client.request(method, path, content=content)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"]
    assert isinstance(response.json()["error"], str)
    if status == 405:
        assert response.headers["allow"]


async def test_a_body_that_only_turns_out_too_large_is_413(client) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 1000

    assert (await client.post(f"{BASE}/infer", content=pieces())).status_code == 413


async def test_before_the_model_is_there_the_server_is_live_and_not_ready() -> None:
    transport = httpx.ASGITransport(app=App(Models(SETTINGS)))
    async with httpx.AsyncClient(transport=transport, base_url="http://late") as client:
        statuses = [
            (await client.get(path)).status_code
            for path in ("/v2/health/live", "/v2/health/ready", f"{BASE}/ready", BASE)
        ]
        asked = await client.post(f"{BASE}/infer", json=GOOD)
    assert [*statuses, asked.status_code] == [200, 503, 503, 503, 503]
    assert int(asked.headers["retry-after"]) >= 1


class Broken:
    def __init__(self, signature: Any, answer: Any) -> None:
        self.signature, self._answer = signature, answer

    def predict(self, inputs: Any) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        if callable(self._answer):
            return self._answer(len(next(iter(inputs.values()))))
        return self._answer


def breaks(service: Service, answer: Any) -> None:
    """From now on its model gives this answer, raises it, or makes it for so many rows."""
    model = Broken(service.signature, answer)
    takes(service, replace(service.loaded, backend=model))
    service.line.predict = model.predict


def takes(service: Service, loaded: Loaded) -> None:
    service.loaded = service.soundness.loaded = loaded


def no_scores(rows: int) -> list[Any]:
    return [np.ones(rows, np.int64), np.full((rows, 2), np.nan, np.float32)]


@pytest.mark.parametrize("answer", [ValueError("boom"), no_scores])
async def test_a_model_that_fails_is_500_and_counted(models: Models, client, answer: Any) -> None:
    breaks(next(models.services()), answer)
    response = await client.post(f"{BASE}/infer", json=GOOD)
    assert response.status_code == 500
    assert list(response.json()) == ["error"]
    assert (await counts(models))["requests"] == {"ok": 0, "client_error": 0, "server_error": 1}


async def proven() -> None:
    """What the server began by itself is done."""
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))


@pytest.mark.parametrize(
    ("answer", "more"),
    [
        (ValueError("boom"), {}),
        (no_scores, {}),
        (no_scores, {"parameters": {"binary_data_output": True}}),
        (no_scores, {"outputs": [{"name": "label"}]}),
    ],
)
async def test_a_model_that_fails_later_is_not_ready_until_its_golden_answers_are_right_again(
    models: Models, client, loaded: Loaded, answer: Any, more: dict[str, Any]
) -> None:
    service = next(models.services())
    breaks(service, answer)
    asked = await client.post(f"{BASE}/infer", json={**GOOD, **more})
    assert asked.status_code == 500
    await proven()
    ready = await client.get("/v2/health/ready")
    assert (ready.status_code, ready.json()) == (
        503,
        {"live": False, "ready": False, "error": f"model 'late' failed: {service.soundness.fault}"},
    )
    assert "golden" in service.soundness.fault
    entries = (await client.post("/v2/repository/index")).json()
    assert {(entry["state"], entry["reason"]) for entry in entries} == {
        ("UNAVAILABLE", service.soundness.fault)
    }
    assert (await client.post(f"{BASE}/infer", json=GOOD)).status_code == 503
    takes(service, loaded)
    service.tick()
    await proven()
    assert (await client.get("/v2/health/ready")).json() == {"live": True, "ready": True}
    assert (await client.post(f"{BASE}/infer", json=GOOD)).status_code == 200


async def test_a_model_that_gave_nan_for_rows_of_training_may_give_it_where_it_can_be_sent(
    models: Models, client
) -> None:
    service = next(models.services())
    breaks(service, no_scores)
    known = service.loaded.reference
    prediction = replace(known.prediction, missing=1)
    takes(service, replace(service.loaded, reference=replace(known, prediction=prediction)))
    binary = {**GOOD, "parameters": {"binary_data_output": True}}
    assert (await client.post(f"{BASE}/infer", json=binary)).status_code == 200
    assert (await client.post(f"{BASE}/infer", json=GOOD)).status_code == 500


async def test_good_answers_and_answers_to_bad_rows_ask_for_no_proof(
    models: Models, client, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = next(models.services())
    monkeypatch.setattr(service.soundness, "prove_soon", lambda: pytest.fail("a proof"))
    for data in ([1, 2, 3, 4, 5, 6], [1, 2, None, 4, 5, 6]):
        asked = {**wrong(data=data), "parameters": {"binary_data_output": True}}
        assert (await client.post(f"{BASE}/infer", json=asked)).status_code == 200
        service.tick()


@pytest.mark.parametrize("rows", [1, 3])
async def test_a_model_that_gives_more_or_fewer_predictions_than_rows_fails_and_spoils_no_counts(
    models: Models, client, loaded: Loaded, rows: int
) -> None:
    outputs = [np.zeros(rows, np.int64), np.full((rows, 2), 0.5, np.float32)]
    service = next(models.services())
    breaks(service, outputs)
    response = await client.post(f"{BASE}/infer", json=GOOD)
    assert (response.status_code, response.json()) == (
        500,
        {"error": f"the model gave {rows} predictions for 2 rows"},
    )
    takes(service, loaded)
    assert (await client.post(f"{BASE}/infer", json=GOOD)).status_code == 200
    said = await counts(models)
    assert (said["requests"], said["predictions"]) == ({"ok": 1, "client_error": 0, "server_error": 1}, 2)


async def test_rows_unlike_training_are_told_first_and_do_not_fill_the_log(
    models: Models, client, caplog: pytest.LogCaptureFixture
) -> None:
    """Else whoever sends bad rows writes a traceback a request."""
    breaks(next(models.services()), ValueError("no NaN\nRead more at https://example.com"))
    response = await client.post(f"{BASE}/infer", json=wrong(data=[1, 2, None, 4, 5, 6]))
    strange = "feature 'x2' is missing in row 0, and was never missing in training"
    said = f"{strange}; the model failed: ValueError: no NaN"
    assert (response.status_code, response.json()) == (400, {"error": said})
    assert "model failed" not in caplog.messages
    assert (await client.post(f"{BASE}/infer", json=GOOD)).json() == {
        "error": "the model failed: ValueError: no NaN"
    }
    assert "model failed" in caplog.messages


async def test_requests_and_rows_are_counted_and_a_window_is_their_difference(models: Models, client) -> None:
    await client.post(f"{BASE}/infer", json=GOOD)
    await client.post(f"{BASE}/infer", content="{")
    next(models.services()).tick()
    first = await counts(models)
    await client.post(f"{BASE}/infer", json=GOOD)
    whole, window = await counts(models), await counts(models, f"?since={first['at']}")
    assert first["requests"] == {"ok": 1, "client_error": 1, "server_error": 0}
    assert (whole["predictions"], window["predictions"]) == (4, 2)
    assert whole["from"] == whole["started"] <= window["from"] <= first["at"]
    assert (whole["deployment"], whole["version"]) == ("late", "late-model-4")
    assert set(whole["features"]) == {"x0", "x1", "x2"}
    assert sum(whole["prediction"]["bins"]) == 4
    read = windows.parse(whole)
    assert read is not None
    compared = windows.outputs(read.counts, "late-model-4")
    assert compared is not None, "the operator finds what it compares versions by"
    assert compared.rows == 4


@pytest.mark.parametrize("name", ["since", "keep"])
@pytest.mark.parametrize("time", ["x", "nan", "inf", "-inf", "1e999", "1,x"])
async def test_a_window_begins_at_a_time(models: Models, name: str, time: str) -> None:
    assert await counts(models, f"?{name}={time}") == {"error": f"`{name}` must be a Unix time in seconds"}


async def test_feedback_is_taken_once_by_body_by_header_and_in_batches(models: Models, client) -> None:
    tokens = [(await client.post(f"{BASE}/infer", json=GOOD)).headers["noria-feedback"] for _ in range(3)]
    path = f"{BASE}/feedback"
    assert (await client.post(path, json={"token": tokens[0], "labels": [1, 0]})).json() == {
        "result": "matched",
        "rows": 2,
    }
    again = await client.post(path, json={"token": tokens[0], "labels": [1, 0]})
    assert (again.status_code, again.json()["reason"]) == (409, "duplicate")
    unsaid = {"token": None, "labels": [1, 0], "items": None}  # of clients that write down every field
    by_header = await client.post(path, json=unsaid, headers={"Noria-Feedback": tokens[1]})
    assert by_header.status_code == 200
    items = [
        {"token": tokens[2], "labels": [0, 1]},
        {"token": tokens[0], "labels": [1, 1]},
        {"token": "x", "labels": []},
        3,
    ]
    batch = (await client.post(path, json={"items": items})).json()
    assert [entry["result"] for entry in batch["results"]] == ["matched", "duplicate", "invalid", "invalid"]
    totals = await counts(models)
    assert totals["feedback"]["matched"] == 3
    assert list(totals["scores"]) == ["late-model-4"]


async def test_others_are_answered_while_a_batch_of_labels_is_counted(
    models: Models, client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback, "ROWS_AT_ONCE", 4)
    turns: list[int] = []

    async def others() -> None:
        while True:
            turns.append(len(turns))
            await asyncio.sleep(0)

    service = models.find("late", None)
    accepted: list[int] = []
    accept = service.desk.accept

    def counted(*given: Any) -> Any:
        accepted.append(len(turns))
        return accept(*given)

    monkeypatch.setattr(service.desk, "accept", counted)
    other = asyncio.create_task(others())
    items = [{"token": "x", "labels": [1, 0]} for _ in range(20)]
    found = (await client.post(f"{BASE}/feedback", json={"items": items})).json()
    other.cancel()
    assert (found["matched"], len(found["results"])) == (0, 20)
    assert accepted[-1] - accepted[0] >= 9, "a turn after every second item"


async def test_the_counters_port_tells_how_many_processes_died_before_this_one(models: Models) -> None:
    models.restarts = 2
    assert (await counts(models))["restarts"] == 2


async def test_the_counters_port_tells_how_many_requests_are_not_answered(models: Models) -> None:
    (service,) = models.services()
    service.in_flight = 3
    assert (await counts(models))["in_flight"] == 3


async def test_the_counters_port_tells_the_frozen_bins_of_the_version(models: Models, loaded: Loaded) -> None:
    transport = httpx.ASGITransport(app=CountersApp(models))
    async with httpx.AsyncClient(transport=transport, base_url="http://late") as client:
        told = (await client.get(contract.REFERENCE_PATH)).json()
        assert (await client.get(f"{contract.REFERENCE_PATH}?version=9")).status_code == 404
        assert (await client.post(contract.REFERENCE_PATH)).status_code == 405
    assert (told["version"], told["digest"]) == ("late-model-4", loaded.manifest.digest)
    assert reference.parse(told) == loaded.reference
    assert drift.parse(told).columns[2].bins == loaded.reference.features[2].counts


async def test_prometheus_sees_every_bin_from_the_start(models: Models) -> None:
    transport = httpx.ASGITransport(app=CountersApp(models))
    async with httpx.AsyncClient(transport=transport, base_url="http://late") as client:
        text = (await client.get("/metrics")).text
        missing = await client.get("/metric")
        assert (await client.post("/counters")).status_code == 405
    own = 'model="late-model",version="late-model-4"'
    assert f'model_feature_bin_total{{bin="9",feature="x2",{own}}} 0.0' in text
    assert f'model_request_duration_seconds_bucket{{le="0.001",{own}}} 0.0' in text
    assert missing.status_code == 404


async def test_a_draining_server_is_not_ready_but_answers_and_closes(models: Models, client) -> None:
    models.draining = True
    assert (await client.get("/v2/health/ready")).status_code == 503
    assert (await client.get("/v2/health/live")).status_code == 200
    response = await client.post(f"{BASE}/infer", json=GOOD)
    assert (response.status_code, response.headers["connection"]) == (200, "close")
