"""One model: champion and challenger side by side."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from tools.monitoring.dashboards.parts import (
    OURS,
    PLACE,
    VERSION,
    Panel,
    happened,
    led,
    lines,
    of_models,
    rows,
    versions,
)

_TRIAL = f'{PLACE},challenger=~"$version"'
_SAME = "and on (namespace, deployment, version) noria_deployment_weight_ratio"


def build() -> Dashboard:
    """The dashboard."""
    says = "Requests, errors, time and saturation of each version."
    made = of_models("noria-model", "Noria / Model", says, several=False)
    made = made.with_variable(versions())
    for panel in _rollout():
        made = made.with_panel(panel)
    made = made.with_row(Row("Champion (left) and challenger (right)"))
    for left, right in zip(_side("champion"), _side("challenger"), strict=True):
        made = made.with_panel(left).with_panel(right)
    made = made.with_row(Row("Saturation"))
    for panel in _saturation():
        made = made.with_panel(panel)
    return happened(made)


def _rollout() -> list[Panel]:
    return [
        lines(
            "Share of requests",
            "What status asks for, by version and role.",
            (
                led("noria_deployment_weight_ratio", "version", "role", where=VERSION),
                "{{version}} ({{role}})",
            ),
            unit="percentunit",
            most=1,
        ),
        rows(
            "Verdicts",
            "On each measure of a running rollout; empty without one.",
            ("is", f"noria_analysis_verdict{{{_TRIAL}}} {OURS}", "none"),
            names=("deployment", "challenger", "measure", "verdict"),
            width=8,
            height=8,
        ),
        rows(
            "Evidence",
            "What the measures are decided by.",
            ("value", f"noria_analysis_figure{{{_TRIAL}}} {OURS}", "none"),
            names=("deployment", "challenger", "measure", "figure"),
            width=8,
            height=8,
        ),
    ]


def _side(role: str) -> list[Panel]:
    mine = f'{_SAME}{{role="{role}",{VERSION}}}'
    return [
        lines(
            f"Requests to the {role}",
            "Answered by its model servers.",
            (f"version:requests:rate5m{{{VERSION}}} {mine}", "{{version}}"),
            unit="reqps",
            width=12,
            height=7,
        ),
        lines(
            f"Failing share of the {role}",
            "Its own 5xx; a crash shows at the router only.",
            (
                f"version:server_errors:rate5m{{{VERSION}}} / version:requests:rate5m{{{VERSION}}} {mine}",
                "{{version}}",
            ),
            unit="percentunit",
            width=12,
            height=7,
        ),
        lines(
            f"Time of the {role}",
            "Body to answer.",
            *(
                (f"version:request_duration_seconds:p{p}{{{VERSION}}} {mine}", f"p{p} {{{{version}}}}")
                for p in (50, 95, 99)
            ),
            unit="s",
            width=12,
            height=7,
        ),
    ]


def _saturation() -> list[Panel]:
    by = "namespace, deployment, model, version"
    return [
        lines(
            "In flight and waiting",
            "Requests being answered, and those in line for the model's thread.",
            (f"sum by ({by}) (model_requests_in_flight{{{VERSION}}})", "in flight {{version}}"),
            (f"sum by ({by}) (model_requests_waiting{{{VERSION}}})", "waiting {{version}}"),
        ),
        lines(
            "Refused",
            "Requests that were in order and got no answer, a second.",
            (
                f"sum by (reason, version) (rate(model_requests_rejected_total{{{VERSION}}}[$__rate_interval]))",
                "{{reason}} {{version}}",
            ),
            unit="reqps",
        ),
        lines(
            "The model alone",
            "Median and p95 of the inference.",
            *(
                (
                    f"histogram_quantile({q}, sum by (version, le) (rate(model_inference_duration_seconds_bucket{{{VERSION}}}[$__rate_interval])))",
                    f"p{int(q * 100)} {{{{version}}}}",
                )
                for q in (0.5, 0.95)
            ),
            unit="s",
        ),
        lines(
            "Rows a second",
            "Predictions, which are more than requests where these carry batches.",
            (
                f"sum by (version) (rate(model_predictions_total{{{VERSION}}}[$__rate_interval]))",
                "{{version}}",
            ),
        ),
        lines(
            "Cost of the statistics",
            "Share of a core that counting features and predictions takes.",
            (
                f"sum by (version) (rate(model_stats_overhead_seconds_total{{{VERSION}}}[$__rate_interval]))",
                "{{version}}",
            ),
            unit="percentunit",
        ),
        rows(
            "Served",
            "What runs, and since when.",
            (
                "up for",
                f"time() - min by (deployment, version, namespace, model) (model_loaded_timestamp_seconds{{{VERSION}}})",
                "s",
            ),
            ("pods", f"count by (deployment, version, namespace, model) (model_info{{{VERSION}}})", "none"),
            names=("deployment", "version"),
            width=8,
            height=8,
        ),
    ]
