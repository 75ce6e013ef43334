"""A new release of Noria under traffic: it replaces its own pods alone; routers follow when somebody asks, or
by themselves where they are of a release that it no longer understands.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import Program, install
from tests.e2e.disturbances import OPERATORS, ROUTERS, SYSTEM, nobody_leads
from tests.e2e.kube import Kube, namespace
from tests.e2e.models import approve
from tests.e2e.rollouts import RATE
from tests.e2e.routed import CANARY, RARE, Routed, behind, chance

from noria_operator.routers.children import DISCOVERY, DISCOVERY_ANNOTATION, TEMPLATE_ANNOTATION

pytestmark = pytest.mark.extended

ROUTER = "noria-router"


@pytest.fixture(scope="module")
def kube(noria: Path, images: dict[str, str]) -> Iterator[Kube]:
    with namespace(noria, "e2e-upgrade") as kube:
        approve(kube, images["example-flights"], 2)
        yield kube


@pytest.fixture(scope="module")
def routed(kube: Kube) -> Iterator[Routed]:
    """A canary stands at 20 percent."""
    with behind("Envoy", kube, lambda _: pytest.fail("no gateway"), replicas=2) as routed:
        routed.deploy(2, CANARY)
        routed.until(tiny_1=80, tiny_2=20)
        yield routed


def replaced(kube: Kube, old: set[str]) -> None:
    """Wait until none of the routers is one of these and all are ready."""
    for name in old:
        kube.until_gone("Pod", name, timeout=180)
    kube.until(
        "Deployment",
        ROUTER,
        lambda it: (
            it["status"].get("observedGeneration") == it["metadata"]["generation"]
            and it["status"].get("readyReplicas") == it["status"].get("updatedReplicas") == 2
        ),
    )


def test_a_new_release_replaces_the_operator_and_nothing_that_serves(
    routed: Routed, helm: Program, images: dict[str, str]
) -> None:
    kube, system = routed.kube, routed.kube.at(SYSTEM)
    serving = f"noria.dev/deployment={routed.name}"
    before, operators = kube.pods(ROUTERS) | kube.pods(serving), system.pods(OPERATORS)
    with routed.load(rate=RATE) as load:
        load.until_sent(200)
        install(helm, images, "--reuse-values", "--set", "logLevel=DEBUG")
        routed.until(tiny_1=80, tiny_2=20)
        load.until_sent(400)
    assert not load.failures, load.summary
    assert kube.pods(ROUTERS) | kube.pods(serving) == before
    assert not system.pods(OPERATORS) & operators
    install(helm, images, "--reuse-values", "--set", "logLevel=INFO")


def test_routers_that_a_person_brings_up_to_date_lose_no_request(routed: Routed) -> None:
    old = routed.kube.pods(ROUTERS)
    with routed.load(rate=RATE) as load:
        load.until_sent(200)
        routed.kube.annotate("Deployment", ROUTER, {"noria.dev/restart": "e2e"})
        replaced(routed.kube, old)
        load.until_sent(400)
    print(f"restart: {load.sent} requests, {len(load.failures)} failed")
    assert not load.failures, load.summary
    routed.until(tiny_1=80, tiny_2=20)


def test_routers_of_a_release_that_is_no_longer_understood_are_replaced_without_losing_a_request(
    routed: Routed,
) -> None:
    """As one left them: pods whose template does not say how they ask for their configuration."""
    kube = routed.kube
    with routed.load(rate=RATE) as load:
        with nobody_leads(kube):
            age(kube)
            old = kube.pods(ROUTERS)
            load.until_sent(200)
            assert not load.failures, load.summary
        replaced(kube, old)
        load.until_sent(400)
    print(f"old routers: {load.sent} requests, {len(load.failures)} failed")
    assert not load.failures, load.summary
    live = kube.get("Deployment", ROUTER)
    assert live is not None
    assert live["spec"]["template"]["metadata"]["annotations"][DISCOVERY_ANNOTATION] == DISCOVERY
    routed.until(tiny_1=80, tiny_2=20)
    assert chance(routed.answers(1_000), {"1": 80, "2": 20}) > RARE


def age(kube: Kube) -> None:
    """Give the routers the template that an old release would have left, and wait for its pods."""
    live = kube.get("Deployment", ROUTER)
    assert live is not None
    template = json.loads(live["metadata"]["annotations"][TEMPLATE_ANNOTATION])
    del template["metadata"]["annotations"][DISCOVERY_ANNOTATION]
    metadata = {"annotations": {TEMPLATE_ANNOTATION: json.dumps(template, sort_keys=True)}}
    annotations = {DISCOVERY_ANNOTATION: None}
    patch = {"metadata": metadata, "spec": {"template": {"metadata": {"annotations": annotations}}}}
    old = kube.pods(ROUTERS)
    kube.merge("Deployment", ROUTER, patch)
    replaced(kube, old)
