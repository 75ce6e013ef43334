"""Whose fault it is when a model gives no answer: the request's (400), or the model's (500)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from sklearn.linear_model import LogisticRegression

from noria_serving import bundle, reference
from noria_serving.model.loaded import load
from noria_serving.server.app import App
from noria_serving.server.blame import unlike_training
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
