"""Rows are looked at before they are trained on, and refused where they are broken."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.domain.training_world import (
    NOW,
    SELECTING,
    after,
    case,
    complete,
    ended_pod,
    job,
    pod,
    selection,
    training_job,
)

from noria_operator.api.training_data import TrainingData
from noria_operator.api.trainingjob import TrainingJobStatus
from noria_operator.domain.drift.columns import Seen
from noria_operator.domain.job_shape import Bundle
from noria_operator.domain.results import CheckResult, check_result
from noria_operator.domain.training import decide
from noria_operator.domain.training_check import violations
from noria_operator.domain.training_plan import Observed, Plan
from noria_operator.domain.training_runs import Run

Json = dict[str, Any]
CHAMPION = Bundle("pvc://models/flights/7", "sha256:" + "e" * 64, None, "flights-7")


def column(**counts: Any) -> Json:
    return {
        "name": "x", "rows": 1000, "missing": 0, "unseen": 0, "outside": 0, "wrong": 0, "known": [50, 950]
    } | counts  # fmt: skip


def said(**changes: Any) -> str:
    body = {"schema": "noria.check/v1", "rows": 1000, "features": 1, "duplicates": 0, "newest": None}
    return json.dumps(body | {"absent": [], "dirty": [column()], "skewed": []} | changes)


SKEWED: Json = {"name": "x", "psi": 0.5, "bins": 10, "rows": 1000, "known": 1000}


def environment(plan: Plan) -> dict[str, str]:
    """Of the program in the Job that is made."""
    assert plan.create is not None
    (container,) = plan.create["spec"]["template"]["spec"]["containers"]
    return {one["name"]: one["value"] for one in container["env"]}


def step(obj: Json, seen: Observed | None = None) -> tuple[Json, Plan]:
    plan = decide(case(obj, seen))
    TrainingJobStatus.model_validate(plan.status)
    return after(obj, plan), plan


def checked(message: str, **rule: Any) -> tuple[Json, Plan]:
    """A TrainingJob once its check Job said this."""
    seen = Observed(champion=CHAMPION)
    obj, plan = step(training_job(dataQuality={"data": "train", **rule}), seen)
    assert plan.create is not None
    return step(obj, replace(seen, check=complete(plan.create, message)))


def rule(**fields: Any) -> TrainingData:
    return TrainingData.model_validate({"data": "train", **fields})


def found(**changes: Any) -> CheckResult:
    return check_result(said(**changes))


def test_rows_are_checked_beside_what_the_champion_learned_from_and_then_trained_on() -> None:
    obj, plan = step(training_job(dataQuality={"data": "train"}), Observed(champion=CHAMPION))
    assert plan.create is not None
    assert plan.create["metadata"]["name"] == "flights-1-check"
    (container,) = plan.create["spec"]["template"]["spec"]["containers"]
    env = {one["name"]: one["value"] for one in container["env"]}
    assert container["command"] == ["python", "-m", "noria_serving.check"]
    assert env["NORIA_CHAMPION_DIGEST"] == CHAMPION.digest
    assert "NORIA_CHECK_TIME" not in env
    seen = Observed(check=complete(plan.create, said()), champion=CHAMPION)
    obj, plan = step(obj, seen)
    assert plan.again
    assert obj["status"]["dataQuality"]["result"] == "Pass"
    assert obj["status"]["dataQuality"]["against"] == "flights-7"
    _, plan = step(obj, seen)
    assert plan.create is not None
    assert plan.create["metadata"]["name"] == "flights-1-train"


def test_what_was_checked_is_what_the_run_selects() -> None:
    obj, plan = step(training_job(data=SELECTING, dataQuality={"data": "train"}))
    assert plan.create is not None
    select = complete(plan.create, selection(train="2026-02-21", holdout="2026-02-28"))
    obj, _ = step(obj, Observed(select=select))
    obj, plan = step(obj, Observed(select=select))
    assert plan.create is not None
    (container,) = plan.create["spec"]["template"]["spec"]["containers"]
    env = {one["name"]: one["value"] for one in container["env"]}
    assert json.loads(env["NORIA_CHECK_DATA_SELECT"])["newest"] == "2026-02-21"
    assert "NORIA_CHAMPION" not in env


def test_broken_rows_are_refused_and_nothing_is_trained() -> None:
    obj, plan = checked(said(dirty=[column(missing=900)]))
    failed = next(one for one in obj["status"]["conditions"] if one["type"] == "Failed")
    assert (failed["status"], failed["reason"]) == ("True", "DataRefused")
    assert "x completeness 0.9 (0.15)" in failed["message"]
    assert obj["status"]["dataQuality"]["violations"] == [
        {"name": "x", "check": "completeness", "value": "0.9", "threshold": "0.15"}
    ]
    assert plan.create is None
    assert plan.notices[0].reason == "DataRefused"
    assert step(obj)[1].create is None


def test_a_rule_that_warns_says_so_and_goes_on() -> None:
    obj, plan = checked(said(dirty=[column(missing=900)]), action="Warn")
    assert obj["status"]["dataQuality"]["result"] == "Warn"
    assert plan.notices[0].reason == "DataSuspect"
    _, plan = step(obj)
    assert plan.create is not None
    assert plan.create["metadata"]["name"] == "flights-1-train"


@pytest.mark.parametrize(("action", "ends"), [("Refuse", True), ("Warn", False)])
@pytest.mark.parametrize("broken", ["silent", "refused", "malformed"])
def test_rows_that_cannot_be_checked_are_not_trusted(action: str, ends: bool, broken: str) -> None:
    obj, plan = step(training_job(dataQuality={"data": "train", "action": action}))
    assert plan.create is not None
    refused = '{"error": {"reason": "NoRows", "message": "no files"}}'
    run = {
        "silent": lambda body: complete(body, ""),
        "malformed": lambda body: complete(body, said(rows=-1)),
        "refused": lambda body: Run(job(body, "Failed"), (ended_pod(refused, code=1),)),
    }[broken](plan.create)
    obj, _ = step(obj, Observed(check=run))
    assert obj["status"]["dataQuality"]["result"] == "Error"
    assert "could not be checked" in obj["status"]["message"]
    assert (obj["status"]["phase"] == "Failed") is ends


def test_while_rows_are_checked_nothing_else_is_made() -> None:
    obj, plan = step(training_job(dataQuality={"data": "train"}))
    assert plan.create is not None
    _, plan = step(obj, Observed(check=Run(job(plan.create), (pod(phase="Running"),))))
    assert (plan.create, plan.status["phase"]) == (None, "Pending")


@pytest.mark.parametrize(
    ("changes", "fields", "expected"),
    [
        ({"dirty": [column(missing=150)]}, {}, None),
        ({"dirty": [column(missing=300)]}, {}, ("x", "completeness", 0.3)),
        ({"dirty": [column(unseen=300)]}, {}, ("x", "categoricalValues", 0.3)),
        ({"dirty": [column(outside=300)]}, {}, ("x", "range", 0.3)),
        ({"dirty": [column(outside=300)]}, {"maxOutOfRange": "0.5"}, None),
        ({"dirty": [column(outside=300, beyond=250)]}, {}, None),  # as often in training
        ({"dirty": [column(wrong=50)]}, {}, ("x", "dataType", 0.05)),
        ({"dirty": [column(rows=10, missing=3)]}, {}, None),
        ({"absent": ["y"]}, {}, ("y", "missingColumn", 1.0)),
        ({"rows": 0, "dirty": [column(rows=0)]}, {}, ("", "volume", 0)),
        ({"rows": 10}, {"minRows": 100}, ("", "volume", 10)),
        ({"duplicates": 500}, {}, None),
        ({"duplicates": 500}, {"maxDuplicates": "0.2"}, ("", "duplicates", 0.5)),
        ({"skewed": [{"name": "x", "psi": 0.5, "bins": 10, "rows": 1000, "known": 1000}]}, {}, None),
        (
            {"skewed": [{"name": "x", "psi": 0.5, "bins": 10, "rows": 1000, "known": 1000}]},
            {"maxDistance": "0.2"},
            ("x", "baselineDrift", 0.5),
        ),
        (
            {"skewed": [{"name": "x", "psi": 0.5, "bins": 10, "rows": 40, "known": 1000}]},
            {"maxDistance": "0.2"},
            None,
        ),
        ({"served": [SKEWED]}, {}, None),
        ({"served": [SKEWED]}, {"maxSkew": "0.2"}, ("x", "trainingServingSkew", 0.5)),
        ({"served": [SKEWED]}, {"maxSkew": "0.6"}, None),
        ({"served": [SKEWED | {"known": 190}]}, {"maxSkew": "0.2"}, None),  # hardly anything was served
        ({"served": [SKEWED | {"rows": 40}]}, {"maxSkew": "0.2"}, None),
        (
            {"newest": (NOW - timedelta(hours=3)).timestamp()},
            {"timeColumn": "at", "maxAge": "2h"},
            ("", "freshness", 10800),
        ),
        (
            {"newest": (NOW - timedelta(hours=1)).timestamp()},
            {"timeColumn": "at", "maxAge": "2h"},
            None,
        ),
        ({"absent": ["at"]}, {"timeColumn": "at", "maxAge": "2h"}, ("at", "missingColumn", 1.0)),
    ],
)
def test_each_check_has_its_limit(
    changes: Json, fields: Json, expected: tuple[str, str, float] | None
) -> None:
    broken = violations(rule(**fields), found(**changes), NOW)
    assert [(one.name, one.check.value, one.value) for one in broken] == ([expected] if expected else [])


def test_rows_that_are_unlike_what_is_served_are_told_and_refused_only_where_asked() -> None:
    near = SKEWED | {"name": "y", "psi": 0.01}
    obj, plan = checked(said(served=[SKEWED, near]))
    told = obj["status"]["dataQuality"]
    assert (told["result"], plan.notices) == ("Pass", ())
    assert (told["servedRows"], len(told["skew"])) == (1000, 2)
    assert told["skew"][0] | {"floor": ""} == {"name": "x", "value": "0.5", "floor": "", "samples": 1000}
    assert float(told["skew"][1]["floor"]) > 0.01, "what is only noise can be told apart"
    assert told["message"].endswith("; unlike the 1000 rows that flights-7 was asked: x psi 0.5")
    obj, _ = checked(said(served=[near]))
    assert obj["status"]["dataQuality"]["message"].endswith("; like the 1000 rows that flights-7 was asked")
    obj, _ = checked(said(served=[SKEWED]), maxSkew="0.2")
    assert obj["status"]["dataQuality"]["violations"] == [
        {"name": "x", "check": "trainingServingSkew", "value": "0.5", "threshold": "0.2"}
    ]
    assert obj["status"]["phase"] == "Failed"
    obj, plan = checked(said(served=[SKEWED]), maxSkew="0.2", action="Warn")
    assert (obj["status"]["dataQuality"]["result"], plan.notices[0].reason) == ("Warn", "DataSuspect")


def test_without_served_rows_to_compare_with_it_says_so() -> None:
    for few in ([], [SKEWED | {"known": 190}]):
        obj, _ = checked(said(served=few), maxSkew="0.2")
        told = obj["status"]["dataQuality"]
        assert told["result"] == "Pass"
        assert told["message"].endswith("; too few rows were asked of flights-7 to compare with")


def test_the_check_is_handed_what_the_champion_was_asked() -> None:
    seen = {"x": Seen((5, 6, 7), missing=1), "__prediction__": Seen((9, 9)), "__class__": Seen((3, 4, 5))}
    _, plan = step(training_job(dataQuality={"data": "train"}), Observed(champion=CHAMPION, served=seen))
    assert json.loads(environment(plan)["NORIA_CHECK_SERVED"]) == {"x": [5, 6, 7]}
    odd = Observed(champion=CHAMPION, served={'a "$(HOME)"': Seen((1, 2))})
    _, plan = step(training_job(dataQuality={"data": "train"}), odd)
    assert json.loads(environment(plan)["NORIA_CHECK_SERVED"]) == {'a "$(HOME)"': [1, 2]}
    assert "$" not in environment(plan)["NORIA_CHECK_SERVED"], "which Kubernetes would fill in"
    _, plan = step(training_job(dataQuality={"data": "train"}), Observed(champion=CHAMPION))
    assert "NORIA_CHECK_SERVED" not in environment(plan)


def test_what_a_thousand_features_were_asked_finds_room_in_a_variable() -> None:
    """Linux refuses to start a program with a variable of 128 KiB or more."""
    seen = {f"{'feature' * 9}{number}": Seen((10_000,) * 10) for number in range(2000)}
    _, plan = step(training_job(dataQuality={"data": "train"}), Observed(champion=CHAMPION, served=seen))
    handed = environment(plan)["NORIA_CHECK_SERVED"]
    assert len(handed) < 128 * 1024 - 100
    assert 500 < len(json.loads(handed)) < 2000


def test_the_check_waits_a_minute_for_counts_that_nobody_tells_yet() -> None:
    obj = training_job(dataQuality={"data": "train"})
    seen = Observed(champion=CHAMPION, served=None)
    plan = decide(case(obj, seen))
    assert (plan.create, plan.status["phase"]) == (None, "Pending")
    assert plan.due is not None
    plan = decide(case(obj, seen, NOW + timedelta(minutes=1)))
    assert plan.create is not None
    assert "NORIA_CHECK_SERVED" not in environment(plan)


def test_rows_of_the_same_law_are_hardly_ever_refused() -> None:
    """A share that is just what is tolerated, over many features and runs."""
    import numpy as np

    rng, refused = np.random.default_rng(3), 0
    for _ in range(300):
        dirty = [column(rows=500, unseen=int(rng.binomial(500, 0.1))) for _ in range(20)]
        refused += bool(violations(rule(), found(features=500, dirty=dirty), NOW))
    assert refused <= 3
