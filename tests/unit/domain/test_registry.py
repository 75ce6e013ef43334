"""Numbers of versions only grow, and a TrainingJob has one version."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.domain.training_world import deployment, served, training_job, version

from noria_operator.domain.registry import made_by, next_number, number_of, remembered


def test_the_first_version_is_number_one() -> None:
    assert next_number("flights", versions=[], jobs=[], deployments=[]) == 1


def test_a_number_is_taken_by_whatever_remembers_it() -> None:
    reserved = training_job() | {"status": {"reservedVersion": 5}}
    refused = {"version": "flights-9", "revision": "abcdef", "reason": "errors"}
    serving = deployment(3, previous=served(7), rejected=[refused])
    assert next_number("flights", versions=[version(2)], jobs=[], deployments=[]) == 3
    assert next_number("flights", versions=[version(2)], jobs=[reserved], deployments=[]) == 6
    assert next_number("flights", versions=[version(2)], jobs=[reserved], deployments=[serving]) == 10


def test_other_models_do_not_count() -> None:
    other = version(8, model="flights-2")
    assert next_number("flights", versions=[other], jobs=[training_job(model="taxis")], deployments=[]) == 1
    assert number_of("flights", "flights-2-8") == 0
    assert number_of("flights", "flights-08") == 0
    assert number_of("flights", "flights-2147483647") == 2**31 - 1


def test_a_version_is_found_by_the_uid_of_its_training_job() -> None:
    mine = version(2, lineage={"trainingJob": {"name": "run", "uid": "u2"}})
    assert made_by("u2", [version(1), mine]) == mine
    assert made_by("", [version(1, lineage={"trainingJob": {"name": "run", "uid": "u1"}})]) is None
    assert made_by("u3", [version(1), mine]) is None


actions = st.lists(st.sampled_from(["reserve", "create", "delete", "forget"]), max_size=40)


@given(actions)
def test_no_number_is_handed_out_twice_while_anything_remembers_it(steps: list[str]) -> None:
    handed: list[int] = []
    versions, jobs = [], []
    for step in steps:
        if step == "reserve":
            number = next_number("flights", versions=versions, jobs=jobs, deployments=[])
            handed.append(number)
            jobs.append(training_job(f"run-{number}") | {"status": {"reservedVersion": number}})
        elif step == "create" and jobs:
            versions.append(version(jobs[-1]["status"]["reservedVersion"]))
        elif step == "delete" and len(versions) > 1:
            versions.pop(0)
        elif step == "forget" and len(jobs) > 1:
            jobs.pop(0)
    assert handed == sorted(set(handed))


def test_a_deployment_remembers_what_it_served_and_refused() -> None:
    found = deployment(1, candidate=served(3), history=[{"event": "Promoted", "version": "flights-2"}])
    assert set(remembered(found)) == {"flights-1", "flights-2", "flights-3"}


def test_a_version_that_was_aborted_before_anybody_made_it_takes_no_number() -> None:
    """Somebody will make `flights-2`; `flights-60` was mistyped."""
    rejected = [{"version": "flights-2", "revision": "", "reason": "abort"}, {"version": "flights-60"}]
    history = [
        {"event": "RolloutCancelled", "version": "flights-60", "message": "will not be tried"},
        {"event": "RolloutRetried", "version": "flights-2", "message": "may be tried again"},
    ]
    found = deployment(1, rejected=rejected, history=history)
    assert next_number("flights", versions=[version(1)], jobs=[], deployments=[found]) == 2
