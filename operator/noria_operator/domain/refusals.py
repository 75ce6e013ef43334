"""Requests that a challenger refuses as its clients' fault, while the champion takes such requests.

Comes in: windows of requests and refusals (4xx, 3xx) of both arms. Goes out: a judgement where something
speaks against the challenger, else None: no rollout waits to hear that nothing is refused. What clients do
wrong falls on versions by their shares of requests, and cancels; what is left is the version's: another
signature, a path that its container does not know, rows that its model cannot take.

Where users are divided instead of requests, one client whose requests are all wrong is one version's for the
whole rollout: there only a challenger that refuses nearly everything is at fault, and one that begins to do
so later on is held.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import log
from typing import Any, Final

from noria_operator.domain.bursts import NEARLY_ALL
from noria_operator.domain.verdict import (
    SUSPECT_AT,
    Comparison,
    Counts,
    Evidence,
    Judgement,
    Verdict,
    Window,
    decide,
    step,
)
from noria_serving.contract import WHY_IN_WORDS

MEASURE: Final = "refusals"
CAUTION: Final = 10
"""How many times as much evidence this takes as errors do: a tenth of their false alarms comes on top."""
_COMPARISON: Final = Comparison(
    measure=MEASURE,
    worse="it refuses requests (4xx, 3xx) more often than the champion",
    hits="refusals",
    called="Refused",
)
TOLD: Final = 5
"""Inputs that are named."""
MOSTLY: Final = 0.5
"""The share of requests from which refusals keep a challenger from a Pass where the champion, which is down
or had few requests, cannot tell whose fault they are.
"""
LATELY: Final = 4
"""Windows in which nearly all was refused, by which it is not promoted whoever is at fault."""
MANY: Final = 100
"""Requests of which that is asked, and by which a champion can tell."""
_ANY_SHARE: Final = 0.5
"""Passing is not what is asked here."""


def apart(seen: Window) -> tuple[Window, Window]:
    """The same window with errors alone, and with refusals in their place."""
    arms = (seen.champion, seen.challenger)
    errors = Window(*(Counts(arm.requests, arm.errors) for arm in arms))
    refused = Window(*(Counts(arm.requests, arm.refused) for arm in arms))
    return errors, refused


def added(evidence: Evidence, window: Window, before: Evidence, *, over: bool = True) -> Evidence:
    """The evidence with one more window, from the first one on in which somebody refused. What arms got
    `before` it, by the evidence of errors, belongs to their totals: windows without refusals change nothing
    else. `over` False: with the open one.
    """
    if not (evidence.windows or window.champion.errors or window.challenger.errors):
        return evidence
    if not evidence.windows:
        champion, challenger = (Counts(arm.requests) for arm in (before.champion, before.challenger))
        evidence = Evidence(champion=champion, challenger=challenger)
    return step(evidence, window, over=over) if window.requests else evidence


def other_inputs(champion: Mapping[str, Any], challenger: Mapping[str, Any]) -> str:
    """How the second ModelVersion takes other inputs than the first; empty where it does not, or one of them
    does not say.
    """
    takes, would_take = (
        version["spec"].get("signature", {}).get("inputs", ()) for version in (champion, challenger)
    )
    if takes == would_take or not takes or not would_take:
        return ""
    old, new = map(_spelled, (takes, would_take))
    told = [f"{name} is new" for name in new if name not in old]
    told += [f"{name} is gone" for name in old if name not in new]
    told += [
        f"{name} is {new[name]}, not {old[name]}" for name in new if new[name] != old.get(name, new[name])
    ]
    return ", ".join(told[:TOLD]) + (f" and {len(told) - TOLD} more" if len(told) > TOLD else "")


def most(times: Mapping[str, int]) -> str:
    """What servers say most of requests that they refuse, by how often they said each (`contract.Why`); empty
    where they said nothing that is known here.
    """
    known = {why: times.get(why, 0) for why in WHY_IN_WORDS}
    why = max(known, key=lambda one: known[one])
    total = sum(known.values())
    return f"{WHY_IN_WORDS[why]} ({known[why]} of {total} times)" if known[why] else ""


def _spelled(tensors: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {one["name"]: f"{one['datatype']} {one.get('shape', [])}" for one in tensors}


def judge(
    evidence: Evidence,
    *,
    tests: int,
    rivals: int,
    by_users: bool,
    alone: bool = False,
    inputs: str = "",
    said: str = "",
) -> Judgement | None:
    """Fail or Hold, or None where nothing speaks against the challenger.

    `tests` and `rivals` are the measures and challengers that share the false alarms; `by_users` whether
    users are divided, not requests; `alone` whether no pod of the champion's is ready; `inputs` how its
    inputs are others than the champion's, `said` what its servers say most: both explain.
    """
    judged = decide(evidence, _ANY_SHARE, of=_COMPARISON, measures=CAUTION * tests, rivals=rivals)
    told = f"; its servers say most that {said}" if said else ""
    told += f"; of its inputs {inputs}" if inputs else ""
    judged = replace(judged, message=f"{judged.message}{told}")
    one_user = by_users and evidence.challenger.errors < NEARLY_ALL * evidence.challenger.requests
    if judged.verdict is Verdict.FAIL and not one_user:
        return judged
    if judged.log_e_harm >= log(CAUTION * SUSPECT_AT) and not one_user:
        return _held(judged, f"{_COMPARISON.worse} so far")
    unknown = alone or (not by_users and evidence.champion.requests < MANY)
    worse = _mostly(evidence.challenger) and not _mostly(evidence.champion)
    if unknown and worse and evidence.challenger.requests >= MANY:
        return _held(judged, "it refuses most requests (4xx, 3xx), and there is too little to compare with")
    if by_users and evidence.bursts.nearly_all >= LATELY:
        return _held(judged, "of late it refuses nearly all requests (4xx, 3xx)")
    return None


def _mostly(arm: Counts) -> bool:
    return arm.errors > MOSTLY * arm.requests


def _held(judged: Judgement, why: str) -> Judgement:
    return replace(judged, verdict=Verdict.HOLD, message=f"{why}: {judged.message}")
