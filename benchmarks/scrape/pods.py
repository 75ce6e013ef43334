"""Pods of model servers that never were: every address of loopback answers `/counters` as one of them.

Comes in: requests. Goes out: the real document of a model with so many features, whose figures have grown at
each answer. Invariant: as little work as an answer can be, so that the machine is left to who asks.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import numpy as np

from benchmarks.scrape.world import model_of
from noria_serving.contract import COUNTERS_SCHEMA, REFERENCE_SCHEMA
from noria_serving.counters.state import State
from noria_serving.reference import Reference, document, numeric

STARTED = 1_000_000.0
VERSION = "VERSION-1"


def body(features: int) -> tuple[bytes, bytes]:
    """The documents of `/counters` and `/reference`, with marks for what differs from pod to pod."""
    random = np.random.default_rng(1)
    columns = tuple(numeric(f"feature-{number}", random.normal(size=2000)) for number in range(features))
    reference = Reference(2000, columns, numeric("prediction", random.uniform(size=2000)))
    state = State(reference)
    state.vector[:] = random.integers(1_000, 100_000, size=len(state.vector))
    for row in range(200):
        for positive in (True, False):
            state.add_score(VERSION, row, positive=positive)
    counted: dict[str, Any] = state.as_json(state.vector)
    head = {
        "schema": COUNTERS_SCHEMA, "namespace": "bench", "deployment": "d", "version": VERSION,
        "digest": "sha256:" + "0" * 64, "process": "PROCESS", "started": STARTED, "at": "AT", "from": STARTED,
        "error_units": {}, "task": "binary",
    }  # fmt: skip
    counters = json.dumps(head | counted | {"predictions": "ROWS"}, separators=(",", ":")).encode()
    bins = json.dumps({"schema": REFERENCE_SCHEMA, **document(reference), "version": VERSION})
    return counters, bins.encode()


class Pod(asyncio.Protocol):
    """One connection."""

    counters: bytes
    reference: bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        ip = transport.get_extra_info("sockname")[0]
        version = f"m{model_of(ip)}-1".encode()
        self._counters = self.counters.replace(b"PROCESS", ip.encode()).replace(VERSION.encode(), version)
        self._reference = self.reference.replace(VERSION.encode(), version)

    def data_received(self, data: bytes) -> None:
        now = time.time()
        found = self._reference if b"/reference" in data else self._counters
        found = found.replace(b'"AT"', b"%.3f" % now).replace(b'"ROWS"', b"%d" % (now * 1000))
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(found)
        self._transport.write(head + found)


async def main(features: int) -> None:
    """Print the size of a document and the port, and answer until the process is told to end."""
    Pod.counters, Pod.reference = body(features)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Pod, "0.0.0.0", 0, backlog=4096)
    sys.stdout.write(f"{len(Pod.counters)} {server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
