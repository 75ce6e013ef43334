"""The values are closed: every key is described, and a typing error is refused by its name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml
from tests.chart.rendering import CHART, PUBLIC_KEY, VARIANTS, helm

Json = dict[str, Any]
SCHEMA: Json = json.loads((CHART / "values.schema.json").read_text())
VALUES: Json = yaml.safe_load((CHART / "values.yaml").read_text())
PROBE = {"name": "a", "gateway": "b/c", "urls": ["http://c"]}
FREE = {
    "resources",
    "commonLabels",
    "podAnnotations",
    "podLabels",
    "nodeSelector",
    "affinity",
    "annotations",
    "labels",
}


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"bogus": 1}, "bogus"),
        ({"image": {"tag": "1"}}, "image"),
        ({"images": {"operator": {"tagg": "1"}}}, "operator"),
        ({"images": {"operator": {"tag": 1.10}}}, "operator"),
        ({"images": {"server": {"digest": "sha256:abc"}}}, "server"),
        ({"images": {"server": ""}}, "server"),
        ({"images": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
        ({"crds": {"install": True}}, "install"),
        ({"replicas": 0}, "replicas"),
        ({"replicas": "2"}, "replicas"),
        ({"commonLabels": {"a": "{{ .Release.Name }}"}}, "commonLabels"),
        ({"watchNamespaces": "team-a"}, "watchNamespaces"),
        ({"watchNamespaces": ["a", "a"]}, "watchNamespaces"),
        ({"evidence": {"interval": "1"}}, "interval"),
        ({"nameOverride": "x" * 300}, "nameOverride"),
        ({"signatures": {"trustedKeys": ["ssh-ed25519 AAAA"]}}, "trustedKeys"),
        ({"signatures": {"trustedKeys": [PUBLIC_KEY.replace("PUBLIC", "PRIVATE")]}}, "trustedKeys"),
        ({"signatures": {"trustedKeys": [PUBLIC_KEY], "requiredNamespaces": ["A b"]}}, "requiredNamespaces"),
        ({"signatures": {"requiredNamespaces": ["prod"]}}, "signatures.trustedKeys"),
        ({"notifications": [{"name": "a"}]}, "notifications"),
        ({"queryTemplates": [{"name": "a", "query": "up"}]}, "queryTemplates"),
        (
            {"queryTemplates": [{"name": "a", "query": "up", "address": "http://p", "source": "p"}]},
            "queryTemplates",
        ),
        ({"metricSources": [{"name": "a"}]}, "metricSources"),
        ({"metricSources": [{"name": "a", "address": "http://p", "token": "t"}]}, "metricSources"),
        ({"routers": {"maxBodyBytes": "64Mi"}}, "maxBodyBytes"),
        ({"routers": {"gateway": {"probes": [PROBE | {"gateway": "public"}]}}}, "gateway"),
        ({"routers": {"gateway": {"probes": [PROBE | {"urls": []}]}}}, "urls"),
        ({"routers": {"gateway": {"probes": [PROBE | {"urls": ["http://c/d"]}]}}}, "urls"),
        ({"prometheusRule": {"objectives": {"availability": 99.9}}}, "availability"),
        ({"prometheusRule": {"objectives": {"availability": "1"}}}, "availability"),
        ({"prometheusRule": {"objectives": {"latencySeconds": "0.3"}}}, "latencySeconds"),
        ({"prometheusRule": {"runbookUrl": "{{ x }}"}}, "runbookUrl"),
        ({"podMonitors": {"interval": "15"}}, "interval"),
        (
            {"queryTemplates": [{"name": "a", "query": "up", "address": "file:///etc/passwd"}]},
            "queryTemplates",
        ),
        (
            {"queryTemplates": [{"name": "a", "query": "up", "address": "http://p", "args": {"b": "text"}}]},
            "queryTemplates",
        ),
        ({"notifications": [{"name": "A", "url": "http://a"}]}, "notifications"),
        ({"notifications": [{"name": "a", "url": "file:///etc/passwd"}]}, "notifications"),
        ({"notifications": [{"name": "a", "url": "https://user:password@a.example/"}]}, "notifications"),
        ({"notifications": [{"name": "a", "url": "http://a b"}]}, "notifications"),
        ({"notifications": [{"name": "a", "urlFrom": {"secretName": "b"}}]}, "notifications"),
        (
            {"notifications": [{"name": "a", "url": "http://a", "urlFrom": {"secretName": "b", "key": "c"}}]},
            "notifications",
        ),
        ({"notifications": [{"name": "a", "url": "http://a", "events": ["promoted"]}]}, "notifications"),
        ({"notifications": [{"name": "a", "url": "http://a", "format": "teams"}]}, "notifications"),
        ({"notifications": [{"name": "a", "url": "http://a"}, {"name": "a", "url": "http://b"}]}, "called a"),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_by_its_key(values: Json, complaint: str) -> None:
    done = helm("template", "noria", str(CHART), values=values)
    assert done.returncode != 0
    assert complaint in done.stderr


@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS)
def test_the_values_of_the_tests_are_valid(values: Json) -> None:
    jsonschema.Draft7Validator(SCHEMA).validate(values)


def test_the_schema_describes_every_key_and_closes_every_object() -> None:
    for path, schema in _properties(SCHEMA):
        assert schema.get("description"), path
        if "properties" in schema:
            assert schema["additionalProperties"] is False, path


ENTRIES = ("metricSources.", "notifications.", "queryTemplates.", "routers.gateway.probes.")
"""Keys of lists' entries."""


def test_the_values_file_and_the_schema_know_the_same_keys() -> None:
    described = {path for path, schema in _properties(SCHEMA) if "properties" not in schema}
    described -= {"global", "images.pullSecrets.name", "resources.requests", "resources.limits"}
    described = {path for path in described if not path.startswith(ENTRIES)}
    images = {"images.operator", "images.server", "images.router"}
    parts = {f"{image}.{part}" for image in images for part in SCHEMA["definitions"]["image"]["properties"]}
    assert set(_leaves(VALUES)) == (described - images | parts | {"resources"})


def test_every_value_has_a_comment_that_names_it() -> None:
    commented = set(re.findall(r"## @param (\S+) ", (CHART / "values.yaml").read_text()))
    assert commented == set(_leaves(VALUES))


def _properties(schema: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    for name, inner in schema.get("properties", {}).items():
        here = f"{path}.{name}".lstrip(".")
        yield here, inner
        yield from _properties(inner, here)
        yield from _properties(inner.get("items", {}), here)


def _leaves(values: Json, path: str = "") -> Iterator[str]:
    for name, inner in values.items():
        here = f"{path}.{name}".lstrip(".")
        if isinstance(inner, dict) and name not in FREE:
            yield from _leaves(inner, here)
        else:
            yield here
