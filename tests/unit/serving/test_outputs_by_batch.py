"""A version with an output that is of all rows together: releases before this one saved it, and it is served
on, by all that can carry it.
"""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper

from noria_serving import bundle
from noria_serving.cli import predict
from noria_serving.errors import NoriaError
from noria_serving.model.loaded import Loaded, load
from noria_serving.payload.columns import chosen
from noria_serving.payload.log import Prediction
from noria_serving.payload.tables import predictions
from noria_serving.rows import Rows
from noria_serving.server.app import App
from noria_serving.server.counters_app import CountersApp
from noria_serving.server.models import Models
from noria_serving.server.service import Service
from noria_serving.settings import ModelSettings, Settings

ROWS = [[1.0, 2.0, 3.0], [-1.0, 0.0, 1.0]]


@pytest.fixture
def former(matrix, matrix_bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    model = onnx.load(matrix_bundle.path / "model.onnx")
    model.graph.node.append(helper.make_node("ReduceMean", ["probabilities"], ["mean"], keepdims=1))
    model.graph.output.append(helper.make_tensor_value_info("mean", TensorProto.FLOAT, [1, 1]))
    monkeypatch.setattr(bundle, "_refuse_by_batch", lambda *_: None)
    return load(str(bundle.save(model, *matrix, tmp_path / "b", task="binary").path))


async def test_it_answers_v2_and_tells_v1_why_not(former: Loaded) -> None:
    settings = ModelSettings(bundle="", deployment="m", model="m")
    models = Models(Settings((settings,)))
    models.serve(Service(settings, former))
    name = former.backend.signature.inputs[0].name
    body = {"inputs": [{"name": name, "shape": [2, 3], "datatype": "FP32", "data": ROWS}]}
    transport = httpx.ASGITransport(app=App(models))
    async with httpx.AsyncClient(transport=transport, base_url="http://m") as client:
        answer = await client.post("/v2/models/m/infer", json=body)
        refused = await client.post("/v1/models/m:predict", json={"instances": ROWS})
    assert [one["shape"] for one in answer.json()["outputs"]] == [[2], [2, 2], [1, 1]]
    assert refused.status_code == 400
    assert refused.json()["error"] == "output 'mean' has not a value for each row: ask over V2"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=CountersApp(models))) as client:
        counted = (await client.get("http://m/counters")).json()
    assert counted["requests"] == {"ok": 1, "client_error": 1, "server_error": 0}
    assert counted["malformed"] == 0, "the rows are in order"


def test_its_other_outputs_are_in_the_payload_log_and_none_in_a_csv(former: Loaded) -> None:
    inputs = {former.backend.signature.inputs[0].name: np.array(ROWS, np.float32)}
    record = Prediction("00", 0.0, None, inputs, former.backend.predict(inputs), 2, 0)
    columns = chosen(former.backend.signature, former.reference, ())
    names = pq.read_table(io.BytesIO(predictions([record], columns))).column_names
    assert [name for name in names if name.startswith("output.")] == [
        "output.label", "output.probabilities.0", "output.probabilities.1",
    ]  # fmt: skip
    table = Rows({f"x{at}": np.array(ROWS)[:, at] for at in range(3)}, 2, {})
    with pytest.raises(NoriaError, match="'mean'"):
        predict._write(io.StringIO(), former, table)
