"""A change of stored data asks for a run once it has settled, and once only."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.domain.training_world import IMAGES, NOW, complete, ended_pod, job, training_job

from noria_operator.api.continuoustraining import TriggerStatus
from noria_operator.api.parsing import parse_as
from noria_operator.api.trainingjob import TrainingJob
from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.training_jobs import fingerprint_job, fingerprint_name
from noria_operator.domain.training_runs import Run
from noria_operator.domain.triggers import Request
from noria_operator.domain.triggers_data import Looking, asked_at, data_change

Json = dict[str, Any]
LOOP = {"metadata": {"name": "flights", "namespace": "demo", "uid": "ct-1"}}


def digest(letter: str) -> str:
    return f"sha256:{letter * 64}"


class Watch:
    """A trigger, what it says, and the Job that looks; passes go on until there is nothing to do at once."""

    def __init__(self, **rule: Any) -> None:
        body = {"data": "train", "every": "1h", "settle": "10m"} | rule
        self.trigger = TriggerSpec.model_validate({"name": "fresh", "dataChange": body})
        self.entry: Json = {}
        self.run: Run | None = None
        self.made: list[str] = []
        self.now = NOW
        self.body: Json | None = None

    def job(self, at: str) -> Json:
        spec = parse_as(TrainingJob, training_job()).spec
        name = fingerprint_name("flights", "ct-1", "fresh", at)
        return fingerprint_job(LOOP, spec, spec.data[0], IMAGES, name=name, dvc_file=None)

    def step(self) -> Request:
        said = data_change(self.trigger, self.entry, Looking(self.run, self.job), self.now)
        TriggerStatus.model_validate(said.entry)
        self.entry = said.entry
        if said.job is not None and said.job["metadata"]["name"] not in self.made:
            self.made.append(said.job["metadata"]["name"])
            self.body = said.job
            self.run = Run(job(said.job, at=self.now), ())
        if said.drop:
            assert self.run is not None
            assert said.drop == self.run.name
            self.run = None
        return said

    def look(self, found: str | None) -> Request:
        """One look that finds this digest, or fails; passes before and after it."""
        self.step()
        self.step()
        assert self.body is not None
        if found is None:
            refused = {
                "schema": "noria.fingerprint/v1",
                "error": {"reason": "ArtifactNotFound", "message": "gone"},
            }
            self.run = Run(job(self.body, "Failed"), (ended_pod(json.dumps(refused), code=1),))
        else:
            word = {"schema": "noria.fingerprint/v1", "digest": found, "files": 3, "bytes": 99}
            self.run = complete(self.body, json.dumps(word))
        return self.step()


def test_the_first_look_is_made_at_once_and_what_it_finds_is_known() -> None:
    watch = Watch()
    assert watch.step().again
    asked = asked_at(watch.entry)
    assert watch.step().job is not None
    assert watch.made == [fingerprint_name("flights", "ct-1", "fresh", asked)]
    said = watch.look(digest("a"))
    assert (said.wanted, said.entry["decision"], watch.run) == (False, "No", None)
    assert watch.step().due == NOW + timedelta(hours=1)


def test_a_change_asks_once_it_was_seen_again_after_it_settled() -> None:
    watch = Watch()
    watch.look(digest("a"))
    watch.now += timedelta(hours=1)
    said = watch.look(digest("b"))
    assert (said.wanted, said.entry["decision"]) == (False, "Wait")
    assert watch.step().due == watch.now + timedelta(minutes=10)
    watch.now += timedelta(minutes=10)
    said = watch.look(digest("c"))
    assert not said.wanted
    watch.now += timedelta(minutes=10)
    said = watch.look(digest("c"))
    assert said.wanted
    assert "3 files" in said.says
    watch.entry = said.entry | said.answer
    assert (watch.step().wanted, watch.entry["decision"]) == (False, "No")


def test_any_run_makes_what_was_seen_last_the_known_state() -> None:
    watch = Watch()
    watch.look(digest("a"))
    watch.now += timedelta(hours=1)
    waiting = watch.look(digest("b"))
    assert (waiting.wanted, waiting.answered_by) == (False, "Any")
    watch.entry = waiting.entry | waiting.answer
    watch.now += timedelta(hours=1)
    assert not watch.look(digest("b")).wanted


def test_data_that_goes_back_to_what_was_known_asks_for_nothing() -> None:
    watch = Watch(settle="0s")
    watch.look(digest("a"))
    watch.now += timedelta(hours=1)
    assert watch.look(digest("b")).wanted
    watch.now += timedelta(hours=1)
    assert not watch.look(digest("a")).wanted


def test_a_crash_before_the_job_is_made_makes_the_same_job() -> None:
    watch = Watch()
    watch.step()
    before = watch.step()
    watch.run = None
    watch.now += timedelta(minutes=5)
    assert watch.step().job == before.job


@pytest.mark.parametrize(("every", "again"), [("24h", timedelta(minutes=10)), ("2m", timedelta(minutes=2))])
def test_a_look_that_fails_is_said_and_tried_again_soon(every: str, again: timedelta) -> None:
    watch = Watch(every=every)
    watch.look(digest("a"))
    watch.now += timedelta(days=1)
    said = watch.look(None)
    assert (said.entry["decision"], said.wanted) == ("Error", False)
    assert "gone" in said.entry["message"]
    assert watch.step().due == watch.now + again
    watch.now += again
    assert watch.look(digest("a")).entry["decision"] == "No"


def test_a_run_while_the_location_cannot_be_read_makes_known_what_was_seen_before() -> None:
    watch = Watch(settle="0s")
    watch.look(digest("a"))
    watch.now += timedelta(hours=1)
    assert watch.look(digest("b")).wanted
    watch.now += timedelta(hours=1)
    failed = watch.look(None)
    assert (failed.wanted, failed.answered_by) == (False, "Any")
    watch.entry = failed.entry | failed.answer
    watch.now += timedelta(hours=1)
    assert not watch.look(digest("b")).wanted
    assert watch.look(digest("b")).entry["decision"] == "No"


def test_another_data_set_starts_anew() -> None:
    watch = Watch()
    watch.look(digest("a"))
    other = Watch(data="holdout")
    other.entry = watch.entry
    assert other.step().again
    assert other.entry["decision"] == "Wait"


def test_a_dvc_file_that_speaks_for_the_data_from_now_on_is_no_change_of_them() -> None:
    watch = Watch(settle="0s")
    watch.look(digest("a"))
    for found in (f"md5:{'b' * 32}", digest("c")):
        watch.now += timedelta(hours=1)
        said = watch.look(found)
        assert (said.wanted, said.entry["decision"], said.entry["reason"]) == (False, "No", "Unchanged")
    watch.now += timedelta(hours=1)
    assert watch.look(digest("d")).wanted


def test_the_job_reads_one_location_and_goes_by_itself() -> None:
    watch = Watch(dvcFile="flights.dvc")
    body = watch.job("2026-03-01T12:00:00Z")
    pod = body["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    env = {one["name"]: one.get("value") for one in container["env"]}
    assert env["NORIA_LOCATION"] == "/noria/volumes/lake/flights"
    assert all(
        mount.get("readOnly") for mount in container["volumeMounts"] if "volumes" in mount["mountPath"]
    )
    assert body["spec"]["ttlSecondsAfterFinished"] == 3600
