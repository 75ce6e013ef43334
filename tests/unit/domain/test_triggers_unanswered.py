"""A run that comes to nothing answers nothing: what its triggers asked for stands again, held as ever."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.domain.test_triggers_concept import WATCH, fed, steps
from tests.unit.domain.test_triggers_plan import Loop, asked, entry
from tests.unit.domain.training_world import deployment, version

from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.triggers import Champion, Request
from noria_operator.domain.triggers_concept import concept_drift
from noria_operator.domain.triggers_data import Looking, data_change
from noria_operator.domain.triggers_samples import new_samples
from noria_operator.domain.triggers_start import training_name
from noria_operator.domain.triggers_unanswered import given_back

Json = dict[str, Any]
HOUR = timedelta(hours=1)
CHAMPION = Champion("flights-1", {})
DATA = TriggerSpec.model_validate({"name": "data", "dataChange": {"data": "train", "settle": "0s"}})
SAMPLES = TriggerSpec.model_validate({"name": "samples", "newSamples": {"count": 1000}})


def looked(entry: Json, loop: Loop) -> Request:
    return data_change(DATA, entry, Looking(None, lambda at: {}), loop.now)


def watched(entry: Json, loop: Loop) -> Request:
    """A step of labels is open."""
    return concept_drift(WATCH, entry, champion=CHAMPION, labels=None, now=loop.now)


def counted(labels: int) -> Callable[[Json, Loop], Request]:
    return lambda entry, loop: new_samples(SAMPLES, entry, labels=labels, now=loop.now)


class Asking(Loop):
    """A loop of one trigger that is asked at each pass by what status says, and a person."""

    def __init__(self, trigger: TriggerSpec, entry: Json, **spec: Any) -> None:
        shown = trigger.model_dump(mode="json", by_alias=True, exclude_none=True)
        super().__init__(**{"triggers": [shown], "cooldown": "1h"} | spec)
        self.obj["status"] = {"triggers": [entry], "observedGeneration": 1}

    def ask(self, trigger: Callable[[Json, Loop], Request], *others: Request, **seen: Any) -> None:
        """Passes until nothing is left to do at once."""
        while True:
            self.obj = given_back(self.obj)
            (known,) = (one for one in self.status["triggers"] if one["name"] != "Manual")
            if not self.step(*others, trigger(known, self), **seen).again:
                return
            others = ()


def found() -> Json:
    """The entry of a trigger that has seen that errors became more frequent."""
    last = fed(*steps(0.1, 60), *steps(0.4, 10))[-1]
    assert last.wanted
    return last.entry


SEEN = {"asked": "2026-03-01T10:00:00Z", "looked": "2026-03-01T11:00:00Z", "data": "train", "files": 2}
CHANGED = {
    "name": "data",
    "state": SEEN
    | {"bytes": 9, "known": "sha256:old", "seen": "sha256:new", "since": "2026-03-01T10:00:00Z"},
}
ENOUGH = {"name": "samples", "windowStartedAt": "2026-03-01T12:00:00Z", "state": {"labels": 900}}
CASES = pytest.mark.parametrize(
    ("trigger", "entry", "ask", "later"),
    [
        (WATCH, found(), watched, watched),
        (DATA, CHANGED, looked, looked),
        (SAMPLES, ENOUGH, counted(150), counted(20)),
    ],
    ids=["conceptDrift", "dataChange", "newSamples"],
)


@CASES
@pytest.mark.parametrize("reason", ["TrainingFailed", "GateFailed"])
def test_a_run_that_failed_or_was_refused_is_asked_for_again(
    trigger: TriggerSpec, entry: Json, ask: Any, later: Any, reason: str
) -> None:
    loop = Asking(trigger, entry)
    loop.ask(ask)
    assert len(loop.jobs) == 1
    loop.now += HOUR / 2
    loop.ask(later)
    assert "answers" in loop.status["runs"][0], "kept until it is known how the run ended"
    loop.finish("Failed")
    for job in loop.jobs.values():
        job["status"]["conditions"] = [{"type": "Failed", "status": "True", "reason": reason}]
    loop.ask(later)
    told = loop.status["triggers"][0]
    assert (told["decision"], "held by Cooldown" in told["message"]) == ("Blocked", True)
    assert "answers" not in loop.status["runs"][0]
    loop.now += HOUR
    loop.ask(later)
    assert len(loop.jobs) == 1, "the distance grows with each failure"
    loop.now += HOUR / 2
    loop.ask(later)
    assert len(loop.jobs) == 2


@CASES
def test_a_run_that_brought_a_version_answers_for_good(
    trigger: TriggerSpec, entry: Json, ask: Any, later: Any
) -> None:
    loop = Asking(trigger, entry)
    loop.ask(ask)
    (name,) = loop.jobs
    loop.finish("Succeeded")
    made = version(2, phase="PendingApproval", lineage={"trainingJob": {"name": name, "uid": name}})
    loop.now += 100 * HOUR
    loop.ask(later, versions=[version(1), made])
    assert len(loop.jobs) == 1
    made["status"]["phase"] = "Approved"
    for _ in range(2):
        loop.ask(later, versions=[version(1), made], seen=deployment(2))
    assert (len(loop.jobs), "answers" in loop.status["runs"][0]) == (1, False)


@CASES
def test_a_run_that_vanished_is_asked_for_again_and_counts_as_one_that_came_to_nothing(
    trigger: TriggerSpec, entry: Json, ask: Any, later: Any
) -> None:
    loop = Asking(trigger, entry)
    loop.ask(ask)
    loop.jobs.clear()
    loop.ask(later)
    assert (loop.status["runs"][0]["result"], loop.status["failures"]) == ("Gone", 1)
    loop.now += 2 * HOUR
    loop.ask(later)
    assert len(loop.status["runs"]) == 2


@CASES
def test_the_circuit_opens_on_what_fails_again_and_again(
    trigger: TriggerSpec, entry: Json, ask: Any, later: Any
) -> None:
    loop = Asking(trigger, entry, stopAfterFailures=3, historyLimit=100)
    for _ in range(10):
        loop.ask(ask)
        loop.finish("Failed")
        loop.ask(later)
        loop.now += 100 * HOUR
    assert (len(loop.jobs), loop.status["blockedBy"]) == (3, "CircuitOpen")


@CASES
def test_what_a_persons_run_answered_stands_again_when_it_fails(
    trigger: TriggerSpec, entry: Json, ask: Any, later: Any
) -> None:
    loop = Asking(trigger, entry)
    loop.ask(ask, asked("by-hand"))
    assert loop.status["lastTrigger"]["reason"] == "Manual"
    loop.finish("Failed")
    loop.ask(later)
    loop.now += 3 * HOUR
    loop.ask(later)
    assert (len(loop.jobs), loop.status["lastTrigger"]["name"]) == (2, trigger.name)


def test_labels_of_a_run_that_failed_count_with_those_that_came_meanwhile() -> None:
    loop = Asking(SAMPLES, ENOUGH | {"state": {"labels": 700}})
    loop.ask(counted(100), asked("by-hand"))
    assert entry(loop.status, "samples")["state"]["labels"] == 0
    loop.finish("Failed")
    loop.ask(counted(50))
    assert entry(loop.status, "samples")["state"]["labels"] == 800


@CASES
def test_what_a_replaced_run_answered_is_answered_by_the_one_in_its_place(
    trigger: TriggerSpec, entry: Json, ask: Any, later: Any
) -> None:
    loop = Asking(trigger, entry, concurrencyPolicy="Replace", cooldown="0s")
    loop.ask(ask)
    loop.now += HOUR
    loop.ask(later, asked("by-hand"))
    loop.ask(later, asked("by-hand"))
    assert [run.get("result") for run in loop.status["runs"]] == ["Replaced", None]
    loop.ask(later)
    assert len(loop.jobs) == 1, "the new run answers what the old one did"
    loop.finish("Failed")
    loop.ask(later)
    loop.now += HOUR
    loop.ask(later)
    assert loop.status["lastTrigger"]["name"] == trigger.name


@CASES
def test_what_waited_in_the_queue_stands_again_when_its_run_fails(
    trigger: TriggerSpec, entry: Json, ask: Any, later: Any
) -> None:
    loop = Asking(trigger, entry, concurrencyPolicy="Queue", cooldown="0s")
    loop.ask(lambda known, loop: Request(known | {"decision": "No"}, trigger.reason), asked("by-hand"))
    loop.ask(ask)
    assert loop.status["queued"]["trigger"] == trigger.name
    loop.finish("Succeeded")
    loop.now += HOUR
    loop.ask(later)
    assert (len(loop.jobs), loop.status["lastTrigger"]["name"]) == (2, trigger.name)
    loop.finish("Failed")
    loop.ask(later)
    loop.now += HOUR
    loop.ask(later)
    assert len(loop.jobs) == 3


@CASES
def test_what_waited_in_the_queue_stands_again_when_another_run_that_answered_it_fails(
    trigger: TriggerSpec, entry: Json, ask: Any, later: Any
) -> None:
    loop = Asking(trigger, entry, concurrencyPolicy="Queue", cooldown="0s", stopAfterFailures=1)
    loop.ask(lambda known, loop: Request(known | {"decision": "No"}, trigger.reason), asked("by-hand"))
    loop.ask(ask)
    assert loop.status["queued"]["trigger"] == trigger.name
    loop.finish("Failed")
    loop.ask(lambda known, loop: Request(known, trigger.reason), asked("again"))
    assert (len(loop.jobs), "queued" in loop.status) == (2, False)
    loop.finish("Failed")
    loop.ask(later)
    loop.obj["metadata"]["generation"] = 2  # the cause was found, which closes the circuit
    loop.now += HOUR
    loop.ask(later)
    assert loop.status["lastTrigger"]["name"] == trigger.name


@pytest.mark.parametrize("first", [(), (asked(),)], ids=["its own run", "another run in its place"])
def test_a_follow_up_that_failed_is_made_again(first: tuple[Request, ...]) -> None:
    cooldown = {"runs": [{"at": "2026-03-01T11:30:00Z", "trainingJob": "old", "result": "Kept"}]}
    loop = Loop(cooldown="1h", followUp="72h", historyLimit=100)
    planned = {"at": "2026-03-01T11:00:00Z", "of": "flights-first"}
    last = {"lastTrigger": {"trainingJob": "old"}}
    loop.obj["status"] = {"followUp": planned, "observedGeneration": 1} | (cooldown | last if first else {})

    def go_on(*requests: Request) -> None:
        again = True
        while again:
            loop.obj = given_back(loop.obj)
            again, requests = loop.step(*requests).again, ()

    go_on(*first)
    assert (len(loop.jobs), "followUp" in loop.status) == (1, False)
    assert loop.status["lastTrigger"]["reason"] == ("Manual" if first else "FollowUp")
    loop.finish("Failed")
    go_on()
    assert loop.status["followUp"] == planned
    loop.now += 2 * HOUR
    go_on()
    assert (len(loop.jobs), loop.status["lastTrigger"]["reason"]) == (2, "FollowUp")


def test_a_follow_up_that_failed_is_not_made_again_where_the_spec_asks_for_none() -> None:
    obj = Loop().obj
    planned = {"at": "2026-03-01T11:00:00Z", "of": "flights-first"}
    run = {
        "at": planned["at"],
        "trainingJob": "second",
        "result": "Failed",
        "answers": {"FollowUp": [planned]},
    }
    found = given_back(obj | {"status": {"runs": [run]}})
    assert not found["status"].get("followUp")
    assert "answers" not in found["status"]["runs"][0]


def test_a_new_champion_has_another_history() -> None:
    loop = Asking(WATCH, found())
    loop.ask(watched)
    loop.obj["status"]["triggers"] = [loop.status["triggers"][0] | {"version": "flights-9"}]
    loop.finish("Failed")
    before = loop.status["triggers"]
    loop.ask(lambda known, _: Request(known, "ConceptDrift"))
    loop.ask(lambda known, _: Request(known, "ConceptDrift"))
    assert loop.status["triggers"] == before


def test_names_of_runs_do_not_collide_when_one_is_asked_for_again() -> None:
    request = Request({"name": "data"}, "DataChange", wanted=True, key="sha256:new")
    loop = Loop()
    first = training_name("flights", "uid", request, loop.now)
    assert first != training_name("flights", "uid", request, loop.now + HOUR)


@pytest.mark.parametrize(("trigger", "stays"), [("quality", False), ("samples", True), ("Manual", True)])
def test_what_waits_for_a_trigger_that_was_removed_starts_nothing_and_answers_nothing(
    trigger: str, stays: bool
) -> None:
    begun = {"name": "samples", "windowStartedAt": "2026-03-01T10:00:00Z", "state": {"labels": 5}}
    loop = Asking(SAMPLES, begun, cooldown="0s")
    loop.obj["status"]["queued"] = {
        "trigger": trigger, "reason": "Performance", "at": "2026-03-01T11:00:00Z",
        "answers": {"quality": [], "samples": [{"labels": 7}]},
    }  # fmt: skip
    loop.ask(counted(0))
    assert (len(loop.jobs), "queued" in loop.status) == (int(stays), False)
    assert entry(loop.status, "samples")["state"]["labels"] == (0 if stays else 12)
