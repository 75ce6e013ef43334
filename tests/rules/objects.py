"""Series as the operator makes them of its objects, for promtool.

Comes in: what the objects are from which minute on. Goes out: one series for each sample of the operator's
collector, absent while it is not told. Invariant: promtool's time begins at 1970, and so does the operator's.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.rules.promtool import series

from noria_operator.kube.store import Store
from noria_operator.state_metrics.collector import Objects

Json = dict[str, Any]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Phase = tuple[int, Sequence[Json]]


def told(minute: int, objects: Sequence[Json]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What a scrape of the leader gives at that minute."""
    store = Store()
    for number, one in enumerate(objects):
        meta = {"uid": str(number), "resourceVersion": "1", **one["metadata"]}
        store.observe("ADDED", one | {"metadata": meta})
    found = Objects(store, lambda: True, lambda: EPOCH + timedelta(minutes=minute)).collect()
    samples = (sample for family in found for sample in family.samples)
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for one in samples}


def recorded(until: int, *phases: Phase) -> list[Json]:
    """Series up to a minute; objects are as a phase says from its minute on."""
    ends = [minute for minute, _ in phases[1:]] + [until + 1]
    spans = [
        (told(minute, objects), end - minute) for (minute, objects), end in zip(phases, ends, strict=True)
    ]
    keys = sorted({key for samples, _ in spans for key in samples})
    before = f"_x{phases[0][0]} " if phases[0][0] else ""
    return [
        series(
            name,
            before + " ".join(_values(one.get((name, labels)), each) for one, each in spans),
            **dict(labels),
        )
        for name, labels in keys
    ]


def _values(value: float | None, length: int) -> str:
    return f"_x{length}" if value is None else f"{value:g}x{length - 1}"
