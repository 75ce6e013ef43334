"""Derived keys: deterministic, separate, and in the shape that the model server reads."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest

from noria_operator.domain.keys import (
    KEY_PERIOD,
    derive,
    feedback_keys,
    key_period,
    period_start,
    periods_wanted,
    router_token,
    router_tokens,
    same_token,
)

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
    content = json.loads(feedback_keys(MASTER, "prod", "flights", "uid-1", period=230))
    assert set(content) == {"active", "keys", "from"}
    assert len(base64.b64decode(content["keys"][content["active"]])) == 32


def test_each_moment_is_in_one_period_and_its_key_begins_there() -> None:
    now = datetime(2026, 11, 27, tzinfo=UTC)
    period = key_period(now)
    assert period_start(period) <= now < period_start(period + 1)
    assert key_period(period_start(period)) == period
    assert json.loads(feedback_keys(MASTER, "a", "b", "c", period=period))["from"] == (
        period_start(period).timestamp()
    )


def test_two_deployments_or_periods_share_neither_key_nor_key_id() -> None:
    first, second, third = (
        json.loads(feedback_keys(MASTER, "prod", "flights", uid, period=period))
        for uid, period in (("1", 230), ("2", 230), ("1", 231))
    )
    assert third["active"] != first["active"]
    assert set(third["keys"].values()).isdisjoint(first["keys"].values())
    assert first["active"] != second["active"]
    assert set(first["keys"].values()).isdisjoint(second["keys"].values())


def test_the_next_key_is_wanted_three_days_before_its_time() -> None:
    begin = period_start(230)
    assert periods_wanted(begin) == (230,)
    assert periods_wanted(begin + KEY_PERIOD - timedelta(days=3, seconds=1)) == (230,)
    assert periods_wanted(begin + KEY_PERIOD - timedelta(days=3)) == (230, 231)
    assert periods_wanted(begin + KEY_PERIOD) == (231,)


def test_a_router_token_opens_its_own_namespace_only() -> None:
    assert same_token(router_token(MASTER, "prod"), router_token(MASTER, "prod"))
    assert not same_token(router_token(MASTER, "prod"), router_token(MASTER, "dev"))


def test_routers_of_before_are_answered_and_routers_of_now_show_nothing_that_operators_of_before_take() -> (
    None
):
    before = derive(MASTER, "router", "prod").hex()
    assert before in router_tokens(MASTER, "prod")
    assert router_token(MASTER, "prod") in router_tokens(MASTER, "prod")
    assert router_token(MASTER, "prod") != before
