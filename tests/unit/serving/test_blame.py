"""Whose fault it is when a model gives no answer: the request's (400), or the model's (500)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from noria_serving import bundle, reference
from noria_serving.limits import DEFAULT, Limits
from noria_serving.model.loaded import Loaded, load
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.inference import InferRequest
from noria_serving.protocol.tensors import encode_tensor
from noria_serving.server.app import App
from noria_serving.server.blame import doubtful, unlike_training
from noria_serving.server.models import Models
from noria_serving.server.service import Service
from noria_serving.settings import ModelSettings, Settings
from noria_serving.signature import Signature, Tensor

RNG = np.random.default_rng(3)
SETTINGS = ModelSettings("", deployment="m", model="m", version="m-1", number="1")
WIDTH = 8
VECTORS = RNG.normal(size=(240, WIDTH)).astype(np.float32)
OUTPUTS = (Tensor("probabilities", "FP32", (-1, 2)),)


def known(given: np.ndarray, datatype: str = "FP32", **more: Any) -> reference.Reference:
    signature = Signature((Tensor("input-0", datatype, (-1, given.shape[1])),), OUTPUTS)
    document = reference.build(signature, {"input-0": given}, np.full(len(given), 0.5), **more)
    return reference.parse(document)


def changed(given: np.ndarray, value: object, *, row: int = 1, column: int = 4) -> dict[str, np.ndarray]:
    rows = given[:3].copy()
    rows[row, column] = value
    return {"input-0": rows}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.nan, "feature 'text[norm]' is missing in row 1, and was never missing in training"),
        (np.inf, "feature 'text[norm]' is inf in row 1; training saw"),
        (-3e38, "feature 'text[norm]' is 3e+38 in row 1; training saw"),
        (9.0, None),
    ],
)
def test_a_number_of_an_embedding_that_is_none_or_far_away_is_the_requests_fault(
    value: float, said: str | None
) -> None:
    trained = known(VECTORS, embeddings={"text": range(2, WIDTH)})
    found = unlike_training(trained, changed(VECTORS, value))
    assert found is None if said is None else found is not None and found.startswith(said)


def test_vectors_with_gaps_like_those_of_training_excuse_no_model() -> None:
    gaps = VECTORS.copy()
    gaps[::7, 5] = np.nan
    assert unlike_training(known(gaps, embeddings={"text": range(2, WIDTH)}), changed(gaps, np.nan)) is None


def test_vectors_that_end_before_an_embedding_does_are_the_requests_fault() -> None:
    trained = known(VECTORS, embeddings={"text": range(2, WIDTH)})
    found = unlike_training(trained, {"input-0": VECTORS[:2, : WIDTH - 1]})
    assert found == f"feature 'text[norm]' is not in rows of {WIDTH - 1} columns"


async def test_rows_that_end_before_a_feature_are_the_requests_fault_and_counted(loaded: Loaded) -> None:
    """Where nobody but the model knows how wide they must be."""
    service = Service(SETTINGS, loaded)
    with pytest.raises(RequestError, match="is not in rows of 2 columns; the model failed") as refused:
        await service.infer(InferRequest({"input-0": np.ones((2, 2), np.float32)}, 2, (0, 1)))
    assert refused.value.status == 400
    service.recorder.fold()
    counted = service.recorder.state.as_json(service.recorder.state.vector)["requests"]
    assert counted == {"ok": 0, "client_error": 1, "server_error": 0}
    service.close()


async def infer(service: Service, tensor: Mapping[str, Any], tail: bytes = b"") -> httpx.Response:
    """The answer to a request of one tensor as JSON, or with its numbers behind it."""
    models = Models(Settings((service.settings,)))
    models.serve(service)
    head = orjson.dumps({"inputs": [tensor]})
    headers = {"Inference-Header-Content-Length": str(len(head))} if tail else {}
    transport = httpx.ASGITransport(app=App(models))
    async with httpx.AsyncClient(transport=transport, base_url="http://m") as client:
        return await client.post("/v2/models/m/infer", content=head + tail, headers=headers)


@pytest.mark.parametrize("binary", [False, True])
async def test_null_within_an_embedding_is_a_bad_request(tmp_path: Path, binary: bool) -> None:
    labels = (VECTORS[:, 0] > 0).astype(int)
    model = LogisticRegression().fit(VECTORS, labels)
    saved = bundle.save(model, VECTORS, labels, tmp_path, embeddings={"text": range(2, WIDTH)})
    service = Service(SETTINGS, load(str(saved.path)))
    row = changed(VECTORS, np.nan, row=0)["input-0"][:1]
    tensor = {"name": "input-0", "shape": [1, WIDTH], "datatype": "FP32"}
    if binary:
        data = row.tobytes()
        answer = await infer(service, {**tensor, "parameters": {"binary_data_size": len(data)}}, data)
    else:
        plain = [None if np.isnan(number) else float(number) for number in row[0]]
        answer = await infer(service, {**tensor, "data": plain})
    assert answer.status_code == 400, answer.text
    assert "'text[norm]' is missing in row 0" in answer.json()["error"]
    service.close()


MONTHS = RNG.integers(1, 13, size=(600, 1))
MANY = np.array([f"code-{number % 2100}" for number in range(4200)], dtype=object).reshape(-1, 1)


class Knows:
    """A model of one column that raises for values that it does not know; `broken`: for all."""

    def __init__(self, signature: Signature, values: Iterable[object]) -> None:
        self.signature, self._values, self.broken = signature, set(values), False

    def predict(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        (column,) = inputs.values()
        if self.broken or not self._values.issuperset(column.reshape(-1).tolist()):
            raise ValueError("Unknown Category and zeros = 0.")
        return [np.zeros(len(column), np.int64), np.full((len(column), 2), 0.5, np.float32)]


def serve(
    loaded: Loaded, given: np.ndarray, datatype: str, name: str, limits: Limits = DEFAULT
) -> tuple[Service, Knows]:
    """A version whose model knows what it was trained on, and that model."""
    outputs = loaded.backend.signature.outputs
    signature = Signature((Tensor(name, datatype, (-1, 1)),), outputs)
    document = reference.build(signature, {name: given}, np.full(len(given), 0.5))
    model = Knows(signature, given.reshape(-1).tolist())
    golden = {**loaded.golden, "inputs": [encode_tensor(signature.inputs[0], given[:1])]}
    bins = reference.parse(document)
    trained = replace(loaded, backend=model, reference=bins, golden=golden, golden_rows=1)
    return Service(SETTINGS, trained, limits), model


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("month", [0, 13, 9999])
async def test_a_number_that_no_encoder_met_is_the_requests_fault(
    loaded: Loaded, caplog: pytest.LogCaptureFixture, month: int, binary: bool
) -> None:
    service, _ = serve(loaded, MONTHS, "INT64", "month")
    tensor = {"name": "month", "shape": [2, 1], "datatype": "INT64"}
    if binary:
        data = np.array([3, month], "<i8").tobytes()
        answer = await infer(service, {**tensor, "parameters": {"binary_data_size": len(data)}}, data)
    else:
        answer = await infer(service, {**tensor, "data": [3, month]})
    told = f"feature 'month' is {month} in row 1; training saw 1 to 12; the model failed: ValueError: "
    assert (answer.status_code, answer.json()) == (400, {"error": f"{told}Unknown Category and zeros = 0."})
    assert not [one for one in caplog.records if one.exc_info], (
        "no traceback that a client can fill a log with"
    )
    service.close()


async def test_values_that_the_model_has_no_answer_to_are_no_broken_data(loaded: Loaded) -> None:
    """Which hold up the next run: it is what mends this."""
    service, _ = serve(loaded, MONTHS, "INT64", "month")
    tensor = {"name": "month", "shape": [1, 1], "datatype": "INT64"}
    answers = [await infer(service, {**tensor, "data": [month]}) for month in (13, 9999, "May")]
    assert [answer.status_code for answer in answers] == [400, 400, 400]
    service.recorder.fold()
    totals = service.recorder.state.as_json(service.recorder.state.vector)
    assert (totals["requests"]["client_error"], totals["malformed"]) == (3, 2)
    assert (totals["refused"]["strange"], totals["refused"]["value"]) == (2, 1)
    service.close()


async def test_an_encoder_of_scikit_learn_as_onnx_is_not_at_fault_for_a_month_that_is_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = pd.DataFrame({"month": MONTHS[:, 0], "distance": RNG.normal(size=len(MONTHS))})
    columns = ColumnTransformer([("month", OneHotEncoder(), ["month"])], remainder="passthrough")
    model = make_pipeline(columns, LogisticRegression()).fit(rows, MONTHS[:, 0] > 6)
    saved = bundle.save(model, rows, (MONTHS[:, 0] > 6).astype(int), tmp_path)
    assert load(str(saved.path)).manifest.format == "onnx"
    service = Service(SETTINGS, load(str(saved.path)))
    answers = [await service.infer(asked(service, month)) for month in (1, 12)]
    assert len(answers) == 2
    for month in (0, 13):
        with pytest.raises(RequestError, match=f"'month' is {month} in row 0; .*Unknown Category") as refused:
            await service.infer(asked(service, month))
        assert refused.value.status == 400
    assert not [one for one in caplog.records if one.exc_info]
    service.close()


def asked(service: Service, month: int) -> InferRequest:
    """A request of one row; its outputs must be finite."""
    inputs = {"month": np.array([[month]]), "distance": np.array([[0.5]], np.float32)}
    every = tuple(range(len(service.signature.outputs)))
    return InferRequest(inputs, 1, every, finite=every)


@pytest.mark.parametrize(
    ("datatype", "kind"), [("FP64", np.float64), ("FP32", np.float32), ("UINT8", np.uint8)]
)
async def test_so_is_one_of_another_datatype_just_out_of_range(
    loaded: Loaded, datatype: str, kind: type
) -> None:
    service, _ = serve(loaded, MONTHS.astype(kind), datatype, "month")
    answer = await infer(service, {"name": "month", "shape": [1, 1], "datatype": datatype, "data": [13]})
    assert (answer.status_code, "'month' is 13 in row 0" in answer.text) == (400, True)
    service.close()


async def test_a_new_text_among_more_than_are_kept_is_the_requests_fault(loaded: Loaded) -> None:
    service, _ = serve(loaded, MANY, "BYTES", "code")
    tensor = {"name": "code", "shape": [1, 1], "datatype": "BYTES"}
    answer = await infer(service, {**tensor, "data": ["code-new"]})
    told = "feature 'code' is 'code-new' in row 0, which is none of those known of training; the model failed"
    assert (answer.status_code, answer.json()["error"].startswith(told)) == (400, True)
    assert (await infer(service, {**tensor, "data": [MANY[-1, 0]]})).status_code == 200
    service.close()


@pytest.mark.parametrize(
    ("given", "datatype", "values"), [(MONTHS, "INT64", [3, 13]), (MANY, "BYTES", ["code-3", "code-new"])]
)
async def test_a_model_that_fails_with_values_of_training_too_is_at_fault(
    loaded: Loaded, caplog: pytest.LogCaptureFixture, given: np.ndarray, datatype: str, values: list[object]
) -> None:
    """Else a model that is broken would hide behind numbers that grow, and texts that are always new."""
    service, model = serve(loaded, given, datatype, "x")
    model.broken = True
    answer = await infer(service, {"name": "x", "shape": [2, 1], "datatype": datatype, "data": values})
    assert (answer.status_code, answer.json()["error"]) == (
        500,
        "the model failed: ValueError: Unknown Category and zeros = 0.",
    )
    assert "model failed" in caplog.messages
    await service.soundness.prove()
    service.close()


async def test_a_model_that_fails_now_and_then_is_at_fault_whatever_is_new(
    loaded: Loaded, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one that asks a database, of rows with a number that grows from day to day."""
    service, model = serve(loaded, MONTHS, "INT64", "day")
    failing = iter([True])

    def predict(_: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        if next(failing, False):
            raise TimeoutError("no database")
        return [np.zeros(1, np.int64), np.full((1, 2), 0.5, np.float32)]

    for whose in (model, service.line):
        monkeypatch.setattr(whose, "predict", predict)
    answer = await infer(service, {"name": "day", "shape": [1, 1], "datatype": "INT64", "data": [13]})
    assert (answer.status_code, answer.json()["error"]) == (
        500,
        "the model failed: TimeoutError: no database",
    )
    assert "model failed" in caplog.messages
    await service.soundness.prove()
    service.close()


async def test_a_model_with_too_much_to_do_is_not_asked_twice(loaded: Loaded) -> None:
    service, _ = serve(loaded, MONTHS, "INT64", "month", replace(DEFAULT, max_queue=0))
    answer = await infer(service, {"name": "month", "shape": [1, 1], "datatype": "INT64", "data": [13]})
    assert (answer.status_code, int(answer.headers["retry-after"])) == (429, 1)
    service.close()


def test_the_rows_that_came_are_left_as_they_are() -> None:
    trained, rows = known(MONTHS.astype(np.int32), "INT32"), np.array([[12], [13], [-4]], np.int32)
    doubt = doubtful(trained, {"input-0": rows})
    assert doubt is not None
    assert (rows[:, 0].tolist(), doubt.inputs["input-0"][:, 0].tolist()) == ([12, 13, -4], [12, 12, 1])
    assert doubt.inputs["input-0"].dtype == rows.dtype
