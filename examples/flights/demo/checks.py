"""What must be true at the end of the demo. Pure.

In: the report. Out: the claims, each with whether it holds and the figures. Invariant: a figure that is
missing makes its claim false, never true.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

RETRAININGS: Final = 2
ABORT_SECONDS: Final = 1.0
WANTED: Final = ("NoriaQualityLost", "NoriaRolledBack")
"""Alerts that the story must bring, where Prometheus runs."""


@dataclass(frozen=True)
class Claim:
    """One thing that must hold."""

    text: str
    holds: bool
    detail: str


def judge(report: dict[str, Any]) -> list[Claim]:
    """All claims."""
    return [
        _retrained(report),
        _gate(report),
        _aborted(report),
        _no_loss(report),
        _feedback(report),
        _better(report),
        *(_watched(report["monitoring"]) if "monitoring" in report else ()),
    ]


def _watched(seen: dict[str, Any]) -> list[Claim]:
    alerts, empty = seen["alerts"], seen["empty"]
    told = set(WANTED) <= set(alerts)
    return [
        Claim("the alerts of the story reached the webhook", told, ", ".join(alerts) or "none"),
        Claim("every panel of every dashboard has data", empty == [], "; ".join(empty) or "all"),
    ]


def _retrained(report: dict[str, Any]) -> Claim:
    runs = [
        run["name"]
        for run in report["trainings"]
        if (run["trigger"] or {}).get("reason") == "Performance" and run["phase"] == "Succeeded"
    ]
    return Claim(
        f"at least {RETRAININGS} retrainings by the performance trigger",
        len(runs) >= RETRAININGS,
        ", ".join(runs),
    )


def _gate(report: dict[str, Any]) -> Claim:
    text = "a gate refused the simplified model"
    refused = next((run for run in report["trainings"] if run["name"] == report["bad"]["gate"]), None)
    if refused is None:
        return Claim(text, False, "it did not run")
    return Claim(text, refused["reason"] == "GateFailed", f"{refused['reason']}: {refused['message']}")


def _aborted(report: dict[str, Any]) -> Claim:
    abort = report["abort"]
    seconds = abort.get("seconds_to_weight_0")
    holds = abort["aborted"] and seconds is not None and seconds <= ABORT_SECONDS
    detail = f"{seconds} s after the decision; {abort.get('reason', 'not aborted')}"
    return Claim(f"weight 0 was read back within {ABORT_SECONDS:g} s of the abort", holds, detail)


def _no_loss(report: dict[str, Any]) -> Claim:
    bad = report["bad"]["version_number"]
    counts = report["requests"]
    others = {
        version: seen["failed"]
        for version, seen in counts["by_version"].items()
        if seen["failed"] and version != bad
    }
    unanswered = counts["sent"] - counts["answered"] - counts["failed"]
    of_bad = counts["by_version"].get(bad, {}).get("failed", 0)
    detail = f"{counts['sent']} sent; failed by version: {others or 'none'}, and {of_bad} of the bad one"
    return Claim(
        "no request failed but those that the bad version answered", not others and not unanswered, detail
    )


def _feedback(report: dict[str, Any]) -> Claim:
    statuses = report["requests"]["feedback"]
    lost = {status: n for status, n in statuses.items() if status != "matched"}
    return Claim("every outcome was taken", bool(statuses) and not lost, f"outcomes: {statuses}")


def _better(report: dict[str, Any]) -> Claim:
    autumn = report["autumn"]
    served, alone = autumn["served"], autumn["never_retrained"]
    holds = autumn["months"] == 4 and served is not None and alone is not None and served > alone
    return Claim(
        "the served model beats the never-retrained one from September to December",
        holds,
        f"mean AUC {served} against {alone}",
    )
