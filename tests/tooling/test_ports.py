"""Ports for programs: nobody else takes them before the program does."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from tools import ports
from tools.ports import free_port

OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_ports_are_given_once_and_leave_those_of_outgoing_connections_alone() -> None:
    given = [free_port() for _ in range(100)]
    assert len(set(given)) == 100
    assert max(given) < int(OUTGOING.read_text().split()[0])


def test_a_port_that_somebody_listens_on_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, free = free_port(), free_port()
    monkeypatch.setattr(ports, "_PORTS", (taken, free))
    monkeypatch.setattr(ports, "_given", set())
    with socket.create_server(("127.0.0.1", taken)):
        assert free_port() == free
