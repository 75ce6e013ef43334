"""The dashboards are what the code says, and hold together: queries that parse and read what there is,
variables, units, words for people.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.rules.promtool import Expected, judge
from tests.rules.test_shipping import unknown
from tests.rules.world import BAD, IDLE, values
from tools.cluster.layout import binary
from tools.monitoring.dashboards.files import FOLDER, documents
from tools.monitoring.live import expand, panels

Json = dict[str, Any]
DASHBOARDS = {name: json.loads(text) for name, text in documents().items()}
UNITS = {"short", "none", "percentunit", "s", "reqps", "ops", "bool_yes_no"}
VALUES = {"namespace": ".*", "model": ".*", "version": ".*", "feature": "f", "__rate_interval": "1m"}
each = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)


def queries(dashboard: Json) -> Iterator[tuple[str, str]]:
    """(where it stands, PromQL) of every panel, annotation and variable."""
    for panel in panels(dashboard):
        yield from ((panel["title"], one["expr"]) for one in panel["targets"])
    yield from (
        (one["name"], one["target"]["expr"]) for one in dashboard.get("annotations", {}).get("list", ())
    )
    for one in dashboard["templating"]["list"]:
        if one["type"] == "query":
            yield one["name"], one["query"]["query"].removeprefix("label_values(").rpartition(",")[0]


def test_the_files_of_the_chart_are_what_the_code_says() -> None:
    found = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    assert found == documents(), "run: make dashboards"


def test_every_dashboard_of_the_plan_is_there_with_a_name_of_its_own() -> None:
    assert {one.removesuffix(".json") for one in DASHBOARDS} == {
        "fleet", "model", "drift", "quality", "training", "operator",
    }  # fmt: skip
    assert len({one["uid"] for one in DASHBOARDS.values()}) == 6
    assert len({one["title"] for one in DASHBOARDS.values()}) == 6


@each
def test_its_queries_read_what_is_told_or_recorded(dashboard: Json) -> None:
    for where, expr in queries(dashboard):
        asked = re.sub(r"ALERTS\{[^}]*\}", "vector(1)", expand(expr, VALUES))
        assert unknown(asked) == set(), where


@each
def test_promtool_reads_its_queries(dashboard: Json, tmp_path: Path) -> None:
    rules = [
        {"record": f"query:{index}", "expr": expand(expr, VALUES)}
        for index, (_, expr) in enumerate(queries(dashboard))
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    command = [str(binary("promtool")), "check", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@each
def test_it_can_be_chosen_what_is_shown(dashboard: Json) -> None:
    names = [one["name"] for one in dashboard["templating"]["list"]]
    assert names[:3] == ["datasource", "namespace", "model"]
    used = {name for _, expr in queries(dashboard) for name in re.findall(r"\$(\w+)", expr)}
    assert used - {"__rate_interval"} <= set(names)
    sources = [one["datasource"] for panel in panels(dashboard) for one in (panel, *panel["targets"])]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)


def test_drift_is_shown_of_versions_that_were_asked_for_predictions(tmp_path: Path) -> None:
    """One that failed from its first request on has a reference and counters at 0, and nothing to show."""
    (choices,) = (expr for name, expr in queries(DASHBOARDS["drift.json"]) if name == "version")
    shown = f"count by (namespace, deployment) ({expand(choices, VALUES)})"
    judge(tmp_path, [*values(BAD, known=80), *values(IDLE, known=0)], Expected("80m", shown, [(BAD, 1)]))


@each
def test_its_panels_say_what_they_show_and_how_to_read_it(dashboard: Json) -> None:
    titles = [panel["title"] for panel in panels(dashboard)]
    assert len(set(titles)) == len(titles) > 8
    for panel in panels(dashboard):
        assert panel["title"]
        assert panel["description"].endswith((".", "?")), panel["title"]
        settings = panel["fieldConfig"]
        own = [
            prop["value"]
            for one in settings["overrides"]
            for prop in one["properties"]
            if prop["id"] == "unit"
        ]
        assert {settings["defaults"].get("unit", "none"), *own} <= UNITS
    assert dashboard["editable"] is False
    assert dashboard["description"]


@each
def test_rates_follow_the_resolution_of_the_screen(dashboard: Json) -> None:
    for where, expr in queries(dashboard):
        assert all(window == "$__rate_interval" for window in re.findall(r"rate\([^[]*\[([^]]+)\]", expr)), (
            where
        )


@each
def test_no_two_panels_lie_on_each_other(dashboard: Json) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_what_happened_is_marked_at_its_time() -> None:
    for name in ("fleet", "model", "drift", "quality", "training"):
        marks = {one["name"]: one for one in DASHBOARDS[f"{name}.json"]["annotations"]["list"]}
        assert set(marks) == {"trainings", "promotions", "aborts"}
        assert all(
            one["useValueForTime"] and one["target"]["expr"].endswith(" * 1000") for one in marks.values()
        )
