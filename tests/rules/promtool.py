"""The rules under promtool: series in, what fires or is computed out.

Comes in: series as promtool writes them and what is expected at a time. Goes out: promtool's own judgement.
Whether something is silent is judged as well: what fires must be exactly what is expected.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from tools.cluster.layout import binary

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "charts" / "noria" / "files" / "rules.yaml"
Labels = Mapping[str, str]


@cache
def groups() -> list[Json]:
    """The rules as they are shipped; to be read only."""
    found: list[Json] = yaml.safe_load(RULES.read_text())["groups"]
    return found


def alerts() -> dict[str, Json]:
    """Every alert by name."""
    return {rule["alert"]: rule for group in groups() for rule in group["rules"] if "alert" in rule}


def needed(wanted: str) -> list[Json]:
    """The groups with the rules that an expression or an alert named in it rests on, and no others: a day of
    all of them takes promtool a minute.
    """
    known = {rule.get("record") or rule["alert"]: rule for group in groups() for rule in group["rules"]}
    found: set[str] = set()
    todo = [wanted]
    while todo:
        for name in set(re.findall(r"[A-Za-z_][\w:]*", todo.pop())) & known.keys() - found:
            found.add(name)
            todo.append(known[name]["expr"])
    kept = [
        {
            **group,
            "rules": [rule for rule in group["rules"] if (rule.get("record") or rule["alert"]) in found],
        }
        for group in groups()
    ]
    return [group for group in kept if group["rules"]]


def series(name: str, values: str, **labels: str) -> Json:
    """One input series, for example `series("up", "1x60", job="a")`."""
    inner = ",".join(f"{key}={json.dumps(value)}" for key, value in labels.items())
    return {"series": f"{name}{{{inner}}}", "values": values}


@dataclass(frozen=True)
class Expected:
    """What an expression gives at a time: (labels, value) each."""

    at: str
    expr: str
    samples: Sequence[tuple[Labels, float]]

    def document(self) -> Json:
        samples = [{"labels": _labels(labels), "value": value} for labels, value in self.samples]
        return {"expr": self.expr, "eval_time": self.at, "exp_samples": samples}


def firing(name: str, at: str, *bad: Labels) -> Expected:
    """The alert fires at this time for exactly these labels."""
    own = {"__name__": "ALERTS", "alertname": name, "alertstate": "firing"}
    severity = alerts()[name]["labels"]
    expr = f'ALERTS{{alertname="{name}",alertstate="firing"}}'
    return Expected(at, expr, [({**own, **severity, **labels}, 1) for labels in bad])


def judge(folder: Path, given: Sequence[Json], *expected: Expected, every: str = "30s") -> None:
    """Raise AssertionError with promtool's words where it finds anything else. `every`: how often rules are
    computed; sums over days each half minute take promtool minutes.
    """
    test = {"interval": "1m", "input_series": list(given)}
    test["promql_expr_test"] = [one.document() for one in expected]
    rules, file = folder / "rules.yaml", folder / "test.yaml"
    used = needed(" ".join(one.expr for one in expected))
    rules.write_text(json.dumps({"groups": used}))
    # Else groups come in any order, and a rule may meet what another group computed one interval before.
    order = [group["name"] for group in used]
    document = {"rule_files": [str(rules)], "evaluation_interval": every, "group_eval_order": order}
    file.write_text(json.dumps(document | {"tests": [test]}))
    command = [str(binary("promtool")), "test", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _labels(labels: Labels) -> str:
    name = labels.get("__name__", "")
    rest = ",".join(f"{key}={json.dumps(value)}" for key, value in labels.items() if key != "__name__")
    return f"{name}{{{rest}}}"
