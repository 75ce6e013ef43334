"""Several challengers at once, on a real Envoy: exact shares, users that stay, headers of each."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from tests.integration.envoy_router import (
    Cluster,
    Load,
    Router,
    Upstream,
    discovery,
    free_port,
    router,
    share,
    upstream,
)

Json = dict[str, Any]
CHI2_3 = 45.0
"""What three degrees of freedom exceed once in a thousand million runs."""
"""A correct split among four exceeds this once in a thousand runs."""
USERS = range(600)


def several(cluster: Cluster, shares: dict[str, tuple[int, str]], **more: Json) -> None:
    """Weights and ranges of the champion m-1 and of its challengers, as status has them."""
    first, *others = [name for name in shares if name != "m-1"]
    traffic = [
        share(name, weight, ranges=ranges, **more.get(name.replace("-", "_"), {}))
        for name, (weight, ranges) in shares.items()
    ]
    status = {
        "stable": {"name": "m-1"},
        "candidate": {"name": first},
        "others": [{"name": name} for name in others],
        "traffic": traffic,
    }
    spec = {"model": "m", "strategy": {"sticky": {"header": "x-user"}}}
    body = {"apiVersion": "noria.dev/v1alpha1", "kind": "ModelDeployment", "metadata": {"name": "m"}}
    cluster.put({**body, "spec": spec, "status": status})


async def serving(stack: AsyncExitStack, cluster: Cluster) -> Upstream:
    """Pods of four versions; that of the third."""
    servers = [await stack.enter_async_context(upstream(f"m-{number}")) for number in (1, 2, 3, 4)]
    for server in servers:
        cluster.endpoints(server.name, server.port)
    return servers[2]


async def versions_of(envoy: Router) -> dict[int, str]:
    return {user: (await envoy.get("m", headers={"x-user": f"user-{user}"}))[1] for user in USERS}


ALL = {"m-1": (50, "0-49"), "m-4": (10, "50-59"), "m-3": (20, "60-79"), "m-2": (20, "80-99")}


async def test_shares_of_three_arms_are_exact_and_each_user_stays_with_its_version() -> None:
    cluster, port = Cluster(), free_port()
    async with AsyncExitStack() as stack:
        await serving(stack, cluster)
        await stack.enter_async_context(discovery(cluster.store(), port))
        envoy = await stack.enter_async_context(router(port))
        several(cluster, ALL)
        await envoy.until_ready()
        await envoy.until_weights("m", {name: weight for name, (weight, _) in ALL.items()})
        split = Load(envoy, "m")
        await split.requests(2000)
        expected = {name: 20 * weight for name, (weight, _) in ALL.items()}
        chi2 = sum((split.shares()[name] - count) ** 2 / count for name, count in expected.items())
        assert chi2 < CHI2_3, split.answers

        before = await versions_of(envoy)
        assert before == await versions_of(envoy), "a user flips between versions"
        expected = {name: 6 * weight for name, (weight, _) in ALL.items()}
        found = {name: list(before.values()).count(name) for name in expected}
        chi2 = sum((found[name] - count) ** 2 / count for name, count in expected.items())
        assert chi2 < CHI2_3, found

        # An arm in the middle fails: its users, and nobody else, go to the champion.
        gone = {**ALL, "m-1": (70, "0-49,60-79"), "m-3": (0, "")}
        several(cluster, gone)
        await envoy.until_weights("m", {name: weight for name, (weight, _) in gone.items()})
        after = await versions_of(envoy)
        moved = {(before[user], after[user]) for user in USERS if before[user] != after[user]}
        assert moved == {("m-3", "m-1")}
        assert "m-3" not in after.values()


async def test_an_arm_that_loses_its_pods_fails_no_request_and_moves_nobody_elses_users() -> None:
    cluster, port = Cluster(), free_port()
    async with AsyncExitStack() as stack:
        three = await serving(stack, cluster)
        await stack.enter_async_context(discovery(cluster.store(), port))
        envoy = await stack.enter_async_context(router(port))
        several(cluster, ALL)
        await envoy.until_ready()
        await envoy.until_weights("m", {name: weight for name, (weight, _) in ALL.items()})
        before = await versions_of(envoy)
        cluster.endpoints("m-3")
        during = await versions_of(envoy)
        moved = {(before[user], during[user]) for user in USERS if before[user] != during[user]}
        assert moved <= {("m-3", "m-1")}
        cluster.endpoints("m-3", three.port)
        assert set((await versions_of(envoy)).values()) == set(ALL)


async def test_each_arm_has_its_header() -> None:
    cluster, port = Cluster(), free_port()
    async with AsyncExitStack() as stack:
        await serving(stack, cluster)
        await stack.enter_async_context(discovery(cluster.store(), port))
        envoy = await stack.enter_async_context(router(port))
        shares = {"m-1": (100, "0-99"), "m-2": (0, ""), "m-3": (0, "")}
        headers = {name: {"match": [{"name": "x-team", "value": name}]} for name in ("m-2", "m-3")}
        several(cluster, shares, m_2=headers["m-2"], m_3=headers["m-3"])
        await envoy.until_ready()
        await envoy.until_weights("m", {name: weight for name, (weight, _) in shares.items()})
        assert await envoy.get("m") == (200, "m-1")
        for name in ("m-2", "m-3"):
            assert await envoy.get("m", headers={"x-team": name}) == (200, name)
        assert await envoy.get("m", headers={"x-team": "m-9"}) == (200, "m-1")
