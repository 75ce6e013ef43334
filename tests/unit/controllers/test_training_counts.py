"""Runs and decisions are counted once, when they become final."""

from __future__ import annotations

from typing import Any

from prometheus_client import REGISTRY

from noria_operator.controllers.training_counts import count_decisions, count_run

Json = dict[str, Any]
FAILED: Json = {
    "phase": "Failed",
    "startTime": "2026-03-01T00:00:00Z",
    "completionTime": "2026-03-01T00:02:00Z",
    "trigger": {"reason": "Performance"},
    "conditions": [{"type": "Failed", "status": "True", "reason": "GateFailed"}],
}
MADE: Json = {"phase": "Succeeded", "conditions": [{"type": "Failed", "status": "False", "reason": "x"}]}


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_a_run_counts_when_its_status_becomes_final() -> None:
    labels = {"trigger": "Performance", "result": "GateFailed"}
    before = value("noria_training_runs_total", **labels)
    lasted = value("noria_training_duration_seconds_sum", result="GateFailed")
    count_run({"phase": "Evaluating"}, FAILED)
    count_run(FAILED, FAILED)
    count_run({"phase": "Pending"}, {"phase": "Running", "conditions": []})
    assert value("noria_training_runs_total", **labels) == before + 1
    assert value("noria_training_duration_seconds_sum", result="GateFailed") == lasted + 120


def test_a_run_that_made_a_version_counts_as_succeeded() -> None:
    labels = {"trigger": "none", "result": "Succeeded"}
    before = value("noria_training_runs_total", **labels)
    count_run({}, MADE)
    assert value("noria_training_runs_total", **labels) == before + 1


def test_a_decision_counts_when_it_changes() -> None:
    spec = {"triggers": [{"name": "quality", "performance": {}}, {"name": "weekly", "schedule": "0 0 * * *"}]}
    obj = {"spec": spec, "status": {"triggers": [{"name": "quality", "decision": "No"}]}}
    names = ("Performance", "Fire"), ("Schedule", "Wait"), ("Manual", "Fire"), ("Performance", "No")
    before = [value("noria_retrain_decisions_total", reason=r, decision=d) for r, d in names]
    entries = [
        {"name": "quality", "decision": "Fire"},
        {"name": "weekly", "decision": "Wait"},
        {"name": "Manual", "decision": "Fire"},
    ]
    count_decisions(obj, {"triggers": entries})
    count_decisions({**obj, "status": {"triggers": entries}}, {"triggers": entries})
    after = [value("noria_retrain_decisions_total", reason=r, decision=d) for r, d in names]
    assert [new - old for new, old in zip(after, before, strict=True)] == [1, 1, 1, 0]
