"""One server under load: CPU of its whole process tree per request, throughput, latency, memory, start."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import grpc
import httpx
from tools.cluster.layout import CHECKOUT

from benchmarks.peers.models import Served
from benchmarks.peers.process import Running, running
from benchmarks.peers.servers import Server
from benchmarks.server import payloads
from benchmarks.server.load import Plan

Figures = dict[str, float]
STEADY_RATE = 200.0
"""Requests a second that every server can answer: latencies at a server's own half load flatter slow ones."""
STARTS = 3
"""Starts in a round, of which the middle one counts: a neighbour's burst is as long as one."""


class WrongAnswer(Exception):
    """A server gave other labels than the model: nothing of it may be compared."""


@dataclass(frozen=True)
class Cell:
    """What is measured together: model shape, backend, protocol."""

    shape: str
    backend: str
    protocol: str


def kinds(server: Server) -> list[str]:
    """The protocols that a server speaks."""
    spoken = {"json": server.json, "binary": server.binary, "grpc": server.grpc}
    return [kind for kind, there in spoken.items() if there]


def visit(
    server: Server, served: Served, backend: str, *, shape: str, seconds: float, folder: Path
) -> tuple[Mapping[Cell, Figures], list[str]]:
    """Start the server, measure every protocol that it speaks, end it: figures, and what gave none."""
    found: dict[Cell, Figures] = {}
    left_out: list[str] = []
    home = folder / f"{server.name}-{backend}-{shape}-{len(list(folder.iterdir()))}"
    home.mkdir()
    # A server of a small model alone tells what starting it takes; the last start goes on to be measured.
    others = [home.with_name(f"{home.name}-{n}") for n in range(STARTS - 1 if shape == "small" else 0)]
    earlier = [_start(server, served, backend, other) for other in others]
    with running(server.start(served, backend, home), home / "log") as process:
        for kind in kinds(server):
            try:
                _check(server, process, served, kind)
                figures = _saturated(server, process, served, kind, seconds)
            except WrongAnswer as wrong:
                left_out.append(str(wrong))
                continue
            if shape == "small" and kind == "json":
                half = _at(server, process, served, seconds, rate=figures["rps"] / 2)
                steady = _at(server, process, served, seconds, rate=STEADY_RATE)
                figures |= {"half p99 ms": half["p99"], "steady p99 ms": steady["p99"]}
                starts = median([*earlier, process.ready_seconds])
                figures |= {"start s": starts, "rss": process.memory()}
            found[Cell(shape, backend, kind)] = figures
    return found, left_out


def _start(server: Server, served: Served, backend: str, home: Path) -> float:
    """Seconds until the server was ready; it is ended then."""
    home.mkdir()
    with running(server.start(served, backend, home), home / "log") as process:
        return process.ready_seconds


def _check(server: Server, process: Running, served: Served, kind: str) -> None:
    """Fail unless the labels are those of the model."""
    try:
        answered = payloads.labels(kind, server, process, served)
    except (httpx.HTTPError, grpc.RpcError, ImportError) as error:
        raise WrongAnswer(f"{server.title}, {kind}: {error!s:.200}") from error
    if answered != served.labels:
        raise WrongAnswer(f"{server.title}, {kind}: labels {answered[:5]}, not {served.labels[:5]}")


def _saturated(server: Server, process: Running, served: Served, kind: str, seconds: float) -> Figures:
    _load(server, process, served, kind, seconds=0.4)
    before, pids = process.cpu()
    result = _load(server, process, served, kind, seconds=seconds)
    after, still = process.cpu()
    if pids != still:
        raise WrongAnswer(f"{server.title}: its processes changed under load; their CPU time is lost")
    return {
        "cpu ms": (after - before) * 1000 / result["requests"],
        "rps": result["requests"] / result["seconds"],
        "p50 ms": result["p50"],
        "p99 ms": result["p99"],
    }


def _at(server: Server, process: Running, served: Served, seconds: float, *, rate: float) -> Figures:
    return _load(server, process, served, "json", seconds=seconds, rate=rate)


def _load(
    server: Server, process: Running, served: Served, kind: str, *, seconds: float, rate: float = 0.0
) -> Figures:
    """Run the generator in a process of its own."""
    payload = payloads.of(kind, served, asks=server.asks)
    path = server.infer_path.format(model=served.name)
    address = str(process.grpc if kind == "grpc" else process.http)
    host, _, port = address.partition(":")
    content = payload.body if kind == "grpc" else payload.http(path)
    plan = Plan(
        kind="grpc" if kind == "grpc" else "http", host=host, port=int(port),
        payload=base64.b64encode(content).decode(), seconds=seconds, rate=rate,
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.server.load"], input=plan.line(), cwd=CHECKOUT,
        capture_output=True, text=True, check=False, timeout=seconds + 60,
    )  # fmt: skip
    if done.returncode:
        raise WrongAnswer(f"{server.title} {kind}: the load generator ended: {done.stderr[-800:]}")
    result = json.loads(done.stdout)
    if result["errors"] or not result["requests"]:
        raise WrongAnswer(f"{server.title} {kind}: {result['errors']} errors, {result['requests']} answers")
    latencies = result.pop("latencies")
    return {
        **result,
        "p50": latencies[len(latencies) // 2] * 1000,
        "p99": latencies[int(len(latencies) * 0.99)] * 1000,
    }
