"""The way to a first version before any status names one.

Comes in: a ModelDeployment and its pods. Goes out: the share of the traffic that its first status is going
to name, which is all of it. Invariants: a status that was written is what counts, whatever pods show; nothing
but what every replica of the operator sees is used, so all of them come to the same route.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from noria_operator.api import names
from noria_operator.routers.backends import Arm, Backend

Json = dict[str, Any]


def untold(deployment: Json) -> bool:
    """Whether nobody wrote a status yet."""
    status = deployment.get("status") or {}
    return status.get("observedGeneration") is None and not status.get("traffic")


def first_share(deployment: Json, pods: Mapping[Arm, Sequence[Backend]]) -> Json | None:
    """Everything for the only revision that has pods, once as many of them are ready as the spec asks for;
    None where that is not so, and where a status says who gets what. `pods` may be others' too.
    """
    if not untold(deployment):
        return None
    uid, wanted = deployment["metadata"]["uid"], int(deployment["spec"].get("replicas", 1))
    mine = [arm for arm in pods if arm[0] == uid and any(not pod.ending for pod in pods[arm])]
    if len(mine) != 1:
        return None
    _, version, revision = mine[0]
    number = version.rpartition("-")[2]
    if not number.isdecimal() or not 0 < wanted <= sum(pod.ready for pod in pods[mine[0]]):
        return None
    name = names.revision_name(deployment["metadata"]["name"], int(number), revision)
    return {"version": version, "revision": revision, "name": name, "weight": 100}
