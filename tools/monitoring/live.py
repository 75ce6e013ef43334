"""The queries of a dashboard, asked of a real Prometheus.

In: a dashboard as Grafana reads it, an address. Out: what each target answers, at an instant or over a range.
Invariant: variables are expanded as Grafana does it, `All` being the value that the dashboard gives it.
"""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isnan
from typing import Any, Final

Json = dict[str, Any]
TIMEOUT: Final = 30
STEPS: Final = 240
DESCENDING: Final = 8
"""Grafana's number for the natural order from the end."""
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Target:
    """One query of one panel."""

    panel: str
    ref: str
    expr: str
    instant: bool


@dataclass(frozen=True)
class Span:
    """From when to when, in seconds since the epoch."""

    start: float
    end: float

    @property
    def step(self) -> float:
        return max(1.0, (self.end - self.start) / STEPS)


class Prometheus:
    """A Prometheus that answers at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url

    def at(self, expr: str, time: float) -> list[Json]:
        """The vector of an instant, without what is not a number; each with `metric` and `values`."""
        found = self._get("query", query=expr, time=time)["result"]
        series = [{"metric": one["metric"], "values": [one["value"]]} for one in found]
        return _numbers(series)

    def over(self, expr: str, span: Span) -> list[Json]:
        """The series over a range."""
        asked = {"query": expr, "start": span.start, "end": span.end, "step": span.step}
        return _numbers(self._get("query_range", **asked)["result"])

    def values(self, expr: str, label: str, span: Span) -> list[str]:
        """The values of a label, of the series that match."""
        asked = {"match[]": expr, "start": span.start, "end": span.end}
        found: list[str] = self._get(f"label/{label}/values", **asked)
        return found

    def _get(self, path: str, **asked: Any) -> Any:
        query = urllib.parse.urlencode(asked)
        with _DIRECT.open(f"{self.url}/api/v1/{path}?{query}", timeout=TIMEOUT) as answer:
            return json.load(answer)["data"]


def _numbers(series: list[Json]) -> list[Json]:
    kept = [
        {**one, "values": [[at, float(value)] for at, value in one["values"] if not isnan(float(value))]}
        for one in series
    ]
    return [one for one in kept if one["values"]]


def panels(dashboard: Json) -> Iterator[Json]:
    """All panels that show something."""
    return (panel for panel in dashboard["panels"] if panel["type"] != "row")


def variables(dashboard: Json, prometheus: Prometheus, span: Span) -> dict[str, str]:
    """A value for each variable: all where that may be chosen, else the first that there is."""
    found = {"__rate_interval": "1m"}
    for one in dashboard["templating"]["list"]:
        if one["type"] == "datasource":
            continue
        if one.get("includeAll"):
            found[one["name"]] = one["allValue"]
            continue
        query = expand(one["query"]["query"], found)
        match = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
        assert match is not None, query
        known = sorted(prometheus.values(match[1], match[2], span), key=_natural)
        found[one["name"]] = next(iter(known[::-1] if one["sort"] == DESCENDING else known), "")
    return found


def _natural(text: str) -> list[tuple[int, str]]:
    """`m-10` after `m-9`."""
    return [(int(part or 0), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", text)]


def expand(expr: str, values: Mapping[str, str]) -> str:
    """The text with every `$name` replaced."""
    return re.sub(r"\$(\w+)", lambda found: values.get(found[1], found[0]), expr)


def targets(dashboard: Json, values: Mapping[str, str]) -> Iterator[Target]:
    """Every query, expanded."""
    for panel in panels(dashboard):
        for one in panel["targets"]:
            yield Target(panel["title"], one["refId"], expand(one["expr"], values), bool(one.get("instant")))


def ask(prometheus: Prometheus, target: Target, span: Span) -> list[Json]:
    """What a target answers at the end of the span, or over it."""
    if target.instant:
        return prometheus.at(target.expr, span.end)
    return prometheus.over(target.expr, span)
