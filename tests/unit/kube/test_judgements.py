"""Judgements as metrics: of running rollouts, told by the leader alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from noria_operator.judgements import Judgements
from noria_operator.kube.store import Store


def deployment(name: str, **status: Any) -> dict[str, Any]:
    kind = {"apiVersion": "noria.dev/v1alpha1", "kind": "ModelDeployment"}
    meta = {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "1"}
    return {**kind, "metadata": meta, "spec": {"model": name}, "status": status}


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def decided(number: int, at: str, verdict: str, **figures: str) -> dict[str, Any]:
    evidence = {"measures": [{"name": "errors", "verdict": verdict, "figures": figures}]}
    return {"version": f"m-{number}", "decision": "Rejected", "at": at, "evidence": evidence}


def told(*, leading: bool, **broken: Any) -> CollectorRegistry:
    store, registry = Store(), CollectorRegistry()
    measures = [
        {"name": "errors", "verdict": "Pass", "figures": {"logEHarm": "-1.5"}},
        {"name": "query late", "verdict": "Hold"},
    ]
    beside = {"version": "m-3", "analysis": {"measures": [{"name": "errors", "verdict": "Fail"}]}}
    first = {"candidate": {"version": "m-2"}, "analysis": {"measures": measures}}
    store.observe("ADDED", deployment("running", **first, others=[beside]))
    store.observe("ADDED", deployment("done", analysis={"measures": measures}))
    store.observe("ADDED", deployment("first", candidate={"version": "m-1"}))
    late = [
        decided(2, "2026-03-01T11:54:00Z", "Hold"),
        decided(2, "2026-03-01T11:58:00Z", "Fail", logFailAt="2.3"),
        decided(1, "2026-03-01T11:40:00Z", "Fail"),
    ]
    store.observe("ADDED", deployment("aborted", decisions=late))
    store.observe("ADDED", deployment("again", **first, decisions=late))
    for name, status in broken.items():
        store.observe("ADDED", deployment(name, **status))
    registry.register(Judgements(store, lambda: leading, lambda: NOW))
    return registry


def test_each_measure_of_a_running_rollout_has_its_verdict_and_figures() -> None:
    registry, place = told(leading=True), {"namespace": "shop", "deployment": "running", "challenger": "m-2"}
    errors = {**place, "measure": "errors"}
    assert registry.get_sample_value("noria_analysis_verdict", {**errors, "verdict": "Pass"}) == 1
    assert registry.get_sample_value("noria_analysis_figure", {**errors, "figure": "logEHarm"}) == -1.5
    query = {**place, "measure": "query late", "verdict": "Hold"}
    assert registry.get_sample_value("noria_analysis_verdict", query) == 1
    beside = {**errors, "challenger": "m-3", "verdict": "Fail"}
    assert registry.get_sample_value("noria_analysis_verdict", beside) == 1
    samples = [sample for family in registry.collect() for sample in family.samples]
    assert {sample.labels["deployment"] for sample in samples} == {"running", "aborted", "again"}


def test_what_a_version_was_rejected_on_stays_for_some_minutes() -> None:
    found = [sample for family in told(leading=True).collect() for sample in family.samples]
    left = [sample for sample in found if sample.labels["deployment"] == "aborted"]
    assert {(one.labels["challenger"], one.labels.get("verdict")) for one in left} == {
        ("m-2", "Fail"),
        ("m-2", None),
    }
    assert [one.value for one in left if one.labels.get("figure") == "logFailAt"] == [2.3]
    again = [sample.labels for sample in found if sample.labels["deployment"] == "again"]
    assert "Fail" not in [one.get("verdict") for one in again], "it is on trial again"


def test_a_follower_tells_none() -> None:
    assert [sample for family in told(leading=False).collect() for sample in family.samples] == []


def test_an_object_that_cannot_be_read_hides_no_other_one(caplog: pytest.LogCaptureFixture) -> None:
    odd = decided(2, "2026-03-01T11:58:00Z", "Fail", e="about 2")
    bare = {"candidate": {"version": "m-2"}, "others": [{"version": "m-3"}]}
    registry = told(leading=True, odd={"decisions": [odd]}, bare=bare)
    samples = [sample for family in registry.collect() for sample in family.samples]
    assert {sample.labels["deployment"] for sample in samples} == {"running", "aborted", "again"}
    assert {getattr(record, "object", "") for record in caplog.records} == {"odd"}
