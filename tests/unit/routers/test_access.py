"""What a router mounts and is told to check callers; a real one judges in tests/integration."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.routers.test_children import SETTINGS, applied, created, owner, running

from noria_operator.domain.access import Guard
from noria_operator.routers import access, access_script, children, routes
from noria_operator.routers.bootstrap import Bootstrap, bootstrap
from noria_operator.routers.traffic import RoutedDeployment

Json = dict[str, Any]

KEYS = Guard("a", keys="keys", header="x-api-key")
TOKENS = Guard("b", issuer="https://issuer.example", audiences=("models",), secret="keys")
REMOTE = replace(TOKENS, deployment="c", secret="", uri="https://issuer.example:8443/jwks")
GIVEN = {"namespace": "shop", "token": "t", "drain_token": "d", "xds_address": "o:1"}
DEPLOYMENT = RoutedDeployment(
    "a",
    revisions=(("a-1", 90), ("a-2", 10)),
    endpoints={"a-1": (("10.0.0.1", 1),), "a-2": (("10.0.0.2", 1),)},
    challenger="a-2",
    mirror=50,
    match=(("x-canary", "yes"),),
    preview=True,
    guarded=True,
)


def everything(deployment: RoutedDeployment) -> list[Json]:
    """Every route of a deployment, but those of the version host."""
    preview = routes.claimed("shop", [deployment])[0].get(routes.preview_of(deployment.name), ())
    found = routes.configuration(deployment, preview)
    hosts = [host for host in found["virtual_hosts"] if host["name"] != "version.noria.internal"]
    return [route for host in hosts for route in host["routes"]]


def test_no_route_leads_to_a_version_without_a_verdict() -> None:
    leading = [route for route in everything(DEPLOYMENT) if "route" in route]
    assert len(leading) == 8 + 3, "own hosts, preview"
    for route in leading:
        (asked,) = route["match"]["dynamic_metadata"]
        assert asked["filter"] == "noria.access"
        assert asked["path"] == [{"key": "a"}]
        assert asked["value"] == {"string_match": {"exact": "granted"}}


def test_a_deployment_without_versions_answers_nobody_unchecked() -> None:
    nothing = replace(DEPLOYMENT, revisions=(), endpoints={}, challenger="")
    for route in everything(nothing):
        assert "dynamic_metadata" in route["match"] or "typed_per_filter_config" in route


def test_without_a_guard_routes_are_as_ever() -> None:
    plain = routes.virtual_host(replace(DEPLOYMENT, guarded=False), ("a",))
    assert "dynamic_metadata" not in json.dumps(plain)
    assert "typed_per_filter_config" not in json.dumps(plain)
    assert bootstrap(Bootstrap(**GIVEN)) == bootstrap(Bootstrap(**GIVEN, guards=()))
    assert "noria.access" not in json.dumps(bootstrap(Bootstrap(**GIVEN)))


def test_pods_mount_what_guards_name_and_start_without_it() -> None:
    found = dict(access.volumes([KEYS, TOKENS, replace(TOKENS, secret="", config_map="issuer"), REMOTE]))
    assert set(found) == {"keys/keys", "jwks-secret/keys", "jwks-configmap/issuer"}
    assert "items" not in found["keys/keys"]["secret"], "each entry is a client's"
    assert found["jwks-secret/keys"]["secret"]["items"] == [{"key": "jwks", "path": "jwks"}]
    assert all(source["optional"] for volume in found.values() for source in volume.values())


def test_new_rules_replace_pods_and_the_same_ones_do_not() -> None:
    guarded = [owner("a", router={"access": {"apiKeys": {"secretName": "keys"}}})]
    settings = replace(SETTINGS, guards=children.guards_wanted(guarded))
    before = running()
    after = children.deployment("shop", guarded, settings, live=before)
    template = after["spec"]["template"]
    assert template != applied()["spec"]["template"]
    mounts = {one["mountPath"] for one in template["spec"]["containers"][0]["volumeMounts"]}
    assert "/etc/noria-access/keys/keys" in mounts
    again = children.deployment("shop", guarded, settings, live=created(after))
    assert again["spec"]["template"] == template
    upgraded = replace(settings, image="another")
    assert children.deployment("shop", guarded, upgraded, live=created(after))["spec"]["template"] == template
    opened = children.deployment("shop", [owner("a")], SETTINGS, live=created(after))
    assert opened["spec"]["template"] == applied()["spec"]["template"]


def test_every_guard_has_a_requirement_and_tokens_have_a_provider() -> None:
    judge, _ = access.filters([KEYS, TOKENS, REMOTE], "/keys")
    assert set(judge["typed_config"]["requirement_map"]) == {"a", "b", "c"}
    providers = judge["typed_config"]["providers"]
    assert set(providers) == {"b", "c"}
    for provider in providers.values():
        assert provider["from_headers"], "else a token in the query would do"
        assert provider["require_expiration"]


def test_a_key_set_from_afar_is_asked_for_by_its_verified_name() -> None:
    (cluster,) = access.clusters(Bootstrap(**GIVEN, guards=(REMOTE,)))
    tls = cluster["transport_socket"]["typed_config"]
    assert tls["sni"] == "issuer.example"
    (name,) = tls["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"]
    assert name["matcher"] == {"exact": "issuer.example"}
    endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    assert endpoint["address"]["socket_address"] == {"address": "issuer.example", "port_value": 8443}


def test_one_name_in_the_clear_and_secured_are_two_places() -> None:
    clear = replace(REMOTE, deployment="d", uri=REMOTE.uri.replace("https", "http"))
    first, second = access.clusters(Bootstrap(**GIVEN, guards=(REMOTE, clear, REMOTE)))
    assert first["name"] != second["name"]
    assert ["transport_socket" in each for each in (first, second)].count(True) == 1


@pytest.mark.parametrize("host", ["login.example.com:84433", "a" * 300 + ".example"])
def test_an_issuer_that_cannot_be_asked_closes_its_own_deployment_only(host: str) -> None:
    """Also one that was written before the API server refused it."""
    jwt = {"issuer": "https://i.example", "audiences": ["m"], "jwks": {"uri": f"https://{host}/jwks"}}
    broken = owner("broken") | {"spec": {"router": {"access": {"jwt": jwt}}}}
    right = owner("right") | {"spec": {"router": {"access": {"apiKeys": {"secretName": "keys"}}}}}
    guards = children.guards_wanted([broken, right])
    made = bootstrap(Bootstrap(**GIVEN, guards=guards))
    assert host.partition(":")[0] not in json.dumps(made)
    judge, _ = access.filters(guards, "/keys")
    assert judge["typed_config"]["requirement_map"] == {"broken": {}, "right": {}}
    assert [(one.deployment, one.keys) for one in guards] == [("broken", ""), ("right", "keys")]


@given(st.text(max_size=40), st.text(max_size=40))
def test_nothing_that_a_user_says_ends_a_string_of_the_script(claim: str, value: str) -> None:
    plain = access_script.judging([TOKENS], keys={}, jwks={}, report="/")
    said = replace(TOKENS, claims=((claim, (value,)),))
    script = access_script.judging([said], keys={}, jwks={}, report="/").replace(said.rules, TOKENS.rules)
    strings = re.compile(r'"(?:[A-Za-z0-9 _.:/@-]|\\\d{3})*"')
    rest = strings.sub("S", script).replace("claims = {[S] = {[S] = true}}", "claims = {}")
    assert rest == strings.sub("S", plain)
