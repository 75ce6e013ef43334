"""A TrainingJob goes from its Job to its ModelVersion, one recorded step at a time."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.unit.domain.training_world import (
    CHAMPION,
    DIGEST,
    NOW,
    UID,
    after,
    case,
    complete,
    condition,
    deployment,
    ended_pod,
    evaluation,
    job,
    pod,
    result,
    served,
    step,
    training_job,
    version,
)

from noria_operator.api.modelversion import ModelVersion
from noria_operator.api.parsing import parse_as
from noria_operator.domain.training import decide, refuse
from noria_operator.domain.training_plan import Observed
from noria_operator.domain.training_runs import Run
from noria_serving.contract import CODE_FORMATS

Json = dict[str, Any]
MD5 = "md5:" + "e" * 32

NOT_HANDED_OVER = json.dumps({"error": {"reason": "StorageUnavailable", "message": "no store"}})
"""What the bundle library leaves as the result when it cannot upload."""


def trained(**spec: Any) -> tuple[Json, Run]:
    """A TrainingJob whose trainer has handed over, and its training Job."""
    obj, plan = step(training_job(**spec))
    assert plan.create is not None
    run = complete(plan.create, result(obj))
    obj, plan = step(obj, Observed(run))
    assert plan.again
    return obj, run


def test_a_whole_run_reserves_its_number_before_it_makes_the_version() -> None:
    obj, train = trained()
    assert obj["status"]["claims"] == {"auc": "0.99"}
    obj, plan = step(obj, Observed(train, champion=CHAMPION))
    assert plan.create is not None
    assert plan.create["metadata"]["name"] == "flights-1-evaluate"
    assert obj["status"]["phase"] == "Evaluating"
    seen = Observed(train, complete(plan.create, evaluation()), CHAMPION, [version(1)])
    obj, _ = step(obj, seen)
    assert obj["status"]["evaluation"]["championVersion"] == "flights-1"
    obj, _ = step(obj, seen)
    assert [gate["result"] for gate in obj["status"]["gates"]] == ["Pass", "Pass"]
    obj, plan = step(obj, seen)
    assert (obj["status"]["reservedVersion"], plan.create) == (2, None)
    obj, plan = step(obj, seen)
    made = plan.create
    assert made is not None
    assert made["metadata"]["name"] == "flights-2"
    stored = parse_as(ModelVersion, made)
    assert stored.spec.lineage.parent == "flights-1"
    assert stored.spec.evaluation is not None
    assert stored.spec.evaluation.metrics.keys() == {"auc"}
    assert stored.spec.reference is not None
    obj, plan = step(obj, Observed(train, seen.evaluate, CHAMPION, [version(1), made]))
    assert (obj["status"]["phase"], obj["status"]["modelVersion"]) == ("Succeeded", "flights-2")
    assert condition(obj, "Complete")["status"] == "True"
    assert condition(obj, "Ready")["status"] == "True"
    again, plan = step(obj, Observed(train, seen.evaluate, CHAMPION, [version(1), made]))
    assert again == obj
    assert plan.create is None


SLICE_ROW = ["sex", "f", 400, "auc"]


@pytest.mark.parametrize(
    ("row", "phase"),
    [([*SLICE_ROW, "0.60", "0.70", "0.01"], "Failed"), ([*SLICE_ROW, "0.70", "0.70", "0.01"], None)],
)
def test_a_loss_in_one_slice_refuses_a_model_that_is_better_on_the_whole(row: list[Any], phase: str) -> None:
    gates = [{"metric": "auc", "versus": "champion", "maxDrop": "0.02", "bySlice": True}]
    obj, train = trained(slices=[{"feature": "sex"}], gates=gates)
    obj, plan = step(obj, Observed(train, champion=CHAMPION))
    assert plan.create is not None
    more = {"errors": {"auc": "0.004"}, "slices": [row], "slicesLeftOut": 1}
    said = json.dumps(json.loads(evaluation()) | more)
    seen = Observed(train, complete(plan.create, said), CHAMPION, [version(1)])
    obj, _ = step(obj, seen)
    assert obj["status"]["evaluation"]["slices"][0]["group"] == "f"
    assert obj["status"]["evaluation"]["slicesLeftOut"] == 1
    assert obj["status"]["evaluation"]["errors"] == {"auc": "0.004"}
    obj, _ = step(obj, seen)
    if phase == "Failed":
        assert condition(obj, "Failed")["reason"] == "GateFailed"
        assert "sex=f (400 rows) 0.60 against 0.70" in condition(obj, "Failed")["message"]
        return
    obj, _ = step(obj, seen)
    obj, plan = step(obj, seen)
    assert plan.create is not None
    stored = parse_as(ModelVersion, plan.create)
    assert stored.spec.evaluation is not None
    assert [(one.feature, one.rows) for one in stored.spec.evaluation.slices] == [("sex", 400)]
    assert stored.spec.evaluation.versus is not None
    assert stored.spec.evaluation.versus.errors == {"auc": Decimal("0.004")}


def test_a_version_says_how_fast_the_trainer_found_it() -> None:
    obj, plan = step(training_job(evaluation=None, gates=None))
    assert plan.create is not None
    said = {"speedup": "24.6", "microseconds": "7.31"}
    train = complete(plan.create, result(obj, speed=said))
    obj, _ = step(obj, Observed(train))
    obj, _ = step(obj, Observed(train))
    obj, plan = step(obj, Observed(train))
    assert plan.create is not None
    assert plan.create["spec"]["speed"] == said
    assert parse_as(ModelVersion, plan.create).spec.speed is not None


@pytest.mark.parametrize(
    ("lineage", "known"), [({}, False), ({"data": [{"name": "train", "uri": "s3://elsewhere/rows"}]}, True)]
)
def test_a_gate_says_where_nobody_knows_whether_the_champion_learnt_its_rows(
    lineage: Json, known: bool
) -> None:
    obj, train = trained()
    obj, plan = step(obj, Observed(train, champion=CHAMPION))
    assert plan.create is not None
    seen = Observed(train, complete(plan.create, evaluation()), CHAMPION, [version(1, lineage=lineage)])
    for _ in range(2):
        obj, _ = step(obj, seen)
    told = {("not known whether the champion" in one["detail"]): one for one in obj["status"]["gates"]}
    assert {one["result"] for one in told.values()} == {"Pass"}, "it is said, and refuses nothing"
    assert (True in told) is not known
    assert False in told, "a gate against a number alone asks for no champion"


def test_without_evaluation_the_version_is_made_from_claims_alone() -> None:
    obj, train = trained(evaluation=None, gates=None)
    obj, _ = step(obj, Observed(train))
    obj, plan = step(obj, Observed(train))
    assert plan.create is not None
    assert plan.create["metadata"]["name"] == "flights-1"
    assert "evaluation" not in plan.create["spec"]


@pytest.mark.parametrize("form", CODE_FORMATS)
def test_a_model_that_runs_code_is_taken_only_where_the_administrator_allows_that(form: str) -> None:
    obj, plan = step(training_job())
    assert plan.create is not None
    artifact = json.loads(result(obj))["artifact"] | {"format": form}
    run = complete(plan.create, result(obj, artifact=artifact))
    refused, _ = step(obj, Observed(run))
    assert condition(refused, "Failed")["reason"] == "ResultInvalid"
    assert "allowCodeNamespaces" in refused["status"]["message"]
    asked = case(obj, Observed(run))
    allowed = replace(asked, images=replace(asked.images, allow_code=True))
    assert decide(allowed).status["artifact"]["format"] == form


@pytest.mark.parametrize(("stated", "recorded"), [([{"name": "train", "digest": DIGEST}], DIGEST), ([], MD5)])
def test_a_run_records_the_image_that_ran_and_the_data_as_they_were_read(
    stated: list[Json], recorded: str
) -> None:
    data = [{"name": "train", "uri": "pvc://lake/flights", "digest": MD5}]
    obj, plan = step(training_job(evaluation=None, gates=None, data=data))
    assert plan.create is not None
    train = complete(plan.create, result(obj, data=stated))
    obj, _ = step(obj, Observed(train))
    resolved = obj["status"]["resolved"]
    assert resolved["image"] == "docker.io/noria/train@sha256:" + "d" * 64
    assert resolved["data"] == [{"name": "train", "digest": recorded}]
    obj, _ = step(obj, Observed(train))
    _, plan = step(obj, Observed(train))
    assert plan.create is not None
    lineage = parse_as(ModelVersion, plan.create).spec.lineage
    assert (lineage.image, lineage.data[0].digest) == (resolved["image"], recorded)


def test_the_lineage_holds_every_parameter_as_the_trainer_was_given_it() -> None:
    params = {"prompt": "two  spaces,\ttabs\nand lines", "max_depth": "6"}
    obj, train = trained(evaluation=None, gates=None, params=params)
    obj, _ = step(obj, Observed(train))
    _, plan = step(obj, Observed(train))
    assert plan.create is not None
    assert parse_as(ModelVersion, plan.create).spec.lineage.params == params


def test_gates_do_not_read_what_the_trainer_claims() -> None:
    obj, train = trained()
    obj, plan = step(obj, Observed(train))
    assert plan.create is not None
    seen = Observed(train, complete(plan.create, evaluation("0.60", None)))
    obj, _ = step(obj, seen)
    obj, plan = step(obj, seen)
    assert condition(obj, "Failed")["reason"] == "GateFailed"
    assert "0.60 < minimum 0.65" in obj["status"]["message"]
    assert obj["status"]["gates"][1]["detail"].endswith("no champion to compare with yet")
    assert "reservedVersion" not in obj["status"]


def test_the_champion_stays_the_one_that_the_evaluation_was_made_with() -> None:
    obj, train = trained()
    obj, plan = step(obj, Observed(train, champion=CHAMPION))
    assert plan.create is not None
    promoted = type(CHAMPION)("pvc://models/flights/9", CHAMPION.digest, None, "flights-9")
    obj, _ = step(obj, Observed(train, complete(plan.create, evaluation()), promoted))
    assert obj["status"]["evaluation"]["championVersion"] == "flights-1"


ARM: Json = {"strategy": {"experiment": {"arms": [{"version": "flights-3", "weight": 10}]}}}
LATE = {"type": "Stalled", "status": "True", "reason": "ProgressDeadlineExceeded"}


@pytest.mark.parametrize(
    ("serving", "champion"),
    [
        (None, "flights-3"),
        (deployment(None), "flights-3"),
        (deployment(None, candidate=served(3)), "flights-3"),
        (deployment(None, pinned="flights-1"), "flights-1"),
        (deployment(None, pinned="flights-9"), "flights-3"),
        (deployment(None) | {"spec": {"model": "flights"} | ARM}, "flights-2"),
        (deployment(None, rejected=[served(3)]), "flights-2"),
        (deployment(None, candidate=served(3), conditions=[LATE]), "flights-2"),
    ],
    ids=[
        "it was deleted",
        "it was made anew",
        "and begins",
        "it is pinned",
        "to one that is not there",
        "the newest is an arm",
        "was refused",
        "never became ready",
    ],
)
def test_while_nothing_serves_a_model_is_compared_with_what_will(serving: Json | None, champion: str) -> None:
    """Else the newest version, which nothing was compared with, took all traffic as the first one."""
    versions = [version(1), version(3), version(2), version(4, phase="PendingApproval")]
    obj, train = trained()
    seen = Observed(
        train, versions=[*versions, version(7, model="other")], deployments=[serving] if serving else []
    )
    obj, plan = step(obj, seen)
    assert plan.create is not None
    assert f"against {champion}" in obj["status"]["message"]
    obj, _ = step(obj, replace(seen, evaluate=complete(plan.create, evaluation("0.69"))))
    obj, _ = step(obj, replace(seen, evaluate=complete(plan.create, evaluation("0.69"))))
    assert condition(obj, "Failed")["reason"] == "GateFailed"
    assert f"of champion {champion}" in obj["status"]["message"]


def test_a_model_of_no_deployment_is_compared_with_nothing() -> None:
    obj, train = trained(deployment=None, gates=None)
    obj, _ = step(obj, Observed(train, versions=[version(1)]))
    assert "against" not in obj["status"]["message"]


def test_a_champion_whose_version_was_deleted_is_not_taken_for_no_champion() -> None:
    obj, train = trained()
    obj, plan = step(obj, Observed(train, champion_name="flights-1"))
    assert plan.create is None
    assert condition(obj, "Failed")["reason"] == "GateFailed"
    assert (
        "ModelVersion flights-1, the champion of ModelDeployment flights, was deleted"
        in obj["status"]["message"]
    )
    assert "make it again" in obj["status"]["message"]
    assert [(gate["metric"], gate["result"]) for gate in obj["status"]["gates"]] == [("auc", "Fail")]


def test_without_a_gate_against_it_a_deleted_champion_stops_nothing() -> None:
    obj, train = trained(gates=[{"metric": "auc", "min": "0.65"}])
    obj, plan = step(obj, Observed(train, champion_name="flights-1"))
    assert plan.create is not None
    seen = Observed(train, complete(plan.create, evaluation("0.7", None)), champion_name="flights-1")
    for _ in range(4):
        obj, plan = step(obj, seen)
    assert plan.create is not None
    assert plan.create["spec"]["lineage"]["parent"] == "flights-1"


def test_a_taken_number_is_left_behind() -> None:
    obj, train = trained(evaluation=None, gates=None)
    obj, _ = step(obj, Observed(train))
    obj, plan = step(obj, Observed(train, versions=[version(1)]))
    assert plan.create is None
    assert obj["status"]["reservedVersion"] == 2


def test_the_version_is_found_again_by_uid_after_a_crash() -> None:
    obj, train = trained(evaluation=None, gates=None)
    mine = version(7, lineage={"trainingJob": {"name": "flights-1", "uid": UID}})
    obj, plan = step(obj, Observed(train, versions=[mine]))
    assert plan.create is None
    assert obj["status"]["modelVersion"] == "flights-7"


def test_a_lost_pod_costs_the_version_no_signature() -> None:
    obj, train = trained(gates=None)
    obj, plan = step(obj, Observed(train))
    assert plan.create is not None
    seen = Observed(Run(train.job), complete(plan.create, evaluation("0.7", None)))
    for _ in range(2):
        obj, _ = step(obj, seen)
    _, plan = step(obj, seen)
    assert plan.create is not None
    assert plan.create["spec"]["signature"]["inputs"][0]["name"] == "x"


def rejected() -> Json:
    """A pod that its node refused: no container of it was ever made."""
    return pod("pod-1", "Failed", reason="UnexpectedAdmissionError", message="Allocate failed")


def evicted() -> Json:
    found = ended_pod("", code=137, reason="Error")
    found["status"] |= {"reason": "Evicted", "message": 'Usage of EmptyDir volume "work" exceeds the limit'}
    return found


@pytest.mark.parametrize(
    ("run", "minutes", "reason", "says"),
    [
        (lambda body: complete(body, ""), 0, "ResultMissing", "publish()"),
        (
            lambda body: Run(job(body, "Complete")),
            0,
            "ResultMissing",
            "removed before its result was read",
        ),
        (lambda body: complete(body, "x" * 4096), 0, "ResultInvalid", "4096"),
        (
            lambda body: Run(
                job(body, "Failed", reason="BackoffLimitExceeded"), (ended_pod("boom", code=1),)
            ),
            0,
            "TrainingFailed",
            "kubectl logs pod-1 (it said: boom)",
        ),
        (
            lambda body: Run(
                job(body, "Failed", reason="BackoffLimitExceeded"), (ended_pod(NOT_HANDED_OVER, code=1),)
            ),
            0,
            "TrainingFailed",
            "kubectl logs pod-1 (it said: StorageUnavailable: no store)",
        ),
        (
            lambda body: Run(
                job(body, "Failed", reason="BackoffLimitExceeded"),
                (ended_pod("", code=137, reason="OOMKilled"),),
            ),
            0,
            "TrainingFailed",
            "resources.limits.memory",
        ),
        (
            lambda body: Run(job(body, "Failed", reason="BackoffLimitExceeded"), (rejected(),)),
            0,
            "TrainingFailed",
            "pod pod-1 failed (UnexpectedAdmissionError: Allocate failed) after 1 attempt(s): see kubectl "
            "describe pod pod-1",
        ),
        (
            lambda body: Run(job(body, "Failed", reason="BackoffLimitExceeded"), (evicted(),)),
            0,
            "TrainingFailed",
            'ended with exit code 137 (Evicted: Usage of EmptyDir volume "work" exceeds the limit) after 1 '
            "attempt(s): see kubectl describe pod pod-1",
        ),
        (
            lambda body: Run(job(body, "Failed", reason="PodFailurePolicy"), (ended_pod("", code=42),)),
            0,
            "DoNotRetry",
            "42",
        ),
        (
            lambda body: Run(job(body, "Failed", reason="DeadlineExceeded")),
            0,
            "ActiveDeadline",
            "longer than 9h, its deadline with all that it waited; raise spec.deadlines",
        ),
        (lambda body: Run(job(body)), 61, "PendingDeadline", "no pod could be made"),
        (lambda body: Run(job(body), (pod(),)), 61, "PendingDeadline", "kubectl describe job"),
    ],
)
def test_a_run_that_ends_badly_says_why_and_stays_ended(
    run: Any, minutes: int, reason: str, says: str
) -> None:
    obj, plan = step(training_job())
    assert plan.create is not None
    seen = Observed(run(plan.create))
    obj, plan = step(obj, seen, minutes)
    assert condition(obj, "Failed") | {"message": ""} == condition(obj, "Failed") | {
        "message": "",
        "reason": reason,
    }
    assert condition(obj, "Stalled")["status"] == "True"
    assert says in obj["status"]["message"]
    assert plan.notices[0].reason == reason
    final, plan = step(obj, seen, minutes + 1)
    assert final == obj
    assert plan.create is None


def test_an_evaluation_without_memory_asks_for_no_change_of_what_the_trainer_has() -> None:
    obj, train = trained(resources={"limits": {"memory": "16Gi"}})
    obj, plan = step(obj, Observed(train, champion=CHAMPION))
    assert plan.create is not None
    lost = ended_pod("", code=137, reason="OOMKilled")
    failed = Run(job(plan.create, "Failed", reason="BackoffLimitExceeded"), (lost,))
    obj, _ = step(obj, Observed(train, failed))
    assert condition(obj, "Failed")["reason"] == "EvaluationFailed"
    assert "ran out of memory; this Job of Noria's has 4Gi" in obj["status"]["message"]
    assert "spec.resources" not in obj["status"]["message"]


def test_a_failed_run_stops_what_still_runs() -> None:
    obj, plan = step(training_job())
    assert plan.create is not None
    seen = Observed(Run(job(plan.create), (pod(),)))
    obj, _ = step(obj, seen, 61)
    _, plan = step(obj, seen, 61)
    assert plan.stop == ("flights-1-train",)


def test_a_finished_job_is_deleted_exactly_when_its_time_has_come() -> None:
    obj = refuse(training_job(ttlSecondsAfterFinished=600), "bad", NOW)
    obj = after(training_job(ttlSecondsAfterFinished=600), obj)
    _, plan = step(obj, minutes=9.99)
    assert (plan.delete, plan.due) == (False, NOW + timedelta(minutes=10))
    _, plan = step(obj, minutes=10)
    assert plan.delete
    obj["spec"].pop("ttlSecondsAfterFinished")
    assert step(obj, minutes=10_000)[1].due is None


def test_a_run_that_is_suspended_once_it_is_trained_makes_no_version_until_it_goes_on() -> None:
    obj, train = trained()
    obj["spec"]["suspend"] = True
    obj, plan = step(obj, Observed(train))
    assert (plan.create, obj["status"]["phase"]) == (None, "Suspended")
    obj["spec"]["suspend"] = False
    obj, plan = step(obj, Observed(train))
    assert (obj["status"]["phase"], condition(obj, "Suspended")["status"]) == ("Evaluating", "False")
    body = plan.create
    assert body is not None
    obj["spec"]["suspend"] = True
    obj, plan = step(obj, Observed(train, Run(job(body), (pod(phase="Running"),))))
    assert "Job flights-1-evaluate only reads, and goes on to its end" in obj["status"]["message"]
    seen = Observed(train, complete(body, evaluation("0.72", None)))
    obj, plan = step(obj, seen)
    assert (plan.create, obj["status"]["phase"]) == (None, "Suspended")
    assert "only reads" not in obj["status"]["message"]
    assert obj["status"]["evaluation"]["challenger"] == {"auc": "0.72"}, "only the pod has it"
    seen = Observed(train, Run(job(body, "Complete")))
    for _ in range(2):
        obj, plan = step(obj, seen, 600)
        assert (plan.again, obj["status"]["phase"], "gates" in obj["status"]) == (False, "Suspended", False)
    obj["spec"]["suspend"] = False
    for _ in range(3):
        obj, _ = step(obj, seen)
    obj["spec"]["suspend"] = True
    obj, plan = step(obj, seen)
    assert (plan.create, obj["status"]["reservedVersion"]) == (None, 1)
    mine = version(1, lineage={"trainingJob": {"name": "flights-1", "uid": UID}})
    obj, _ = step(obj, replace(seen, versions=[mine]))
    assert obj["status"]["phase"] == "Succeeded", "what is made is told"


def test_an_evaluation_that_fails_while_the_run_is_suspended_says_why_though_its_pod_goes() -> None:
    obj, train = trained()
    obj, plan = step(obj, Observed(train))
    assert plan.create is not None
    said = json.dumps({"error": {"reason": "NoRows", "message": "data holdout: none"}})
    obj["spec"]["suspend"] = True
    obj, plan = step(obj, Observed(train, Run(job(plan.create, "Failed"), (ended_pod(said, code=1),))))
    assert obj["status"]["phase"] == "Failed"
    assert "NoRows: data holdout: none" in obj["status"]["message"]


def test_a_retry_is_running_and_says_what_happened_before() -> None:
    obj, plan = step(training_job())
    assert plan.create is not None
    refused = json.dumps({"error": {"reason": "StorageUnavailable", "message": "the bucket does not exist"}})
    obj, _ = step(obj, Observed(Run(job(plan.create), (ended_pod(refused, code=3),))))
    assert obj["status"]["phase"] == "Running"
    assert "tries again" in obj["status"]["message"]
    assert "it said: StorageUnavailable: the bucket does not exist" in obj["status"]["message"]


@pytest.mark.parametrize(
    ("lost", "says"),
    [
        (rejected(), "pod pod-1 failed (UnexpectedAdmissionError: Allocate failed); the Job tries again"),
        (evicted(), "exit code 137 (Evicted: Usage of EmptyDir volume"),
        (ended_pod("", code=137, reason="OOMKilled"), "exit code 137 (OOMKilled); the Job tries again"),
    ],
)
def test_a_retry_says_why_the_node_ended_the_pod_before(lost: Json, says: str) -> None:
    obj, plan = step(training_job())
    assert plan.create is not None
    obj, _ = step(obj, Observed(Run(job(plan.create), (lost,))))
    assert (obj["status"]["phase"], says in obj["status"]["message"]) == ("Running", True)


def test_a_refused_spec_is_final_and_an_unchanged_pass_changes_nothing() -> None:
    obj = after(training_job(), refuse(training_job(), "spec.model: wrong", NOW))
    assert condition(obj, "Failed")["reason"] == "InvalidSpec"
    obj, plan = step(training_job())
    assert plan.create is not None
    seen = Observed(Run(job(plan.create), (pod(),)))
    obj, _ = step(obj, seen, 1)
    assert step(obj, seen, 2)[0] == obj


def test_why_a_loop_started_the_run_is_shown_and_handed_on() -> None:
    why = {"reason": "Performance", "name": "quality", "value": "0.61", "threshold": "0.65", "samples": 500}
    obj = training_job(evaluation=None, gates=None)
    obj["metadata"]["annotations"] = {"noria.dev/trigger": json.dumps(why | {"at": "2026-03-01T12:00:00Z"})}
    obj, plan = step(obj)
    assert obj["status"]["trigger"]["value"] == "0.61"
    assert plan.create is not None
    annotations = plan.create["spec"]["template"]["metadata"]["annotations"]
    assert json.loads(annotations["noria.dev/trigger"])["name"] == "quality"
    obj["metadata"]["annotations"] = {"noria.dev/trigger": '{"samples": "many"'}
    assert step(obj, Observed(Run(job(plan.create), (pod(),))))[0]["status"]["phase"] == "Pending"
