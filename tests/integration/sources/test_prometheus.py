"""Custom queries against a real Prometheus: what it scrapes, what it refuses, and what it has not got."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from math import isnan
from time import monotonic, sleep

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge, start_http_server
from tests.integration.scraping import prometheus as scraping

from noria_operator.domain.metric_sources import Source
from noria_operator.domain.queries import Answer, Asked, Measured, Outcome, QueryPolicy, measure
from noria_operator.domain.query_templates import ArgumentType, Template
from noria_operator.evidence.prometheus import QueryReader

pytestmark = pytest.mark.extended

SHARE = 'late{version="{{challenger}}"} / on (version) all{version="{{challenger}}"}'
BELOW = f"{SHARE} < {{{{most}}}}"
TEMPLATE = {"most": ArgumentType.NUMBER}
NOBODY = dict.fromkeys(
    ("namespace", "deployment", "model", "champion", "championRevision", "challengerRevision"), ""
)


@pytest.fixture(scope="module")
def prometheus() -> Iterator[str]:
    """A Prometheus that has scraped `late` and `all` of two versions."""
    registry = CollectorRegistry()
    for name, values in (("late", {"m-2": 3, 'm-"3': 0}), ("all", {"m-2": 100, 'm-"3': 0})):
        gauge = Gauge(name, "Requests.", ("version",), registry=registry)
        for version, value in values.items():
            gauge.labels(version).set(value)
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    targets = [{"targets": [f"127.0.0.1:{server.server_port}"]}]
    try:
        with scraping({"job_name": "models", "static_configs": targets}) as url:
            _until_scraped(url)
            yield url
    finally:
        server.shutdown()
        thread.join()


def _until_scraped(url: str) -> None:
    deadline = monotonic() + 30
    while monotonic() < deadline:
        found = httpx.post(f"{url}/api/v1/query", data={"query": "late"}).json()
        if found.get("data", {}).get("result"):
            return
        sleep(0.1)
    raise AssertionError("nothing was scraped")


async def ask(address: str, template: str, *, challenger: str = "m-2", most: str = "1") -> Answer:
    args = {name: kind for name, kind in TEMPLATE.items() if f"{{{{{name}}}}}" in template}
    given = {"most": most} if args else {}
    source = Source("", address)
    query = Template("t", source, template, args).render(given, {**NOBODY, "challenger": challenger})
    reader = QueryReader(lambda: datetime.now(UTC))
    reader.ask("key", source, query)
    await reader.settled()
    await reader.close()
    answer = reader.answer("key")
    assert answer is not None
    return answer


async def test_a_share_is_measured_and_judged(prometheus: str) -> None:
    answer = await ask(prometheus, BELOW)
    assert (answer.error, answer.result) == ("", (0.03,))
    policy = QueryPolicy("q", "t", success="result[0] < 0.05")
    assert measure(policy, Measured(), Asked("q", answer), answer.at).last is Outcome.SUCCESSFUL


async def test_case_30_what_it_has_not_got_is_no_data(prometheus: str) -> None:
    policy = QueryPolicy("q", "t", success="result[0] < 0.05")
    for template, challenger in ((BELOW, "m-9"), (BELOW, "m-2"), (SHARE, 'm-"3')):
        answer = await ask(prometheus, template, challenger=challenger, most="0.001")
        assert measure(policy, Measured(), Asked("q", answer), answer.at).last is Outcome.NO_DATA, answer
    (nan,) = (await ask(prometheus, SHARE, challenger='m-"3')).result  # type: ignore[misc]
    assert isnan(nan), "the label with a quote was found: 0 / 0"


async def test_scalars_are_numbers_and_everything_else_an_error_with_its_words(prometheus: str) -> None:
    assert (await ask(prometheus, "scalar(sum(late))")).result == 3.0
    assert "type string" in (await ask(prometheus, '"yes"')).error
    assert "type matrix" in (await ask(prometheus, "late[1m]")).error
    assert "parse error" in (await ask(prometheus, "late{")).error
