"""Whether a model's errors became more frequent, from labels alone: an adaptive window on counts.

Comes in: counts of labels and of errors, batch after batch, in the order in which they were joined. Goes
out: whether the rate rose somewhere in what is remembered, and the memory to go on with. As in ADWIN (Bifet
and Gavaldà, SDM 2007) the memory is an exponential histogram: a few buckets of each size, so that a hundred
of them hold any number of labels; every boundary between buckets may be where the change was. Unlike ADWIN
the two sides are compared by the likelihood ratio of Bernoulli variables, which is exact for rare errors,
and only a rise counts; a fall is looked for once a rise was found, to see what has passed.

Invariants: what is remembered is bounded, and small enough for a status; after a change only what came after
it is remembered; a batch of any size is one step, so that it does not matter how often somebody looked, but
for the delay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import exp, log, pi, sqrt
from typing import Final, NamedTuple

PER_SIZE: Final = 5
"""Buckets of one size before the two oldest are joined."""
EVIDENCE: Final = 10.0
"""Natural logarithm of the likelihood ratio that is a change: benchmarks/drift measures what it costs."""
_OVERSHOOT: Final = 0.735
"""The integral of x nu(x)^2, with nu(x) = exp(-0.583 x): by how much steps leap over a level."""
_LOWEST, _HIGHEST = 3.0, 60.0
"""Evidence that may be asked for: below, the formula is no good; above, no double tells."""
LEAST: Final = 5
"""Errors after the change: fewer say nothing."""


class Bucket(NamedTuple):
    """Labels, and how many of them the model got wrong; `size` counts doublings."""

    labels: int
    errors: int
    size: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """What a look says: `before` and `after` are error rates around the likeliest change, `evidence` its
    likelihood ratio in nats, `labels` how many came after it.
    """

    found: bool
    evidence: float = 0.0
    before: float = 0.0
    after: float = 0.0
    labels: int = 0


def look(
    memory: Sequence[Bucket], evidence: float = EVIDENCE, *, falls: bool = False
) -> tuple[Change, tuple[Bucket, ...]]:
    """The likeliest rise in memory (or fall), and the memory to keep: after a change, what came after it."""
    whole = Bucket(sum(one.labels for one in memory), sum(one.errors for one in memory))
    best, cut = Change(found=False), 0
    sides = accumulate(memory, lambda sum_, one: Bucket(sum_.labels + one.labels, sum_.errors + one.errors))
    for place, old in enumerate(list(sides)[:-1], 1):
        new = Bucket(whole.labels - old.labels, whole.errors - old.errors)
        more, fewer = (old, new) if falls else (new, old)
        if more.errors < LEAST or more.errors * fewer.labels <= fewer.errors * more.labels:
            continue
        ratio = _likelihood(old) + _likelihood(new) - _likelihood(whole)
        if ratio > best.evidence:
            rates = old.errors / old.labels, new.errors / new.labels
            best, cut = Change(ratio > evidence, ratio, *rates, new.labels), place
    return best, tuple(memory[cut:]) if best.found else tuple(memory)


def false_alarms(evidence: float) -> float:
    """Changes that a look finds on average where there is none, at most.

    The likelihood ratio over all places of a change crosses x once in exp(x) sqrt(pi / x) / 0.735 looks on
    average (Siegmund and Venkatraman, Annals of Statistics 23, 1995, for normal means), half as often where
    rises alone count. The memory has fewer boundaries than there were looks, so that half of that is found.
    """
    return _OVERSHOOT * sqrt(evidence / pi) * exp(-evidence) / 2


def evidence_of(alarms: float) -> float:
    """The evidence with which a look gives no more false alarms than so many on average."""
    low, high = _LOWEST, _HIGHEST
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if false_alarms(middle) > alarms else (low, middle)
    return high


def remember(memory: Sequence[Bucket], labels: int, errors: int) -> tuple[Bucket, ...]:
    """The memory with one more batch; oldest buckets first, sizes never rise from old to new."""
    if not labels:
        return tuple(memory)
    kept = [*memory, Bucket(labels, errors)]
    size = 0
    while sum(one.size == size for one in kept) > PER_SIZE:
        first = next(place for place, one in enumerate(kept) if one.size == size)
        old, new = kept[first], kept[first + 1]
        kept[first : first + 2] = [Bucket(old.labels + new.labels, old.errors + new.errors, size + 1)]
        size += 1
    return tuple(kept)


def _likelihood(bucket: Bucket) -> float:
    """Logarithm of the largest likelihood that a rate of errors can have."""
    right = bucket.labels - bucket.errors
    return sum(count * log(count / bucket.labels) for count in (bucket.errors, right) if count)
