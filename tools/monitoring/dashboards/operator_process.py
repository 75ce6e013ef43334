"""The operator itself: passes, queue, API server, and what it counts of all models together."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from tools.monitoring.dashboards.parts import GREEN, RED, YELLOW, lines, number, page

_RATE = "[$__rate_interval]"
_LEADER = "and on (instance) noria_leader == 1"


def build() -> Dashboard:
    """The dashboard."""
    made = page(
        "noria-operator",
        "Noria / Operator",
        "Passes, queue, requests to the API server; runs and decisions of all models.",
    )
    for panel in (
        number(
            "Leaders",
            "Of each installation one works, the others stand by.",
            "sum by (namespace, job) (noria_leader)",
            steps=((None, RED), (1, GREEN), (2, RED)),
        ),
        number("Passes", "A second.", f"sum(rate(noria_reconcile_total{_RATE}))", unit="ops"),
        number(
            "Failing passes",
            "Share of them, of the kind with the most.",
            "max(noria:reconcile_errors:ratio5m)",
            unit="percentunit",
            steps=((None, GREEN), (0.01, YELLOW), (0.1, RED)),
        ),
        number(
            "Waiting",
            "Keys in the queue of the leader; the others keep theirs for the day they lead.",
            f"sum(noria_workqueue_depth {_LEADER})",
        ),
        number(
            "Silent for",
            "Time since the oldest watch heard anything; where nothing happens that is five minutes.",
            "max(noria_watch_age_seconds)",
            unit="s",
            steps=((None, GREEN), (360, RED)),
        ),
        number(
            "Untold objects",
            "Objects whose status cannot be read as metrics; the log names them.",
            "sum(noria_objects_untold) or vector(0)",
            steps=((None, GREEN), (1, RED)),
        ),
        lines(
            "Passes by kind",
            "A second.",
            (f"sum by (kind) (rate(noria_reconcile_total{_RATE}))", "{{kind}}"),
            unit="ops",
        ),
        lines(
            "Passes by outcome",
            "A second.",
            (f"sum by (outcome) (rate(noria_reconcile_total{_RATE}))", "{{outcome}}"),
            unit="ops",
        ),
        lines(
            "Time of a pass",
            "p95 by kind.",
            (
                f"histogram_quantile(0.95, sum by (kind, le) (rate(noria_reconcile_duration_seconds_bucket{_RATE})))",
                "{{kind}}",
            ),
            unit="s",
        ),
        lines(
            "Queue",
            "Keys that wait and that are worked on.",
            (f"sum(noria_workqueue_depth {_LEADER})", "wait"),
            (f"sum(noria_workqueue_busy {_LEADER})", "busy"),
        ),
        lines(
            "Wait in the queue",
            "Median and p95; of several installations where it is longest.",
            *(
                (
                    f"max(histogram_quantile({q}, sum by (namespace, job, le) "
                    f"(rate(noria_workqueue_queue_duration_seconds_bucket{_RATE}))))",
                    f"p{int(q * 100)}",
                )
                for q in (0.5, 0.95)
            ),
            unit="s",
        ),
        lines(
            "Added and retried",
            "Keys a second.",
            (f"sum by (kind) (rate(noria_workqueue_adds_total{_RATE}))", "{{kind}}"),
            (f"sum(rate(noria_workqueue_retries_total{_RATE})) or vector(0)", "retried"),
            unit="ops",
        ),
        lines(
            "Requests to the API server",
            "A second, by verb and answer.",
            (
                f"sum by (verb, code) (rate(noria_api_request_duration_seconds_count{_RATE}))",
                "{{verb}} {{code}}",
            ),
            unit="reqps",
        ),
        lines(
            "Time of a request to the API server",
            "p95 by verb.",
            (
                f"histogram_quantile(0.95, sum by (verb, le) (rate(noria_api_request_duration_seconds_bucket{_RATE})))",
                "{{verb}}",
            ),
            unit="s",
        ),
        lines("Objects in the cache", "By kind.", ("max by (kind) (noria_store_objects)", "{{kind}}")),
        lines(
            "Runs that ended",
            "Of all models, by what started them and how they ended, counted since the operator started.",
            ("sum by (trigger, result) (noria_training_runs_total)", "{{trigger}}: {{result}}"),
        ),
        lines(
            "How long runs take",
            "Median and p90 of the runs of all models that ended in the last day.",
            *(
                (
                    f"histogram_quantile({q}, sum by (le) (increase(noria_training_duration_seconds_bucket[1d])))",
                    f"p{int(q * 100)}",
                )
                for q in (0.5, 0.9)
            ),
            unit="s",
        ),
        lines(
            "Changes of decisions",
            "Of the triggers of all models, by reason, counted since the operator started.",
            ("sum by (reason, decision) (noria_retrain_decisions_total)", "{{reason}}: {{decision}}"),
        ),
        lines(
            "Events written",
            "By reason, since the operator started.",
            ("sum by (reason) (noria_events_emitted_total)", "{{reason}}"),
            width=12,
        ),
        lines(
            "Repairs",
            "Watches that were started again, and events that were found to be lost; both are rare.",
            ("sum(noria_watch_restarts_total)", "watches"),
            ("sum(noria_resync_repairs_total) or vector(0)", "events"),
            width=12,
        ),
    ):
        made = made.with_panel(panel)
    return made
