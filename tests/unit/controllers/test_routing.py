"""Routers that are not ours: what is written for them, in which order, and what is believed of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.controllers.routing_world import (
    GATEWAY,
    MINE,
    STEPS,
    Servers,
    World,
    canary,
    gateway_class,
    no_answer_about_classes,
)
from tests.unit.controllers.serving_api import (
    KEY,
    NAME,
    NAMESPACE,
    approve,
    edit,
    say,
)

from noria_operator.api.names import SUPPORTED_FEATURES_ANNOTATION
from noria_operator.api.routers import PART_OF_COPIES
from noria_operator.controllers import modeldeployment
from noria_operator.controllers.routing_kinds import ROUTINGS
from noria_operator.domain.pod_status import passes_probe
from noria_operator.domain.rollout_state import Revision
from noria_operator.domain.verdict import Counts
from noria_operator.evidence.fetch import Fetcher
from noria_operator.evidence.server import CounterReader
from noria_operator.kube.errors import Forbidden
from noria_operator.kube.kinds import (
    DEPLOYMENT,
    GATEWAYCLASS,
    HTTPROUTE,
    MODELDEPLOYMENT,
    POD,
    SERVICE,
    Key,
    Kind,
)
from noria_operator.kube.kinds import GATEWAY as GATEWAY_KIND

Json = dict[str, Any]


async def test_a_canary_goes_by_the_weights_of_an_httproute(tmp_path: Path) -> None:
    world = await canary(tmp_path, GATEWAY)
    one, two = world.names()
    assert world.backends() == [[(one, 80), (two, 20)]]
    assert world.selected() == "flights-1"
    assert [(each["verified"], each["assumed"]) for each in world.status["traffic"]] == [(False, True)] * 2
    assert world.condition("Ready")[0] == "True"
    say(world.api, "promote-full", "now")
    await world.settle()
    assert world.status["stable"]["version"] == "flights-2"
    assert world.backends() == [[(two, 100), (one, 0)]]
    assert world.selected() == "flights-2"
    world.api.clock.time += timedelta(hours=1)
    await world.settle()
    assert world.backends() == [[(two, 100)]]
    assert len(world.api.all(DEPLOYMENT)) == 1


async def test_copies_and_headers_of_a_step_are_in_the_route(tmp_path: Path) -> None:
    match = [{"name": "x-canary", "value": "always"}]
    world = World(tmp_path, router=GATEWAY, strategy={"steps": [{"mirror": 100, "match": match}]})
    for number in (1, 2):
        approve(world.api, number)
        await world.settle()
    one, two = world.names()
    first, labels, last = world.route()["spec"]["rules"]
    assert [each["name"] for each in first["backendRefs"]] == [two]
    assert last["filters"][0]["requestMirror"]["backendRef"]["name"] == two
    assert world.backends()[1:] == [[(one, 100), (two, 0)]] * 2
    paths = [each["path"]["value"] for each in labels["matches"]]
    assert paths == [f"/v2/models/{NAME}/feedback", f"/v2/models/{NAME}/versions/1/feedback"]
    assert "filters" not in labels
    assert world.status["traffic"][1]["assumed"]


async def at_a_step_with_copies(tmp_path: Path, *features: Json | str) -> World:
    """The second version at a step that copies a part, behind a Gateway whose class has these features."""
    world = World(tmp_path, router=GATEWAY, strategy=PART)
    gateway_class(world, *features)
    for number in (1, 2):
        approve(world.api, number)
        await world.settle()
    return world


PART: Json = {"steps": [{"mirror": 30, "duration": "1h"}]}


@pytest.mark.parametrize("feature", [{"name": PART_OF_COPIES}, PART_OF_COPIES])
async def test_a_part_of_the_requests_is_copied_where_the_class_of_the_gateway_says_that_it_can(
    tmp_path: Path, feature: Json | str
) -> None:
    world = await at_a_step_with_copies(tmp_path, {"name": "HTTPRoute"}, feature)
    (copies,) = world.route()["spec"]["rules"][-1]["filters"]
    assert copies["requestMirror"]["percent"] == 30
    assert copies["requestMirror"]["backendRef"]["name"] == world.names()[1]
    assert all(one["assumed"] for one in world.status["traffic"])
    assert world.condition("Stalled")[0] == "False"


@pytest.mark.parametrize("said", [PART_OF_COPIES, f"HTTPRoute, {PART_OF_COPIES} ,"])
async def test_a_class_that_says_nothing_of_itself_may_be_annotated_with_what_it_can_do(
    tmp_path: Path, said: str
) -> None:
    """Envoy Gateway 1.9 copies parts, and lists no features."""
    world = await at_a_step_with_copies(tmp_path)
    stalled = world.condition("Stalled")
    assert stalled[1] == "CopiesUnsupported"
    assert f"annotate the class with {SUPPORTED_FEATURES_ANNOTATION}: {PART_OF_COPIES}" in stalled[2]
    gateway_class(world, annotations={SUPPORTED_FEATURES_ANNOTATION: said})
    await world.settle()
    assert world.route()["spec"]["rules"][-1]["filters"][0]["requestMirror"]["percent"] == 30
    assert world.condition("Stalled")[0] == "False"


async def test_other_words_in_the_annotation_of_a_class_are_no_promise(tmp_path: Path) -> None:
    world = World(tmp_path, router=GATEWAY, strategy=PART)
    gateway_class(world, annotations={SUPPORTED_FEATURES_ANNOTATION: f"No{PART_OF_COPIES} HTTPRoute"})
    approve(world.api, 1)
    await world.settle()
    assert world.condition("Stalled")[1] == "CopiesUnsupported"


@pytest.mark.parametrize(
    ("features", "why"),
    [
        (
            [{"name": "HTTPRouteRequestMirror"}],
            "GatewayClass acme does not list HTTPRouteRequestPercentageMirror",
        ),
        (None, "whether Gateway prod/public copies a part of the requests cannot be read (404"),
    ],
)
async def test_nothing_is_copied_where_a_part_is_asked_of_a_gateway_that_may_copy_everything(
    tmp_path: Path, features: list[Json] | None, why: str
) -> None:
    world = World(tmp_path, router=GATEWAY, strategy=PART)
    if features is not None:
        gateway_class(world, *features)
    approve(world.api, 1)
    await world.settle()
    stalled = world.condition("Stalled")
    assert stalled[:2] == ("True", "CopiesUnsupported"), "said before any rollout"
    assert why in stalled[2]
    assert "write mirror: 100" in stalled[2]
    assert world.condition("Servable")[0] == "True"
    approve(world.api, 2)
    await world.settle()
    assert world.status["step"]["index"] == 0
    assert all("filters" not in rule for rule in world.route()["spec"]["rules"])
    assert not any(one.get("assumed") for one in world.status["traffic"]), "the step is not in force"
    assert (await world.once() or timedelta.max) <= timedelta(minutes=1), "the class may say so any time"
    gateway_class(world, {"name": PART_OF_COPIES})
    await world.settle()
    assert world.route()["spec"]["rules"][-1]["filters"][0]["requestMirror"]["percent"] == 30
    assert world.condition("Stalled")[0] == "False"
    assert all(one["assumed"] for one in world.status["traffic"])


async def test_an_api_server_that_does_not_answer_ends_no_copies_and_holds_no_abort_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await at_a_step_with_copies(tmp_path, {"name": PART_OF_COPIES})
    no_answer_about_classes(world, monkeypatch)
    await world.settle(passes=3)
    assert world.route()["spec"]["rules"][-1]["filters"], "nothing is taken away"
    assert all(one["assumed"] for one in world.status["traffic"])
    say(world.api, "abort", "now")
    await world.settle()
    assert world.status["phase"] == "RolledBack"
    assert all("filters" not in rule for rule in world.route()["spec"]["rules"])


async def test_a_pass_asks_once_what_the_class_of_the_gateway_can_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await at_a_step_with_copies(tmp_path, {"name": PART_OF_COPIES})
    get, asked = world.api.get, []

    async def answers(kind: Kind, namespace: str, name: str) -> Json:
        asked.append(kind)
        return await get(kind, namespace, name)

    monkeypatch.setattr(world.api, "get", answers)
    await world.once()
    assert [kind for kind in asked if kind != HTTPROUTE] == [GATEWAY_KIND, GATEWAYCLASS]
    assert world.route()["spec"]["rules"][-1]["filters"]


async def test_an_abort_of_copies_that_nobody_makes_is_not_held_up(tmp_path: Path) -> None:
    world = await at_a_step_with_copies(tmp_path)
    say(world.api, "abort", "now")
    await world.settle()
    assert world.status["phase"] == "RolledBack"
    assert len(world.api.all(DEPLOYMENT)) == 1


@pytest.mark.parametrize("router", [GATEWAY, {"type": "Service"}], ids=["Gateway", "Service"])
async def test_a_preview_leads_to_the_challengers_pods_and_goes_with_the_wish(
    tmp_path: Path, router: Json
) -> None:
    world = await canary(tmp_path, router)
    key = Key(SERVICE, NAMESPACE, f"{NAME}-preview")
    edit(world.api, strategy={**STEPS, "preview": True})
    await world.settle()
    assert world.api.objects[key]["spec"]["selector"]["noria.dev/version"] == "flights-2"
    say(world.api, "abort", "now")
    await world.settle()
    assert world.api.objects[key]["spec"]["selector"]["noria.dev/version"] == "flights-1"
    edit(world.api, strategy=STEPS)
    await world.settle()
    assert key not in world.api.objects


async def test_no_router_of_noria_is_made_where_another_kind_is_asked_for(tmp_path: Path) -> None:
    for router in (GATEWAY, {"type": "Service"}):
        world = await canary(tmp_path, router)
        assert "noria-router" not in {key.name for key in world.api.objects}


async def test_weights_are_believed_after_the_gateway_took_them_and_settle_is_over(
    tmp_path: Path,
) -> None:
    world = await canary(tmp_path, {"type": "Gateway", "gateway": {"name": "public", "settle": "30s"}})
    say(world.api, "abort", "now")
    await world.once()
    assert not any(one.get("assumed") for one in world.status["traffic"])
    world.api.clock.time += timedelta(minutes=1)
    await world.once()
    assert not any(one.get("assumed") for one in world.status["traffic"])  # nobody has looked at the route
    await world.settle(seconds=1, passes=3)
    assert all(one.get("assumed") for one in world.status["traffic"])


async def test_an_abort_reaches_the_route_before_anything_that_could_fail(tmp_path: Path) -> None:
    world = await canary(tmp_path, GATEWAY)
    one, two = world.names()
    say(world.api, "abort", "now")
    world.api.writes.clear()
    world.api.refuse[DEPLOYMENT.kind] = Forbidden(403, "Forbidden", "anything")
    await world.once()
    assert world.api.writes[:2] == ["status ModelDeployment flights", "apply HTTPRoute flights"]
    assert world.backends() == [[(one, 100), (two, 0)]]


@pytest.mark.parametrize("router", [GATEWAY, {"type": "Service"}], ids=["Gateway", "Service"])
async def test_pods_go_once_nobody_sends_them_anything_any_more(tmp_path: Path, router: Json) -> None:
    """A gateway that is slower than `settle` sends by the old weights, and a connection through a Service
    stays with its pod.
    """
    world = await canary(tmp_path, router)
    _, two = world.names()
    say(world.api, "abort", "now")
    for count in range(10):
        world.servers.counted["flights-2"] = Counts(count, 0)
        after = await world.once()
        world.api.serve()
        assert Key(DEPLOYMENT, NAMESPACE, two) in world.api.objects
        world.api.clock.time += timedelta(seconds=1)
    assert after == timedelta(seconds=1), "looked at again soon"
    assert [one["weight"] for one in world.status["traffic"]] == [100, 0]
    await world.passes(3, seconds=1)
    assert Key(DEPLOYMENT, NAMESPACE, two) not in world.api.objects
    assert len(world.names()) == 1


@pytest.mark.parametrize("router", [GATEWAY, {"type": "Service"}], ids=["Gateway", "Service"])
async def test_pods_go_once_their_last_request_is_answered(tmp_path: Path, router: Json) -> None:
    """One prediction may take longer than a pod that is told to end works on."""
    world = await canary(tmp_path, router)
    _, two = world.names()
    say(world.api, "abort", "now")
    world.servers.busy = {"flights-2": 1}
    for under_way in (True, False):
        await world.passes(12, seconds=5)
        assert (Key(DEPLOYMENT, NAMESPACE, two) in world.api.objects) is under_way
        world.servers.busy = {}


@pytest.mark.parametrize("router", [GATEWAY, {"type": "Service"}], ids=["Gateway", "Service"])
async def test_a_request_without_an_end_holds_its_pods_for_five_minutes(tmp_path: Path, router: Json) -> None:
    world = await canary(tmp_path, router)
    _, two = world.names()
    say(world.api, "abort", "now")
    world.servers.busy = {"flights-2": 1}
    for held in (True, False):
        await world.passes(20, seconds=10)
        assert (Key(DEPLOYMENT, NAMESPACE, two) in world.api.objects) is held


async def test_pods_that_answer_nobody_are_waited_for_only_while_they_serve(tmp_path: Path) -> None:
    world = await canary(tmp_path, GATEWAY)
    _, two = world.names()
    say(world.api, "abort", "now")
    world.servers.silent = ("flights-1", "flights-2")
    for ready in (True, False):
        for _ in range(6):
            await world.once()
            world.api.serve()
            for pod in world.api.all(POD):
                pod["spec"] = {"containers": [{"ports": [{"name": "counters"}]}]}
                pod["status"]["conditions"] = [{"type": "Ready", "status": str(ready)}]
                world.api.put(POD, pod)
            world.api.clock.time += timedelta(seconds=10)
        assert (Key(DEPLOYMENT, NAMESPACE, two) in world.api.objects) is ready


async def test_servers_count_where_the_router_does_not_and_errors_abort(tmp_path: Path) -> None:
    world = await canary(tmp_path, GATEWAY)
    world.servers.counted = {"flights-1": Counts(4000, 4), "flights-2": Counts(1000, 1000)}
    await world.settle()
    world.servers.counted = {"flights-1": Counts(8000, 8), "flights-2": Counts(2000, 2000)}
    await world.settle()
    assert world.status["phase"] == "RolledBack"
    assert world.backends()[0][0][1] == 100


@pytest.mark.parametrize("silent", ["flights-1", "flights-2"], ids=["champion", "challenger"])
async def test_counts_of_one_version_alone_are_an_error_and_move_nothing(tmp_path: Path, silent: str) -> None:
    world = await canary(tmp_path, GATEWAY)
    world.servers.silent = {silent}
    for count in range(1, 4):
        world.servers.counted = {"flights-1": Counts(4000 * count), "flights-2": Counts(1000 * count, 1000)}
        world.api.clock.time += timedelta(hours=1)
        await world.once()
    assert world.status["analysis"]["verdict"] == "Error"
    assert world.status["step"]["index"] == 0, "though its time is over"
    world.servers.silent = ()
    await world.settle()
    assert world.status["analysis"]["verdict"] != "Error"


@pytest.mark.parametrize("router", [GATEWAY, {"type": "Service"}], ids=["gateway", "service"])
async def test_servers_tell_what_they_have_not_answered_where_the_router_does_not(
    tmp_path: Path, router: Json
) -> None:
    world = await canary(tmp_path, router)
    world.servers.busy = {"flights-2": 300}
    ctx = world.operator()
    arms = [Revision(one["version"], one["revision"], one["name"]) for one in world.status["traffic"]]
    told = await ROUTINGS[router["type"]].under_way(ctx, ctx.store.get(KEY) or {}, arms)
    assert told is not None
    assert [count > 0 for count in told.values()] == [False, True]
    assert [*told] == [one.name for one in arms]


async def test_counts_of_servers_are_read_at_their_own_pace(tmp_path: Path) -> None:
    world = await canary(tmp_path, GATEWAY)
    assert await world.once() == timedelta(seconds=15)


async def test_a_route_of_a_users_gets_weights_and_nothing_else(tmp_path: Path) -> None:
    """Case 50."""
    world = await canary(tmp_path, MINE)
    one, two = world.names()
    assert world.backends("mine") == [[("legacy", 300), (one, 80), (two, 20)]]
    rule = world.route("mine")["spec"]["rules"][0]
    assert rule["matches"] == ["m"]
    assert {each["port"] for each in rule["backendRefs"]} == {80}
    assert Key(HTTPROUTE, NAMESPACE, NAME) not in world.api.objects
    writes = len(world.api.writes)
    await world.once()
    assert len(world.api.writes) == writes


async def test_a_rule_of_a_users_that_leads_to_the_preview_stays_as_it_is(tmp_path: Path) -> None:
    world = await canary(tmp_path, MINE)
    found = await world.api.get(HTTPROUTE, NAMESPACE, "mine")
    testers = {"matches": ["t"], "backendRefs": [{"name": f"{NAME}-preview", "port": 80}]}
    world.api.put(
        HTTPROUTE, {**found, "spec": {**found["spec"], "rules": [*found["spec"]["rules"], testers]}}
    )
    edit(world.api, strategy={**STEPS, "preview": True})
    say(world.api, "abort", "now")
    await world.settle()
    divided, preview = world.route("mine")["spec"]["rules"]
    assert [one["name"] for one in divided["backendRefs"]] == ["legacy", *world.names()]
    assert preview == testers


async def test_a_route_that_somebody_reverts_gets_its_weights_again(tmp_path: Path) -> None:
    """Case 27."""
    world = await canary(tmp_path, MINE)
    wanted = world.backends("mine")
    found = await world.api.get(HTTPROUTE, NAMESPACE, "mine")
    found["spec"]["rules"][0]["backendRefs"] = [{"name": NAME, "port": 80, "weight": 100}]
    world.api.put(HTTPROUTE, found)
    assert modeldeployment.related(world.operator().store, found) == [KEY]
    await world.once()
    assert world.backends("mine")[0] == wanted[0][1:]


async def test_a_route_of_norias_gets_weights_until_one_of_a_users_takes_its_place(tmp_path: Path) -> None:
    world = await canary(tmp_path, GATEWAY)
    edit(world.api, router=MINE)
    say(world.api, "abort", "now")
    await world.once()
    assert world.backends()[-1] == list(zip(world.names(), (100, 0), strict=True)), "nobody took the other"
    kind = {"apiVersion": HTTPROUTE.api_version, "kind": HTTPROUTE.kind}
    spec = {"parentRefs": [{"name": "public"}], "rules": [{"backendRefs": [{"name": NAME, "port": 80}]}]}
    meta = {"name": "mine", "namespace": NAMESPACE, "uid": "r", "generation": 1}
    world.api.put(HTTPROUTE, {**kind, "metadata": meta, "spec": spec})
    await world.settle()
    assert world.backends("mine") == [[(world.names()[0], 100)]]
    assert world.route()["spec"]["parentRefs"] == []
    writes = len(world.api.writes)
    await world.once()
    assert len(world.api.writes) == writes
    edit(world.api, router=GATEWAY)
    await world.settle()
    assert [one["name"] for one in world.route()["spec"]["parentRefs"]] == ["public"]


async def test_a_route_that_is_missing_or_has_no_place_for_weights_is_told(tmp_path: Path) -> None:
    world = World(tmp_path, router=MINE)
    approve(world.api, 1)
    await world.settle()
    assert world.condition("Stalled")[:2] == ("True", "RouteNotFound")
    assert world.condition("Servable")[0] == "False"
    kind = {"apiVersion": HTTPROUTE.api_version, "kind": HTTPROUTE.kind}
    spec = {"parentRefs": [{"name": "public"}], "rules": [{"backendRefs": [{"name": "legacy", "weight": 1}]}]}
    meta = {"name": "mine", "namespace": NAMESPACE, "uid": "r", "generation": 1}
    world.api.put(HTTPROUTE, {**kind, "metadata": meta, "spec": spec})
    await world.settle()
    assert world.condition("Stalled")[:2] == ("True", "RouteUnusable")
    assert "add backendRefs" in world.condition("Stalled")[2]


async def test_a_route_that_no_gateway_takes_is_told_and_nothing_is_in_force(tmp_path: Path) -> None:
    world = World(tmp_path, router=GATEWAY)
    world.api.accepts = False
    approve(world.api, 1)
    await world.settle()
    assert world.condition("Stalled")[:2] == ("True", "RouteRefused")
    assert "not allowed" in world.condition("Stalled")[2]
    assert world.condition("Servable")[0] == "False"
    world.api.accepts = True
    world.api.serve()
    await world.settle()
    assert world.condition("Servable")[0] == "True"
    assert world.condition("Stalled")[0] == "False"


async def test_whoever_gets_no_request_since_an_older_route_takes_them_is_not_ready(tmp_path: Path) -> None:
    world = World(tmp_path, router=GATEWAY)
    approve(world.api, 1)
    await world.settle()
    assert world.condition("Ready")[0] == "True"
    mine = world.route()
    meta = {**mine["metadata"], "name": "older", "uid": "o", "creationTimestamp": "2020-01-01T00:00:00Z"}
    world.api.put(HTTPROUTE, {**mine, "metadata": meta})
    await world.settle()
    assert world.condition("Stalled")[:2] == ("True", "HostConflict")
    assert f"any host/v2/models/{NAME} (HTTPRoute {NAMESPACE}/older)" in world.condition("Stalled")[2]
    assert world.condition("Ready")[:2] == ("False", "HostConflict")
    del world.api.objects[Key(HTTPROUTE, NAMESPACE, "older")]
    await world.settle()
    assert (world.condition("Ready")[0], world.condition("Stalled")[0]) == ("True", "False")


async def test_an_installation_without_the_gateway_api_says_so(tmp_path: Path) -> None:
    world = World(tmp_path, router=GATEWAY)
    approve(world.api, 1)
    await world.settle(gateway=False)
    assert world.condition("Stalled")[:2] == ("True", "GatewayDisabled")
    assert world.api.all(HTTPROUTE) == []


@pytest.mark.parametrize("router", [GATEWAY, {"type": "Service"}, {"replicas": 1}])
async def test_a_container_without_counters_is_called_unjudgeable_where_the_router_counts_nothing(
    tmp_path: Path, router: Json
) -> None:
    server = {"runtime": "custom", "image": "x:1"}
    world = World(tmp_path, router=router, strategy=STEPS, server=server)
    await world.once()
    kinds = {one["type"]: one["status"] for one in world.status["conditions"]}
    assert kinds.get("Judgeable") == (None if router == {"replicas": 1} else "False")


class Documents:
    """Model servers that answered so many requests each, but for those whose pods are not ready."""

    def __init__(self, world: World) -> None:
        self.world, self.requests = world, 0

    async def json(self, url: str, *, read: Callable[[Any], Any], **_: Any) -> Any:
        pod = next(one for one in self.world.api.all(POD) if one["status"]["podIP"] in url)
        times = {"started": 1.0, "from": 1.0, "at": 2.0}
        head = {"schema": "noria.counters/v1", "version": "flights-1", "process": "a", **times}
        return read({**head, "requests": {"ok": self.requests}}) if passes_probe(pod) else None


async def test_a_container_that_ends_is_an_error_though_its_pod_answers_nobody(tmp_path: Path) -> None:
    """And loses its weight in the same pass, so that it never answers again in that window."""
    world = await canary(tmp_path, GATEWAY)
    servers = Documents(world)
    world.servers = cast(Servers, CounterReader(cast(Fetcher, servers)))
    for servers.requests in (1000, 1100):
        await world.once()
        world.api.clock.time += timedelta(seconds=15)
    (pod,) = [one for one in world.api.all(POD) if one["metadata"]["name"].startswith(world.names()[1])]
    ready, names = pod["status"], [one["name"] for one in pod["spec"]["containers"]]
    ended = [{"name": name, "restartCount": 0, "state": {"terminated": {}}} for name in names]
    conditions = [{"type": "Ready", "status": "False"}]
    world.api.put(POD, {**pod, "status": {**ready, "conditions": conditions, "containerStatuses": ended}})
    await world.once()
    assert [one["weight"] for one in world.status["traffic"]] == [100, 0]
    assert world.status["analysis"]["challenger"]["errors"] == 1
    again = [{"name": name, "restartCount": 1, "state": {"running": {}}} for name in names]
    world.api.put(POD, {**pod, "status": {**ready, "containerStatuses": again}})
    for servers.requests in (1200, 1300, 1400):
        await world.once()
        world.api.clock.time += timedelta(seconds=15)
    assert [one["weight"] for one in world.status["traffic"]] == [80, 20]
    assert world.status["analysis"]["challenger"]["requests"] > 1101
    assert world.status["analysis"]["challenger"]["errors"] == 1, "which its restart does not count again"


async def test_a_container_that_counts_nothing_beside_one_that_does_gets_no_further_step(
    tmp_path: Path,
) -> None:
    world = await canary(tmp_path, GATEWAY)
    edit(world.api, server={"runtime": "custom", "image": "x:1"})
    approve(world.api, 3)
    world.servers.silent = ("flights-3",)
    await world.settle()
    assert world.status["candidate"]["version"] == "flights-3"
    assert world.condition("Judgeable")[:2] == ("False", "NoCounts")
    for count in range(1, 4):
        world.servers.counted = {"flights-1": Counts(4000 * count)}
        world.api.clock.time += timedelta(hours=1)
        await world.once()
    assert [one["weight"] for one in world.status["traffic"]][:2] == [80, 20]
    assert world.status["step"]["index"] == 0


QUERY = {"name": "late", "template": "late", "successCondition": "result[0] < 0.05"}


async def of_a_container(folder: Path, router: Json, strategy: Json = STEPS) -> World:
    """Version 1 serves from a container of the user's own."""
    server = {"runtime": "custom", "image": "x:1"}
    world = World(folder, router=router, replicas=2, strategy=strategy, server=server)
    world.servers.silent = ("flights-1",)
    approve(world.api, 1)
    await world.settle()
    return world


@pytest.mark.parametrize("router", [GATEWAY, {"type": "Service"}], ids=["gateway", "service"])
async def test_who_leaves_a_container_of_his_own_is_judged_by_queries_alone(
    tmp_path: Path, router: Json
) -> None:
    """Nobody counts what the champion answers, whatever the spec asks for by now."""
    world = await of_a_container(tmp_path, router)
    approve(world.api, 2)
    edit(world.api, server={"runtime": "noria"})
    await world.settle()
    world.servers.counted = {"flights-2": Counts(1000)}
    await world.settle()
    assert world.condition("Judgeable")[:2] == ("False", "NoCounts")
    edit(world.api, strategy={**STEPS, "analysis": {"queries": [QUERY]}})
    await world.settle()
    (errors, _) = world.status["analysis"]["measures"]
    assert errors["verdict"] == "Pass"
    assert errors["message"] == "nobody counts them here, so that the queries decide"
    assert "Judgeable" not in [one["type"] for one in world.status["conditions"]]


async def test_once_noria_s_own_server_is_the_champion_its_successors_are_judged_by_counts(
    tmp_path: Path,
) -> None:
    world = await of_a_container(tmp_path, GATEWAY)
    edit(world.api, server={"runtime": "noria"})
    assert await world.once() is not None
    assert world.condition("Judgeable")[:2] == ("False", "NoCounts"), "from the beginning"
    await world.settle()
    say(world.api, "promote-full", "1")
    await world.settle()
    assert world.status["phase"] == "Healthy"
    assert "Judgeable" not in [one["type"] for one in world.status["conditions"]]


async def test_a_step_that_asks_for_requests_holds_who_takes_a_container_s_place_and_says_so(
    tmp_path: Path,
) -> None:
    steps = {"steps": [{"weight": 20, "minRequests": 100}]}
    world = await of_a_container(tmp_path, GATEWAY, {**steps, "analysis": {"queries": [QUERY]}})
    approve(world.api, 2)
    edit(world.api, server={"runtime": "noria"})
    await world.settle()
    assert world.condition("Judgeable")[:2] == ("False", "NoRequestsCounted")


# -- Service ---------------------------------------------------------------------------------------


async def test_a_service_divides_by_pods_and_status_says_what_that_comes_to(tmp_path: Path) -> None:
    world = await canary(tmp_path, {"type": "Service"})
    assert world.selected() == ""
    assert [one["realised"] for one in world.status["traffic"]] == [67, 33]
    assert all(one["assumed"] for one in world.status["traffic"])
    say(world.api, "promote-full", "now")
    await world.settle()
    assert world.selected() == "flights-2"
    assert [one.get("realised") for one in world.status["traffic"]] == [100, 0]


async def test_an_abort_takes_the_challengers_pods_out_of_the_service_first(tmp_path: Path) -> None:
    world = await canary(tmp_path, {"type": "Service"})
    say(world.api, "abort", "now")
    world.api.writes.clear()
    await world.once()
    assert world.api.writes[:2] == ["status ModelDeployment flights", "apply Service flights"]
    assert world.selected() == "flights-1"


@pytest.mark.parametrize("twin", [False, True], ids=["another artifact", "the same"])
async def test_pods_of_a_former_version_are_gone_before_two_versions_are_selected(
    tmp_path: Path, twin: bool
) -> None:
    world = await canary(tmp_path, {"type": "Service"})
    say(world.api, "promote-full", "now")
    await world.settle()
    assert world.status["previous"]["version"] == "flights-1"
    former = [
        pod for pod in world.api.all(POD) if pod["metadata"]["labels"]["noria.dev/version"] == "flights-1"
    ]
    approve(world.api, 3, like=1 if twin else None)
    for _ in range(8):
        await world.once()
        world.api.serve()
        for pod in former:
            world.api.put(POD, pod)
        world.api.clock.time += timedelta(seconds=10)
    assert world.status["step"]["index"] == 0
    assert world.selected() == "flights-2"
    world.api.serve()
    await world.settle()
    assert world.selected() == ""


async def test_the_last_of_another_kind_leaves_envoys_router_to_the_others(tmp_path: Path) -> None:
    world = await canary(tmp_path, {"type": "Service"})
    edit(world.api, replicas=3)
    await world.settle()
    assert world.api.all(MODELDEPLOYMENT)[0]["status"]["replicas"] == 3
