"""The Open Inference Protocol over HTTP, case by case: what each call must answer, and what each mistake."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest

from noria_serving.model.loaded import Loaded
from noria_serving.server.app import App
from noria_serving.server.models import Models
from noria_serving.server.service import Service
from noria_serving.settings import ModelSettings, Settings

ONE = ModelSettings("", deployment="iris", model="iris", version="iris-9", number="9")
TWO = ModelSettings("", deployment="iris", model="iris", version="iris-10", number="10")
COLUMNS = ModelSettings("", deployment="f", model="f", version="f-1", number="1")
SETTINGS = Settings((ONE, TWO, COLUMNS), max_body=65_536)
ROWS = [[0.1, 0.2, 0.3], [-1.0, 0.0, 1.0]]
INPUT: dict[str, Any] = {"name": "input-0", "shape": [2, 3], "datatype": "FP32", "data": ROWS}
INFER = "/v2/models/iris/infer"
LENGTH = "Inference-Header-Content-Length"


@pytest.fixture
def models(loaded: Loaded, loaded_frame: Loaded) -> Models:
    models = Models(SETTINGS)
    for settings, bundle in ((ONE, loaded), (TWO, loaded), (COLUMNS, loaded_frame)):
        models.serve(Service(settings, bundle))
    return models


@pytest.fixture
async def client(models: Models) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=App(models))
    async with httpx.AsyncClient(transport=transport, base_url="http://s") as client:
        yield client


def has_null(document: Any) -> bool:
    if isinstance(document, dict):
        return any(map(has_null, document.values()))
    return any(map(has_null, document)) if isinstance(document, list) else document is None


def requests(service: Service) -> tuple[int, int]:
    """(good, refused)."""
    service.recorder.fold()
    counts = service.recorder.state.as_json(service.recorder.state.vector)["requests"]
    return counts["ok"], counts["client_error"]


def tensor(**changes: Any) -> str:
    return json.dumps({"inputs": [{**INPUT, **changes}]})


@pytest.mark.parametrize(
    ("probe", "method", "path", "content", "status"),
    [
        ("malformed JSON", "POST", INFER, "{", 400),
        ("missing inputs", "POST", INFER, "{}", 400),
        ("no body", "POST", INFER, "", 400),
        ("unknown datatype", "POST", INFER, tensor(datatype="FLOAT"), 400),
        ("shape does not match data", "POST", INFER, tensor(shape=[3, 3]), 400),
        ("string in FP32", "POST", INFER, tensor(data=["a"] * 6), 400),
        ("empty inputs", "POST", INFER, '{"inputs": []}', 400),
        ("unknown output", "POST", INFER, json.dumps({"inputs": [INPUT], "outputs": [{"name": "x"}]}), 400),
        ("unknown model", "POST", "/v2/models/none/infer", tensor(), 404),
        ("unknown version", "POST", "/v2/models/iris/versions/7/infer", tensor(), 404),
        ("unknown path", "GET", "/nowhere", "", 404),
        ("wrong method", "GET", INFER, "", 405),
        ("wrong method", "DELETE", "/v2/models/iris", "", 405),
        ("wrong method", "POST", "/v2/health/ready", "", 405),
        ("too large", "POST", INFER, " " * 70_000, 413),
        ("load refused", "POST", "/v2/repository/models/iris/load", "{}", 400),
        ("load of an unknown model", "POST", "/v2/repository/models/none/load", "", 404),
        ("bad parameters", "POST", INFER, json.dumps({"parameters": 3, "inputs": [INPUT]}), 400),
        ("bad input parameters", "POST", INFER, tensor(parameters=[]), 400),
        ("V1 unknown model", "POST", "/v1/models/none:predict", '{"instances": [1]}', 404),
        ("V1 no instances", "POST", "/v1/models/iris:predict", '{"instances": []}', 400),
        ("V1 explain", "POST", "/v1/models/iris:explain", "{}", 404),
        ("V1 unknown verb", "POST", "/v1/models/iris:predicts", "{}", 404),
        ("V1 unknown verb", "GET", "/v1/models/iris:predicts", "", 404),
    ],
)
async def test_every_mistake_has_the_protocols_error(  # noqa: PLR0917  a row of the table
    client: httpx.AsyncClient, probe: str, method: str, path: str, content: str, status: int
) -> None:
    response = await client.request(method, path, content=content)
    assert response.status_code == status, probe
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"]
    assert len(response.json()["error"]) > 10
    assert (status == 405) == ("allow" in response.headers)


@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=x", "text/html", "image/png"])
async def test_what_cannot_be_a_request_by_its_type_is_415(
    client: httpx.AsyncClient, content_type: str
) -> None:
    response = await client.post(INFER, content=tensor(), headers={"content-type": content_type})
    assert (response.status_code, list(response.json())) == (415, ["error"])


@pytest.mark.parametrize(
    "content_type",
    [None, "application/json; charset=utf-8", "application/octet-stream", "application/x-www-form-urlencoded",
     "application/vnd.api+json"],
)  # fmt: skip
async def test_json_is_taken_under_every_type_that_clients_send_it_with(
    client: httpx.AsyncClient, content_type: str | None
) -> None:
    headers = {"content-type": content_type} if content_type else {}
    response = await client.post(INFER, content=tensor(), headers=headers)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"


async def test_packed_bodies_are_unpacked_within_the_limit(client: httpx.AsyncClient) -> None:
    async def post(data: bytes, encoding: str) -> int:
        return (await client.post(INFER, content=data, headers={"content-encoding": encoding})).status_code

    packed = gzip.compress(tensor().encode())
    assert await post(packed, "gzip") == 200
    assert await post(packed[:-9], "gzip") == 400
    assert await post(b"no gzip", "gzip") == 400
    assert await post(gzip.compress(b" " * 10_000_000), "gzip") == 413
    assert await post(packed, "br") == 415


async def test_data_may_be_flat_or_nested_and_an_answer_holds_no_null(client: httpx.AsyncClient) -> None:
    nested = (await client.post(INFER, content=tensor())).json()
    flat = (await client.post(INFER, content=tensor(data=[*ROWS[0], *ROWS[1]]))).json()
    assert nested["outputs"] == flat["outputs"]
    assert not has_null(nested)
    assert "id" not in nested
    assert [output["name"] for output in nested["outputs"]] == ["label", "probabilities"]
    with_parameters = json.dumps(
        {"id": "", "parameters": {"any": {}}, "inputs": [{**INPUT, "parameters": {}}]}
    )
    assert (await client.post(INFER, content=with_parameters)).json()["id"] == ""


async def test_what_is_optional_may_be_null_as_clients_that_serialize_models_send_it(
    client: httpx.AsyncClient,
) -> None:
    outputs = [{"name": "label", "parameters": None}]
    for wanted in (None, outputs):
        content = {
            "id": None,
            "parameters": None,
            "inputs": [{**INPUT, "parameters": None}],
            "outputs": wanted,
        }
        response = await client.post(INFER, json=content)
        assert response.status_code == 200, response.text
        assert not has_null(response.json())


async def test_metadata_is_the_signature_and_says_which_column_is_which_class(
    client: httpx.AsyncClient,
) -> None:
    document = (await client.get("/v2/models/f")).json()
    assert [(t["name"], t["datatype"]) for t in document["inputs"]] == [
        ("distance", "FP32"), ("hour", "INT64"), ("carrier", "BYTES"),
    ]  # fmt: skip
    assert document["outputs"][1]["parameters"] == {"classes": "[0, 1]"}
    assert not has_null(document)


async def test_versions_stand_side_by_side_and_count_for_themselves(
    client: httpx.AsyncClient, models: Models
) -> None:
    for path, version in (
        (INFER, "10"), ("/v2/models/iris/versions/9/infer", "9"), ("/v2/models/iris/versions/10/infer", "10"),
    ):  # fmt: skip
        response = await client.post(path, content=tensor())
        assert response.json()["model_version"] == version
        assert response.headers["noria-version"] == f"iris-{version}"
    refused = await client.post("/v2/models/iris/versions/9/infer", content="{")
    assert refused.headers["noria-version"] == "iris-9"
    nine, ten, _ = models.services()
    for service in (nine, ten):
        service.recorder.fold()
    counts = [
        service.recorder.state.as_json(service.recorder.state.vector)["requests"] for service in (nine, ten)
    ]
    assert [(each["ok"], each["client_error"]) for each in counts] == [(1, 1), (2, 0)]
    assert (await client.get("/v2/models/iris")).json()["versions"] == ["9", "10"]


async def test_a_label_may_be_sent_to_any_version_of_the_server_that_predicted(
    client: httpx.AsyncClient, models: Models
) -> None:
    predicted = await client.post("/v2/models/iris/versions/9/infer", content=tensor())
    sent = {"token": predicted.json()["parameters"]["feedback_token"], "labels": [1, 0]}
    answer = await client.post("/v2/models/iris/feedback", json=sent)
    assert answer.json() == {"result": "matched", "rows": 2}
    for path in ("/v2/models/iris/versions/9/feedback", "/v2/models/iris/versions/10/feedback"):
        again = await client.post(path, json=sent)
        assert (again.status_code, again.json()["reason"]) == (409, "duplicate")
    assert models.find("iris", "10").recorder.state.versions == ["iris-9"]
    assert (await client.post("/v2/models/f/feedback", json=sent)).json()["reason"] == "foreign"


async def test_a_failed_version_leaves_its_name_to_the_next_lower_one(
    client: httpx.AsyncClient, models: Models
) -> None:
    models.find("iris", "10").soundness.fault = "golden rows differ"
    assert (await client.post(INFER, content=tensor())).json()["model_version"] == "9"
    assert (await client.get("/v2/models/iris/ready")).status_code == 200
    gone = await client.post("/v2/models/iris/versions/10/infer", content=tensor())
    assert (gone.status_code, gone.headers["noria-version"]) == (503, "iris-10")
    assert "golden rows differ" in gone.json()["error"]
    ready = await client.get("/v2/health/ready")
    assert (ready.status_code, ready.json()) == (
        503,
        {"live": False, "ready": False, "error": "model 'iris' failed: golden rows differ"},
    )
    failed = await client.get("/v2/models/iris/versions/10/ready")
    assert (failed.status_code, failed.json()) == (
        503,
        {"name": "iris", "ready": False, "error": "model 'iris' failed: golden rows differ"},
    )
    index = (await client.post("/v2/repository/index")).json()
    assert index[1] == {
        "name": "iris", "version": "10", "state": "UNAVAILABLE", "reason": "golden rows differ",
    }  # fmt: skip
    assert len((await client.post("/v2/repository/index", json={"ready": True})).json()) == 2


async def test_head_answers_as_get_without_a_body(client: httpx.AsyncClient) -> None:
    got, head = await client.get("/v2/models/iris"), await client.head("/v2/models/iris")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]


# -- binary tensors ------------------------------------------------------------------------------------------


def binary(document: dict[str, Any], *tensors: bytes) -> tuple[bytes, dict[str, str]]:
    head = json.dumps(document).encode()
    return head + b"".join(tensors), {LENGTH: str(len(head)), "content-type": "application/octet-stream"}


def raw(content: bytes, datatype: str = "FP32", **changes: Any) -> dict[str, Any]:
    return {
        "name": "input-0", "shape": [2, 3], "datatype": datatype,
        "parameters": {"binary_data_size": len(content)}, **changes,
    }  # fmt: skip


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "INT8", "UINT16", "INT64"])
async def test_binary_inputs_answer_as_json_does(client: httpx.AsyncClient, datatype: str) -> None:
    dtypes = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "INT8": "i1", "UINT16": "<u2", "INT64": "<i8"}
    values = np.array([[0, 1, 0], [1, 0, 1]])
    data = values.astype(dtypes[datatype]).tobytes()
    content, headers = binary({"inputs": [raw(data, datatype)]}, data)
    response = await client.post(INFER, content=content, headers=headers)
    assert response.status_code == 200, response.text
    by_json = await client.post(INFER, content=tensor(data=values.tolist()))
    assert response.json()["outputs"] == by_json.json()["outputs"]


async def test_outputs_come_binary_where_asked(client: httpx.AsyncClient) -> None:
    plain = (await client.post(INFER, content=tensor())).json()["outputs"]
    wanted = {
        "parameters": {"binary_data_output": True}, "inputs": [INPUT],
        "outputs": [{"name": "probabilities"}, {"name": "label", "parameters": {"binary_data": False}}],
    }  # fmt: skip
    response = await client.post(INFER, json=wanted)
    assert response.headers["content-type"] == "application/octet-stream"
    length = int(response.headers[LENGTH])
    outputs = json.loads(response.content[:length])["outputs"]
    assert outputs[0] == {
        "name": "probabilities", "shape": [2, 2], "datatype": "FP32", "parameters": {"binary_data_size": 16},
    }  # fmt: skip
    assert outputs[1] == plain[0]
    np.testing.assert_allclose(np.frombuffer(response.content[length:], "<f4"), plain[1]["data"], rtol=1e-6)


async def test_a_raw_body_is_the_only_input_and_the_answer_is_binary(client: httpx.AsyncClient) -> None:
    data = np.array(ROWS, "<f4").tobytes()
    response = await client.post(INFER, content=data, headers={LENGTH: "0"})
    document = json.loads(response.content[: int(response.headers[LENGTH])])
    assert [output["parameters"]["binary_data_size"] for output in document["outputs"]] == [16, 16]
    assert (await client.post(INFER, content=data[:-1], headers={LENGTH: "0"})).status_code == 400
    columns = await client.post("/v2/models/f/infer", content=data, headers={LENGTH: "0"})
    assert columns.status_code == 400


async def test_strings_travel_as_length_and_bytes(client: httpx.AsyncClient) -> None:
    def entry(name: str, datatype: str, data: bytes) -> dict[str, Any]:
        return raw(data, datatype, name=name, shape=[2, 1])

    distance, hour = np.array([0.5, -0.5], "<f4").tobytes(), np.array([3, 4], "<i8").tobytes()
    for carrier, status in (
        (b"\2\0\0\0AA\2\0\0\0UA", 200),
        (b"\2\0\0\0AA\3\0\0\0UA", 400),
        (b"\2\0\0\0AA", 400),
        (b"\2\0\0\0AA\2\0\0\0UA\0", 400),
        (b"\2\0\0\0\xff\xfe\2\0\0\0UA", 400),
        (b"\xff\xff\xff\xffAA", 400),
    ):
        inputs = [
            entry("distance", "FP32", distance),
            entry("hour", "INT64", hour),
            entry("carrier", "BYTES", carrier),
        ]
        content, headers = binary({"inputs": inputs}, distance, hour, carrier)
        response = await client.post("/v2/models/f/infer", content=content, headers=headers)
        assert response.status_code == status, (carrier, response.text)


DATA = np.array(ROWS, "<f4").tobytes()


@pytest.mark.parametrize(
    ("document", "tail", "length"),
    [
        ({"inputs": [raw(DATA)]}, DATA[:-1], None),
        ({"inputs": [raw(DATA)]}, DATA + b"\0", None),
        ({"inputs": [raw(DATA[:-4])]}, DATA[:-4], None),
        ({"inputs": [raw(DATA, parameters={"binary_data_size": -1})]}, DATA, None),
        ({"inputs": [raw(DATA, parameters={"binary_data_size": "24"})]}, DATA, None),
        ({"inputs": [raw(DATA, data=[])]}, DATA, None),
        ({"inputs": [raw(DATA)]}, DATA, "99999"),
        ({"inputs": [raw(DATA)]}, DATA, "-1"),
        ({"inputs": [raw(DATA)]}, DATA, "x"),
        ({"inputs": [raw(DATA)]}, DATA, "9" * 40),
        ({"inputs": [raw(DATA)]}, DATA, "5"),
        ({"inputs": [raw(DATA)]}, b"", ""),
    ],
)
async def test_sizes_that_do_not_add_up_are_400(
    client: httpx.AsyncClient, document: dict[str, Any], tail: bytes, length: str | None
) -> None:
    content, headers = binary(document, tail)
    if length is not None:
        headers[LENGTH] = length
    response = await client.post(INFER, content=content, headers=headers)
    assert (response.status_code, list(response.json())) == (400, ["error"])


async def test_nan_travels_in_binary_and_its_answer_too(client: httpx.AsyncClient) -> None:
    data = np.array([[np.nan, 0, 0], [0, 0, 0]], "<f4").tobytes()
    content, headers = binary({"inputs": [raw(data)]}, data)
    as_json = await client.post(INFER, content=content, headers=headers)
    assert as_json.status_code == 400
    assert "'x0' is missing in row 0" in as_json.json()["error"]
    content, headers = binary({"inputs": [raw(data)], "parameters": {"binary_data_output": True}}, data)
    assert (await client.post(INFER, content=content, headers=headers)).status_code == 200


# -- V1 ------------------------------------------------------------------------------------------------------


async def test_v1_predicts_rows_as_lists_and_as_objects(client: httpx.AsyncClient) -> None:
    outputs = (await client.post(INFER, content=tensor())).json()["outputs"]
    response = await client.post("/v1/models/iris:predict", json={"instances": ROWS})
    predictions = response.json()["predictions"]
    assert [row["label"] for row in predictions] == outputs[0]["data"]
    np.testing.assert_allclose(np.ravel([row["probabilities"] for row in predictions]), outputs[1]["data"])
    assert response.headers["noria-version"] == "iris-10"
    row = {"distance": 0.1, "hour": 3, "carrier": "AA"}
    by_name = await client.post("/v1/models/f:predict", json={"instances": [row, row]})
    by_place = await client.post("/v1/models/f:predict", json={"instances": [[0.1, 3, "AA"]] * 2})
    assert by_name.json() == by_place.json()
    wrong = await client.post("/v1/models/f:predict", json={"instances": [{"distance": 1}]})
    assert (wrong.status_code, "carrier" in wrong.json()["error"]) == (400, True)


async def test_v1_lists_models_and_their_readiness(client: httpx.AsyncClient, models: Models) -> None:
    assert (await client.get("/v1/models")).json() == {"models": ["iris", "f"]}
    assert (await client.get("/v1/models/f")).json() == {"name": "f", "ready": True}
    models.draining = True
    assert (await client.get("/v1/models/f")).status_code == 503
