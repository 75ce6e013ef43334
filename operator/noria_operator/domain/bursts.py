"""Harm by windows: a sequential test for errors that come in bursts.

Comes in: errors of both versions, window by window. Goes out: the logarithm of an e-value against "bursts of
errors fall on the challenger as often as requests do". A client that repeats what fails, or a dependency that
is away for a moment, makes many errors of one cause, so a window is one observation, however many errors it
has: the challenger's share of them, which is between 0 and 1 and has the mean w under the hypothesis. Bets on
a bounded mean are those of arXiv 2010.09686.

Invariant: under the hypothesis nothing is won in the mean, whatever the sizes of bursts, as long as each is
shorter than a window: one that lies over the end of a window weighs once, because the window after one with
errors of the challenger is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, log1p
from typing import Final

from noria_operator.domain.sequences import log_mean_exp

SPREAD: Final = 100
"""After bet number n, the part 1 / (n + SPREAD) of all that was won is spread over the alternatives again
(fixed share, Herbster and Warmuth 1998): harm that begins late finds bets that were not lost meanwhile. A
healthy year costs no more than the logarithm of its windows.
"""
OUTAGE: Final = 8
"""Points that windows in a row gather until they are an outage together: more than bursts can reach."""
OUTAGE_SHARES: Final = (1 / 10, 1 / 3)
"""A window has a point for each of these shares of the challenger's requests that failed: four windows in
which a third failed are an outage, and eight in which a tenth did.
"""
NEARLY_ALL: Final = 0.8
"""The share of the challenger's requests from which it is of no use to anybody."""
REMEMBERED: Final = 8
"""Windows in which nearly all failed that are counted: who fails for longer is no surer to fail now."""
ASKED: Final = 5
"""Requests to the challenger by which a window tells that nearly all of them fail."""
OUTAGE_RATIO: Final = 3
"""A window has points where the challenger failed so many times as often as the champion at least."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One window: the challenger's share of the requests, errors of both, requests to the challenger; and
    what the champion's earlier windows with errors had in the mean, 0 before there was one.
    """

    share: float
    champion: int
    challenger: int
    requests: int
    usual: float = 0.0


@dataclass(frozen=True, slots=True)
class Bursts:
    """What windows said so far.

    `wealth` has the logarithm of what each alternative won in `bets` windows, none before the first; `skip`
    is whether the next window is left out; `down` are the points of an outage of the challenger that goes on,
    and `nearly_all` the windows in which nearly all of its requests failed, up to `REMEMBERED`, less those in
    which nobody asked it, since one with better answers.
    """

    wealth: tuple[float, ...] = ()
    bets: int = 0
    skip: bool = False
    down: int = 0
    nearly_all: int = 0

    @property
    def log_e(self) -> float:
        """log e against "bursts fall on it as often as requests do"."""
        return log_mean_exp(self.wealth) if self.wealth else 0.0


def weigh(bursts: Bursts, window: Seen, ratios: Sequence[float]) -> Bursts:
    """The evidence with one more window, which is over; `ratios` are the alternatives, 1 among them is not
    to bet.
    """
    wealth, bets = bursts.wealth, bursts.bets
    if window.champion + window.challenger and not bursts.skip:
        bets += 1
        won = _won(wealth or (0.0,) * len(ratios), _excess(window), window.share, ratios)
        wealth = _spread(won, 1 / (bets + SPREAD))
    return Bursts(
        wealth=wealth,
        bets=bets,
        skip=window.challenger > 0 and not bursts.skip,
        down=_in_a_row(bursts.down, window, OUTAGE_SHARES),
        nearly_all=_lately(bursts.nearly_all, window),
    )


def _excess(window: Seen) -> float:
    """By how much the challenger's share of the window's errors exceeds that of the requests, from -w to
    1 - w; less in a window with fewer errors than the champion's usual one. What is usual comes from earlier
    windows, so that nothing is won by it.
    """
    errors = window.champion + window.challenger
    return (window.challenger - window.share * errors) / max(errors, window.usual)


def _won(wealth: Sequence[float], excess: float, share: float, ratios: Sequence[float]) -> tuple[float, ...]:
    """For one cause in a window this is the ratio of likelihoods of "it falls on the challenger `ratio` times
    as often", and in between it is linear.
    """
    return tuple(
        have + log1p(excess * (ratio - 1) / (1 + share * (ratio - 1)))
        for have, ratio in zip(wealth, ratios, strict=True)
    )


def _spread(wealth: Sequence[float], part: float) -> tuple[float, ...]:
    """The mean stays as it is."""
    mean = log_mean_exp(wealth)
    return tuple(mean + log((1 - part) * exp(one - mean) + part) for one in wealth)


def _in_a_row(before: int, window: Seen, shares: Sequence[float]) -> int:
    """A point for each of `shares` of the challenger's requests that failed; `before` has those so far."""
    if not window.requests:
        return before
    usual = OUTAGE_RATIO * window.champion * window.share / (1 - window.share) if window.champion else 0.0
    points = sum(window.challenger >= max(share * window.requests, usual) for share in shares)
    return before + points if points else 0


def _lately(before: int, window: Seen) -> int:
    """What is no longer asked no longer fails: silence takes one window back."""
    if not window.requests:
        return max(before - 1, 0)
    counted = _in_a_row(before, window, (NEARLY_ALL,))
    return min(counted, REMEMBERED if window.requests >= ASKED else before)
