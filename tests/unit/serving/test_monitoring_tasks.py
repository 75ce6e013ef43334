"""What a model predicts decides how its counts are read: from requests and labels to figures of the operator,
for several classes and for a regression.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import f1_score, log_loss, roc_auc_score
from tests.unit.serving.test_monitoring import Server, judged, trigger

from noria_operator.domain.classes import Classes
from noria_operator.domain.costs import Costs
from noria_operator.domain.drift.columns import CALLED, PREDICTION
from noria_operator.domain.estimated_errors import ExpectedErrors
from noria_operator.domain.performance import Errors, measure
from noria_operator.domain.predictions import Called, Outputs
from noria_operator.domain.triggers_estimated import expected_joined
from noria_operator.evidence import windows
from noria_serving.artifact import sha256
from noria_serving.bundle import save
from noria_serving.contract import MANIFEST, REFERENCE, SCORE_BINS
from noria_serving.errors import NoriaError
from noria_serving.model.loaded import load
from noria_serving.quality import ece

VERSION = "late-model-4"
RNG = np.random.default_rng(8)
X = RNG.normal(size=(300, 3))


async def labelled(server: Server, rows: np.ndarray, labels: list[Any]) -> None:
    """Predictions, each with its label as feedback."""
    for row, label in zip(rows, labels, strict=True):
        await server.predict(row.reshape(1, -1))
        await server.label(server.tokens[-1], [label])


async def test_a_label_of_a_class_that_is_not_known_is_a_wrong_prediction_and_said(tmp_path: Path) -> None:
    """Refused, a class that is new in the world would not show in the quality of a model that lacks it."""
    truth = np.array(["cat", "dog", "eel"])[np.digitize(X[:, 0], [-0.5, 0.7])]
    model = LogisticRegression().fit(X, truth)
    save(model, X, truth, tmp_path)
    server = Server(load(str(tmp_path)))
    await labelled(server, X[:30], model.predict(X[:30]).tolist())
    said = f"{VERSION} knows no class called 'fox'; unless that was predicted, it counts as wrong"
    for row in X[30:40]:
        await server.predict(row.reshape(1, -1))
        answer = await server.label(server.tokens[-1], ["fox"])
        assert answer == {"result": "matched", "rows": 1, "message": said}
    document = windows.parse(await server.told("/counters"))
    assert document is not None
    joined = windows.joined(document.counts, VERSION, "accuracy")
    assert isinstance(joined, Classes)
    found = measure("accuracy", joined)
    assert found is not None
    assert (found.value, joined.samples, sum(joined.table)) == (0.75, 40, 30)
    unknown = f'actual="other",model="late-model",predicted="predicted",version="{VERSION}"'
    assert f"model_confusion_total{{{unknown}}} 10.0" in await server.scraped()


async def test_several_classes_have_accuracy_and_f1_of_the_likeliest_one(tmp_path: Path) -> None:
    truth = np.array(["cat", "dog", "eel"])[np.digitize(X[:, 0] + RNG.normal(size=300), [-0.5, 0.7])]
    model = LogisticRegression().fit(X, truth)
    save(model, X, truth, tmp_path)
    server = Server(load(str(tmp_path)))
    await labelled(server, X[:60], truth[:60].tolist())
    document = windows.parse(await server.told("/counters"))
    assert document is not None
    joined = windows.joined(document.counts, VERSION, "f1")
    assert isinstance(joined, Classes)
    said = model.predict(X[:60])
    for metric, expected in (
        ("accuracy", float((said == truth[:60]).mean())),
        ("f1", f1_score(truth[:60], said, average="macro")),
    ):
        found = measure(metric, joined)
        assert found is not None
        assert found.value == pytest.approx(expected)
    every = model.predict_proba(X[:60])
    own = every[np.arange(60), np.searchsorted(model.classes_, truth[:60])]
    for metric, expected in (
        ("auc", roc_auc_score(truth[:60], every, multi_class="ovr")),
        ("logloss", log_loss(truth[:60], every)),
        ("brier", (every**2).sum(axis=1).mean() + 1 - 2 * own.mean()),
    ):
        found = measure(metric, joined)
        assert found is not None
        assert found.value == pytest.approx(expected, abs=0.01)
    costs = Costs(pairs=(("eel", "cat", 40.0), ("dog", "dog", -3.0)))
    found = measure("expectedCost", joined, costs)
    assert found is not None
    right, eels = said == truth[:60], (truth[:60] == "eel") & (said == "cat")
    expected = (~right).sum() + 39 * eels.sum() - 3 * (right & (said == "dog")).sum()
    assert found.value == pytest.approx(expected / 60)
    scores = every.max(axis=1)
    found = measure("ece", joined)
    assert found is not None
    right = said == truth[:60]
    assert found.value == pytest.approx(ece(scores, right), abs=0.5 / SCORE_BINS)
    told = await server.scraped()
    tenth = f'bin="0.9..1",model="late-model",version="{VERSION}"'
    assert f"model_calibration_rows_total{{{tenth}}} {float((scores >= 0.9).sum())}" in told
    assert f"model_calibration_positives_total{{{tenth}}} {float((right & (scores >= 0.9)).sum())}" in told
    sums = [
        float(line.split()[1]) for line in told.splitlines() if line.startswith("model_calibration_scores_")
    ]
    assert sum(sums) == pytest.approx(scores.sum(), abs=60 * 0.5 / SCORE_BINS)
    names, rows = np.unique(said, return_counts=True)
    assert windows.called(document.counts, VERSION) == Called(
        dict(zip(names.tolist(), rows.tolist(), strict=True))
    )
    assert not windows.labels_only(document.counts, VERSION)
    hits = int(((said == "dog") & (truth[:60] == "eel")).sum())
    labels = f'actual="eel",model="late-model",predicted="dog",version="{VERSION}"'
    assert f"model_confusion_total{{{labels}}} {hits}.0" in await server.scraped()


@pytest.mark.parametrize(("swapped", "reason"), [(False, "Steady"), (True, "Drifted")])
async def test_classes_that_change_places_drift_though_their_scores_do_not(
    tmp_path: Path, swapped: bool, reason: str
) -> None:
    """Cats and eels are as far from dogs: where all are cats, the likeliest class is as likely as before."""
    half = np.column_stack([RNG.choice([0.0, 4.0], size=1500) + RNG.normal(size=1500), RNG.normal(size=1500)])
    rows = np.concatenate([half, half * [-1.0, 1.0]])
    classes = np.array(["cat", "dog", "eel"])[np.digitize(rows[:, 0], [-2.0, 2.0])]
    save(LogisticRegression().fit(rows, classes), rows, classes, tmp_path)
    rule = {"features": ["x1"], "threshold": "0.1"}
    asked = np.concatenate([rows[:200], rows[-200:]])
    asked[:, 0] = -np.abs(asked[:, 0]) if swapped else asked[:, 0]
    found = await judged(trigger("drift", **rule), [Server(load(str(tmp_path)))], [{0: asked}] * 3)
    assert found.entry["reason"] == reason
    drifted = {one["name"] for one in found.entry["columns"] if one["drifted"]}
    assert drifted == ({CALLED} if swapped else set())


async def test_a_version_whose_reference_counts_no_classes_drifts_by_its_scores_alone(tmp_path: Path) -> None:
    """One of an earlier release, or of more classes than are counted."""
    truth = np.array(["cat", "dog", "eel"])[np.digitize(X[:, 0], [-0.5, 0.7])]
    save(LogisticRegression().fit(X, truth), X, truth, tmp_path)
    loaded = load(str(tmp_path))
    assert sum(loaded.reference.called.values()) == 300
    former = replace(loaded, reference=replace(loaded.reference, called={}))
    found = await judged(trigger("drift"), [Server(former)], [{0: X}])
    assert found.entry["reason"] == "Steady"
    assert {one["name"] for one in found.entry["columns"]} == {"x0", "x1", "x2", PREDICTION}


def test_a_reference_of_other_classes_is_refused(tmp_path: Path) -> None:
    truth = np.array(["cat", "dog", "eel"])[np.digitize(X[:, 0], [-0.5, 0.7])]
    save(LogisticRegression().fit(X, truth), X, truth, tmp_path)
    bins, manifest = (tmp_path / name for name in (REFERENCE, MANIFEST))
    changed = json.dumps(json.loads(bins.read_text()) | {"called": {"cat": 1, "dog": 2, "cow": 3}}).encode()
    bins.write_bytes(changed)
    listed = json.loads(manifest.read_text())
    listed["files"][REFERENCE] = sha256(changed)
    manifest.write_text(json.dumps(listed))
    with pytest.raises(NoriaError, match="`called` must count the classes"):
        load(str(tmp_path))


async def test_rows_of_large_requests_are_counted_by_class_as_those_of_small_ones(tmp_path: Path) -> None:
    truth = np.array(["cat", "dog", "eel"])[np.digitize(X[:, 0], [-0.5, 0.7])]
    save(LogisticRegression().fit(X, truth), X, truth, tmp_path)
    one, many = Server(load(str(tmp_path))), Server(load(str(tmp_path)))
    await one.predict(X[:40])
    for row in X[:40]:
        await many.predict(row.reshape(1, -1))
    assert (await one.told("/counters"))["called"] == (await many.told("/counters"))["called"]
    assert sum((await one.told("/counters"))["called"].values()) == 40


async def test_more_than_twenty_classes_are_counted_by_their_score_alone(tmp_path: Path) -> None:
    truth = np.arange(210) % 21
    save(LogisticRegression().fit(X[:210], truth), X[:210], truth, tmp_path)
    server = Server(load(str(tmp_path)))
    await server.predict(X[:40])
    document = windows.parse(await server.told("/counters"))
    assert document is not None
    assert windows.called(document.counts, VERSION) is None
    assert windows.outputs(document.counts, VERSION) is not None


async def test_a_regression_has_errors_by_label_and_an_estimate_without(tmp_path: Path) -> None:
    truth = X[:, 0] + RNG.normal(size=300)
    model = LinearRegression().fit(X, truth)
    save(model, X, truth, tmp_path)
    server = Server(load(str(tmp_path)))
    await labelled(server, X[:80], truth[:80].tolist())
    document = windows.parse(await server.told("/counters"))
    reference = windows.reference(await server.told("/reference"), VERSION)
    assert document is not None
    assert reference is not None
    assert windows.task(document.counts, VERSION) == "regression"
    joined = windows.joined(document.counts, VERSION, "mae")
    assert isinstance(joined, Errors)
    realised = measure("mae", joined)
    assert realised is not None
    assert realised.value == pytest.approx(float(np.abs(model.predict(X[:80]) - truth[:80]).mean()), rel=1e-3)
    assert reference.errors is not None
    assert reference.errors.of == "training"
    seen = windows.seen(document.counts, VERSION)[PREDICTION]
    estimated = measure("mae", ExpectedErrors(reference.errors, seen.bins))
    assert estimated is not None
    assert estimated.low < realised.value < estimated.high


@pytest.mark.parametrize("labels", [2, 3])
async def test_a_timid_classifier_is_estimated_by_its_held_out_labels(labels: int, tmp_path: Path) -> None:
    """Before any label of served rows came: what it is worth on rows that it did not learn from."""
    rows = np.repeat(X, 3, axis=0)
    truth = np.digitize(rows[:, 0], [0.0] if labels == 2 else [-0.5, 0.7])
    model = LogisticRegression(C=0.005).fit(rows, truth)
    save(model, rows, truth, tmp_path, holdout=rows, holdout_y=truth)
    server = Server(load(str(tmp_path)))
    await server.predict(rows[:300])
    document = windows.parse(await server.told("/counters"))
    reference = windows.reference(await server.told("/reference"), VERSION)
    assert document is not None and reference is not None
    scores, joined = windows.outputs(document.counts, VERSION), windows.joined(document.counts, VERSION, "")
    assert isinstance(scores, Outputs)
    guesses = [expected_joined(scores, joined, known) for known in ((), reference.calibration)]
    raw, told = (measure("accuracy", guess) for guess in guesses if guess is not None)
    assert raw is not None and told is not None
    right = (model.predict(rows[:300]) == truth[:300]).mean()
    assert told.value == pytest.approx(right, abs=0.03)
    assert raw.value < right - 0.1
