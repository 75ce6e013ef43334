"""Gateways that are gone, answer nothing or have another controller by now, of which a route tells still."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.controllers.routing_world import (
    GATEWAY,
    MINE,
    World,
    canary,
    gateway,
    gateway_class,
)
from tests.unit.controllers.serving_api import NAME, NAMESPACE, approve, say
from tests.unit.controllers.training_api import as_sent

from noria_operator.domain.training_times import stamp
from noria_operator.kube.errors import Forbidden, Unavailable
from noria_operator.kube.kinds import GATEWAY as GATEWAY_KIND
from noria_operator.kube.kinds import HTTPROUTE, Key, Kind

Json = dict[str, Any]
PUBLIC = Key(GATEWAY_KIND, NAMESPACE, "public")
LATER = timedelta(minutes=2)


async def serving(folder: Path) -> World:
    """Version 1 behind the Gateway `public`, which took the route."""
    world = World(folder, router=GATEWAY)
    approve(world.api, 1)
    await world.settle()
    assert world.condition("Ready")[0] == "True"
    return world


def refuse(world: World, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """From now on this is the answer to whoever asks for a Gateway."""
    get = world.api.get

    async def answers(kind: Kind, namespace: str, name: str) -> Json:
        if kind == GATEWAY_KIND:
            raise error
        return await get(kind, namespace, name)

    monkeypatch.setattr(world.api, "get", answers)


def leave_behind(world: World, name: str = NAME) -> None:
    """What the first Gateway says of a route by now is never taken out of its status."""
    stale = as_sent(world.route(name)["status"]["parents"][0])
    serve = world.api.serve

    def serves() -> None:
        serve()
        found = world.route(name)
        said = found["status"]["parents"]
        if stale not in said:
            world.api.put(HTTPROUTE, {**found, "status": {"parents": [stale, *said]}})

    world.api.serve = serves  # type: ignore[method-assign]


async def test_nobody_is_ready_behind_a_gateway_that_is_gone_though_its_route_was_accepted(
    tmp_path: Path,
) -> None:
    world = await serving(tmp_path)
    del world.api.objects[PUBLIC]
    world.api.clock.time += LATER
    await world.settle()
    assert world.route()["status"]["parents"], "what the gateway said is left over"
    assert world.condition("Ready")[:2] == ("False", "GatewayNotFound")
    assert world.condition("Stalled")[:2] == ("True", "GatewayNotFound")
    assert "Gateway prod/public, which does not exist" in world.condition("Stalled")[2]
    gateway(world)
    world.api.clock.time += LATER
    await world.settle()
    assert (world.condition("Ready")[0], world.condition("Stalled")[0]) == ("True", "False")


async def test_a_gateway_that_has_yet_to_be_made_is_waited_for(tmp_path: Path) -> None:
    """As where both are applied at once: nothing stalls that comes by itself."""
    world = World(tmp_path, router=GATEWAY)
    del world.api.objects[PUBLIC]
    approve(world.api, 1)
    await world.settle()
    assert world.condition("Ready")[0] == "False"
    assert world.condition("Stalled")[0] == "False"


async def test_an_abort_is_written_though_the_gateway_is_gone(tmp_path: Path) -> None:
    world = await canary(tmp_path, GATEWAY)
    del world.api.objects[PUBLIC]
    world.api.clock.time += LATER
    say(world.api, "abort", "now")
    await world.settle()
    assert [weight for _, weight in world.backends()[0]] == [100, 0]


async def test_one_gateway_of_two_that_is_gone_is_told_and_the_other_serves(tmp_path: Path) -> None:
    world = World(tmp_path, router=MINE)
    gateway(world, "inner")
    meta = {"name": "mine", "namespace": NAMESPACE, "uid": "r", "generation": 1}
    rules = [{"backendRefs": [{"name": "flights", "port": 80}]}]
    spec = {"parentRefs": [{"name": "public"}, {"name": "inner"}], "rules": rules}
    kind = {"apiVersion": HTTPROUTE.api_version, "kind": HTTPROUTE.kind}
    world.api.put(HTTPROUTE, {**kind, "metadata": meta, "spec": spec})
    approve(world.api, 1)
    await world.settle()
    leave_behind(world, "mine")
    del world.api.objects[PUBLIC]
    approve(world.api, 2)
    world.api.clock.time += LATER
    await world.settle()
    assert world.condition("Stalled")[:2] == ("True", "GatewayNotFound")
    assert world.condition("Ready")[0] == "True"
    assert world.status["stable"]["version"] == "flights-2", "its weights were in force at the other one"


def without_address(world: World) -> None:
    condition = {"type": "Programmed", "status": "False", "reason": "AddressNotAssigned", "message": "none"}
    gateway(world, **condition, lastTransitionTime=stamp(world.api.clock.now()))


def refused(world: World) -> None:
    world.api.accepts = False


def taken(world: World) -> None:
    """An older route asks for the same."""
    mine = world.route()
    older = {"name": "older", "uid": "older", "creationTimestamp": "2020-01-01T00:00:00Z"}
    world.api.put(HTTPROUTE, {**mine, "metadata": {**mine["metadata"], **older}})


def copies_in_part(world: World) -> None:
    spec = world.api.deployment["spec"]
    world.api.deployment["spec"] = {**spec, "strategy": {"steps": [{"mirror": 30, "duration": "1h"}]}}


@pytest.mark.parametrize(
    ("befalls", "reason", "ready"),
    [
        (refused, "RouteRefused", "False"),
        (taken, "HostConflict", "False"),
        (copies_in_part, "CopiesUnsupported", "True"),
    ],
)
async def test_what_has_to_be_mended_is_told_also_of_a_gateway_that_nothing_answers_for(
    tmp_path: Path, befalls: Callable[[World], None], reason: str, ready: str
) -> None:
    world = await serving(tmp_path)
    without_address(world)
    befalls(world)
    world.api.serve()
    world.api.clock.time += LATER
    await world.settle()
    assert world.condition("Stalled")[:2] == ("True", reason)
    assert world.condition("Ready")[0] == ready


async def test_a_gateway_that_nothing_answers_for_is_told_after_a_minute(tmp_path: Path) -> None:
    world = await serving(tmp_path)
    without_address(world)
    await world.once()
    assert world.condition("Stalled")[0] == "False", "proxies may be starting"
    world.api.clock.time += LATER
    await world.settle()
    assert world.condition("Stalled")[:2] == ("True", "GatewayNotProgrammed")
    assert "AddressNotAssigned: none; see kubectl describe gateway" in world.condition("Stalled")[2]
    assert world.condition("Ready")[0] == "True", "it may be reached all the same"


async def test_what_the_former_controller_of_a_gateway_said_holds_no_weights(tmp_path: Path) -> None:
    """By the Gateway API nobody but itself takes it out of status."""
    world = await serving(tmp_path)
    leave_behind(world)
    gateway_class(world, controller="edge.example/gateways")
    approve(world.api, 2)
    world.api.clock.time += LATER
    await world.settle()
    assert len(world.route()["status"]["parents"]) == 2
    assert world.status["stable"]["version"] == "flights-2"


@pytest.mark.parametrize("error", [Forbidden(403, "Forbidden", "no"), Unavailable(0, "Timeout", "no answer")])
async def test_who_may_not_read_the_gateway_goes_by_the_route(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    world = await serving(tmp_path)
    refuse(world, monkeypatch, error)
    world.api.clock.time += LATER
    await world.settle()
    assert (world.condition("Ready")[0], world.condition("Stalled")[0]) == ("True", "False")
