"""A loop that is given another deployment begins anew, and one that keeps its own forgets nothing."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.domain.test_triggers_plan import training
from tests.unit.domain.training_world import deployment

from noria_operator.domain.triggers_moved import of_its_deployment

Json = dict[str, Any]

RUN: Json = {"at": "2026-03-01T00:00:00Z", "trigger": "quality", "trainingJob": "flights-1"}
STATUS: Json = {
    "deployment": "staging",
    "triggers": [{"name": "quality", "best": "0.9", "version": "flights-1", "state": {"labels": 7}}],
    "runs": [{**RUN, "result": "Kept"}, {**RUN, "answers": {"errors": [{}]}}],
    "lastTrigger": {"name": "quality", "trainingJob": "flights-1"},
    "followUp": {"at": "2026-03-04T00:00:00Z", "of": "flights-1"},
    "queued": {
        "trigger": "quality",
        "reason": "Performance",
        "at": "2026-03-01T00:00:00Z",
        "answers": {"a": []},
    },
    "commands": {"retrain": "id-1"},
}


def loop(**status: Any) -> Json:
    return training(deployment="flights") | {"status": STATUS | status}


def test_what_was_found_of_another_deployment_is_forgotten_and_its_runs_are_not() -> None:
    found = of_its_deployment(loop(), deployment(1))["status"]
    assert found == {
        "deployment": "flights",
        "runs": [{**RUN, "result": "Kept"}, RUN],
        "lastTrigger": STATUS["lastTrigger"],
        "commands": {"retrain": "id-1"},
    }


def test_what_a_person_asked_for_waits_on() -> None:
    asked = {"trigger": "Manual", "reason": "Manual", "at": "2026-03-01T00:00:00Z"}
    found = of_its_deployment(loop(queued=asked | {"answers": {"errors": [{}]}}), deployment(1))
    assert found["status"]["queued"] == asked


@pytest.mark.parametrize(("known", "seen"), [("flights", deployment(1)), ("staging", None)])
def test_nothing_is_forgotten_for_its_own_deployment_nor_for_one_that_is_not_there(
    known: str, seen: Json | None
) -> None:
    obj = loop(deployment=known)
    assert of_its_deployment(obj, seen) is obj


def test_the_status_of_an_earlier_release_is_of_the_deployment_that_is_named_now() -> None:
    before = {name: value for name, value in STATUS.items() if name != "deployment"}
    obj = training(deployment="flights") | {"status": before}
    assert of_its_deployment(obj, deployment(1))["status"] == before | {"deployment": "flights"}
