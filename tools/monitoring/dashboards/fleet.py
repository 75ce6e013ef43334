"""All models at a glance: which serve, how well, how old they are, and what needs somebody."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from tools.monitoring.dashboards.parts import (
    DEPLOYED,
    GREEN,
    OURS,
    PLACE,
    RED,
    SERVED,
    VERSION,
    WHERE,
    YELLOW,
    champions,
    happened,
    lines,
    number,
    of_models,
    ours,
    rows,
    versions,
)

_BY = "namespace, deployment, model"
_FIRING = f'alertname=~"Noria.*",alertstate="firing",{PLACE}'


def build() -> Dashboard:
    """The dashboard."""
    made = of_models("noria-fleet", "Noria / Fleet", "All models: health, traffic, drift, quality, age.")
    made = made.with_variable(versions())
    for panel in (
        number(
            "Deployments",
            "ModelDeployments in the chosen namespaces.",
            f"count(max by ({_BY}) (noria_deployment_phase{{{WHERE}}}))",
        ),
        number(
            "Ready",
            "Share of them whose requests are answered by the version that status names.",
            f'avg(max by ({_BY}) (noria_deployment_condition{{condition="Ready",{WHERE}}}))',
            unit="percentunit",
            steps=((None, RED), (0.99, YELLOW), (1, GREEN)),
        ),
        number(
            "Rollouts",
            "Challengers that are on their way.",
            f'count(noria_deployment_weight_ratio{{role="challenger",{VERSION}}}) or vector(0)',
        ),
        number(
            "Alerts",
            "Alerts of Noria that fire now; those of the operator where every namespace and model is chosen.",
            f'count(ALERTS{{{_FIRING},deployment!=""}} {OURS} '
            f'or ALERTS{{{_FIRING},model=~"$model",deployment=""}}) or vector(0)',
            steps=((None, GREEN), (1, YELLOW), (5, RED)),
        ),
        number(
            "Requests now",
            "Requests a second, to all of them.",
            f"sum({ours('deployment:requests:rate5m')})",
            unit="reqps",
        ),
        number(
            "Failing",
            "Share of requests that fail.",
            f"sum({ours('deployment:errors:rate5m')}) / sum({ours('deployment:requests:rate5m')})",
            unit="percentunit",
            steps=((None, GREEN), (0.001, YELLOW), (0.01, RED)),
        ),
        rows(
            "Models",
            "One row a ModelDeployment and its champion; what is not known is left empty.",
            (
                "share",
                f'max by ({_BY}, version) (noria_deployment_weight_ratio{{role="champion",{VERSION}}})',
                "percentunit",
            ),
            (
                "ready",
                f'max by ({_BY}) (noria_deployment_condition{{condition="Ready",{WHERE}}})',
                "bool_yes_no",
            ),
            ("requests", f"sum by ({_BY}) (version:requests:rate5m{{{VERSION}}})", "reqps"),
            ("p50", f"max by ({_BY}) (version:request_duration_seconds:p50{{{VERSION}}})", "s"),
            ("p95", f"max by ({_BY}) (version:request_duration_seconds:p95{{{VERSION}}})", "s"),
            ("p99", f"max by ({_BY}) (version:request_duration_seconds:p99{{{VERSION}}})", "s"),
            (
                "failing",
                f"sum by ({_BY}) (version:server_errors:rate5m{{{VERSION}}}) / sum by ({_BY}) (version:requests:rate5m{{{VERSION}}})",
                "percentunit",
            ),
            (
                "drifted",
                f"max by ({_BY}) ({champions(f'model:drifted_features:ratio1h{{{VERSION}}}')})",
                "percentunit",
            ),
            (
                "accuracy",
                f"max by ({_BY}) ({champions(f'model:accuracy:ratio1d{{{VERSION}}}')})",
                "percentunit",
            ),
            ("age", f"max by ({_BY}) (deployment:model_age_seconds{{{VERSION}}})", "s"),
            names=("namespace", "deployment", "model", "version"),
            height=7,
        ),
        lines(
            "Requests",
            "By ModelDeployment, as routers count them.",
            (ours("deployment:requests:rate5m"), DEPLOYED),
            unit="reqps",
        ),
        lines(
            "Failing share",
            "5xx and 429 at the routers.",
            (ours("deployment:error_ratio:rate5m"), DEPLOYED),
            unit="percentunit",
        ),
        lines(
            "p95",
            "Of each version in use, body to answer.",
            (f"version:request_duration_seconds:p95{{{VERSION}}}", SERVED),
            unit="s",
        ),
        lines(
            "Availability budget left",
            "1: all of thirty days' budget is left; 0: none; below: overdrawn.",
            (ours("deployment:availability_budget:ratio30d"), DEPLOYED),
            unit="percentunit",
            least=None,
        ),
        lines(
            "Latency budget left",
            "The same for requests that must be answered in time.",
            (ours("deployment:latency_budget:ratio30d"), DEPLOYED),
            unit="percentunit",
            least=None,
        ),
        rows(
            "Last training",
            "What started it, and how long ago.",
            (
                "ago",
                f"time() - max by (namespace, model, trigger) (noria_training_last_start_timestamp_seconds{{{WHERE}}})",
                "s",
            ),
            names=("namespace", "model", "trigger"),
            width=8,
            height=8,
        ),
    ):
        made = made.with_panel(panel)
    return happened(made)
