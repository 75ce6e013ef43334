"""Conditions keep their time while their status stays, and hold what a person can read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from noria_operator.api.status import MESSAGE_LIMIT
from noria_operator.domain.conditions import Condition, clip, merge_conditions

NOW = datetime(2026, 1, 31, 8, 0, 0, 5000, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    first = merge_conditions([], [Condition("Ready", False, "Starting")], now=NOW, generation=1)
    second = merge_conditions(first, [Condition("Ready", False, "Loading", "x")], now=LATER, generation=2)
    assert second == [
        {
            "type": "Ready",
            "status": "False",
            "reason": "Loading",
            "message": "x",
            "observedGeneration": 2,
            "lastTransitionTime": "2026-01-31T08:00:00Z",
        }
    ]


@pytest.mark.parametrize(("status", "text"), [(True, "True"), (None, "Unknown")])
def test_a_condition_moves_its_time_when_its_status_changes(status: bool | None, text: str) -> None:
    first = merge_conditions([], [Condition("Ready", False, "Starting")], now=NOW, generation=1)
    (ready,) = merge_conditions(first, [Condition("Ready", status, "Serving")], now=LATER, generation=1)
    assert (ready["status"], ready["lastTransitionTime"]) == (text, "2026-01-31T08:05:00Z")


def test_a_message_is_one_line_that_the_api_server_takes() -> None:
    assert clip("  two\nlines\x00 and\u202e more\t") == "two lines and more"
    assert clip("x" * 5000) == "x" * (MESSAGE_LIMIT - 1) + "…"
    assert clip("für Züge 🚂") == "für Züge 🚂"
