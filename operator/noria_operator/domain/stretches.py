"""Stretches of one share of the traffic, in which alone counts of champion and challenger can be compared.

Requests of the day are not those of the night. With weight 10 by day and 50 by night one and the same model
has another mixture of both as champion than as challenger; within a stretch of one weight it has the same,
and nearly so where the weight moves little, as on a ramp that climbs by itself.
Comes in: the analysis kept, with the moments at which shares changed. Goes out: the stretches, for who counts
them. In an experiment, in which nothing climbs, a stretch is the time of one division of the traffic (see
`divisions`), for all arms the same. A label belongs to the stretch of its prediction, which no count tells:
those count that come in a stretch once labels of predictions before it have come. Invariant: stretches are
bounded in number; of a rollout with more, the oldest are not compared; no label counts in two.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from math import floor, log
from typing import Final

from noria_operator.domain.analysis import Analysis, Stretch, Turn
from noria_operator.domain.rollout_state import Reach

MOST: Final = 8
"""Stretches that are compared: each is read anew with each look at the model servers."""


APART: Final = 1.25
"""By what factor a challenger's requests for one of the champion's may differ within a stretch. Two mixtures
of the same requests are (√f - 1) / (√f + 1) apart at most, 0.056 here, if day and night have nothing alike.
"""


def shares(champion: int, reach: Reach) -> tuple[object, ...]:
    """What begins a stretch when it changes: how much of the traffic both get, to within `APART`."""
    odds = reach.weight / champion if champion else 0.0
    return reach.mirror, reach.match, floor(log(odds, APART)) if odds else None


def turned(analysis: Analysis, now: datetime, delay: timedelta | None) -> Analysis:
    """The analysis at the beginning of a stretch; nearly all labels come within `delay`, if that is known."""
    return replace(analysis, turns=(*analysis.turns, Turn(now, delay))[-MOST:])


def learnt(analysis: Analysis, now: datetime, delay: timedelta | None) -> Analysis:
    """The analysis with the time that labels take, as it is known by now, in stretches in which none counts
    yet; nor do those that came up to now.
    """
    if delay is None:
        return analysis
    return replace(analysis, turns=tuple(_later(one, now, delay) for one in analysis.turns))


def _later(turn: Turn, now: datetime, delay: timedelta) -> Turn:
    spent = now - turn.at
    if turn.delay is None:
        return replace(turn, delay=max(delay, spent))
    return replace(turn, delay=max(delay, turn.delay)) if spent < turn.delay else turn


def stretches(analysis: Analysis, initial_delay: timedelta) -> list[Stretch]:
    """Oldest first; none before the first request. `initial_delay` is how long labels take as the spec has
    it; zero: as long as they were seen to take until they count.
    """
    if analysis.since is None:
        return []
    begun: list[tuple[datetime, datetime | None]] = [(analysis.since, analysis.since + initial_delay)]
    for one in analysis.turns:
        delay = initial_delay or one.delay
        begun.append((one.at, None if delay is None else one.at + delay))
    ended = [*(later for _, (later, _) in pairwise(begun)), None]
    # Between the first and the oldest turn that is kept may have been others.
    return [Stretch(*begin, end) for begin, end in zip(begun, ended, strict=True)][-MOST:]
