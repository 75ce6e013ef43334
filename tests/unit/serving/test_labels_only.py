"""Classifiers that give labels alone: saved, served in every protocol, counted by class, scored on held-out
rows; and never a figure that would need probabilities.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from sklearn.ensemble import VotingClassifier
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import (
    LogisticRegression,
    Perceptron,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from tests.unit.evidence.sums import add
from tests.unit.serving.test_grpc import LATE, Port
from tests.unit.serving.test_grpc import request as over_grpc
from tests.unit.serving.test_monitoring import FIRST, Server, judged, trigger
from tests.unit.serving.test_python import Stub

from noria_operator.domain.classes import Classes
from noria_operator.domain.costs import Costs
from noria_operator.domain.drift.columns import PREDICTION, Reference
from noria_operator.domain.performance import measure, unsuitable
from noria_operator.domain.predictions import Called
from noria_operator.domain.quality import Labels
from noria_operator.evidence import windows
from noria_serving import bundle, contract, evaluate
from noria_serving.artifact import sha256
from noria_serving.counters.recorder import Recorder
from noria_serving.errors import NoriaError, Reason
from noria_serving.model.loaded import Loaded, load
from noria_serving.model.python import PythonBackend, outputs_of
from noria_serving.model.scoring import Scoring
from noria_serving.model.scoring import said as predicted
from noria_serving.server.app import App
from noria_serving.server.counters_app import CountersApp
from noria_serving.server.grpc.listener import Listener
from noria_serving.server.models import Models
from noria_serving.server.service import Service
from noria_serving.settings import Settings
from noria_serving.signature import Signature, Tensor

RNG = np.random.default_rng(11)
X = RNG.normal(size=(400, 3)).astype(np.float32).astype(np.float64)
LATE_OR_NOT = (X[:, 0] + RNG.normal(scale=0.5, size=400) > 0.3).astype(int)
PETS = np.array(["cat", "dog", "eel"])[np.digitize(X[:, 0] + RNG.normal(scale=0.5, size=400), [-0.5, 0.7])]
VERSION = LATE.version


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """Of two classes, told apart by the second column."""
    place = tmp_path_factory.mktemp("two")
    slices = [{"feature": "x1", "bounds": [0.0]}]
    bundle.save(LinearSVC().fit(X, LATE_OR_NOT), X, LATE_OR_NOT, place, slices=slices)
    return load(str(place))


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    place = tmp_path_factory.mktemp("several")
    bundle.save(RidgeClassifier().fit(X, PETS), X, PETS, place)
    return load(str(place))


@pytest.mark.parametrize("truth", [LATE_OR_NOT, LATE_OR_NOT == 1, PETS], ids=["numbers", "truths", "texts"])
@pytest.mark.parametrize(
    "model",
    [
        LinearSVC(),
        SVC(),
        RidgeClassifier(),
        Perceptron(),
        SGDClassifier(random_state=0),
        make_pipeline(StandardScaler(), LinearSVC()),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_classifier_without_probabilities_is_converted_and_has_labels_alone(
    tmp_path: Path, model: Any, truth: np.ndarray
) -> None:
    saved = bundle.save(model.fit(X, truth), X, truth, tmp_path)
    assert (saved.format, [one["name"] for one in saved.signature["outputs"]]) == ("onnx", ["label"])
    assert json.loads((tmp_path / contract.MANIFEST).read_bytes())["labelsOnly"] is True
    loaded = load(str(tmp_path), digest=saved.digest)
    said = model.predict(X)
    (answer,) = loaded.backend.predict({"input-0": X.astype(np.float32)})
    assert (
        answer.reshape(-1).astype(str).tolist()
        == (said * 1 if said.dtype == bool else said).astype(str).tolist()
    )
    counts = dict(zip(loaded.reference.prediction.values, loaded.reference.prediction.counts, strict=False))
    names, rows = np.unique(said * 1 if said.dtype == bool else said, return_counts=True)
    assert counts == dict(zip(names.astype(str).tolist(), rows.tolist(), strict=True))


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(RBFSampler(random_state=0), LinearSVC()),
        VotingClassifier([("line", RidgeClassifier()), ("margin", make_pipeline(RBFSampler(), LinearSVC()))]),
    ],
    ids=["pipeline", "votes"],
)
def test_one_without_an_onnx_form_answers_labels_from_skops(tmp_path: Path, model: Any) -> None:
    assert bundle.save(model.fit(X, PETS), X, PETS, tmp_path).format == "skops"
    loaded = load(str(tmp_path))
    (answer,) = loaded.backend.predict({"input-0": X})
    assert answer.tolist() == model.predict(X).tolist()
    assert loaded.scoring.labels_only


def test_a_model_with_probabilities_has_no_mark(matrix_bundle: bundle.Bundle) -> None:
    assert "labelsOnly" not in json.loads((matrix_bundle.path / contract.MANIFEST).read_bytes())


def test_a_class_that_is_never_predicted_has_a_bin_all_the_same(tmp_path: Path) -> None:
    truth = np.where(np.arange(400) == 7, "rare", LATE_OR_NOT.astype(str))
    bundle.save(RidgeClassifier().fit(X, truth), X, truth, tmp_path)
    prediction = load(str(tmp_path)).reference.prediction
    assert (set(prediction.values), prediction.counts[2:]) == ({"0", "1", "rare"}, (0, 0))


@pytest.mark.parametrize("metric", ["auc", "logloss", "brier", "calibration", "ece", "average_precision"])
def test_claims_of_what_needs_probabilities_are_refused_by_name(tmp_path: Path, metric: str) -> None:
    with pytest.raises(NoriaError, match=f"labels alone, no probabilities, and {metric}") as caught:
        bundle.save(LinearSVC().fit(X, LATE_OR_NOT), X, LATE_OR_NOT, tmp_path, metrics={metric: 0.5})
    assert caught.value.reason is Reason.DATA_INVALID


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labelsOnly": None}, "true or false"),
        ({"labelsOnly": False}, "one output of labels"),
        ({"classes": []}, "of a classifier alone"),
        ({"classes": [0, 1, 2]}, "of a classifier alone"),
        ({"classes": [], "task": "multiclass"}, "of a classifier alone"),
        ({"task": "regression"}, "of a classifier alone"),
    ],
)
def test_a_mark_that_contradicts_the_rest_is_refused(
    two: Loaded, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    saved = bundle.save(LinearSVC().fit(X, LATE_OR_NOT), X, LATE_OR_NOT, tmp_path)
    manifest = saved.path / contract.MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_bytes()) | changes))
    with pytest.raises(NoriaError, match=said) as caught:
        load(str(tmp_path))
    assert caught.value.reason is Reason.MANIFEST_INVALID


def test_labels_beside_a_reference_of_scores_are_refused(two: Loaded, tmp_path: Path) -> None:
    """Predictions would be counted nowhere."""
    saved = bundle.save(LinearSVC().fit(X, LATE_OR_NOT), X, LATE_OR_NOT, tmp_path)
    bins = saved.path / contract.REFERENCE
    numbers = {"kind": "numeric", "edges": [0.5], "counts": [1, 1]}
    document = json.loads(bins.read_bytes())
    bins.write_text(json.dumps(document | {"prediction": document["prediction"] | numbers}))
    manifest = saved.path / contract.MANIFEST
    written = json.loads(manifest.read_bytes())
    written["files"][contract.REFERENCE] = sha256(bins.read_bytes())
    manifest.write_text(json.dumps(written))
    with pytest.raises(NoriaError, match="predictions are classes"):
        load(str(tmp_path))


def test_an_onnx_model_and_a_class_of_your_own_may_give_labels_alone(two: Loaded, tmp_path: Path) -> None:
    saved = bundle.save(LinearSVC().fit(X, LATE_OR_NOT), X, LATE_OR_NOT, tmp_path / "one")
    again = bundle.save(saved.path / "model.onnx", X, LATE_OR_NOT, tmp_path / "two", task="binary")
    assert load(str(again.path)).manifest.labels_only
    for classes, said, datatype in (([0, 1], [0, 1], "INT64"), (["n", "y"], ["y", "n"], "BYTES")):
        label = (Tensor("label", datatype, (-1,)),)
        assert outputs_of({"label": said}, 2, "binary", classes) == label
        shape = Signature((Tensor("x", "FP64", (-1, 1)),), label)
        own = PythonBackend(Stub({"label": said}), shape, classes, lambda: None)
        assert own.predict({"x": np.zeros((2, 1))})[0].tolist() == said
    with pytest.raises(NoriaError, match="or 'label' and nothing else"):
        outputs_of({"label": [0, 1], "margin": [0.1, 0.2]}, 2, "binary", [0, 1])


# -- one function from answers to what is counted ------------------------------------------------------------


def scoring(task: str, classes: Sequence[Any], datatype: str) -> Scoring:
    return Scoring(Signature((), (Tensor("label", datatype, (-1,)),)), task, classes)


def test_a_label_is_the_score_one_of_its_class() -> None:
    read = scoring("binary", [3, 5], "INT64")
    scores, called = read.read([np.array([5, 3, 5])])
    assert (scores.tolist(), called) == ([1, 0, 1], None)
    assert [one.tolist() if one is not None else None for one in read.read([np.array([5])])] == [[1], None]
    assert read.by_class([np.array([[5], [3]])]).tolist() == [[0, 1], [1, 0]]
    read = scoring("multiclass", ["a", "b", "c"], "BYTES")
    for labels, places in ((["c", "a"], [2, 0]), (["b"], [1]), (["b"], [1]), ([], [])):
        found = read.read([np.array(labels, object)])
        assert found[0].tolist() == [1.0] * len(labels)
        assert predicted(found).tolist() == places


def test_a_label_is_known_by_what_it_spells() -> None:
    """Classes of mixed types are text in an ONNX model, truths are numbers."""
    for task, classes, datatype, labels, places in (
        ("multiclass", [1, 2, "x"], "BYTES", np.array(["2", "x"], object), [1, 2]),
        ("binary", [False, True], "INT64", np.array([1]), [1]),
    ):
        assert predicted(scoring(task, classes, datatype).read([labels])).tolist() == places


@pytest.mark.parametrize("labels", [["d"], ["a", "d"]])
def test_a_label_that_is_no_class_is_a_fault_of_the_model(labels: list[str]) -> None:
    with pytest.raises(NoriaError, match="'d' is none of the classes"):
        scoring("multiclass", ["a", "b", "c"], "BYTES").read([np.array(labels, object)])


# -- served --------------------------------------------------------------------------------------------------


@pytest.fixture
def models(several: Loaded) -> Models:
    made = Models(Settings((LATE,), max_body=100_000))
    made.serve(Service(LATE, several))
    return made


ROWS = X[:3].astype(np.float32)


async def test_every_form_of_http_answers_the_label_and_nothing_else(models: Models, several: Loaded) -> None:
    said = several.backend.predict({"input-0": ROWS})[0].reshape(-1).tolist()
    tensor = {"name": "input-0", "shape": [3, 3], "datatype": "FP32"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=App(models)), base_url="http://late"
    ) as client:
        v1 = await client.post("/v1/models/late:predict", json={"instances": ROWS.tolist()})
        assert v1.json() == {"predictions": said}
        body = {"inputs": [tensor | {"data": ROWS.tolist()}]}
        (v2,) = (await client.post("/v2/models/late/infer", json=body)).json()["outputs"]
        assert v2 == {"name": "label", "shape": [3], "datatype": "BYTES", "data": said}
        head = json.dumps(
            {
                "inputs": [tensor | {"parameters": {"binary_data_size": ROWS.nbytes}}],
                "parameters": {"binary_data_output": True},
            }
        ).encode()
        length = {"Inference-Header-Content-Length": str(len(head))}
        raw = await client.post("/v2/models/late/infer", content=head + ROWS.tobytes(), headers=length)
        size = int(raw.headers["Inference-Header-Content-Length"])
        words = b"".join(len(one).to_bytes(4, "little") + one.encode() for one in said)
        assert raw.content[size:] == words
        wrong = await client.post(
            "/v2/models/late/infer", json=body | {"outputs": [{"name": "probabilities"}]}
        )
        assert wrong.status_code == 400


async def test_grpc_answers_the_label(models: Models, several: Loaded) -> None:
    listener = Listener(models)
    number = await listener.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{number}") as channel:
        answer = await Port(models, listener, channel, number).infer(over_grpc(ROWS))
    await listener.stop(0)
    said = several.backend.predict({"input-0": ROWS})[0].reshape(-1).tolist()
    assert [one.name for one in answer.outputs] == ["label"]
    assert answer.raw_output_contents[0] == b"".join(
        len(one).to_bytes(4, "little") + one.encode() for one in said
    )


async def test_a_label_that_the_bundle_does_not_list_is_no_answer(two: Loaded) -> None:
    """And the model must give its golden answers again."""
    strange = replace(two, scoring=scoring("binary", [0, 7], "INT64"))
    server = Server(strange)
    with pytest.raises(AssertionError):
        for row in X[:20]:
            await server.predict(row.reshape(1, -1))
    assert server.service.soundness._proving is not None


# -- counted -------------------------------------------------------------------------------------------------


async def labelled(server: Server, rows: np.ndarray, labels: list[Any]) -> None:
    for row, label in zip(rows, labels, strict=True):
        await server.predict(row.reshape(1, -1))
        await server.label(server.tokens[-1], [label])


async def counts(server: Server) -> Any:
    document = windows.parse(await server.told("/counters"))
    assert document is not None
    return document.counts


async def test_labels_of_two_classes_are_counted_and_what_needs_probabilities_is_refused(two: Loaded) -> None:
    server = Server(two)
    await labelled(server, X[:80], LATE_OR_NOT[:80].tolist())
    said = two.backend.predict({"input-0": X.astype(np.float32)})[0].reshape(-1)
    found = await counts(server)
    assert (windows.task(found, VERSION), windows.labels_only(found, VERSION)) == ("binary", True)
    joined = windows.joined(found, VERSION, "auc")
    assert isinstance(joined, Labels)
    assert not joined.scored
    accuracy, harmonic = measure("accuracy", joined), measure("f1", joined)
    assert accuracy is not None
    assert accuracy.value == pytest.approx((said[:80] == LATE_OR_NOT[:80]).mean())
    assert harmonic is not None
    assert harmonic.value == pytest.approx(f1_score(LATE_OR_NOT[:80], said[:80]))
    for metric in ("auc", "logloss", "brier", "calibration", "ece"):
        assert (
            f"{metric} cannot be told of a classifier of two classes that gives labels alone"
            in unsuitable(metric, joined)
        )
    assert unsuitable("expectedCost", joined) == ""
    assert windows.called(found, VERSION) == Called(
        {"0": int((said[:80] == 0).sum()), "1": int((said[:80] == 1).sum())}
    )
    assert windows.outputs(found, VERSION) is None
    reference = windows.reference(await server.told("/reference"), VERSION)
    assert isinstance(reference, Reference)
    (below, above, _) = windows.groups(found, VERSION, reference.slices)["x1"]
    for group, rows in ((below, X[:80, 1] <= 0), (above, X[:80, 1] > 0)):
        assert (group.rows, group.positive) == (rows.sum(), (said[:80][rows] == 1).sum())
    sliced = windows.slice_labels(found, VERSION, reference.slices)
    assert not sliced.scored
    told = await server.scraped()
    assert "model_calibration_rows_total{" not in told
    assert f'model_prediction_bin_total{{bin="1",model="late-model",version="{VERSION}"}} ' in told
    assert f'model_confusion_total{{actual="1",model="late-model",predicted="0",version="{VERSION}"}}' in told


async def test_labels_of_several_classes_are_counted_by_class(several: Loaded) -> None:
    server = Server(several)
    await labelled(server, X[:60], PETS[:60].tolist())
    said = several.backend.predict({"input-0": X[:60].astype(np.float32)})[0].reshape(-1).astype(str)
    found = await counts(server)
    joined = windows.joined(found, VERSION, "f1")
    assert isinstance(joined, Classes)
    for metric, expected in (
        ("accuracy", float((said == PETS[:60]).mean())),
        ("f1", f1_score(PETS[:60], said, average="macro")),
    ):
        measured = measure(metric, joined)
        assert measured is not None
        assert measured.value == pytest.approx(expected)
    for metric in ("calibration", "ece", "auc"):
        assert "several classes that gives labels alone" in unsuitable(metric, joined)
    costs = Costs(pairs=(("eel", "cat", 40.0), ("dog", "dog", -3.0)))
    assert unsuitable("expectedCost", joined, costs) == ""
    each = np.where(said == PETS[:60], np.where(said == "dog", -3, 0), 1)
    each[(PETS[:60] == "eel") & (said == "cat")] = 40
    measured = measure("expectedCost", joined, costs)
    assert measured is not None
    assert measured.value == pytest.approx(each.mean())
    names, rows = np.unique(said, return_counts=True)
    assert windows.called(found, VERSION) == Called(dict(zip(names.tolist(), rows.tolist(), strict=True)))
    assert windows.predicted(found, VERSION) == windows.seen(found, VERSION)[PREDICTION]


async def test_prometheus_is_told_that_there_are_labels_alone(several: Loaded) -> None:
    """And so is an operator that takes its counts from there."""
    server = Server(several)
    await server.predict(X[:9])
    async with server._client(CountersApp(server.models)) as client:
        page = (await client.get(contract.COUNTS_PATH)).text
    places = dict(contract.places(await server.told("/counters")))
    assert f'place="task/{VERSION}/multiclass/labels"' in page
    assert f'place="classes/{VERSION}/1/dog",of="0",index="0"}} 0\n' in page
    for name in ("cat", "dog", "eel"):
        (rows,) = places[f"called/{VERSION}/{name}"]
        assert re.search(f'place="called/{VERSION}/{name}",of="1",index="0"}} {rows}\n', page)


async def test_labels_that_another_versions_server_takes_are_no_calibration(
    two: Loaded, loaded: Loaded
) -> None:
    """A canary: feedback for either version may come to any pod."""
    own, other = Server(two), Server(loaded)
    other.service.settings = replace(LATE, version="late-model-5", number="5")
    other.service.desk._version = "late-model-5"
    await own.predict(X[:1])
    await other.label(own.tokens[-1], [1])
    told = await other.scraped()
    assert 'model_calibration_rows_total{bin="0..0.1",model="late-model",version="late-model-5"}' in told
    assert "model_calibration_rows_total{" in told
    assert not [
        line
        for line in told.splitlines()
        if line.startswith("model_calibration_rows") and f'"{VERSION}"' in line
    ]


@given(pods=st.lists(st.integers(0, 2), min_size=1, max_size=60))
def test_classes_add_up_over_pods(several: Loaded, pods: list[int]) -> None:
    """Rows split over three pods are those of one, whoever gets which."""
    shape = {"input-0": X[: len(pods)]}
    inputs = {"input-0": shape["input-0"].astype(np.float32)}
    said = predicted(several.scoring.read(several.backend.predict(inputs)))
    one, many = recorder(several), [recorder(several) for _ in range(3)]
    one.answered(shape, said)
    for place, pod in enumerate(pods):
        many[pod].answered({"input-0": X[place : place + 1]}, said[place : place + 1])
    told = [dict(contract.places(document(each))) for each in (one, *many)]
    total = add(told[1:])
    assert {place: row for place, row in total.items() if place.startswith(("called/", "prediction/"))} == {
        place: row for place, row in told[0].items() if place.startswith(("called/", "prediction/"))
    }


def recorder(several: Loaded) -> Recorder:
    return Recorder(several.reference, several.manifest.classes)


def document(counting: Recorder) -> dict[str, Any]:
    counting.fold()
    return {
        "version": VERSION,
        "task": "multiclass",
        "labels_only": True,
        **counting.state.as_json(counting.state.vector),
    }


def test_classes_beyond_those_with_bins_count_together(several: Loaded, tmp_path: Path) -> None:
    truth = np.arange(400) % 25
    bundle.save(RidgeClassifier().fit(np.eye(25)[truth], truth), np.eye(25)[truth], truth, tmp_path)
    many = load(str(tmp_path))
    counting = recorder(many)
    counting.answered({"input-0": np.eye(25)[:25]}, np.arange(25))
    places = dict(contract.places(document(counting)))
    found = windows.called(places, VERSION)
    assert found is not None
    assert (len(found.named), sum(found.named.values()), found.rest) == (20, 20, 5)


# -- watched -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shift", "reason"), [(0.0, "Steady"), (2.0, "Drifted")])
async def test_predictions_drift_where_the_shares_of_classes_do(
    several: Loaded, shift: float, reason: str
) -> None:
    random = np.random.default_rng(5)
    each = [{0: random.normal(loc=(shift, 0, 0), size=(600, 3))} for _ in range(3)]
    asked = trigger("drift", predictions=True, share="0.9")
    found = await judged(asked, [Server(several)], each)
    assert found.entry["reason"] == reason, found.entry
    assert ("the predictions and" in found.entry["message"]) is (reason == "Drifted")
    assert found.entry["version"] == FIRST.name


# -- scored on held-out rows ---------------------------------------------------------------------------------


@pytest.fixture
def held_out(tmp_path: Path) -> dict[str, str]:
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    for name, model in (("labels", LinearSVC()), ("scores", LogisticRegression())):
        bundle.save(model.fit(frame, LATE_OR_NOT), frame, LATE_OR_NOT, tmp_path / name)
    place = tmp_path / "rows"
    place.mkdir()
    parquet.write_table(
        pa.table({**{n: X[:, i] for i, n in enumerate("abc")}, "late": LATE_OR_NOT}), place / "r.parquet"
    )
    return {"NORIA_HOLDOUT": str(place), "NORIA_LABEL": "late", "labels": str(tmp_path / "labels"),
            "scores": str(tmp_path / "scores")}  # fmt: skip


def test_labels_alone_have_an_accuracy(held_out: dict[str, str]) -> None:
    env = held_out | {"NORIA_CHALLENGER": held_out["labels"], "NORIA_CHAMPION": held_out["scores"]}
    env[contract.ENV_SLICES] = json.dumps([{"feature": "b", "bounds": [0.0]}])
    found = evaluate.evaluate(env)
    said = LinearSVC().fit(X, LATE_OR_NOT).predict(X)
    assert found["metrics"]["challenger"].keys() == {"accuracy"}
    assert float(found["metrics"]["challenger"]["accuracy"]) == pytest.approx((said == LATE_OR_NOT).mean())
    assert found["metrics"]["champion"].keys() == {"auc", "logloss", "accuracy"}
    assert found["errors"].keys() == {"accuracy"}
    assert {one[3] for one in found["slices"]} == {"accuracy"}


def test_a_champion_of_labels_alone_has_no_figure_of_scores(held_out: dict[str, str]) -> None:
    env = held_out | {"NORIA_CHALLENGER": held_out["scores"], "NORIA_CHAMPION": held_out["labels"]}
    env |= {"NORIA_METRICS": "auc,accuracy", contract.ENV_SLICE_METRICS: "auc"}
    env[contract.ENV_SLICES] = json.dumps([{"feature": "b", "bounds": [0.0]}])
    found = evaluate.evaluate(env)
    assert found["metrics"]["champion"].keys() == found["errors"].keys() == {"accuracy"}
    assert found["metrics"]["challenger"].keys() == {"auc", "accuracy"}
    assert {len([value for value in one if value is not None]) for one in found["slices"]} == {5}, (
        "no champion"
    )


@pytest.mark.parametrize("metric", ["auc", "logloss", "brier", "calibration", "ece", "average_precision"])
def test_a_challenger_that_is_asked_for_what_needs_probabilities_is_refused(
    held_out: dict[str, str], metric: str
) -> None:
    env = held_out | {"NORIA_CHALLENGER": held_out["labels"], "NORIA_METRICS": f"accuracy,{metric}"}
    with pytest.raises(
        NoriaError, match=f"labels alone, no probabilities, and {metric} is of these"
    ) as caught:
        evaluate.evaluate(env)
    assert caught.value.reason is Reason.CONFIGURATION


def test_slices_have_no_such_metric_either(held_out: dict[str, str]) -> None:
    env = held_out | {"NORIA_CHALLENGER": held_out["labels"], contract.ENV_SLICE_METRICS: "logloss"}
    env[contract.ENV_SLICES] = json.dumps([{"feature": "b", "bounds": [0.0]}])
    with pytest.raises(NoriaError, match="no \\['logloss'\\] by slice; there are \\['accuracy'\\]"):
        evaluate.evaluate(env)
