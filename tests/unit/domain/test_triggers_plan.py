"""A ContinuousTraining starts at most one run at a time, within its budget, exactly once for each request."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.domain.training_world import NOW, deployment, served, training_job, version

from noria_operator.api.continuoustraining import ContinuousTraining, ContinuousTrainingStatus
from noria_operator.api.parsing import parse_as
from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.training_times import moment, stamp
from noria_operator.domain.triggers import MANUAL, Request
from noria_operator.domain.triggers_combine import combined
from noria_operator.domain.triggers_gap import Gap
from noria_operator.domain.triggers_hold import Watched
from noria_operator.domain.triggers_plan import RetrainPlan, decide
from noria_operator.domain.triggers_unanswered import given_back

Json = dict[str, Any]
HOUR = timedelta(hours=1)
PASSES = 20
"""At once: far more than any event takes."""


def training(**spec: Any) -> Json:
    template = training_job(deployment=None)["spec"]
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "ContinuousTraining",
        "metadata": {
            "name": "flights",
            "namespace": "demo",
            "uid": "ct-1",
            "generation": 1,
            "creationTimestamp": stamp(NOW),
        },
        "spec": {
            "deployment": "flights",
            "triggers": [
                {"name": "quality", "performance": {"metric": "auc", "min": "0.65"}},
                {"name": "weekly", "schedule": "0 2 * * 1"},
            ],
            "template": {"spec": template},
        }
        | spec,
    }


def quality(key: str = "w1", *, wanted: bool = True) -> Request:
    entry = {
        "name": "quality",
        "value": "0.6",
        "threshold": "0.65",
        "samples": 700,
        "streak": 2,
        "message": "lost",
    }
    return Request(entry, "Performance", wanted=wanted, key=key, answer={"streak": 0}, answered_by="Wanted")


def weekly(key: str = "2026-03-02T02:00:00Z", *, wanted: bool = True) -> Request:
    entry = {"name": "weekly", "lastScheduled": "2026-02-23T02:00:00Z"}
    return Request(entry, "Schedule", wanted=wanted, key=key, answer={"lastScheduled": key})


def asked(key: str = "id-1") -> Request:
    return Request({"name": MANUAL}, MANUAL, wanted=True, key=key)


class Loop:
    """The object and its TrainingJobs, as the writes of each plan leave them."""

    def __init__(self, **spec: Any) -> None:
        self.obj = training(**spec)
        self.jobs: dict[str, Json] = {}
        self.now = NOW
        self.others: list[str] = []
        """Unfinished TrainingJobs of the model that others made."""
        self.gap: Gap | None = None
        self.theirs: Json = {}
        """The newest run of other loops of the deployment."""
        self.preceded = ""
        """When the one before that began."""

    def step(
        self, *requests: Request, seen: Json | None = None, versions: list[Json] | None = None
    ) -> RetrainPlan:
        where = deployment(1) if seen is None else seen
        watched = Watched(
            list(self.jobs.values()), where, versions or [], self.others, self.gap, self.theirs, self.preceded
        )
        obj = given_back(self.obj)
        plan = decide(obj, parse_as(ContinuousTraining, obj), requests, watched, self.now)
        if plan.create is not None:
            name = plan.create["metadata"]["name"]
            assert name not in self.jobs
            made = copy.deepcopy(plan.create)
            made["metadata"] |= {"uid": name, "creationTimestamp": stamp(self.now)}
            self.jobs[name] = made | {"status": {"phase": "Pending"}}
        for name in plan.delete:
            del self.jobs[name]
        status = {name: value for name, value in plan.status.items() if value is not None}
        ContinuousTrainingStatus.model_validate(status)
        self.obj = self.obj | {"status": status}
        return plan

    def settle(self, *requests: Request) -> None:
        """Step until there is nothing to do at once; a request that made a run is over."""
        plan = self.step(*requests)
        for _ in range(PASSES):
            if not plan.again:
                return
            plan = self.step(*(Request(one.entry, one.reason) for one in requests))
        raise AssertionError("every pass asks for another one")

    def finish(self, phase: str = "Failed") -> None:
        for job in self.jobs.values():
            job["status"]["phase"] = phase

    @property
    def status(self) -> Json:
        found = self.obj.get("status", {})
        assert isinstance(found, dict)
        return found


def entry(status: Json, name: str) -> Json:
    return next(one for one in status["triggers"] if one["name"] == name)


def test_a_run_is_in_status_before_its_training_job_is_made() -> None:
    loop = Loop()
    plan = loop.step(quality())
    assert plan.create is None
    (run,) = loop.status["runs"]
    plan = loop.step(quality(wanted=False))
    assert plan.create is not None
    assert plan.create["metadata"]["name"] == run["trainingJob"]
    assert plan.create["spec"]["deployment"] == "flights"
    assert loop.status["lastTrigger"] == {
        "name": "quality",
        "reason": "Performance",
        "at": stamp(NOW),
        "trainingJob": run["trainingJob"],
    }
    assert loop.status["active"] == run["trainingJob"]
    assert entry(loop.status, "quality")["streak"] == 0
    assert '"value": "0.6"' in plan.create["metadata"]["annotations"]["noria.dev/trigger"]


def test_a_run_goes_into_the_queue_that_the_loop_is_labelled_for() -> None:
    loop = Loop()
    queue = {"kueue.x-k8s.io/queue-name": "ml", "kueue.x-k8s.io/priority-class": "high"}
    loop.obj["metadata"]["labels"] = queue | {"team": "risk"}
    loop.settle(quality())
    (made,) = loop.jobs.values()
    assert made["metadata"]["labels"] == queue


def test_a_crash_after_the_intent_makes_the_same_run_and_no_other() -> None:
    loop = Loop()
    loop.step(quality("w1"))
    loop.now += 3 * HOUR
    plan = loop.step(quality("w9"), asked("id-7"))
    assert plan.create is not None
    assert len(loop.status["runs"]) == 1
    plan = loop.step(quality("w9"), asked("id-7"))
    assert plan.create is None
    assert len(loop.status["runs"]) == 1


@pytest.mark.parametrize(
    ("spec", "block"),
    [
        ({"suspend": True}, "Suspended"),
        ({}, "Cooldown"),
        ({"budget": {"maxRuns": 1, "per": "48h"}, "cooldown": "0s"}, "Budget"),
    ],
)
def test_what_holds_a_run_is_said_on_the_object_and_on_the_trigger(spec: Json, block: str) -> None:
    loop = Loop(**{"cooldown": "6h"} | spec)
    loop.obj["status"] = {
        "runs": [{"at": stamp(NOW - HOUR), "trigger": "weekly", "trainingJob": "old"}],
        "lastTrigger": {"name": "weekly", "trainingJob": "old"},
    }
    loop.step(quality())
    assert loop.status["blockedBy"] == block
    told = entry(loop.status, "quality")
    assert told["decision"] == "Blocked"
    assert block in told["message"]
    before = loop.status
    loop.now += timedelta(minutes=1)
    loop.step(Request(told, "Performance", wanted=True, key="w1"))
    assert loop.status == before


def test_a_person_does_not_wait_for_the_cooldown() -> None:
    loop = Loop()
    loop.settle(weekly())
    loop.finish()
    loop.now += HOUR
    loop.settle(asked("id-1"))
    assert len(loop.jobs) == 2
    assert loop.status["commands"] == {"retrain": "id-1"}
    assert loop.status["lastTrigger"]["reason"] == "Manual"


def test_a_person_is_told_and_given_the_time_at_which_the_budget_has_room() -> None:
    """Not that at which the cooldown is over, which failures made long."""
    loop = Loop(cooldown="6h", budget={"maxRuns": 1, "per": "24h"})
    for count in range(5):
        loop.now += 24 * HOUR
        loop.settle(asked(f"earlier-{count}"))
        loop.finish()
    begun, loop.now = loop.now, loop.now + HOUR
    plan = loop.step(asked())
    assert moment(loop.status["nextEligibleTime"]) == begun + 6 * 2**5 * HOUR
    assert f"held by Budget: until {stamp(begun + 24 * HOUR)}" in entry(loop.status, MANUAL)["message"]
    assert plan.due == begun + 24 * HOUR


def test_an_id_that_was_forgotten_and_is_given_again_starts_a_run_of_its_own() -> None:
    loop = Loop()
    for count, key in enumerate(("1", "2", "1"), start=1):
        loop.now += HOUR
        loop.settle(asked(key))
        loop.finish()
        assert len(loop.jobs) == count
        assert loop.status["lastTrigger"]["trainingJob"] == loop.status["runs"][-1]["trainingJob"]


def test_no_run_starts_while_another_is_live() -> None:
    loop = Loop(cooldown="0s")
    loop.settle(weekly())
    loop.now += HOUR
    loop.step(asked())
    assert (loop.status["blockedBy"], len(loop.jobs)) == ("Concurrency", 1)
    assert "is not finished" in entry(loop.status, MANUAL)["message"]


LATE = {"type": "Stalled", "status": "True", "reason": "ProgressDeadlineExceeded"}
"""Of a first version whose pods do not become ready: nothing else could serve, so it stays on trial."""


@pytest.mark.parametrize(
    ("phase", "serving", "held"),
    [
        ("Validating", deployment(1), "is being verified"),
        ("Approved", deployment(1), "about to roll out flights-2"),
        ("Approved", deployment(1, candidate=served(2)), "rolling out flights-2"),
        ("Approved", deployment(None, candidate=served(2)), "rolling out flights-2"),
        ("Approved", deployment(None, candidate=served(2), conditions=[LATE]), ""),
        ("Approved", deployment(None, candidate=served(1), conditions=[LATE]), "about to roll out flights-2"),
        ("Validating", deployment(None, candidate=served(1), conditions=[LATE]), "is being verified"),
        ("Approved", deployment(1, candidate=served(2), conditions=[LATE]), "rolling out flights-2"),
        ("Approved", deployment(2), ""),
        ("Approved", deployment(3), ""),
        ("Approved", deployment(1, rejected=[{"version": "flights-2"}]), ""),
        ("Approved", deployment(1, rejected=[{"version": "flights-2", "nextRetryTime": stamp(NOW)}]), ""),
        ("Approved", deployment(1, pinned="flights-1"), ""),
        ("Approved", deployment(1, undo={"target": served(1), "left": served(3)}), ""),
        ("Rejected", deployment(1), ""),
        ("PendingApproval", deployment(1), ""),
        ("Archived", deployment(3), ""),
    ],
)
def test_no_run_starts_while_the_version_of_the_last_one_is_on_its_way(
    phase: str, serving: Json, held: str
) -> None:
    loop = Loop(cooldown="0s")
    loop.settle(weekly())
    (name,) = loop.jobs
    loop.finish("Succeeded")
    made = version(2, phase=phase, lineage={"trainingJob": {"name": name, "uid": name}})
    loop.now += HOUR
    loop.step(asked(), seen=serving, versions=[version(1), made])
    assert (len(loop.status["runs"]) == 2) is (held == "")
    assert held in entry(loop.status, MANUAL)["message"]


@pytest.mark.parametrize(
    ("arms", "rejected", "held"),
    [
        ((2, 3), (), ""),
        ((3, 4), (), ""),
        ((2, 5), (), "about to roll out flights-2"),
        ((3, 5), (3,), "about to roll out flights-2"),
    ],
    ids=["it waits for one to be made", "for two", "all are there", "it is over"],
)
def test_an_experiment_that_waits_for_versions_holds_no_run_back_that_makes_them(
    arms: tuple[int, ...], rejected: tuple[int, ...], held: str
) -> None:
    loop = Loop(cooldown="0s")
    loop.settle(weekly())
    (name,) = loop.jobs
    loop.finish("Succeeded")
    made = version(2, lineage={"trainingJob": {"name": name, "uid": name}})
    serving = deployment(1, rejected=[{"version": f"flights-{one}"} for one in rejected])
    named = [{"version": f"flights-{one}", "weight": 10} for one in arms]
    serving["spec"]["strategy"] = {"experiment": {"arms": named}}
    loop.now += HOUR
    loop.step(asked(), seen=serving, versions=[version(1), made, version(5)])
    assert (len(loop.status["runs"]) == 2) is (held == "")
    assert held in entry(loop.status, MANUAL)["message"]


def test_a_version_that_cannot_be_verified_for_now_holds_no_run_back() -> None:
    loop = Loop(cooldown="0s")
    loop.settle(weekly())
    (name,) = loop.jobs
    loop.finish("Succeeded")
    made = version(2, phase="Validating", lineage={"trainingJob": {"name": name, "uid": name}})
    made["status"]["verification"] = {"attempt": 2, "notBefore": "2026-01-01T00:00:00Z"}
    loop.now += HOUR
    loop.step(asked(), seen=deployment(1), versions=[version(1), made])
    assert len(loop.status["runs"]) == 2


@pytest.mark.parametrize("policy", ["Forbid", "Queue", "Replace"])
def test_a_run_of_the_model_that_somebody_else_started_holds_and_is_not_ended(policy: str) -> None:
    loop = Loop(cooldown="0s", concurrencyPolicy=policy)
    loop.others = ["by-hand"]
    plan = loop.step(weekly())
    assert (plan.delete, loop.status["blockedBy"], loop.jobs) == ((), "Concurrency", {})
    assert "TrainingJob by-hand of flights is not finished" in loop.status["message"]
    loop.others = []
    loop.settle(weekly())
    assert len(loop.jobs) == 1


def test_a_run_that_is_written_down_waits_for_one_that_somebody_else_started_meanwhile() -> None:
    loop = Loop()
    loop.step(quality())
    loop.others = ["by-hand"]
    for _ in range(2):
        plan = loop.step(quality(wanted=False))
        assert (plan.create, plan.again) == (None, False)
    assert "by-hand" in loop.status["message"]
    loop.others = []
    assert loop.step(quality(wanted=False)).create is not None
    loop.others = ["late"]
    loop.step(quality(wanted=False))
    assert len(loop.jobs) == 1


def test_a_run_that_is_written_down_is_not_made_while_the_loop_is_suspended() -> None:
    loop = Loop()
    loop.step(quality())
    loop.obj["spec"]["suspend"] = True
    for _ in range(2):
        plan = loop.step(quality("w2"))
        assert (plan.create, plan.again, loop.status["blockedBy"]) == (None, False, "Suspended")
        assert entry(loop.status, "quality")["decision"] == "Blocked", "triggers are weighed meanwhile"
    assert [run.get("result") for run in loop.status["runs"]] == [None]
    loop.obj["spec"]["suspend"] = False
    loop.obj["status"]["triggers"][0] |= {"decision": "No", "message": "auc is not worse"}
    plan = loop.step(quality(wanted=False))
    assert plan.create is not None
    assert plan.notices[0].message.endswith("was started: Performance"), "not what the trigger says now"


def test_one_run_answers_every_loss_of_quality() -> None:
    loop = Loop()
    loop.step(asked(), quality())
    told = entry(loop.status, "quality")
    assert (told["streak"], told["decision"]) == (0, "Wait")
    assert "answered by the run" in told["message"]


def test_a_run_that_somebody_else_asked_for_leaves_a_schedule_as_it_is() -> None:
    loop = Loop(cooldown="0s")
    loop.step(asked(), weekly())
    left = entry(loop.status, "weekly")
    assert (left["lastScheduled"], left["decision"]) == (weekly().entry["lastScheduled"], "Blocked")
    loop.settle()
    loop.finish()
    loop.now += HOUR
    loop.settle(weekly())
    assert loop.status["lastTrigger"]["name"] == "weekly"


def test_a_scheduled_run_is_marked_as_handled_with_its_scheduled_time() -> None:
    loop = Loop()
    loop.step(weekly())
    assert entry(loop.status, "weekly")["lastScheduled"] == "2026-03-02T02:00:00Z"


def test_old_runs_are_removed_beyond_the_history_limit() -> None:
    loop = Loop(cooldown="0s", historyLimit=2)
    for number in range(5):
        loop.settle(asked(f"id-{number}"))
        loop.finish()
        loop.now += HOUR
    loop.settle()
    assert len(loop.jobs) == 2
    assert loop.status["lastTrigger"]["trainingJob"] in loop.jobs
    assert "active" not in loop.status


def test_a_missing_deployment_is_said_and_a_run_may_start_all_the_same() -> None:
    loop = Loop()
    watched = Watched((), None, ())
    plan = decide(loop.obj, parse_as(ContinuousTraining, loop.obj), [asked()], watched, NOW)
    ready = plan.status["conditions"][0]
    assert (ready["status"], ready["reason"]) == ("False", "DeploymentMissing")
    assert plan.again


def test_a_loop_that_trains_another_model_than_is_served_starts_nothing_and_says_so() -> None:
    loop = Loop()
    other = deployment(1)
    other["spec"]["model"] = "taxis"
    loop.step(weekly(), seen=other)
    found = {one["type"]: one for one in loop.status["conditions"]}
    assert (found["Ready"]["status"], found["Ready"]["reason"]) == ("False", "InvalidSpec")
    assert found["Stalled"]["status"] == "True"
    assert "flights" in found["Stalled"]["message"]
    assert "taxis" in found["Stalled"]["message"]
    assert (loop.status["blockedBy"], loop.jobs) == ("InvalidSpec", {})
    loop.settle(weekly())
    assert len(loop.jobs) == 1
    assert loop.status["conditions"][0]["status"] == "True"


def drift() -> Request:
    return Request({"name": "drift", "message": "0.4 of the features drifted"}, "Drift", wanted=True)


@pytest.mark.parametrize("action", ["Warn", "Block"])
def test_an_alarm_tells_since_when_it_stands_and_a_quiet_trigger_does_not(action: str) -> None:
    loop = Loop(triggers=[{"name": "drift", "drift": {}, "action": action}])
    loop.step(drift())
    begun = stamp(loop.now)
    for value in ("0.5", "0.6"):
        loop.now += HOUR
        loop.step(Request(loop.status["triggers"][0] | {"value": value}, "Drift", wanted=True))
        assert [loop.status["triggers"][0][name] for name in ("since", "value")] == [begun, value]
    loop.step(Request(loop.status["triggers"][0] | {"decision": "No"}, "Drift"))
    assert "since" not in loop.status["triggers"][0]
    loop.now += HOUR
    loop.step(Request(loop.status["triggers"][0], "Drift", wanted=True))
    assert loop.status["triggers"][0]["since"] == stamp(loop.now)


def test_an_alarm_of_which_nobody_wrote_down_the_beginning_stays_without() -> None:
    loop = Loop(triggers=[{"name": "drift", "drift": {}}])
    loop.step(drift())
    del loop.status["triggers"][0]["since"]
    loop.step(Request(loop.status["triggers"][0], "Drift", wanted=True))
    assert "since" not in loop.status["triggers"][0]


def lost(loop: Loop, *, wanted: bool, **told: Any) -> Request:
    """What the trigger says once a window has closed, an entry like that of `triggers_performance`."""
    known = next((one for one in loop.status.get("triggers", []) if one["name"] == "quality"), {})
    closed = {"windowStartedAt": stamp(loop.now), "version": "flights-1", **told}
    return replace(quality(stamp(loop.now), wanted=wanted), entry=quality().entry | known | closed)


def standing(loop: Loop) -> Request:
    """The same while its window is open: it says again what status says."""
    return Request(entry(loop.status, "quality"), "Performance")


def since(loop: Loop) -> str | None:
    found = entry(loop.status, "quality").get("since")
    assert found is None or isinstance(found, str)
    return found


def test_a_loss_stands_from_when_it_was_seen_through_what_holds_its_run_and_through_the_run() -> None:
    loop = Loop(suspend=True)
    begun = stamp(loop.now)
    for _ in range(3):
        loop.step(lost(loop, wanted=True))
        assert (entry(loop.status, "quality")["decision"], since(loop)) == ("Blocked", begun)
        loop.now += HOUR
    loop.obj["spec"]["suspend"] = False
    loop.step(lost(loop, wanted=True))
    loop.step(standing(loop))
    assert (entry(loop.status, "quality")["decision"], since(loop)) == ("Fire", begun)
    (job,) = loop.jobs.values()
    assert json.loads(job["metadata"]["annotations"]["noria.dev/trigger"])["since"] == begun
    loop.now += HOUR
    loop.step(lost(loop, wanted=False, decision="Wait", streak=1))
    assert since(loop) == begun
    loop.step(lost(loop, wanted=False, decision="Wait", version="flights-2"))
    assert since(loop) is None, "another version is served, and this loss is over"


def test_a_loss_that_warns_stands_through_the_run_of_its_combination() -> None:
    """What it says after a run that brought nothing is no new loss; of another version it is."""
    rule = {"performance": {"metric": "auc", "min": "0.65"}, "action": "Warn"}
    loop = Loop(triggers=[{"name": "quality", **rule}])
    loop.step(lost(loop, wanted=True))
    first = stamp(loop.now)
    for told, wanted in (({}, True), ({"decision": "Wait"}, False), ({}, True)):
        loop.now += HOUR
        loop.step(lost(loop, wanted=wanted, **told))
        assert since(loop) == first
    loop.step(lost(loop, wanted=False, decision="Wait"))
    loop.now += HOUR
    loop.step(lost(loop, wanted=True, version="flights-2"))
    assert (entry(loop.status, "quality")["decision"], since(loop)) == ("Warn", stamp(loop.now))


def test_a_loss_ends_when_a_window_is_well_again_and_one_bad_window_is_none() -> None:
    loop = Loop(suspend=True)
    loop.step(lost(loop, wanted=False, decision="Wait", streak=1))
    assert since(loop) is None
    loop.step(lost(loop, wanted=True))
    assert since(loop) == stamp(loop.now)
    loop.step(lost(loop, wanted=False, decision="No", streak=0))
    assert since(loop) is None


def test_a_run_that_somebody_else_asked_for_is_told_of_the_loss_that_it_answers() -> None:
    loop = Loop(suspend=True)
    begun = stamp(loop.now)
    loop.step(lost(loop, wanted=True))
    loop.obj["spec"]["suspend"] = False
    loop.now += HOUR
    loop.step(asked(), lost(loop, wanted=True))
    loop.step(standing(loop))
    (job,) = loop.jobs.values()
    why = json.loads(job["metadata"]["annotations"]["noria.dev/trigger"])
    assert (why["reason"], why["since"]) == ("Manual", begun)
    loop.step(standing(loop))
    assert (entry(loop.status, "quality")["decision"], since(loop)) == ("Wait", begun)


@pytest.mark.parametrize("busy", [True, False], ids=["a place in the queue", "a run that a person asked for"])
def test_a_loss_that_is_answered_in_the_pass_that_sees_it_stands_from_then_on(busy: bool) -> None:
    loop = Loop(concurrencyPolicy="Queue", cooldown="0s")
    if busy:
        loop.settle(weekly())
        loop.now += HOUR
    loop.step(*([] if busy else [asked()]), lost(loop, wanted=True))
    begun = stamp(loop.now)
    assert (entry(loop.status, "quality")["decision"], since(loop)) == ("Wait", begun)
    loop.finish("Succeeded")
    loop.now += HOUR
    loop.settle(standing(loop))
    made = list(loop.jobs.values())[-1]
    assert json.loads(made["metadata"]["annotations"]["noria.dev/trigger"])["since"] == begun


def drifts(loop: Loop, decision: str = "Fire", served: int = 1) -> Request:
    """What a trigger `drift` says once a window has closed."""
    known = next((one for one in loop.status.get("triggers", []) if one["name"] == "drift"), {})
    told = {"name": "drift", "message": "0.4 drifted", "decision": decision, "version": f"flights-{served}"}
    return Request(known | told, "Drift", wanted=decision == "Fire", answered_by="Wanted")


def test_drift_that_retrains_is_timed_from_its_first_alarm_to_the_run_that_answers_it() -> None:
    loop = Loop(triggers=[{"name": "drift", "drift": {}, "action": "Retrain"}], suspend=True)
    loop.step(drifts(loop, "Wait"))
    assert "since" not in entry(loop.status, "drift"), "one window is no alarm"
    loop.now += HOUR
    begun = stamp(loop.now)
    for decision in ("Fire", "Wait", "Fire"):
        loop.step(drifts(loop, decision))
        assert entry(loop.status, "drift")["since"] == begun
        loop.now += HOUR
    loop.obj["spec"]["suspend"] = False
    loop.settle(drifts(loop))
    (job,) = loop.jobs.values()
    assert json.loads(job["metadata"]["annotations"]["noria.dev/trigger"])["since"] == begun
    loop.step(drifts(loop))
    assert (entry(loop.status, "drift")["decision"], entry(loop.status, "drift")["since"]) == (
        "Blocked",
        begun,
    )
    loop.step(drifts(loop, "No"))
    assert "since" not in entry(loop.status, "drift"), "a window without drift ends it"


def test_drift_that_was_known_when_another_triggers_run_began_waits_for_it() -> None:
    triggers = [
        {"name": "drift", "drift": {}, "action": "Retrain"},
        {"name": "weekly", "schedule": "0 2 * * 1"},
    ]
    loop = Loop(triggers=triggers, concurrencyPolicy="Replace", cooldown="0s")
    loop.settle(weekly(), drifts(loop))
    (run,) = loop.jobs
    loop.now += HOUR
    loop.step(weekly(wanted=False), drifts(loop))
    assert (list(loop.jobs), entry(loop.status, "drift")["decision"]) == ([run], "Blocked")


def test_drift_of_a_version_that_is_served_no_more_is_over() -> None:
    loop = Loop(triggers=[{"name": "drift", "drift": {}, "action": "Retrain"}], suspend=True)
    loop.step(drifts(loop))
    loop.step(drifts(loop, "Wait", served=2))
    assert "since" not in entry(loop.status, "drift")


@pytest.mark.parametrize("action", ["Warn", "Block", "Observe"])
def test_drift_that_does_not_retrain_leaves_nothing_that_waits_for_a_promotion(action: str) -> None:
    loop = Loop(triggers=[{"name": "drift", "drift": {}, "action": action}])
    loop.step(drifts(loop))
    assert entry(loop.status, "drift")["decision"] == action
    loop.step(drifts(loop, "Wait"))
    assert "since" not in entry(loop.status, "drift")


def test_a_run_without_a_loss_is_told_of_none() -> None:
    loop = Loop()
    loop.settle(weekly())
    (job,) = loop.jobs.values()
    assert "since" not in json.loads(job["metadata"]["annotations"]["noria.dev/trigger"])
    assert "since" not in entry(loop.status, "weekly")


def test_a_warning_stays_a_warning_while_another_trigger_starts_a_run() -> None:
    loop = Loop(triggers=[
        {"name": "drift", "drift": {}, "action": "Warn"}, {"name": "weekly", "schedule": "0 2 * * 1"},
    ])  # fmt: skip
    found = Request(drift().entry | {"decision": "Fire"}, "Drift", wanted=True)
    loop.step(found, weekly())
    assert (entry(loop.status, "drift")["decision"], len(loop.status["runs"])) == ("Warn", 1)
    begun = entry(loop.status, "drift")["since"]
    loop.now += HOUR
    loop.step(found)
    assert entry(loop.status, "drift")["since"] == begun


def test_a_quiet_pass_writes_the_same_status() -> None:
    loop = Loop()
    loop.settle(quality(wanted=False), weekly(wanted=False))
    before = loop.status
    loop.now += HOUR
    loop.step(quality(wanted=False), weekly(wanted=False))
    assert loop.status == before


events = st.lists(
    st.tuples(
        st.integers(0, 600),
        st.sampled_from(["quality", "weekly", "manual", "none"]),
        st.booleans(),
        st.booleans(),
    ),
    max_size=40,
)


@given(events, st.integers(1, 3), st.sampled_from(["0s", "30m", "6h"]))
def test_whatever_happens_the_budget_holds_and_one_run_is_live(
    happenings: list[tuple[int, str, bool, bool]], budget: int, cooldown: str
) -> None:
    per = timedelta(hours=24)
    loop = Loop(cooldown=cooldown, budget={"maxRuns": budget, "per": "24h"}, historyLimit=100)
    started: dict[str, datetime] = {}
    for number, (minutes, who, crash, ends) in enumerate(happenings):
        loop.now += timedelta(minutes=minutes)
        requests = {
            "quality": [quality(f"w{number}")],
            "weekly": [weekly(stamp(loop.now))],
            "manual": [asked(f"i{number}")],
        }
        wanted = requests.get(who, [])
        loop.step(*wanted)
        if not crash:
            loop.settle(*(Request(one.entry, one.reason) for one in wanted))
        for name, job in loop.jobs.items():
            started.setdefault(name, moment(job["metadata"]["creationTimestamp"]))
        live = [job for job in loop.jobs.values() if job["status"]["phase"] == "Pending"]
        assert len(live) <= 1
        if ends:
            loop.finish()
    recorded = sorted(moment(run["at"]) for run in loop.status.get("runs", []))
    for start in recorded:
        assert len([at for at in recorded if start <= at < start + per]) <= budget
    assert len(started) <= len(happenings)


def test_a_status_with_more_runs_than_are_kept_is_shortened_and_the_budget_counts_them_all() -> None:
    """As an earlier release of Noria left it."""
    loop = Loop(cooldown="0s", budget={"maxRuns": 300, "per": "8760h"})
    runs = [
        {
            "at": stamp(NOW - number * HOUR),
            "trigger": "weekly",
            "trainingJob": f"old-{number}",
            "result": "Kept",
        }
        for number in reversed(range(300))
    ]
    loop.obj["status"] = {"runs": runs, "lastTrigger": {"name": "weekly", "trainingJob": "old-0"}}
    loop.step(quality())
    assert (len(loop.status["runs"]), loop.status["blockedBy"]) == (20, "Budget")
    assert sum(one["runs"] for one in loop.status["olderRuns"]) == 280
    before = loop.status
    loop.step(Request(entry(before, "quality"), "Performance", wanted=True, key="w1"))
    assert loop.status == before


def test_what_holds_a_run_is_told_and_fits_into_status_however_much_there_is_to_say() -> None:
    """Columns may have names of 253 letters, and findings name three of them."""
    loop = Loop(
        triggers=[{"name": "drift", "drift": {}, "action": "Retrain"}, {"name": "dirty", "dataQuality": {}}]
    )
    kinds = (("drift", "Drift"), ("dirty", "DataQuality"))
    plan = loop.step(
        *(Request({"name": name, "message": "x" * 1024}, kind, True, "w") for name, kind in kinds)
    )
    held, blocks = plan.status["triggers"]
    assert (held["decision"], blocks["decision"]) == ("Blocked", "Block")
    assert "xx…; held by Trigger: trigger dirty blocks: xx" in held["message"]


@pytest.mark.parametrize("needed", [1, 15])
def test_a_combination_of_long_names_fits_into_status(needed: int) -> None:
    names = [f"{letter * 62}x" for letter in "abcdefghijklmno"]
    plain = [{"name": name, "maxAge": "1h", "action": "Observe"} for name in names]
    both = {"name": "all", "combine": {"of": names, "atLeast": needed}}
    loop = Loop(triggers=[*plain, both])
    members = {
        name: Request({"name": name}, "MaxAge", wanted=number < 14) for number, name in enumerate(names)
    }
    asks = combined(TriggerSpec.model_validate(both), members)
    assert asks.wanted == (needed == 1)
    plan = loop.step(*members.values(), asks)
    (entry,) = (one for one in plan.status["triggers"] if one["name"] == "all")
    assert entry["message"].startswith(f"14 of {names[0]}")
