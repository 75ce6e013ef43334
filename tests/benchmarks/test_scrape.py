"""The benchmark of reading counts runs the operator's own parts, against documents that they understand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import orjson
import pytest
from benchmarks.scrape.__main__ import asked, pods
from benchmarks.scrape.page import AIM, Figures, page
from benchmarks.scrape.pods import ROWS, body
from benchmarks.scrape.world import address, model_of, observed

from noria_operator.evidence import windows


@pytest.fixture
def port() -> Iterator[int]:
    with pods(3) as (size, port):
        assert size > 1000
        yield port


def test_addresses_tell_which_model_it_is() -> None:
    assert [model_of(address(number, 1)) for number in (0, 249, 250, 999)] == [0, 249, 250, 999]


def test_its_documents_are_those_of_a_server() -> None:
    counters, bins = body(3)
    first, second = (windows.parse(orjson.loads(one.replace(b'"AT"', b"1"))) for one in counters[:2])
    assert first is not None
    assert second is not None
    before, after = (windows.seen(one.counts, one.version) for one in (first, second))
    assert len(before) == 4
    assert {after[name].rows - before[name].rows for name in before} == {ROWS}
    assert windows.reference(orjson.loads(bins), first.version) is not None


def test_the_operator_reads_models_that_are_long_observed_and_is_scraped(port: int) -> None:
    found = asked("operator", port, 300, 4.0, settle=0.5, every=1.0)
    assert found["read"] > 0
    assert found["metrics"] > 300 * 1000, "what is told of windows that have closed"


def test_windows_have_gone_on_for_a_share_of_their_length() -> None:
    first = {"triggers": [{"name": "quality", "version": "m0-1", "message": "m0 after 30m0s"}, {}, {}]}
    found = observed(first, 7, 0.5, datetime(2026, 1, 1, 12, tzinfo=UTC))["triggers"]
    began = [entry.pop("windowStartedAt") for entry in found]
    assert began == ["2026-01-01T11:30:00Z", "2026-01-01T11:30:00Z", "2026-01-01T11:52:30Z"]
    assert found[0] == {"name": "quality", "version": "m7-1", "message": "m7 after 30m0s"}


@pytest.mark.parametrize(
    ("core", "said"), [(AIM / 100, "is met: 2.00 times"), (0.201, "is **missed**: 2.01 times")]
)
def test_the_page_says_whether_the_aim_is_met(core: float, said: str) -> None:
    floor = {"core": 0.1, "read": 133.3, "wrote": 0.0, "still": 0.005, "memory": 80.0}
    ours = {"core": core, "read": 133.0, "wrote": 0.0, "still": 0.05, "memory": 200.0, "metrics": 3.04e6}
    text = " ".join(page(Figures(1000, 2, 20, 5276, 45.0, "2 cores", 0.5, ours, floor)).split())
    assert said in text
    assert "1,000 models with 2 pods" in text
    assert "every 15 s, of 3.0 MB" in text
