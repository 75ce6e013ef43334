"""Thanos beside Prometheus: a sidecar tells of each one, and a querier of all.

Comes in: Prometheus servers that run. Goes out: where the querier answers. Its settings are those that would
spoil counts where a question does not say better: old samples thinned out, a short memory for the last
sample, answers although a store is away.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.integration.scraping import Prometheus
from tests.sockets import until_it_answers
from tools.cluster import binaries
from tools.cluster.layout import binary
from tools.ports import free_port

SPOILING = (
    "--query.auto-downsampling",
    "--query.instant.default.max_source_resolution=1h",
    "--query.lookback-delta=3s",
    "--query.partial-response",
)


@contextmanager
def sidecar(of: Prometheus) -> Iterator[str]:
    """Where the sidecar of a running Prometheus tells what that knows; away afterwards."""
    grpc, http = _addresses()
    flags = [f"--prometheus.url={of.url}", f"--tsdb.path={of.data}"]
    with _running("sidecar", *flags, f"--grpc-address={grpc}", f"--http-address={http}"):
        yield grpc


@contextmanager
def querier(stores: Sequence[str], *flags: str, strict: bool = False) -> Iterator[str]:
    """The address of one that asks all stores and removes what replicas tell twice. It leaves out a store
    that is away, unless it is `strict`.
    """
    grpc, http = _addresses()
    endpoint = "--endpoint-strict" if strict else "--endpoint"
    which = [*(f"{endpoint}={store}" for store in stores), "--query.replica-label=replica"]
    with _running("query", *which, *flags, f"--grpc-address={grpc}", f"--http-address={http}") as url:
        yield url


def _addresses() -> tuple[str, str]:
    return f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"


@contextmanager
def _running(part: str, *flags: str) -> Iterator[str]:
    binaries.ensure("thanos")
    (http,) = (flag.partition("=")[2] for flag in flags if flag.startswith("--http-address="))
    at_once = ["--grpc-grace-period=0s", "--http-grace-period=0s"]
    command = [str(binary("thanos")), part, *flags, "--log.level=error", *at_once]
    with subprocess.Popen(command) as process:
        try:
            until_it_answers(process, f"http://{http}/-/ready")
            yield f"http://{http}"
        finally:
            process.terminate()
