"""How long a run may wait and run, and what of that it holds: queues, suspension, deadlines, hours."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.domain.training_world import (
    NOW,
    complete,
    condition,
    ended_pod,
    job,
    pod,
    result,
    step,
    training_job,
)

from noria_operator.domain.training_plan import Observed
from noria_operator.domain.training_runs import Run
from noria_operator.domain.training_times import stamp

Json = dict[str, Any]


def test_a_suspended_run_makes_no_job_and_holds_one_that_exists() -> None:
    obj, plan = step(training_job(suspend=True))
    assert (plan.create, obj["status"]["phase"]) == (None, "Suspended")
    assert condition(obj, "Suspended")["status"] == "True"
    obj, plan = step(training_job())
    assert plan.create is not None
    running = Run(job(plan.create), (pod(phase="Running"),))
    obj["spec"]["suspend"] = True
    obj, held = step(obj, Observed(running), 5)
    assert held.suspend is True
    obj, held = step(obj, Observed(Run(job(plan.create, suspend=True))), 200)
    assert held.suspend is None
    obj["spec"]["suspend"] = False
    obj, resumed = step(obj, Observed(Run(job(plan.create, suspend=True))), 300)
    assert resumed.suspend is False
    obj, plan = step(obj, Observed(Run(job(plan.create))), 301)
    assert obj["status"]["phase"] == "Pending"


def test_a_queue_that_holds_the_job_is_named_and_not_fought() -> None:
    obj, plan = step(training_job())
    assert plan.create is not None
    obj, plan = step(obj, Observed(Run(job(plan.create, suspend=True))), 600)
    assert plan.suspend is None
    assert obj["status"]["phase"] == "Pending"
    assert "queue" in obj["status"]["message"]


def test_a_job_that_a_queue_held_before_it_was_suspended_is_the_queues_to_let_go() -> None:
    obj, plan = step(training_job())
    assert plan.create is not None
    queued = Observed(Run(job(plan.create, suspend=True)))
    admitted = Observed(Run(job(plan.create), (pod(phase="Running"),)))
    obj, _ = step(obj, queued, 1)
    obj["spec"]["suspend"] = True
    for minutes in (2, 3):
        obj, plan = step(obj, queued, minutes)
        assert (obj["status"]["phase"], plan.suspend) == ("Suspended", None)
    assert condition(obj, "Suspended")["status"] == "True"
    waiting = {**obj, "spec": obj["spec"] | {"suspend": False}}
    waiting, plan = step(waiting, queued, 4)
    assert (waiting["status"]["phase"], plan.suspend) == ("Pending", None)
    obj, plan = step(obj, admitted, 5)
    assert plan.suspend is True
    obj, _ = step(obj, queued, 6)
    obj["spec"]["suspend"] = False
    assert step(obj, queued, 7)[1].suspend is False, "this time it was ours"


def test_a_run_holds_its_devices_from_its_pod_on_and_not_while_it_waits_in_a_queue_or_is_suspended() -> None:
    obj, plan = step(training_job())
    assert plan.create is not None
    body = plan.create
    obj, _ = step(obj, Observed(Run(job(body, suspend=True))), 24 * 60)
    assert not {"runningSince", "ranSeconds"} & obj["status"].keys()
    starts = stamp(NOW + timedelta(minutes=1500))
    running = Observed(Run(job(body), (pod("pod-1", "Running", startTime=starts),)))
    for minutes in (1501, 1550):
        obj, _ = step(obj, running, minutes)
        assert obj["status"]["runningSince"] == starts
    obj["spec"]["suspend"] = True
    obj, _ = step(obj, running, 1560)
    assert (obj["status"]["ranSeconds"], "runningSince" in obj["status"]) == (3600, False)
    obj["spec"]["suspend"] = False
    obj, _ = step(obj, Observed(Run(job(body, suspend=True))), 3000)
    starts = NOW + timedelta(minutes=3020)
    again = pod("pod-2", "Running", at=starts, startTime=stamp(starts))
    obj, _ = step(obj, Observed(Run(job(body), (again,))), 3021)
    done = Observed(complete(body, result(obj)))
    obj, _ = step(obj, done, 3050)
    assert (obj["status"]["phase"], obj["status"]["ranSeconds"]) == ("Evaluating", 3600 + 1800)
    obj, _ = step(obj, done, 4000)
    assert obj["status"]["ranSeconds"] == 5400


def failed_pod(left: float, **state: Any) -> Json:
    """The first attempt, from the start until `left` minutes later."""
    first = ended_pod("", code=1)
    first["status"]["startTime"] = stamp(NOW)
    (container,) = first["status"]["containerStatuses"]
    container["state"]["terminated"] |= {"finishedAt": stamp(NOW + timedelta(minutes=left))} | state
    return first


def test_a_run_whose_first_attempt_failed_waits_in_a_queue_as_any_other() -> None:
    obj, plan = step(training_job())
    assert plan.create is not None
    body, first = plan.create, failed_pod(30)
    second = NOW + timedelta(minutes=31)
    again = pod("pod-2", "Running", at=second, startTime=stamp(second))
    obj, _ = step(obj, Observed(Run(job(body), (pod("pod-1", "Running", startTime=stamp(NOW)),))), 1)
    obj, _ = step(obj, Observed(Run(job(body), (first,))), 30)
    obj, _ = step(obj, Observed(Run(job(body), (first, again))), 32)
    assert (obj["status"]["phase"], obj["status"]["runningSince"]) == ("Running", stamp(NOW))
    preempted = Observed(Run(job(body, suspend=True), (first,)))
    for minutes in (60, 24 * 60):
        obj, plan = step(obj, preempted, minutes)
        assert (obj["status"]["phase"], plan.suspend, plan.due) == ("Pending", None, None)
        assert "suspended, for example by a queue" in obj["status"]["message"]
        assert (obj["status"]["ranSeconds"], "runningSince" in obj["status"]) == (3600, False)


def test_a_next_attempt_whose_pod_cannot_be_made_waits_no_longer_than_a_first_one() -> None:
    obj, plan = step(training_job(deadlines={"pending": "1h", "active": "8h"}))
    assert plan.create is not None
    body = plan.create
    obj, _ = step(obj, Observed(Run(job(body), (pod("pod-1", "Running", startTime=stamp(NOW)),))), 1)
    lost = Observed(Run(job(body), (failed_pod(120),)))
    obj, plan = step(obj, lost, 120)
    assert "the Job tries again" in obj["status"]["message"]
    assert (obj["status"]["phase"], plan.due) == ("Running", NOW + timedelta(minutes=120, seconds=20))
    obj, plan = step(obj, lost, 120.5)
    assert "no pod could be made after pod pod-1, which failed; a quota" in obj["status"]["message"]
    assert (obj["status"]["phase"], obj["status"]["ranSeconds"]) == ("Pending", 120 * 60 + 30)
    assert plan.due == NOW + timedelta(minutes=180, seconds=20)
    ended, _ = step(obj, lost, 181)
    assert condition(ended, "Failed")["reason"] == "PendingDeadline"
    refused = Observed(Run(job(body, "Failed", reason="BackoffLimitExceeded"), (failed_pod(120),)))
    obj, _ = step(obj, refused, 170)
    assert obj["status"]["ranSeconds"] == 120 * 60 + 30, "what was counted is not counted again"


def test_a_pod_of_which_nobody_knows_when_it_failed_is_given_all_the_time() -> None:
    """Its node went, say, long after the pod was made."""
    obj, plan = step(training_job())
    assert plan.create is not None
    obj, plan = step(obj, Observed(Run(job(plan.create), (failed_pod(0, finishedAt=None),))), 300)
    assert (obj["status"]["phase"], plan.due) == ("Running", None)


def test_the_deadline_for_training_is_of_the_time_that_pods_run_over_all_attempts() -> None:
    """Kubernetes counts from the Job's start, and anew after each resumption."""
    obj, plan = step(training_job(deadlines={"pending": "24h", "active": "8h"}))
    assert plan.create is not None
    body = plan.create
    assert body["spec"]["activeDeadlineSeconds"] == 32 * 3600
    obj, plan = step(obj, Observed(Run(job(body), (pod(),))), 23 * 60)
    assert (obj["status"]["phase"], plan.due) == ("Pending", NOW + timedelta(hours=24))
    starts = NOW + timedelta(hours=23)
    running = Observed(Run(job(body), (pod("pod-1", "Running", startTime=stamp(starts)),)))
    obj, plan = step(obj, running, 23 * 60 + 1)
    assert (obj["status"]["phase"], plan.due) == ("Running", starts + timedelta(hours=8))
    obj["spec"]["suspend"] = True
    obj, _ = step(obj, running, 26 * 60)
    obj["spec"]["suspend"] = False
    obj, _ = step(obj, Observed(Run(job(body, suspend=True))), 40 * 60)
    starts = NOW + timedelta(hours=41)
    again = Observed(Run(job(body), (pod("pod-2", "Running", at=starts, startTime=stamp(starts)),)))
    done = Observed(Run(job(body), (ended_pod("", name="pod-2"),)))
    obj, plan = step(obj, again, 41 * 60 + 1)
    assert (obj["status"]["ranSeconds"], plan.due) == (3 * 3600, starts + timedelta(hours=5))
    obj, _ = step(obj, done, 46 * 60)
    assert obj["status"]["phase"] == "Running", "the Job is about to be complete"
    obj, plan = step(obj, again, 46 * 60)
    assert condition(obj, "Failed")["reason"] == "ActiveDeadline"
    assert "flights-1-train trained longer than 8h, over all attempts" in obj["status"]["message"]
    assert (obj["status"]["ranSeconds"], plan.again) == (8 * 3600, True)
    assert step(obj, again, 46 * 60)[1].stop == ("flights-1-train",)


@pytest.mark.parametrize("still", ["Running", "Failed"])
def test_what_a_suspended_run_held_is_counted_once_though_pods_are_still_there(still: str) -> None:
    """One that takes its time to end, or one of an attempt that failed before."""
    obj, plan = step(training_job())
    assert plan.create is not None
    first = pod("pod-1", still, startTime=stamp(NOW))
    if still == "Running":
        first["metadata"]["deletionTimestamp"] = stamp(NOW + timedelta(minutes=60))
    now_running = pod("pod-2", "Running", at=NOW + timedelta(minutes=1), startTime=stamp(NOW))
    obj, _ = step(obj, Observed(Run(job(plan.create), (now_running,))), 2)
    obj["spec"]["suspend"] = True
    suspended = Observed(Run(job(plan.create, suspend=True), (first,)))
    for minutes in (60, 61, 600):
        obj, plan = step(obj, suspended, minutes)
        assert (obj["status"]["phase"], obj["status"]["ranSeconds"]) == ("Suspended", 3600)
    obj["spec"]["suspend"] = False
    obj, _ = step(obj, suspended, 601)
    obj, _ = step(obj, suspended, 602)
    assert "runningSince" not in obj["status"]
    assert obj["status"]["ranSeconds"] == 3600


@pytest.mark.parametrize("suspend", [True, False])
def test_a_run_whose_job_was_deleted_holds_nothing_until_there_is_another(suspend: bool) -> None:
    obj, plan = step(training_job())
    assert plan.create is not None
    running = pod("pod-1", "Running", startTime=stamp(NOW))
    obj, _ = step(obj, Observed(Run(job(plan.create), (running,))), 1)
    obj["spec"]["suspend"] = suspend
    obj, plan = step(obj, Observed(), 60)
    assert (plan.create, plan.again) == (None, True), "what is counted is written before anything is refused"
    for minutes in (60, 600):
        assert (obj["status"]["ranSeconds"], "runningSince" in obj["status"]) == (3600, False)
        obj, plan = step(obj, Observed(), minutes)
        assert (plan.create is None) is suspend


def test_a_pod_that_cannot_end_is_told_with_its_node() -> None:
    obj, plan = step(training_job())
    body = plan.create
    assert body is not None
    leaving = pod("pod-1", "Running", startTime=stamp(NOW))
    obj, _ = step(obj, Observed(Run(job(body), (leaving,))), 1)
    leaving["metadata"]["deletionTimestamp"] = stamp(NOW + timedelta(minutes=30))
    leaving["spec"]["nodeName"] = "node-7"
    seen = Observed(Run(job(body), (leaving,)))
    obj, plan = step(obj, seen, 30)
    assert (obj["status"]["message"], plan.due) == ("training", NOW + timedelta(minutes=31))
    obj, plan = step(obj, seen, 31)
    assert (
        "look at node node-7; if that is gone, kubectl delete pod pod-1 --force" in obj["status"]["message"]
    )
    assert (obj["status"]["phase"], plan.due) == ("Running", NOW + timedelta(hours=8))


def test_a_run_that_nobody_saw_running_has_used_what_kubernetes_says() -> None:
    """The operator was away meanwhile."""
    obj, plan = step(training_job())
    assert plan.create is not None
    ended = complete(plan.create, result(obj))
    ended.pods[0]["status"]["startTime"] = stamp(NOW + timedelta(minutes=10))
    for one in ended.job["status"]["conditions"]:
        one["lastTransitionTime"] = stamp(NOW + timedelta(minutes=70))
    obj, _ = step(obj, Observed(ended), 1000)
    assert obj["status"]["ranSeconds"] == 3600
