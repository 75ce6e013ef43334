"""A loop whose runs would have no end, or that its budget would not count, starts none and says why."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.domain.test_triggers_plan import Loop, training, weekly
from tests.unit.domain.training_world import deployment, training_job

from noria_operator.domain.triggers_template import unusable

Json = dict[str, Any]

FRESH: Json = {"name": "fresh", "dataChange": {"data": "train"}}
TRACKED: Json = {"name": "fresh", "dataChange": {"data": "train", "dvcFile": "flights.dvc"}}


def template(**spec: Any) -> Json:
    return {"spec": training_job(deployment=None, **spec)["spec"]}


def writing(data: str, output: str) -> Json:
    holdout = {"name": "holdout", "uri": "pvc://lake/holdout"}
    return template(data=[{"name": "train", "uri": data}, holdout], output={"uri": output})


@pytest.mark.parametrize(
    ("trigger", "data", "output", "refused"),
    [
        (FRESH, "pvc://ml/flights", "pvc://ml/flights/models", True),
        (FRESH, "pvc://ml/flights/", "pvc://ml/flights", True),
        (FRESH, "s3://lake", "s3://lake/models", True),
        (FRESH, "pvc://ml/flights", "pvc://ml/flights-models", False),
        (FRESH, "pvc://ml/flights/rows", "pvc://ml/flights", False),
        (FRESH, "pvc://ml/flights", "pvc://models/flights/models", False),
        (TRACKED, "pvc://ml/flights", "pvc://ml/flights/models", False),
        ({"name": "fresh", "schedule": "0 2 * * 1"}, "pvc://ml/flights", "pvc://ml/flights/models", False),
    ],
)
def test_a_run_may_not_write_into_what_a_trigger_watches(
    trigger: Json, data: str, output: str, refused: bool
) -> None:
    said = unusable(training(triggers=[trigger], template=writing(data, output)), deployment(1))
    assert ("trigger fresh watches" in said) is refused
    assert ("each run would start the next one" in said) is refused


@pytest.mark.parametrize(
    ("own", "combined", "refused"),
    [
        ("Observe", None, False),
        ("Warn", None, False),
        ("Block", None, False),
        ("Retrain", None, True),
        ("Observe", {}, False),  # the schedule has to come, too
        ("Observe", {"atLeast": 1}, True),
    ],
)
def test_a_trigger_that_starts_no_run_by_itself_may_see_what_runs_write(
    own: str, combined: Json | None, refused: bool
) -> None:
    either = {"name": "either", "combine": {"of": ["fresh", "quality"], **(combined or {})}}
    quality = {"name": "quality", "performance": {"metric": "auc", "min": "0.6"}, "action": "Observe"}
    rest = [quality] if combined is None else [quality, either]
    inside = writing("pvc://ml/flights", "pvc://ml/flights/models")
    said = unusable(training(triggers=[FRESH | {"action": own}, *rest], template=inside), deployment(1))
    assert ("trigger fresh watches" in said) is refused


@pytest.mark.parametrize(
    ("resources", "refused"),
    [
        (None, True),
        ({"requests": {"memory": "1Gi"}}, True),
        ({"requests": {"cpu": "500m"}}, False),
        ({"limits": {"cpu": 2}}, False),
    ],
)
def test_hours_of_cpus_are_limited_only_where_runs_ask_for_cpus(
    resources: Json | None, refused: bool
) -> None:
    asked = template(**({"resources": resources} if resources else {}))
    obj = training(budget={"maxCpuHours": "48", "per": "24h"}, template=asked)
    said = unusable(obj, deployment(1))
    assert ("set template.spec.resources.requests.cpu" in said) is refused
    assert unusable(training(budget={"maxRuns": 3, "per": "24h"}, template=asked), deployment(1)) == ""


def test_what_cannot_be_used_is_told_in_conditions_and_starts_nothing() -> None:
    loop = Loop(triggers=[FRESH], template=writing("pvc://ml/flights", "pvc://ml/flights/models"))
    loop.step(weekly())
    found = {one["type"]: one for one in loop.status["conditions"]}
    assert (found["Stalled"]["status"], found["Stalled"]["reason"]) == ("True", "InvalidSpec")
    assert "each run would start the next one" in found["Stalled"]["message"]
    assert (loop.status["blockedBy"], loop.jobs) == ("InvalidSpec", {})
