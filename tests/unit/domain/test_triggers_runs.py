"""How runs ended is told once, and stays."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.domain.training_world import NOW, deployment, served, training_job, version

from noria_operator.domain.budget import Limits, blocked
from noria_operator.domain.training_times import stamp
from noria_operator.domain.triggers_runs import KEPT, ended_early, held, pasts, settled, shortened

Json = dict[str, Any]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
RUN = {"at": stamp(NOW), "trigger": "quality", "trainingJob": "run-1"}


def job(phase: str, reason: str = "TrainingFailed", **spec: Any) -> Json:
    times: Json = {"runningSince": stamp(NOW)}
    if phase != "Running":
        times = {"completionTime": stamp(NOW + 24 * HOUR), "ranSeconds": 7200}
    failed = [{"type": "Failed", "status": "True", "reason": reason}]
    made = training_job("run-1", **spec)
    begun = stamp(NOW - 22 * HOUR)  # it waited in a queue
    return made | {"status": {"phase": phase, "startTime": begun, "conditions": failed, **times}}


def made(phase: str = "Approved") -> Json:
    return version(2, phase=phase, lineage={"trainingJob": {"name": "run-1", "uid": "u"}})


BEHIND = served(2) | {"lost": True}
"""Of an experiment that another arm won; by hand where the win is all that was said against it."""

RETRIED = served(2) | {"nextRetryTime": stamp(NOW + HOUR)}
"""Rolled back, and to be tried again by itself."""

UNSEEN = {"version": "flights-2", "revision": "", "byHand": True}
"""An arm that was aborted before its version was made."""

UNDONE = {"target": served(1), "left": served(3)}
"""Back to the champion of before, past the version that the run made."""


@pytest.mark.parametrize(
    ("jobs", "versions", "serving", "result", "failures"),
    [
        ([job("Running")], [], deployment(1), None, 3),
        ([job("Failed")], [], deployment(1), "Failed", 4),
        ([job("Failed", "GateFailed")], [], deployment(1), "Refused", 4),
        ([job("Succeeded")], [], deployment(1), None, 3),
        ([job("Succeeded")], [made()], deployment(1), None, 3),
        ([job("Succeeded")], [made("PendingApproval")], deployment(1), None, 3),
        ([job("Succeeded")], [made("Rejected")], deployment(1), "Refused", 4),
        ([job("Succeeded")], [made()], deployment(2), "Promoted", 0),
        ([job("Succeeded")], [made()], deployment(1, rejected=[served(2)]), "RolledBack", 4),
        ([job("Succeeded")], [made()], deployment(1, rejected=[RETRIED]), None, 3),
        ([job("Succeeded")], [made()], deployment(1, rejected=[UNSEEN]), None, 3),
        ([job("Succeeded")], [made()], deployment(1, rejected=[{**BEHIND, "byHand": True}]), "Kept", 0),
        ([job("Succeeded")], [made()], deployment(1, rejected=[BEHIND]), "RolledBack", 4),
        ([job("Succeeded")], [made()], deployment(1, pinned="flights-1"), "Kept", 0),
        ([job("Succeeded")], [made()], deployment(1, undo=UNDONE), "Kept", 0),
        ([job("Succeeded")], [made()], deployment(1, pinned="flights-2", undo=UNDONE), None, 3),
        ([], [made()], deployment(2), "Promoted", 0),
        ([], [], deployment(1), "Gone", 4),
        ([], [], None, "Gone", 4),
    ],
)
def test_a_run_ends_in_one_word(
    jobs: list[Json], versions: list[Json], serving: Json | None, result: str | None, failures: int
) -> None:
    (run,), count = settled([RUN], 3, jobs=jobs, versions=versions, deployment=serving)
    assert (run.get("result"), count) == (result, failures)
    again = settled([run], count, jobs=[], versions=[], deployment=None)
    if result:
        assert again == ([run], count)


def test_a_version_that_is_still_on_its_way_when_the_next_run_starts_is_kept() -> None:
    later = RUN | {"trainingJob": "run-2"}
    jobs = [job("Succeeded"), training_job("run-2")]
    runs, failures = settled([RUN, later], 2, jobs=jobs, versions=[made()], deployment=deployment(1))
    assert ([run.get("result") for run in runs], failures) == (["Kept", None], 0)


@pytest.mark.parametrize(
    ("rejected", "result", "failures"),
    [(RETRIED, "RolledBack", 3), (UNSEEN, "Kept", 0)],
    ids=["it waits for its retry", "it was aborted before it was made"],
)
def test_a_version_that_may_still_be_tried_is_told_of_once_the_next_run_starts(
    rejected: Json, result: str, failures: int
) -> None:
    later, serving = RUN | {"trainingJob": "run-2"}, deployment(1, rejected=[rejected])
    jobs = [job("Succeeded"), training_job("run-2")]
    runs, count = settled([RUN, later], 2, jobs=jobs, versions=[made()], deployment=serving)
    assert ([run.get("result") for run in runs], count) == ([result, None], failures)


def test_a_version_that_a_person_tried_again_and_that_serves_was_promoted_after_all() -> None:
    run, later = RUN | {"result": "RolledBack"}, RUN | {"trainingJob": "run-2"}
    assert settled([run], 3, jobs=[], versions=[made()], deployment=deployment(1)) == ([run], 3)
    found, failures = settled([run], 3, jobs=[], versions=[made()], deployment=deployment(2))
    assert (found, failures) == ([RUN | {"result": "Promoted"}], 0)
    jobs = [training_job("run-2")]
    told = settled([run, later], 3, jobs=jobs, versions=[made()], deployment=deployment(2))
    assert told == ([run, later], 3), "it is told of the last run alone"


def test_hours_are_what_pods_asked_for_times_how_long_they_took() -> None:
    resources = {"requests": {"cpu": "1500m"}, "limits": {"cpu": "4", "nvidia.com/gpu": "2"}}
    (run,), _ = settled([RUN], 0, jobs=[job("Failed", resources=resources)], versions=[], deployment=None)
    assert (float(run["cpuHours"]), float(run["gpuHours"])) == (3.0, 4.0)
    (past,) = pasts([run], [], NOW)
    assert (past.cpu, past.gpu) == (3.0, 4.0)


def test_a_run_that_is_not_finished_has_used_what_it_used_so_far() -> None:
    running = job("Running", resources={"requests": {"cpu": "2"}})
    (past,) = pasts([RUN], [running], NOW + HOUR / 2)
    assert past.cpu == 1.0
    assert held({}) == (0.0, 0.0)


def test_a_run_that_waits_in_a_queue_uses_nothing() -> None:
    waiting = job("Pending", resources={"limits": {"nvidia.com/gpu": "8"}})
    waiting["status"] = {"phase": "Pending", "startTime": stamp(NOW)}
    (past,) = pasts([RUN], [waiting], NOW + 24 * HOUR)
    assert past.gpu == 0.0


def test_a_run_that_is_replaced_has_used_what_it_used() -> None:
    running = job("Running", resources={"limits": {"nvidia.com/gpu": "4"}})
    (run,) = ended_early([RUN], [running], NOW + 6 * HOUR)
    assert (run["result"], float(run["gpuHours"])) == ("Replaced", 24.0)
    (same,), _ = settled([run], 0, jobs=[], versions=[], deployment=None)
    assert same == run


def ran(number: int, at: datetime) -> Json:
    return RUN | {"at": stamp(at), "trainingJob": f"run-{number}", "cpuHours": "0.5", "result": "Kept"}


def test_the_last_runs_stay_whatever_their_age_and_sums_of_all_that_count() -> None:
    runs = [ran(number, NOW + number * HOUR) for number in range(30)]
    kept_, older = shortened(runs, (), 7 * DAY, NOW + 29 * HOUR)
    assert kept_ == runs[-KEPT:]
    assert (sum(one["runs"] for one in older), sum(float(one["cpuHours"]) for one in older)) == (10, 5.0)
    assert shortened(kept_, older, 7 * DAY, NOW + 29 * HOUR) == (kept_, older)
    assert shortened(kept_, older, 7 * DAY, NOW + 60 * DAY) == (kept_, [])
    assert shortened(runs, older, None, NOW + 29 * HOUR) == (kept_, [])


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=150), st.integers(1, 60))
def test_a_budget_of_sums_never_starts_more_runs_than_one_of_runs(minutes: list[int], most: int) -> None:
    per, runs, older, exact, now = DAY, list[Json](), list[Json](), list[Json](), NOW
    limits = Limits(timedelta(), most, per)
    for number, pause in enumerate(minutes):
        now += timedelta(minutes=pause) / 10
        runs, older = shortened(runs, older, per, now)
        assert len(runs) <= KEPT
        assert len(older) <= 34
        free = blocked(limits, pasts(runs, (), now, older), now) is None
        if free:
            assert blocked(limits, pasts(exact, (), now), now) is None
            runs, exact = [*runs, ran(number, now)], [*exact, ran(number, now)]
        else:
            assert blocked(limits, pasts(exact, (), now), now - per / 32), "held a little longer at most"


def test_a_status_stays_small_whatever_the_budget() -> None:
    per = timedelta(hours=8760)
    runs: list[Json] = []
    older: list[Json] = []
    for number in range(5000):
        now = NOW + number * timedelta(minutes=105)
        runs, older = shortened([*runs, ran(number, now)], older, per, now)
    assert len(json.dumps({"runs": runs, "olderRuns": older})) < 10_000
    assert sum(one["runs"] for one in older) + len(runs) == 5000
