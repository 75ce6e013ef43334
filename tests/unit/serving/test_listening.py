"""Where the server listens: in pods of either family, and on machines that know one alone."""

from __future__ import annotations

import socket

import pytest
from tests.sockets import need_ipv6

from noria_serving.server.lifecycle import _listen


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_every_address_is_one_of_either_family(host: str) -> None:
    need_ipv6()
    with _listen(host, 0) as listening:
        listening.listen()
        for address in ("127.0.0.1", "::1"):
            socket.create_connection((address, listening.getsockname()[1]), timeout=5).close()


def test_where_there_is_no_ipv6_the_server_listens_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    made = socket.socket

    def without_ipv6(family: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return made(family)

    monkeypatch.setattr(socket, "socket", without_ipv6)
    with _listen("0.0.0.0", 0) as listening:
        assert listening.family == socket.AF_INET


def test_a_port_that_is_taken_is_taken_for_both_families() -> None:
    with _listen("0.0.0.0", 0) as first:
        first.listen()
        with pytest.raises(OSError, match="in use"):
            _listen("0.0.0.0", first.getsockname()[1])


def test_one_address_stays_one_address() -> None:
    with _listen("127.0.0.1", 0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
