"""The operator was never refused anything: its rights are what it calls (tests/chart says: and no more)."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
from tests.e2e.kube import Kube


def test_no_request_of_the_operator_was_forbidden(noria: Path) -> None:
    pods = Kube(noria, "noria-system").list("Pod", "app.kubernetes.io/component=operator")
    pages = [httpx.get(f"http://{pod['status']['podIP']}:8080/metrics", timeout=10).text for pod in pods]
    series = r'noria_api_request_duration_seconds_count\{code="(\d+)",kind="(\w+)",verb="(\w+)"\} (\S+)'
    calls = [found for page in pages for found in re.findall(series, page)]
    assert ("200", "Lease", "update") in {found[:3] for found in calls}
    assert [found for found in calls if found[0] in ("401", "403")] == []
