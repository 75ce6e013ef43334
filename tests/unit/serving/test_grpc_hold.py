"""A held port and grpcio: who gets a connection while somebody listens, in between, and in the end."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures

import grpc
import pytest
from tests.sockets import need_ipv6

from noria_serving.server.grpc import hold as holding
from noria_serving.server.grpc.hold import CannotHoldError, Hold, hold
from noria_serving.server.grpc.listener import address
from noria_serving.server.grpc.port import listen as listen_on
from noria_serving.server.models import Models
from noria_serving.settings import Settings
from noria_serving.supervisor import Parent

HOSTS = ["127.0.0.1", "0.0.0.0", "::1", "::"]
SOON = 0.2
CLIENTS = 50


@pytest.fixture(params=HOSTS)
def held(request: pytest.FixtureRequest) -> Iterator[tuple[str, Hold]]:
    if ":" in request.param:
        need_ipv6()
    made = hold(request.param, 0)
    yield request.param, made
    made.close()


@pytest.fixture
def listen() -> Iterator[Callable[[str, int], grpc.Server]]:
    started: list[grpc.Server] = []

    def run(host: str, port: int) -> grpc.Server:
        server = grpc.server(futures.ThreadPoolExecutor(1), options=(("grpc.so_reuseport", 1),))
        assert server.add_insecure_port(address(host, port)) == port
        server.start()
        started.append(server)
        return server

    yield run
    for server in started:
        server.stop(None).wait()


def _connect(host: str, port: int, timeout: float) -> None:
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    socket.create_connection((reached, port), timeout=timeout).close()


@pytest.mark.processes
def test_the_listener_gets_every_connection_and_none_is_refused_before_after_and_between(
    held: tuple[str, Hold], listen: Callable[[str, int], grpc.Server]
) -> None:
    host, port = held[0], held[1].port
    with pytest.raises(TimeoutError):
        _connect(host, port, SOON)
    first = listen(host, port)
    held[1].check()
    for _ in range(CLIENTS):
        _connect(host, port, SOON)
    first.stop(None).wait()
    with pytest.raises(TimeoutError):
        _connect(host, port, SOON)
    threading.Timer(0.3, listen, (host, port)).start()
    begun = time.monotonic()
    _connect(host, port, 10)
    assert 0.3 < time.monotonic() - begun < 5, "by the second packet, which is sent after a second"
    for _ in range(CLIENTS):
        _connect(host, port, SOON)


def test_when_nobody_holds_the_port_any_more_it_refuses(held: tuple[str, Hold]) -> None:
    held[1].close()
    with pytest.raises(ConnectionRefusedError):
        _connect(held[0], held[1].port, SOON)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::"])
def test_a_port_that_somebody_else_has_is_not_held(host: str, shared: bool) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OSError, match="in use"):
            hold(host, other.getsockname()[1])


def test_a_port_that_is_held_is_not_held_again(held: tuple[str, Hold]) -> None:
    with pytest.raises(OSError, match="in use"):
        hold(held[0], held[1].port)


def test_a_holder_that_would_take_connections_itself_is_found_out() -> None:
    made = hold("127.0.0.1", 0)
    with pytest.raises(CannotHoldError, match="no connection"):
        made.check()  # nobody listens
    made.close()


def test_a_system_without_what_it_takes_says_so_and_leaves_the_port_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(holding, "_SO_ATTACH_REUSEPORT_CBPF", 999)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(CannotHoldError, match="not available"):
        hold("127.0.0.1", port)
    socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.parametrize("able", [True, False])
async def test_a_server_hands_over_what_holds_its_port_or_says_once_that_it_cannot(
    able: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if not able:
        monkeypatch.setattr(holding, "_SO_ATTACH_REUSEPORT_CBPF", 999)
    supervisor, server = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    supervisor.setblocking(False)
    models = Models(Settings(models=(), host="127.0.0.1", grpc_port=0))
    with supervisor, server:
        listener, port = await listen_on(models, Parent(server))
        _connect("127.0.0.1", port, SOON)
        said = [record.message for record in caplog.records]
        if able:
            name, descriptors, _, _ = socket.recv_fds(supervisor, 9, 9)
            assert (name, len(descriptors), said) == (b"grpc", 3, [])
            for descriptor in descriptors:
                os.close(descriptor)
        else:
            assert said == ["gRPC is refused while a server that died is replaced"]
            with pytest.raises(BlockingIOError):
                supervisor.recv(9)
        await listener.stop(0)


def test_a_name_may_be_several_addresses_of_which_none_is_held() -> None:
    with pytest.raises(CannotHoldError, match="not an IP address"):
        hold("localhost", 0)
