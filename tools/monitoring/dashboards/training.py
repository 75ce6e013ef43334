"""Why models are trained, how runs end, and what is left of budgets and objectives."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from tools.monitoring.dashboards.parts import (
    GREEN,
    RED,
    SERVED,
    VERSION,
    WHERE,
    YELLOW,
    Panel,
    happened,
    heat,
    led,
    lines,
    number,
    of_models,
    rows,
    versions,
)


def build() -> Dashboard:
    """The dashboard."""
    made = of_models(
        "noria-training", "Noria / Training and decisions", "Runs, decisions, budgets, freshness."
    )
    made = made.with_variable(versions())
    for panel in _now():
        made = made.with_panel(panel)
    made = made.with_row(Row("Runs"))
    for panel in _runs():
        made = made.with_panel(panel)
    made = made.with_row(Row("Decisions and freshness"))
    for panel in _decisions():
        made = made.with_panel(panel)
    return happened(made)


def _now() -> list[Panel]:
    return [
        number(
            "Running",
            "Runs under way.",
            f'sum(noria_training_jobs{{phase=~"Pending|Running|Evaluating",{WHERE}}}) or vector(0)',
        ),
        number(
            "Failed in a row",
            "The most runs of one model that failed since the last that made a version.",
            f"max(noria_training_failures{{{WHERE}}})",
            steps=((None, GREEN), (1, YELLOW), (2, RED)),
        ),
        number(
            "Oldest champion",
            "Age of the oldest one.",
            f"max(deployment:model_age_seconds{{{VERSION}}})",
            unit="s",
        ),
        number(
            "Oldest data",
            "Age of the newest data of the champion that knows the least.",
            f"max(deployment:data_age_seconds{{{VERSION}}})",
            unit="s",
        ),
        number(
            "Time to fix",
            "From when a loss, or drift that retrains, was seen to the promotion that answers it, the longest of the champions.",
            f"max(noria_deployment_fix_seconds{{{VERSION}}})",
            unit="s",
        ),
        number(
            "Losses that wait",
            "Triggers that see a loss of quality, or drift that retrains, which no promotion has answered.",
            f"count(noria_trigger_loss_timestamp_seconds{{{WHERE}}}) or vector(0)",
            steps=((None, GREEN), (1, RED)),
        ),
    ]


def _runs() -> list[Panel]:
    return [
        lines(
            "TrainingJobs",
            "That are kept, by phase.",
            (f"sum by (phase) (noria_training_jobs{{{WHERE}}})", "{{phase}}"),
            stacked=True,
        ),
        lines(
            "How long they take",
            "The last run of each model, by how it ended; those of all models are on the dashboard Operator.",
            (
                f"max by (namespace, model, result) (noria_training_last_duration_seconds{{{WHERE}}})",
                "{{namespace}}/{{model}}: {{result}}",
            ),
            unit="s",
        ),
        rows(
            "Promoted against refused",
            "Runs that status still tells of, by how they ended.",
            ("runs", f"noria_training_results{{{WHERE}}}", "none"),
            names=("deployment", "training", "result"),
            width=8,
            height=8,
        ),
        rows(
            "Last run of each model",
            "How long it took, and when the newest version was made.",
            (
                "took",
                f"max by (namespace, model, result) (noria_training_last_duration_seconds{{{WHERE}}})",
                "s",
            ),
            (
                "a version was made ago",
                f"time() - max by (namespace, model) (noria_training_last_success_timestamp_seconds{{{WHERE}}})",
                "s",
            ),
            names=("model", "result"),
            width=12,
            height=8,
        ),
        lines(
            "Versions",
            "By phase.",
            (f"sum by (phase) (noria_model_versions{{{WHERE}}})", "{{phase}}"),
            stacked=True,
            width=12,
        ),
    ]


def _decisions() -> list[Panel]:
    return [
        heat(
            "Decisions of triggers",
            "A row for each word; filled while it is the decision.",
            led("noria_trigger_decision", "training", "trigger", "decision"),
            "{{namespace}}/{{training}} {{trigger}}: {{decision}}",
            steps=((None, GREEN), (1, "purple")),
            height=8,
        ),
        rows(
            "Why",
            "In one word, and the last closed window of triggers that have one.",
            ("is", led("noria_trigger_reason", "training", "trigger", "reason"), "none"),
            ("value", _reasoned("noria_trigger_value"), "none"),
            ("threshold", _reasoned("noria_trigger_threshold"), "none"),
            ("window was", _reasoned("noria_trigger_window_seconds"), "s"),
            ("closed ago", f"time() - {_reasoned('noria_trigger_window_end_timestamp_seconds')}", "s"),
            names=("deployment", "training", "trigger", "reason"),
            height=8,
        ),
        lines(
            "Runs left in the budget",
            "At 0 nothing starts until the oldest run is old enough.",
            (led("noria_training_budget_left_runs", "training"), "{{namespace}}/{{training}}"),
            (led("noria_training_budget_runs", "training"), "budget of {{namespace}}/{{training}}"),
        ),
        lines(
            "Hours left in the budget",
            "Of CPUs and GPUs. At 0 nothing starts until the oldest run is old enough.",
            (
                led("noria_training_budget_left_seconds", "training", "resource"),
                "{{resource}} for {{namespace}}/{{training}}",
            ),
            (
                led("noria_training_budget_seconds", "training", "resource"),
                "budget of {{resource}} for {{namespace}}/{{training}}",
            ),
            unit="s",
        ),
        rows(
            "What holds runs",
            "And of which ContinuousTraining.",
            ("is", f"noria_training_blocked{{{WHERE}}}", "none"),
            names=("deployment", "training", "by"),
            width=8,
            height=8,
        ),
        lines(
            "Age of champions and their data",
            "Beside the objectives.",
            (f"deployment:model_age_seconds{{{VERSION}}}", SERVED),
            (f"deployment:data_age_seconds{{{VERSION}}}", f"data of {SERVED}"),
            unit="s",
        ),
    ]


def _reasoned(metric: str) -> str:
    """A metric of triggers with the reason of what is decided on each as one more label."""
    of = "namespace, deployment, training, trigger"
    reason = led("noria_trigger_reason", "training", "trigger", "reason")
    return f"({led(metric, 'training', 'trigger')} * on ({of}) group_left (reason) {reason})"
