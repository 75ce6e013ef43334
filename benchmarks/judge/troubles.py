"""Troubles of a service: errors that come together.

Comes in: requests, shares of them and of failures of both versions, the rate. Goes out: failed requests of
each second and version. Invariant: in the mean the share that fails is the one asked for, so that versions
with the same one are equally good.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Shares = NDArray[np.float64]
"""Of all requests, shape (seconds, 2 versions)."""
Failed = NDArray[np.int64]
"""Failed requests, as `Shares`."""
Failing = NDArray[np.float64]
"""Shares of the requests that fail, of each version."""
CHAMPION, CHALLENGER = 0, 1


class Trouble(Protocol):
    """One kind of trouble."""

    def failed(
        self, requests: Failed, shares: Shares, failing: Failing, rate: float, random: np.random.Generator
    ) -> Failed:
        """Failed requests, which may be more than there were `requests`: then these came with the trouble."""


@dataclass(frozen=True)
class Clusters:
    """Errors come in clusters of `size`, in one second of one version."""

    size: int

    def failed(
        self, requests: Failed, shares: Shares, failing: Failing, rate: float, random: np.random.Generator
    ) -> Failed:
        return self.size * random.poisson(requests * failing / self.size)


@dataclass(frozen=True)
class Retries:
    """A client whose request fails repeats it every `seconds`, `mean` times with the first in the mean
    (geometric); it stays with its version.
    """

    mean: float
    seconds: float

    def failed(
        self, requests: Failed, shares: Shares, failing: Failing, rate: float, random: np.random.Generator
    ) -> Failed:
        found = np.zeros(shares.shape, dtype=np.int64)
        begins = random.poisson(rate * shares * failing / self.mean)
        for second, version in np.argwhere(begins).repeat(begins[begins > 0], axis=0):
            times = second + (np.arange(random.geometric(1 / self.mean)) * self.seconds).astype(int)
            np.add.at(found, (times[times < len(shares)], version), 1)
        return found


@dataclass(frozen=True)
class Pods:
    """Each pod is away for `mean` seconds at a time (geometric), by itself; the challenger has one pod and
    the champion `champion`, which divide its requests.
    """

    champion: int
    mean: float = 3.0

    def failed(
        self, requests: Failed, shares: Shares, failing: Failing, rate: float, random: np.random.Generator
    ) -> Failed:
        away = np.zeros(shares.shape)
        for version, pods in ((CHAMPION, self.champion), (CHALLENGER, 1)):
            for _ in range(pods):
                away[_away(len(shares), failing[version], self.mean, random), version] += 1 / pods
        return random.binomial(requests, np.minimum(away, 1.0))


@dataclass(frozen=True)
class Blinks:
    """What both versions need is away for `mean` seconds at a time (geometric)."""

    mean: float = 3.0

    def failed(
        self, requests: Failed, shares: Shares, failing: Failing, rate: float, random: np.random.Generator
    ) -> Failed:
        away = _away(len(shares), failing[CHAMPION], self.mean, random)
        return np.where(away[:, None], requests, 0)


@dataclass(frozen=True)
class Windows:
    """The share that fails is drawn anew every ten seconds (beta, with this correlation of two requests),
    for each version by itself or for both.
    """

    correlation: float
    shared: bool = False

    def failed(
        self, requests: Failed, shares: Shares, failing: Failing, rate: float, random: np.random.Generator
    ) -> Failed:
        spread = 1 / self.correlation - 1
        mean = failing[:1] if self.shared else failing
        drawn = random.beta(mean * spread, (1 - mean) * spread, size=(len(shares) // 10, len(mean)))
        return random.binomial(requests, np.repeat(drawn, 10, axis=0))


def _away(seconds: int, share: float, mean: float, random: np.random.Generator) -> NDArray[np.bool_]:
    """Seconds in which something is away: `share` of them, a little less where two times meet."""
    away = np.zeros(seconds, dtype=np.bool_)
    for begin in np.flatnonzero(random.random(seconds) < share / mean):
        away[begin : begin + random.geometric(1 / mean)] = True
    return away
