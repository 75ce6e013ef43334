"""One suite for every kind of router, with real pods and traffic, by what each declares that it can.

Kinds are those of `tests/e2e/routed.py`: Noria's Envoy, an HTTPRoute of Noria's and one of a user's at a real
gateway, and a plain Service through a real kube-proxy.
"""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from kubernetes.client.exceptions import ApiException
from tests.e2e.envoy_gateway import EnvoyGateway
from tests.e2e.kube import Kube, condition, namespace
from tests.e2e.load import REQUEST
from tests.e2e.models import approve
from tests.e2e.others_route import MIXED, OTHER, ROUTE, rules
from tests.e2e.routed import CANARY, RARE, Routed, able, chance
from tools.cluster.process import wait_for

pytestmark = pytest.mark.extended

SAMPLE = 10_000
FEWER = 2_000
"""Enough for what is not about the weights themselves."""


@pytest.fixture(scope="module")
def kube(noria: Path, images: dict[str, str]) -> Iterator[Kube]:
    """Two versions of a model, ready to be served."""
    with namespace(noria, "e2e-routers") as kube:
        approve(kube, images["example-flights"], 2)
        yield kube


def report(routed: Routed, what: str, found: Counter[str], p: float) -> None:
    """A figure for whoever runs this with -rP."""
    print(f"{routed.kind}: {what}: {dict(found)}, p = {p:.3f}")


def test_a_first_version_has_all_traffic(routed: Routed) -> None:
    md = routed.until(tiny_1=100)
    assert condition(md, "Ready")["status"] == "True"
    assert routed.answers(160) == {"1": 160}
    (share,) = md["status"]["traffic"]
    read = bool(routed.able.read_back)
    assert (share["verified"], share.get("assumed", False)) == (read, not read)


UNABLE = {
    "mirror": {"steps": [{"mirror": 100, "pause": True}]},
    "match": {"steps": [{"match": [{"name": "x-canary", "value": "always"}], "pause": True}]},
    "sticky": {"steps": [CANARY], "sticky": {"header": "x-user"}},
    "any_weight": {"steps": [{"weight": 60, "pause": True}]},
}


@pytest.mark.parametrize("capability", UNABLE)
def test_what_a_router_cannot_do_is_refused_when_it_is_asked_for(routed: Routed, capability: str) -> None:
    asked = dict(UNABLE[capability])
    if getattr(routed.able, capability):
        routed.deploy(1, *asked.pop("steps"), **asked)
        routed.deploy(1)
        return
    with pytest.raises(ApiException, match=r"leave .* out|at most"):
        routed.deploy(2, *asked.pop("steps"), **asked)


def test_requests_or_connections_are_divided_as_the_router_declares(routed: Routed) -> None:
    """And a challenger at weight 0 gets nothing, although its pods are ready."""
    routed.deploy(2, {"weight": 0, "pause": True}, {"weight": 50, "pause": True})
    routed.paused()
    assert routed.answers(1_000) == {"1": 1_000}
    assert routed.counted(2) == 0, "weight 0"
    routed.say("promote")
    routed.until(tiny_1=50, tiny_2=50)
    met = set(routed.ask([{}] * 200, clients=1))
    assert len(met) == (2 if routed.able.by_request else 1), "one connection"
    routed.back()


def test_shares_are_exact(routed: Routed) -> None:
    """Of pods where those divide the traffic, which with these weights are the same shares."""
    routed.deploy(2, CANARY, {"weight": 50, "pause": True})
    for weight, count in ((20, SAMPLE), (50, FEWER)):
        md = routed.until(tiny_1=100 - weight, tiny_2=weight)
        found = routed.answers(count)
        p = chance(found, {"1": 100 - weight, "2": weight})
        report(routed, f"weight {weight}", found, p)
        assert p > RARE, found
        if not routed.able.any_weight:
            assert [one["realised"] for one in md["status"]["traffic"]] == [100 - weight, weight]
        routed.say("promote")
    routed.back()


@pytest.mark.parametrize("routed", able("match"), indirect=True)
def test_requests_with_a_header_reach_the_challenger_alone(routed: Routed) -> None:
    routed.deploy(2, {"match": [{"name": "x-canary", "value": "always"}], "pause": True})
    routed.paused()
    assert routed.answers(500, {"x-canary": "always"}) == {"2": 500}
    assert routed.answers(500, {"x-canary": "never"}) == {"1": 500}
    routed.back()


@pytest.mark.parametrize("routed", able("named"), indirect=True)
def test_requests_that_name_a_version_meet_it_whatever_the_weights(routed: Routed) -> None:
    routed.deploy(2, {"weight": 50, "pause": True})
    routed.paused()
    for version in ("1", "2"):
        assert routed.named(version, 200) == {version: 200}
    routed.back()


@pytest.mark.parametrize("routed", able("mirror"), indirect=True)
def test_as_many_requests_are_copied_as_was_asked_for(routed: Routed) -> None:
    part = 30 if routed.able.mirror is True else 100
    routed.deploy(2, {"mirror": part, "pause": True})
    routed.paused()
    assert routed.answers(FEWER) == {"1": FEWER}
    copied = 0

    def found() -> float:
        nonlocal copied
        copied = routed.counted(2)
        return chance({"copied": copied, "not": FEWER - copied}, {"copied": part, "not": 100 - part})

    assert wait_for(lambda: found() > RARE, 5), copied  # the last ones may still be on their way
    report(routed, f"mirror {part}", Counter(copied=copied), found())
    routed.back()


@pytest.mark.parametrize("routed", ["Gateway"], indirect=True)
def test_a_gateway_that_does_not_know_how_to_copy_a_part_copies_nothing(routed: Routed) -> None:
    """Contour ignores `percent` and would copy everything; it says of no class what that can do."""
    routed.deploy(2, {"mirror": 30, "pause": True})
    md = routed.wait(lambda md: condition(md, "Stalled").get("reason") == "CopiesUnsupported")
    assert "mirror: 100" in condition(md, "Stalled")["message"]
    routed.wait(lambda _: routed.ready(2) == 2)
    assert routed.answers(FEWER) == {"1": FEWER}
    assert routed.counted(2) == 0
    routed.back()


@pytest.mark.parametrize("routed", ["EnvoyGateway"], indirect=True)
def test_a_gateway_divides_what_comes_over_tls_by_the_same_weights(routed: Routed) -> None:
    """And its proxies are asked at that listener too: `verified` is of both."""
    assert isinstance(routed.gateway, EnvoyGateway)
    trusted = ssl.create_default_context(cadata=routed.gateway.authority)
    plain, routed.url = routed.url, routed.url.replace(routed.gateway.url, routed.gateway.tls_url)
    routed.trusts = trusted
    try:
        routed.deploy(2, CANARY, {"weight": 50, "pause": True})
        for weight in (20, 50):
            routed.until(tiny_1=100 - weight, tiny_2=weight)
            found = routed.answers(FEWER)
            p = chance(found, {"1": 100 - weight, "2": weight})
            report(routed, f"over TLS at {weight}", found, p)
            assert p > RARE, found
            routed.say("promote")
    finally:
        routed.url, routed.trusts = plain, None
    routed.back()


@pytest.mark.parametrize("routed", able("read_back"), indirect=True)
def test_weights_that_are_verified_are_in_force_also_where_one_change_follows_another_at_once(
    routed: Routed,
) -> None:
    """Weights may stand elsewhere than what proxies are asked for."""
    for _ in range(3):
        for weight in (40, 60):
            routed.deploy(2, {"weight": weight, "pause": True, "replicas": "50%"})
            routed.until(tiny_1=100 - weight, tiny_2=weight)
        routed.deploy(1)
        routed.until(tiny_1=100)
        assert routed.answers(200) == {"1": 200}
    routed.back()


@pytest.mark.parametrize("routed", able("sticky"), indirect=True)
def test_users_stay_with_their_version_while_its_share_grows(routed: Routed) -> None:
    """Case 46."""
    users = [{"x-user": f"user-{number}"} for number in range(FEWER)]
    routed.deploy(2, CANARY, {"weight": 40, "pause": True}, sticky={"header": "x-user"})
    routed.until(tiny_1=80, tiny_2=20)
    before = routed.ask(users)
    assert routed.ask(users) == before
    routed.say("promote")
    routed.until(tiny_1=60, tiny_2=40)
    after = routed.ask(users)
    for found, weight in ((before, 20), (after, 40)):
        p = chance(Counter(found), {"1": 100 - weight, "2": weight})
        report(routed, f"users at {weight}", Counter(found), p)
        assert p > RARE
    assert {late for early, late in zip(before, after, strict=True) if early == "2"} == {"2"}
    routed.back()


@pytest.mark.parametrize("routed", ["Route"], indirect=True)
def test_what_is_not_ours_in_a_route_of_a_users_stays_in_every_write(routed: Routed) -> None:
    """Case 50: other rules, matches, filters and backends, and the share of those."""
    routed.deploy(2, CANARY)
    routed.until(tiny_1=80, tiny_2=20)
    found = routed.answers(FEWER, MIXED)
    p = chance(found, {OTHER: 25, "1": 60, "2": 15})
    report(routed, "beside the backend of another", found, p)
    assert p > RARE, found
    answer = httpx.post(routed.url, json=REQUEST, headers=routed.headers)
    assert answer.headers["x-team"] == "blue"
    legacy = httpx.post(routed.url.replace("/v2/", "/legacy/"), json=REQUEST, headers=routed.headers)
    assert legacy.json() == {"model_version": OTHER}
    routed.back()
    # Status says so first: what goes is taken out of the route after the status that allows it.
    backends = [len(rule["backendRefs"]) for rule in rules(routed.name)]
    route = routed.kube.until(
        "HTTPRoute", ROUTE, lambda it: [len(rule["backendRefs"]) for rule in it["spec"]["rules"]] == backends
    )
    for kept, written in zip(route["spec"]["rules"], rules(routed.name), strict=True):
        assert [each["path"] for each in kept["matches"]] == [each["path"] for each in written["matches"]]
        assert kept.get("filters", []) == written.get("filters", [])
    mixed, alone, ours = ([each["weight"] for each in rule["backendRefs"]] for rule in route["spec"]["rules"])
    assert (mixed, alone, ours) == ([100, 300], [1], [100])
