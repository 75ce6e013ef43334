"""Harm that rows, labels or pairs tell is seen at two times before it aborts.

Requests bring many rows, and one client repeats what it asks: much of what says that a challenger is worse
may have one cause, and the tests of these measures take each for itself. So what shows harm is not enough:
what comes an interval later, and after, has to show it by itself.
Comes in: a judgement on all that came, and one on what came since that moment. Goes out: the judgement, Hold
in the place of a Fail that was seen once. Invariants: no Fail is made here, so the bound on false aborts
stays; a burst that is shorter than an interval is seen at one time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from noria_operator.domain import disagreement, predictions, quality_drop
from noria_operator.domain.training_times import stamp
from noria_operator.domain.verdict import Judgement, Verdict

CONFIRMED: Final = (quality_drop.MEASURE, predictions.MEASURE, disagreement.MEASURE)
"""Measures whose harm is to be seen twice; windows are what errors, refusals and latency go by."""


def doubts(known: Mapping[str, datetime], judged: Judgement, now: datetime) -> dict[str, datetime]:
    """Since when each measure shows harm. That is forgotten once it passes, not where it cannot be read for a
    while.
    """
    found = dict(known)
    for one in judged.measures:
        if one.measure in CONFIRMED and one.harmful:
            found.setdefault(one.measure, now)
        elif one.verdict is Verdict.PASS:
            found.pop(one.measure, None)
    return found


def confirmed(judged: Judgement, again: Judgement | None, since: datetime | None) -> Judgement:
    """The judgement; `again` is on what came since that moment, None where nothing is known of it yet: an
    interval after harm first showed.
    """
    if judged.verdict is not Verdict.FAIL or (again is not None and again.harmful):
        return judged
    when = f"from {stamp(since)} on" if since else "later"
    said = f"{judged.message}; waiting for the same in what comes {when}"
    return replace(judged, verdict=Verdict.HOLD, message=said, lone_burst=True)
