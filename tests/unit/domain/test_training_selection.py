"""Partitions are chosen once for a run, before it begins, and everything that it starts is given the same."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.domain.training_world import (
    CHAMPION,
    NOW,
    SELECTING,
    after,
    case,
    complete,
    ended_pod,
    evaluation,
    job,
    pod,
    result,
    selection,
    training_job,
    version,
)

from noria_operator.api.modelversion import ModelVersion
from noria_operator.api.parsing import parse_as
from noria_operator.api.trainingjob import TrainingJobStatus
from noria_operator.domain.training import decide
from noria_operator.domain.training_plan import Observed, Plan
from noria_operator.domain.training_runs import Run

Json = dict[str, Any]
SAID = selection(train="2026-02-21", holdout="2026-02-28")


def step(obj: Json, seen: Observed | None = None, minutes: float = 0) -> tuple[Json, Plan]:
    plan = decide(case(obj, seen, NOW + timedelta(minutes=minutes)))
    TrainingJobStatus.model_validate(plan.status)
    return after(obj, plan), plan


def chosen() -> tuple[Json, Run, Json]:
    """A TrainingJob whose partitions are chosen, its selection Job, and the training Job that came of it."""
    obj, plan = step(training_job(data=SELECTING))
    assert plan.create is not None
    assert plan.create["metadata"]["name"] == "flights-1-select"
    select = complete(plan.create, SAID)
    obj, plan = step(obj, Observed(select=select))
    assert (plan.create, plan.again) == (None, True)
    obj, plan = step(obj, Observed(select=select))
    assert plan.create is not None
    assert plan.create["metadata"]["name"] == "flights-1-train"
    return obj, select, plan.create


def env(body: Json, name: str) -> Json:
    (container,) = body["spec"]["template"]["spec"]["containers"]
    found = {one["name"]: one["value"] for one in container["env"]}
    return dict(json.loads(found[name]))


def test_the_run_and_its_evaluation_read_what_was_chosen_before_them() -> None:
    obj, select, train = chosen()
    assert env(train, "NORIA_DATA_TRAIN_SELECT")["newest"] == "2026-02-21"
    seen = Observed(complete(train, result(obj)), select=select)
    obj, _ = step(obj, seen)
    obj, plan = step(obj, seen)
    assert plan.create is not None
    assert env(plan.create, "NORIA_HOLDOUT_SELECT")["newest"] == "2026-02-28"
    seen = Observed(seen.train, complete(plan.create, evaluation("0.7", None)), select=select)
    for _ in range(4):
        obj, plan = step(obj, seen)
    assert plan.create is not None
    made = parse_as(ModelVersion, plan.create)
    assert {data.name: data.partitions.newest for data in made.spec.lineage.data if data.partitions} == {
        "train": "2026-02-21",
        "holdout": "2026-02-28",
    }
    assert [data.name for data in made.spec.lineage.data if data.held_out] == ["holdout"]


def test_the_choice_stands_when_its_job_is_gone() -> None:
    obj, _, train = chosen()
    obj, plan = step(obj, Observed(Run(job(train), (pod(),))))
    assert plan.create is None
    obj["status"].pop("phase")
    _, plan = step(obj)
    assert plan.create is not None
    assert plan.create["metadata"]["name"] == "flights-1-train"


def test_a_run_that_began_before_this_operator_goes_on_as_it_was() -> None:
    obj, _, train = chosen()
    obj["status"].pop("resolved")
    obj, plan = step(obj, Observed(Run(job(train), (pod(phase="Running"),))))
    assert plan.create is None
    assert obj["status"]["phase"] == "Running"


def test_a_suspended_run_chooses_when_it_goes_on() -> None:
    obj, plan = step(training_job(data=SELECTING, suspend=True))
    assert plan.create is None
    obj["spec"]["suspend"] = False
    assert step(obj)[1].create is not None


@pytest.mark.parametrize(
    ("run", "minutes", "says"),
    [
        (
            lambda body: Run(
                job(body, "Failed", reason="PodFailurePolicy"),
                (ended_pod('{"error": {"reason": "NoRows", "message": "data train: none"}}', code=1),),
            ),
            0,
            "NoRows: data train: none",
        ),
        (lambda body: complete(body, selection(train="2026-02-21")), 0, "says nothing of holdout"),
        (lambda body: complete(body, ""), 0, "wrote no result"),
        (lambda body: complete(body, selection(train="2026-02-22", holdout="2026-02-28")), 0, "overlap"),
        (lambda body: Run(job(body), (pod(),)), 61, "within 1h"),
    ],
)
def test_a_choice_that_cannot_be_made_ends_the_run_and_says_why(run: Any, minutes: int, says: str) -> None:
    obj, plan = step(training_job(data=SELECTING))
    assert plan.create is not None
    seen = Observed(select=run(plan.create))
    obj, plan = step(obj, seen, minutes)
    assert plan.notices[0].reason == "SelectionFailed"
    assert says in obj["status"]["message"]
    _, plan = step(obj, seen, minutes)
    assert plan.create is None
    assert plan.stop == (() if seen.select is None or seen.select.finished else ("flights-1-select",))


def test_a_directory_that_is_trained_on_and_held_out_as_a_whole_is_refused_before_anything_runs() -> None:
    whole = [{"name": name, "uri": "pvc://lake/flights"} for name in ("train", "holdout")]
    obj, plan = step(training_job(data=whole))
    assert (plan.create, plan.notices[0].reason) == (None, "SelectionFailed")
    assert "train (all of it) and holdout (all of it) overlap" in obj["status"]["message"]


def test_a_gate_says_what_of_the_held_out_rows_the_champion_was_trained_on() -> None:
    obj, select, train = chosen()
    lineage = {
        "name": "train",
        "uri": "pvc://lake/flights",
        "partitions": {"by": "day", "oldest": "2026-01-01", "newest": "2026-02-25", "count": 56},
    }
    versions = (version(1, lineage={"data": [lineage]}),)
    seen = Observed(complete(train, result(obj)), select=select, champion=CHAMPION, versions=versions)
    obj, _ = step(obj, seen)
    obj, plan = step(obj, seen)
    assert plan.create is not None
    seen = replace(seen, evaluate=complete(plan.create, evaluation("0.72", "0.71")))
    for _ in range(2):
        obj, plan = step(obj, seen)
    told = {gate["detail"].partition("; ")[0]: gate["detail"] for gate in obj["status"]["gates"]}
    (versus,) = (detail for detail in told.values() if "champion" in detail)
    assert versus.endswith("(day 2026-02-22 to 2026-02-28): the comparison favours it")
    assert sum("favours" in detail for detail in told.values()) == 1
