"""The model server's metrics: named by Prometheus' rules, and written down."""

from __future__ import annotations

import os
import re
from dataclasses import replace

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from noria_serving.contract import COUNTS_METRIC, COUNTS_PATH, STARTED_METRIC, places
from noria_serving.counters import catalogue
from noria_serving.counters.prometheus import Exporter
from noria_serving.model.loaded import Loaded
from noria_serving.server.counters_app import CountersApp
from noria_serving.server.models import Models
from noria_serving.server.service import Service
from noria_serving.settings import ModelSettings, Settings

RESERVED = {"le", "quantile", "pod", "job", "instance"}
UNITS = {"seconds", "bytes", "ratio", "timestamp"}
OTHER_UNITS = {"ms", "milliseconds", "us", "minutes", "hours", "percent", "kb", "mb", "count"}


@pytest.fixture
def scraped(loaded: Loaded) -> dict[str, object]:
    settings = ModelSettings(bundle="m", deployment="late", model="late", version="late-4", number="4")
    models, service = Models(Settings(models=(settings,))), Service(settings, loaded)
    models.serve(service)
    service.recorder.answered({"input-0": np.zeros((1, 3))}, np.zeros(1))
    service.recorder.state.add_score("late-3", 7, positive=True)
    service.recorder.state.add_error("late-2", -0.25, 2.0**-10)
    service.recorder.state.add_delay(30)
    text = Exporter(models).render().decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_what_is_exported_is_what_the_catalogue_says(scraped) -> None:
    named = {one.name.removesuffix("_total"): one for one in (*catalogue.FAMILIES, *catalogue.PROCESS)}
    assert set(scraped) == set(named)
    for name, family in scraped.items():
        assert family.type == named[name].kind
        assert family.documentation == named[name].text
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(named[name].every_label)


@pytest.mark.parametrize(
    ("task", "classes", "expected"),
    [
        (
            "binary",
            (0, 1),
            {"model_confusion": 4, "model_calibration_rows": 10, "model_calibration_positives": 10},
        ),
        ("multiclass", ("cat", "dog", "eel"), {"model_confusion": 10, "model_calibration_scores": 10}),
        ("multiclass", tuple(range(21)), {"model_confusion": 2, "model_calibration_scores": 10}),
        (
            "regression",
            (),
            {
                "model_errors_labelled": 1,
                "model_errors_absolute": 2,
                "model_errors_squared": 1,
                "model_confusion": 0,
            },
        ),
    ],
)
@pytest.mark.parametrize("keys", [True, False])
def test_labels_of_a_version_are_counted_from_nought(
    loaded: Loaded, task: str, classes: tuple[object, ...], expected: dict[str, int], *, keys: bool
) -> None:
    loaded = replace(loaded, manifest=replace(loaded.manifest, task=task, classes=classes))
    settings = ModelSettings(bundle="m", deployment="late", model="late", version="late-4", number="4")
    models, service = Models(Settings(models=(settings,))), Service(settings, loaded)
    if not keys:
        service.desk.keys.ring = None
    models.serve(service)
    text = Exporter(models).render().decode()
    found = {family.name: family.samples for family in text_string_to_metric_families(text)}
    for name, count in expected.items():
        samples = [s for s in found.get(name, []) if s.name.endswith("_total")]
        assert [s.value for s in samples] == [0.0] * (count if keys else 0)
        assert {s.labels["version"] for s in samples} <= {"late-4"}


def test_labels_of_a_version_are_one_series_whichever_version_took_them(loaded: Loaded) -> None:
    """Prometheus takes one of two equal series, and drops what the other one says."""
    chosen = [
        ModelSettings(bundle="m", deployment="late", model="late", version=f"late-{n}", number=str(n))
        for n in (1, 2)
    ]
    models = Models(Settings(models=tuple(chosen)))
    for settings in chosen:
        models.serve(service := Service(settings, loaded))
        service.recorder.state.add_score("late-1", 7, positive=True)
        service.recorder.state.add_error("late-1", -0.25, 2.0**-10)
    families = list(text_string_to_metric_families(Exporter(models).render().decode()))
    told = [(s.name, *sorted(s.labels.items())) for family in families for s in family.samples]
    assert len(told) == len(set(told))
    found = {family.name: family.samples for family in families}
    first = [s for s in found["model_confusion"] if s.labels["version"] == "late-1"]
    assert {(s.labels["actual"], s.labels["predicted"]): s.value for s in first} == {
        ("0", "0"): 0, ("0", "1"): 0, ("1", "0"): 2, ("1", "1"): 0
    }  # fmt: skip
    assert [s.value for s in found["model_errors_labelled"]] == [2]
    assert [s.labels["version"] for s in found["model_info"]] == ["late-1", "late-2"]


def test_memory_and_processor_time_of_the_process_are_told(scraped) -> None:
    (memory,), (seconds,) = (
        scraped[f"process_{what}"].samples for what in ("resident_memory_bytes", "cpu_seconds")
    )
    assert memory.value > 10 * 2**20
    assert 0 < seconds.value <= sum(os.times()[:2])


def test_every_sample_is_a_number_and_histograms_are_whole(scraped) -> None:
    for family in scraped.values():
        assert all(np.isfinite(sample.value) for sample in family.samples)
        if family.type == "histogram":
            buckets = [s for s in family.samples if s.name.endswith("_bucket")]
            counts = [s.value for s in buckets]
            assert counts == sorted(counts)
            assert buckets[-1].labels["le"] == "+Inf"
            assert {s.name.rsplit("_", 1)[1] for s in family.samples} == {"bucket", "sum", "count"}


async def test_counts_for_the_operator_are_those_of_the_counters_under_the_same_places(
    loaded: Loaded,
) -> None:
    settings = ModelSettings(bundle="m", deployment="late", model='l"te', version="late-4", number="4")
    models, service = Models(Settings(models=(settings,))), Service(settings, loaded)
    models.serve(service)
    service.recorder.answered({"input-0": np.ones((3, 3))}, np.zeros(3))
    service.recorder.state.add_score("late-3", 7, positive=True)
    service.recorder.state.add_error("late-2", -0.25, 2.0**-10)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=CountersApp(models)), base_url="http://late"
    ) as client:
        text, document = (await client.get(COUNTS_PATH)).text, (await client.get("/counters")).json()
    families = {one.name: one for one in text_string_to_metric_families(text)}
    told: dict[str, list[int]] = {}
    for sample in families[COUNTS_METRIC.removesuffix("_total")].samples:
        assert (sample.labels["model"], sample.labels["version"]) == ('l"te', "late-4")
        row = told.setdefault(sample.labels["place"], [0] * int(sample.labels["of"]))
        if row:
            row[int(sample.labels["index"])] = int(sample.value)
    assert {place: tuple(row) for place, row in told.items()} == dict(places(document))
    assert "outputs/late-4/-7/0" in told
    (started,) = families[STARTED_METRIC].samples
    assert started.value == document["started"]


@pytest.mark.parametrize("family", catalogue.FAMILIES, ids=lambda one: one.name)
def test_names_follow_the_rules_of_prometheus(family: catalogue.Family) -> None:
    words = family.name.removesuffix("_total").split("_")
    assert re.fullmatch(r"model_[a-z0-9]+(_[a-z0-9]+)*", family.name)
    assert family.name.endswith("_total") == (family.kind == "counter")
    assert not OTHER_UNITS & {*words, "_".join(words[-2:])}
    assert not {"counter", "gauge", "histogram", "summary"} & set(words)
    assert not any(word in UNITS for word in words[:-2])  # a unit stands at the end
    assert family.kind != "histogram" or words[-1] in {*UNITS, "rows"}
    assert family.text.endswith(".")
    assert all(re.fullmatch(r"[a-z][a-z_]*", label) and label not in RESERVED
               for label in family.every_label)  # fmt: skip
    assert len(set(family.every_label)) == len(family.every_label)


def test_errors_are_exported_in_the_unit_of_the_label(scraped) -> None:
    (absolute,) = [s for s in scraped["model_errors_absolute"].samples if s.labels["side"] == "under"]
    assert (absolute.value, absolute.labels["version"]) == (0.25, "late-2")
    assert scraped["model_errors_squared"].samples[0].value == 0.0625


def test_processes_that_died_are_counted_by_the_one_that_serves() -> None:
    models = Models(Settings(models=(ModelSettings(""),)), restarts=2)
    assert "\nmodel_server_restarts_total 2.0\n" in Exporter(models).render().decode()
