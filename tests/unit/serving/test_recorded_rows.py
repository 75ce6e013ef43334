"""Rows of a history are counted as a server of the same bundle counts them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from noria_operator.domain.drift.columns import CALLED
from noria_operator.domain.fairness import Slicing
from noria_operator.domain.recorded import Arrivals, Model, Predicted
from noria_operator.domain.recorded_bins import Bins, Cells
from noria_operator.domain.tasks import MULTICLASS, REGRESSION
from noria_operator.evidence import windows
from noria_operator.evidence.totals import Totals
from noria_serving import reference, slices
from noria_serving.contract import COUNTERS_SCHEMA, REFERENCE, usual_range
from noria_serving.counters.binning import Texts
from noria_serving.counters.recorder import Recorder
from noria_serving.feedback.desk import unit_exponent
from noria_serving.model.loaded import Loaded
from noria_serving.reference import Bins as Frozen

NOW = datetime(2026, 1, 5, tzinfo=UTC)
VERSION = "m-1"


def counted(recorder: Recorder, task: str, units: dict[str, float], classes: Sequence[str] = ()) -> Totals:
    """What an operator would have read."""
    recorder.fold()
    body = {"schema": COUNTERS_SCHEMA, "process": "p", "version": VERSION, "started": 0, "from": 0, "at": 9}
    told = recorder.state.as_json(recorder.state.vector)
    found = windows.parse({**body, "task": task, "classes": classes, "error_units": units, **told})
    assert found is not None
    return Totals(found.counts)


def drawn(frozen: tuple[Frozen, ...], count: int, seed: int) -> list[dict[str, str]]:
    """Texts of a CSV: values like those of training, edges, the strange and the absent."""
    random, rows = np.random.default_rng(seed), []
    for _ in range(count):
        row = {}
        for one in frozen:
            if one.kind == "category":
                row[one.name] = str(random.choice([*one.values, "never seen", ""]))
            else:
                usual = float(random.uniform(one.low - 1, one.high + 1))
                ends = [one.low, one.high, np.inf, -np.inf, np.nan]
                value = random.choice([usual, usual, *one.edges, *ends])
                row[one.name] = "" if np.isnan(value) else repr(float(value))
        rows.append(row)
    return rows


def tensors(loaded: Loaded, rows: list[dict[str, str]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in loaded.reference.features:
        texts = [row[one.name] for row in rows]
        if one.kind == "category":
            found[one.input] = np.array(texts, dtype=object).reshape(-1, 1)
        else:  # as the model takes it
            found[one.input] = np.array([float(text or "nan") for text in texts], np.float32).reshape(-1, 1)
    return found


async def test_a_classifiers_rows_are_counted_alike_whatever_they_hold(
    loaded_frame: Loaded, frame_bundle: Any
) -> None:
    document = json.loads((frame_bundle.path / REFERENCE).read_text())
    rows = drawn(loaded_frame.reference.features, 400, 3)
    random = np.random.default_rng(5)
    scores = np.concatenate([random.uniform(size=395), [0.0, 0.5, 1.0, 0.25, 127 / 128]])
    labels, delays = random.integers(0, 2, size=400), random.integers(0, 100_000, size=400)
    recorder = Recorder(loaded_frame.reference)
    recorder.answered(tensors(loaded_frame, rows), scores)
    (slicing,) = loaded_frame.reference.slices

    bins = Bins(document, list(rows[0]))
    arrivals = Arrivals(Model(bins={VERSION: bins}))
    arrivals.watch([NOW])
    for row, score, label, delay in zip(rows, scores.tolist(), labels.tolist(), delays.tolist(), strict=True):
        made = Predicted(VERSION, score, bins.cells(row, score))
        arrivals.predicted(NOW, made)
        arrivals.labelled(NOW, made, label, delay=timedelta(seconds=delay))
        group = bytes([slicing.code(row["carrier"])])
        recorder.state.add_score(VERSION, min(199, int(score * 200)), positive=label == 1, groups=group)
        recorder.state.add_delay(delay)
    ours, theirs = arrivals.since(NOW), counted(recorder, "binary", {})
    split = bins.reference.slices
    for told in (
        lambda it: it.seen(VERSION),
        lambda it: it.predicted(VERSION),
        lambda it: it.outputs(VERSION),
        lambda it: it.joined(VERSION),
        lambda it: it.groups(VERSION, split),
        lambda it: it.slice_labels(VERSION, split),
        lambda it: (it.task(VERSION), it.median_delay(), it.rows(), it.labelled()),
    ):
        assert told(ours) == told(theirs)
    assert [one.rows for one in ours.groups(VERSION, split)["carrier"]] != [0] * 5


@pytest.mark.parametrize("classes", [3, 21])
def test_labels_of_several_classes_are_counted_alike(classes: int) -> None:
    random = np.random.default_rng(9)
    called, labels = random.integers(0, classes, 300), random.integers(0, classes, 300)
    scores, groups = random.uniform(0.2, 1, 300), random.integers(0, 3, 300)
    names = [*range(classes)] if classes <= 20 else []
    frozen = reference.Reference(
        300, (), reference.numeric("__prediction__", scores),
        called=reference.by_class(called[:100], names) if names else {},
    )  # fmt: skip
    recorder = Recorder(frozen, called=names)
    recorder.state.own = VERSION
    recorder.state.keep_table(len(names) ** 2)
    recorder.state.keep_class_scores(0)  # of which a history has none
    recorder.answered({}, scores, called=called if names else None)
    bins = Bins(reference.document(frozen), [], named=True)
    arrivals = Arrivals(Model(MULTICLASS, {VERSION: bins}, classes=tuple(map(str, range(classes)))))
    arrivals.watch([NOW])
    rows = [one.tolist() for one in (called, labels, scores, groups)]
    for call, label, score, group in zip(*rows, strict=True):
        places = bins.cells({}, score, str(call)).places
        made = Predicted(VERSION, score, Cells(places, groups=(group,)), called=call)
        arrivals.predicted(NOW, made)
        arrivals.labelled(NOW, made, float(label))
        if classes <= 20:
            recorder.state.add_call(label * classes + call)
        recorder.state.add_score(
            VERSION, min(199, int(score * 200)), positive=label == call, groups=bytes([group]), chosen=True
        )
    ours, theirs = arrivals.since(NOW), counted(recorder, MULTICLASS, {}, [*map(str, names)])
    split = (Slicing("sex", ("f", "m", "other")),)
    assert ours.joined(VERSION) == theirs.joined(VERSION)
    assert ours.outputs(VERSION) == theirs.outputs(VERSION)
    assert ours.seen(VERSION) == theirs.seen(VERSION)
    assert ours.predicted(VERSION) == theirs.predicted(VERSION)
    assert (CALLED in ours.seen(VERSION)) == (classes <= 20)
    assert ours.slice_labels(VERSION, split) == theirs.slice_labels(VERSION, split)


def test_the_numbers_of_a_column_of_float32_are_those_of_float32() -> None:
    taken = np.array([0.1, 0.3, 0.7, 0.9], dtype=np.float32).repeat(50)
    frozen = reference.numeric("x", taken, source=("x", 0))
    recorder = Recorder(reference.Reference(len(taken), (frozen,), reference.numeric("p", taken)))
    recorder.answered({"x": taken.reshape(-1, 1)}, taken.astype(float))
    recorder.fold()
    document = reference.document(recorder.state.reference)
    bins = Bins(document, ["x"])
    arrivals = Arrivals(Model(bins={VERSION: bins}))
    arrivals.watch([NOW])
    for text in ("0.1", "0.3", "0.7", "0.9"):
        for _ in range(50):
            arrivals.predicted(NOW, Predicted(VERSION, 0.5, bins.cells({"x": text}, 0.5)))
    place = recorder.state.features[0]
    expected = recorder.state.vector[place : place + frozen.size].tolist()
    assert list(arrivals.since(NOW).seen(VERSION)["x"].bins) == expected


@pytest.mark.parametrize("categories", [30, 5000])
def test_categories_without_a_bin_are_counted_alike(categories: int) -> None:
    taken = np.array([f"c{number}" for number in range(categories)], dtype=object)
    asked = [*taken[:: categories // 10].tolist(), "never", ""]
    made = reference.Reference(1, (reference.category("c", taken),), reference.numeric("p", np.zeros(1)))
    vector = np.zeros(made.features[0].size + 4, dtype=np.int64)
    Texts(0, made.features[0]).add(asked, vector)
    bins = Bins(reference.document(made), ["c"])
    places = [place for text in asked for place in bins.cells({"c": text}, 0.0).places[:-1]]
    assert np.bincount(places, minlength=len(vector)).tolist() == vector.tolist()


@pytest.mark.parametrize("outlier", [0.0, 1e8])
def test_the_errors_of_a_regression_are_counted_alike(outlier: float) -> None:
    random = np.random.default_rng(1)
    values, labels = random.normal(size=300) * 40, random.normal(size=300) * 40
    values[0] += outlier
    prediction = reference.numeric("__prediction__", values)
    recorder = Recorder(reference.Reference(300, (), prediction))
    low, high = usual_range(sorted(values.tolist()))
    prediction = replace(prediction, usual=(low, high))
    unit = 2.0 ** unit_exponent(prediction)
    model = Model(REGRESSION, spread=prediction.high - prediction.low, usual=high - low)
    arrivals = Arrivals(model)
    arrivals.watch([NOW])
    for at, (value, label) in enumerate(zip(values.tolist(), [*labels[:-1].tolist(), 1e12], strict=True)):
        recorder.state.add_error(VERSION, value - label, unit, bytes([at % 3]))
        arrivals.labelled(NOW, Predicted(VERSION, value, Cells(groups=(at % 3,))), label)
    theirs = counted(recorder, REGRESSION, {VERSION: unit})
    ours = arrivals.since(NOW)
    assert ours.joined(VERSION, "rmse") == theirs.joined(VERSION, "rmse")
    assert ours.labelled() == theirs.labelled() == 300
    split = (Slicing("sex", ("f", "m", "other")),)
    assert ours.slice_labels(VERSION, split) == theirs.slice_labels(VERSION, split)
    assert [counts[0] for counts in ours.slice_labels(VERSION, split).counts.values()] == [100] * 3


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize(
    "wish", [slices.Asked("x", bounds=(0.1, 10.0)), slices.Asked("x", values=("0.1", "2.5", "20260101"))]
)
def test_numbers_are_told_apart_alike(wish: slices.Asked, dtype: str, earlier: bool) -> None:
    """Where a bundle of an earlier release does not say what the model takes, the column tells."""
    texts = ["-3", "0", "0.1", "10", "1", "2.5", "inf", "", "1e300"]
    column = np.array([0.1, 2.5, 19.9]).astype(dtype)
    frozen = slices.freeze(wish, column)
    bins = reference.numeric("x", column)
    made = reference.Reference(3, (bins,), reference.numeric("p", np.array([0.0, 1.0])), slices=(frozen,))
    document = reference.document(made)
    if earlier:
        del document["slices"][0]["datatype"]
    found = Bins(document, ["x"])
    taken = frozen.codes(np.array([float(text or "nan") for text in texts])).tolist()
    assert [found.cells({"x": text}, 0.5).groups for text in texts] == [(code,) for code in taken]
    if not earlier:
        days = ["20260101", "20260102"]
        codes = frozen.codes(np.array(days, float)).tolist()
        assert [found.cells({"x": text}, 0.5).groups for text in days] == [(code,) for code in codes]


def test_what_was_not_recorded_is_watched_by_nobody() -> None:
    columns = [reference.numeric(name, np.arange(50.0)) for name in ("x", "y")]
    made = reference.Reference(50, tuple(columns), reference.numeric("p", np.array([0.0, 1.0])))
    bins = Bins(reference.document(made), ["y", "z"])
    assert (bins.left_out, [one.name for one in bins.reference.columns]) == (["x"], ["y"])
    with pytest.raises(ValueError, match="column y holds 'many', and numbers"):
        bins.cells({"y": "many"}, 0.5)
