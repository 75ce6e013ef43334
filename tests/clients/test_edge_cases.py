"""Requests at the edges of the protocol, against a real server: each gets the right answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.conformance.probes import NOT_READY, PROBES, Asker, Probe, answers
from benchmarks.peers import process, servers
from tests.clients.conftest import Noria

pytestmark = pytest.mark.extended


@pytest.fixture(scope="module")
def asker(noria: Noria) -> Iterator[Asker]:
    asker = Asker(noria.target)
    with asker.client:
        yield asker


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_the_right_answer_at_the_edge(asker: Asker, probe: Probe) -> None:
    assert probe.ask(asker) == probe.right


def test_the_right_answer_while_the_model_is_not_ready(noria: Noria, tmp_path: Path) -> None:
    command = servers.noria_not_ready(noria.served, "onnx", tmp_path)
    with process.running(command, tmp_path / "log") as early:
        target = servers.target(early, noria.served, label="label")
        assert answers(target, [NOT_READY]) == {NOT_READY.name: NOT_READY.right}
