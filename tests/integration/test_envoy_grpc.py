"""gRPC through a real Envoy: by host and by metadata, with weights, and what is counted as an error."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tests.integration.envoy_router import (
    NAMESPACE,
    Cluster,
    Router,
    discovery,
    free_port,
    router,
    until_counts,
    upstream,
)

from noria_operator.domain.verdict import Counts
from noria_operator.evidence.router import RouterReader
from noria_serving import bundle
from noria_serving.protocol.inference_pb2 import ModelInferRequest

INFERENCE = "/inference.GRPCInferenceService/"
CODES = grpc.StatusCode
Counting = Callable[[], Awaitable[Counts]]


@dataclass
class GrpcUpstream:
    """The gRPC port of a model server with a name; `behaviour` is ok, hang or the name of a status."""

    name: str
    port: int
    behaviour: str = "ok"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Of the latest call."""

    async def call(self, _: bytes, context: Any) -> bytes:
        self.metadata = dict(context.invocation_metadata())
        if self.behaviour == "hang":
            await asyncio.sleep(30)
        if self.behaviour != "ok":
            await context.abort(CODES[self.behaviour], "as told")
        return self.name.encode()

    async def stream(self, _: object, context: Any) -> None:
        """Another behaviour than ok ends it when something comes, unanswered."""
        while (await context.read()) is not grpc.aio.EOF:
            if self.behaviour != "ok":
                await context.abort(CODES[self.behaviour], "as told")
            await context.write(self.name.encode())

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        if str(details.method).endswith("ModelStreamInfer"):
            return grpc.stream_stream_rpc_method_handler(self.stream)
        return grpc.unary_unary_rpc_method_handler(self.call)


@asynccontextmanager
async def grpc_upstream(name: str) -> AsyncIterator[GrpcUpstream]:
    """A running one."""
    server, found = grpc.aio.server(), GrpcUpstream(name, free_port())
    server.add_generic_rpc_handlers((found,))
    server.add_insecure_port(f"127.0.0.1:{found.port}")
    await server.start()
    try:
        yield found
    finally:
        await server.stop(0)


@asynccontextmanager
async def channel(envoy: Router, host: str) -> AsyncIterator[grpc.aio.Channel]:
    """A client of the router that asks for this host."""
    options = [("grpc.default_authority", host), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{envoy.traffic}", options=options) as found:
        yield found


@asynccontextmanager
async def one_server() -> AsyncIterator[
    tuple[GrpcUpstream, grpc.aio.Channel, Callable[[], Awaitable[Counts]]]
]:
    """The only version behind a router; a client; and what the operator counts of it."""
    cluster, port = Cluster(), free_port()
    async with grpc_upstream("m-1") as server:
        cluster.endpoints("m-1", free_port(), grpc=[server.port])
        cluster.deployment("m", {"m-1": 100})
        async with discovery(cluster.store(), port), router(port) as envoy, channel(envoy, "m") as client:
            await envoy.until_ready()
            reader = RouterReader(stats_port=envoy.stats, traffic_port=envoy.traffic)

            async def counts() -> Counts:
                return (await reader.counts(NAMESPACE, [envoy.pod()], ["m-1"]))["router-0"]["m-1"]

            yield server, client, counts
            await reader.close()


async def ask(client: grpc.aio.Channel, method: str = "ModelInfer", **more: Any) -> tuple[Any, str]:
    """(status, the name of who answered)."""
    try:
        return CODES.OK, (await client.unary_unary(f"{INFERENCE}{method}")(b"", timeout=5, **more)).decode()
    except grpc.aio.AioRpcError as error:
        return error.code(), ""


async def test_calls_follow_host_and_weights_on_the_port_that_http_has() -> None:
    cluster, port = Cluster(), free_port()
    async with grpc_upstream("m-1") as stable, grpc_upstream("m-2") as canary, upstream("m-1") as http:
        cluster.endpoints("m-1", http.port, grpc=[stable.port])
        cluster.endpoints("m-2", http.port, grpc=[canary.port])
        cluster.deployment("m", {"m-1": 80, "m-2": 20}, hosts=["m.example.com"])
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            for host in ("m", "m.shop", "m.shop.svc", "m.shop.svc.cluster.local:8082", "m.example.com"):
                async with channel(envoy, host) as client:
                    assert (await ask(client))[0] == CODES.OK, host
            async with channel(envoy, "m") as client:
                split = Counter([(await ask(client))[1] for _ in range(500)])
                assert 45 < split["m-2"] < 155, split
                cluster.deployment("m", {"m-1": 100, "m-2": 0})
                await envoy.until_weights("m", {"m-1": 100, "m-2": 0})
                assert Counter([(await ask(client))[1] for _ in range(100)]) == {"m-1": 100}
                call = client.unary_unary(f"{INFERENCE}ModelInfer")(b"")
                assert dict(await call.initial_metadata())["noria-revision"] == "m-1"
            assert await envoy.get("m") == (200, "m-1"), "HTTP/1.1 on the same port"


async def test_http_2_is_spoken_to_clients_of_http_too() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as http:
        cluster.endpoints("m-1", http.port)
        cluster.deployment("m", {"m-1": 100})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            url = f"http://127.0.0.1:{envoy.traffic}/v2/models/m"
            for option, version in (("--http1.1", b"1.1"), ("--http2-prior-knowledge", b"2")):
                curl = await asyncio.create_subprocess_exec(
                    "curl", "-s", option, "-H", "Host: m", "-w", " %{http_version}", url,
                    stdout=asyncio.subprocess.PIPE,
                )  # fmt: skip
                said, _ = await curl.communicate()
                assert said == b"m-1 " + version


async def test_a_host_that_is_nobodys_is_told_apart_by_metadata() -> None:
    cluster, port = Cluster(), free_port()
    async with grpc_upstream("a-1") as one, grpc_upstream("b-1") as other:
        for name, server in (("a", one), ("b", other)):
            cluster.endpoints(f"{name}-1", free_port(), grpc=[server.port])
            cluster.deployment(name, {f"{name}-1": 100})
        cluster.deployment("c", {})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            async with channel(envoy, "10.0.0.1") as client:
                for name in ("a", "b"):
                    assert await ask(client, metadata=[("noria-model", name)]) == (CODES.OK, f"{name}-1")
                assert (await ask(client))[0] == CODES.UNIMPLEMENTED
                assert (await ask(client, metadata=[("noria-model", "x")]))[0] == CODES.UNIMPLEMENTED
            async with channel(envoy, "c") as client:
                assert (await ask(client))[0] == CODES.UNAVAILABLE, "no version serves yet"


async def test_a_revision_without_a_port_for_grpc_keeps_its_weight_and_says_so() -> None:
    cluster, port = Cluster(), free_port()
    async with upstream("m-1") as old, grpc_upstream("m-2") as new:
        cluster.endpoints("m-1", old.port)
        cluster.endpoints("m-2", old.port, grpc=[new.port])
        cluster.deployment("m", {"m-1": 100, "m-2": 0})
        old.behaviour = "missing"
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            async with channel(envoy, "m") as client:
                assert (await ask(client))[0] == CODES.UNIMPLEMENTED
                cluster.deployment("m", {"m-1": 0, "m-2": 100})
                await envoy.until_weights("m", {"m-1": 0, "m-2": 100})
                assert await ask(client) == (CODES.OK, "m-2")


async def test_health_is_no_ones_to_watch_and_a_server_is_told_how_long_a_call_is_waited_for() -> None:
    cluster, port = Cluster(), free_port()
    async with grpc_upstream("m-1") as server:
        cluster.endpoints("m-1", free_port(), grpc=[server.port])
        cluster.deployment("m", {"m-1": 100}, router={"timeout": "2m"})
        async with discovery(cluster.store(), port), router(port) as envoy, channel(envoy, "m") as client:
            await envoy.until_ready()
            watch = client.unary_stream("/grpc.health.v1.Health/Watch")(b"")
            assert await watch.code() == CODES.UNIMPLEMENTED
            assert "call Check" in await watch.details()
            assert await ask(client) == (CODES.OK, "m-1")
            assert server.metadata["x-envoy-expected-rq-timeout-ms"] == "120000"


async def test_a_stream_outlives_the_time_that_a_call_may_take() -> None:
    cluster, port = Cluster(), free_port()
    async with grpc_upstream("m-1") as server:
        cluster.endpoints("m-1", free_port(), grpc=[server.port])
        cluster.deployment("m", {"m-1": 100}, router={"timeout": "300ms"})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            async with channel(envoy, "m") as client:
                stream = client.stream_stream(f"{INFERENCE}ModelStreamInfer")()
                for _ in range(3):
                    await stream.write(b"")
                    assert await stream.read() == b"m-1"
                    await asyncio.sleep(0.25)
                await stream.done_writing()
                assert (await stream.read(), await stream.code()) == (grpc.aio.EOF, CODES.OK)


async def test_faults_are_errors_of_their_version_and_clients_mistakes_are_not() -> None:
    cluster, port = Cluster(), free_port()
    async with grpc_upstream("m-1") as server, upstream("m-1") as http:
        cluster.endpoints("m-1", http.port, grpc=[server.port])
        cluster.deployment("m", {"m-1": 100}, router={"timeout": "1s"})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            reader = RouterReader(stats_port=envoy.stats, traffic_port=envoy.traffic)

            async def counts() -> Counts:
                return (await reader.counts(NAMESPACE, [envoy.pod()], ["m-1"]))["router-0"]["m-1"]

            async with channel(envoy, "m") as client:
                statuses = []
                for behaviour in ("ok", "INVALID_ARGUMENT", "NOT_FOUND"):
                    server.behaviour = behaviour
                    statuses.append((await ask(client))[0].name)
                assert statuses == ["OK", "INVALID_ARGUMENT", "NOT_FOUND"]
                assert await counts() == Counts(3, 0, 2)
                for behaviour in ("INTERNAL", "UNAVAILABLE", "UNKNOWN", "RESOURCE_EXHAUSTED"):
                    server.behaviour = behaviour
                    assert (await ask(client))[0].name == behaviour
                assert await counts() == Counts(7, 4, 2)
                server.behaviour = "hang"
                assert (await ask(client))[0] in {CODES.UNAVAILABLE, CODES.DEADLINE_EXCEEDED}
                assert await counts() == Counts(8, 5, 2), "the router ends a call that hangs"
                call = client.unary_unary(f"{INFERENCE}ModelInfer")(b"", timeout=0.2)
                assert await call.code() == CODES.DEADLINE_EXCEEDED
                await until_counts(counts, Counts(9, 6, 2), "a client that gives up on a hanging version")
                cluster.endpoints("m-1", http.port, grpc=[nobody := free_port()])
                await envoy.until_pods("m-1_grpc", nobody)
                assert (await ask(client))[0] == CODES.UNAVAILABLE
                assert await counts() == Counts(10, 7, 2), "nobody listens; tried four times, counted once"
                await envoy.get("m")
                assert await counts() == Counts(11, 7, 2), "HTTP and gRPC are counted together"
            await reader.close()


@asynccontextmanager
async def wire(port: int) -> AsyncIterator[tuple[int, list[asyncio.StreamWriter]]]:
    """What leads to this port: its own port, and what to abort where it is cut."""
    ends: list[asyncio.StreamWriter] = []

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        ends.extend((writer, back))
        await asyncio.gather(pipe(reader, back), pipe(there, writer))

    own = free_port()
    async with await asyncio.start_server(lead, "127.0.0.1", own):
        yield own, ends


async def test_a_stream_that_its_pod_cuts_off_is_an_error_of_its_version() -> None:
    cluster, port = Cluster(), free_port()
    async with grpc_upstream("m-1") as server, upstream("m-1") as http, wire(server.port) as (between, ends):
        cluster.endpoints("m-1", http.port, grpc=[between])
        cluster.deployment("m", {"m-1": 100})
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            reader = RouterReader(stats_port=envoy.stats, traffic_port=envoy.traffic)
            async with channel(envoy, "m") as client:
                calls = [client.stream_stream(f"{INFERENCE}ModelStreamInfer")() for _ in range(2)]
                for call in calls:
                    await call.write(b"x")
                    assert await call.read() == b"m-1"
                await calls[0].done_writing()
                assert await calls[0].code() == CODES.OK
                for end in ends:
                    end.transport.abort()
                assert await calls[1].code() != CODES.OK

            async def counts() -> Counts:
                return (await reader.counts(NAMESPACE, [envoy.pod()], ["m-1"]))["router-0"]["m-1"]

            await until_counts(counts, Counts(2, 1), "it began well and broke off")
            await reader.close()


async def test_a_stream_that_its_server_ends_with_aborted_is_no_error_of_its_version() -> None:
    async with one_server() as (server, client, counts):
        calls = [client.stream_stream(f"{INFERENCE}ModelStreamInfer")() for _ in range(3)]
        for call in calls:
            await call.write(b"x")
            assert await call.read() == b"m-1"
        server.behaviour = "ABORTED"
        for call in calls[:2]:
            await call.write(b"x")
            assert await call.code() == CODES.ABORTED
        calls[2].cancel()
        await until_counts(counts, Counts(3, 1), "the client gave the third one up")


@asynccontextmanager
async def no_grpc() -> AsyncIterator[int]:
    """The port of an HTTP/2 server that answers 200 and a body to everything, and no status of gRPC."""
    settings, ack = b"\0\0\0\4\0\0\0\0\0", b"\0\0\0\4\1\0\0\0\0"
    kind = b"application/grpc"
    headers = b"\x88\x5f" + bytes([len(kind)]) + kind

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readexactly(len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
            writer.write(settings)
            while True:
                head = await reader.readexactly(9)
                await reader.readexactly(int.from_bytes(head[:3]))
                type_, flags, stream = head[3], head[4], head[5:]
                if type_ == 4 and not flags:
                    writer.write(ack)
                elif type_ in (0, 1) and flags & 1:
                    writer.write(len(headers).to_bytes(3) + b"\1\4" + stream + headers)
                    writer.write(b"\0\0\5\0\1" + stream + b"\0\0\0\0\0")

    own = free_port()
    async with await asyncio.start_server(serve, "127.0.0.1", own):
        yield own


async def test_a_call_whose_status_nobody_tells_counts_for_nothing() -> None:
    """Of a server that knows no gRPC, a stream that goes on, and copies, whose answers routers throw away."""
    cluster, port = Cluster(), free_port()
    async with grpc_upstream("m-1") as one, grpc_upstream("m-2") as two, no_grpc() as three:
        for name, grpc_port in (("m-1", one.port), ("m-2", two.port), ("n-1", three)):
            cluster.endpoints(name, free_port(), grpc=[grpc_port])
        cluster.deployment("m", {"m-1": 100, "m-2": 0}, challenger="m-2", reach={"mirror": 100})
        cluster.deployment("n", {"n-1": 100})
        two.behaviour = "INTERNAL"
        async with discovery(cluster.store(), port), router(port) as envoy:
            await envoy.until_ready()
            reader = RouterReader(stats_port=envoy.stats, traffic_port=envoy.traffic)

            async def counts(name: str) -> Counts:
                return (await reader.counts(NAMESPACE, [envoy.pod()], [name]))["router-0"][name]

            async with channel(envoy, "m") as client, channel(envoy, "n") as other:
                for _ in range(10):
                    assert await ask(client) == (CODES.OK, "m-1")
                    assert (await ask(other))[0] == CODES.UNKNOWN
                stream = client.stream_stream(f"{INFERENCE}ModelStreamInfer")()
                await stream.write(b"")
                assert await stream.read() == b"m-1"
                await asyncio.sleep(0.2)  # in which nothing is to come
                await until_counts(partial(counts, "m-1"), Counts(10), "the stream goes on")
                assert (await counts("m-2"), await counts("n-1")) == (Counts(), Counts())
                await stream.done_writing()
                assert await stream.code() == CODES.OK
                await until_counts(partial(counts, "m-1"), Counts(11), "and ended")
            await reader.close()


async def test_no_reading_among_many_calls_finds_an_error_that_was_none() -> None:
    async with one_server() as (_, client, counts):
        calls = [asyncio.create_task(ask(client)) for _ in range(300)]
        read = [Counts()]
        while not all(one.done() for one in calls):
            read.append(await counts())
        assert {status for status, _ in await asyncio.gather(*calls)} == {CODES.OK}
        read.append(await counts())
        assert all(one.errors == one.refused == 0 for one in read)
        assert read[-1] == Counts(300)
        assert read == sorted(read, key=lambda one: one.requests)


@asynccontextmanager
async def model_server(
    location: Path, http: int, grpc_port: int
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A real one, ready or not when this returns."""
    env = {
        **os.environ, "NORIA_BUNDLE": str(location), "NORIA_MODEL": "m", "NORIA_HOST": "127.0.0.1",
        "NORIA_PORT": str(http), "NORIA_GRPC_PORT": str(grpc_port), "NORIA_COUNTERS_PORT": "0",
        "NORIA_DRAIN_SECONDS": "1",
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "noria_serving.main", env=env)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_server_that_leaves_under_load_loses_no_call(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    rows = np.random.default_rng(7).normal(size=(200, 3))
    labels = (rows[:, 0] > 0).astype(int)
    bundle.save(LogisticRegression().fit(rows, labels), rows, labels, tmp_path / "bundle", name="m")
    message = ModelInferRequest(model_name="m", raw_input_contents=[np.ones(3, "<f4").tobytes()])
    message.inputs.add(name="input-0", datatype="FP32", shape=[1, 3])
    cluster, port, ports = Cluster(), free_port(), [free_port() for _ in range(4)]
    http, grpc_ports = ports[:2], ports[2:]
    answers: Counter[str] = Counter()
    cluster.endpoints("m-1", *http, grpc=grpc_ports)
    cluster.deployment("m", {"m-1": 100})
    async with (
        model_server(tmp_path / "bundle", http[0], grpc_ports[0]) as leaving,
        model_server(tmp_path / "bundle", http[1], grpc_ports[1]),
        discovery(cluster.store(), port),
        router(port) as envoy,
        channel(envoy, "m") as client,
    ):
        await envoy.until_ready()
        call = client.unary_unary(f"{INFERENCE}ModelInfer")
        for number in grpc_ports:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{number}") as own:
                ready = own.unary_unary(f"{INFERENCE}ServerReady")
                async with asyncio.timeout(30):
                    while await ready(b"", wait_for_ready=True) != b"\x08\x01":  # noqa: ASYNC110
                        await asyncio.sleep(0.02)

        async def ask_on() -> None:
            while leaving.returncode is None:
                try:
                    await call(message.SerializeToString(), timeout=10)
                    answers["OK"] += 1
                except grpc.aio.AioRpcError as error:
                    answers[f"{error.code().name}: {error.details()}"] += 1

        clients = [asyncio.create_task(ask_on()) for _ in range(6)]
        await asyncio.sleep(0.3)
        leaving.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
        cluster.endpoints("m-1", http[1], grpc=grpc_ports[1:])
        async with asyncio.timeout(30):
            await asyncio.gather(*clients)
        assert (leaving.returncode, set(answers)) == (0, {"OK"}), answers
