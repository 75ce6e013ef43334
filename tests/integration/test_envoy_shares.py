"""Who gets which request, on a real Envoy."""

from __future__ import annotations

from collections import Counter

from tests.integration.envoy_router import (
    NAMESPACE,
    Cluster,
    Load,
    discovery,
    free_port,
    router,
    upstream,
)

from noria_operator.domain.verdict import Counts
from noria_operator.evidence.router import RouterReader

CHI2_1 = 37.4
"""What one degree of freedom exceeds once in a thousand million runs."""
"""A correct split exceeds this once in a thousand runs."""


async def test_shares_follow_the_weights_and_weight_0_gets_nothing() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as stable, upstream("m-2") as canary:
        cluster.endpoints("m-1", stable.port)
        cluster.endpoints("m-2", canary.port)
        cluster.deployment("m", {"m-1": 80, "m-2": 20})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            split = Load(envoy, "m.shop.svc")
            await split.requests(1000)
            expected = {"m-1": 800, "m-2": 200}
            chi2 = sum((split.shares()[name] - count) ** 2 / count for name, count in expected.items())
            assert chi2 < CHI2_1, split.answers

            cluster.deployment("m", {"m-1": 100, "m-2": 0})
            await envoy.until_weights("m", {"m-1": 100, "m-2": 0})
            none = Load(envoy, "m.shop.svc")
            await none.requests(200)
            assert none.shares() == {"m-1": 200}


async def test_a_path_that_names_a_version_leads_to_it_at_any_weight_above_0() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as stable, upstream("m-2") as canary:
        cluster.endpoints("m-1", stable.port)
        cluster.endpoints("m-2", canary.port)
        cluster.deployment("m", {"m-1": 50, "m-2": 50})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            for host in ("m.shop.svc", "10.0.0.1"):
                for number in ("1", "2"):
                    for rest in ("", "/infer", "/ready?x=1", "/feedback"):
                        path = f"/v2/models/m/versions/{number}{rest}"
                        found = {await envoy.get(host, path) for _ in range(10)}
                        assert found == {(200, f"m-{number}")}, path
            reader = RouterReader(stats_port=envoy.stats)
            counted = (await reader.counts(NAMESPACE, [envoy.pod()], ["m-1", "m-2"]))["router-0"]
            assert {*counted.values()} == {Counts()}, "nothing of it is compared"
            assert await envoy.statistic("cluster.m-1_aside.upstream_rq_completed") == 60
            assert not await envoy.statistic("cluster.m-1_aside.membership_total"), "not read"
            assert await envoy.statistic("cluster.m-1.membership_total") == 1
            await reader.close()
            by_weight = {await envoy.get("m", "/v2/models/m/versions/22/infer") for _ in range(50)}
            assert by_weight == {(200, "m-1"), (200, "m-2")}, "the number is looked at as a whole"

            cluster.deployment("m", {"m-1": 100, "m-2": 0})
            await envoy.until_weights("m", {"m-1": 100, "m-2": 0})
            assert {await envoy.get("m", "/v2/models/m/versions/2/infer") for _ in range(20)} == {
                (200, "m-1")
            }


async def test_hosts_and_paths_lead_to_the_right_deployment() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("a-1") as a, upstream("b-1") as b:
        cluster.endpoints("a-1", a.port)
        cluster.endpoints("b-1", b.port)
        cluster.deployment("a", {"a-1": 100}, hosts=["flights.example.com", "b"])
        cluster.deployment("b", {"b-1": 100}, hosts=["flights.example.com"])
        cluster.deployment("c", {})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            for host in (
                "a",
                "a.shop",
                "a.shop.svc",
                "a.shop.svc.cluster.local",
                "a:80",
                "flights.example.com",
            ):
                assert await envoy.get(host, "/anything") == (200, "a-1"), host
            assert await envoy.get("b", "/v2/models/a/infer") == (200, "b-1"), (
                "a name of its own stays its own"
            )
            for path in ("/v2/models/b", "/v2/models/b/infer", "/v1/models/b:predict", "/v2/models/b?x=1"):
                assert await envoy.get("10.0.0.1", path) == (200, "b-1"), path
            for path in ("/v2/models/bb/infer", "/v2/models", "/"):
                assert (await envoy.get("10.0.0.1", path))[0] == 404, path
            status, text = await envoy.get("c")
            assert (status, "no version of c serves yet" in text) == (503, True)


async def test_requests_with_the_same_feedback_token_stay_with_one_version() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as stable, upstream("m-2") as canary:
        cluster.endpoints("m-1", stable.port)
        cluster.endpoints("m-2", canary.port)
        cluster.deployment("m", {"m-1": 50, "m-2": 50})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            url, seen = f"http://127.0.0.1:{envoy.traffic}/v2/models/m/feedback", set()
            for token in range(20):
                headers = {"Host": "m", "Noria-Feedback": f"token-{token}"}
                answers = set()
                for _ in range(5):
                    async with envoy.session.post(url, headers=headers) as response:
                        answers.add((await response.text(), response.headers["Noria-Revision"]))
                assert len(answers) == 1
                seen |= answers
            assert seen == {("m-1", "m-1"), ("m-2", "m-2")}


async def test_feedback_with_the_same_token_stays_with_one_pod() -> None:
    cluster, port = Cluster(), free_port()
    async with (
        upstream("m-1a") as a,
        upstream("m-1b") as b,
        upstream("m-2a") as c,
        upstream("m-2b") as d,
    ):
        cluster.endpoints("m-1", a.port, b.port)
        cluster.endpoints("m-2", c.port, d.port)
        cluster.deployment("m", {"m-1": 50, "m-2": 50})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            for host, path in (
                ("m", "/v2/models/m/feedback"),
                ("10.0.0.1", "/v2/models/m/feedback"),
                ("m", "/v2/models/m/versions/1/feedback"),
            ):
                met = Counter[str]()
                for token in range(120):
                    headers = {"Noria-Feedback": f"token-{token}"}
                    answers = {await envoy.get(host, path, headers) for _ in range(4)}
                    assert len(answers) == 1, "counted once"
                    met.update(text for _, text in answers)
                mine = {"m-1a", "m-1b"} if "versions" in path else {"m-1a", "m-1b", "m-2a", "m-2b"}
                assert met.keys() == mine, "and all pods take some"
            told = RouterReader(stats_port=envoy.stats, traffic_port=envoy.traffic)
            counts = (await told.counts(NAMESPACE, [envoy.pod()], ["m-1", "m-2"]))["router-0"]
            await told.close()
            assert counts == {"m-1": Counts(), "m-2": Counts()}, "no version is compared by it"
            completed = [f"cluster.m-{number}_feedback.upstream_rq_completed" for number in (1, 2)]
            assert [await envoy.statistic(one) for one in completed] == [
                a.served + b.served,
                c.served + d.served,
            ]


async def test_what_may_have_begun_is_asked_again_only_where_that_is_wanted() -> None:
    cluster, port, nobody = Cluster(), free_port(), free_port()
    async with upstream("one") as first, upstream("other") as second:
        first.behaviour = second.behaviour = "reset"
        both = (first.port, second.port)
        for name, router_, ports in (("again", {}, both), ("once", {"retries": 0}, (*both, nobody))):
            cluster.endpoints(f"{name}-1", *ports)
            cluster.deployment(name, {f"{name}-1": 100}, router=router_)
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            assert await envoy.answer("again") == 503
            again = first.served + second.served
            assert again == 3
            for asked in range(1, 6):
                assert await envoy.answer("once") == 503
                assert first.served + second.served == again + asked

            first.behaviour = second.behaviour = "ok"
            for name in ("again", "once"):
                answers = Load(envoy, name)
                await answers.requests(20)
                assert answers.failed == 0, "what reached nobody is tried again all the same"
