"""Counts of a window from raw samples of a Prometheus: which questions, and what their answers add up to.

Comes in: since when each process counts (`STARTED_METRIC`), at both ends of the window and in between. Goes
out: terms, sums at a moment that are added or taken away. Invariants: `increase()` is not used, since it
extrapolates; a value is that of a sample, so windows that follow each other add up to what one long window
counts; a process that began anew is another one, and what its predecessor counted stays; what cannot be known
is left out, never counted twice.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby, zip_longest
from math import isfinite
from typing import Any, Final

from noria_operator.domain.query_templates import escaped
from noria_serving.contract import COUNTS_METRIC, STARTED_METRIC

LOOKBACK: Final = 300.0
"""Seconds for which Prometheus takes a sample for the value of now, unless it knows that the series ended."""
LONGEST_ROW: Final = 65_536
"""Counts in one row; the longest of ours have some thousand."""
MOST_TERMS: Final = 64
"""Moments that a window may ask for: two, and two more a restart or a pod that went at most."""

Row = tuple[int, ...]


class WrongCounts(ValueError):
    """An answer that counts cannot be taken from; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Term:
    """What these pods had counted at a moment, added or, with `sign` -1, taken away."""

    sign: int
    pods: tuple[str, ...]
    at: float


@dataclass(frozen=True, slots=True)
class Life:
    """Samples of one process of a pod within the window: the first and the last one."""

    pod: str
    started: float
    first: float
    last: float


def started(namespace: str, deployment: str, pods: Iterable[str] = ()) -> str:
    """Since when each process counts."""
    return f"{STARTED_METRIC}{_labels(namespace, deployment, pods)}"


def samples(namespace: str, deployment: str, pods: Iterable[str], *, seconds: float) -> str:
    """All samples of that in the last so many seconds."""
    return f"{started(namespace, deployment, pods)}[{_range(seconds)}]"


def changes(namespace: str, deployment: str, *, seconds: float) -> str:
    """How often each pod began anew; every pod with a sample answers."""
    return f"changes({started(namespace, deployment)}[{_range(seconds)}])"


def sums(namespace: str, deployment: str, pods: Iterable[str]) -> str:
    """All that these pods have counted."""
    return f"sum by (place, index, of) ({COUNTS_METRIC}{_labels(namespace, deployment, pods)})"


def _labels(namespace: str, deployment: str, pods: Iterable[str] = ()) -> str:
    found = f'namespace="{escaped(namespace)}",deployment="{escaped(deployment)}"'
    wanted = "|".join(map(re.escape, sorted(pods)))
    return f'{{{found},pod=~"{escaped(wanted)}"}}' if wanted else f"{{{found}}}"


def _range(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"


def by_pod(vector: Iterable[Any]) -> dict[str, float]:
    """The value of each pod in an answer."""
    found: dict[str, float] = {}
    for sample in vector:
        pod = _pod(sample)
        if pod in found:
            raise WrongCounts(
                f"two series tell of pod {pod}: scrape it once, or ask a source that removes duplicates"
            )
        found[pod] = _number(sample["value"][1])
    return found


def lives(matrix: Iterable[Any]) -> list[Life]:
    """The processes that samples of `STARTED_METRIC` tell of."""
    found: list[Life] = []
    for series in matrix:
        pod = _pod(series)
        for value, of_one in groupby(series["values"], key=lambda sample: _number(sample[1])):
            times = [float(at) for at, _ in of_one]
            found.append(Life(pod, value, times[0], times[-1]))
    return found


@dataclass(frozen=True, slots=True)
class Beginning:
    """What is known of pods when the window begins: since when each one's process counts, and which had
    samples in the time of `LOOKBACK` before that.
    """

    since: float
    started: Mapping[str, float]
    earlier: Collection[str] = ()

    def whole(self, pod: str, started: float) -> bool:
        """Whether all that a process without a value now ever counted is of this window. One that had samples
        before, though none now (a scrape that failed), was counted in the window before, up to the last.
        """
        young = pod not in self.earlier and started > self.since - LOOKBACK
        return started > self.since or young


def plain(before: Beginning, after: Mapping[str, float], changed: Mapping[str, float]) -> set[str]:
    """Pods that one process of was there until the end of the window, and what it had counted when that began
    is known; of all others, every sample of `STARTED_METRIC` has to be looked at.
    """
    return {
        pod
        for pod, value in after.items()
        if not changed.get(pod)
        and (before.started.get(pod) == value or (pod not in before.started and before.whole(pod, value)))
    }


def terms(before: Beginning, simple: Iterable[str], others: Iterable[Life], until: float) -> list[Term]:
    """What adds up to the counts of the window; `simple` pods are those of `plain`."""
    since = before.since
    wanted: dict[tuple[int, float], set[str]] = defaultdict(set)
    for pod in simple:
        wanted[1, until].add(pod)
        if pod in before.started:
            wanted[-1, since].add(pod)
    for life in others:
        wanted[1, life.last].add(life.pod)
        if before.started.get(life.pod) == life.started:
            wanted[-1, since].add(life.pod)
        elif not before.whole(life.pod, life.started):
            wanted[-1, life.first].add(life.pod)
    if len(wanted) > MOST_TERMS:
        raise WrongCounts(
            f"its pods began anew or went too often in this window (more than {MOST_TERMS // 2} times)"
        )
    return [Term(sign, tuple(sorted(pods)), at) for (sign, at), pods in sorted(wanted.items())]


def rows(vector: Iterable[Any]) -> dict[str, Row]:
    """The counts by place in an answer to `sums`."""
    found: dict[str, list[int]] = {}
    for sample in vector:
        labels = sample["metric"]
        index, length = int(labels["index"]), int(labels["of"])
        count = _number(sample["value"][1])
        row = found.setdefault(labels["place"], [])
        if not length:  # its place alone says something
            continue
        if count != int(count) or not 0 <= index < length <= LONGEST_ROW:
            raise WrongCounts(f"{labels['place']} has {count} at {index} of {length}, which is no count")
        row.extend([0] * (length - len(row)))
        row[index] += int(count)
    return {place: tuple(row) for place, row in found.items()}


def total(parts: Iterable[tuple[int, Mapping[str, Row]]]) -> dict[str, Row]:
    """The counts by place, from the sign and the rows of each term."""
    sums: dict[str, Row] = {}
    for sign, counted in parts:
        for place, row in counted.items():
            pairs = zip_longest(sums.get(place, ()), row, fillvalue=0)
            sums[place] = tuple(known + sign * count for known, count in pairs)
    for place, row in sums.items():
        if min(row, default=0) < 0:
            raise WrongCounts(f"{place} counted less at the end of the window than before it")
    return sums


def _pod(series: Any) -> str:
    pod = series["metric"].get("pod")
    if not pod:
        raise WrongCounts("series have no label pod: the scrape configuration has to give it")
    return str(pod)


def _number(text: Any) -> float:
    value = float(text)
    if not isfinite(value):
        raise WrongCounts(f"{text} is no count")
    return value
