"""The counters in Prometheus' words: built at each scrape from the same vector that the operator reads.

In: the loaded models. Out: the text format. Invariants: every bin is there from the start, at 0
(the increase of a series that first appears at 500 is 0); at most FEATURES features are exported bin by bin.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from noria_serving.reference import Bins

if TYPE_CHECKING:
    from noria_serving.counters.latency import Histogram
    from noria_serving.server.models import Models
    from noria_serving.server.service import Service

FEATURES: Final = 20
OUTCOMES: Final = {"ok": "success", "client_error": "client_error", "server_error": "server_error"}


class Exporter(Collector):
    """A collector of all models in a registry of its own."""

    content_type: Final = CONTENT_TYPE_PLAIN_0_0_4.encode()

    def __init__(self, models: Models) -> None:
        self._models = models
        self._limit = int(os.environ.get("NORIA_METRICS_FEATURES", FEATURES))
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def render(self) -> bytes:
        return bytes(generate_latest(self._registry))

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for service in self._models.services():
            for family in _Families(service, self._limit).collect():
                families.setdefault(family.name, family)
                if families[family.name] is not family:
                    families[family.name].samples.extend(family.samples)
        return iter(families.values())


class _Families:
    """What one served version has to say."""

    def __init__(self, service: Service, limit: int) -> None:
        self._service = service
        self._labels = [service.settings.model, service.settings.version]
        self._limit = limit

    def collect(self) -> Iterator[Metric]:
        service = self._service
        service.recorder.fold()
        counts = service.recorder.state.as_json(service.recorder.state.vector)
        yield from self._traffic(service, counts)
        yield from self._bins(service, counts)
        yield from self._feedback(counts)

    def _traffic(self, service: Service, counts: dict[str, Any]) -> Iterator[Metric]:
        requests = self._counter("model_requests", "Inference requests answered, by outcome.", "outcome")
        for key, outcome in OUTCOMES.items():
            requests.add_metric([*self._labels, outcome], counts["requests"][key])
        yield requests
        predictions = self._counter("model_predictions", "Rows predicted, by outcome.", "outcome")
        predictions.add_metric([*self._labels, "success"], counts["predictions"])
        yield predictions
        yield self._histogram(
            "model_request_duration_seconds", "Inference requests, body to answer.", service.latency
        )
        yield self._histogram("model_inference_duration_seconds", "The model alone.", service.inference)
        in_flight = self._gauge("model_requests_in_flight", "Requests being answered.")
        in_flight.add_metric(self._labels, service.in_flight)
        yield in_flight
        loaded = self._gauge("model_loaded_timestamp_seconds", "When the model became ready.")
        loaded.add_metric(self._labels, service.loaded_at)
        yield loaded
        info = self._gauge("model_info", "1; what is served.", "deployment", "format", "task", "digest")
        manifest = service.loaded.manifest
        info.add_metric(
            [*self._labels, service.settings.deployment, manifest.format, manifest.task, manifest.digest], 1
        )
        yield info
        overhead = self._counter(
            "model_stats_overhead_seconds", "Time spent on counting features and predictions."
        )
        overhead.add_metric(self._labels, service.recorder.overhead)
        yield overhead

    def _bins(self, service: Service, counts: dict[str, Any]) -> Iterator[Metric]:
        reference = service.loaded.reference
        bins = self._counter("model_feature_bin", "Values by frozen bin of the version.", "feature", "bin")
        missing = self._counter("model_feature_missing", "Missing values.", "feature")
        unseen = self._counter("model_feature_unseen", "Categories the reference does not know.", "feature")
        beyond = self._counter(
            "model_feature_out_of_range", "Values outside the reference's.", "feature", "side"
        )
        ratio = self._gauge("model_feature_reference_ratio", "Smoothed share of a bin.", "feature", "bin")
        samples = self._gauge("model_feature_reference_samples", "Reference values in bins.", "feature")
        critical = self._gauge("model_feature_chi2_critical", "Noise floor times 1/(1/n+1/m).", "feature")
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
        yield from (bins, missing, unseen, beyond, ratio, samples, critical)
        prediction = self._counter("model_prediction_bin", "Predictions by frozen bin.", "bin")
        for label, count in zip(reference.prediction.labels(), counts["prediction"]["bins"], strict=True):
            prediction.add_metric([*self._labels, label], count)
        yield prediction

    def _feedback(self, counts: dict[str, Any]) -> Iterator[Metric]:
        feedback = self._counter(
            "model_feedback", "Feedback items by outcome; late ones are matched too.", "outcome"
        )
        for outcome, count in counts["feedback"].items():
            feedback.add_metric([*self._labels, outcome], count)
        yield feedback
        delay = SummaryMetricFamily(
            "model_label_delay_seconds", "From prediction to label.", labels=["model", "version"]
        )
        delay.add_metric(self._labels, counts["label_delay"]["count"], counts["label_delay"]["sum"])
        yield delay
        confusion = CounterMetricFamily(
            "model_confusion",
            "Labelled rows at a threshold of one half.",
            labels=["model", "version", "actual", "predicted"],
        )
        for version, scores in counts["scores"].items():
            for actual, key in (("0", "negatives"), ("1", "positives")):
                middle = len(scores[key]) // 2
                for predicted, part in (("0", scores[key][:middle]), ("1", scores[key][middle:])):
                    confusion.add_metric([self._labels[0], version, actual, predicted], sum(part))
        yield confusion

    def _counter(self, name: str, text: str, *labels: str) -> CounterMetricFamily:
        return CounterMetricFamily(name, text, labels=["model", "version", *labels])

    def _gauge(self, name: str, text: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(name, text, labels=["model", "version", *labels])

    def _histogram(self, name: str, text: str, values: Histogram) -> HistogramMetricFamily:
        family = HistogramMetricFamily(name, text, labels=["model", "version"])
        family.add_metric(self._labels, buckets=values.cumulative(), sum_value=values.total)
        return family


def _shares(feature: Bins) -> list[float]:
    total = sum(feature.counts) + 0.5 * feature.size
    return [(count + 0.5) / total for count in feature.counts]
