"""The examples of docs/access.md say what they are meant to say."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml
from tools.cluster.layout import CHECKOUT

from noria_operator.api.modeldeployment import ModelDeployment
from noria_operator.api.parsing import parse_as
from noria_operator.routers.router_pod import labels

Json = dict[str, Any]

PAGE = (CHECKOUT / "docs/access.md").read_text(encoding="utf-8")
EXAMPLES = [
    yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
]
SERVING = CHECKOUT / "tests/unit/domain/serving_noria.json"
"""What is made for the ModelDeployment flights, as reviewed."""


def is_chosen(selector: Json, found: Json) -> bool:
    return selector["matchLabels"].items() <= found.items()


def test_the_rules_are_accepted() -> None:
    (spec,) = [example["spec"] for example in EXAMPLES if "kind" not in example]
    parse_as(ModelDeployment, {"metadata": {"name": "flight-delay"}, "spec": {"model": "m", **spec}})


def test_the_network_policy_lets_routers_reach_the_pods_of_the_deployment() -> None:
    (policy,) = [example for example in EXAMPLES if example.get("kind") == "NetworkPolicy"]
    spec = json.loads(json.dumps(policy["spec"]).replace("flight-delay", "flights"))
    made = json.loads(SERVING.read_text())
    (template,) = [one["spec"]["template"] for one in made if "template" in one.get("spec", {})]
    assert is_chosen(spec["podSelector"], template["metadata"]["labels"])
    routers, operator = (peer for rule in spec["ingress"] for peer in rule["from"])
    assert is_chosen(routers["podSelector"], labels())
    chart = (CHECKOUT / "charts/noria/templates/_helpers.tpl").read_text(encoding="utf-8")
    assert "app.kubernetes.io/component: operator" in chart
    assert set(operator["podSelector"]["matchLabels"]) <= set(re.findall(r"^(app\S+):", chart, re.MULTILINE))
