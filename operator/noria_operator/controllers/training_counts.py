"""What is counted of runs and of decisions about them.

Comes in: a status before and after it was written. Goes out: the operator's counters. Invariant: a run counts
once, when its status becomes final; a decision counts when it changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noria_operator.domain.conditions import of_type
from noria_operator.domain.training_status import is_finished
from noria_operator.domain.training_times import moment
from noria_operator.domain.triggers import kind_named
from noria_operator.kube.metrics import RETRAIN_DECISIONS, TRAINING_RUNS, TRAINING_SECONDS

Json = dict[str, Any]


def count_run(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Count a run that ended with this write."""
    if is_finished(before) or not is_finished(after):
        return
    failed = of_type(after["conditions"], "Failed")
    result = str(failed["reason"]) if failed.get("status") == "True" else "Succeeded"
    TRAINING_RUNS.labels((after.get("trigger") or {}).get("reason") or "none", result).inc()
    if after.get("startTime") and after.get("completionTime"):
        lasted = moment(after["completionTime"]) - moment(after["startTime"])
        TRAINING_SECONDS.labels(result).observe(lasted.total_seconds())


def count_decisions(obj: Json, after: Mapping[str, Any]) -> None:
    """Count the decisions that changed with this write. `obj` is the ContinuousTraining as it was."""
    known = {one["name"]: one.get("decision") for one in obj.get("status", {}).get("triggers", ())}
    for one in after.get("triggers", ()):
        decision = one.get("decision")
        if decision and decision != known.get(one["name"]):
            reason = kind_named(one["name"], obj["spec"].get("triggers", ()))
            RETRAIN_DECISIONS.labels(reason, decision).inc()
