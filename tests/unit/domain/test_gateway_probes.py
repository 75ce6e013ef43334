"""Where proxies of gateways may be asked, and what their answers come to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from noria_operator.domain.chart_values import InvalidEntry
from noria_operator.domain.gateway_probes import (
    Answer,
    Outcome,
    Probe,
    host_of,
    mark_in,
    mark_of,
    probes_of,
    weighed,
)

OLD, NEW = "v6-0123456789abcdef", "v7-0123456789abcdef"
GOOD = {"name": "public", "gateway": "infra/public", "urls": ["http://envoy.infra:8080/"]}


def test_a_list_names_the_addresses_of_each_gateways_proxies() -> None:
    other = {
        **{"name": "edge", "gateway": "edge/a.b", "urls": ["https://[fd00::1]:8443", "https://10.0.0.1"]},
        **{"host": "edge.example", "caFile": "/ca"},
    }
    found = probes_of(json.dumps([GOOD, other]))
    assert found == {
        ("infra", "public"): Probe("public", ("infra", "public"), ("http://envoy.infra:8080",)),
        ("edge", "a.b"): Probe("edge", ("edge", "a.b"), tuple(other["urls"]), "edge.example", Path("/ca")),
    }
    assert probes_of("") == {}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"gateway": "public"}, "NAMESPACE/NAME"),
        ({"gateway": "a/b/c"}, "NAMESPACE/NAME"),
        ({"urls": []}, "1 to 16"),
        ({"urls": "http://a"}, "1 to 16"),
        ({"urls": [f"http://a{number}" for number in range(17)]}, "1 to 16"),
        ({"urls": ["ftp://a"]}, "not of the form"),
        ({"urls": ["http://user@a"]}, "not of the form"),
        ({"urls": ["http://a/path"]}, "not of the form"),
        ({"urls": ["http://a?query"]}, "not of the form"),
        ({"urls": ["http://a\n"]}, "not of the form"),
        ({"urls": ["http://a:99999"]}, "no usable port|out of range"),
        ({"urls": ["http://a:0"]}, "no usable port"),
        ({"host": "a b"}, "no host name"),
        ({"url": "http://a"}, "not known"),
    ],
    ids=str,
)
def test_what_is_no_address_of_a_proxy_is_refused_with_its_name(
    change: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidEntry, match=f"public: .*({complaint})"):
        probes_of(json.dumps([GOOD | change]))


def test_a_gateway_is_named_once() -> None:
    with pytest.raises(InvalidEntry, match="public: infra/public is named by again too"):
        probes_of(json.dumps([GOOD, {**GOOD, "name": "again"}]))


def test_every_state_of_a_route_has_a_mark_of_its_own() -> None:
    weights = {"rules": [{"backendRefs": [{"name": "a", "weight": 1}]}]}
    mark = mark_of("uid", 7, weights)
    assert mark == mark_of("uid", 7, json.loads(json.dumps(weights)))
    others = {mark_of("other", 7, weights), mark_of("uid", 8, weights), mark_of("uid", 7, {"rules": []})}
    assert len(others | {mark}) == 4
    assert mark_in(f"http://{host_of(mark)}:8080/-/noria/prod/flights") == mark


@pytest.mark.parametrize(
    "location",
    [
        "",
        "/login",
        "https://login.example/",
        f"http://{NEW}/",
        f"http://{NEW}.noria.invalid.example/",
        "http://v7-xyz.noria.invalid/",
        "http://[::1",
    ],
)
def test_a_redirect_of_somebody_elses_has_no_mark(location: str) -> None:
    assert mark_in(location) == ""


@pytest.mark.parametrize(
    ("marks", "outcome", "message"),
    [
        ([NEW, NEW], Outcome.IN_FORCE, ""),
        ([NEW, OLD], Outcome.BEHIND, f"1 of 2 proxies are behind: proxy-1 acts on {OLD} instead of {NEW}"),
        (["", OLD], Outcome.BEHIND, f"1 of 2 proxies are behind: proxy-1 acts on {OLD} instead of {NEW}"),
        ([NEW, ""], Outcome.UNREAD, "1 of 2 proxies could not be asked: proxy-1: gone"),
        ([], Outcome.UNREAD, "0 of 0 proxies could not be asked: none was found"),
    ],
)
def test_weights_are_in_force_when_every_proxy_says_so(
    marks: list[str], outcome: Outcome, message: str
) -> None:
    answers = [Answer(f"proxy-{index}", mark, "" if mark else "gone") for index, mark in enumerate(marks)]
    told = weighed(answers, NEW)
    assert (told.outcome, told.message) == (outcome, message)
