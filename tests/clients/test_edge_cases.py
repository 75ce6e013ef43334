"""Requests at the edges of the protocol, against a real server: each gets the right answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from benchmarks.conformance.probes import PROBES, Asker, Probe
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
