"""The operator's own Prometheus metrics, in one place so that their names can be documented and kept.

Units are base units and labels are bounded: kinds, verbs, codes and outcomes, never object names.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

API_SECONDS = Histogram(
    "noria_api_request_duration_seconds",
    "Time of one request to the API server, retries counted one by one.",
    ("verb", "kind", "code"),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
API_RETRIES = Counter(
    "noria_api_request_retries", "Requests sent again after 429, 5xx or a lost connection.", ("verb", "kind")
)
RECONCILE_SECONDS = Histogram(
    "noria_reconcile_duration_seconds",
    "Time of one reconcile pass.",
    ("kind",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
)
RECONCILES = Counter(
    "noria_reconcile",
    "Reconcile passes by outcome: success, requeue_after, conflict, gone, error.",
    ("kind", "outcome"),
)
QUEUE_DEPTH = Gauge("noria_workqueue_depth", "Keys that wait for a worker.")
QUEUE_BUSY = Gauge("noria_workqueue_busy", "Keys that a worker holds.")
QUEUE_ADDS = Counter("noria_workqueue_adds", "Keys added to the queue, duplicates not counted.", ("kind",))
QUEUE_RETRIES = Counter(
    "noria_workqueue_retries", "Keys added again with back-off after an error.", ("kind",)
)
QUEUE_SECONDS = Histogram(
    "noria_workqueue_queue_duration_seconds",
    "Time a key waited for a worker.",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60),
)
STORE_OBJECTS = Gauge("noria_store_objects", "Objects in the cache.", ("kind",))
LEADER = Gauge("noria_leader", "1 while this process holds the lease.")
WATCH_AGE = Gauge("noria_watch_age_seconds", "Time since the oldest watch last heard anything.")
WATCH_RESTARTS = Counter("noria_watch_restarts", "Times that the event source died and was started again.")
RESYNC_REPAIRS = Counter(
    "noria_resync_repairs",
    "Differences between the cache and all there is: events that were lost.",
    ("kind",),
)
EMITTED_EVENTS = Counter("noria_events_emitted", "Kubernetes Events written.", ("type", "reason"))
ROLLBACKS = Counter(
    "noria_rollbacks",
    "Versions that were rolled back, by what was judged (errors, refusals, latency, quality, "
    "predictions, disagreement, query), or deadline, hold, command.",
    ("reason",),
)
TRAINING_RUNS = Counter(
    "noria_training_runs",
    "Runs that ended, by what started them (a trigger's reason, Manual, or none) and how: Succeeded, or the "
    "reason of the condition Failed.",
    ("trigger", "result"),
)
TRAINING_SECONDS = Histogram(
    "noria_training_duration_seconds",
    "Time of a run from its start to its end, evaluation included.",
    ("result",),
    buckets=(10, 30, 60, 300, 600, 1800, 3600, 7200, 14400, 28800, 86400),
)
RETRAIN_DECISIONS = Counter(
    "noria_retrain_decisions",
    "Changes of what is decided on a trigger, by its reason: No, Wait, Skipped, Fire, Blocked, Warn, Block, "
    "Observe or Error.",
    ("reason", "decision"),
)
GATEWAY_PROBES = Counter(
    "noria_gateway_probes",
    "Times that the proxies of a gateway were asked which weights they act on, by probe of the chart's "
    "values and what they told: in_force, behind (one acts on older ones), unread (one could not be asked).",
    ("probe", "outcome"),
)
NOTIFICATION_ATTEMPTS = Counter(
    "noria_notification_attempts",
    "Attempts to send a notification, by target of the chart's values and outcome: sent, failed.",
    ("target", "outcome"),
)
NOTIFICATIONS_DROPPED = Counter(
    "noria_notifications_dropped",
    "Notifications given up, by reason: full, expired, refused.",
    ("target", "reason"),
)
NOTIFICATIONS_PENDING = Gauge(
    "noria_notifications_pending", "Notifications not taken by their receiver yet.", ("target",)
)
