"""The benchmark of reading counts runs the operator's own parts, against documents that they understand."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest
from benchmarks.scrape.__main__ import pods
from benchmarks.scrape.asker import operator
from benchmarks.scrape.page import AIM, Figures, page
from benchmarks.scrape.pods import body
from benchmarks.scrape.world import address, model_of

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
    found = windows.parse(orjson.loads(counters.replace(b'"AT"', b"1").replace(b'"ROWS"', b"7")))
    assert found is not None
    assert len(windows.seen(found.counts, found.version)) == 4
    assert windows.reference(orjson.loads(bins), found.version) is not None


async def test_the_operator_opens_the_windows_of_a_model(port: int) -> None:
    found = await operator(port, 1, 1.5, 0.0)
    assert found["wrote"] > 0, "what is written when windows open"


@pytest.mark.parametrize(
    ("core", "said"), [(AIM / 100, "is met: 2.00 times"), (0.201, "is **missed**: 2.01 times")]
)
def test_the_page_says_whether_the_aim_is_met(core: float, said: str) -> None:
    floor = {"core": 0.1, "read": 133.3, "wrote": 0.0, "still": 0.005, "memory": 80.0}
    ours = {"core": core, "read": 133.0, "wrote": 0.0, "still": 0.05, "memory": 200.0}
    text = " ".join(page(Figures(1000, 2, 20, 5276, 45.0, "2 cores", 0.5, ours, floor)).split())
    assert said in text
    assert "1,000 models with 2 pods" in text
