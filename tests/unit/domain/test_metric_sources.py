"""Sources that the admin names: read from chart values, refused with what is wrong."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from noria_operator.domain.chart_values import InvalidEntry
from noria_operator.domain.metric_sources import Source, sources_of
from noria_operator.domain.query_templates import templates_of

GOOD = {"name": "mimir", "address": "https://mimir:8080/prometheus/"}


def test_a_source_has_an_address_and_perhaps_a_tenant_a_token_and_an_authority() -> None:
    more = {"tenant": "shop", "tokenFile": "/t", "caFile": "/c", "interval": "30s", "delay": "2m"}
    assert sources_of(json.dumps([GOOD, {**GOOD, "name": "more", **more}])) == {
        "mimir": Source("mimir", "https://mimir:8080/prometheus"),
        "more": Source(
            "more",
            "https://mimir:8080/prometheus",
            "shop",
            Path("/t"),
            Path("/c"),
            timedelta(seconds=30),
            timedelta(minutes=2),
        ),
    }


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ("{", "no JSON"),
        ({}, "no list"),
        ([{**GOOD, "name": "A b"}], "no DNS label"),
        ([{**GOOD, "token": "secret"}], "token is not known"),
        ([{**GOOD, "address": "file:///etc/passwd"}], "no http:// or https:// address"),
        ([{**GOOD, "tenant": "a\nb"}], "printable"),
        ([{**GOOD, "delay": "soon"}], "mimir"),
        ([GOOD, GOOD], "one name"),
    ],
)
def test_a_source_that_cannot_be_asked_is_refused(found: Any, why: str) -> None:
    with pytest.raises(InvalidEntry, match=why):
        sources_of(found if isinstance(found, str) else json.dumps(found))


def test_a_template_names_a_source_or_has_an_address() -> None:
    sources = sources_of(json.dumps([GOOD]))
    named = {"name": "t", "query": "up", "source": "mimir"}
    assert templates_of(json.dumps([named]), sources)["t"].source is sources["mimir"]
    for wrong, why in (({"source": "gone"}, "no source 'gone'"), ({"address": "http://p"}, "one of")):
        with pytest.raises(InvalidEntry, match=why):
            templates_of(json.dumps([named | wrong]), sources)
