"""All that routers know of pods at once, which operators keep pod by pod."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from noria_operator.routers.backends import Arm, Backend, arm_of, backend

Json = dict[str, Any]


def by_arm(pods: Iterable[Json]) -> dict[Arm, list[Backend]]:
    """The backends among these pods."""
    found: dict[Arm, list[Backend]] = {}
    for pod in pods:
        arm, one = arm_of(pod), backend(pod)
        if arm is not None and one is not None:
            found.setdefault(arm, []).append(one)
    return found
