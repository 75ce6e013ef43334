"""Ports for programs of tests and benchmarks, their API servers among them.

Comes in: an address. Goes out: a port that nobody listens on. Invariant: what Linux gives to outgoing
connections (32768 and above unless it was told otherwise) is left alone, or one of them could take the port
before the program does; and no process gives a port twice.
"""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from typing import Final

_PORTS: Final = range(10_000, 30_000)
_given: set[int] = set()


def free_port(address: str = "127.0.0.1") -> int:
    """One that nobody listens on now."""
    while True:
        port = random.choice(_PORTS)
        if port not in _given:
            with socket.socket() as probe, suppress(OSError):
                probe.bind((address, port))
                _given.add(port)
                return port
