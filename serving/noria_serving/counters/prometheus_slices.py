"""Counts by slice in Prometheus' words.

In: a served version and its counts. Out: families. Invariants: every slice is there from the start, at 0;
labelled rows are those that this very version predicted, for which slices others have is not known here (the
operator, which reads every version's, adds all of them up).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prometheus_client.core import Metric

from noria_serving.counters import catalogue
from noria_serving.counters.state import CONFUSION, OF_SLICE
from noria_serving.slices import Slicing

if TYPE_CHECKING:
    from noria_serving.server.service import Service

Labels = Sequence[str]


def families(service: Service, counts: Mapping[str, Any]) -> Iterator[Metric]:
    """All that there is to say by slice; empty families without slicings."""
    version, state = service.settings.version, service.recorder.state
    known, task = service.loaded.reference.slices, service.loaded.manifest.task
    own = [service.settings.model, version]
    yield from _predictions(own, known, counts["slices"], binary=task == "binary")
    labels = counts["slice_errors" if task == "regression" else "slice_labels"].get(version, {})
    rows = [
        ([*own, one.feature, group], _numbers(labels, index, place))
        for index, one in enumerate(known)
        for place, group in enumerate(one.groups)
    ]
    regression = task == "regression"
    yield _confusion([] if regression else rows)
    yield from _errors(rows if regression else [], state.units.get(version, 1.0))


def _numbers(labels: Mapping[str, Any], index: int, place: int) -> Sequence[int]:
    counted: Sequence[int] = labels.get(str(index), {}).get(str(place), (0,) * OF_SLICE)
    return counted


def _predictions(
    own: Labels, slicings: Sequence[Slicing], counts: Mapping[str, Any], *, binary: bool
) -> Iterator[Metric]:
    total, positive = catalogue.SLICE_PREDICTIONS.counter(), catalogue.SLICE_POSITIVES.counter()
    for one in slicings:
        for place, group in enumerate(one.groups):
            total.add_metric([*own, one.feature, group], counts[one.feature]["total"][place])
            if binary:
                positive.add_metric([*own, one.feature, group], counts[one.feature]["positive"][place])
    yield from (total, positive)


def _confusion(rows: Sequence[tuple[Labels, Sequence[int]]]) -> Metric:
    made = catalogue.SLICE_CONFUSION.counter()
    for labels, numbers in rows:
        for names, count in zip(CONFUSION, numbers, strict=True):
            made.add_metric([*labels, *names], count)
    return made


def _errors(rows: Sequence[tuple[Labels, Sequence[int]]], unit: float) -> Iterator[Metric]:
    labelled, absolute = catalogue.SLICE_LABELLED.counter(), catalogue.SLICE_ERRORS.counter()
    for labels, (count, over, under, _) in rows:
        labelled.add_metric([*labels], count)
        absolute.add_metric([*labels, "over"], over * unit)
        absolute.add_metric([*labels, "under"], under * unit)
    yield from (labelled, absolute)
