"""Alerts on loops, of the series that the operator makes of them: its decisions, its metrics, our rules."""

from __future__ import annotations

import copy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.rules.objects import EPOCH, Phase, recorded
from tests.rules.promtool import firing, judge
from tests.unit.domain.test_triggers_plan import HOUR, Loop, drifts, entry, lost, standing, weekly
from tests.unit.domain.training_world import deployment

from noria_operator.api.continuoustraining import ContinuousTraining
from noria_operator.api.parsing import parse_as
from noria_operator.domain.training_times import stamp
from noria_operator.domain.triggers import Request
from noria_operator.domain.triggers_combine import in_order

Json = dict[str, Any]
PLACE = {"namespace": "demo", "deployment": "flights", "model": "flights", "training": "flights"}
QUALITY = {**PLACE, "trigger": "quality"}


def at_epoch(**spec: Any) -> Loop:
    """A loop whose clock is promtool's."""
    loop = Loop(**spec)
    loop.now = EPOCH
    loop.obj["spec"]["template"]["spec"]["resources"] = {"requests": {"cpu": "1"}}
    loop.obj["metadata"]["creationTimestamp"] = stamp(EPOCH)
    return loop


def phase(loop: Loop, serving: Json) -> Phase:
    minute = int((loop.now - EPOCH) / timedelta(minutes=1))
    return minute, [loop.obj, serving, *loop.jobs.values()]


@pytest.mark.parametrize(
    "spec",
    [
        {"suspend": True},
        {"cooldown": "96h"},
        {"cooldown": "0s", "budget": {"maxRuns": 1, "per": "168h"}},
    ],
    ids=["suspended", "cooldown", "budget"],
)
def test_a_loss_that_nobody_may_answer_is_told_after_a_day(spec: Json, tmp_path: Path) -> None:
    """A window closes each hour, and each time the trigger asks again."""
    loop, phases = at_epoch(**spec), []
    loop.obj["status"] = {
        "runs": [{"at": stamp(EPOCH), "trigger": "weekly", "trainingJob": "old", "result": "Kept"}],
        "lastTrigger": {"name": "weekly", "trainingJob": "old"},
    }
    loop.now += HOUR
    for _ in range(30):
        loop.step(lost(loop, wanted=True))
        phases.append(phase(loop, deployment(1)))
        loop.now += HOUR
    judge(
        tmp_path,
        recorded(30 * 60, *phases),
        firing("NoriaQualityLost", "65m", QUALITY),
        firing("NoriaLossNotFixed", "24h"),
        firing("NoriaLossNotFixed", "26h", QUALITY),
        every="5m",
    )


def test_a_loss_that_a_combination_may_not_answer_is_told_after_a_day(tmp_path: Path) -> None:
    triggers = [
        {"name": "quality", "performance": {"metric": "auc", "min": "0.65"}, "action": "Observe"},
        {"name": "labels", "newSamples": {"count": 10}, "action": "Observe"},
        {"name": "worth-it", "combine": {"of": ["quality", "labels"]}},
    ]
    loop = at_epoch(suspend=True, triggers=triggers)
    spec = parse_as(ContinuousTraining, loop.obj).spec
    plain = [lost(loop, wanted=True), asks("labels", "NewSamples", "10")]
    loop.step(*in_order(loop.obj, spec.triggers, plain, {}))
    said = [entry(loop.status, name)["decision"] for name in ("quality", "labels", "worth-it")]
    assert said == ["Observe", "Observe", "Blocked"]
    judge(
        tmp_path,
        recorded(27 * 60, phase(loop, deployment(1))),
        firing("NoriaQualityLost", "1h", QUALITY),
        firing("NoriaLossNotFixed", "26h", QUALITY),
        every="5m",
    )


def test_a_new_loss_is_not_late_because_an_old_promotion_is_forgotten(tmp_path: Path) -> None:
    """After twenty rejected challengers status tells of old runs, and no longer of the champion's promotion;
    runs that come to nothing go on while the time to a fix does.
    """
    loop, phases = at_epoch(cooldown="0s"), []
    served = deployment(1, history=[])
    old = {"at": stamp(EPOCH + HOUR), "trigger": "quality", "trainingJob": "old", "result": "Promoted"}
    loop.obj["status"] = {"runs": [old], "lastTrigger": {"name": "quality", "trainingJob": "old"}}
    loop.now += 48 * HOUR
    for hour in range(28):
        loop.step(lost(loop, wanted=hour % 2 == 0, decision="Wait"), seen=served)
        loop.step(standing(loop), seen=served)
        phases.append(phase(loop, served))
        loop.now += HOUR
        loop.finish()
    assert len(loop.status["runs"]) > 2
    judge(
        tmp_path,
        recorded(76 * 60, *phases),
        firing("NoriaQualityLost", "49h", QUALITY),
        firing("NoriaLossNotFixed", "49h"),
        firing("NoriaLossNotFixed", "71h"),
        firing("NoriaLossNotFixed", "73h", QUALITY),
        every="5m",
    )


def test_a_loss_ends_with_the_deployment_that_showed_it(tmp_path: Path) -> None:
    loop = at_epoch(suspend=True)
    loop.step(lost(loop, wanted=True))
    seen = phase(loop, deployment(1))
    loop.now += 25 * HOUR
    gone = Request(
        entry(loop.status, "quality") | {"decision": "Wait", "reason": "NothingServed"}, "Performance"
    )
    loop.step(gone)
    _, objects = phase(loop, deployment(1))
    assert entry(loop.status, "quality")["since"]
    judge(
        tmp_path,
        recorded(27 * 60, seen, (25 * 60, [one for one in objects if one["kind"] != "ModelDeployment"])),
        firing("NoriaLossNotFixed", "24h30m", QUALITY),
        firing("NoriaQualityLost", "26h"),
        firing("NoriaLossNotFixed", "26h"),
        every="5m",
    )


def asks(name: str, reason: str, value: str) -> Request:
    entry = {"name": name, "value": value, "threshold": "1", "windowStartedAt": stamp(EPOCH)}
    return Request(entry, reason, wanted=True, key=value)


@pytest.mark.parametrize(
    ("trigger", "reason"),
    [
        ({"newSamples": {"count": 10000}}, "NewSamples"),
        ({"dataQuality": {}, "action": "Retrain"}, "DataQuality"),
    ],
)
def test_what_asks_for_runs_without_a_loss_of_quality_is_none(
    trigger: Json, reason: str, tmp_path: Path
) -> None:
    loop = at_epoch(suspend=True, triggers=[{"name": "quality", **trigger}])
    loop.step(asks("quality", reason, "10000"))
    held = phase(loop, deployment(1))
    until = 26 * 60
    judge(
        tmp_path, recorded(until, held), firing("NoriaQualityLost", "1h"),
        firing("NoriaLossNotFixed", f"{until}m"), every="5m",
    )  # fmt: skip


def test_drift_that_retrains_is_no_loss_of_quality_and_is_to_be_fixed_in_a_day(tmp_path: Path) -> None:
    """From its first alarm, whatever further windows say, until a version is promoted."""
    loop, phases = at_epoch(suspend=True, triggers=[{"name": "drift", "drift": {}, "action": "Retrain"}]), []
    for decision, hours in (("Wait", 2), ("Fire", 10), ("Wait", 1), ("Fire", 17)):
        loop.step(drifts(loop, decision))
        phases.append(phase(loop, deployment(1)))
        loop.now += hours * HOUR
    phases.append(phase(loop, deployment(2)))
    judge(
        tmp_path,
        recorded(32 * 60, *phases),
        firing("NoriaQualityLost", "20h"),
        firing("NoriaLossNotFixed", "25h"),
        firing("NoriaLossNotFixed", "27h", {**PLACE, "trigger": "drift"}),
        firing("NoriaLossNotFixed", "31h"),
        every="5m",
    )


def test_a_budget_that_nobody_asks_of_calls_nobody(tmp_path: Path) -> None:
    """One run a day: after the scheduled one it is spent, as it is meant to be."""
    loop = at_epoch(cooldown="0s", budget={"maxRuns": 1, "maxCpuHours": "2", "per": "24h"})
    loop.settle(weekly())
    loop.finish()
    loop.now += HOUR
    loop.settle(weekly(wanted=False))
    quiet = phase(loop, deployment(1))
    assert loop.status["blockedBy"] == "Budget"
    loop.now += HOUR
    loop.step(lost(loop, wanted=True))
    asking = phase(loop, deployment(1))
    spent = {**PLACE, "limit": "runs"}
    judge(
        tmp_path,
        recorded(240, quiet, asking),
        firing("NoriaTrainingBudgetSpent", "115m"),
        firing("NoriaTrainingBudgetSpent", "175m", spent),
    )


def test_a_spent_budget_that_holds_a_run_which_is_to_follow_calls_somebody(tmp_path: Path) -> None:
    loop = at_epoch(cooldown="0s", followUp="2h", budget={"maxRuns": 1, "per": "24h"})
    loop.step(lost(loop, wanted=True))
    loop.step(standing(loop))
    loop.finish("Succeeded")
    loop.step(standing(loop))
    planned = phase(loop, deployment(1))
    loop.now += 2 * HOUR
    loop.step(standing(loop))
    assert entry(loop.status, "quality")["decision"] != "Blocked"
    judge(
        tmp_path,
        recorded(240, planned, phase(loop, deployment(1))),
        firing("NoriaTrainingBudgetSpent", "115m"),
        firing("NoriaTrainingBudgetSpent", "175m", {**PLACE, "limit": "runs"}),
    )


def test_what_waits_in_the_queue_and_the_budget_does_not_allow_calls_somebody(tmp_path: Path) -> None:
    """There was room when it came into the queue; the run under way took it."""
    budget = {"maxCpuHours": "1", "per": "168h"}
    loop = at_epoch(cooldown="0s", concurrencyPolicy="Queue", budget=budget)
    loop.settle(weekly())
    (job,) = loop.jobs.values()
    job["status"] = {"phase": "Running", "runningSince": stamp(loop.now)}
    loop.now += HOUR / 2
    due = stamp(loop.now)
    loop.step(weekly(due))
    loop.step(Request(entry(loop.status, "weekly"), "Schedule"))
    waits = phase(loop, deployment(1))
    waits[1][-1] = copy.deepcopy(job)
    loop.now += HOUR
    job["status"] = {"phase": "Succeeded", "ranSeconds": 5400}
    loop.step(Request(entry(loop.status, "weekly"), "Schedule"))
    judge(
        tmp_path,
        recorded(240, waits, phase(loop, deployment(1))),
        firing("NoriaTrainingBudgetSpent", "85m"),
        firing("NoriaTrainingBudgetSpent", "175m", {**PLACE, "limit": "cpu hours"}),
        firing("NoriaTrainingOverdue", "59m"),
        firing("NoriaTrainingOverdue", "75m", {**PLACE, "trigger": "weekly"}),
        every="1m",
    )


@pytest.mark.parametrize("limit", [0, 1])
def test_runs_that_fail_are_told_though_few_training_jobs_are_kept(limit: int, tmp_path: Path) -> None:
    loop, phases = at_epoch(cooldown="0s", historyLimit=limit), []
    for _ in range(2):
        loop.now += HOUR
        loop.settle(lost(loop, wanted=True))
        loop.finish()
        loop.settle()
        phases.append(phase(loop, deployment(1)))
    assert len(loop.jobs) == limit
    judge(
        tmp_path,
        recorded(240, *phases),
        firing("NoriaTrainingFails", "115m"),
        firing("NoriaTrainingFails", "125m", {"namespace": "demo", "model": "flights"}),
    )


def test_hours_that_are_spent_are_told_by_resource(tmp_path: Path) -> None:
    loop = at_epoch(
        cooldown="0s", budget={"maxRuns": 9, "maxCpuHours": "2", "maxGpuHours": "3", "per": "24h"}
    )
    used = {"at": stamp(EPOCH), "trigger": "weekly", "trainingJob": "old", "result": "Kept"}
    used |= {"cpuHours": "2.5", "gpuHours": "1"}
    loop.obj["status"] = {"runs": [used], "lastTrigger": {"name": "weekly", "trainingJob": "old"}}
    loop.now += HOUR
    loop.step(lost(loop, wanted=True))
    judge(
        tmp_path,
        recorded(180, phase(loop, deployment(1))),
        firing("NoriaTrainingBudgetSpent", "110m", {**PLACE, "limit": "cpu hours"}),
    )
