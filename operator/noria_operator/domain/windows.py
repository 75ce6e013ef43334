"""From the routers' ever-growing counts to windows that the judge can weigh.

Comes in: cumulative counts per router pod and cluster, and the marks kept when the last window closed. Goes
out: what was added since, summed over pods. Invariant: no request is counted in two windows, whichever
process reads it, because the marks are persisted together with the evidence that used them.
"""

from __future__ import annotations

from collections.abc import Mapping

from noria_operator.domain.verdict import Counts, Window

Marks = Mapping[str, Mapping[str, Counts]]
"""Cumulative counts by uid of the router pod and name of the Envoy cluster."""
SILENT = 16
"""Pods that do not answer whose marks are kept, unless more answer."""


def since(marks: Marks, counts: Marks, *, champion: str, challenger: str) -> Window:
    """What both clusters answered between `marks` and `counts`."""
    window = Window()
    for pod, clusters in counts.items():
        # A pod that was never seen may have counted since long before this rollout: it starts with this
        # reading.
        seen = marks.get(pod)
        if seen is not None:
            window = Window(
                window.champion + _added(seen, clusters, champion),
                window.challenger + _added(seen, clusters, challenger),
            )
    return window


def mark(counts: Marks, *clusters: str) -> dict[str, dict[str, Counts]]:
    """The marks worth keeping: the two arms of every pod that answered."""
    return {pod: {name: seen.get(name, Counts()) for name in clusters} for pod, seen in counts.items()}


def merge(marks: Marks, counts: Marks, *clusters: str) -> dict[str, dict[str, Counts]]:
    """`marks` for pods that are already known, a new mark for pods that are not."""
    return {**mark(counts, *clusters), **{pod: dict(seen) for pod, seen in lately(marks, counts).items()}}


def lately(marks: Marks, counts: Marks) -> Marks:
    """The marks to keep: where another pod comes, of those that do not answer no more than of those that do.

    They may be gone for good, as one pod after the other is in a rollout of weeks; one that answers again
    starts with that reading.
    """
    if counts.keys() <= marks.keys():
        return marks
    dropped = set(sorted(marks.keys() - counts.keys())[max(SILENT, len(counts)) :])
    return {pod: seen for pod, seen in marks.items() if pod not in dropped}


def _added(before: Mapping[str, Counts], after: Mapping[str, Counts], cluster: str) -> Counts:
    """Growth of each counter by itself: Envoy counts requests and errors one after the other, and a reading
    between the two must not make everything counted before look new."""
    old, new = before.get(cluster, Counts()), after.get(cluster, Counts())
    requests = _grown(old.requests, new.requests)
    errors = min(_grown(old.errors, new.errors), requests)
    refused = min(_grown(old.refused, new.refused), requests - errors)
    return Counts(requests, errors, refused)


def _grown(old: int, new: int) -> int:
    """A smaller figure than before means that the counter began again from zero."""
    return new if new < old else new - old
