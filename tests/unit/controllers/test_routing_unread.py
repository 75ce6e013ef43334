"""An API server that does not tell what a router of another kind acts on: nothing waits for it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.controllers.routing_world import GATEWAY, World, canary
from tests.unit.controllers.serving_api import NAMESPACE, say

from noria_operator.domain.verdict import Counts
from noria_operator.kube.errors import ApiError, Forbidden, Unavailable
from noria_operator.kube.kinds import HTTPROUTE, POD, SERVICE, Key, Kind

Json = dict[str, Any]
ROUTERS = pytest.mark.parametrize("router", [GATEWAY, {"type": "Service"}], ids=["Gateway", "Service"])
ERRORS = pytest.mark.parametrize(
    "error", [Forbidden(403, "Forbidden", "not yours"), Unavailable(503, "Unavailable", "away")]
)


async def unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, router: Json, error: ApiError) -> World:
    """A canary whose route, or Service, may not be looked at from now on."""
    world = await canary(tmp_path, router)
    get = world.api.get

    async def refused(kind: Kind, namespace: str, name: str) -> Json:
        if kind in (HTTPROUTE, SERVICE):
            raise error
        return await get(kind, namespace, name)

    monkeypatch.setattr(world.api, "get", refused)
    return world


@ROUTERS
@ERRORS
async def test_errors_abort_though_nobody_says_which_weights_are_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, router: Json, error: ApiError
) -> None:
    world = await unread(tmp_path, monkeypatch, router, error)
    for count in (1, 2):
        bad = Counts(1000 * count, 1000 * count)
        world.servers.counted = {"flights-1": Counts(4000 * count, 4 * count), "flights-2": bad}
        await world.settle()
    assert world.status["phase"] == "RolledBack"
    assert [one["weight"] for one in world.status["traffic"]] == [100, 0]


@ROUTERS
async def test_an_undo_waits_for_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, router: Json
) -> None:
    world = await unread(tmp_path, monkeypatch, router, Forbidden(403, "Forbidden", "not yours"))
    say(world.api, "undo", "now")
    await world.once()
    assert [one["weight"] for one in world.status["traffic"]] == [100, 0]
    world.api.serve()
    await world.once()
    assert world.condition("Verifiable")[0] == "False", "of weights that are on their way people hear why"
    assert "not yours" in world.condition("Verifiable")[2]


async def test_weights_that_are_in_force_stay_so_and_pods_are_late_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await unread(tmp_path, monkeypatch, GATEWAY, Unavailable(503, "Unavailable", "away"))
    await world.once()
    assert all(one["assumed"] for one in world.status["traffic"])
    _, two = world.names()
    for pod in world.api.all(POD):
        if pod["metadata"]["name"].startswith(two):
            del world.api.objects[Key(POD, NAMESPACE, pod["metadata"]["name"])]
    await world.once()
    world.api.clock.time += timedelta(minutes=10)
    await world.once()
    assert world.status["phase"] == "RolledBack"
