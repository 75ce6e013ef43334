"""Whether a deployment's routers check its callers, as they tell themselves.

Comes in: a ModelDeployment. Goes out: its condition AccessReady, and when to ask again. Invariant: every
router pod that may still be given requests is asked, also one that is on its way out: none of them is to
enforce what it cannot check.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from noria_operator.controllers import router
from noria_operator.controllers.context import Context
from noria_operator.domain.access import Reason, Told, condition, guard, unasked
from noria_operator.domain.conditions import Condition
from noria_operator.routers.source import by_envoy

Json = dict[str, Any]

SOON = timedelta(seconds=1)
"""Between two questions while router pods are being replaced."""
WAITING = timedelta(seconds=10)
"""While a Secret is missing, or nobody answers, which takes a pass its whole second."""
CALMLY = timedelta(minutes=1)
"""Otherwise: a Secret may go at any time, and only routers see it, as soon as their kubelets do."""
_LASTING = frozenset({Reason.KEYS_MISSING, Reason.KEYS_INVALID, Reason.ROUTERS_SILENT})


async def read(ctx: Context, obj: Json, *, hurry: bool) -> Condition | None:
    """None where everybody may call. In a `hurry` nobody is asked: what was told of this spec stands."""
    rules = guard(obj) if by_envoy(obj) else None
    if rules is None:
        return None
    if hurry and (told_before := unasked(obj)) is not None:
        return told_before
    meta = obj["metadata"]
    taking = [
        pod
        for pod in router.pods(ctx.store, meta["namespace"])
        if router.ready(pod) or pod["metadata"].get("deletionTimestamp")
    ]
    told: list[Told | None] = [None] * len(taking)
    if not hurry:
        told = await ctx.router.access(meta["namespace"], meta["name"], taking)
    return condition(rules, told, obj.get("status") or {})


def again(found: Condition | None) -> timedelta | None:
    """When to ask again."""
    if found is None:
        return None
    if found.reason == Reason.CHECKED:
        return CALMLY
    return WAITING if found.reason in _LASTING else SOON
