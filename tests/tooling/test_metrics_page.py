"""The page of metrics is what the catalogues say, and the operator's names keep Prometheus' rules."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tools.monitoring import metrics

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
UNITS = {"seconds", "bytes", "ratio", "timestamp"}


def test_the_page_is_what_the_catalogues_say(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools.monitoring.metrics"]
    assert DOCUMENT.read_text() == metrics.document(), "run: make metrics"
    other = tmp_path / "metrics.md"
    other.write_text("old")
    assert subprocess.run([*command, str(other), "--check"], check=False, capture_output=True).returncode == 1


@pytest.mark.parametrize("row", [*metrics.process(), *metrics.objects()], ids=lambda row: row[0])
def test_names_of_the_operators_metrics_follow_the_rules_of_prometheus(row: metrics.Row) -> None:
    name, kind, labels, text = row
    assert re.fullmatch(r"noria_[a-z0-9]+(_[a-z0-9]+)*", name)
    assert name.endswith("_total") == (kind == "counter")
    words = name.removesuffix("_total").split("_")
    assert not {"counter", "gauge", "histogram", "summary", "ms", "minutes", "percent"} & set(words)
    assert not any(word in UNITS for word in words[:-2])
    assert kind != "histogram" or words[-1] in UNITS
    assert text.endswith(".")
    assert all(re.fullmatch(r"[a-z]+", label) for label in labels)
    assert not {"pod", "job", "instance", "le", "cluster"} & set(labels)
