"""Weights behind a gateway whose proxies may be asked: when they are verified, assumed, and waited for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from tests.unit.controllers.routing_world import (
    GATEWAY,
    MINE,
    STEPS,
    World,
    canary,
    gateway_class,
    no_answer_about_classes,
)
from tests.unit.controllers.serving_api import KEY, approve, say

from noria_operator.api.names import WEIGHTS_ANNOTATION
from noria_operator.controllers.gateway_class import weighs_in_routes
from noria_operator.domain.gateway_probes import Answer, Probe, probes_of
from noria_operator.kube.kinds import HTTPROUTE
from noria_operator.routers.httproute_probe import mark

Json = dict[str, Any]
PROBES = probes_of(
    json.dumps([{"name": "edge", "gateway": "prod/public", "urls": ["http://envoy.infra:8080"]}])
)


@dataclass
class Proxies:
    """Two of them: each acts on the route as it was when it last looked."""

    world: World
    acts_on: list[str] = field(default_factory=lambda: ["", ""])
    asked: list[tuple[str, list[str], str]] = field(default_factory=list)

    def follow(self, *numbers: int) -> None:
        for number in numbers or (0, 1):
            self.acts_on[number] = mark(self.world.route())

    async def answers(self, probe: Probe, hosts: Sequence[str], path: str) -> list[Answer]:
        self.asked.append((probe.name, list(hosts), path))
        problem = "status 404 without the redirect that the route asks for"
        return [
            Answer(f"proxy-{number}", one, "" if one else problem) for number, one in enumerate(self.acts_on)
        ]


async def begun(
    folder: Path, controller: str = "acme.example/gateways", annotations: Json | None = None
) -> tuple[World, Proxies]:
    """Version 2 is asked for at its weight, and the gateway took the route; no proxy follows yet."""
    world = World(folder, router=GATEWAY, replicas=2, strategy=STEPS)
    gateway_class(world, annotations=annotations, controller=controller)
    proxies = world.gateways = Proxies(world)
    approve(world.api, 1)
    for _ in range(5):
        await once(world)
        if world.api.all(HTTPROUTE):
            proxies.follow()
    assert world.status["phase"] == "Healthy"
    approve(world.api, 2)
    for _ in range(4):
        await once(world)
    assert [one["weight"] for one in world.status["traffic"]] == [80, 20]
    return world, proxies


async def once(world: World, *, seconds: float = 0.1) -> timedelta | None:
    """One pass, after which the gateway and the kubelets do what they should."""
    after = await world.once(gateway_probes=PROBES)
    world.api.serve()
    world.api.clock.time += timedelta(seconds=seconds)
    return after


def told(world: World) -> list[tuple[bool, bool]]:
    return [(one["verified"], one.get("assumed", False)) for one in world.status["traffic"]]


def verifiable(world: World) -> tuple[str, str] | None:
    found = {one["type"]: one for one in world.status["conditions"]}.get("Verifiable")
    return (found["reason"], found["message"]) if found else None


async def test_weights_are_verified_as_soon_as_every_proxy_acts_on_them(tmp_path: Path) -> None:
    world, proxies = await begun(tmp_path)
    assert told(world) == [(False, False)] * 2
    proxies.follow(0)
    assert await once(world) == timedelta(milliseconds=200)
    assert told(world) == [(False, False)] * 2, "one of them is behind"
    proxies.follow(1)
    await once(world)
    assert told(world) == [(True, False)] * 2
    assert verifiable(world) is None
    assert proxies.asked[-1] == ("edge", [], "/-/noria/prod/flights")


@pytest.mark.parametrize(
    ("controller", "annotations"),
    [
        ("gateway.envoyproxy.io/gatewayclass-controller", {}),
        ("acme.example/gateways", {WEIGHTS_ANNOTATION: "endpoints"}),
    ],
)
async def test_weights_that_do_not_stand_in_the_route_are_assumed_once_every_proxy_has_it(
    tmp_path: Path, controller: str, annotations: Json
) -> None:
    world, proxies = await begun(tmp_path, controller, annotations)
    proxies.follow(0)
    await once(world)
    assert told(world) == [(False, False)] * 2, "one of them is behind"
    proxies.follow(1)
    await once(world)
    assert told(world) == [(False, True)] * 2
    assert verifiable(world) is None


async def test_weights_are_not_verified_while_nobody_says_where_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API server does not answer: what is remembered of the class holds, after a restart nothing does."""
    world, proxies = await begun(tmp_path)
    ctx, obj = world.operator(gateway_probes=PROBES), world.api.objects[KEY]
    assert await weighs_in_routes(ctx, obj)
    no_answer_about_classes(world, monkeypatch)
    world.api.clock.time += timedelta(hours=1)
    assert await weighs_in_routes(ctx, obj)
    proxies.follow()
    await once(world)
    assert told(world) == [(False, True)] * 2


async def test_a_proxy_that_is_behind_holds_the_rollout_however_long_and_is_named(tmp_path: Path) -> None:
    world, proxies = await begun(tmp_path)
    proxies.follow(1)
    for _ in range(3):
        await once(world, seconds=60)
    assert told(world) == [(False, False)] * 2
    reason, message = verifiable(world) or ("", "")
    assert reason == "RoutersBehind"
    assert "1 of 2 proxies are behind: proxy-0 acts on v" in message
    step = world.status["step"]
    assert step["index"] == 0
    proxies.follow()
    await once(world)
    assert told(world) == [(True, False)] * 2
    assert verifiable(world) is None


async def test_where_a_proxy_says_nothing_weights_are_assumed_after_settle_and_status_says_why(
    tmp_path: Path,
) -> None:
    world, proxies = await begun(tmp_path)
    proxies.acts_on = [mark(world.route()), ""]
    before = (
        REGISTRY.get_sample_value("noria_gateway_probes_total", {"probe": "edge", "outcome": "unread"}) or 0.0
    )
    await once(world, seconds=4)
    assert told(world) == [(False, False)] * 2
    assert verifiable(world) is None, "new proxies take a moment"
    await once(world)
    await once(world, seconds=4)
    await once(world)
    assert told(world) == [(False, True)] * 2
    reason, message = verifiable(world) or ("", "")
    assert reason == "RoutersUnread"
    assert "1 of 2 proxies could not be asked: proxy-1: status 404" in message
    after = REGISTRY.get_sample_value("noria_gateway_probes_total", {"probe": "edge", "outcome": "unread"})
    assert after is not None
    assert after >= before + 3
    proxies.acts_on[1] = proxies.acts_on[0]
    await once(world)
    assert told(world) == [(True, False)] * 2
    assert verifiable(world) is None


async def test_why_weights_are_assumed_stays_while_nobody_is_asked(tmp_path: Path) -> None:
    world, proxies = await begun(tmp_path)
    proxies.acts_on = ["", ""]
    say(world.api, "abort", "now")
    for _ in range(12):
        await once(world, seconds=10)
    assert world.status["phase"] == "RolledBack"
    assert len(world.status["traffic"]) == 1
    reason, _ = verifiable(world) or ("", "")
    assert (reason, told(world)) == ("RoutersUnread", [(False, True)])
    asked, writes = len(proxies.asked), len(world.api.writes)
    await once(world)
    assert (len(proxies.asked), len(world.api.writes)) == (asked, writes), "nothing is under way"


async def test_an_abort_waits_for_no_proxy(tmp_path: Path) -> None:
    world, proxies = await begun(tmp_path)
    say(world.api, "abort", "now")
    asked = len(proxies.asked)
    await world.once(gateway_probes=PROBES)
    assert world.backends()[1][1][1] == 0
    assert len(proxies.asked) == asked


async def test_a_change_back_to_former_weights_has_a_mark_of_its_own(tmp_path: Path) -> None:
    """A proxy that missed both changes acts on the same weights, and would still send by those between."""
    world, proxies = await begun(tmp_path)
    world_before = mark(world.route())
    proxies.follow()
    await once(world)
    say(world.api, "abort", "now")
    for _ in range(2):
        await once(world)
    between = mark(world.route())
    say(world.api, "retry", "now")
    for _ in range(6):
        await once(world)
        proxies.follow()
    assert [one["weight"] for one in world.status["traffic"]] == [80, 20]
    assert len({world_before, between, mark(world.route())}) == 3


async def test_a_route_of_which_the_gateway_leaves_rules_out_is_refused(tmp_path: Path) -> None:
    """The rule that is asked for may be in force where that with the weights is not."""
    world, proxies = await begun(tmp_path)
    proxies.follow()
    route = world.route()
    (parent,) = route["status"]["parents"]
    said = {"status": "True", "reason": "UnsupportedValue", "message": "conflict"}
    said["observedGeneration"] = route["metadata"]["generation"]
    partial = {**parent, "conditions": [*parent["conditions"], {"type": "PartiallyInvalid", **said}]}
    world.api.put(HTTPROUTE, {**route, "status": {"parents": [partial]}})
    await world.once(gateway_probes=PROBES)
    assert told(world) == [(False, False)] * 2
    assert world.condition("Stalled")[1] == "RouteRefused"
    assert "PartiallyInvalid is True" in world.condition("Stalled")[2]


async def test_a_route_of_a_users_or_of_another_gateway_asks_nobody(tmp_path: Path) -> None:
    for router in (MINE, {"type": "Gateway", "gateway": {"name": "public", "namespace": "infra"}}):
        world = await canary(tmp_path, router)
        proxies = world.gateways = Proxies(world)
        say(world.api, "abort", "now")
        for _ in range(8):
            await once(world, seconds=10)
        assert told(world)[0] == (False, True)
        assert proxies.asked == []
