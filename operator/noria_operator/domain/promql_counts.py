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
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

from noria_operator.domain.promql_samples import Life, Moment, Process, WrongCounts, number
from noria_operator.domain.query_templates import escaped
from noria_serving.contract import COUNTS_METRIC, STARTED_METRIC

LOOKBACK: Final = 300.0
"""Seconds for which Prometheus takes a sample for the value of now, unless it knows that the series ended."""
LONGEST_ROW: Final = 65_536
"""Counts in one row; the longest of ours have some thousand."""
AT_ONCE: Final = 8
"""Moments that one question asks about: each reads all series of a pod at least, of a thousand features some
13,000, in a third of a second on a busy machine.
"""
MOST_MOMENTS: Final = 64 * AT_ONCE
"""Of a window: one or two a restart or a pod that went; all others have two in common."""

Row = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Term:
    """What processes had counted at moments, summed up; added or, with `sign` -1, taken away."""

    sign: int
    moments: tuple[Moment, ...]

    @property
    def newest(self) -> float:
        """The last of its moments."""
        return max(one.at for one in self.moments)


def started(namespace: str, deployment: str, pods: Iterable[str] = ()) -> str:
    """Since when each process counts."""
    return f"{STARTED_METRIC}{_labels(namespace, deployment, pods)}"


def samples(namespace: str, deployment: str, pods: Iterable[str], *, seconds: float) -> str:
    """All samples of that in the last so many seconds."""
    return f"{started(namespace, deployment, pods)}[{_range(seconds)}]"


def changes(namespace: str, deployment: str, *, seconds: float) -> str:
    """How often each pod began anew; every pod with a sample answers."""
    return f"changes({started(namespace, deployment)}[{_range(seconds)}])"


def sampled(namespace: str, deployment: str, pods: Iterable[str], *, seconds: float) -> str:
    """How many samples of that there are."""
    return f"count_over_time({samples(namespace, deployment, pods, seconds=seconds)})"


def sums(namespace: str, deployment: str, moments: Sequence[Moment]) -> str:
    """All that pods had counted at each one's moment; of a single one, which may be asked as of then, at the
    time of the question. Beside it, since when the process of each pod counted then: who answers without
    some of them, or with others, is found out (`promql_samples.witnessed`).
    """
    place = namespace, deployment
    if len(moments) == 1:
        labels = _labels(*place, moments[0].pods)
        return (
            f"sum by (place, index, of) ({COUNTS_METRIC}{labels}) or max by (pod) ({STARTED_METRIC}{labels})"
        )
    counted, told = (_at_each(metric, place, moments) for metric in (COUNTS_METRIC, STARTED_METRIC))
    return f"sum by (place, index, of) ({counted}) or max by (pod, moment) ({told})"


def _at_each(metric: str, place: tuple[str, str], moments: Sequence[Moment]) -> str:
    """One pod may be asked about at several moments, and its series are to stay apart."""
    return _either(
        [
            f'label_replace({metric}{_labels(*place, one.pods)} @ {one.at:.3f}, "moment", "{number}", "", "")'
            for number, one in enumerate(moments)
        ]
    )


def _either(vectors: Sequence[str]) -> str:
    """All series of all vectors; in halves, so that each is compared with few others."""
    if len(vectors) == 1:
        return vectors[0]
    middle = len(vectors) // 2
    return f"({_either(vectors[:middle])} or {_either(vectors[middle:])})"


def _labels(namespace: str, deployment: str, pods: Iterable[str] = ()) -> str:
    found = f'namespace="{escaped(namespace)}",deployment="{escaped(deployment)}"'
    wanted = "|".join(map(re.escape, sorted(pods)))
    return f'{{{found},pod=~"{escaped(wanted)}"}}' if wanted else f"{{{found}}}"


def _range(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"


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

    def knows(self, life: Life) -> bool:
        """Whether all that a process counted in the window can be told, and not only what it did after its
        first sample: it was there when the window began, or had counted nothing before.
        """
        return self.started.get(life.pod) == life.started or self.whole(life.pod, life.started)


def plain(before: Beginning, after: Mapping[str, float], changed: Mapping[str, float]) -> dict[str, float]:
    """Pods that one process of was there until the end of the window, with since when it counts, and what it
    had counted when that began is known; of all others, every sample of `STARTED_METRIC` has to be looked at.
    """
    return {
        pod: value
        for pod, value in after.items()
        if not changed.get(pod)
        and (before.started.get(pod) == value or (pod not in before.started and before.whole(pod, value)))
    }


def terms(before: Beginning, simple: Mapping[str, float], others: Iterable[Life], until: float) -> list[Term]:
    """What adds up to the counts of the window; `simple` pods are those of `plain`."""
    since = before.since
    wanted: dict[tuple[int, float], set[Process]] = defaultdict(set)
    for one in map(Process._make, simple.items()):
        wanted[1, until].add(one)
        if one.pod in before.started:
            wanted[-1, since].add(one)
    for life in others:
        wanted[1, life.last].add(life.process)
        if before.started.get(life.pod) == life.started:
            wanted[-1, since].add(life.process)
        elif not before.whole(life.pod, life.started):
            wanted[-1, life.first].add(life.process)
    if len(wanted) > MOST_MOMENTS:
        raise WrongCounts(
            f"its pods began anew or went too often in this window (more than {MOST_MOMENTS // 2} times)"
        )
    return list(_together(wanted, since, until))


def _together(wanted: Mapping[tuple[int, float], set[Process]], since: float, until: float) -> Iterator[Term]:
    """As few questions as may be. The ends of the window have one each; so that answers about the past can be
    kept, its moments go together from the oldest on, whatever comes after them.
    """
    for sign in (-1, 1):
        moments = sorted(Moment(at, tuple(sorted(some))) for (s, at), some in wanted.items() if s == sign)
        ends = [one for one in moments if one.at in (since, until)]
        between = [one for one in moments if one.at not in (since, until)]
        past = [one for one in between if one.at < until - LOOKBACK]
        for some in (past, between[len(past) :]):
            yield from (Term(sign, tuple(some[at : at + AT_ONCE])) for at in range(0, len(some), AT_ONCE))
        yield from (Term(sign, (one,)) for one in ends)


def rows(vector: Iterable[Any]) -> dict[str, Row]:
    """The counts by place in an answer to `sums`, of what `witnessed` left in it."""
    found: dict[str, list[int]] = {}
    for sample in vector:
        labels = sample["metric"]
        index, length = int(labels["index"]), int(labels["of"])
        count = number(sample["value"][1])
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
