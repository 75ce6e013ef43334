"""The rules go with what they speak of: metrics that there are, a page for each alert, queries that parse."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from tests.rules.promtool import ROOT, RULES, alerts, groups, needed
from tools.cluster.layout import binary
from tools.monitoring import metrics

RUNBOOKS = ROOT / "docs" / "runbooks"
NAME = re.compile(r"\b(?:noria|model|envoy)_\w+")
ENVOY = {
    "envoy_cluster_name", "envoy_cluster_upstream_rq", "envoy_cluster_upstream_rq_completed",
    "envoy_cluster_upstream_rq_xx", "envoy_response_code", "envoy_response_code_class",
}  # fmt: skip
QUERIES = re.compile(r"```promql\n(.*?)```", re.DOTALL)


def known() -> set[str]:
    """Every name that a query may have: metrics, their parts, and what the rules record."""
    histograms = {name for name, kind, *_ in (*metrics.server(), *metrics.process()) if kind == "histogram"}
    parts = {f"{name}{part}" for name in histograms for part in ("_bucket", "_count", "_sum")}
    return (metrics.names() - histograms) | parts | ENVOY


def recorded() -> set[str]:
    return {rule["record"] for group in groups() for rule in group["rules"] if "record" in rule}


def unknown(expr: str) -> set[str]:
    """Metrics and recorded names in an expression that there are not."""
    rules = set(re.findall(r"\b[a-z_]+(?::\w+)+", expr))
    plain = NAME.findall(re.sub(r"\b[a-z_]+(?::\w+)+|\{[^}]*\}", "", expr))
    return (set(plain) - known()) | (rules - recorded())


@pytest.mark.parametrize("rule", [rule for group in groups() for rule in group["rules"]], ids=str)
def test_a_rule_reads_what_is_told_or_recorded(rule: dict[str, str]) -> None:
    assert unknown(rule["expr"]) == set()


def test_no_metric_has_a_label_that_scrapes_or_stores_set() -> None:
    """In Thanos the external label wins, and two series may be one; elsewhere the metric's own does, and who
    asks for one of several clusters does not find it.
    """
    taken = {"cluster", "job", "instance", "pod", "prometheus", "replica"}
    told = [*metrics.server(), *metrics.process(), *metrics.objects()]
    assert [name for name, _, labels, _ in told if taken & set(labels)] == []
    rules = " ".join(rule["expr"] for group in groups() for rule in group["rules"])
    assert "cluster" not in re.findall(r'label_replace\([^"]*"(\w+)"', rules)


def test_the_rules_pass_promtools_own_lint() -> None:
    command = [str(binary("promtool")), "check", "rules", "--lint=all", "--lint-fatal", str(RULES)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_what_looks_back_a_day_is_computed_every_four_minutes() -> None:
    """It is most of what rules read, and alerts on what is now are not to wait for it. Five minutes are too
    much: Prometheus would forget a sample before the next one.
    """
    far = re.compile(r"\b(?:model|deployment)[\w:]*(?:\{[^}]*\})?\[\d+d\]")
    for group in groups():
        looks_back = any(far.search(rule["expr"]) for rule in group["rules"])
        assert (group["interval"] == "4m") == looks_back, group["name"]
        assert looks_back or group["interval"] in {"30s", "1m"}, group["name"]


def test_the_bins_of_all_features_are_read_once() -> None:
    """No other metric has so many series: pods by versions by features by bins."""
    rules = " ".join(rule["expr"] for group in groups() for rule in group["rules"])
    assert rules.count("model_feature_bin_total") == 1


def test_there_is_a_page_for_each_alert_and_no_other() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == set(alerts())


def test_the_page_on_monitoring_lists_every_alert_with_its_severity() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    rows = re.findall(r"^\| \[(\w+)\]\(runbooks/(\w+)\.md\) \| (\w+) \|", page, re.MULTILINE)
    assert rows == [(name, name, alert["labels"]["severity"]) for name, alert in alerts().items()]


@pytest.mark.parametrize("name", alerts())
def test_an_alert_names_its_page_which_tells_what_it_means_how_to_look_and_what_to_do(name: str) -> None:
    alert, page = alerts()[name], (RUNBOOKS / f"{name}.md").read_text()
    assert alert["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
    assert {"summary", "description", "runbook_url"} == set(alert["annotations"])
    assert f"Severity: {alert['labels']['severity']}.\n" in page
    for heading in ("What it means", "How to look", "What to do"):
        assert f"\n## {heading}\n\n" in page


@pytest.mark.parametrize("name", alerts())
def test_an_alert_on_one_loop_says_which(name: str) -> None:
    """A ModelDeployment may have several ContinuousTrainings."""
    alert = alerts()[name]
    texts = " ".join(alert["annotations"].values())
    assert ("training" in re.findall(r"\w+", alert["expr"])) == ("{{ $labels.training }}" in texts)


@pytest.mark.parametrize("name", alerts())
def test_an_alert_on_what_the_leader_tells_outlasts_a_change_of_leaders(name: str) -> None:
    """Its series end with it, and those of the next one begin some scrapes later."""
    rules = [rule for group in needed(name) for rule in group["rules"]]
    read = " ".join(re.sub(r"max_over_time\([^)]*\)", "", rule["expr"]) for rule in rules)
    told = re.search(r"\bnoria_(deployment|trigger|training|fairness|objects)_", read) is not None
    assert (alerts()[name].get("keep_firing_for") == "5m") == told


@pytest.mark.parametrize("name", alerts())
def test_a_page_says_which_features_its_alert_sees(name: str) -> None:
    """Model servers tell the first ones bin by bin, and triggers see all."""
    read = " ".join(rule["expr"] for group in needed(name) for rule in group["rules"])
    told = "NORIA_METRICS_FEATURES" in (RUNBOOKS / f"{name}.md").read_text().partition("## How to look")[0]
    assert told == ("model_feature_" in read)


def test_the_queries_of_the_pages_parse_and_read_what_there_is(tmp_path: Path) -> None:
    rules = []
    for name in alerts():
        (block,) = QUERIES.findall((RUNBOOKS / f"{name}.md").read_text())
        lines = [line.partition("   #")[0] for line in block.splitlines() if not line.startswith("#")]
        for line in lines:
            assert unknown(line) == set() or line.startswith("up{"), f"{name}: {line}"
            rules.append({"record": f"query:{len(rules)}", "expr": line})
    assert len(rules) >= len(alerts())
    file = tmp_path / "queries.yaml"
    file.write_text(json.dumps({"groups": [{"name": "pages", "rules": rules}]}))
    command = [str(binary("promtool")), "check", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
