"""A ModelVersion is approved only after its artifact was read, and archived only when nobody uses it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.domain.training_world import (
    DIGEST,
    IMAGES,
    NOW,
    complete,
    deployment,
    ended_pod,
    job,
    pod,
    served,
    version,
)

from noria_operator.api.modelversion import ModelVersion, ModelVersionStatus
from noria_operator.api.parsing import parse_as
from noria_operator.domain.job_shape import Images
from noria_operator.domain.retention import KEEP_ANNOTATION
from noria_operator.domain.training_runs import Run
from noria_operator.domain.verification import Matter, Registry, VersionPlan, decide

Json = dict[str, Any]


def step(
    obj: Json,
    run: Run | None = None,
    registry: Registry | None = None,
    minutes: float = 0,
    images: Images = IMAGES,
) -> tuple[Json, VersionPlan]:
    now = NOW + timedelta(minutes=minutes)
    plan = decide(Matter(obj, parse_as(ModelVersion, obj), run, registry or Registry(), images, now))
    ModelVersionStatus.model_validate(plan.status)
    return obj | {"status": plan.status}, plan


def fresh() -> tuple[Json, Json]:
    """A new version and its verification Job."""
    obj, plan = step(version(2, phase="Pending"))
    assert plan.create is not None
    assert obj["status"]["phase"] == "Validating"
    return obj, plan.create


def said(**body: Any) -> str:
    return json.dumps({"schema": "noria.verification/v1"} | body)


def condition(obj: Json, name: str) -> Json:
    return next(one for one in obj["status"]["conditions"] if one["type"] == name)


def test_a_version_is_approved_after_its_artifact_was_read() -> None:
    obj, body = fresh()
    assert condition(obj, "ArtifactReady")["status"] == "Unknown"
    assert condition(obj, "Ready")["status"] == "False"
    obj, _ = step(obj, complete(body, said(digest=DIGEST, bytes=9)))
    assert obj["status"]["phase"] == "Approved"
    assert condition(obj, "Ready")["status"] == condition(obj, "ArtifactReady")["status"] == "True"
    assert [one["to"] for one in obj["status"]["history"]] == ["Validating", "Approved"]
    assert step(obj, None, minutes=60)[0] == obj


@pytest.mark.parametrize(
    ("run", "reason", "says"),
    [
        (lambda body: complete(body, said(digest="sha256:" + "f" * 64)), "DigestMismatch", "ffff"),
        (
            lambda body: Run(
                job(body, "Failed"),
                (ended_pod(said(error={"reason": "ArtifactNotFound", "message": "no noria.json"}), code=1),),
            ),
            "ArtifactMissing",
            "no noria.json",
        ),
        (
            lambda body: Run(
                job(body, "Failed"),
                (ended_pod(said(error={"reason": "DigestMismatch", "message": "changed"}), code=1),),
            ),
            "DigestMismatch",
            "changed",
        ),
    ],
)
def test_a_version_that_is_not_what_it_says_is_rejected_for_good(run: Any, reason: str, says: str) -> None:
    obj, body = fresh()
    obj, plan = step(obj, run(body))
    assert obj["status"]["phase"] == "Rejected"
    assert condition(obj, "Stalled")["reason"] == reason
    assert condition(obj, "ArtifactReady")["status"] == "False"
    assert "pvc://models/flights/2" in obj["status"]["message"]
    assert says in obj["status"]["message"]
    assert plan.notices[0].type == "Warning"
    assert "verification" not in obj["status"]
    final, plan = step(obj, None, minutes=1)
    assert (final, plan.create) == (obj, None)


REFUSED = said(error={"reason": "StorageUnavailable", "message": "503 SlowDown"})
NO_ROOM = pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "Insufficient cpu"}])


@pytest.mark.parametrize(
    ("run", "minutes", "reason", "says"),
    [
        (lambda body: Run(job(body), (NO_ROOM,)), 61, "Unschedulable", "Insufficient cpu"),
        (lambda body: Run(job(body), (pod(),)), 61, "PendingDeadline", "no pod of Job"),
        (
            lambda body: Run(job(body, "Failed"), (ended_pod(REFUSED, code=3),)),
            1,
            "StorageUnavailable",
            "SlowDown",
        ),
        (
            lambda body: Run(job(body, "Failed"), (ended_pod("", code=137, reason="OOMKilled"),)),
            1,
            "VerificationFailed",
            "out of memory; this Job of Noria's has 4Gi",
        ),
        (lambda body: complete(body, ""), 1, "ResultMissing", "no result"),
        (lambda body: Run(job(body, "Complete"), ()), 1, "ResultMissing", "removed before"),
    ],
)
def test_a_version_that_nobody_could_read_is_verified_again(
    run: Any, minutes: float, reason: str, says: str
) -> None:
    obj, body = fresh()
    obj, plan = step(obj, run(body), minutes=minutes)
    assert (obj["status"]["phase"], plan.create) == ("Validating", None)
    assert condition(obj, "ArtifactReady") | {"reason": reason, "status": "Unknown"} == condition(
        obj, "ArtifactReady"
    )
    assert says in obj["status"]["message"]
    assert [notice.reason for notice in plan.notices] == [reason]
    assert obj["status"]["verification"]["attempt"] == 2
    due = plan.due
    assert due is not None
    waiting, plan = step(obj, None, minutes=minutes)
    assert (waiting, plan.create, plan.due, plan.notices) == (obj, None, due, ())
    obj, plan = step(obj, None, minutes=(due - NOW) / timedelta(minutes=1))
    assert plan.create is not None
    assert plan.create["metadata"]["name"] == "flights-2-verify-2"
    obj, _ = step(obj, complete(plan.create, said(digest=DIGEST)), minutes=90)
    assert obj["status"]["phase"] == "Approved"
    assert "verification" not in obj["status"]
    assert [one["to"] for one in obj["status"]["history"]] == ["Validating", "Approved"]


def test_it_is_tried_again_after_ever_longer_up_to_an_hour() -> None:
    (obj, body), minutes, waits = fresh(), 0.0, []
    for _ in range(9):
        obj, plan = step(obj, Run(job(body, "Failed"), (ended_pod("", code=4),)), minutes=minutes)
        assert plan.due is not None
        wait = (plan.due - NOW) / timedelta(minutes=1) - minutes
        waits.append(wait)
        minutes += wait
        obj, plan = step(obj, None, minutes=minutes)
        assert plan.create is not None
        body = plan.create
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_version_that_must_be_signed_is_approved_only_when_its_verification_says_by_whom() -> None:
    signed = replace(IMAGES, fetching={"NORIA_REQUIRE_SIGNATURE": "1"})
    key = "sha256:" + "d" * 64
    obj, body = fresh()
    good, _ = step(obj, complete(body, said(digest=DIGEST, signer=key)), images=signed)
    assert good["status"]["phase"] == "Approved"
    assert key in good["status"]["message"]
    for unsigned in (said(digest=DIGEST), said(digest=DIGEST, signer=None)):
        bad, _ = step(obj, complete(body, unsigned), images=signed)
        assert bad["status"]["phase"] == "Rejected"
        assert condition(bad, "Stalled")["reason"] == "SignatureMissing"
        assert step(obj, complete(body, unsigned))[0]["status"]["phase"] == "Approved"


def test_a_version_that_waits_says_for_what() -> None:
    obj, body = fresh()
    unscheduled = pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "Insufficient cpu"}])
    obj, plan = step(obj, Run(job(body), (unscheduled,)))
    assert "Insufficient cpu" in obj["status"]["message"]
    assert plan.due is not None


def test_who_serves_it_is_shown_and_a_phase_set_by_hand_stays() -> None:
    obj = version(1, phase="Approved")
    registry = Registry([obj], [deployment(1), deployment(2, name="other", previous=served(1))])
    obj, _ = step(obj, None, registry)
    assert obj["status"]["servedBy"] == ["flights (stable)", "other (previous)"]
    obj["status"]["phase"] = "Rejected"
    obj, plan = step(obj, None, registry)
    assert obj["status"]["phase"] == "Rejected"
    assert "by hand" in obj["status"]["message"]
    assert "still used by flights (stable), other (previous)" in obj["status"]["message"]
    assert obj["status"]["history"][-1]["from"] == "Approved"
    assert plan.create is None
    assert step(obj, None, registry)[0] == obj
    freed, _ = step(obj, None, Registry())
    assert "still used" not in freed["status"]["message"]


def test_an_approved_version_says_so_again_after_a_pass_that_stalled() -> None:
    obj, body = fresh()
    obj, _ = step(obj, complete(body, said(digest=DIGEST)))
    stalled = json.loads(json.dumps(obj))
    stalled["status"]["message"] = "Job 'flights-2-verify' exists"
    for one in stalled["status"]["conditions"]:
        if one["type"] in ("Ready", "Reconciling", "Stalled"):
            one |= {"reason": "NameConflict", "message": "Job 'flights-2-verify' exists"}
    assert step(stalled)[0] == obj


def test_a_version_that_waits_for_people_is_left_to_them() -> None:
    obj, plan = step(version(1, phase="PendingApproval"))
    assert (obj["status"]["phase"], plan.create) == ("PendingApproval", None)


def test_an_old_version_is_archived_only_with_a_full_view() -> None:
    old, new = version(1), version(2)
    new["metadata"]["annotations"] = {KEEP_ANNOTATION: "1"}
    assert step(old, None, Registry([old, new], [], complete=False))[0]["status"]["phase"] == "Approved"
    assert step(old, None, Registry([old, new], [deployment(1)]))[0]["status"]["phase"] == "Approved"
    obj, plan = step(old, None, Registry([old, new], [deployment(2)]))
    assert obj["status"]["phase"] == "Archived"
    assert plan.notices[0].reason == "Archived"


def test_the_history_keeps_the_last_twenty_changes() -> None:
    obj = version(1)
    for number in range(30):
        obj["status"] = obj["status"] | {"phase": "Rejected" if number % 2 else "PendingApproval"}
        obj, _ = step(obj, None, minutes=number)
    assert len(obj["status"]["history"]) == 20
    assert obj["status"]["history"][-1]["to"] == "Rejected"
