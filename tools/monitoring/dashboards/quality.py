"""What labels say: quality with its bounds, what triggers compare it with, how many labels there are and how late."""

from __future__ import annotations

from collections.abc import Iterable

from grafana_foundation_sdk.builders.dashboard import Dashboard

from tools.monitoring.dashboards.parts import (
    DEPLOYED,
    SERVED,
    VERSION,
    WHERE,
    between,
    champions,
    happened,
    led,
    lines,
    of_models,
    rows,
    versions,
)


def build() -> Dashboard:
    """The dashboard."""
    made = of_models(
        "noria-quality", "Noria / Quality", "Quality by labels, its bounds, delay and coverage of labels."
    )
    made = made.with_variable(versions())
    for panel in (
        between(
            "Accuracy",
            "Share of labelled rows of the last day that were right. The band holds Wilson's bounds at 95 % of the champion, which is what triggers judge, where one deployment is chosen.",
            *_band(champions(f"model:accuracy_{end}:ratio1d{{{VERSION}}}") for end in ("high", "low")),
            (f"model:accuracy:ratio1d{{{VERSION}}}", SERVED),
            unit="percentunit",
        ),
        between(
            "Mean absolute error",
            "Of regressions, in the label's own unit. The band holds the bounds at 95 % of the champion, where one deployment is chosen.",
            *_band(
                champions(
                    f"model:mean_absolute_error:1d{{{VERSION}}} {sign} model:mean_absolute_error_margin:1d{{{VERSION}}}"
                )
                for sign in "+-"
            ),
            (f"model:mean_absolute_error:1d{{{VERSION}}}", SERVED),
            unit="none",
        ),
        between(
            "What triggers measure",
            "The value of the last closed window, what it is compared with, and the best ever; of a single trigger also where it lies with 95 % (band).",
            *_band(f'noria_trigger_interval{{{WHERE},end="{end}"}}' for end in ("high", "low")),
            (led("noria_trigger_value", "training", "trigger"), "{{namespace}}/{{training}} {{trigger}}"),
            (
                led("noria_trigger_threshold", "training", "trigger"),
                "threshold of {{namespace}}/{{training}} {{trigger}}",
            ),
            (
                led("noria_trigger_best", "training", "trigger"),
                "best of {{namespace}}/{{training}} {{trigger}}",
            ),
            unit="none",
        ),
        rows(
            "Decisions",
            "The last one on each trigger, also when it was no.",
            ("is", f"noria_trigger_decision{{{WHERE}}}", "none"),
            ("value", f"noria_trigger_value{{{WHERE}}}", "none"),
            ("threshold", f"noria_trigger_threshold{{{WHERE}}}", "none"),
            ("rows", f"noria_trigger_samples{{{WHERE}}}", "short"),
            names=("deployment", "training", "trigger", "decision"),
            width=12,
            height=8,
        ),
        lines(
            "Delay of labels",
            "From prediction to label, of those of the last day.",
            (f"model:label_delay_seconds:p50_1d{{{WHERE}}}", f"p50 {DEPLOYED}"),
            (f"model:label_delay_seconds:p95_1d{{{WHERE}}}", f"p95 {DEPLOYED}"),
            unit="s",
        ),
        lines(
            "Coverage",
            "Labels of the last day by predictions of the last day; late ones can bring it above 1.",
            (f"model:label_coverage:ratio1d{{{WHERE}}}", DEPLOYED),
            unit="percentunit",
        ),
        lines(
            "Feedback",
            "By what became of it, a second.",
            (f"sum by (outcome) (rate(model_feedback_total{{{VERSION}}}[$__rate_interval]))", "{{outcome}}"),
        ),
        rows(
            "Confusion, last day",
            "Labelled rows by true and predicted class, of two at a threshold of one half.",
            (
                "rows",
                f"round(sum by (namespace, version, actual, predicted) (increase(model_confusion_total{{{VERSION}}}[1d])))",
                "short",
            ),
            names=("namespace", "version", "actual", "predicted"),
            width=12,
            height=9,
        ),
        between(
            "Calibration",
            "How far scores of the last day are from being probabilities: by tenths of the score, and over all. The band holds the bounds at 95 % of the former of the champion, where one deployment is chosen; chance alone makes it larger than zero, which the lower one takes off.",
            *_band(
                champions(expr)
                for expr in (
                    f"model:calibration_error:1d{{{VERSION}}} + model:calibration_error_margin:1d{{{VERSION}}}",
                    f"clamp_min(model:calibration_error:1d{{{VERSION}}} - model:calibration_error_margin:1d{{{VERSION}}} - model:calibration_error_noise:1d{{{VERSION}}}, 0)",
                )
            ),
            (f"model:calibration_error:1d{{{VERSION}}}", f"by tenths {SERVED}"),
            (f"model:calibration_gap:1d{{{VERSION}}}", f"over all {SERVED}"),
            unit="percentunit",
        ),
        lines(
            "Accuracy by slice",
            "Of labelled rows of the last day, by the columns of spec.slices.",
            (f"model:slice_accuracy:ratio1d{{{VERSION}}}", f"{{{{feature}}}}={{{{slice}}}} {SERVED}"),
            unit="percentunit",
            height=9,
        ),
        lines(
            "Mean absolute error by slice",
            "Of regressions, in the label's own unit: of labelled rows of the last day, by the columns of spec.slices.",
            (f"model:slice_mean_absolute_error:1d{{{VERSION}}}", f"{{{{feature}}}}={{{{slice}}}} {SERVED}"),
            unit="none",
            height=9,
        ),
        lines(
            "Predicted positive by slice",
            "Share of the rows of the last day with a score of one half or more.",
            (f"model:slice_positive:ratio1d{{{VERSION}}}", f"{{{{feature}}}}={{{{slice}}}} {SERVED}"),
            unit="percentunit",
            height=9,
        ),
        rows(
            "Fairness",
            "What triggers of kind fairness measured in the last closed window, and what they tolerate.",
            ("value", f"noria_fairness_value{{{WHERE}}}", "none"),
            ("bound", f"noria_fairness_bound{{{WHERE}}}", "none"),
            ("surely exceeded", f"noria_fairness_exceeded{{{WHERE}}}", "none"),
            names=("deployment", "training", "trigger", "feature", "check"),
            width=12,
            height=9,
        ),
        lines(
            "Labels in the last day",
            "How many stand behind the accuracy of each version.",
            (f"model:labels:increase1d{{{VERSION}}}", SERVED),
            width=12,
            height=9,
        ),
    ):
        made = made.with_panel(panel)
    return happened(made)


def _band(ends: Iterable[str]) -> tuple[str, str]:
    """The high and the low end, where there is one of each: several have no band in common."""
    high, low = (f"max({expr}) and count({expr}) == 1" for expr in ends)
    return high, low
