"""Pods of model servers that never were: every address of loopback answers `/counters` as one of them.

Comes in: requests. Goes out: the real document of a model with so many features, whose figures grow as they
would in traffic that does not change. Invariant: as little work as an answer can be, so that the machine is
left to who asks.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.scrape.world import model_of
from noria_operator.domain.drift.columns import PREDICTION
from noria_serving.contract import COUNTERS_SCHEMA, REFERENCE_SCHEMA, SCORE_BINS
from noria_serving.counters.recorder import Recorder
from noria_serving.reference import Reference, document, numeric

STARTED = 1_000_000.0
VERSION = "VERSION-1"
ROWS = 1000
EVERY = 5.0
"""Seconds in which each pod answers so many rows, and gets as many labels."""
BEFORE = 20
"""How many times as many it had before."""
LEVELS = 120
"""After as many times `EVERY` nothing is counted any more."""


def body(features: int) -> tuple[list[bytes], bytes]:
    """Documents of `/counters`, each of `ROWS` rows and as many labels more than the one before, and that of
    `/reference`, with marks for what differs from pod to pod.
    """
    random = np.random.default_rng(1)
    inputs = {f"feature-{number}": random.normal(size=(ROWS, 1)) for number in range(features)}
    scores = random.uniform(size=ROWS)
    columns = tuple(numeric(name, values[:, 0], source=(name, 0)) for name, values in inputs.items())
    reference = Reference(ROWS, columns, numeric(PREDICTION, scores))
    recorder = Recorder(reference)
    recorder.answered(inputs, scores)
    recorder.fold()
    state = recorder.state
    for row in range(ROWS):
        state.add_score(VERSION, row * SCORE_BINS // ROWS, positive=bool(random.uniform() < row / ROWS))
        state.add_delay(60.0)
    head = {
        "schema": COUNTERS_SCHEMA, "namespace": "bench", "deployment": "d", "version": VERSION,
        "digest": "sha256:" + "0" * 64, "process": "PROCESS", "started": STARTED, "at": "AT", "from": STARTED,
        "error_units": {}, "task": "binary",
    }  # fmt: skip
    grown = [head | state.as_json(state.vector * level) for level in range(BEFORE, BEFORE + LEVELS)]
    bins = json.dumps({"schema": REFERENCE_SCHEMA, **document(reference), "version": VERSION})
    return [json.dumps(one, separators=(",", ":")).encode() for one in grown], bins.encode()


class Pod(asyncio.Protocol):
    """One connection."""

    counters: Sequence[bytes]
    reference: bytes
    began: float

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        ip = transport.get_extra_info("sockname")[0]
        self._version, self._process = f"m{model_of(ip)}-1".encode(), ip.encode()

    def data_received(self, data: bytes) -> None:
        now = time.time()
        level = min(int((now - self.began) / EVERY), LEVELS - 1)
        found = self.reference if b"/reference" in data else self.counters[level]
        found = found.replace(b'"AT"', b"%.3f" % now).replace(b"PROCESS", self._process)
        found = found.replace(VERSION.encode(), self._version)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(found)
        self._transport.write(head + found)


async def main(features: int) -> None:
    """Print the size of a document and the port, and answer until the process is told to end."""
    Pod.counters, Pod.reference = body(features)
    Pod.began = time.time()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Pod, "0.0.0.0", 0, backlog=4096)
    sys.stdout.write(f"{len(Pod.counters[0])} {server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
