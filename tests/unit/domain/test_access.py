"""Who may call a deployment, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from noria_operator.domain.access import Guard, Held, Reason, Told, condition, enforced, guard

Json = dict[str, Any]

KEYS = {"apiKeys": {"secretName": "keys"}}
TOKENS = {
    "jwt": {
        "issuer": "https://issuer.example",
        "audiences": ["models"],
        "jwks": {"configMapName": "issuer"},
        "claims": {"roles": ["ml", "ops"], "group": ["a"]},
    }
}
TRAFFIC = [{"name": "a-1", "weight": 100}]


def deployment(access: Json | None, **status: Any) -> Json:
    spec: Json = {"model": "a"} if access is None else {"model": "a", "router": {"access": access}}
    return {"metadata": {"name": "a"}, "spec": spec, "status": status}


def said(reason: str) -> list[Json]:
    return [{"type": "Ready", "reason": "Serving"}, {"type": "AccessReady", "reason": reason}]


def rules(access: Json) -> Guard:
    found = guard(deployment(access))
    assert found is not None
    return found


def test_without_access_everybody_may_call() -> None:
    assert guard(deployment(None)) is None
    assert not enforced(deployment(None, conditions=said(Reason.CHECKED)))


def test_rules_say_keys_and_tokens() -> None:
    assert guard(deployment(KEYS)) == Guard("a", keys="keys", header="x-api-key")
    assert guard(deployment(TOKENS)) == Guard(
        "a",
        issuer="https://issuer.example",
        audiences=("models",),
        config_map="issuer",
        claims=(("group", ("a",)), ("roles", ("ml", "ops"))),
    )


@pytest.mark.parametrize("broken", [{}, {"apiKeys": {}}, {"apiKeys": "keys"}, {"jwt": None}, {"other": 1}])
def test_what_cannot_be_understood_lets_nobody_in(broken: Json) -> None:
    assert guard(deployment(broken)) == Guard("a")
    assert enforced(deployment(broken, conditions=said(Reason.CHECKED)))


@pytest.mark.parametrize("host", ["a.example:84433", "a.example:65536", "a" * 300, "a." * 126 + "ab"])
def test_an_issuer_that_routers_cannot_ask_lets_nobody_in_and_is_told(host: str) -> None:
    found = rules({"jwt": {**TOKENS["jwt"], "jwks": {"uri": f"https://{host}/jwks"}}})
    assert found == Guard("a")
    told = condition(found, [Told(found.rules)], CLOSED)
    assert (told.status, told.reason) == (False, Reason.KEYS_INVALID)
    assert "nobody is let in" in told.message


def test_an_issuer_with_the_longest_name_and_the_highest_port_is_asked() -> None:
    uri = f"https://{'a.' * 126}a:65535/jwks"
    assert rules({"jwt": {**TOKENS["jwt"], "jwks": {"uri": uri}}}).uri == uri


@pytest.mark.parametrize(
    "other",
    [
        {"apiKeys": {"secretName": "more"}},
        {"apiKeys": {"secretName": "keys", "header": "Authorization"}},
        {**KEYS, **TOKENS},
    ],
)
def test_other_rules_have_another_digest(other: Json) -> None:
    assert rules(other).rules != rules(KEYS).rules
    assert rules(KEYS).rules == rules(dict(KEYS)).rules
    assert replace(rules(KEYS), deployment="b").rules != rules(KEYS).rules


@dataclass(frozen=True, slots=True)
class Later(Guard):
    """With a field that a newer release added."""

    network: str = ""


def test_a_newer_release_replaces_no_router_of_rules_that_it_does_not_change() -> None:
    """The digest stands in the pods' template: these are those of the first release with `access`."""
    assert (rules(KEYS).rules, rules(TOKENS).rules) == ("e6fef6cc59c60239", "454e660b9d9b5bc9")
    later = Later("a", keys="keys", header="x-api-key")
    assert later.rules == rules(KEYS).rules
    assert replace(later, network="10.0.0.0/8").rules != later.rules


@pytest.mark.parametrize(
    ("status", "holds"),
    [
        ({}, True),
        ({"traffic": TRAFFIC}, False),
        ({"traffic": TRAFFIC, "conditions": said(Reason.ROUTERS_STARTING)}, False),
        ({"traffic": TRAFFIC, "conditions": said(Reason.CHECKED)}, True),
        ({"traffic": TRAFFIC, "conditions": said(Reason.ROUTERS_CHANGING)}, True),
        ({"traffic": TRAFFIC, "conditions": said(Reason.ROUTERS_SILENT)}, True),
        ({"traffic": TRAFFIC, "conditions": said(Reason.KEYS_MISSING)}, True),
    ],
)
def test_only_what_was_open_waits_for_routers(status: Json, holds: bool) -> None:
    assert enforced(deployment(KEYS, **status)) is holds


RIGHT = Told(rules(KEYS).rules, Held.PRESENT)
OTHER, NONE = Told("f" * 16, Held.PRESENT), Told()
OPEN: Json = {"traffic": TRAFFIC}
OPENING: Json = {"traffic": TRAFFIC, "conditions": said(Reason.ROUTERS_STARTING)}
CLOSED: Json = {"traffic": TRAFFIC, "conditions": said(Reason.CHECKED)}


@pytest.mark.parametrize(
    ("told", "status", "reason", "value"),
    [
        ([RIGHT, RIGHT], OPEN, Reason.CHECKED, True),
        ([RIGHT, NONE], OPEN, Reason.ROUTERS_STARTING, False),
        ([RIGHT, None], OPENING, Reason.ROUTERS_STARTING, False),
        ([], OPENING, Reason.ROUTERS_STARTING, False),
        ([RIGHT, RIGHT], OPENING, Reason.CHECKED, True),
        ([replace(RIGHT, keys=Held.MISSING)], OPENING, Reason.KEYS_MISSING, False),
        ([NONE], {}, Reason.ROUTERS_CHANGING, False),
        ([RIGHT, NONE], CLOSED, Reason.ROUTERS_CHANGING, False),
        ([RIGHT, OTHER], CLOSED, Reason.ROUTERS_CHANGING, False),
        ([RIGHT, None], CLOSED, Reason.CHECKED, True),
        ([None], CLOSED, Reason.ROUTERS_SILENT, None),
        ([], CLOSED, Reason.ROUTERS_SILENT, None),
        ([RIGHT, replace(RIGHT, keys=Held.MISSING)], CLOSED, Reason.KEYS_MISSING, False),
        ([replace(RIGHT, jwks=Held.INVALID)], CLOSED, Reason.KEYS_INVALID, False),
        ([replace(RIGHT, jwks=Held.REMOTE)], CLOSED, Reason.CHECKED, True),
    ],
)
def test_the_condition_says_what_routers_do(
    told: list[Told | None], status: Json, reason: Reason, value: bool | None
) -> None:
    found = condition(rules(KEYS), told, status)
    assert (found.reason, found.status) == (reason, value)
    again = {**status, "conditions": said(found.reason)}
    closed = enforced(deployment(KEYS, **again))
    assert closed is (reason != Reason.ROUTERS_STARTING)
    assert closed or not enforced(deployment(KEYS, **status)), "nothing is ever opened again"


def test_what_is_missing_is_named() -> None:
    both = rules({**KEYS, **TOKENS})
    told = Told(both.rules, Held.MISSING, Held.MISSING)
    message = condition(both, [told], CLOSED).message
    assert "Secret keys" in message
    assert "ConfigMap issuer" in message


@pytest.mark.parametrize("body", [None, [], "x", {}, {"rules": "a", "keys": "many"}, {"keys": "present"}])
def test_what_is_no_report_is_none(body: Any) -> None:
    assert Told.of(body) is None
