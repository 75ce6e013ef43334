"""What a closed window says of fairness.

Comes in: the rule, counts by group, the entry so far. Goes out: the fields of the entry that change.
Invariant: as of every finding, value, threshold, samples, reason and a sentence are there also for "no".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from noria_operator.api.monitoring import Fairness
from noria_operator.domain import fairness as domain
from noria_operator.domain.conditions import clip
from noria_operator.domain.fairness import Check, Finding, Group, Policy
from noria_operator.domain.tasks import BINARY
from noria_operator.domain.triggers_findings import NAME_LIMIT, Closed, again, number, said

Json = dict[str, Any]


def policy(rule: Fairness) -> Policy:
    """The rule in numbers."""
    bounds = {Check(name): bound for name, bound in rule.bounds.items()}
    return Policy(bounds, rule.min_samples, float(rule.false_alarms_per_month))


def can_be_judged(rule: Fairness, groups: Mapping[str, Sequence[Group]], task: str) -> bool:
    """Whether a window may close; one that never can be judged closes too, and says so. `task` is empty where
    servers do not tell theirs.
    """
    never = rule.feature not in groups or task not in (BINARY, "")
    return never or domain.enough(policy(rule), groups[rule.feature])


def fairness(rule: Fairness, closed: Closed) -> Json:
    """How differently the groups are treated."""
    if wrong := _cannot(rule, closed):
        return wrong
    found = domain.judge(policy(rule), closed.traffic.groups[rule.feature], closed.length)
    first = found.findings[0]
    figures = {
        "value": number(first.value),
        "threshold": number(first.tolerated),
        "samples": first.samples,
        "expectedFalseAlarms": number(found.expected),
        "columns": [_column(rule.feature, one) for one in found.findings],
    }
    text = f"{rule.feature}: " + "; ".join(map(_words, found.findings))
    if not first.exceeded:
        return said(figures | {"streak": 0}, "No", "Fair", text)
    return again(figures, closed, rule.for_, "Unfair", text)


def _cannot(rule: Fairness, closed: Closed) -> Json | None:
    """What to say where groups cannot be compared at all."""
    version, groups = closed.entry["version"], closed.traffic.groups
    if rule.feature not in groups:
        has = ", ".join(groups) or "none"
        text = (
            f"servers of {version} count no slices of {rule.feature}: add it to template.spec.slices; the "
            f"next version has it if the model takes that column (this one has: {has})"
        )
        return said({"columns": []}, "Wait", "UnknownSlices", text)
    if closed.traffic.task != BINARY:
        text = f"{version} is no binary classifier, so no prediction is positive: remove the trigger"
        return said({"columns": []}, "Wait", "NotBinary", text)
    return None


def _words(one: Finding) -> str:
    """For example: demographicParityDifference 0.2 (f 0.3, m 0.5; 0.1 tolerated, surely more than that)."""
    side = "less" if one.check is Check.PARITY_RATIO else "more"
    sure = f"surely {side}" if one.exceeded else f"not surely {side}"
    few = f"; too few rows in {', '.join(one.left_out[:3])}" if one.left_out else ""
    of = f"{one.of}: " if one.of else ""
    (high, low) = one.rates
    return (
        f"{one.check} {one.value:.3g} ({of}{one.low} {low:.3g}, {one.high} {high:.3g}, {one.samples} "
        f"rows{few}; {one.tolerated:g} is tolerated, {sure})"
    )


def _column(feature: str, one: Finding) -> Json:
    return {
        "name": clip(feature, NAME_LIMIT),
        "check": one.check.value,
        "value": number(one.value),
        "threshold": number(one.tolerated),
        "floor": number(min(one.surely, 1e6)),
        "samples": one.samples,
        "drifted": one.exceeded,
    }
