"""What is told of a request that waits, until its run started, or nobody asks any more."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.domain.test_triggers_plan import Loop, entry, weekly
from tests.unit.domain.training_world import NOW

from noria_operator.domain.notifications import occurrences
from noria_operator.domain.triggers import MANUAL, Request, manual

Json = dict[str, Any]
HOUR = timedelta(hours=1)


def by_hand(loop: Loop, said: str) -> list[Request]:
    """What the annotation asks for."""
    known = next((one for one in loop.status.get("triggers", []) if one["name"] == MANUAL), None)
    found = manual(said, loop.status.get("commands", {}).get("retrain"), known)
    return [found] if found else []


@pytest.mark.parametrize("said", ["", "now-1"], ids=["removed", "the one before again"])
def test_a_request_that_is_held_and_taken_back_is_held_no_more(said: str) -> None:
    held = {"name": MANUAL, "decision": "Blocked", "reason": "Asked", "message": "asked; held by Budget: now"}
    found = manual(said, "now-1", held)
    assert found is not None
    assert (found.wanted, found.entry["decision"], found.entry["reason"]) == (False, "No", "Withdrawn")
    assert "Budget" not in found.entry["message"]
    done = held | {"decision": "Fire", "message": "a person asked"}
    after = manual(said, "now-1", done)
    assert after is not None
    assert after.entry == done


def test_a_request_that_was_taken_back_is_no_spent_budget_after_later_runs() -> None:
    loop = Loop(cooldown="0s", budget={"maxRuns": 1, "per": "24h"})
    loop.settle(weekly())
    loop.finish()
    loop.now += HOUR
    loop.step(*by_hand(loop, "ada"))
    assert "held by Budget" in entry(loop.status, MANUAL)["message"]
    assert {one.type for one in occurrences(loop.obj, NOW)} == {"retraining.blocked"}
    loop.step(*by_hand(loop, ""))
    loop.now += 48 * HOUR
    later = loop.now
    loop.step(*by_hand(loop, ""), weekly("2026-03-09T02:00:00Z"))
    loop.step(*by_hand(loop, ""))
    loop.finish()
    loop.step(*by_hand(loop, ""))
    assert (entry(loop.status, MANUAL)["decision"], loop.status["blockedBy"]) == ("No", "Budget")
    assert [one.type for one in occurrences(loop.obj, later - HOUR)] == ["retraining.started"]
