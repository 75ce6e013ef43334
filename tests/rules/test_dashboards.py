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
from tests.rules.promtool import Expected, groups, judge, series
from tests.rules.test_shipping import RUNBOOKS, unknown
from tests.rules.world import BAD, GOOD, IDLE, MODEL, TRAINING, values
from tools.cluster.layout import binary
from tools.monitoring import metrics
from tools.monitoring.dashboards.files import FOLDER, documents
from tools.monitoring.live import expand, panels

Json = dict[str, Any]
DASHBOARDS = {name: json.loads(text) for name, text in documents().items()}
UNITS = {"short", "none", "percentunit", "s", "reqps", "ops", "bool_yes_no"}
VALUES = {"namespace": ".*", "model": ".*", "version": ".*", "feature": "f", "__rate_interval": "1m"}
CHOICES = {"namespace": ("namespace",), "model": ("model",), "version": ("version", "challenger")}
"""What is chosen, and the labels that tell it."""
SELECTOR = re.compile(r"\b(ALERTS|(?:noria|model)_\w+|[a-z_]+(?::\w+)+)(\{[^}]*\})?")
RULES = {rule["record"]: rule["expr"] for group in groups() for rule in group["rules"] if "record" in rule}
LABELS = {"ALERTS": {"namespace", "deployment"}} | {
    name: {*common, *labels}
    for common, rows in (
        (("namespace", "deployment", "model", "version"), metrics.server()),
        ((), metrics.process()),
        ((), metrics.objects()),
    )
    for name, _, labels, _ in rows
}
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


@each
def test_versions_of_one_name_in_two_namespaces_are_added_up_nowhere(dashboard: Json) -> None:
    choices = dashboard["templating"]["list"]
    several = any(one["name"] == "namespace" and one.get("multi") for one in choices)
    merged = re.compile(r"by \(([^)]*\bversion\b[^)]*)\)")
    found = [(where, by) for where, expr in queries(dashboard) for by in merged.findall(expr)]
    assert not [one for one in found if several and "namespace" not in one[1]]


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
    operator = dashboard["uid"] == "noria-operator"
    wanted = ["datasource"] if operator else ["datasource", *CHOICES]
    assert names[:4] == wanted
    used = {name for _, expr in shown(dashboard) for name in re.findall(r"\$(\w+)", expr)}
    assert used - {"__rate_interval"} == set(names) - {"datasource"}
    sources = [one["datasource"] for panel in panels(dashboard) for one in (panel, *panel["targets"])]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)


@each
def test_a_choice_acts_on_whatever_knows_of_it(dashboard: Json) -> None:
    """What tells its deployment knows of the model through the deployment."""
    for where, expr in shown(dashboard):
        for name, matchers in SELECTOR.findall(expr):
            known = labels(name)
            for choice, told in CHOICES.items():
                missing = [one for one in told if one in known and f'{one}=~"${choice}"' not in matchers]
                assert not missing, (where, name)
            assert "deployment" not in known or "$model" in expr, (where, name)


def shown(dashboard: Json) -> Iterator[tuple[str, str]]:
    """The queries of panels and annotations."""
    choices = {one["name"] for one in dashboard["templating"]["list"]}
    return ((where, expr) for where, expr in queries(dashboard) if where not in choices)


def labels(name: str) -> set[str]:
    """Of a metric, or of what a rule records."""
    if name not in RULES:
        return LABELS[re.sub("_(bucket|count|sum)$", "", name)]
    if kept := re.search(r"\bby \(([^)]*)\)", RULES[name]):
        found = set(kept[1].split(", "))
        return found - {"namespace"} if "job" in found else found  # of an installation, and of no object
    return set().union(*(labels(one) for one, _ in SELECTOR.findall(RULES[name])))


def test_what_rules_record_is_read_by_an_alert_a_panel_or_the_page_of_an_alert() -> None:
    asked = {expr for one in DASHBOARDS.values() for _, expr in queries(one)}
    asked |= {rule["expr"] for group in groups() for rule in group["rules"]}
    asked |= {path.read_text() for path in RUNBOOKS.glob("*.md")}
    read = set(re.findall(r"\b[a-z_]+(?::\w+)+", " ".join(asked)))
    assert RULES.keys() - read == set()


def test_alerts_are_counted_of_the_models_that_are_chosen(tmp_path: Path) -> None:
    """Few of them tell the model; those of the operator belong to no deployment."""
    (counted,) = (expr for where, expr in shown(DASHBOARDS["fleet.json"]) if where == "Alerts")
    firing = {"alertname": "NoriaX", "alertstate": "firing"}
    told = [
        series("ALERTS", "1x10", **firing, **BAD),
        series("ALERTS", "1x10", **firing, **GOOD, **MODEL),
        series("ALERTS", "1x10", **firing, instance="operator"),
        series("noria_deployment_phase", "1x10", **BAD, model="other", phase="Healthy"),
        series("noria_deployment_phase", "1x10", **GOOD, **MODEL, phase="Healthy"),
    ]
    judge(
        tmp_path,
        told,
        Expected("5m", expand(counted, VALUES), [({}, 3)]),
        Expected("5m", expand(counted, VALUES | {"model": "m"}), [({}, 1)]),
        Expected("5m", expand(counted, VALUES | {"namespace": "none"}), [({}, 0)]),
    )


def test_drift_is_shown_of_versions_that_were_asked_for_predictions(tmp_path: Path) -> None:
    """One that failed from its first request on has a reference and counters at 0, and nothing to show."""
    (choices,) = (expr for name, expr in queries(DASHBOARDS["drift.json"]) if name == "version")
    shown = f"count by (namespace, deployment) ({expand(choices, VALUES)})"
    judge(tmp_path, [*values(BAD, known=80), *values(IDLE, known=0)], Expected("80m", shown, [(BAD, 1)]))


def test_the_band_of_a_metric_is_that_of_the_champion_and_of_one_deployment(tmp_path: Path) -> None:
    """A challenger with few labels has a wide band of its own; two deployments have no band in common."""
    series_ = [
        *versioned(BAD, "m-1", "champion", (0.8, 0.02)),
        *versioned(BAD, "m-2", "challenger", (0.5, 0.3)),
        *versioned(GOOD, "m-7", "champion", (0.9, 0.01)),
    ]
    band = expressions("Accuracy")
    judge(
        tmp_path,
        series_,
        Expected("5m", only(band["high"], BAD), [({}, 0.82)]),
        Expected("5m", only(band["low"], BAD), [({}, 0.78)]),
        Expected("5m", f"count({expand(band['high'], VALUES)}) or vector(0)", [({}, 0)]),
    )


@pytest.mark.parametrize("heading", ["accuracy:ratio1d", "drifted_features:ratio1h"])
def test_a_row_of_the_fleet_tells_of_its_champion_alone(heading: str, tmp_path: Path) -> None:
    """The version before has labels of the last day, too, and a challenger has few rows."""
    told = []
    for number, role, value in ((1, "previous", 0.9), (2, "champion", 0.7), (3, "challenger", 1)):
        labels = {**BAD, **MODEL, "version": f"m-{number}"}
        told += [
            series(f"model:{heading}", f"{value:g}x10", **labels),
            series("noria_deployment_weight_ratio", "1x10", **labels, role=role, revision=f"bad-{number}"),
        ]
    (shown,) = (expr for _, expr in queries(DASHBOARDS["fleet.json"]) if f"model:{heading}" in expr)
    judge(tmp_path, told, Expected("5m", expand(shown, VALUES), [({**BAD, **MODEL}, 0.7)]))


def test_the_band_of_calibration_takes_off_what_chance_adds_and_ends_at_zero(tmp_path: Path) -> None:
    band = expressions("Calibration")
    for error, low, high in ((0.1, 0.05, 0.12), (0.04, 0.0, 0.06)):
        told = [
            series(f"model:calibration_{what}:1d", f"{value}x10", **BAD, **MODEL, version="m-1")
            for what, value in (("error", error), ("error_margin", 0.02), ("error_noise", 0.03))
        ]
        judge(
            tmp_path,
            [*told, *versioned(BAD, "m-1", "champion", (0.8, 0.02))],
            Expected("5m", f"round({expand(band['low'], VALUES)}, 1e-6)", [({}, low)]),
            Expected("5m", f"round({expand(band['high'], VALUES)}, 1e-6)", [({}, high)]),
        )


def test_the_band_of_triggers_is_drawn_of_a_single_one(tmp_path: Path) -> None:
    ends = [
        series("noria_trigger_interval", f"{value}x10", **BAD, **TRAINING, trigger=name, end=end)
        for name, (low, high) in (("auc", (0.7, 0.8)), ("logloss", (0.4, 0.5)))
        for end, value in (("low", low), ("high", high))
    ]
    shown = expand(expressions("What triggers measure")["high"], VALUES)
    judge(tmp_path, ends[:2], Expected("5m", shown, [({}, 0.8)]))
    judge(tmp_path, ends, Expected("5m", f"count({shown}) or vector(0)", [({}, 0)]))


@each
def test_what_two_loops_tell_is_not_drawn_as_one(dashboard: Json) -> None:
    """Triggers of two ContinuousTrainings of a ModelDeployment may have the same name."""
    for panel in panels(dashboard):
        for one in panel["targets"]:
            if not any("training" in labels(name) for name, _ in SELECTOR.findall(one["expr"])):
                continue
            if panel["type"] == "table":
                (columns,) = (step for step in panel["transformations"] if step["id"] == "organize")
                assert "training" in columns["options"]["renameByName"], panel["title"]
            elif by := re.match(r"max by \(([^)]*)\)", one["expr"]):
                assert "training" in by[1].split(", "), panel["title"]
                assert "{{training}}" in one["legendFormat"], panel["title"]


@each
def test_series_of_two_namespaces_or_deployments_have_two_names(dashboard: Json) -> None:
    """Where several namespaces may be chosen: deployments of one name in two of them are no rarity."""
    if not any(one["name"] == "namespace" and one.get("multi") for one in dashboard["templating"]["list"]):
        return
    for panel in panels(dashboard):
        if panel["type"] not in ("timeseries", "status-history"):
            continue
        for one in panel["targets"]:
            if one["legendFormat"] in ("high", "low"):
                continue
            told = apart(one["expr"])
            needed = {"namespace"} | ({"deployment"} if "training" not in told else set())
            for label in needed & told:
                assert f"{{{{{label}}}}}" in one["legendFormat"], (panel["title"], label)


def apart(expr: str) -> set[str]:
    """The labels by which the series of a panel differ."""
    if by := re.match(r"\w+ by \(([^)]*)\)", expr):
        return set(by[1].split(", "))
    return labels(SELECTOR.findall(expr)[0][0])


def versioned(place: Json, version: str, role: str, told: tuple[float, float]) -> list[Json]:
    """A version's accuracy with its bounds, and what it is in its deployment."""
    labels = {**place, **MODEL, "version": version}
    value, half = told
    found = {"high": value + half, "low": value - half}
    named = [series(f"model:accuracy_{end}:ratio1d", f"{at:g}x10", **labels) for end, at in found.items()]
    weight = series("noria_deployment_weight_ratio", "1x10", **labels, role=role, revision=f"{version}-a")
    return [*named, weight]


def expressions(title: str) -> dict[str, str]:
    """PromQL of a panel of the dashboard Quality by legend."""
    (found,) = (one for one in panels(DASHBOARDS["quality.json"]) if one["title"] == title)
    return {one["legendFormat"]: one["expr"] for one in found["targets"]}


def only(expr: str, place: Json) -> str:
    """The expression with one deployment chosen, by the model that it serves."""
    return expand(expr, VALUES).replace('namespace=~".*"', f'deployment="{place["deployment"]}"')


def test_rows_of_the_confusion_are_whole_numbers(tmp_path: Path) -> None:
    """`increase` stretches what was counted over the whole of the time that it looks at."""
    (table,) = (expr for title, expr in queries(DASHBOARDS["quality.json"]) if title.startswith("Confusion"))
    called = {"version": "v", "actual": "1", "predicted": "0"}
    counted = series("model_confusion_total", "3+1x30", **BAD, **called)
    shown = f"{expand(table, VALUES)} % 1"
    judge(tmp_path, [counted], Expected("30m", shown, [({"namespace": BAD["namespace"], **called}, 0)]))


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
def test_series_go_on_when_another_replica_of_the_operator_leads(dashboard: Json) -> None:
    """Its series have the address of the one that tells them."""
    shown = [panel for panel in panels(dashboard) if panel["type"] in ("timeseries", "status-history")]
    queried = {one["expr"]: panel["title"] for panel in shown for one in panel["targets"]}
    assert not [title for expr, title in queried.items() if re.fullmatch(r"noria_\w+\{[^}]*\}", expr)]


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
