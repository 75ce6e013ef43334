"""When routers find a first version by themselves, and when they wait for a status."""

from __future__ import annotations

from typing import Any

import pytest

from noria_operator.routers.backends import Arm, Backend
from noria_operator.routers.first import first_share
from noria_operator.routers.source import routed
from noria_operator.routers.traffic import effective

Json = dict[str, Any]
FIRST, SECOND, FOREIGN = (
    ("uid", "m-1", "aaaaaaaaaa"),
    ("uid", "m-2", "bbbbbbbbbb"),
    ("other", "m-1", "cccccccccc"),
)
READY = Backend("10.0.0.1", 8080, None, serving=True, ending=False)
UNREADY = Backend("10.0.0.2", 8080, None, serving=False, ending=False)
ENDING = Backend("10.0.0.3", 8080, None, serving=True, ending=True)


def deployment(replicas: int | None = 1, **status: Any) -> Json:
    spec = {} if replicas is None else {"replicas": replicas}
    return {"metadata": {"name": "d", "uid": "uid"}, "spec": spec, "status": {"phase": "Pending", **status}}


@pytest.mark.parametrize(
    ("replicas", "pods", "found"),
    [
        (1, {FIRST: [READY]}, "d-1-aaaaaa"),
        (None, {FIRST: [READY]}, "d-1-aaaaaa"),
        (2, {FIRST: [READY, READY]}, "d-1-aaaaaa"),
        (2, {FIRST: [READY, READY, UNREADY]}, "d-1-aaaaaa"),
        (2, {FIRST: [READY, UNREADY]}, None),
        (2, {FIRST: [READY, ENDING]}, None),
        (0, {FIRST: [READY]}, None),
        (1, {}, None),
        (1, {FOREIGN: [READY]}, None),
        (1, {FIRST: [READY], FOREIGN: [READY]}, "d-1-aaaaaa"),
        (1, {FIRST: [READY], SECOND: [UNREADY]}, None),
        (1, {FIRST: [ENDING], SECOND: [READY]}, "d-2-bbbbbb"),
        (1, {("uid", "nobody", "a"): [READY]}, None),
    ],
)
def test_the_only_revision_with_pods_has_everything_once_all_of_them_are_ready(
    replicas: int | None, pods: dict[Arm, list[Backend]], found: str | None
) -> None:
    share = first_share(deployment(replicas), pods)
    assert (share and share["name"], share and share["weight"]) == (found, found and 100)


@pytest.mark.parametrize(
    "status", [{"observedGeneration": 1}, {"traffic": [{"version": "m-2", "revision": "b", "name": "d-2-b"}]}]
)
def test_what_a_status_says_counts_whatever_pods_show(status: Json) -> None:
    assert first_share(deployment(**status), {FIRST: [READY]}) is None


def test_the_route_is_the_one_that_the_status_leads_to() -> None:
    """So that writing it changes nothing for routers."""
    pods = {FIRST: [READY]}
    before = routed(deployment(), pods)
    served = {"version": "m-1", "revision": "aaaaaaaaaa", "name": "d-1-aaaaaa"}
    told = {"observedGeneration": 1, "stable": served, "trafficVersion": 1}
    after = routed(deployment(**told, traffic=[{**served, "weight": 100}]), pods)
    assert effective(before) == effective(after) == {"d-1-aaaaaa": 100}
    assert (before.version, before.endpoints, before.numbers) == (
        after.version,
        after.endpoints,
        after.numbers,
    )
