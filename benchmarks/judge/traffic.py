"""Simulated rollouts: what both versions answer in each second of half an hour.

Comes in: a truth (how often each version fails), a schedule of weights, a rate of requests, a seed. Goes out:
counts per second. Invariant: the same case and seed give the same traffic, so that every rule judges the same
rollouts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.judge.troubles import CHALLENGER, Trouble

MINUTES = 30
BURST_SECONDS = 5
REQUESTS, ERRORS = 0, 1

Traffic = NDArray[np.int64]
"""Counts, shape (seconds, 2 versions, 2): requests and how many of them failed."""


@dataclass(frozen=True)
class Truth:
    """Shares of requests that fail, from 0 to 1.

    `trouble` says how errors come together; their share stays the same. `burst` more requests fail within
    five seconds at a random time: all of them the challenger's, or, when the burst is `shared`, of either
    version by its weight.
    """

    name: str
    champion: float
    challenger: float
    trouble: Trouble | None = None
    burst: int = 0
    shared: bool = False


@dataclass(frozen=True)
class Schedule:
    """The challenger's weight in percent, for each minute."""

    name: str
    weights: tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One cell of the grid; `rate` is requests a second to both versions together."""

    truth: Truth
    schedule: Schedule
    rate: float


FIXED = Schedule("weight 10", (10,) * MINUTES)
HALF = Schedule("weight 50", (50,) * MINUTES)
RAMP = Schedule("weights 5, 10, 25, 50", (5,) * 5 + (10,) * 5 + (25,) * 5 + (50,) * 15)


def rollouts(case: Case, runs: int, seed: int, block: int = 0) -> Iterator[Traffic]:
    """`runs` independent rollouts of a case, others in each `block`."""
    random = np.random.default_rng([seed, block, *repr(case).encode()])
    weights = np.repeat(np.array(case.schedule.weights) / 100, 60)
    shares = np.stack([1 - weights, weights], axis=1)
    for _ in range(runs):
        yield _rollout(case, shares, random)


def _rollout(case: Case, shares: NDArray[np.float64], random: np.random.Generator) -> Traffic:
    truth = case.truth
    failing = np.array([truth.champion, truth.challenger])
    requests = random.poisson(case.rate * shares)
    if truth.trouble is None:
        errors = random.binomial(requests, failing)
    else:
        errors = truth.trouble.failed(requests, shares, failing, case.rate, random)
    if truth.burst:
        burst = _burst(truth, shares, random)
        requests, errors = requests + burst, errors + burst
    return np.stack([np.maximum(requests, errors), errors], axis=2)


def _burst(truth: Truth, shares: NDArray[np.float64], random: np.random.Generator) -> Traffic:
    """Failed requests of the burst by second and version."""
    begin = random.integers(len(shares) - BURST_SECONDS)
    found = np.zeros(shares.shape, dtype=np.int64)
    seconds = begin + random.integers(BURST_SECONDS, size=truth.burst)
    versions = random.random(truth.burst) < shares[begin, CHALLENGER] if truth.shared else CHALLENGER
    np.add.at(found, (seconds, np.asarray(versions, dtype=np.int64)), 1)
    return found
