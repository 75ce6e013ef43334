"""Answers of a Prometheus about the processes of pods: which there were, and from when to when.

Comes in: vectors and matrices of `STARTED_METRIC`, whose value is another one for each process. Goes out:
values by pod, lives of processes, pods in groups whose samples fit into one answer. Invariant: what is not
understood is refused with a reason; what was read once need not be read again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import isfinite
from typing import Any, Final, NamedTuple

SAMPLES_AT_ONCE: Final = 150_000
"""Of one answer: about 6 MB."""


class WrongCounts(ValueError):
    """An answer that counts cannot be taken from; the message says why, and what to do."""


class OtherProcesses(WrongCounts):
    """What was counted at a moment is not that of the processes that were asked about.

    Replicas scrape at different times, and which one's samples a source answers with depends on the question
    (Thanos decides it anew where the range of each begins): a process that was seen just once may be told of
    by one answer, and the one before it by the next.
    """

    def __init__(self, processes: Collection[Process]) -> None:
        pods = ", ".join(sorted({one.pod for one in processes})[:3])
        super().__init__(f"its answers about {pods} are not of one process: do its replicas tell the same?")
        self.processes = frozenset(processes)


class Process(NamedTuple):
    """Of a pod, since when it counts; another one has another time."""

    pod: str
    started: float


class Moment(NamedTuple):
    """When to look at what these processes had counted; one a pod."""

    at: float
    processes: tuple[Process, ...]

    @property
    def pods(self) -> tuple[str, ...]:
        """Their pods."""
        return tuple(one.pod for one in self.processes)


@dataclass(frozen=True, slots=True)
class Life:
    """Samples of one process of a pod within the window: the first and the last one."""

    pod: str
    started: float
    first: float
    last: float

    @property
    def process(self) -> Process:
        """Whose samples they are."""
        return Process(self.pod, self.started)


def by_pod(vector: Iterable[Any]) -> dict[str, float]:
    """The value of each pod in an answer."""
    found: dict[str, float] = {}
    for sample in vector:
        pod = _pod(sample)
        if pod in found:
            raise WrongCounts(
                f"two series tell of pod {pod}: scrape it once, or ask a source that removes duplicates"
            )
        found[pod] = number(sample["value"][1])
    return found


def witnessed(vector: Iterable[Any], moments: Sequence[Moment]) -> list[Any]:
    """The counts in an answer to `promql_counts.sums`, if it is of exactly the processes that were asked
    about; raises `WrongCounts` where one is missing, `OtherProcesses` where it is another one.
    """
    told: dict[tuple[str, str], float] = {}
    counts = []
    for sample in vector:
        if (pod := sample["metric"].get("pod")) is None:
            counts.append(sample)
        else:
            told[sample["metric"].get("moment", "0"), pod] = number(sample["value"][1])
    wanted = {(str(n), one.pod): one for n, moment in enumerate(moments) for one in moment.processes}
    if missing := sorted({pod for _, pod in wanted.keys() - told.keys()}):
        raise WrongCounts(
            f"it does not tell what {', '.join(missing[:3])} had counted: is a store of it away?"
        )
    if others := [one for key, one in wanted.items() if told[key] != one.started]:
        raise OtherProcesses(others)
    return counts


def lives(matrix: Iterable[Any]) -> list[Life]:
    """The processes that samples of `STARTED_METRIC` tell of."""
    found: list[Life] = []
    for series in matrix:
        pod = _pod(series)
        for value, of_one in groupby(series["values"], key=lambda sample: number(sample[1])):
            times = [float(at) for at, _ in of_one]
            found.append(Life(pod, value, times[0], times[-1]))
    return found


def joined(known: Iterable[Life], later: Iterable[Life]) -> list[Life]:
    """What was known of processes, and what later samples tell of them or of others."""
    found = {(one.pod, one.started): one for one in known}
    for one in later:
        before = found.get((one.pod, one.started), one)
        first, last = min(before.first, one.first), max(before.last, one.last)
        found[one.pod, one.started] = Life(one.pod, one.started, first, last)
    return list(found.values())


def packed(samples: Mapping[str, float]) -> Iterator[tuple[str, ...]]:
    """The pods in groups of at most `SAMPLES_AT_ONCE` samples, or of a single one that has more."""
    group: list[str] = []
    size = 0.0
    for pod, count in sorted(samples.items()):
        if group and size + count > SAMPLES_AT_ONCE:
            yield tuple(group)
            group, size = [], 0.0
        group.append(pod)
        size += count
    if group:
        yield tuple(group)


def number(text: Any) -> float:
    """A sample's value."""
    value = float(text)
    if not isfinite(value):
        raise WrongCounts(f"{text} is no count")
    return value


def _pod(series: Any) -> str:
    pod = series["metric"].get("pod")
    if not pod:
        raise WrongCounts("series have no label pod: the scrape configuration has to give it")
    return str(pod)
