"""Windows in which a header led clients' requests past the champion (`match` of a step or an arm of a
rollout): what is left of the traffic is not what it learned from, and that is our own doing.

Comes in: the deployment, and the entry of a trigger that compares distributions. Goes out: whether it is so
now, the entry with a mark while its window is open, and the verdict on a window that bears one. Invariant:
such a window, though it lay in such a time in part only, moves no other mark and no streak, and takes no
finding back.
"""

from __future__ import annotations

from typing import Any, Final

Json = dict[str, Any]

UNDER_WAY: Final = "RolloutUnderWay"
ASIDE: Final = "aside"
"""The mark in an entry's state."""


def leads_aside(deployment: Json | None) -> bool:
    """Whether a header leads clients' requests past the champion now."""
    return any(one.get("match") for one in (deployment or {}).get("status", {}).get("traffic", ()))


def noted(entry: Json, mark: str = ASIDE) -> Json:
    """The entry of an open window of which requests are led aside now, or whatever else `mark` says."""
    return entry | {"state": (entry.get("state") or {}) | {mark: True}}


def led_aside(entry: Json) -> bool:
    """Whether requests were led aside since the window began."""
    return bool((entry.get("state") or {}).get(ASIDE))


def not_compared(entry: Json, *, stands: bool) -> Json:
    """The fields of the verdict on a window of which requests were led aside; a finding `stands`."""
    state = {name: value for name, value in (entry.get("state") or {}).items() if name != ASIDE}
    if stands:
        return {"state": state}
    text = (
        f"the window is not compared: a rollout led requests with certain headers (match) past "
        f"{entry['version']}, so what came was not all that clients ask"
    )
    return {"state": state, "decision": "Wait", "reason": UNDER_WAY, "message": text}
