"""Counts for triggers from a real Mimir that a Prometheus writes to: the same windows and decisions as from
the pods, of the tenant that the source names and of no other.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from tests.integration.scraping import Prometheus
from tests.integration.sources.counted import DELAY, Pod, jobs, looking, same_window
from tests.integration.sources.mimir import mimir, written_to
from tools.ports import free_port

from noria_operator.domain.metric_sources import Source
from noria_serving.model.loaded import Loaded

pytestmark = pytest.mark.extended


async def test_a_window_is_the_same_from_a_tenant_of_mimir_and_from_the_pods(
    loaded: Loaded, tmp_path: Path
) -> None:
    port = free_port()
    pods = [Pod(number, loaded, port) for number in (31, 32, 33)]
    (tmp_path / "prometheus").mkdir()
    with mimir(tmp_path) as url:
        prometheus = Prometheus(
            tmp_path / "prometheus", *jobs(pods), replica="a", written_to=written_to(url, "models")
        )

        def source(tenant: str) -> Source:
            address = f"{url}/prometheus"
            return Source("mimir", address, tenant=tenant, delay=DELAY, interval=timedelta(seconds=1))

        with prometheus.running():
            since = await same_window([source("models")], pods)
            async with pods[0].listening(), pods[1].listening():
                for tenant, why in (("others", "no samples of late-31, late-32"), ("", "no org id")):
                    async with looking(source(tenant), pods) as look:
                        assert why in str(await look(since, pods[:2]))
