"""A model answers batches of the sizes that were asked for before it is ready."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest

from noria_serving.bundle import Bundle
from noria_serving.cli.serve import models
from noria_serving.errors import NoriaError, Reason
from noria_serving.model.loaded import Loaded, load
from noria_serving.model.onnx import OnnxModel
from noria_serving.server.models import load_service
from noria_serving.settings import ModelSettings, read
from noria_serving.warmup import WarmUp


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """Rows of each call of a model; more than 500 are too many for it."""
    seen: Counter[int] = Counter()
    predict = OnnxModel.predict

    def counted(self: OnnxModel, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        rows = len(next(iter(inputs.values())))
        seen[rows] += 1
        if rows > 500:
            raise MemoryError("too many rows")
        return predict(self, inputs)

    monkeypatch.setattr(OnnxModel, "predict", counted)
    return seen


def test_each_size_is_predicted_before_the_version_exists(matrix_bundle: Bundle, sizes: Counter[int]) -> None:
    settings = ModelSettings(bundle=str(matrix_bundle.path), warm_up=WarmUp((1, 50), 5))
    service = load_service(settings)
    assert (sizes[1], sizes[50]) == (5, 5)
    assert sizes[service.loaded.golden_rows] >= 4, "proved and timed again once it is warm"
    service.close()


def test_without_a_size_the_golden_rows_are_all(matrix_bundle: Bundle, sizes: Counter[int]) -> None:
    loaded = load(str(matrix_bundle.path))
    assert [*sizes] == [loaded.golden_rows]


@pytest.mark.parametrize(
    ("times", "quick"),
    [([1e-4], True), ([9e-3, 9e-3, 1e-4], True), ([1e-4, 9e-3], True), ([9e-3], False), ([0.2, 1e-4], False)],
)
def test_the_fastest_of_a_few_calls_tells_what_one_takes_and_slow_ones_are_not_repeated(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, times: list[float], quick: bool
) -> None:
    steps = itertools.chain.from_iterable((1.0, took) for took in itertools.cycle(times))
    clock = itertools.accumulate(steps)
    monkeypatch.setattr("noria_serving.model.loaded.time.perf_counter", lambda: next(clock))
    rows = loaded.rows_within(0.002)
    assert rows >= 2048 if quick else rows == loaded.golden_rows


def test_it_is_tried_how_many_rows_a_short_call_takes(matrix_bundle: Bundle, sizes: Counter[int]) -> None:
    loaded = load(str(matrix_bundle.path))
    golden = loaded.golden_rows
    most = golden * 2 ** int(np.log2(500 / golden))
    assert loaded.rows_within(3600) == most, "it fails beyond 500 rows"
    assert sizes[2 * most] == 1
    assert loaded.rows_within(0) == golden


def test_a_model_that_fails_on_a_size_is_not_ready(frame_bundle: Bundle, sizes: Counter[int]) -> None:
    with pytest.raises(NoriaError, match="fails on 501 rows while it warms up: MemoryError") as caught:
        load(str(frame_bundle.path), warm_up=WarmUp((500, 501), 1))
    assert caught.value.reason is Reason.MODEL_INVALID
    assert sizes[500] == 1


def test_the_environment_and_the_command_line_say_the_same() -> None:
    env = {"NORIA_BUNDLE": "/x", "NORIA_WARM_UP_ROWS": "1,64", "NORIA_WARM_UP_CALLS": "5"}
    assert read(env).models[0].warm_up == WarmUp((1, 64), 5)
    assert read({"NORIA_BUNDLE": "/x"}).models[0].warm_up == WarmUp()
    assert models(["a=/x"], warm_up=WarmUp((1,), 1))[0].warm_up == WarmUp((1,), 1)


@pytest.mark.parametrize(
    "change", [{"NORIA_WARM_UP_ROWS": text} for text in ("0", "-1", "1,", "x", "65537", "1;2")]
    + [{"NORIA_WARM_UP_CALLS": text} for text in ("0", "1.5", "1001")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(NoriaError, match="NORIA_WARM_UP") as caught:
        read({"NORIA_BUNDLE": "/x", **change})
    assert caught.value.reason is Reason.CONFIGURATION
