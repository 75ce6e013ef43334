"""Prometheus, as far as the examples use it: asking a pod for metrics, and relabelling what it says."""

from __future__ import annotations

import re
from typing import Any

import aiohttp

Json = dict[str, Any]
Sample = tuple[str, dict[str, str], float]

_SAMPLE = re.compile(r"(\w+)\{(.*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


async def scrape(address: str, endpoint: Json) -> list[Sample]:
    """What one entry of `podMetricsEndpoints` makes of a pod at `address` (host:port)."""
    query = [(name, value) for name, values in endpoint["params"].items() for value in values]
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{address}{endpoint['path']}", params=query) as answer,
    ):
        assert answer.status == 200
        lines = (await answer.text()).splitlines()
    found = [match for line in lines if (match := _SAMPLE.fullmatch(line))]
    samples = [(match[1], dict(_LABEL.findall(match[2])), float(match[3])) for match in found]
    kept = [
        (name, relabelled(labels, endpoint["metricRelabelings"]), value) for name, labels, value in samples
    ]
    return [(name, labels, value) for name, labels, value in kept if labels is not None]


def relabelled(labels: dict[str, str], rules: list[Json]) -> dict[str, str] | None:
    """The labels after all rules; None for a sample that is dropped. `keep` and `replace` are known."""
    for rule in rules:
        match = re.fullmatch(rule["regex"], ";".join(labels.get(name, "") for name in rule["sourceLabels"]))
        if rule.get("action", "replace") == "keep":
            if match is None:
                return None
        elif match is not None:
            labels = {**labels, rule["targetLabel"]: match.expand(rule["replacement"].replace("$", "\\"))}
    return labels
