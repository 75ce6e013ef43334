"""One real server process on loopback, shared by all clients, with a model that all know: iris, as ONNX."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from benchmarks.conformance.suites import Target
from benchmarks.peers import models, process, servers


@dataclass(frozen=True)
class Noria:
    """The running server, its process, and what it must answer."""

    running: process.Running
    target: Target
    served: models.Served

    @property
    def url(self) -> str:
        return f"http://{self.target.http}"


@pytest.fixture(scope="session")
def noria(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Noria]:
    folder = tmp_path_factory.mktemp("noria")
    served = models.small(folder)
    with process.running(servers.noria_of_this_checkout(served, "onnx", folder), folder / "log") as running:
        yield Noria(running, servers.target(running, served, label="label"), served)
        assert running.process.poll() is None, "the server ended while its clients were at work"
