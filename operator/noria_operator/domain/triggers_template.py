"""Why runs of a loop's template would be in vain, without end, or not counted.

Comes in: the object, and the deployment that it names. Goes out: a sentence, or nothing. Invariant: what is
told here holds every run until the spec is corrected.
"""

from __future__ import annotations

from typing import Any

from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.training_locations import Location
from noria_operator.domain.triggers_runs import held

Json = dict[str, Any]


def unusable(obj: Json, deployment: Json | None) -> str:
    """Why no run starts; empty when nothing speaks against it."""
    return _mismatch(obj, deployment) or _feeds_itself(obj["spec"]) or _uncounted(obj["spec"])


def _mismatch(obj: Json, deployment: Json | None) -> str:
    """Why no version that the loop trains would ever be served."""
    trained = obj["spec"]["template"]["spec"]["model"]
    if deployment is None or deployment["spec"]["model"] == trained:
        return ""
    return (
        f"ModelDeployment {obj['spec']['deployment']} serves {deployment['spec']['model']}, and the template "
        f"trains {trained}: correct spec.template.spec.model or spec.deployment"
    )


def _feeds_itself(spec: Json) -> str:
    """Which trigger would take what a run writes for new data, and start the next one by that alone."""
    triggers, fed = spec.get("triggers", ()), _fed(spec)
    for trigger in triggers:
        combined = trigger.get("combine")
        names = combined["of"] if combined else [trigger["name"]]
        needed = combined.get("atLeast", len(names)) if combined else 1
        found = [name for name in names if name in fed]
        if len(found) >= needed and TriggerSpec.model_validate(trigger).effect == "Retrain":
            return (
                f"trigger {found[0]} watches data set {fed[found[0]]}, and template.spec.output lies in its "
                "location, so that each run would start the next one: let runs write elsewhere, or let the "
                "data set name the folder with the rows alone"
            )
    return ""


def _fed(spec: Json) -> dict[str, str]:
    """Triggers that see what runs write, and in which data set."""
    template, found = spec["template"]["spec"], {}
    for trigger in spec.get("triggers", ()):
        rule = trigger.get("dataChange")
        if rule is None or rule.get("dvcFile"):
            continue
        source = next(one for one in template["data"] if one["name"] == rule["data"])
        if Location.parse(source["uri"]).holds(Location.parse(template["output"]["uri"])):
            found[trigger["name"]] = rule["data"]
    return found


def _uncounted(spec: Json) -> str:
    """Which limit of the budget no run would ever reach."""
    if "maxCpuHours" not in (spec.get("budget") or {}) or held(spec["template"]["spec"])[0]:
        return ""
    return (
        "budget.maxCpuHours counts the CPUs that pods of a run ask for, and these ask for none: set "
        "template.spec.resources.requests.cpu, or limit maxRuns instead"
    )
