"""Reading pods over real HTTP on loopback."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from noria_operator.domain.drift.columns import Column, Seen
from noria_operator.domain.latency import Histogram
from noria_operator.domain.rollout_observed import InForce
from noria_operator.domain.verdict import Counts
from noria_operator.domain.windows import since
from noria_operator.evidence.fetch import SIZE_LIMIT, Fetcher
from noria_operator.evidence.router import RouterReader, steady
from noria_operator.evidence.router_stats import ACTIVE, COUNTED, TIME, counted, pattern, timed, waiting
from noria_operator.evidence.server import MAX_OPEN, PATIENCE, CounterReader
from noria_operator.evidence.windows import MOST_PROCESSES

Json = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def pods(*handlers: Handler) -> AsyncIterator[int]:
    """One server a pod, at 127.0.0.1, 127.0.0.2 … and the same port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    runners = []
    for index, handler in enumerate(handlers):
        application = web.Application()
        application.router.add_get("/{path:.*}", _function(handler))
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, f"127.0.0.{index + 1}", port).start()
        runners.append(runner)
    try:
        yield port
    finally:
        for runner in runners:
            await runner.cleanup()


def _function(handler: Handler) -> Handler:
    async def call(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    return call


def pod(index: int, namespace: str = "shop") -> dict[str, Any]:
    return {
        "metadata": {"uid": f"pod-{index}", "namespace": namespace},
        "status": {"podIP": f"127.0.0.{index}"},
    }


class ModelServer:
    """Counts like the real one, with a memory that reaches back to its start."""

    def __init__(self, process: str, started: float, labels: int) -> None:
        self.process, self.started, self.labels = process, started, labels
        self.before = 0
        """Labels from before the window."""
        self.remembers = started
        """Since when."""
        self.broken = False
        self.asked: list[str] = []

    async def __call__(self, request: web.Request) -> web.Response:
        self.asked.append(request.query_string)
        if self.broken:
            return web.Response(status=503)
        count = self.labels - (self.before if "since" in request.query else 0)
        scores = {"m-1": {"negatives": [count] + [0] * 199, "positives": [0] * 200}}
        document = {"schema": "noria.counters/v1", "version": "m-1", "process": self.process}
        times = {"started": self.started, "from": self.remembers, "at": 500.0}
        return web.json_response({**document, **times, "scores": scores})


SINCE = datetime.fromtimestamp(300, UTC)


async def labelled(reader: CounterReader, *read: dict[str, Any]) -> int | None:
    labels = await reader.labels("shop", "m", read, since=SINCE, version="m-1")
    return None if labels is None else labels.samples


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
async def test_an_ended_pod_is_not_read_as_its_address_may_be_another_models_by_now(phase: str) -> None:
    """Evicted pods stand in the API for long, with the address that they had."""
    ours, another = ModelServer("ours", 400, 7), ModelServer("another", 400, 90)
    async with pods(ours, another) as port:
        evicted = pod(2)
        evicted["status"]["phase"] = phase
        reader = CounterReader(port=port)
        assert await labelled(reader, pod(1), evicted) == 7
        assert await reader.reference("shop", "m", [evicted], version="m-1") is None
        assert await reader.answered([evicted]) == {}
        await reader.close()
    assert another.asked == []


async def test_a_window_begins_at_its_moment_also_where_the_pod_was_read_for_another_one_just_now() -> None:
    """What it said then tells how its clock goes, if that is compared with ours of then."""
    time, server = [520.0], ModelServer("old", 100, 50)  # whose clock says 500
    async with pods(server) as port:
        reader = CounterReader(
            port=port, fresh=1.0, clock=lambda: time[0], now=lambda: datetime.fromtimestamp(time[0], UTC)
        )
        await reader.window("shop", "m", [pod(1)], since=datetime.fromtimestamp(200, UTC))
        time[0] += 0.9
        await reader.window("shop", "m", [pod(1)], since=SINCE)
        await reader.close()
    assert [query for query in server.asked if "since" in query] == ["since=180.000", "since=280.000"]


@pytest.mark.parametrize("started", [400, 100], ids=["younger than the window", "older"])
async def test_a_pod_that_names_another_process_each_time_fills_no_memory(started: float) -> None:
    server, honest = ModelServer("0", started, 3), ModelServer("honest", 400, 7)
    async with pods(server, honest) as port:
        reader = CounterReader(port=port)
        for number in range(MOST_PROCESSES + 20):
            server.process = str(number)
            totals = await reader.window("shop", "m", [pod(1), pod(2)], since=SINCE)
        await reader.close()
    assert totals is not None
    assert not totals.whole
    assert totals.labels("m-1").samples == 7 + 3 * MOST_PROCESSES
    (window,) = reader._windows.values()
    assert len(window.latest) == len(window.baselines) == MOST_PROCESSES + 1


async def test_a_pod_whose_counts_grow_by_digits_alone_past_all_bounds_is_not_read() -> None:
    server, honest, name = ModelServer("strange", 400, 3), ModelServer("honest", 400, 7), "a"

    async def strange(request: web.Request) -> web.Response:
        told = json.loads(str((await server(request)).text))
        return web.json_response({**told, "requests": {name: {str(number): 0 for number in range(1000)}}})

    async with pods(strange, honest) as port:
        reader, read = CounterReader(port=port), [pod(1), pod(2)]
        assert (await reader.answered(read)).keys() >= {"pod-1", "pod-2"}
        name += "1" * 2**15
        found = await reader.answered(read)
        totals = await reader.window("shop", "m", read, since=SINCE)
        await reader.close()
    assert ("pod-1" in found, "pod-2" in found) == (False, True)
    assert totals is not None
    assert (totals.unread, totals.labels("m-1").samples) == (("pod-1",), 7)


async def test_labels_are_summed_over_pods_since_the_window_began() -> None:
    old, new = ModelServer("old", 100, 50), ModelServer("new", 400, 7)
    old.before = 40
    async with pods(old, new) as port:
        reader = CounterReader(port=port)
        assert await labelled(reader, pod(1), pod(2)) == 17
        old.labels, new.labels = 55, 9
        assert await labelled(reader, pod(1), pod(2)) == 24
        old.broken = True
        new.labels = 10
        assert await labelled(reader, pod(1), pod(2)) == 25, "a pod that cannot be read keeps its last counts"
        assert await labelled(reader, pod(2)) == 25, "so does one that is gone"
        totals = await reader.window("shop", "m", [pod(1), pod(2)], since=SINCE)
        assert totals is not None
        assert totals.unread == ("pod-1",)
        again = CounterReader(port=port)
        old.broken = False
        assert await labelled(again, pod(1), pod(2)) == 25, "a restarted operator comes to the same"
        await reader.close()
        await again.close()


async def test_a_restarted_operator_knows_when_servers_have_forgotten_the_windows_beginning() -> None:
    server = ModelServer("old", 100, 50)
    async with pods(server) as port:
        for remembers, whole in ((300, True), (301, False)):
            server.remembers = remembers
            reader = CounterReader(port=port)
            totals = await reader.complete("shop", "m", [pod(1)], since=SINCE)
            assert totals is not None
            assert totals.whole == whole
            await reader.close()


@pytest.mark.parametrize(("started", "whole"), [(299, True), (400, False), (500, True)])
async def test_who_began_before_a_window_was_read_may_have_taken_the_place_of_others(
    started: float, whole: bool
) -> None:
    old, other = ModelServer("old", 100, 50), ModelServer("other", started, 7)
    async with pods(old, other) as port:
        reader = CounterReader(port=port)
        await reader.window("shop", "m", [pod(1)], since=SINCE)
        totals = await reader.window("shop", "m", [pod(1), pod(2)], since=SINCE)
        assert totals is not None
        assert totals.whole == whole
        await reader.close()


async def test_servers_are_told_what_open_windows_are_counted_from() -> None:
    old, new = ModelServer("old", 100.125, 50), ModelServer("new", 400, 7)
    async with pods(old, new) as port:
        reader = CounterReader(port=port)
        for _ in range(3):
            assert await labelled(reader, pod(1), pod(2)) == 57
        assert old.asked == ["", "since=300.000", "keep=100.125", "", "keep=100.125"]
        assert new.asked == ["", "", ""], "all of it is in the window"
        await reader.close()


async def test_servers_are_not_told_of_windows_that_nobody_reads_any_more() -> None:
    server = ModelServer("old", 100, 50)
    async with pods(server) as port:
        reader = CounterReader(port=port)
        for since in (300, 300, 400, 400, 400):
            server.remembers = since - 1.5
            await reader.complete("shop", "m", [pod(1)], since=datetime.fromtimestamp(since, UTC))
        assert server.asked[:5] == ["", "since=300.000", "keep=298.5", "", "keep=298.5"]
        assert server.asked[5:] == ["since=400.000", "keep=398.5", "", "keep=398.5"]
        await reader.close()


async def test_windows_that_are_filled_together_are_each_filled_from_their_beginning() -> None:
    server, now = ModelServer("old", 100, 50), datetime.fromtimestamp(480, UTC)

    def clock() -> datetime:
        nonlocal now
        now += timedelta(seconds=1)  # as time goes on meanwhile
        return now

    async with pods(server) as port:
        reader = CounterReader(port=port, now=clock)
        both = [SINCE, SINCE + timedelta(seconds=100)]
        await reader.keep("shop", "m", [pod(1)], since=both)
        assert [one for one in server.asked if "since" in one] == ["since=319.000", "since=419.000"]
        await reader.keep("shop", "m", [pod(1)], since=both)
        server.labels += 5
        totals = [await reader.window("shop", "m", [pod(1)], since=one) for one in both]
        assert [one and one.labels("m-1").samples for one in totals] == [55, 55]
        await reader.close()


async def test_servers_tell_how_many_requests_they_answered_and_how_many_badly() -> None:
    async def counts(_: web.Request) -> web.Response:
        requests = {"ok": 90, "client_error": 7, "server_error": 3}
        head = {"schema": "noria.counters/v1", "version": "m-1", "process": "a"}
        return web.json_response({**head, "started": 1.0, "from": 1.0, "at": 2.0, "requests": requests})

    async def why(_: web.Request) -> web.Response:
        requests = {"ok": 90, "client_error": 7, "server_error": 3}
        refused = {"unanswered": 5, "inputs": 2}
        head = {"schema": "noria.counters/v1", "version": "m-1", "process": "a", "refused": refused}
        return web.json_response({**head, "started": 1.0, "from": 1.0, "at": 2.0, "requests": requests})

    async def broken(_: web.Request) -> web.Response:
        return web.Response(status=500)

    async with pods(counts, broken, why) as port:
        reader = CounterReader(port=port)
        assert await reader.answered([pod(1), pod(2), pod(3), pod(4)]) == {
            "pod-1": Counts(100, 3, 7),  # of an earlier release
            "pod-3": Counts(100, 8, 2),
            **{f"pod-{one}.processes": Counts() for one in (1, 3)},
        }
        said = await reader.refused([pod(1), pod(2), pod(3), pod(3)])
        assert {why: times for why, times in said.items() if times} == {"unanswered": 10, "inputs": 4}
        await reader.close()


async def test_a_server_that_died_lost_what_it_had_in_flight() -> None:
    """Which its successor, whose counts begin at zero, knows nothing of, nor anybody else."""

    processes = iter([3, 3, 3, 0])

    async def counts(_: web.Request) -> web.Response:
        head = {
            "schema": "noria.counters/v1",
            "version": "m-1",
            "process": "b",
            "restarts": next(processes),
            "in_flight": 5,
        }
        return web.json_response({**head, "started": 1.0, "from": 1.0, "at": 2.0, "requests": {"ok": 90}})

    async with pods(counts) as port:
        reader = CounterReader(port=port)
        one = pod(1)
        ports = {"server": ["http", "counters"], "istio-proxy": ["status"], "agent": []}
        one["spec"] = {
            "containers": [
                {"name": name, "ports": [{"name": port} for port in told]} for name, told in ports.items()
            ]
        }
        restarts = {"istio-proxy": 40, "server": 5, "agent": 7}
        statuses = [{"name": name, "restartCount": times} for name, times in restarts.items()]
        one["status"]["containerStatuses"] = statuses
        before = await reader.answered([one])
        lost = {"pod-1.containers": Counts(5, 5), "pod-1.processes": Counts(3, 3)}
        assert before == {"pod-1": Counts(90), **lost}
        assert await reader.under_way([one, pod(2)]) == 5
        assert await reader.asked([one, pod(2)]) == {"pod-1": (90, 5)}
        statuses[1]["restartCount"] = 6
        after = await reader.answered([one])
        marks, counts_ = ({uid: {"m-2": each} for uid, each in all_.items()} for all_ in (before, after))
        assert since(marks, counts_, champion="m-1", challenger="m-2").challenger == Counts(1, 1)
        await reader.close()


@pytest.mark.parametrize(
    ("status", "ends"),
    [
        ({"state": {"running": {}}}, 2),
        ({"state": {"terminated": {"reason": "OOMKilled"}}}, 3),
        ({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {}}}, 3),
        ({"state": {"running": {}}, "lastState": {"terminated": {}}}, 2),
        ({"state": {"waiting": {"reason": "ContainerCreating"}}}, 2),
    ],
    ids=["runs", "ended", "waits-to-be-restarted", "restarted", "begins"],
)
async def test_what_ended_in_a_pod_that_does_not_answer_is_told_and_once(status: Json, ends: int) -> None:
    """Kubernetes counts an end in `restartCount` when it starts the container again."""
    one, reader = pod(9), CounterReader(port=1)
    one["spec"] = {"containers": [{"name": "server", "ports": [{"name": "counters"}]}, {"name": "proxy"}]}
    one["status"]["containerStatuses"] = [
        {"name": "server", "restartCount": 2, **status},
        {"name": "proxy", "restartCount": 7, "state": {"terminated": {}}},
    ]
    one["status"]["phase"] = "Running"
    assert await reader.answered([one]) == {"pod-9.containers": Counts(ends, ends)}
    leaving = {**one, "metadata": {**one["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    evicted = {**one, "status": {**one["status"], "phase": "Failed"}}
    custom = {**one, "spec": {"containers": [{"name": "server"}]}}
    assert await reader.answered([leaving, evicted, custom]) == {}, "nothing ends by itself there, or counts"
    await reader.close()


async def test_no_pod_that_can_be_read_is_not_the_same_as_no_labels() -> None:
    silent = ModelServer("silent", 400, 0)
    async with pods(silent) as port:
        reader = CounterReader(port=port)
        silent.broken = True
        assert await labelled(reader, pod(1)) is None
        silent.broken = False
        assert await labelled(reader, pod(1)) == 0
        assert await labelled(reader, pod(1, namespace="other")) == 0, "another namespace's pod is not read"
        reader.forget("shop", "m")
        assert await labelled(reader) is None
        await reader.close()


async def hanging(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(SIZE_LIMIT // 65536 + 2):
        await response.write(b" " * 65536)
    return response


async def html(_: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>", content_type="text/html")


async def elsewhere(_: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("http://127.0.0.1:1/")


@pytest.mark.parametrize(("handler", "patience"), [(hanging, 0.1), (endless, 5), (html, 5), (elsewhere, 5)])
async def test_a_pod_that_answers_badly_is_unreadable(handler: Handler, patience: float) -> None:
    async with pods(handler) as port:
        reader = RouterReader(Fetcher(timeout=patience), stats_port=port, traffic_port=port)
        assert await reader.counts("shop", [pod(1)]) == {}
        assert await reader.in_force("shop", "m", [pod(1)]) is None
        await reader.close()


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"version": 3, "weights": {"m-1": 100}}, [InForce(3, {"m-1": 100})]),
        ({"weights": {"m-1": 100}}, [InForce(0, {"m-1": 100})]),
        ({"version": "3", "weights": {"m-1": 100}}, None),
        ({"version": 3}, None),
    ],
)
async def test_what_a_router_acts_on_is_read_with_its_version(
    told: dict[str, Any], expected: list[InForce] | None
) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(told)

    async with pods(answer) as port:
        reader = RouterReader(stats_port=port, traffic_port=port)
        assert await reader.in_force("shop", "m", [pod(1)]) == expected
        await reader.close()


def stats(**values: int) -> dict[str, Any]:
    return {"stats": [{"name": f"cluster.m-1.{name}", "value": value} for name, value in values.items()]}


def test_requests_under_way_are_those_of_both_protocols_and_unknown_where_the_answer_is_no_statistics() -> (
    None
):
    gauges = {"cluster.m-1.upstream_rq_active": 2, "cluster.m-1_grpc.upstream_rq_active": 3, "odd": 1}
    body = {"stats": [*({"name": name, "value": value} for name, value in gauges.items()), "odd"]}
    assert waiting(body) == {"m-1": 5}
    assert waiting({"stats": []}) == {}
    assert waiting("<html>") is None


async def test_what_hangs_is_counted_by_weight_at_those_routers_that_can_be_read() -> None:
    """Whereas the last request of a version may be at the one that cannot."""
    gauges = {"m-1": 2, "m-1_grpc": 3, "m-1_aside": 50, "m-1_grpc_aside": 60, "m-1_feedback": 70}

    async def envoy(request: web.Request) -> web.StreamResponse:
        told = {f"cluster.{name}.upstream_rq_active": value for name, value in gauges.items()}
        wanted = re.compile(request.query["filter"])
        listed = [{"name": name, "value": value} for name, value in told.items() if wanted.match(name)]
        return web.json_response({"stats": listed})

    async with pods(envoy, html, envoy) as port:
        reader = RouterReader(stats_port=port)
        there, three = [pod(1), pod(3)], [pod(1), pod(2), pod(3)]
        assert await reader.under_way("shop", three, ["m-1", "m-2"]) == {"m-1": 10, "m-2": 0}
        assert await reader.active("shop", three, ["m-1"]) is None
        assert await reader.active("shop", there, ["m-1"]) == {"m-1": 2 * 185}
        await reader.close()


def test_requests_that_were_refused_or_that_clients_gave_up_on_are_errors() -> None:
    seen = stats(
        upstream_rq_completed=10,
        upstream_rq_5xx=3,
        upstream_rq_429=2,
        upstream_rq_404=2,
        upstream_rq_4xx=4,
        upstream_rq_timeout=1,
        upstream_rq_504=1,
        upstream_cx_destroy_local_with_active_rq=3,
    )
    assert counted(seen) == {"m-1": Counts(12, 7, 2)}


def test_whoever_is_sent_elsewhere_has_no_prediction_and_was_refused() -> None:
    seen = stats(upstream_rq_completed=10, upstream_rq_3xx=4, upstream_rq_4xx=2, upstream_rq_429=1)
    assert counted(seen) == {"m-1": Counts(10, 1, 5)}


def test_an_answer_that_began_well_and_never_ended_is_an_error() -> None:
    dropped = {"upstream_rq_completed": 20, "upstream_cx_destroy_remote_with_active_rq": 9}
    tries = {"upstream_rq_retry": 7, "upstream_rq_retry_success": 2, "upstream_rq_503": 3}
    unmet = {"upstream_rq_pending_failure_eject": 3, "upstream_cx_none_healthy": 1}
    torn = stats(**dropped, **tries, **unmet, upstream_rq_5xx=5)
    assert counted(torn) == {"m-1": Counts(20 + 3, 5 + 2 + 3)}
    late = {"upstream_rq_timeout": 5, "upstream_rq_504": 2, "upstream_rq_5xx": 2}
    cut = {"upstream_rq_completed": 20, "upstream_cx_destroy_local_with_active_rq": 5}
    assert counted(stats(**cut, **late)) == {"m-1": Counts(20 + 3, 5)}


def test_an_answer_that_breaks_off_counts_when_it_does_whatever_else_comes_then() -> None:
    """It may have begun long before, where there is little traffic."""
    begun = stats(upstream_rq_completed=1)
    ended = {"upstream_rq_timeout": 1, "upstream_cx_destroy_local_with_active_rq": 1}
    before, after = ({"r": counted(one) or {}} for one in (begun, stats(upstream_rq_completed=1, **ended)))
    assert since(before, after, champion="m-0", challenger="m-1").challenger == Counts(1, 1)


@pytest.mark.parametrize("cluster", ["m-1_aside", "m-1_grpc_aside", "m-1_feedback"])
def test_requests_that_no_weight_divides_are_no_part_of_what_versions_are_compared_by(cluster: str) -> None:
    """But their last one is waited for."""
    seen = stats(upstream_rq_completed=10)
    beside = {
        "upstream_rq_completed": 500,
        "upstream_rq_4xx": 400,
        "upstream_rq_5xx": 9,
        "upstream_rq_active": 2,
    }
    seen["stats"] += [{"name": f"cluster.{cluster}.{name}", "value": it} for name, it in beside.items()]
    assert counted(seen) == {"m-1": Counts(10)}
    assert waiting(seen) == {"m-1": 2}
    asked = [pattern(["m-1"], stat) for stat in (ACTIVE, TIME, COUNTED)]
    asked.append(pattern(["m-1"], ACTIVE, beside=True))
    assert [cluster.removeprefix("m-1") in one for one in asked] == [False, False, False, True]


def test_a_request_that_never_became_whole_is_a_refusal_and_nobodys_giving_up() -> None:
    late = {"upstream_rq_completed": 10, "upstream_rq_4xx": 3, "upstream_rq_408": 3}
    seen = stats(**late, upstream_cx_destroy_local_with_active_rq=5)
    assert counted(seen) == {"m-1": Counts(12, 2, 3)}
    asked = re.compile(pattern(["m-1"], COUNTED))
    assert all(asked.fullmatch(one["name"]) for one in seen["stats"])


def test_a_request_that_one_pod_dropped_and_another_answered_is_an_error_that_no_client_saw() -> None:
    dropped = {"upstream_rq_completed": 10, "upstream_rq_retry": 5, "upstream_rq_retry_success": 3}
    assert counted(stats(**dropped, upstream_cx_destroy_remote_with_active_rq=5)) == {"m-1": Counts(10, 3)}
    assert counted(stats(**dropped)) == {"m-1": Counts(10, 0)}, "those never reached a pod"


def test_grpc_calls_count_with_their_revision_and_faults_by_their_status() -> None:
    grpc = {
        "upstream_rq_completed": 20,
        "upstream_rq_5xx": 2,  # answered by the router, with UNAVAILABLE behind it
        "grpc.14": 3,
        "grpc.13": 4,
        "grpc.8": 1,
        "grpc.3": 5,  # INVALID_ARGUMENT is the client's
        "grpc.0": 7,
        "upstream_rq_tx_reset": 3,
        "upstream_rq_timeout": 1,
        "upstream_rq_504": 1,
        "upstream_cx_destroy_local_with_active_rq": 9,
    }
    seen = stats(upstream_rq_completed=10, upstream_rq_5xx=1, upstream_rq_tx_reset=7)
    seen["stats"] += [{"name": f"cluster.m-1_grpc.{name}", "value": value} for name, value in grpc.items()]
    assert counted(seen) == {"m-1": Counts(10 + 20 + 2, 1 + 8 + 2, 5)}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({f"grpc.{code}": 1 for code in (1, 3, 5, 6, 7, 9, 11, 12, 16)}, Counts(9, 0, 9)),
        # Four streams that a server ended when it went away, which the router resets, and one given up.
        ({"grpc.0": 16, "grpc.10": 4, "upstream_rq_tx_reset": 4}, Counts(20, 0)),
        ({"grpc.0": 16, "grpc.10": 4, "upstream_rq_tx_reset": 5}, Counts(21, 1)),
        ({"grpc.0": 16, "grpc.10": 4}, Counts(20, 0)),  # of a container that says so once it has read all
        ({"grpc.0": 14, "upstream_rq_4xx": 5, "upstream_rq_429": 2, "upstream_rq_3xx": 1}, Counts(20, 2, 4)),
        ({"grpc.0": 20, "upstream_rq_pending_failure_eject": 4, "upstream_rq_retry": 3}, Counts(21, 1)),
        (
            {
                "grpc.0": 19,
                "grpc.4": 1,
                "upstream_rq_timeout": 3,
                "upstream_rq_tx_reset": 3,
                "upstream_rq_504": 1,
            },
            Counts(22, 3),
        ),
        ({}, Counts(0)),  # a server that knows no gRPC, or copies
    ],
)
def test_a_call_without_an_answer_never_counts_as_a_good_one(told: dict[str, int], expected: Counts) -> None:
    mine = {"upstream_rq_completed": 20, **told}
    seen = {"stats": [{"name": f"cluster.m-1_grpc.{name}", "value": value} for name, value in mine.items()]}
    assert counted(seen) == {"m-1": expected}


@pytest.mark.parametrize("body", [None, [], {}, {"stats": 3}, {"stats": None}])
def test_an_answer_that_is_no_statistics_is_not_zero(body: Any) -> None:
    assert counted(body) is None


def test_strange_entries_of_the_statistics_are_left_out() -> None:
    odd = [3, {}, {"name": "cluster.m-1.upstream_rq_completed"}, {"name": "cluster.m-1.other", "value": 1}]
    assert counted({"stats": [*odd, *stats(upstream_rq_completed=2)["stats"]]}) == {"m-1": Counts(2, 0)}
    assert counted({"stats": []}) == {}


def test_a_reading_between_two_counters_is_no_restart() -> None:
    assert steady(None, Counts(5, 1)) == Counts(5, 1)
    assert steady(Counts(1000, 10), Counts(999, 9)) == Counts(1000, 10)
    assert steady(Counts(1000, 10), Counts(3, 0)) == Counts(3, 0)
    assert steady(Counts(1000, 500), Counts(1002, 2)) == Counts(1002, 2)
    assert steady(Counts(1000, 10), Counts(1005, 12)) == Counts(1005, 12)
    assert steady(Counts(1000, 10, 5), Counts(1005, 12, 4)) == Counts(1005, 12, 5)
    assert steady(Counts(1000, 10, 500), Counts(1005, 12, 3)) == Counts(1005, 12, 3)


async def test_only_the_clusters_asked_for_are_read() -> None:
    asked: list[str] = []

    async def envoy(request: web.Request) -> web.StreamResponse:
        asked.append(request.query["filter"])
        return web.Response(text=json.dumps(stats(upstream_rq_completed=4)))

    async with pods(envoy) as port:
        reader = RouterReader(stats_port=port)
        found = await reader.counts("shop", [pod(1)], ["m-2", "m-1"])
        assert found == {"pod-1": {"m-1": Counts(4, 0), "m-2": Counts(0, 0)}}
        assert asked[0].startswith(r"^cluster\.(m\-1|m\-2)(_grpc)?\.")
        await reader.close()


async def test_counts_do_not_fall_when_a_cluster_for_feedback_goes_with_the_pods_that_showed_it() -> None:
    there = stats(upstream_rq_completed=1000)
    labels = {"name": "cluster.m-1_feedback.upstream_rq_completed", "value": 900}
    told = [{"stats": [*there["stats"], labels]}, there]

    async def envoy(_: web.Request) -> web.StreamResponse:
        return web.json_response(told.pop(0))

    async with pods(envoy) as port:
        reader = RouterReader(stats_port=port)
        assert [await reader.counts("shop", [pod(1)]) for _ in range(2)] == [
            {"pod-1": {"m-1": Counts(1000)}}
        ] * 2
        await reader.close()


async def test_many_who_ask_at_once_share_one_reading_and_the_next_one_is_as_wide() -> None:
    asked: list[str] = []
    now = 0.0

    async def envoy(request: web.Request) -> web.StreamResponse:
        asked.append(request.query["filter"])
        await asyncio.sleep(0.02)
        return web.Response(text=json.dumps(stats(upstream_rq_completed=4)))

    async with pods(envoy) as port:
        reader = RouterReader(stats_port=port, fresh=0.1, clock=lambda: now)
        everybody = [f"m-{number}" for number in range(1, 9)]
        await reader.counts("shop", [pod(1)], everybody)
        await asyncio.gather(*(reader.counts("shop", [pod(1)], [name]) for name in everybody))
        assert len(asked) == 1
        now = 0.11
        found = await asyncio.gather(*(reader.counts("shop", [pod(1)], [name]) for name in everybody))
        assert len(asked) == 2
        assert asked[0] == asked[1]
        assert found[0] == {"pod-1": {"m-1": Counts(4, 0)}}
        await reader.close()


async def test_windows_that_nobody_asks_for_any_more_are_forgotten() -> None:
    async with pods(ModelServer("m", 400, 7)) as port:
        reader = CounterReader(port=port)
        for minute in range(MAX_OPEN * 3):
            since = SINCE + timedelta(minutes=minute)
            assert await reader.window("shop", "m", [pod(1)], since=since) is not None
        assert await reader.window("shop", "m", [], since=SINCE) is None, "the first one is gone"
        assert await reader.window("shop", "m", [], since=since) is not None
        await reader.close()


def serving_pod(index: int) -> dict[str, Any]:
    ready = [{"type": "Ready", "status": "True"}]
    spec = {"containers": [{"ports": [{"name": "counters"}]}]}
    return {**pod(index), "spec": spec, "status": {"podIP": f"127.0.0.{index}", "conditions": ready}}


async def test_who_asks_for_a_window_that_was_kept_waits_no_longer_for_a_pod_that_was_silent() -> None:
    one, other = ModelServer("one", 400, 7), ModelServer("other", 400, 5)
    now = 0.0
    async with pods(one, other) as port:
        reader = CounterReader(port=port, clock=lambda: now)
        both = serving_pod(1), serving_pod(2)
        other.broken = True
        await reader.keep("shop", "m", both, asked=[SINCE])
        now = PATIENCE
        assert await labelled(reader, *both) == 7
        await reader.close()


async def test_labels_wait_for_a_ready_pod_that_does_not_answer_but_not_for_ever() -> None:
    one, other = ModelServer("one", 400, 7), ModelServer("other", 400, 5)
    now = 0.0
    async with pods(one, other) as port:
        reader = CounterReader(port=port, clock=lambda: now)
        both = serving_pod(1), serving_pod(2)
        other.broken = True
        assert await labelled(reader, *both) is None
        other.broken, now = False, PATIENCE / 2
        assert await labelled(reader, *both) == 12
        other.broken, now = True, PATIENCE
        assert await labelled(reader, *both) is None, "its silence begins anew"
        now = 2 * PATIENCE
        assert await labelled(reader, *both) == 12
        await reader.close()


def _histogram(name: str, *counts: int) -> dict[str, Any]:
    bounds = (0.5, 1, 3e5)
    rows = zip(bounds, counts, strict=True)
    return {"name": name, "buckets": [{"upper_bound": b, "interval": c, "cumulative": c} for b, c in rows]}


def test_latencies_are_read_from_the_histograms_of_http_and_grpc_together() -> None:
    histograms = [
        _histogram("cluster.m-1.upstream_rq_time", 1, 3, 4),
        _histogram("cluster.m-1_grpc.upstream_rq_time", 1, 1, 2),
        _histogram("cluster.m-2.upstream_rq_time", 0, 0, 0),
    ]
    found = timed({"stats": [{"name": "other", "value": 1}, {"histograms": histograms}]})
    bounds = (0.5, 1.0, 3e5)
    assert found == {"m-1": Histogram(bounds, (2, 4, 6)), "m-2": Histogram(bounds, (0, 0, 0))}
    assert timed({"stats": []}) == {}
    assert timed("<html>") is None


async def test_counts_are_read_in_the_background_at_most_so_often() -> None:
    server, now = ModelServer("one", 400, 7), [0.0]
    async with pods(server) as port:
        reader = CounterReader(port=port, clock=lambda: now[0])

        def look() -> int | str | None:
            found = reader.latest("shop", "m", [pod(1)], since=[SINCE], every=timedelta(seconds=15))
            if found is None:
                return None
            return "unread" if found[0] is None else found[0].labels("m-1").samples

        assert look() is None
        await reader.settled()
        assert look() == 7
        server.labels, now[0] = 9, 14.9
        assert look() == 7
        await reader.settled()
        assert look() == 7, "not yet"
        now[0] = 15.0
        assert look() == 7, "the pass does not wait"
        await reader.settled()
        assert look() == 9
        await reader.close()


async def test_windows_that_are_looked_at_together_end_at_the_same_moment() -> None:
    """What lies between two of them is their difference, so that nothing may be counted in one alone."""
    server, now = ModelServer("one", 400, 7), [0.0]
    async with pods(server) as port:
        reader = CounterReader(port=port, clock=lambda: now[0], fresh=1.0)
        moments = [SINCE, SINCE + timedelta(minutes=1)]
        for labels in (7, 9):
            server.labels, now[0] = labels, now[0] + 15
            reader.latest("shop", "m", [pod(1)], since=moments, every=timedelta(seconds=15))
            await reader.settled()
        found = reader.latest("shop", "m", [pod(1)], since=moments, every=timedelta(seconds=15))
        assert found is not None
        assert [one and one.labels("m-1").samples for one in found] == [9, 9]
        assert len([query for query in server.asked if "since" not in query]) == 2
        await reader.close()


async def test_a_look_at_pods_none_of_which_answers_says_so() -> None:
    async with pods(hanging) as port:
        reader = CounterReader(Fetcher(timeout=0.05), port=port)
        reader.latest("shop", "m", [pod(1)], since=[SINCE], every=timedelta(seconds=15))
        await reader.settled()
        found = reader.latest("shop", "m", [pod(1)], since=[SINCE], every=timedelta(seconds=15))
        assert found == (None,)
        await reader.close()


async def test_a_reader_that_is_closed_gives_up_what_it_reads_in_the_background() -> None:
    async with pods(hanging) as port:
        reader = CounterReader(Fetcher(timeout=30), port=port)
        reader.latest("shop", "m", [pod(1)], since=[SINCE], every=timedelta(seconds=15))
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await reader.close()


class Counting:
    """A model server that counts one feature and tells its bins."""

    def __init__(self, version: str, rows: int, *, tells: bool = True) -> None:
        self.version, self.rows, self.tells, self.asked = version, rows, tells, 0

    async def __call__(self, request: web.Request) -> web.Response:
        if request.path == "/reference":
            self.asked += 1
            return web.json_response(self.reference()) if self.tells else web.Response(status=404)
        head = {"schema": "noria.counters/v1", "version": self.version, "process": self.version}
        column = {"bins": [self.rows, 1], "missing": 2, "unseen": 3, "low": 4, "high": 5}
        counts = {"features": {"a/b": column}, "prediction": column | {"missing": 0}}
        return web.json_response({**head, "started": 400.0, "from": 400.0, "at": 500.0, **counts})

    def reference(self) -> dict[str, Any]:
        column = {"name": "a/b", "kind": "numeric", "edges": [1.5], "counts": [5, 5], "missing": 1}
        bins = {"samples": 11, "features": [column], "prediction": column | {"name": "__prediction__"}}
        return {"schema": "noria.reference/v1", "version": self.version, **bins}


async def test_rows_are_counted_in_the_bins_of_their_own_version() -> None:
    one, other = Counting("m-1", 10), Counting("m-2", 100)
    async with pods(one, other) as port:
        reader = CounterReader(port=port)
        totals = await reader.complete("shop", "m", [pod(1), pod(2)], since=SINCE)
        assert totals is not None
        assert totals.seen("m-1")["a/b"] == Seen((10, 1), 2, 3, 4, 5)
        assert totals.seen("m-2")["a/b"] == Seen((100, 1), 2, 3, 4, 5)
        assert totals.seen("m-1")["__prediction__"] == Seen((10, 1), 0, 3, 4, 5)
        assert totals.seen("m-3") == {}
        await reader.close()


async def test_a_reference_is_read_once_from_a_pod_of_its_version() -> None:
    old, new = Counting("m-1", 1), Counting("m-2", 1)
    async with pods(old, new) as port:
        reader = CounterReader(port=port)
        for _ in range(3):
            found = await reader.reference("shop", "m", [pod(1), pod(2)], version="m-2")
            assert found is not None
        assert found.columns[0] == Column("a/b", (5, 5), 1, (1.5,))
        assert (old.asked, new.asked) == (1, 1)
        reader.forget("shop", "m")
        await reader.reference("shop", "m", [pod(2)], version="m-2")
        assert new.asked == 2
        await reader.close()


async def test_servers_that_tell_no_reference_have_none() -> None:
    silent = Counting("m-1", 1, tells=False)
    async with pods(silent) as port:
        reader = CounterReader(port=port)
        assert await reader.reference("shop", "m", [pod(1)], version="m-1") is None
        assert await reader.reference("shop", "m", [], version="m-1") is None
        silent.tells = True
        assert await reader.reference("shop", "m", [pod(1, "other")], version="m-1") is None
        assert await reader.reference("shop", "m", [pod(1)], version="m-1") is not None
        await reader.close()


async def test_several_windows_of_one_pass_read_a_pod_once_and_sum_what_is_gone() -> None:
    now = 1000.0
    one = Counting("m-1", 10)
    asked = []

    async def counted(request: web.Request) -> web.Response:
        asked.append(request.path_qs)
        return await one(request)

    async with pods(counted) as port:
        reader = CounterReader(port=port, fresh=1.0, clock=lambda: now)
        for since in ([300, 301], [302]):
            begun = [datetime.fromtimestamp(one, UTC) for one in since]
            await reader.keep("shop", "m", [pod(1)], since=begun[:1], asked=begun[1:])
        assert asked == ["/counters"]
        now += 1.5
        one.rows = 20
        await reader.keep("shop", "m", [pod(1)], since=[SINCE])
        assert len(asked) == 2
        totals = await reader.complete("shop", "m", [], since=SINCE)
        assert totals is not None
        assert totals.seen("m-1")["a/b"].bins == (20, 1), "the pod is gone, what it counted is not"
        await reader.close()


async def test_a_pod_that_gives_no_answer_is_waited_for_once_by_all_windows_that_are_read_together() -> None:
    asked: list[str] = []

    async def silent(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return await hanging(request)

    now = 0.0
    async with pods(silent) as port:
        reader = CounterReader(Fetcher(timeout=0.05), port=port, fresh=1.0, clock=lambda: now)
        for window in range(5):
            assert await reader.window("shop", "md", [pod(1)], since=SINCE + timedelta(window)) is None
        assert len(asked) == 1
        now = 1.0
        await reader.window("shop", "md", [pod(1)], since=SINCE)
        assert len(asked) == 2
        await reader.close()


async def test_frozen_bins_are_asked_of_no_pod_that_has_just_given_no_answer() -> None:
    asked: list[str] = []

    async def silent(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return await hanging(request)

    async with pods(silent, Counting("m-1", 5)) as port:
        fetcher, read = Fetcher(timeout=0.5), [pod(1), pod(2)]
        reader = CounterReader(fetcher, port=port, fresh=1.0, clock=lambda: 0.0)
        await reader.window("shop", "m", read, since=SINCE)
        assert await reader.reference("shop", "m", read, version="m-1") is not None
        await reader.close()
    assert asked == ["/counters"]
