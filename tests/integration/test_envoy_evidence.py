"""What a real Envoy counts for every way of failing, and how a router is taken out."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
import yaml
from aiohttp import ClientPayloadError
from tests.integration.envoy_router import (
    DRAIN_TOKEN,
    NAMESPACE,
    Cluster,
    Load,
    Router,
    discovery,
    free_port,
    router,
    until_counts,
    upstream,
)
from tests.integration.scraping import scrape

from noria_operator.domain.latency import Histogram
from noria_operator.domain.rollout_observed import InForce
from noria_operator.domain.verdict import Counts
from noria_operator.evidence.fetch import Fetcher
from noria_operator.evidence.router import RouterReader

PODMONITOR = Path(__file__).parents[2] / "examples" / "autoscaling" / "podmonitor.yaml"


async def test_every_way_of_failing_is_counted_once_and_as_an_error_of_its_version() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as server:
        cluster.endpoints("m-1", server.port)
        cluster.deployment("m", {"m-1": 100, "m-2": 0}, router={"timeout": "1s"})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            reader = RouterReader(stats_port=envoy.stats, traffic_port=envoy.traffic)

            async def counts() -> Counts:
                return (await reader.counts(NAMESPACE, [envoy.pod()], ["m-1"]))["router-0"]["m-1"]

            assert await counts() == Counts(0, 0)
            statuses = []
            for behaviour in ("ok", "wrong", "error", "busy", "reset", "hang"):
                server.behaviour = behaviour
                statuses.append((await envoy.get("m"))[0])
            assert statuses == [200, 400, 500, 429, 503, 504]
            assert server.patience == "1000"
            assert await counts() == Counts(6, 4, 1)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await envoy.get("m")
            await until_counts(counts, Counts(7, 5, 1), "a client that gives up on a hanging version")
            cluster.endpoints("m-1", nobody := free_port())
            await envoy.until_pods("m-1", nobody)
            assert (await envoy.get("m"))[0] == 503
            assert await counts() == Counts(8, 6, 1), "nobody listens; tried four times, counted once"
            cluster.endpoints("m-1")
            await envoy.until_pods("m-1")
            assert (await envoy.get("m"))[0] == 503
            assert await counts() == Counts(9, 7, 1), "no endpoint at all"
            cluster.endpoints("m-1", server.port)
            await envoy.until_pods("m-1", server.port)
            server.behaviour = "moved"
            assert (await envoy.get("m"))[0] == 307
            assert await counts() == Counts(10, 7, 2), "nobody was told anything"
            for behaviour, errors in (("cut", 8), ("stall", 9)):
                server.behaviour = behaviour
                with pytest.raises(ClientPayloadError):
                    await envoy.get("m")
                ended = Counts(2 * errors - 4, errors, 2)
                await until_counts(counts, ended, "a 200 that never ended, and its end")
            everything = await reader.counts(NAMESPACE, [envoy.pod()])
            assert everything["router-0"]["m-2"] == Counts(0, 0)
            await reader.close()


async def test_what_a_pod_drops_is_answered_by_another_and_counts_against_its_version() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as dying, upstream("m-1") as other:
        cluster.endpoints("m-1", dying.port, other.port)
        cluster.deployment("m", {"m-1": 100})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            dying.behaviour = "reset"
            assert {(await envoy.get("m"))[0] for _ in range(20)} == {200}
            reader = RouterReader(stats_port=envoy.stats, traffic_port=envoy.traffic)
            found = (await reader.counts(NAMESPACE, [envoy.pod()], ["m-1"]))["router-0"]["m-1"]
            await reader.close()
    assert found.requests == 20
    assert 0 < found.errors <= dying.served, "once a request, also of one that met the same pod again"


async def test_no_request_meets_the_same_dying_pod_again_while_another_answers() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as one, upstream("m-1") as two, upstream("m-1") as other:
        cluster.endpoints("m-1", one.port, two.port, other.port)
        cluster.deployment("m", {"m-1": 100})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            one.behaviour = two.behaviour = "reset"
            assert {(await envoy.get("m"))[0] for _ in range(200)} == {200}
            other.delay = 0.2
            for _ in range(10):  # the fewest requests are those of a pod that drops them
                answers = await asyncio.gather(*(envoy.get("m") for _ in range(30)))
                assert {status for status, _ in answers} == {200}
            assert await envoy.statistic("cluster.m-1.outlier_detection.ejections_enforced_total") > 0


async def test_all_that_a_busy_pod_had_is_answered_by_another() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as dying, upstream("m-1") as other:
        cluster.endpoints("m-1", dying.port, other.port)
        cluster.deployment("m", {"m-1": 100})
        async with discovery(cluster.store(), port), router(port) as envoy, asyncio.TaskGroup() as clients:
            await envoy.until_ready()
            dying.behaviour, dying.released, other.released = "die", asyncio.Event(), asyncio.Event()
            asked = list[asyncio.Task[tuple[int, str]]]()
            async with asyncio.timeout(20):
                while dying.served < 90:
                    asked += [clients.create_task(envoy.get("m")) for _ in range(30)]
                    while dying.served + other.served < len(asked):  # noqa: ASYNC110  nobody tells
                        await asyncio.sleep(0.01)
                dying.released.set()
                while other.served < len(asked):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                other.released.set()
    assert {task.result()[0] for task in asked} == {200}


async def test_no_client_sets_tries_or_times_of_its_own_not_even_on_loopback() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as server:
        cluster.endpoints("m-1", server.port)
        cluster.deployment("m", {"m-1": 100})
        asked = {
            "x-envoy-retry-on": "5xx",
            "x-envoy-max-retries": "9",
            "x-envoy-upstream-rq-timeout-ms": "1",
            "x-envoy-upstream-alt-stat-name": "mine",
        }
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            server.behaviour = "error"
            assert (await envoy.get("m", headers=asked))[0] == 500
            assert server.served == 1
            server.behaviour, server.delay = "ok", 0.05
            assert (await envoy.get("m", headers=asked))[0] == 200
            assert await envoy.statistic("cluster.m-1.mine.upstream_rq_200") == 0


async def test_weights_in_force_are_read_back_from_every_router() -> None:
    cluster, port = Cluster(), free_port()
    cluster.deployment("m", {"m-1": 60, "m-2": 40})
    async with discovery(cluster.store(), port), router(port) as envoy:
        await envoy.until_ready()
        reader = RouterReader(Fetcher(timeout=0.3), stats_port=envoy.stats, traffic_port=envoy.traffic)
        nowhere = {"metadata": {"namespace": NAMESPACE, "uid": "gone"}, "status": {"podIP": "127.9.9.9"}}
        starting = {"metadata": {"namespace": NAMESPACE, "uid": "new"}, "status": {}}
        assert await reader.in_force(NAMESPACE, "m", [envoy.pod()]) == [InForce(0, {"m-1": 60, "m-2": 40})]
        assert await reader.in_force(NAMESPACE, "unknown", [envoy.pod()]) == [InForce()]
        assert await reader.in_force(NAMESPACE, "m", [envoy.pod(), nowhere]) is None
        assert await reader.in_force(NAMESPACE, "m", []) == []
        assert (await reader.counts(NAMESPACE, [envoy.pod(), nowhere, starting])).keys() == {"router-0"}
        await reader.close()


async def test_a_draining_router_turns_unready_and_sends_clients_elsewhere() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as server:
        cluster.endpoints("m-1", server.port)
        cluster.deployment("m", {"m-1": 100})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            drain = f"http://127.0.0.1:{envoy.stats}/drain"
            async with envoy.session.get(drain) as response:
                assert response.status == 404, "not without the token"
            load, begin = Load(envoy, "m"), time.monotonic()
            async with (
                load.running(),
                envoy.session.get(drain, headers={"Noria-Drain": DRAIN_TOKEN}) as response,
            ):
                assert response.status == 200
            # Envoy's timers round to its millisecond, which may have begun before ours.
            assert time.monotonic() - begin >= 0.99, "the hook ends when the lame duck does"
            assert load.failed == 0
            assert not await envoy.ready()
            async with envoy.session.get(
                f"http://127.0.0.1:{envoy.traffic}/", headers={"Host": "m"}
            ) as response:
                assert response.headers["Connection"] == "close"


async def test_a_draining_router_waits_for_the_last_answer_and_not_for_ever() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as server:
        cluster.endpoints("m-1", server.port)
        cluster.deployment("m", {"m-1": 100})
        async with discovery(cluster.store(), port), router(port, drain_longest=6) as envoy:
            await envoy.until_ready()

            async def drained() -> float:
                begin = time.monotonic()
                url, headers = f"http://127.0.0.1:{envoy.stats}/drain", {"Noria-Drain": DRAIN_TOKEN}
                async with envoy.session.get(url, headers=headers) as response:
                    assert (response.status, await response.text()) == (200, "drained")
                return time.monotonic() - begin

            assert 0.99 <= await drained() < 2, "nobody is waited for"
            server.delay = 3.2
            asked, took = await asyncio.gather(envoy.get("m"), drained())
            assert asked == (200, "m-1")
            assert 3.2 <= took < 5.5, "until the answer was there"
            server.behaviour = "hang"
            waiting = asyncio.create_task(envoy.get("m"))
            assert 5.9 <= await drained() < 8
            assert not waiting.done()
            waiting.cancel()


async def test_the_statistics_port_changes_nothing_and_tells_no_configuration() -> None:
    cluster, port = Cluster(), free_port()
    cluster.deployment("m", {"m-1": 100})
    async with discovery(cluster.store(), port), router(port) as envoy:
        await envoy.until_ready()
        base = f"http://127.0.0.1:{envoy.stats}"
        for path in ("/", "/config_dump", "/quitquitquit", "/clusters", "/stats/recentlookups", "/logging"):
            for method in ("GET", "POST"):
                async with envoy.session.request(method, base + path) as response:
                    assert response.status == 404, (method, path)
        async with envoy.session.post(f"{base}/stats") as response:
            assert response.status == 404
        async with envoy.session.get(f"{base}/stats/prometheus") as response:
            assert "envoy_cluster_upstream_rq" in await response.text()


async def test_a_slow_version_has_slow_answers_in_the_routers_histograms() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as fast, upstream("m-2") as slow:
        cluster.endpoints("m-1", fast.port)
        cluster.endpoints("m-2", slow.port)
        cluster.deployment("m", {"m-1": 50, "m-2": 50})
        slow.delay = 0.6
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            reader = RouterReader(stats_port=envoy.stats, traffic_port=envoy.traffic)
            assert [(await envoy.get("m"))[0] for _ in range(20)] == [200] * 20

            async def timings() -> dict[str, Histogram]:
                found = await reader.timings(NAMESPACE, [envoy.pod()], ["m-1", "m-2"])
                return found.get("router-0", {})

            async with asyncio.timeout(15):
                while sum(one.total for one in (await timings()).values()) < 20:  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
            found = await timings()
            assert found["m-1"].above(500).errors == 0
            assert found["m-2"].above(500) == Counts(found["m-2"].total, found["m-2"].total)
            assert found["m-2"].bounds[:4] == (0.5, 1, 2, 3)
            await reader.close()


async def test_requests_in_flight_and_those_that_met_no_pod_are_told_by_version() -> None:
    """Read as the example for Prometheus reads it."""
    (endpoint,) = yaml.safe_load(PODMONITOR.read_text(encoding="utf-8"))["spec"]["podMetricsEndpoints"]
    cluster, port = Cluster(), free_port()
    async with upstream("m-1-0a1b2c") as old, upstream("m-2-3d4e5f") as new:
        cluster.endpoints("m-1-0a1b2c", old.port)
        cluster.endpoints("m-2-3d4e5f", new.port)
        cluster.deployment("m", {"m-1-0a1b2c": 50, "m-2-3d4e5f": 50})
        cluster.deployment("asleep", {"asleep-7-0a1b2c": 100})
        cluster.endpoints("asleep-7-0a1b2c")
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            url = f"http://127.0.0.1:{envoy.traffic}/v2/models/asleep/infer"
            async with envoy.session.get(url) as refused:
                assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
            old.released = new.released = asyncio.Event()
            waiting = [asyncio.create_task(envoy.get("m")) for _ in range(12)]
            while old.served + new.served < 12:  # noqa: ASYNC110 (nothing tells when they have arrived)
                await asyncio.sleep(0.01)
            found = await scrape(f"127.0.0.1:{envoy.stats}", endpoint)
            shares = {"1": old.served, "2": new.served}
            old.released.set()
            assert {status for status, _ in await asyncio.gather(*waiting)} == {200}
    active = {
        (label["deployment"], label["version"]): value
        for name, label, value in found
        if name == "envoy_cluster_upstream_rq_active" and value
    }
    assert active == {("m", version): share for version, share in shares.items()}
    unmet = [
        (label["deployment"], value)
        for name, label, value in found
        if name == "envoy_cluster_upstream_cx_none_healthy" and value
    ]
    assert unmet == [("asleep", 1)]
    assert {name for name, _, _ in found} <= {
        f"envoy_cluster_upstream_{stat}" for stat in ("rq_active", "rq_total", "cx_none_healthy")
    }


async def until_waiting(reader: RouterReader, envoy: Router, wanted: dict[str, int]) -> None:
    async with asyncio.timeout(5):
        while await reader.active(NAMESPACE, [envoy.pod()], wanted) != wanted:  # noqa: ASYNC110 - another process counts
            await asyncio.sleep(0.05)


async def test_requests_under_way_are_seen_until_the_last_one_is_answered() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as server, upstream("m-2") as other:
        cluster.endpoints("m-1", server.port)
        cluster.endpoints("m-2", other.port)
        cluster.deployment("m", {"m-1": 100, "m-2": 0})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            reader = RouterReader(stats_port=envoy.stats, traffic_port=envoy.traffic)

            async def active(pod: str = "router-0") -> dict[str, int] | None:
                return await reader.active(NAMESPACE, [envoy.pod(pod)], ["m-1", "m-2"])

            assert await active() == {"m-1": 0, "m-2": 0}
            server.released = asyncio.Event()
            asked = [asyncio.create_task(envoy.get("m")) for _ in range(3)]
            await until_waiting(reader, envoy, {"m-1": 3, "m-2": 0})
            cluster.deployment("m", {"m-1": 0, "m-2": 100})
            await envoy.until_weights("m", {"m-1": 0, "m-2": 100})
            assert await envoy.get("m") == (200, "m-2")
            assert await active() == {"m-1": 3, "m-2": 0}, "weight 0 ends no request"
            server.released.set()
            await asyncio.gather(*asked)
            assert await active() == {"m-1": 0, "m-2": 0}
            away = RouterReader(stats_port=free_port(), traffic_port=envoy.traffic)
            assert await away.active(NAMESPACE, [envoy.pod()], ["m-1"]) is None


async def test_what_testers_of_a_preview_wait_for_is_no_request_that_hangs_by_weight() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as server, upstream("m-2") as other:
        cluster.endpoints("m-1", server.port)
        cluster.endpoints("m-2", other.port)
        weights = {"m-1": 0, "m-2": 100}
        cluster.deployment("m", weights, challenger="m-2", strategy={"preview": True})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            reader, read = RouterReader(stats_port=envoy.stats), [envoy.pod()]
            other.released = asyncio.Event()
            asked = [asyncio.create_task(envoy.get(host)) for host in ("m", "m-preview", "m-preview")]
            await until_waiting(reader, envoy, {"m-2": 3})
            assert await reader.under_way(NAMESPACE, read, ["m-1", "m-2"]) == {"m-1": 0, "m-2": 1}
            other.released.set()
            await asyncio.gather(*asked)
            await reader.close()
