"""The counters in Prometheus' words: built at each scrape from the same vector that the operator reads.

In: the loaded models. Out: the text format. Invariants: every bin is there from the start, at 0, and so are
labels of the version itself (the increase of a series that first appears at 500 is 0); no series is there
twice; at most FEATURES features are exported bin by bin.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate, chain, product
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from noria_serving.contract import DELAY_BOUNDS, ERRORS, SCORE_BINS
from noria_serving.counters import catalogue
from noria_serving.counters import prometheus_calibration as calibration
from noria_serving.counters import prometheus_slices as slices
from noria_serving.quality import spelling
from noria_serving.reference import Bins

if TYPE_CHECKING:
    from noria_serving.counters.latency import Histogram
    from noria_serving.payload.log import PayloadLog
    from noria_serving.server.models import Models
    from noria_serving.server.service import Service

FEATURES: Final = 20
OUTCOMES: Final = {"ok": "success", "client_error": "client_error", "server_error": "server_error"}


class Exporter(Collector):
    """A collector of all models, beside that of the process, in a registry of its own."""

    content_type: Final = CONTENT_TYPE_PLAIN_0_0_4.encode()

    def __init__(self, models: Models) -> None:
        self._models = models
        self._limit = int(os.environ.get("NORIA_METRICS_FEATURES", FEATURES))
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        return bytes(generate_latest(self._registry))

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for service in self._models.services():
            for family in _Families(service, self._limit).collect():
                first = families.setdefault(family.name, family)
                if first is not family:
                    first.samples = _added_up([*first.samples, *family.samples])
        return chain(families.values(), [self._connections(), self._restarts()])

    def _connections(self) -> Metric:
        lost = catalogue.CONNECTIONS_LOST.counter()
        for reason, count in self._models.patience.lost.items():
            lost.add_metric([reason], count)
        return lost

    def _restarts(self) -> Metric:
        restarts = catalogue.RESTARTS.counter()
        restarts.add_metric([], self._models.restarts)
        return restarts


def _added_up(samples: Iterable[Sample]) -> list[Sample]:
    """One a series: labels of a version are counted by whichever version took them."""
    found: dict[tuple[str, ...], Sample] = {}
    for sample in samples:
        series = (sample.name, *sample.labels.values())
        other = found.get(series)
        found[series] = sample._replace(value=sample.value + other.value) if other else sample
    return list(found.values())


class _Families:
    """What one served version has to say."""

    def __init__(self, service: Service, limit: int) -> None:
        self._service = service
        self._labels = [service.settings.model, service.settings.version]
        self._limit = limit

    def collect(self) -> Iterator[Metric]:
        service = self._service
        service.recorder.fold()
        counts = self._with_own(service.recorder.state.as_json(service.recorder.state.vector))
        yield from self._traffic(service, counts)
        yield from self._admission(service)
        yield from self._bins(service, counts)
        yield from self._feedback(counts)
        yield from calibration.families(service.settings.model, self._scored(counts["scores"]))
        yield from self._errors(counts, service.recorder.state.units)
        yield from slices.families(service, counts)
        yield from self._payload(service.payload)

    def _with_own(self, counts: dict[str, Any]) -> dict[str, Any]:
        """The same with labels of this version, none yet, where there can be any."""
        manifest, version = self._service.loaded.manifest, self._service.settings.version
        if self._service.desk.keys.ring is None:
            return counts
        if manifest.task == "regression":
            counts["errors"].setdefault(version, dict.fromkeys(ERRORS, 0))
            return counts
        counts["scores"].setdefault(version, dict.fromkeys(("negatives", "positives"), [0] * SCORE_BINS))
        return counts

    def _scored(self, scores: Mapping[str, Mapping[str, list[int]]]) -> dict[str, Mapping[str, list[int]]]:
        """Those of versions that give probabilities: of another version's labels, by scores that are neither
        0 nor 1, as those of labels alone are.
        """
        own, labels_only = self._service.settings.version, self._service.loaded.scoring.labels_only
        return {
            version: counts
            for version, counts in scores.items()
            if (not labels_only if version == own else any(any(side[1:-1]) for side in counts.values()))
        }

    def _traffic(self, service: Service, counts: dict[str, Any]) -> Iterator[Metric]:
        requests = catalogue.REQUESTS.counter()
        for key, outcome in OUTCOMES.items():
            requests.add_metric([*self._labels, outcome], counts["requests"][key])
        yield requests
        predictions = catalogue.PREDICTIONS.counter()
        predictions.add_metric([*self._labels, "success"], counts["predictions"])
        yield predictions
        yield self._histogram(catalogue.REQUEST_SECONDS, service.latency)
        yield self._histogram(catalogue.INFERENCE_SECONDS, service.inference)
        yield self._gauge(catalogue.IN_FLIGHT, service.in_flight)
        yield self._gauge(catalogue.LOADED, service.loaded_at)
        manifest = service.loaded.manifest
        named = (service.settings.deployment, manifest.format, manifest.task, manifest.digest)
        yield self._gauge(catalogue.INFO, 1, *named)
        overhead = catalogue.OVERHEAD.counter()
        overhead.add_metric(self._labels, service.recorder.overhead)
        yield overhead

    def _admission(self, service: Service) -> Iterator[Metric]:
        refused = catalogue.REJECTED.counter()
        for reason, count in service.admission.refused.items():
            refused.add_metric([*self._labels, reason], count)
        yield refused
        yield self._gauge(catalogue.WAITING, service.admission.waiting)
        yield self._histogram(catalogue.BATCH_ROWS, service.line.rows)

    def _bins(self, service: Service, counts: dict[str, Any]) -> Iterator[Metric]:
        reference = service.loaded.reference
        bins, missing = catalogue.FEATURE_BIN.counter(), catalogue.FEATURE_MISSING.counter()
        unseen, beyond = catalogue.FEATURE_UNSEEN.counter(), catalogue.OUT_OF_RANGE.counter()
        ratio, samples = catalogue.REFERENCE_RATIO.gauge(), catalogue.REFERENCE_SAMPLES.gauge()
        critical, absent = catalogue.CRITICAL.gauge(), catalogue.REFERENCE_MISSING.gauge()
        infinite = catalogue.REFERENCE_INFINITE.gauge()
        for feature in reference.features[: self._limit]:
            own, values = [*self._labels, feature.name], counts["features"][feature.name]
            for label, count in zip(feature.labels(), values["bins"], strict=True):
                bins.add_metric([*own, label], count)
            missing.add_metric(own, values["missing"])
            unseen.add_metric(own, values["unseen"])
            for side in ("low", "high"):
                beyond.add_metric([*own, side], values[side])
            for label, share in zip(feature.labels(), _shares(feature), strict=True):
                ratio.add_metric([*own, label], share)
            samples.add_metric(own, sum(feature.counts))
            critical.add_metric(own, feature.chi2_critical)
            trained = max(1, feature.missing + sum(feature.counts))
            absent.add_metric(own, feature.missing / trained)
            infinite.add_metric(own, feature.infinite / trained)
        yield from (bins, missing, unseen, beyond, ratio, samples, critical, absent, infinite)
        for family, name in ((catalogue.DUPLICATES_CHECKED, "rows"), (catalogue.DUPLICATES, "equal")):
            double = family.counter()
            double.add_metric(self._labels, counts["duplicates"][name])
            yield double
        yield from self._predictions(reference.prediction, counts["prediction"]["bins"])

    def _predictions(self, reference: Bins, counts: list[int]) -> Iterator[Metric]:
        bins, ratio = catalogue.PREDICTION_BIN.counter(), catalogue.PREDICTION_RATIO.gauge()
        for label, count, share in zip(reference.labels(), counts, _shares(reference), strict=True):
            bins.add_metric([*self._labels, label], count)
            ratio.add_metric([*self._labels, label], share)
        yield from (bins, ratio)
        yield self._gauge(catalogue.PREDICTION_SAMPLES, sum(reference.counts))
        yield self._gauge(catalogue.PREDICTION_CRITICAL, reference.chi2_critical)

    def _feedback(self, counts: dict[str, Any]) -> Iterator[Metric]:
        feedback = catalogue.FEEDBACK.counter()
        for outcome, count in counts["feedback"].items():
            feedback.add_metric([*self._labels, outcome], count)
        yield feedback
        delay, delays = catalogue.DELAY.histogram(), counts["label_delay"]
        bounds = [*map(str, map(float, DELAY_BOUNDS)), "+Inf"]
        upto = list(zip(bounds, map(float, accumulate(delays["buckets"])), strict=True))
        delay.add_metric(self._labels, buckets=upto, sum_value=delays["sum"])
        yield delay
        confusion = catalogue.CONFUSION.counter()
        for version, scores in counts["scores"].items():
            table = counts["confusion"].get(version)
            for actual, predicted, rows in self._called(scores, table):
                confusion.add_metric([self._labels[0], version, actual, predicted], rows)
        yield confusion

    def _called(
        self, scores: Mapping[str, list[int]], table: list[int] | None
    ) -> Iterator[tuple[str, str, int]]:
        """(true class, predicted class, rows); of several, what is in no table: the predicted one, others."""
        manifest = self._service.loaded.manifest
        if table:
            names = [spelling(value) for value in manifest.classes]
            pairs = product(names, names)
            yield from ((*pair, rows) for pair, rows in zip(pairs, table, strict=True))
            yield "other", "predicted", sum(scores["negatives"]) + sum(scores["positives"]) - sum(table)
        elif manifest.task == "multiclass":
            yield "predicted", "predicted", sum(scores["positives"])
            yield "other", "predicted", sum(scores["negatives"])
        else:
            for actual, key in (("0", "negatives"), ("1", "positives")):
                middle = len(scores[key]) // 2
                yield actual, "0", sum(scores[key][:middle])
                yield actual, "1", sum(scores[key][middle:])

    def _errors(self, counts: dict[str, Any], units: Mapping[str, float]) -> Iterator[Metric]:
        labelled, absolute = catalogue.LABELLED.counter(), catalogue.ERRORS.counter()
        squared, clipped = catalogue.SQUARED.counter(), catalogue.CLIPPED.counter()
        for version, errors in counts["errors"].items():
            own, unit = [self._labels[0], version], units.get(version, 1.0)
            labelled.add_metric(own, errors["count"])
            for side in ("over", "under"):
                absolute.add_metric([*own, side], errors[side] * unit)
            squared.add_metric(own, errors["squared"] * unit**2)
            clipped.add_metric(own, errors["clipped"])
        yield from (labelled, absolute, squared, clipped)

    def _payload(self, log: PayloadLog | None) -> Iterator[Metric]:
        written, dropped = catalogue.LOG_WRITTEN.counter(), catalogue.LOG_DROPPED.counter()
        failures = catalogue.LOG_FAILURES.counter()
        if log is not None:
            written.add_metric(self._labels, log.written)
            for reason, rows in log.dropped.items():
                dropped.add_metric([*self._labels, reason], rows)
            failures.add_metric(self._labels, log.failures)
        yield from (written, dropped, failures)

    def _gauge(self, family: catalogue.Family, value: float, *labels: str) -> Metric:
        made = family.gauge()
        made.add_metric([*self._labels, *labels], value)
        return made

    def _histogram(self, family: catalogue.Family, values: Histogram) -> Metric:
        made = family.histogram()
        made.add_metric(self._labels, buckets=values.cumulative(), sum_value=values.total)
        return made


def _shares(feature: Bins) -> list[float]:
    total = sum(feature.counts) + 0.5 * feature.size
    return [(count + 0.5) / total for count in feature.counts]
