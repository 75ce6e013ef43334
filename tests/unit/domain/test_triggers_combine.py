"""The run that starts answers the combinations that ask, whoever asked for it, as it does plain triggers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.domain.test_triggers_plan import HOUR, Loop, asked, entry, quality, weekly

from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.training_times import stamp
from noria_operator.domain.triggers import Request
from noria_operator.domain.triggers_combine import combined

Json = dict[str, Any]

TRIGGERS: list[Json] = [
    {"name": "quality", "performance": {"metric": "auc", "min": "0.65"}, "action": "Observe"},
    {"name": "drift", "drift": {}, "action": "Observe"},
    {"name": "weekly", "schedule": "0 2 * * 1"},
    {"name": "either", "combine": {"of": ["quality", "drift"], "atLeast": 1}},
]


def seen(*first: Request, lost: bool = True) -> list[Request]:
    """A pass in which quality is observed, and the combination asks for a run while it is lost."""
    loss = replace(quality(wanted=lost), answered_by="Own")
    quiet = Request({"name": "drift", "decision": "No"}, "Drift")
    either = combined(TriggerSpec.model_validate(TRIGGERS[3]), {"quality": loss, "drift": quiet})
    return [*first, loss, quiet, either]


def loop_of(**spec: Any) -> Loop:
    return Loop(**{"triggers": TRIGGERS, "followUp": "72h", "cooldown": "6h"} | spec)


@pytest.mark.parametrize("first", [weekly(), asked()])
def test_a_run_answers_the_combinations_that_ask_whoever_asked_for_it(first: Request) -> None:
    loop = loop_of()
    loop.step(*seen(first))
    for name in ("either", "quality"):
        told = entry(loop.status, name)
        assert (told["decision"], told["message"]) == ("Wait", f"answered by the run of {first.name}")
    assert entry(loop.status, "quality")["streak"] == 0
    assert entry(loop.status, "drift")["decision"] == "No"
    assert loop.status["followUp"]["of"] == loop.status["runs"][0]["trainingJob"]


def test_a_request_in_the_queue_answers_the_combinations_that_ask() -> None:
    loop = loop_of(concurrencyPolicy="Queue", cooldown="0s")
    loop.settle(asked())
    loop.now += HOUR
    loop.step(*seen(weekly()))
    assert loop.status["queued"]["trigger"] == "weekly"
    assert "quality" in loop.status["queued"]["answers"]
    assert entry(loop.status, "either")["message"] == "answered by the run of weekly"


def test_a_combination_with_what_the_loop_does_of_itself_asks_for_a_run_of_its_own() -> None:
    loop = loop_of()
    both = replace(seen()[-1], own_affair=True)
    loop.step(*seen(weekly())[:-1], both)
    assert entry(loop.status, "either")["decision"] == "Blocked"


def test_a_combination_that_only_warns_goes_on_to_warn() -> None:
    loop = loop_of(triggers=[*TRIGGERS[:3], TRIGGERS[3] | {"action": "Warn"}])
    loop.step(*seen(weekly()))
    assert entry(loop.status, "either")["decision"] == "Warn"
    assert entry(loop.status, "either")["since"] == stamp(loop.now)
