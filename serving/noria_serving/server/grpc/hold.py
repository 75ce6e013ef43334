"""Sockets that make clients of the gRPC port wait while nobody listens there: grpcio takes no socket that is
open already, so that the supervisor (supervisor.py) cannot keep its port for the next server.

In: an address. Out: a Hold, which is at the address first and shares it with one listener after the other.
Invariants: the listener gets every connection while there is one; without it connections are neither
accepted nor refused, so that clients go on asking (the first packet is sent again after a second); nobody
else listens on the port when a Hold is made.

How (Linux): sockets with SO_REUSEPORT at one address are a group, in the order in which they listen. A filter
says which of them takes a connection: always the second. If there is none, the kernel takes what there is,
the first. That one has its queue full, of connections with itself, and the kernel drops what comes for a full
queue.
"""

from __future__ import annotations

import array
import socket
import struct
from typing import Final

from noria_serving.server.sockets import bound

_SO_ATTACH_REUSEPORT_CBPF: Final = 51
_SECOND: Final = struct.pack("HBBI", 0x06, 0, 0, 1)
"""A program of one instruction, `BPF_RET | BPF_K` with 1: the number of a socket in its group, from 0."""
_QUEUE: Final = 1
"""Connections that wait to be accepted; the kernel takes one more. With 0 it would take the first for a flood
of them, and say so in its log.
"""
_PATIENCE: Final = 0.5
"""Seconds, for connections within the machine."""
_TRIES: Final = 8


class CannotHoldError(Exception):
    """This system does not do what holding needs; the port works as it would without."""


class Hold:
    """`sockets` keep the port held as long as they are open anywhere; `port`: where."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self.sockets = sockets
        self.port: int = sockets[0].getsockname()[1]

    def close(self) -> None:
        """Hold no longer, as far as this process is concerned."""
        for sock in self.sockets:
            sock.close()

    def check(self) -> None:
        """CannotHoldError unless the listener that came second gets all connections."""
        for _ in range(_TRIES):
            _connected(self.sockets[0]).close()


def hold(host: str, port: int) -> Hold:
    """OSError where the port is taken or the address is not ours."""
    if not hasattr(socket, "SO_REUSEPORT"):
        raise CannotHoldError("no SO_REUSEPORT")
    sock = _bound(host, port)
    held = Hold([sock])
    try:
        # Not before: to be bound alone is how it is known that nobody else is there.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        program = array.array("B", _SECOND)
        sock.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, struct.pack("HP", 1, program.buffer_info()[0])
        )
        sock.listen(_QUEUE)
        held.sockets += [_connected(sock) for _ in range(_QUEUE + 1)]
    except OSError as error:
        held.close()
        raise CannotHoldError(str(error)) from error
    except CannotHoldError:
        held.close()
        raise
    return held


def _bound(host: str, port: int) -> socket.socket:
    """At the address at which grpcio will be: where there is IPv6, its sockets are IPv6's and take IPv4."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror as error:
        raise CannotHoldError(f"{host} is not an IP address, and may be several") from error
    family, _, _, _, address = found[0]
    if family == socket.AF_INET and _ipv6():
        family = socket.AF_INET6
        address = ("::" if host == "0.0.0.0" else f"::ffff:{address[0]}", port)
    return bound(family, address)


def _ipv6() -> bool:
    """As grpcio looks for it."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def _connected(listening: socket.socket) -> socket.socket:
    sock = socket.socket(listening.family)
    sock.settimeout(_PATIENCE)
    try:
        sock.connect(listening.getsockname())
    except OSError as error:
        sock.close()
        raise CannotHoldError(f"no connection to itself: {error}") from error
    return sock
