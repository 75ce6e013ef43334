"""Derived keys: deterministic, separate, and in the shape that the model server reads."""

from __future__ import annotations

import base64
import json

import pytest

from noria_operator.domain.keys import derive, feedback_keys, router_token, same_token

MASTER = bytes(range(32))


def test_the_same_inputs_give_the_same_key() -> None:
    assert derive(MASTER, "router", "prod") == derive(MASTER, "router", "prod")


def test_purpose_parts_and_their_borders_all_matter() -> None:
    keys = {
        derive(MASTER, "a", "bc"),
        derive(MASTER, "ab", "c"),
        derive(MASTER, "abc"),
        derive(MASTER, "a", "b", "c"),
        derive(bytes(32), "a", "bc"),
    }
    assert len(keys) == 5


def test_a_short_master_key_is_refused() -> None:
    with pytest.raises(ValueError, match="needs at least 32"):
        derive(b"short", "router")


def test_feedback_keys_name_one_active_key_of_32_bytes() -> None:
    content = json.loads(feedback_keys(MASTER, "prod", "flights", "uid-1"))
    assert set(content) == {"active", "keys"}
    assert len(base64.b64decode(content["keys"][content["active"]])) == 32


def test_two_deployments_share_neither_key_nor_key_id() -> None:
    first, second = (json.loads(feedback_keys(MASTER, "prod", "flights", uid)) for uid in ("1", "2"))
    assert first["active"] != second["active"]
    assert set(first["keys"].values()).isdisjoint(second["keys"].values())


def test_a_router_token_opens_its_own_namespace_only() -> None:
    assert same_token(router_token(MASTER, "prod"), router_token(MASTER, "prod"))
    assert not same_token(router_token(MASTER, "prod"), router_token(MASTER, "dev"))
