"""What labels say: quality with its bounds, what triggers compare it with, how many labels there are and how late."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from tools.monitoring.dashboards.parts import (
    VERSION,
    WHERE,
    between,
    happened,
    lines,
    page,
    rows,
    versions,
)


def build() -> Dashboard:
    """The dashboard."""
    made = page(
        "noria-quality", "Noria / Quality", "Quality by labels, its bounds, delay and coverage of labels."
    )
    made = made.with_variable(versions())
    for panel in (
        between(
            "Accuracy",
            "Share of labelled rows of the last day that were right. The band holds Wilson's bounds at 95 % of all versions that are chosen.",
            f"max(model:accuracy_high:ratio1d{{{VERSION}}})",
            f"min(model:accuracy_low:ratio1d{{{VERSION}}})",
            (f"model:accuracy:ratio1d{{{VERSION}}}", "{{version}}"),
            unit="percentunit",
        ),
        between(
            "Mean absolute error",
            "Of regressions, in the label's own unit. The band holds the bounds at 95 % of all versions that are chosen.",
            f"max(model:mean_absolute_error:1d{{{VERSION}}} + model:mean_absolute_error_margin:1d{{{VERSION}}})",
            f"min(model:mean_absolute_error:1d{{{VERSION}}} - model:mean_absolute_error_margin:1d{{{VERSION}}})",
            (f"model:mean_absolute_error:1d{{{VERSION}}}", "{{version}}"),
            unit="none",
        ),
        between(
            "What triggers measure",
            "The value of the last closed window, where it lies with 95 % (band), what it is compared with, and the best ever.",
            f'max(noria_trigger_interval{{{WHERE},end="high"}})',
            f'min(noria_trigger_interval{{{WHERE},end="low"}})',
            (f"noria_trigger_value{{{WHERE}}}", "{{trigger}} of {{deployment}}"),
            (f"noria_trigger_threshold{{{WHERE}}}", "threshold {{trigger}}"),
            (f"noria_trigger_best{{{WHERE}}}", "best {{trigger}}"),
            unit="none",
        ),
        rows(
            "Decisions",
            "The last one on each trigger, also when it was no.",
            ("is", f"noria_trigger_decision{{{WHERE}}}", "none"),
            ("value", f"noria_trigger_value{{{WHERE}}}", "none"),
            ("threshold", f"noria_trigger_threshold{{{WHERE}}}", "none"),
            ("rows", f"noria_trigger_samples{{{WHERE}}}", "short"),
            names=("deployment", "trigger", "decision"),
            width=12,
            height=8,
        ),
        lines(
            "Delay of labels",
            "From prediction to label, of those of the last day.",
            (f"model:label_delay_seconds:p50_1d{{{WHERE}}}", "p50 {{model}}"),
            (f"model:label_delay_seconds:p95_1d{{{WHERE}}}", "p95 {{model}}"),
            unit="s",
        ),
        lines(
            "Coverage",
            "Labels of the last day by predictions of the last day; late ones can bring it above 1.",
            (f"model:label_coverage:ratio1d{{{WHERE}}}", "{{model}}"),
            unit="percentunit",
        ),
        lines(
            "Feedback",
            "By what became of it, a second.",
            (f"sum by (outcome) (rate(model_feedback_total{{{WHERE}}}[$__rate_interval]))", "{{outcome}}"),
        ),
        rows(
            "Confusion, last day",
            "Labelled rows by true and predicted class, of two at a threshold of one half.",
            (
                "rows",
                f"sum by (version, actual, predicted) (increase(model_confusion_total{{{VERSION}}}[1d]))",
                "short",
            ),
            names=("version", "actual", "predicted"),
            width=12,
            height=9,
        ),
        lines(
            "Accuracy by slice",
            "Of labelled rows of the last day, by the columns of spec.slices.",
            (f"model:slice_accuracy:ratio1d{{{VERSION}}}", "{{feature}}={{slice}} {{version}}"),
            unit="percentunit",
            width=12,
            height=9,
        ),
        lines(
            "Predicted positive by slice",
            "Share of the rows of the last day with a score of one half or more.",
            (f"model:slice_positive:ratio1d{{{VERSION}}}", "{{feature}}={{slice}} {{version}}"),
            unit="percentunit",
            width=12,
            height=9,
        ),
        rows(
            "Fairness",
            "What triggers of kind fairness measured in the last closed window, and what they tolerate.",
            ("value", f"noria_fairness_value{{{WHERE}}}", "none"),
            ("bound", f"noria_fairness_bound{{{WHERE}}}", "none"),
            ("surely exceeded", f"noria_fairness_exceeded{{{WHERE}}}", "none"),
            names=("deployment", "trigger", "feature", "check"),
            width=12,
            height=9,
        ),
        lines(
            "Labels in the last day",
            "How many stand behind the accuracy of each version.",
            (f"model:labels:increase1d{{{VERSION}}}", "{{version}}"),
            width=12,
            height=9,
        ),
    ):
        made = made.with_panel(panel)
    return happened(made)
