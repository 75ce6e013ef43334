"""A pod that cannot run says what is wrong and what to do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.domain.training_world import NOW, job, pod

from noria_operator.domain.training_problems import pod_problem
from noria_operator.domain.training_runs import Run, State, judge_run

Json = dict[str, Any]
BODY: Json = {"metadata": {"name": "flights-1-train"}, "spec": {}}


def unscheduled(message: str, reason: str = "Unschedulable") -> Json:
    return pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": reason, "message": message}])


def waiting(reason: str, message: str = "") -> Json:
    status = {
        "name": "train",
        "image": "repo/train:1",
        "state": {"waiting": {"reason": reason, "message": message}},
    }
    return pod(conditions=[{"type": "PodScheduled", "status": "True"}], containerStatuses=[status])


@pytest.mark.parametrize(
    ("found", "reason", "says"),
    [
        (unscheduled("0/1 nodes are available: 1 Insufficient cpu."), "Unschedulable", "Insufficient cpu"),
        (unscheduled('persistentvolumeclaim "lake" not found'), "VolumeUnavailable", "does not exist"),
        (
            unscheduled("0/1 nodes: pod has unbound immediate PersistentVolumeClaims"),
            "VolumeUnavailable",
            "bound",
        ),
        (unscheduled("1 node(s) had volume node affinity conflict"), "VolumeUnavailable", "ReadWriteMany"),
        (waiting("ErrImagePull", "not found"), "ImagePull", "repo/train:1 cannot be pulled"),
        (waiting("ImagePullBackOff"), "ImagePull", "imagePullSecrets"),
        (
            waiting("CreateContainerConfigError", 'secret "store" not found'),
            "PendingDeadline",
            "create the Secret",
        ),
    ],
)
def test_the_cause_and_the_fix_are_named_at_once_and_kept_at_the_deadline(
    found: Json, reason: str, says: str
) -> None:
    run, hour = Run(job(BODY), (found,)), timedelta(hours=1)
    early = judge_run(run, pending=hour, now=NOW)
    assert (early.state, early.due) == (State.PENDING, NOW + hour)
    assert early.problem is not None
    assert says in early.problem.message
    late = judge_run(run, pending=hour, now=NOW + hour)
    assert late.state is State.FAILED
    assert late.problem is not None
    assert late.problem.reason.value == reason
    assert says in late.problem.message


def on(node: str, phase: str = "Pending") -> Json:
    found = pod(phase=phase, conditions=[{"type": "PodScheduled", "status": "True"}])
    found["spec"]["nodeName"] = node
    return found


def test_a_claim_for_one_node_explains_a_pod_only_while_a_pod_on_another_node_has_it() -> None:
    mine, there = on("a"), on("b", "Running")
    once = {"lake": ["ReadWriteOnce"]}
    problem = pod_problem(mine, once, [mine, there])
    assert problem is not None
    assert "ReadWriteMany" in problem.message
    assert pod_problem(mine, {"lake": ["ReadWriteMany"]}, [there]) is None
    assert pod_problem(mine, {}, [there]) is None
    for harmless in (on("a", "Running"), on("b", "Succeeded")):
        assert pod_problem(mine, once, [mine, harmless]) is None, "it is merely starting"


@pytest.mark.parametrize(
    "found",
    [
        pod(),
        pod(phase="Running"),
        pod(phase="Failed"),
        unscheduled("gate", "SchedulingGated"),
        waiting("ContainerCreating"),
    ],
)
def test_a_pod_that_runs_or_is_merely_young_has_no_problem(found: Json) -> None:
    assert pod_problem(found) is None
