"""What `make test-extended` runs where PyTorch is installed (requirements/torch.txt)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import torch

from noria_serving import bundle, tracing
from noria_serving.errors import NoriaError, Reason
from noria_serving.model.loaded import load

ROWS = np.random.default_rng(5).normal(size=(300, 4))
LABELS = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(int) + (ROWS[:, 2] > 1)
WORDS = np.array(["early", "late", "later"])[LABELS]
FORMS = ["onnx", "torch"]


def network(outputs: int, last: torch.nn.Module | None = None, inputs: int = 4) -> torch.nn.Module:
    """A small network, the same each time."""
    torch.manual_seed(1)
    layers = [torch.nn.Linear(inputs, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Dropout(0.5)]
    return torch.nn.Sequential(*layers, torch.nn.Linear(8, outputs), *([last] if last else []))


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each form in turn: without a converter the exported program is what remains."""
    if request.param == "torch":
        monkeypatch.setattr(tracing, "_as_onnx", no_converter)
    return str(request.param)


def no_converter(*_: object) -> Any:
    raise RuntimeError("no operator for this")


def answers(saved: bundle.Bundle, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    return load(str(saved.path), digest=saved.digest, allow_code=True).backend.predict(inputs)


def expected(model: torch.nn.Module, rows: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model.eval()(torch.tensor(rows.astype(np.float32))).numpy()


@pytest.mark.parametrize("labels", [LABELS, WORDS], ids=["numbers", "words"])
@pytest.mark.parametrize("count", [1, 7])
def test_classes_have_labels_and_probabilities(
    tmp_path: Path, form: str, labels: np.ndarray, count: int
) -> None:
    model = network(3, torch.nn.Softmax(dim=1)).train()
    saved = bundle.save(model, ROWS, labels, tmp_path, task="multiclass")
    assert model.training, "the trainer's module is left as it was"
    assert saved.format == form
    assert all(float(saved.speed[what]) > 0 for what in ("speedup", "microseconds"))
    label, probabilities = answers(saved, {"input-0": ROWS[:count].astype(np.float32)})
    truth = expected(model, ROWS[:count])
    assert np.allclose(probabilities, truth, atol=1e-5)
    assert label.tolist() == np.unique(labels)[truth.argmax(axis=1)].tolist()
    assert [tensor["name"] for tensor in saved.signature["outputs"]] == ["label", "probabilities"]


def test_one_probability_a_row_is_that_of_the_second_class(tmp_path: Path, form: str) -> None:
    model = network(1, torch.nn.Sigmoid())
    saved = bundle.save(model, ROWS, LABELS > 0, tmp_path, task="binary")
    label, probabilities = answers(saved, {"input-0": ROWS.astype(np.float32)})
    positive = expected(model, ROWS).reshape(-1)
    assert saved.format == form
    assert np.allclose(probabilities, np.stack([1 - positive, positive], axis=1), atol=1e-5)
    assert label.tolist() == (positive > 0.5).astype(int).tolist()


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_a_regression_on_named_columns_puts_them_side_by_side(
    tmp_path: Path, form: str, kind: torch.dtype
) -> None:
    frame = pd.DataFrame({"x": ROWS[:, 0], "hour": np.arange(300) % 24, "wet": ROWS[:, 1] > 0})
    model = network(1, inputs=3).to(kind)
    saved = bundle.save(model, frame, ROWS[:, 0], tmp_path, task="regression", holdout=frame[:50])
    assert [tensor["datatype"] for tensor in saved.signature["inputs"]] == [
        "FP32" if kind == torch.float32 else "FP64",
        "INT64",
        "BOOL",
    ]
    columns = {name: frame[name].to_numpy()[:9].reshape(-1, 1) for name in frame}
    columns["x"] = columns["x"].astype(str(kind).removeprefix("torch."))
    (prediction,) = answers(saved, columns)
    with torch.inference_mode():
        truth = model.eval()(torch.tensor(frame.to_numpy(float)[:9]).to(kind)).numpy()
    assert (saved.format, prediction.shape) == (form, (9,))
    assert np.allclose(prediction, truth.reshape(-1), atol=1e-5)


def test_equal_modules_have_equal_digests_and_hold_no_paths(tmp_path: Path, form: str) -> None:
    saved = [
        bundle.save(network(3, torch.nn.Softmax(dim=1)), ROWS, LABELS, tmp_path / name, task="multiclass")
        for name in ("one", "two")
    ]
    assert saved[0].digest == saved[1].digest
    content = (saved[0].path / f"model.{form}").read_bytes()
    assert str(Path(__file__).parent).encode() not in content
    assert str(Path(torch.__file__).parent).encode() not in content


def test_an_onnx_form_needs_no_consent_and_an_exported_program_does(tmp_path: Path, form: str) -> None:
    saved = bundle.save(network(1), ROWS, ROWS[:, 0], tmp_path, task="regression")
    if form == "onnx":
        assert load(str(saved.path)).manifest.format == "onnx"
        onnx.checker.check_model(onnx.load(saved.path / "model.onnx"))
        return
    with pytest.raises(NoriaError, match="allowCodeNamespaces") as caught:
        load(str(saved.path))
    assert caught.value.reason is Reason.FORMAT_REFUSED


class Looks(torch.nn.Module):
    """Python that looks at values."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows[:, 0] if rows.sum() > 0 else rows[:, 1]


@pytest.mark.parametrize(
    ("model", "task", "words"),
    [
        (network(3), "multiclass", "torch.nn.Softmax(dim=1)"),
        (network(1), "binary", "torch.nn.Sigmoid()"),
        (network(2), "regression", "one number a row"),
        (network(1).half(), "regression", "hand over module.float()"),
        (Looks(), "regression", "leave Python that looks at values"),
    ],
)
def test_what_cannot_be_served_is_refused_with_what_to_do(
    tmp_path: Path, model: torch.nn.Module, task: str, words: str
) -> None:
    labels = LABELS if task == "multiclass" else LABELS > 0
    with pytest.raises(NoriaError) as caught:
        bundle.save(model, ROWS, labels, tmp_path, task=task)
    assert words in caught.value.message


def test_columns_of_text_and_a_missing_task_are_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": ROWS[:, 0], "word": WORDS})
    with pytest.raises(NoriaError, match="hold text: \\['word'\\]"):
        bundle.save(network(1, inputs=2), frame, ROWS[:, 0], tmp_path, task="regression")
    with pytest.raises(NoriaError, match="task="):
        bundle.save(network(1), ROWS, LABELS, tmp_path)


def test_bytes_that_are_no_program_are_refused() -> None:
    from noria_serving.model.torch import TorchModel
    from noria_serving.signature import Signature, Tensor

    shape = Signature((Tensor("input-0", "FP32", (-1, 4)),), (Tensor("prediction", "FP32", (-1,)),))
    with pytest.raises(NoriaError, match="cannot read") as caught:
        TorchModel(b"PK\x03\x04junk", shape, "regression", classes=())
    assert caught.value.reason is Reason.MODEL_INVALID
