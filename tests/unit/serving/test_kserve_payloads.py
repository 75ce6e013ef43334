"""The forms that the payloads of KServe's own end-to-end tests have (`test/e2e/data` in kserve/kserve): what
each asks for, and what is no request of the protocol, although some runtime there takes it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest

from noria_serving.model.loaded import Loaded
from noria_serving.protocol.raw import DTYPES
from noria_serving.server.app import App
from noria_serving.server.models import Models
from noria_serving.server.service import Service
from noria_serving.settings import ModelSettings, Settings

MATRIX = ModelSettings("", deployment="iris", model="iris", version="iris-1", number="1")
COLUMNS = ModelSettings("", deployment="mixed", model="mixed", version="mixed-1", number="1")
LENGTH = "inference-header-content-length"
ROWS = [[6.8, 2.8, 4.8], [6.0, 3.4, 4.5]]
TENSOR: dict[str, Any] = {"name": "input-0", "shape": [2, 3], "datatype": "FP32", "data": ROWS}
FRAME = [
    {"name": "distance", "shape": [2], "datatype": "FP64", "data": [0.5, -0.5]},
    {"name": "hour", "shape": [2], "datatype": "INT32", "data": [7, 23]},
    {"name": "carrier", "shape": [2], "datatype": "BYTES", "data": ["AA", ""]},
]
ALL, ONE = {"binary_data_output": True}, [{"name": "label", "parameters": {"binary_data": True}}]
OUTPUTS = {"label", "probabilities"}
TAKEN: dict[str, tuple[str, dict[str, Any], set[str], set[str]]] = {
    "iris_input_v2": ("iris", {"inputs": [TENSOR]}, OUTPUTS, set()),
    "iris_input_v2_all_binary": ("iris", {"inputs": [TENSOR], "parameters": ALL}, OUTPUTS, OUTPUTS),
    "iris_input_v2_binary": ("iris", {"inputs": [TENSOR], "outputs": ONE}, {"label"}, {"label"}),
    "sklearn_mixed_v2": ("mixed", {"inputs": FRAME, "parameters": {"content_type": "pd"}}, OUTPUTS, set()),
    "autogluon_titanic_input_v2_all_binary": (
        "mixed", {"inputs": FRAME, "parameters": ALL}, OUTPUTS, OUTPUTS
    ),
    "autogluon_titanic_input_v2_binary": ("mixed", {"inputs": FRAME, "outputs": ONE}, {"label"}, {"label"}),
}  # fmt: skip
"""By KServe's name of the form: model, request, the outputs that come, those of them that are raw."""
NAMED = {"sepal_length_(cm)": [5.1], "sepal_width_(cm)": [3.5], "petal_length_(cm)": [1.4]}
REFUSED: dict[str, tuple[Any, str]] = {
    "iris_batch_input_v2": ([{"inputs": [TENSOR]}] * 2, "must be a JSON object, not a list"),
    "iris_batch_input_v2, of these the first": ({"inputs": [TENSOR, TENSOR]}, "'input-0' is given twice"),
    "iris_input_v3": ({"inputs": [NAMED]}, "input-0"),
    "iris_input_v4": ({"inputs": [[{name: 5.1} for name in NAMED]]}, "input-0"),
    "lgb_input_v2": ({"inputs": [{**TENSOR, "data": [NAMED]}]}, "needs 6 elements, `data` holds 1"),
    "pmml-input-v2": ({"inputs": [{**TENSOR, "data": ROWS[:1]}]}, "needs 6 elements, `data` holds 3"),
}
"""By KServe's name of the form: the request, and what its sentence has to name."""


@pytest.fixture
async def client(loaded: Loaded, loaded_frame: Loaded) -> AsyncIterator[httpx.AsyncClient]:
    models = Models(Settings((MATRIX, COLUMNS)))
    models.serve(Service(MATRIX, loaded))
    models.serve(Service(COLUMNS, loaded_frame))
    transport = httpx.ASGITransport(app=App(models))
    async with httpx.AsyncClient(transport=transport, base_url="http://s") as client:
        yield client


def arrays(response: httpx.Response) -> tuple[dict[str, list[Any]], set[str]]:
    """The outputs by name, and the names of those that came raw."""
    length = int(response.headers.get(LENGTH, len(response.content)))
    head, tail = json.loads(response.content[:length]), response.content[length:]
    found: dict[str, list[Any]] = {}
    raw: set[str] = set()
    for output in head["outputs"]:
        if "data" in output:
            found[output["name"]] = output["data"]
            continue
        size = output["parameters"]["binary_data_size"]
        found[output["name"]] = np.frombuffer(tail[:size], DTYPES[output["datatype"]]).tolist()
        raw.add(output["name"])
        tail = tail[size:]
    assert not tail
    return found, raw


@pytest.mark.parametrize("form", TAKEN)
async def test_a_form_that_kserve_tests_is_answered_as_it_asks(client: httpx.AsyncClient, form: str) -> None:
    model, request, wanted, raw = TAKEN[form]
    plain = await client.post(f"/v2/models/{model}/infer", json={"inputs": request["inputs"]})
    response = await client.post(f"/v2/models/{model}/infer", json=request)
    assert response.status_code == 200, response.text
    found, came_raw = arrays(response)
    assert (set(found), came_raw) == (wanted, raw)
    whole, _ = arrays(plain)
    for name, values in found.items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-6)


async def test_rows_of_v1_are_those_of_v2(client: httpx.AsyncClient) -> None:
    """iris_input.json."""
    first = await client.post("/v1/models/iris:predict", json={"instances": ROWS})
    whole, _ = arrays(await client.post("/v2/models/iris/infer", json={"inputs": [TENSOR]}))
    assert [row["label"] for row in first.json()["predictions"]] == whole["label"]


@pytest.mark.parametrize("form", REFUSED)
async def test_what_is_no_request_of_the_protocol_is_refused_with_what_came(
    client: httpx.AsyncClient, form: str
) -> None:
    request, said = REFUSED[form]
    response = await client.post("/v2/models/iris/infer", json=request)
    assert (response.status_code, list(response.json())) == (400, ["error"])
    assert said in response.json()["error"]
