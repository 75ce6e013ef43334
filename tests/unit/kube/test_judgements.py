"""Judgements as metrics: of running rollouts, told by the leader alone."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry

from noria_operator.judgements import Judgements
from noria_operator.kube.store import Store


def deployment(name: str, **status: Any) -> dict[str, Any]:
    kind = {"apiVersion": "noria.dev/v1alpha1", "kind": "ModelDeployment"}
    meta = {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "1"}
    return {**kind, "metadata": meta, "spec": {"model": name}, "status": status}


def told(*, leading: bool) -> CollectorRegistry:
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
    registry.register(Judgements(store, lambda: leading))
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
    assert {sample.labels["deployment"] for sample in samples} == {"running"}


def test_a_follower_tells_none() -> None:
    assert [sample for family in told(leading=False).collect() for sample in family.samples] == []
