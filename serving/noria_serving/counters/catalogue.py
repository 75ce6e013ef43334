"""Every metric of the model server, by name: the only place that says what there is.

In: nothing. Out: the families that the exporter fills (prometheus.py), and its part of docs/metrics.md.
Invariant: names and units follow Prometheus' conventions: one prefix, base units, `_total` on counters only;
nothing that a request brings stands in a name or label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

Kind = Literal["counter", "gauge", "histogram"]
COMMON: Final = ("model", "version")
"""Labels of every metric that is not of the whole process."""


@dataclass(frozen=True)
class Family:
    """One metric; `labels` beside the common ones."""

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()
    common: tuple[str, ...] = COMMON

    @property
    def every_label(self) -> list[str]:
        return [*self.common, *self.labels]

    def counter(self) -> CounterMetricFamily:
        """Empty, to be filled."""
        return CounterMetricFamily(self.name.removesuffix("_total"), self.text, labels=self.every_label)

    def gauge(self) -> GaugeMetricFamily:
        """Empty, to be filled."""
        return GaugeMetricFamily(self.name, self.text, labels=self.every_label)

    def histogram(self) -> HistogramMetricFamily:
        """Empty, to be filled."""
        return HistogramMetricFamily(self.name, self.text, labels=self.every_label)


REQUESTS: Final = Family(
    "model_requests_total", "counter", "Inference requests answered, by outcome.", ("outcome",)
)
PREDICTIONS: Final = Family("model_predictions_total", "counter", "Rows predicted, by outcome.", ("outcome",))
REQUEST_SECONDS: Final = Family(
    "model_request_duration_seconds", "histogram", "Inference requests, body to answer."
)
INFERENCE_SECONDS: Final = Family("model_inference_duration_seconds", "histogram", "The model alone.")
IN_FLIGHT: Final = Family("model_requests_in_flight", "gauge", "Requests being answered.")
WAITING: Final = Family("model_requests_waiting", "gauge", "Requests in line for the model's thread.")
REJECTED: Final = Family(
    "model_requests_rejected_total", "counter",
    "Requests that were in order and got no answer: `queue_full`, `wait`, `deadline`, `client_gone`.",
    ("reason",),
)  # fmt: skip
BATCH_ROWS: Final = Family("model_batch_rows", "histogram", "Rows in a call of the model by its thread.")
CONNECTIONS_LOST: Final = Family(
    "model_server_connections_lost_total", "counter", "Connections closed on clients that were too slow: "
    "`slow_request`, `slow_answer`. Of the process: without the labels of a version.", ("reason",), common=(),
)  # fmt: skip
RESTARTS: Final = Family(
    "model_server_restarts_total", "counter", "Processes that died after they were ready, and were replaced "
    "without an end of their container: without the labels of a version.", common=(),
)  # fmt: skip
LOADED: Final = Family("model_loaded_timestamp_seconds", "gauge", "When the model became ready.")
INFO: Final = Family("model_info", "gauge", "1; what is served.", ("deployment", "format", "task", "digest"))
OVERHEAD: Final = Family(
    "model_stats_overhead_seconds_total", "counter", "Time spent on folding features and predictions."
)
FEATURE_BIN: Final = Family(
    "model_feature_bin_total", "counter", "Values by frozen bin of the version.", ("feature", "bin")
)
FEATURE_MISSING: Final = Family(
    "model_feature_missing_total", "counter", "Missing values, in no bin.", ("feature",)
)
FEATURE_UNSEEN: Final = Family(
    "model_feature_unseen_total",
    "counter",
    "Categories the reference does not know, in no bin.",
    ("feature",),
)
OUT_OF_RANGE: Final = Family(
    "model_feature_out_of_range_total", "counter", "Values outside the reference's, also in the end bins.",
    ("feature", "side"),
)  # fmt: skip
REFERENCE_RATIO: Final = Family(
    "model_feature_reference_ratio", "gauge", "Smoothed share of a bin in the reference.", ("feature", "bin")
)
REFERENCE_SAMPLES: Final = Family(
    "model_feature_reference_samples", "gauge", "Reference values in bins.", ("feature",)
)
CRITICAL: Final = Family(
    "model_feature_chi2_critical", "gauge", "Noise floor of the PSI, divided by 1/n + 1/m.", ("feature",)
)
REFERENCE_MISSING: Final = Family(
    "model_feature_reference_missing_ratio", "gauge", "Share of missing values in the reference.",
    ("feature",),
)  # fmt: skip
REFERENCE_INFINITE: Final = Family(
    "model_feature_reference_infinite_ratio", "gauge",
    "Share of infinite values in the reference: out of the range of the others, and no news.", ("feature",),
)  # fmt: skip
DUPLICATES_CHECKED: Final = Family(
    "model_duplicate_rows_checked_total", "counter",
    "Rows in which doubles were looked for: 256 of each five seconds at most.",
)  # fmt: skip
DUPLICATES: Final = Family(
    "model_duplicate_rows_total", "counter",
    "Of these, rows that equal one of the last 1,024 different ones in every column.",
)  # fmt: skip
PREDICTION_BIN: Final = Family(
    "model_prediction_bin_total", "counter", "Predictions by frozen bin of the version; of labels alone the "
    "bins are the predicted classes.", ("bin",),
)  # fmt: skip
PREDICTION_RATIO: Final = Family(
    "model_prediction_reference_ratio", "gauge", "Smoothed share of a bin among the reference's predictions.",
    ("bin",),
)  # fmt: skip
PREDICTION_SAMPLES: Final = Family(
    "model_prediction_reference_samples", "gauge", "Predictions in the reference's bins."
)
PREDICTION_CRITICAL: Final = Family(
    "model_prediction_chi2_critical", "gauge", "Noise floor of the predictions' PSI, divided by 1/n + 1/m."
)
FEEDBACK: Final = Family(
    "model_feedback_total", "counter", "Feedback items by outcome; late ones are matched too.", ("outcome",)
)
DELAY: Final = Family(
    "model_label_delay_seconds", "histogram", "From prediction to label, of matched items, whole seconds."
)
CONFUSION: Final = Family(
    "model_confusion_total", "counter", "Labelled rows by true and predicted class: of two at a threshold "
    "of one half, as 0 and 1; of more than 20, and of another version, `actual` is `predicted` or `other`, "
    "which a class that the version does not know always is.", ("actual", "predicted"),
)  # fmt: skip
CALIBRATION_ROWS: Final = Family(
    "model_calibration_rows_total", "counter", "Labelled rows by tenth of the score: that of the positive "
    "class, or (of several) of the predicted one. None of a version that gives labels alone.", ("bin",),
)  # fmt: skip
CALIBRATION_SCORES: Final = Family(
    "model_calibration_scores_total", "counter", "Sum of their scores, each the middle of one of 200 bins.",
    ("bin",),
)  # fmt: skip
CALIBRATION_POSITIVES: Final = Family(
    "model_calibration_positives_total", "counter", "Those of them that were positive, or (of several "
    "classes) as predicted.", ("bin",),
)  # fmt: skip
LABELLED: Final = Family("model_errors_labelled_total", "counter", "Labelled rows of a regression.")
ERRORS: Final = Family(
    "model_errors_absolute_total", "counter", "Absolute errors of labelled rows, in the label's own unit: "
    "predictions over the label and under it. Their sum by rows is the MAE, their difference the bias.",
    ("side",),
)  # fmt: skip
SQUARED: Final = Family(
    "model_errors_squared_total", "counter", "Squared errors of labelled rows; the root of their sum by rows "
    "is the RMSE.",
)  # fmt: skip
CLIPPED: Final = Family(
    "model_errors_clipped_total", "counter",
    "Labelled rows whose error was too large to count (at least 8 times the range of the reference's "
    "predictions, or 2,048 times that in which they usually lie) and counts as the largest that is counted.",
)  # fmt: skip
SLICE_PREDICTIONS: Final = Family(
    "model_slice_predictions_total", "counter", "Rows predicted, by slice of a column.", ("feature", "slice")
)
SLICE_POSITIVES: Final = Family(
    "model_slice_positive_predictions_total", "counter",
    "Of these, by a binary classifier, those with a score of one half or more.", ("feature", "slice"),
)  # fmt: skip
SLICE_CONFUSION: Final = Family(
    "model_slice_confusion_total", "counter", "Labelled rows by slice, true and predicted class at a "
    "threshold of one half; of several classes `predicted` is 1 and `actual` whether that was right.",
    ("feature", "slice", "actual", "predicted"),
)  # fmt: skip
SLICE_LABELLED: Final = Family(
    "model_slice_errors_labelled_total", "counter", "As model_errors_labelled_total, by slice of a column.",
    ("feature", "slice"),
)  # fmt: skip
SLICE_ERRORS: Final = Family(
    "model_slice_errors_absolute_total", "counter", "As model_errors_absolute_total, by slice of a column.",
    ("feature", "slice", "side"),
)  # fmt: skip
LOG_WRITTEN: Final = Family("model_payload_log_written_total", "counter", "Rows in files of the payload log.")
LOG_DROPPED: Final = Family(
    "model_payload_log_dropped_total", "counter",
    "Rows that were not written: no room (full), no way (unwritable).",
    ("reason",),
)  # fmt: skip
LOG_FAILURES: Final = Family(
    "model_payload_log_failures_total", "counter", "Tries to write a file that did not succeed."
)

FAMILIES: Final[tuple[Family, ...]] = (
    REQUESTS, PREDICTIONS, REQUEST_SECONDS, INFERENCE_SECONDS, IN_FLIGHT, WAITING, REJECTED, BATCH_ROWS,
    CONNECTIONS_LOST, RESTARTS, LOADED, INFO, OVERHEAD,
    FEATURE_BIN, FEATURE_MISSING, FEATURE_UNSEEN, OUT_OF_RANGE, REFERENCE_RATIO, REFERENCE_SAMPLES, CRITICAL,
    REFERENCE_MISSING, REFERENCE_INFINITE, DUPLICATES_CHECKED, DUPLICATES,
    PREDICTION_BIN, PREDICTION_RATIO, PREDICTION_SAMPLES, PREDICTION_CRITICAL,
    FEEDBACK, DELAY, CONFUSION, CALIBRATION_ROWS, CALIBRATION_SCORES, CALIBRATION_POSITIVES,
    LABELLED, ERRORS, SQUARED, CLIPPED,
    SLICE_PREDICTIONS, SLICE_POSITIVES, SLICE_CONFUSION, SLICE_LABELLED, SLICE_ERRORS,
    LOG_WRITTEN, LOG_DROPPED, LOG_FAILURES,
)  # fmt: skip
PROCESS: Final[tuple[Family, ...]] = (
    Family(
        "process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.", common=()
    ),
    Family("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", common=()),
    Family("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", common=()),
    Family(
        "process_start_time_seconds",
        "gauge",
        "Start time of the process since unix epoch in seconds.",
        common=(),
    ),
    Family("process_open_fds", "gauge", "Number of open file descriptors.", common=()),
    Family("process_max_fds", "gauge", "Maximum number of open file descriptors.", common=()),
)
"""What prometheus_client says of every process, under the names that it has everywhere."""
