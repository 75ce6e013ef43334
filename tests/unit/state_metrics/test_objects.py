"""The gauges of all objects: what status says, absent where it says nothing, told by the leader alone."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from noria_operator.kube.kinds import MODELDEPLOYMENT
from noria_operator.kube.store import Store
from noria_operator.state_metrics.collector import AT_ONCE, Objects
from noria_operator.state_metrics.families import FAMILIES
from noria_operator.state_metrics.text import text

Json = dict[str, Any]
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
PLACE = {"namespace": "shop", "deployment": "flights", "model": "flight-delay"}
LOOP = {**PLACE, "training": "loop"}
MODEL = {"namespace": "shop", "model": "flight-delay"}


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def obj(kind: str, name: str, spec: Json, status: Json, made: str = "2026-03-01T00:00:00Z") -> Json:
    meta = {"name": name, "namespace": "shop", "uid": f"{kind}-{name}", "resourceVersion": "1"}
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": kind,
        "metadata": {**meta, "creationTimestamp": made},
        "spec": spec,
        "status": status,
    }


def told(*objects: Json, leading: bool = True) -> CollectorRegistry:
    store, registry = Store(), CollectorRegistry()
    for one in objects:
        store.observe("ADDED", one)
    registry.register(Objects(store, lambda: leading, lambda: NOW))
    return registry


def deployment(**status: Any) -> Json:
    return obj("ModelDeployment", "flights", {"model": "flight-delay"}, status)


def version(number: int, made: str, **lineage: Any) -> Json:
    spec = {"model": "flight-delay", "version": number, "lineage": lineage}
    return obj("ModelVersion", f"flight-delay-{number}", spec, {"phase": "Approved"}, made)


def training(
    *entries: Json, name: str = "loop", runs: Any = (), budget: Json | None = None, **status: Any
) -> Json:
    spec = {
        "deployment": "flights",
        "triggers": [{"name": "quality", "performance": {"metric": "auc"}}],
        "template": {"spec": {"model": "flight-delay"}},
        **({"budget": budget} if budget else {}),
    }
    return obj("ContinuousTraining", name, spec, {"triggers": list(entries), "runs": list(runs), **status})


def job(name: str, phase: str, begun: str = "", ended: str = "", **status: Any) -> Json:
    times = {"startTime": begun, "completionTime": ended}
    times = {key: value for key, value in times.items() if value}
    return obj("TrainingJob", name, {"model": "flight-delay"}, {"phase": phase, **times, **status})


ROLLOUT = deployment(
    phase="Progressing",
    stable={"version": "flight-delay-1", "name": "flights-1-aaaaaa"},
    candidate={"version": "flight-delay-2", "name": "flights-2-bbbbbb"},
    traffic=[
        {"version": "flight-delay-1", "name": "flights-1-aaaaaa", "weight": 90},
        {"version": "flight-delay-2", "name": "flights-2-bbbbbb", "weight": 10},
        {"version": "flight-delay-3", "name": "flights-3-dddddd", "weight": 0},
        {"version": "flight-delay-0", "name": "flights-0-cccccc", "weight": 0},
    ],
    others=[{"version": "flight-delay-3", "name": "flights-3-dddddd"}],
    conditions=[
        {"type": "Ready", "status": "True", "reason": "Serving"},
        {"type": "Stalled", "status": "False", "reason": "AsExpected"},
        {"type": "UpToDate", "status": "Unknown", "reason": "Waiting"},
    ],
    history=[
        {"at": "2026-03-02T00:00:00Z", "event": "Promoted", "version": "flight-delay-0"},
        {"at": "2026-03-03T00:00:00Z", "event": "Promoted", "version": "flight-delay-1"},
        {"at": "2026-03-04T00:00:00Z", "event": "RolledBack", "version": "flight-delay-9"},
    ],
)


def test_a_deployment_tells_its_phase_conditions_and_the_share_of_each_version() -> None:
    value = told(ROLLOUT).get_sample_value
    assert value("noria_deployment_phase", {**PLACE, "phase": "Progressing"}) == 1
    for condition, reason, told_as in (
        ("Ready", "Serving", 1), ("Stalled", "AsExpected", 0), ("UpToDate", "Waiting", None)
    ):  # fmt: skip
        labels = {**PLACE, "condition": condition, "reason": reason}
        assert value("noria_deployment_condition", labels) == told_as
    for number, role, cluster, ratio in (
        (1, "champion", "flights-1-aaaaaa", 0.9),
        (2, "challenger", "flights-2-bbbbbb", 0.1),
        (3, "challenger", "flights-3-dddddd", 0),
        (0, "previous", "flights-0-cccccc", 0),
    ):
        labels = {**PLACE, "version": f"flight-delay-{number}", "role": role, "revision": cluster}
        assert value("noria_deployment_weight_ratio", labels) == ratio


@pytest.mark.parametrize(
    ("share", "asked"),
    [
        ({"weight": 1}, 1),
        ({"weight": 0, "match": [{"name": "tester", "value": "yes"}]}, 1),
        ({"weight": 0, "mirror": 100}, 0),
        ({"weight": 0}, 0),
    ],
)
def test_a_deployment_tells_whether_clients_ask_a_version(share: Json, asked: int) -> None:
    one = {"version": "flight-delay-2", "name": "flights-2-bbbbbb"}
    value = told(deployment(candidate=one, traffic=[one | share])).get_sample_value
    labels = {**PLACE, "version": one["version"], "role": "challenger", "revision": one["name"]}
    assert value("noria_deployment_asked", labels) == asked


@pytest.mark.parametrize(
    ("shares", "aside"),
    [
        ([{"weight": 100}, {"weight": 0, "match": [{"name": "market", "value": "de"}]}], 1),
        ([{"weight": 90}, {"weight": 10}], 0),
        ([], None),
    ],
)
def test_a_deployment_tells_whether_a_header_leads_requests_past_its_champion(
    shares: list[Json], aside: int | None
) -> None:
    one = {"version": "flight-delay-2", "name": "flights-2-bbbbbb"}
    value = told(deployment(traffic=[one | share for share in shares])).get_sample_value
    assert value("noria_deployment_led_aside", PLACE) == aside


def test_the_last_event_of_each_kind_has_its_time() -> None:
    value, name = told(ROLLOUT).get_sample_value, "noria_deployment_event_timestamp_seconds"
    assert value(name, {**PLACE, "event": "Promoted", "version": "flight-delay-1"}) == at("2026-03-03T00:00Z")
    assert value(name, {**PLACE, "event": "Promoted", "version": "flight-delay-0"}) is None
    assert value(name, {**PLACE, "event": "RolledBack", "version": "flight-delay-9"}) == at(
        "2026-03-04T00:00Z"
    )


def test_the_champion_tells_its_age_that_of_its_data_and_how_long_the_fix_took() -> None:
    made = version(
        1,
        "2026-03-02T20:00:00Z",
        data=[
            {"name": "train", "partitions": {"newest": "2026-02-28"}},
            {"name": "extra"},
            {"name": "holdout", "partitions": {"newest": "2026-03-02"}, "heldOut": True},
        ],
        trigger={"reason": "Manual", "at": "2026-03-02T18:00:00Z", "since": "2026-02-28T00:00:00Z"},
    )
    value, labels = told(ROLLOUT, made).get_sample_value, {**PLACE, "version": "flight-delay-1"}
    assert value("noria_deployment_model_timestamp_seconds", labels) == at("2026-03-02T20:00Z")
    assert value("noria_deployment_data_timestamp_seconds", labels) == at("2026-02-28T00:00Z")
    assert value("noria_deployment_fix_seconds", labels) == 3 * 86400, "not from the run, but from the loss"


@pytest.mark.parametrize(
    ("newest", "expected"),
    [
        ("2026-02-28", "2026-02-28T00:00+00:00"),
        ("2026-02-28T06:00:00+02:00", "2026-02-28T04:00+00:00"),
        ("part-0007", None),
        ("", None),
    ],
)
def test_data_has_an_age_where_partitions_are_named_by_date(newest: str, expected: str | None) -> None:
    made = version(1, "2026-03-02T20:00:00Z", data=[{"name": "train", "partitions": {"newest": newest}}])
    found = told(ROLLOUT, made).get_sample_value(
        "noria_deployment_data_timestamp_seconds", {**PLACE, "version": "flight-delay-1"}
    )
    assert found == (at(expected) if expected else None)


def test_a_trigger_tells_its_figures_and_its_decision() -> None:
    entry = {
        "name": "quality", "value": "0.61", "threshold": "0.65", "best": "0.7", "samples": 500,
        "decision": "No", "nextRun": "2026-03-11T00:00:00Z",
    }  # fmt: skip
    value, labels = told(training(entry)).get_sample_value, {**LOOP, "trigger": "quality"}
    assert value("noria_trigger_value", labels) == 0.61
    assert value("noria_trigger_threshold", labels) == 0.65
    assert value("noria_trigger_best", labels) == 0.7
    assert value("noria_trigger_samples", labels) == 500
    assert value("noria_trigger_decision", {**labels, "decision": "No", "kind": "Performance"}) == 1
    assert value("noria_trigger_next_run_timestamp_seconds", labels) == at("2026-03-11T00:00Z")
    assert value("noria_trigger_loss_timestamp_seconds", {**labels, "kind": "Performance"}) is None


def test_a_trigger_tells_the_window_that_it_judged_and_its_reason_in_one_word() -> None:
    """Of an open window nothing is known yet: what the gauges tell is of the last one that closed."""
    entry = {
        "name": "quality", "decision": "No", "reason": "NotWorse", "windowStartedAt": "2026-03-10T09:00:00Z",
        "windowEndedAt": "2026-03-10T09:00:00Z", "windowLength": "1h30m",
    }  # fmt: skip
    labels = {**LOOP, "trigger": "quality"}
    value = told(training(entry)).get_sample_value
    assert value("noria_trigger_window_seconds", labels) == 5400
    assert value("noria_trigger_window_end_timestamp_seconds", labels) == at("2026-03-10T09:00Z")
    assert value("noria_trigger_reason", {**labels, "reason": "NotWorse"}) == 1
    value = told(training({"name": "quality", "windowStartedAt": "2026-03-10T09:00:00Z"})).get_sample_value
    assert value("noria_trigger_window_seconds", labels) is None
    assert value("noria_trigger_window_end_timestamp_seconds", labels) is None


def test_a_trigger_whose_counts_cannot_be_read_says_so_beside_the_decision_that_stands() -> None:
    entry = {"name": "quality", "decision": "No"}
    labels = {**LOOP, "trigger": "quality"}
    value = told(training(entry | {"problem": "counts cannot be read from mimir: 401"})).get_sample_value
    assert value("noria_trigger_problem", labels) == 1
    assert value("noria_trigger_decision", {**labels, "decision": "No", "kind": "Performance"}) == 1
    assert told(training(entry)).get_sample_value("noria_trigger_problem", labels) is None


def test_each_trigger_has_one_reason_at_a_time() -> None:
    """The one before is gone with the next scrape."""
    store, registry = Store(), CollectorRegistry()
    registry.register(Objects(store, lambda: True, lambda: NOW))
    entries = [{"name": name, "decision": "Wait", "reason": "WindowOpen"} for name in ("quality", "drift")]
    for written, reason in enumerate(("WindowOpen", "MayBeChance"), start=1):
        entries[0] |= {"reason": reason}
        loop = training(*entries)
        loop["metadata"]["resourceVersion"] = str(written)
        store.observe("MODIFIED", loop)
        (family,) = (one for one in registry.collect() if one.name == "noria_trigger_reason")
        found = {(one.labels["trigger"], one.labels["reason"]) for one in family.samples}
        assert found == {("quality", reason), ("drift", "WindowOpen")}


def test_a_trigger_tells_how_sure_it_is_and_which_columns_stand_out() -> None:
    columns = [
        {"name": "distance", "value": "0.4", "threshold": "0.2", "floor": "0.03", "samples": 9},
        {"name": "carrier", "check": "completeness", "value": "0.5", "threshold": "0.1", "samples": 9},
        *(
            {"name": "sex", "check": check, "value": "0.6", "threshold": "0.8", "floor": "0.7", "samples": 9,
             "drifted": sure}
            for check, sure in (("demographicParityRatio", True), ("demographicParityDifference", False))
        ),
    ]  # fmt: skip
    entry = {"name": "watch", "interval": "0.58 to 0.64", "coverage": "0.4", "columns": columns}
    value, labels = told(training(entry)).get_sample_value, {**LOOP, "trigger": "watch"}
    assert value("noria_trigger_interval", {**labels, "end": "low"}) == 0.58
    assert value("noria_trigger_interval", {**labels, "end": "high"}) == 0.64
    assert value("noria_trigger_coverage_ratio", labels) == 0.4
    assert value("noria_drift_score", {**labels, "feature": "distance", "check": ""}) == 0.4
    assert value("noria_drift_score", {**labels, "feature": "carrier", "check": "completeness"}) == 0.5
    assert value("noria_drift_floor", {**labels, "feature": "distance"}) == 0.03
    assert value("noria_drift_floor", {**labels, "feature": "carrier"}) is None
    ratio = {**labels, "feature": "sex", "check": "demographicParityRatio"}
    assert value("noria_fairness_value", ratio) == 0.6
    assert value("noria_fairness_bound", ratio) == 0.8
    assert value("noria_fairness_exceeded", ratio) == 1
    assert value("noria_fairness_exceeded", {**ratio, "check": "demographicParityDifference"}) == 0
    assert value("noria_drift_score", ratio) is None


def test_a_trigger_tells_in_which_slices_quality_is_lost() -> None:
    columns = [
        {"name": name, "check": "accuracy", "value": "0.6", "threshold": "0.7", "samples": 9, "drifted": lost}
        for name, lost in (("carrier=HA", True), ("carrier=AA", False))
    ]
    value, labels = told(training({"name": "quality", "columns": columns})).get_sample_value, LOOP
    slices = {**labels, "trigger": "quality", "slice": "carrier=HA"}
    assert value("noria_trigger_slice_value", slices) == 0.6
    assert value("noria_trigger_slice_lost", slices) == 1
    assert value("noria_trigger_slice_lost", {**slices, "slice": "carrier=AA"}) == 0
    named = {**labels, "trigger": "quality", "feature": "carrier=HA", "check": "accuracy"}
    assert value("noria_drift_score", named) is None


def test_a_value_that_is_no_number_is_left_out() -> None:
    labels = {**LOOP, "trigger": "data"}
    value = told(training({"name": "data", "value": "md5:ab", "decision": "Fire"})).get_sample_value
    assert value("noria_trigger_value", labels) is None
    assert value("noria_trigger_decision", {**labels, "decision": "Fire", "kind": "removed"}) == 1


RUNS = [
    {"at": "2026-03-02T18:00:00Z", "trigger": "quality", "trainingJob": "a"},
    {"at": "2026-03-05T00:00:00Z", "trigger": "quality", "trainingJob": "b"},
    {"at": "2026-03-06T00:00:00Z", "trigger": "quality", "trainingJob": "c"},
    {"at": "2026-03-04T00:00:00Z", "trigger": "weekly", "trainingJob": "d"},
]


@pytest.mark.parametrize(
    ("entry", "spec", "since"),
    [
        ({"decision": "Fire"}, {"performance": {"metric": "auc"}}, "2026-03-05T00:00Z"),
        ({"decision": "Blocked"}, {"estimatedPerformance": {"metric": "auc"}}, "2026-03-05T00:00Z"),
        ({"decision": "Wait", "reason": "Answered"}, {"conceptDrift": {}}, "2026-03-05T00:00Z"),
        ({"decision": "No"}, {"performance": {"metric": "auc"}}, None),
        ({"decision": "Warn"}, {"performance": {"metric": "auc"}}, None),
        ({"decision": "Wait", "since": None}, {"performance": {"metric": "auc"}}, None),
        ({"decision": "Fire", "version": "flight-delay-0"}, {"performance": {"metric": "auc"}}, None),
        ({"decision": "Blocked"}, {"newSamples": {"count": 10000}}, None),
        ({"decision": "Fire"}, {"drift": {}, "action": "Retrain"}, "2026-03-05T00:00Z"),
        ({"decision": "Warn"}, {"drift": {}}, None),
        ({"decision": "Fire"}, {"dataQuality": {}, "action": "Retrain"}, None),
        ({"decision": "Blocked"}, {"dataChange": {"data": "rows"}}, None),
        ({"decision": "Fire"}, {"maxAge": "168h"}, None),
        ({"decision": "Fire"}, {"combine": {"of": ["a", "b"]}}, None),
    ],
    ids=str,
)
def test_a_loss_of_quality_lasts_from_when_it_was_seen_until_a_promotion_answers_it(
    entry: Json, spec: Json, since: str | None
) -> None:
    known = {
        "name": "quality", "value": "0.6", "version": "flight-delay-1", "since": "2026-03-05T00:00:00Z",
        "windowStartedAt": "2026-03-07T00:00:00Z",
    } | entry  # fmt: skip
    loop = training({name: value for name, value in known.items() if value is not None}, runs=RUNS)
    loop["spec"]["triggers"] = [{"name": "quality", **spec}]
    field = next(name for name in spec if name != "action")
    labels = {**LOOP, "trigger": "quality", "kind": field[:1].upper() + field[1:]}
    found = told(ROLLOUT, loop).get_sample_value("noria_trigger_loss_timestamp_seconds", labels)
    assert found == (at(since) if since else None)


@pytest.mark.parametrize("decision", ["Observe", "Warn"])
@pytest.mark.parametrize(
    ("combine", "action", "lost"),
    [
        (["quality", "labels"], None, True),
        (["quality", "labels"], "Retrain", True),
        (["quality", "labels"], "Warn", False),
        (["labels", "weekly"], None, False),
    ],
    ids=["retrains by default", "retrains", "warns", "of others"],
)
def test_a_loss_that_a_combination_is_to_answer_is_told(
    decision: str, combine: list[str], action: str | None, lost: bool
) -> None:
    entry = {
        "name": "quality", "version": "flight-delay-1", "decision": decision, "since": "2026-03-05T00:00:00Z",
    }  # fmt: skip
    loop = training(entry)
    both = {"name": "worth-it", "combine": {"of": combine}} | ({"action": action} if action else {})
    loop["spec"]["triggers"].append(both)
    labels = {**LOOP, "trigger": "quality", "kind": "Performance"}
    found = told(ROLLOUT, loop).get_sample_value("noria_trigger_loss_timestamp_seconds", labels)
    assert found == (at("2026-03-05T00:00Z") if lost else None)


@pytest.mark.parametrize(
    "serving", [[], [deployment(phase="Pending")]], ids=["no deployment", "its first version is on its way"]
)
def test_a_loss_of_what_nobody_serves_is_not_told(serving: list[Json]) -> None:
    """The trigger keeps what it knew of the version, and says that nothing is served."""
    entry = {
        "name": "quality", "version": "flight-delay-1", "decision": "Wait", "reason": "NothingServed",
        "since": "2026-03-05T00:00:00Z",
    }  # fmt: skip
    labels = {**LOOP, "trigger": "quality", "kind": "Performance"}
    value = told(*serving, training(entry)).get_sample_value
    assert value("noria_trigger_loss_timestamp_seconds", labels) is None
    assert told(ROLLOUT, training(entry)).get_sample_value("noria_trigger_loss_timestamp_seconds", labels)


def test_a_champion_that_no_loss_asked_for_fixes_none() -> None:
    made = version(1, "2026-03-02T20:00:00Z", trigger={"reason": "Schedule", "at": "2026-03-02T18:00:00Z"})
    labels = {**PLACE, "version": "flight-delay-1"}
    assert told(ROLLOUT, made).get_sample_value("noria_deployment_fix_seconds", labels) is None


def test_a_budget_tells_what_is_left_of_it_and_what_holds_a_run() -> None:
    loop = training(runs=RUNS, budget={"maxRuns": 3, "per": "144h"}, blockedBy="Budget")
    value = told(loop).get_sample_value
    assert value("noria_training_budget_runs", LOOP) == 3
    assert value("noria_training_budget_left_runs", LOOP) == 1, "two of the four are younger than six days"
    assert value("noria_training_blocked", {**LOOP, "by": "Budget"}) == 1
    assert told(training()).get_sample_value("noria_training_budget_runs", LOOP) is None


def test_a_budget_tells_what_is_left_of_its_hours_that_of_a_run_under_way_too() -> None:
    runs = [
        {**RUNS[0], "cpuHours": "100", "gpuHours": "100"},
        {**RUNS[1], "cpuHours": "30.5", "gpuHours": "8"},
        RUNS[2],
    ]
    budget = {"maxCpuHours": "48", "maxGpuHours": "4", "per": "144h"}
    running = job("c", "Running", "2026-03-10T09:00:00Z", runningSince="2026-03-10T10:00:00Z")
    running["spec"] |= {"resources": {"requests": {"cpu": "4"}}}
    older = [{"at": "2026-03-04T20:00:00Z", "runs": 3, "cpuHours": "1.5"}]
    value = told(training(runs=runs, budget=budget, olderRuns=older), running).get_sample_value
    assert value("noria_training_budget_seconds", {**LOOP, "resource": "cpu"}) == 48 * 3600
    assert value("noria_training_budget_left_seconds", {**LOOP, "resource": "cpu"}) == 8 * 3600
    assert value("noria_training_budget_left_seconds", {**LOOP, "resource": "gpu"}) == 0
    assert value("noria_training_budget_runs", LOOP) is None
    runs_alone = told(training(runs=runs, budget={"maxRuns": 3, "per": "144h"})).get_sample_value
    assert runs_alone("noria_training_budget_left_seconds", {**LOOP, "resource": "cpu"}) is None


def test_two_loops_of_one_deployment_tell_each_its_own() -> None:
    """A scrape with two samples of equal labels keeps one of them, or fails."""
    columns = [
        {"name": "distance", "value": "0.4", "floor": "0.03"},
        {"name": "sex", "check": "demographicParityRatio", "value": "0.6", "threshold": "0.8"},
    ]
    drift = {"name": "data", "value": "1", "columns": columns, "nextRun": "2026-03-11T00:00:00Z"}
    quality = {
        "name": "quality", "value": "0.61", "threshold": "0.65", "best": "0.7", "samples": 500,
        "coverage": "0.4", "interval": "0.58 to 0.64", "decision": "Fire", "since": "2026-03-05T00:00:00Z",
        "version": "flight-delay-1", "reason": "QualityLost", "windowLength": "1h",
        "windowEndedAt": "2026-03-05T00:00:00Z", "problem": "counts cannot be read from mimir: 401",
        "columns": [{"name": "carrier=HA", "value": "0.6", "drifted": True}],
    }  # fmt: skip
    budget = {"maxRuns": 3, "maxCpuHours": "48", "maxGpuHours": "4", "per": "144h"}
    runs = [{**RUNS[0], "result": "Promoted"}]
    loops = [
        training(drift, quality, name=name, runs=runs, budget=budget, blockedBy="Suspended")
        for name in ("weekly", "drifts")
    ]
    registry = told(
        ROLLOUT, *loops, version(1, "2026-03-02T20:00:00Z"),
        job("a", "Failed", "2026-03-03T00:00:00Z", "2026-03-03T00:20:00Z"),
    )  # fmt: skip
    samples = [one for family in registry.collect() for one in family.samples]
    keys = Counter((one.name, *sorted(one.labels.items())) for one in samples)
    assert [key for key, count in keys.items() if count > 1] == []
    of_loops = {family.name for family in FAMILIES if "training" in family.common}
    for name in ("weekly", "drifts"):
        assert {one.name for one in samples if one.labels.get("training") == name} == of_loops


def test_a_model_tells_how_its_runs_end() -> None:
    failed = [{"type": "Failed", "status": "True", "reason": "GateFailed"}]
    value = told(
        job("a", "Succeeded", "2026-03-01T00:00:00Z", "2026-03-01T01:00:00Z"),
        job("b", "Failed", "2026-03-02T00:00:00Z", "2026-03-02T00:10:00Z", conditions=failed),
        job("c", "Failed", "2026-03-03T00:00:00Z", "2026-03-03T00:20:00Z", conditions=failed),
        job("d", "Running", "2026-03-04T00:00:00Z", trigger={"reason": "Performance"}),
        version(1, "2026-03-01T00:50:00Z"),
    ).get_sample_value
    assert value("noria_training_jobs", {**MODEL, "phase": "Failed"}) == 2
    assert value("noria_training_jobs", {**MODEL, "phase": "Running"}) == 1
    assert value("noria_model_versions", {**MODEL, "phase": "Approved"}) == 1
    assert value("noria_training_last_success_timestamp_seconds", MODEL) == at("2026-03-01T00:50Z")
    reason = {**MODEL, "reason": "GateFailed"}
    assert value("noria_training_last_failure_timestamp_seconds", reason) == at("2026-03-03T00:20Z")
    assert value("noria_training_failures", MODEL) == 2
    started = {**MODEL, "trigger": "Performance"}
    assert value("noria_training_last_start_timestamp_seconds", started) == at("2026-03-04T00:00Z")
    assert value("noria_training_last_duration_seconds", {**MODEL, "result": "Failed"}) == 1200


def test_a_version_after_the_failures_ends_their_count() -> None:
    value = told(
        job("b", "Failed", "2026-03-02T00:00:00Z", "2026-03-02T00:10:00Z"),
        version(1, "2026-03-05T00:00:00Z"),
    ).get_sample_value
    assert value("noria_training_failures", MODEL) == 0


def ended(*results: str, name: str = "loop") -> Json:
    """A loop whose first runs ended so; no TrainingJob of them is kept."""
    return training(name=name, runs=[run | {"result": one} for run, one in zip(RUNS, results, strict=False)])


OTHERS = ended("Failed", name="others")
OTHERS["spec"]["template"]["spec"]["model"] = "air-time"
LATER = training(name="later", runs=[{**RUNS[2], "trainingJob": "e", "result": "Failed"}])


@pytest.mark.parametrize(
    ("objects", "count"),
    [
        ([ended("Failed", "Refused")], 2),
        ([ended("Promoted", "Kept")], 0),
        ([ended("RolledBack", "Replaced", "Gone")], 0),
        ([ended("", "")], None),
        ([ended("Failed", "Failed", "Failed"), version(1, "2026-03-03T00:00:00Z")], 2),
        ([ended("Failed", "Refused"), version(1, "2026-03-05T01:00:00Z")], 0),
        ([ended("Failed", "Failed"), job("b", "Failed", "2026-03-05T00:00:00Z", "2026-03-05T01:00:00Z")], 2),
        ([ended("Failed", "Failed"), LATER], 3),
        ([ended("Failed", "Failed"), OTHERS], 2),
    ],
    ids=[
        "failed and refused", "made one", "made one or were not to", "open", "before a version",
        "refused by verification", "told by both", "of two loops", "of another model",
    ],
)  # fmt: skip
def test_runs_that_failed_count_though_their_training_job_is_gone(
    objects: list[Json], count: int | None
) -> None:
    assert told(*objects).get_sample_value("noria_training_failures", MODEL) == count


def test_objects_without_a_status_break_nothing() -> None:
    bare = [deployment(), training(), job("a", ""), version(1, "2026-03-01T00:00:00Z")]
    for one in bare:
        one["status"] = {}
    assert b"noria_training_jobs" in generate_latest(told(*bare))


def test_a_budget_of_hours_alone_and_results_of_runs_are_told() -> None:
    runs = [{**RUNS[0], "result": "Promoted"}, {**RUNS[1], "result": "Refused"}, RUNS[2]]
    value = told(training(runs=runs, budget={"maxCpuHours": "48", "per": "144h"})).get_sample_value
    assert value("noria_training_budget_runs", LOOP) is None
    assert value("noria_training_results", {**LOOP, "result": "Promoted"}) == 1
    assert value("noria_training_results", {**LOOP, "result": "Refused"}) == 1


def test_an_object_that_cannot_be_read_hides_no_other_one() -> None:
    bad = {"phase": "Healthy", "traffic": [{}]}
    broken = [obj("ModelDeployment", name, {"model": "m"}, bad) for name in ("broken", "damaged")]
    value = told(*broken, deployment(phase="Healthy")).get_sample_value
    assert value("noria_deployment_phase", {**PLACE, "phase": "Healthy"}) == 1
    assert value("noria_objects_untold", {"kind": "ModelDeployment"}) == 2


async def test_telling_of_many_objects_leaves_room_for_other_work() -> None:
    store, worked, done = Store(), 0, asyncio.Event()
    for number in range(10 * AT_ONCE):
        store.observe("ADDED", obj("ModelDeployment", f"m{number}", {"model": "m"}, {"phase": "Healthy"}))

    async def other_work() -> None:
        nonlocal worked
        while not done.is_set():
            worked += 1
            await asyncio.sleep(0)

    working = asyncio.create_task(other_work())
    objects = Objects(store, lambda: True, lambda: NOW)
    found = await objects.gathered()
    done.set()
    await working
    assert worked >= 10
    assert "".join(found).encode() == text(objects.collect())


async def test_what_is_said_of_objects_that_are_as_they_were_is_not_written_again() -> None:
    """Whichever of those that something is told of changes, it is told anew."""
    store, now = Store(), NOW
    objects = Objects(store, lambda: True, lambda: now)
    written = 0

    async def scraped(*changed: Json) -> list[str]:
        nonlocal written
        for one in changed:
            written += 1
            made = one | {"metadata": one["metadata"] | {"resourceVersion": str(written)}}
            store.observe("MODIFIED", made)
        found = await objects.gathered()
        assert "".join(found).encode() == text(objects.collect())
        return [each for each in found if not each.startswith("#")]

    stable = {"version": "flight-delay-1", "name": "flights-1-aaaaaa"}
    entry = {
        "name": "quality",
        "decision": "Fire",
        "version": "flight-delay-1",
        "since": "2026-03-01T00:00:00Z",
    }
    spent = [{"trainingJob": "a", "at": "2026-03-09T13:00:00Z", "result": "Failed"}]
    first = await scraped(
        deployment(phase="Healthy", stable=stable),
        version(1, "2026-03-01T00:00:00Z"),
        training(entry, runs=spent, budget={"maxRuns": 3, "per": "24h"}),
        job("a", "Failed", "2026-03-09T13:00:00Z", "2026-03-09T14:00:00Z"),
    )
    again = await scraped()
    assert all(one is other for one, other in zip(first, again, strict=True))
    now += timedelta(hours=2)
    left = [line for line in await scraped() if line.startswith("noria_training_budget_left_runs")]
    assert left[0].endswith(" 3.0\n"), "the run is no longer in the budget's time"
    for changed in (
        version(1, "2026-03-02T00:00:00Z"),
        deployment(phase="Healthy", stable=stable | {"version": "flight-delay-2"}),
        job("b", "Failed", "2026-03-10T13:00:00Z", "2026-03-10T14:00:00Z"),
        training(entry | {"decision": "No"}),
        deployment(traffic=[{}]),
    ):
        told = await scraped(changed)
        assert told != first
        first = told
    store.observe("DELETED", store.list(MODELDEPLOYMENT)[0])
    assert not any("noria_deployment" in each for each in await scraped())


def test_an_object_that_cannot_be_read_at_all_counts_once() -> None:
    broken = training({"name": "quality"}, budget={"maxRuns": 3, "per": "24h"}, olderRuns=3)
    broken["status"]["triggers"], broken["status"]["runs"] = 5, 5
    value = told(broken).get_sample_value
    assert value("noria_objects_untold", {"kind": "ContinuousTraining"}) == 1


def test_a_follower_tells_none() -> None:
    registry = told(ROLLOUT, version(1, "2026-03-01T00:00:00Z"), leading=False)
    assert [sample for family in registry.collect() for sample in family.samples] == []


def test_every_family_is_told_of_once_with_its_own_labels() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    found = {family.name for family in told().collect()}
    assert found == {family.name for family in FAMILIES}
