"""What the chart gives to Prometheus and Grafana, where it is asked to."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.chart.rendering import CHART, VARIANTS, objects
from tools.cluster.layout import binary

from noria_serving.contract import COUNTS_PATH

Json = dict[str, Any]
KINDS = {"ServiceMonitor", "PodMonitor", "PrometheusRule", "ConfigMap"}


def of(kind: str, values: Json) -> list[Json]:
    return [one for one in objects(values) if one["kind"] == kind]


def rules(values: Json) -> dict[str, Json]:
    """The rules that the chart makes, by name."""
    (found,) = of("PrometheusRule", values)
    every = [rule for group in found["spec"]["groups"] for rule in group["rules"]]
    return {rule.get("record") or rule["alert"]: rule for rule in every}


def test_without_a_wish_there_is_nothing_of_it() -> None:
    assert not [one for one in objects() if one["kind"] in KINDS]


def test_the_rules_are_those_of_the_file() -> None:
    file = yaml.safe_load((CHART / "files" / "rules.yaml").read_text())
    (found,) = of("PrometheusRule", {"prometheusRule": {"enabled": True}})
    assert found["spec"]["groups"] == file["groups"]


def test_objectives_pages_and_alerts_that_nobody_wants_follow_the_values() -> None:
    found = rules(VARIANTS["everything"])
    assert found["noria:objective:availability_ratio"]["expr"] == "vector(0.99)"
    assert found["noria:objective:model_age_seconds"]["expr"] == "vector(604800)"
    assert found["noria:objective:fix_seconds"]["expr"] == "vector(86400)"
    assert 'le="1.0"' in found["deployment:slow_requests:rate5m"]["expr"]
    assert "NoriaQueueSlow" not in found
    pages = {rule["annotations"]["runbook_url"] for rule in found.values() if "alert" in rule}
    assert "https://runbooks.example/noria/NoriaRolledBack.md" in pages
    assert all(page.startswith("https://runbooks.example/noria/Noria") for page in pages)


@pytest.mark.parametrize("values", [{"prometheusRule": {"enabled": True}}, VARIANTS["everything"]])
def test_promtool_takes_what_the_chart_makes(values: Json, tmp_path: Path) -> None:
    (found,) = of("PrometheusRule", values)
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"groups": found["spec"]["groups"]}))
    command = [str(binary("promtool")), "check", "rules", "--lint=all", "--lint-fatal", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_monitors_select_what_the_operator_makes_and_keep_its_labels() -> None:
    values = VARIANTS["everything"]
    (operator,), pods = of("ServiceMonitor", values), of("PodMonitor", values)
    services = [one["metadata"]["labels"] for one in objects(values) if one["kind"] == "Service"]
    wanted = operator["spec"]["selector"]["matchLabels"].items()
    assert any(wanted <= labels.items() for labels in services)
    assert operator["spec"]["endpoints"][0]["honorLabels"] is True
    for one in (operator, *pods, *of("PrometheusRule", values)):
        assert one["metadata"]["labels"]["release"] == "stack"
    assert all(one["spec"]["namespaceSelector"] == {"any": True} for one in pods)
    some = of("PodMonitor", {"podMonitors": {"enabled": True}, "watchNamespaces": ["a", "b"]})
    assert all(one["spec"]["namespaceSelector"] == {"matchNames": ["a", "b"]} for one in some)


def test_what_the_example_of_autoscaling_sums_is_read_by_no_other_monitor() -> None:
    """Sums over two jobs would be twice as much."""
    example = yaml.safe_load((CHART.parents[1] / "examples" / "autoscaling" / "podmonitor.yaml").read_text())
    (mine,) = [one for one in of("PodMonitor", VARIANTS["everything"]) if "router" in one["metadata"]["name"]]
    filters = [one["spec"]["podMetricsEndpoints"][0]["params"]["filter"][0] for one in (mine, example)]
    stats = ("rq_completed", "rq_5xx", "rq_429", "rq_active", "rq_total", "cx_none_healthy")
    read = [
        {stat for stat in stats if re.match(one, f"cluster.m-1-0a1b2c.upstream_{stat}")} for one in filters
    ]
    assert read == [set(stats[:3]), set(stats[3:])]


def test_counts_are_scraped_where_the_operator_takes_them_from_prometheus() -> None:
    def paths(values: Json) -> list[str]:
        servers = of("PodMonitor", {"podMonitors": {"enabled": True}} | values)[0]
        return [one["path"] for one in servers["spec"]["podMetricsEndpoints"]]

    assert paths({}) == ["/metrics"]
    source = {"name": "near", "address": "http://prometheus:9090"}
    assert paths({"metricSources": [source], "countsFrom": "near"}) == ["/metrics", COUNTS_PATH]


def test_dashboards_are_config_maps_that_grafanas_sidecar_finds() -> None:
    found = of("ConfigMap", VARIANTS["everything"])
    files = {path.name: path.read_text() for path in (CHART / "files" / "dashboards").glob("*.json")}
    assert {f"noria-{name}" for name in files} == {name for one in found for name in one["data"]}
    for one in found:
        assert one["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert one["metadata"]["annotations"] == {"grafana_folder": "Noria"}
        ((name, text),) = one["data"].items()
        assert json.loads(text) == json.loads(files[name.removeprefix("noria-")])
