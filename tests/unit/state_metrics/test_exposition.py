"""What the operator answers at /metrics."""

from __future__ import annotations

from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from tests.unit.kube.test_health import vitals
from tests.unit.kube.test_judgements import decided, deployment

from noria_operator import health


async def test_metrics_go_by_the_time_that_decisions_go_by() -> None:
    """Not by that of a node whose clock leapt."""
    well, asked = vitals(), make_mocked_request("GET", "/metrics")
    decisions = [decided(2, "2020-01-31T23:58:00Z", "Fail")]
    well.store.observe("ADDED", deployment("aborted", decisions=decisions))
    found = await health.app(well).router.resolve(asked)
    answer = await found.handler(asked)
    assert isinstance(answer, web.Response)
    assert 'noria_analysis_verdict{challenger="m-2",deployment="aborted"' in str(answer.body)
