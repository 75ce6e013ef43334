"""Conditions keep their time while their status stays, and names of children stay valid and stable."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria_operator.api import names
from noria_operator.api.status import MESSAGE_LIMIT, ConditionType, condition, is_true, with_condition

NOW = datetime(2026, 1, 31, 8, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    first = with_condition([], ConditionType.READY, False, reason="Starting", now=NOW, generation=1)
    second = with_condition(first, ConditionType.READY, False, reason="Loading", now=LATER, generation=2)
    ready = condition(second, "Ready")
    assert ready is not None
    assert (ready.reason, ready.last_transition_time, ready.observed_generation) == ("Loading", NOW, 2)


def test_a_condition_moves_its_time_when_its_status_changes() -> None:
    first = with_condition([], "Ready", None, reason="Starting", now=NOW)
    second = with_condition(first, "Ready", True, reason="Serving", now=LATER)
    assert second[0].last_transition_time == LATER
    assert is_true(second, "Ready")
    assert not is_true(first, "Ready")
    assert not is_true([], "Ready")


def test_conditions_stand_in_the_order_of_their_types() -> None:
    one = with_condition([], "Stalled", False, reason="A", now=NOW)
    two = with_condition(one, "Ready", True, reason="B", now=NOW)
    assert [it.type for it in two] == ["Ready", "Stalled"]


def test_a_long_message_is_cut() -> None:
    cut = with_condition([], "Ready", False, reason="A", message="x" * 5000, now=NOW)
    assert len(cut[0].message) == MESSAGE_LIMIT


model_names = st.from_regex(r"\A[a-z]([-a-z0-9]{0,38}[a-z0-9])?\Z")


@given(model_names, st.integers(1, 2**31 - 1), st.from_regex(r"\A[0-9a-f]{10}\Z"))
def test_names_of_children_are_dns_labels(name: str, version: int, revision: str) -> None:
    for child in (
        names.revision_name(name, version, revision),
        names.feedback_secret_name(name, "0f7ac08d-0000-4000-8000-000000000000", version),
        names.model_version_name(name, version),
    ):
        assert LABEL.fullmatch(child)
    assert names.version_number(names.model_version_name(name, version)) == version


def test_long_names_that_share_their_beginning_stay_different() -> None:
    one, two = names.fit("a" * 70 + "1"), names.fit("a" * 70 + "2")
    assert one != two
    assert len(one) == len(two) == 63


@pytest.mark.parametrize("name", ["short", "a" * 63])
def test_a_name_that_fits_is_left_alone(name: str) -> None:
    assert names.fit(name) == name
