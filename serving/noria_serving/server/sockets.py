"""Sockets at an address, before anybody listens there."""

from __future__ import annotations

import socket
from typing import Any


def bound(family: socket.AddressFamily, address: tuple[Any, ...]) -> socket.socket:
    """Of IPv6 for IPv4, too. OSError where the port is taken, or the address is not ours."""
    sock = socket.socket(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock
