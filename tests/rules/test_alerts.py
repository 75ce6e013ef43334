"""Every alert fires for what is wrong and nothing else: each case holds something in order beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.rules.promtool import alerts, firing, judge, series
from tests.rules.world import (
    BAD,
    DAY,
    GOOD,
    IDLE,
    LOOP,
    MODEL,
    NEXT,
    TRAINING,
    F,
    V,
    asked,
    at,
    counter,
    distributed,
    gauge,
    labelled,
    pod_of,
    predicted,
    requests,
    routed,
    served,
    timed,
    values,
)

Json = dict[str, Any]
SEX = {"feature": "sex", "check": "demographicParityRatio"}
Case = tuple[list[Json], str, list[dict[str, str]]]
_DECIDED = LOOP | {"kind": "Schedule"}
HELD_RUN = [
    # Due after two hours: one starts; the other is held for an hour, dropped, and due again the next day.
    *gauge("noria_trigger_next_run_timestamp_seconds", "7200x180 93600x60", "7200x120 93600x120", **LOOP),
    series("noria_trigger_decision", "_x119 1x60", **BAD, **_DECIDED, decision="Blocked"),
    series("noria_trigger_decision", "_x180 1x60", **BAD, **_DECIDED, decision="Skipped"),
    series("noria_trigger_decision", "_x119 1x120", **GOOD, **_DECIDED, decision="Fire"),
    # Of a loop that somebody suspended.
    series("noria_trigger_next_run_timestamp_seconds", "7200x240", **IDLE, **LOOP),
    series("noria_trigger_decision", "_x180 1x60", **IDLE, **_DECIDED, decision="Skipped"),
    series("noria_training_blocked", "1x240", **IDLE, **TRAINING, by="Suspended"),
]
OTHER = {"training": "weekly"}
"""A second loop of the same deployment, whose trigger has the name of the first one's."""
TWO_LOOPS = [
    *HELD_RUN,
    # It is due as well, and suspended; of the good one the second loop is late.
    series("noria_trigger_next_run_timestamp_seconds", "7200x240", **BAD, **LOOP | OTHER),
    series("noria_training_blocked", "1x240", **BAD, **TRAINING | OTHER, by="Suspended"),
    series("noria_trigger_next_run_timestamp_seconds", "7200x240", **GOOD, **LOOP | OTHER),
]
ESTIMATED = "EstimatedPerformance"
NO_PODS = "NoReadyPods"
HERE, THERE = ({"namespace": name, "job": "noria-operator"} for name in ("noria", "second"))
"""Two installations that one Prometheus scrapes."""
READY = {"condition": "Ready"}
UNREAD = {"condition": "Readable", "reason": "SpecUnread"}
CHAMPIONS = [served(labels) for labels in (BAD, GOOD, IDLE)]
ON_TRIAL = [served(BAD), served(BAD, NEXT, "challenger")]
LED_ASIDE = gauge("noria_deployment_led_aside", "0x69 1x60 0x70", "0x200", **MODEL)
"""By a rollout of an hour, which lies in two of the last three."""
PROMOTED = [
    {**served(BAD, role=role), "values": values}
    for role, values in (("challenger", "0.5x130 _x70"), ("champion", "_x130 1x70"))
]
REPLACED = [{**served(BAD), "values": "1x180 stale"}, {**served(BAD, NEXT), "values": "_x181 1x20"}]
"""By a version that was promoted ten minutes before the end."""


def failing(version: Mapping[str, str], cluster: str) -> list[Json]:
    """A challenger that fails requests of clients, and one that fails copies of them."""
    return [
        one
        for labels, challenger in ((BAD, "1x70"), (GOOD, "0x70"))
        for one in (
            *routed(labels, 60, 0, 70),
            *routed(labels, 60, 30, 70, cluster=f"{cluster}_grpc"),
            series("envoy_cluster_upstream_rq", "0+3x70", **labels, envoy_response_code="429",
                   envoy_cluster_name=f"{labels['deployment']}-{cluster}"),
            series("model_requests_total", "0+30x70", **labels, **version, outcome="server_error",
                   pod=pod_of(labels, cluster)),
            *asked(labels, challenger, version=version, cluster=cluster),
        )
    ]  # fmt: skip


def slow(version: Mapping[str, str], cluster: str) -> list[Json]:
    """The same of one that answers late."""
    return [
        one
        for labels, challenger in ((BAD, "1x70"), (GOOD, "0x70"))
        for one in (
            *timed(labels, 60, 0, 70, pod=pod_of(labels, "1-aaaaaa")),
            *timed(labels, 60, 30, 70, version=version, pod=pod_of(labels, cluster)),
            *asked(labels, challenger, version=version, cluster=cluster),
        )
    ]


CASES: dict[str, dict[str, Case]] = {
    "NoriaAvailabilityBudgetBurnsFast": {
        "one in twenty fails for an hour": (
            [*routed(BAD, 60, 3, 70), *routed(GOOD, 60, 0, 70), *routed(IDLE, 0.2, 0.1, 70)],
            "65m",
            [BAD],
        ),
        "and is over": (
            [
                *routed(BAD, 60, 3, 100)[:1],
                series("envoy_cluster_upstream_rq_xx", "0+3x55 165x45", **BAD, envoy_response_code_class="5"),
            ],
            "95m",
            [],
        ),
        "as the model servers see it, where no router is scraped": (
            [
                series("model_requests_total", "0+57x70", **BAD, **V, outcome="success"),
                series("model_requests_total", "0+3x70", **BAD, **V, outcome="server_error"),
                series("model_requests_total", "0+60x70", **GOOD, **V, outcome="success"),
                series("model_requests_total", "0+60x70", **GOOD, **V, outcome="client_error"),
            ],
            "65m",
            [BAD],
        ),
        "one burst of a version that the router never saw fail before": (
            [
                *routed(BAD, 60, 0, 70)[:1],
                series("envoy_cluster_upstream_rq_xx", "_x61 300x9", **BAD, envoy_response_code_class="5"),
                series("model_requests_total", "0x60 300x10", **BAD, **V, outcome="server_error"),
            ],
            "64m",
            [BAD],
        ),
        "refusals for want of room": (
            [
                *routed(BAD, 60, 0, 70),
                series("envoy_cluster_upstream_rq", "0+3x70", **BAD, envoy_response_code="429"),
            ],
            "65m",
            [BAD],
        ),
        "requests of clients, and no copies for whose answers nobody waits": (
            failing(NEXT, "2-bbbbbb"),
            "65m",
            [BAD],
        ),
        "no copies that another configuration gets": (failing(V, "1-bbbbbb"), "65m", [BAD]),
    },
    "NoriaAvailabilityBudgetBurns": {
        "four in a thousand fail": (
            [*routed(BAD, 1000, 4, 150), *routed(GOOD, 1000, 0.5, 150), *routed(IDLE, 0.2, 0.2, 150)],
            "145m",
            [BAD],
        ),
    },
    "NoriaLatencyBudgetBurnsFast": {
        "one in five is slow": (
            [*timed(BAD, 60, 12, 70), *timed(GOOD, 60, 0.3, 70), *timed(IDLE, 0.2, 0.1, 70)],
            "65m",
            [BAD],
        ),
        "requests of clients, and no copies for whose answers nobody waits": (
            slow(NEXT, "2-bbbbbb"),
            "65m",
            [BAD],
        ),
        "no copies that another configuration gets": (slow(V, "1-bbbbbb"), "65m", [BAD]),
    },
    "NoriaLatencyBudgetBurns": {
        "one in twenty-five is slow": (
            [*timed(BAD, 100, 4, 150), *timed(GOOD, 100, 0.5, 150)],
            "145m",
            [BAD],
        ),
    },
    "NoriaRequestsRefused": {
        "the line is full": (
            [
                *[
                    series("model_requests_total", "0+60x40", **labels, **V, outcome="success")
                    for labels in (BAD, GOOD)
                ],
                series("model_requests_rejected_total", "0+3x40", **BAD, **V, reason="queue_full"),
                series("model_requests_rejected_total", "0+3x40", **GOOD, **V, reason="client_gone"),
                # Two requests in ten minutes, of which one comes with a deadline that is over.
                series("model_requests_total", "0+0.1x40", **IDLE, **V, outcome="success"),
                series("model_requests_rejected_total", "0+0.1x40", **IDLE, **V, reason="deadline"),
                # Copies, for which a challenger has no room.
                series("model_requests_rejected_total", "0+3x40", **GOOD, **NEXT, reason="queue_full"),
                *asked(GOOD, "0x40"),
            ],
            "35m",
            [at(BAD, **MODEL)],
        ),
        "no copies that another configuration gets": (
            [
                *requests(GOOD, 60, 0, pod=pod_of(GOOD, "1-aaaaaa")),
                series(
                    "model_requests_rejected_total",
                    "0+3x40",
                    **GOOD,
                    **V,
                    reason="queue_full",
                    pod=pod_of(GOOD, "1-bbbbbb"),
                ),
                *asked(GOOD, "0x40", version=V, cluster="1-bbbbbb"),
            ],
            "35m",
            [],
        ),
    },
    "NoriaRequestsWrong": {
        "three in five": (
            [
                *requests(BAD, 40, 60),
                *requests(GOOD, 60, 40),
                *requests(IDLE, 0.4, 0.6),  # somebody tries something
                # What a challenger says of copies.
                *requests(GOOD, 0, 100, NEXT),
                *asked(GOOD, "0x40"),
            ],
            "35m",
            [at(BAD, **MODEL)],
        ),
        "no copies that another configuration gets": (
            [
                *requests(GOOD, 60, 0, pod=pod_of(GOOD, "1-aaaaaa")),
                *requests(GOOD, 0, 100, pod=pod_of(GOOD, "1-bbbbbb")),
                *asked(GOOD, "0x40", version=V, cluster="1-bbbbbb"),
            ],
            "35m",
            [],
        ),
    },
    "NoriaFeatureDrift": {
        "four in five where half were": (
            [
                *distributed(BAD, (80, 20)),
                *distributed(GOOD, (50, 50)),
                *distributed(IDLE, (1, 0)),
                *CHAMPIONS,
            ],
            "190m",
            [at(BAD, **F)],
        ),
        "of champions alone": (
            [*distributed(BAD, (50, 50)), *distributed(BAD, (80, 20), version=NEXT), *ON_TRIAL],
            "190m",
            [],
        ),
        "one hour since its promotion, and two while it was on trial": (
            [*distributed(BAD, (80, 20)), *PROMOTED],
            "190m",
            [],
        ),
        "not of one that is champion no more": (
            [*distributed(BAD, (80, 20)), *REPLACED],
            "190m",
            [],
        ),
        "while a header led requests past one of two champions": (
            [*distributed(BAD, (80, 20)), *distributed(GOOD, (80, 20)), *CHAMPIONS, *LED_ASIDE],
            "190m",
            [at(GOOD, **F)],
        ),
    },
    "NoriaDataDrift": {
        "one feature of one, against one of four": (
            [
                *distributed(BAD, (80, 20)),
                *distributed(GOOD, (80, 20)),
                *[
                    {**one, "series": one["series"].replace('"age"', f'"calm{index}"')}
                    for index in range(3)
                    for one in distributed(GOOD, (50, 50))
                ],
                *CHAMPIONS,
            ],
            "190m",
            [at(BAD, **V)],
        ),
        "of champions alone": (
            [*distributed(BAD, (50, 50)), *distributed(BAD, (80, 20), version=NEXT), *ON_TRIAL],
            "190m",
            [],
        ),
        "one hour since its promotion, and two while it was on trial": (
            [*distributed(BAD, (80, 20)), *PROMOTED],
            "190m",
            [],
        ),
        "not of one that is champion no more": (
            [*distributed(BAD, (80, 20)), *REPLACED],
            "190m",
            [],
        ),
        "while a header led requests past one of two champions": (
            [*distributed(BAD, (80, 20)), *distributed(GOOD, (80, 20)), *CHAMPIONS, *LED_ASIDE],
            "190m",
            [at(GOOD, **V)],
        ),
    },
    "NoriaPredictionDrift": {
        "four in five where half were": (
            [*predicted(BAD, (80, 20)), *predicted(GOOD, (52, 48)), *predicted(IDLE, (1, 0)), *CHAMPIONS],
            "190m",
            [at(BAD, **V)],
        ),
        "of champions alone": (
            [*predicted(BAD, (50, 50)), *predicted(BAD, (80, 20), version=NEXT), *ON_TRIAL],
            "190m",
            [],
        ),
        "one hour since its promotion, and two while it was on trial": (
            [*predicted(BAD, (80, 20)), *PROMOTED],
            "190m",
            [],
        ),
        "not of one that is champion no more": (
            [*predicted(BAD, (80, 20)), *REPLACED],
            "190m",
            [],
        ),
        "while a header led requests past one of two champions": (
            [*predicted(BAD, (80, 20)), *predicted(GOOD, (80, 20)), *CHAMPIONS, *LED_ASIDE],
            "190m",
            [at(GOOD, **V)],
        ),
    },
    "NoriaFeatureMissing": {
        "a tenth is missing": (
            [
                *values(BAD, known=90, missing=10),
                *values(GOOD, known=95, missing=5),
                *values(IDLE, known=1, missing=1),
                *CHAMPIONS,
            ],
            "85m",
            [at(BAD, **F)],
        ),
        "of champions alone": (
            [*values(BAD, known=100), *values(BAD, known=90, missing=10, version=NEXT), *ON_TRIAL],
            "85m",
            [],
        ),
    },
    "NoriaFeatureUnseen": {
        "a tenth is unseen": (
            [
                *values(BAD, known=90, unseen=10),
                *values(GOOD, known=98, unseen=2),
                *values(IDLE, known=1, unseen=1),
                *CHAMPIONS,
            ],
            "85m",
            [at(BAD, **F)],
        ),
        "of champions alone": (
            [*values(BAD, known=100), *values(BAD, known=90, unseen=10, version=NEXT), *ON_TRIAL],
            "85m",
            [],
        ),
    },
    "NoriaFeatureOutOfRange": {
        "a tenth lies beyond": (
            [
                *values(BAD, known=100, high=10),
                *values(GOOD, known=100, high=1),
                *values(IDLE, known=2, high=1),
                *CHAMPIONS,
            ],
            "85m",
            [at(BAD, **F)],
        ),
        "as many were infinite in training": (
            [
                *values(BAD, known=100, high=10),
                series("model_feature_reference_infinite_ratio", "0.1x90", **BAD, **V, feature="age"),
                *CHAMPIONS,
            ],
            "85m",
            [],
        ),
        "of champions alone": (
            [*values(BAD, known=100), *values(BAD, known=100, high=10, version=NEXT), *ON_TRIAL],
            "85m",
            [],
        ),
    },
    "NoriaPayloadLogDrops": {
        "rows are lost": (
            [
                series("model_payload_log_dropped_total", "0+5x30", **BAD, **V, reason="full"),
                series("model_payload_log_dropped_total", "7x30", **GOOD, **V, reason="full"),
            ],
            "25m",
            [at(BAD, **MODEL, reason="full")],
        ),
    },
    "NoriaQualityLost": {
        "a trigger sees a loss": (
            [series("noria_trigger_loss_timestamp_seconds", "600x30", **BAD, **LOOP)],
            "20m",
            [at(BAD, **LOOP)],
        ),
        "triggers of two loops do": (
            [
                series("noria_trigger_loss_timestamp_seconds", "600x30", **BAD, **loop)
                for loop in (LOOP, LOOP | OTHER)
            ],
            "20m",
            [at(BAD, **LOOP), at(BAD, **LOOP | OTHER)],
        ),
        "none does": ([series("noria_trigger_value", "0.7x30", **GOOD, **LOOP)], "20m", []),
        "a trigger of drift retrains, and of quality nothing is known": (
            [
                series("noria_trigger_loss_timestamp_seconds", "600x30", **one, **LOOP, kind=kind)
                for one, kind in ((BAD, "Performance"), (GOOD, "Drift"))
            ],
            "20m",
            [at(BAD, **LOOP)],
        ),
    },
    "NoriaLossNotFixed": {
        "drift that retrains, a day and a half after its first alarm": (
            [
                # Of the good one it is answered after a day less ten minutes, and of the idle one seen again.
                series("noria_trigger_loss_timestamp_seconds", values, **one, **LOOP, kind="Drift")
                for one, values in ((BAD, "0x2200"), (GOOD, "0x1430"), (IDLE, "0x1430 90000x770"))
            ],
            "2160m",
            [at(BAD, **LOOP)],
        ),
        "a day and a half": (
            gauge("noria_trigger_loss_timestamp_seconds", "0x2200", "100000x2200", **LOOP),
            "2160m",
            [at(BAD, **LOOP)],
        ),
    },
    "NoriaLabelsStopped": {
        "none for six hours": (
            [*labelled(BAD, "0+5x600 3000x1200"), *labelled(GOOD, "0+5x1800"), *labelled(IDLE, "0x1800")],
            "1000m",
            [at(BAD, **MODEL)],
        ),
        "nobody predicts either": (labelled(BAD, "0+5x600 3000x1200", "0+10x600 6000x1200"), "1000m", []),
    },
    "NoriaModelTooOld": {
        "forty days": (
            gauge("noria_deployment_model_timestamp_seconds", f"-{40 * DAY}x30", f"-{20 * DAY}x30", **V),
            "20m",
            [at(BAD, **V)],
        ),
    },
    "NoriaDataTooOld": {
        "fifty days": (
            gauge("noria_deployment_data_timestamp_seconds", f"-{50 * DAY}x30", f"-{40 * DAY}x30", **V),
            "20m",
            [at(BAD, **V)],
        ),
    },
    "NoriaTrainingFails": {
        "twice in a row": (
            [
                series("noria_training_failures", "2x10", namespace="shop", model="bad"),
                series("noria_training_failures", "1x10", namespace="shop", model="good"),
            ],
            "5m",
            [{"namespace": "shop", "model": "bad"}],
        ),
    },
    "NoriaTrainingOverdue": {
        "held for twenty minutes": (HELD_RUN, "140m", []),
        "held for forty minutes": (HELD_RUN, "160m", [at(BAD, **LOOP)]),
        "dropped": (HELD_RUN, "200m", [at(BAD, **LOOP)]),
        "of two loops the one that is not suspended": (
            TWO_LOOPS,
            "160m",
            [at(BAD, **LOOP), at(GOOD, **LOOP | OTHER)],
        ),
    },
    "NoriaTrainingBudgetSpent": {
        "none left, and one that is held by something else": (
            [
                *gauge("noria_training_budget_left_runs", "0x20", "0x20", **TRAINING),
                *[
                    series(
                        "noria_trigger_decision", "1x20", **one, **LOOP, decision="Blocked", kind="Schedule"
                    )
                    for one in (BAD, GOOD)
                ],
                series("noria_training_blocked", "1x20", **BAD, **TRAINING, by="Budget"),
                series("noria_training_blocked", "1x20", **GOOD, **TRAINING, by="Concurrency"),
            ],
            "10m",
            [at(BAD, **TRAINING, limit="runs")],
        ),
        "of two loops the one that asks": (
            [
                *[
                    series("noria_training_budget_left_runs", "0x20", **BAD, **loop)
                    for loop in (TRAINING, TRAINING | OTHER)
                ],
                series("noria_training_blocked", "1x20", **BAD, **TRAINING, by="Budget"),
                series("noria_training_blocked", "1x20", **BAD, **TRAINING | OTHER, by="Budget"),
                series("noria_trigger_decision", "1x20", **BAD, **LOOP, decision="Blocked", kind="Schedule"),
            ],
            "10m",
            [at(BAD, **TRAINING, limit="runs")],
        ),
    },
    "NoriaTrainingHeld": {
        "the circuit is open": (
            [
                series("noria_training_blocked", "1x20", **BAD, **TRAINING, by="CircuitOpen"),
                series("noria_training_blocked", "1x20", **GOOD, **TRAINING, by="Suspended"),
            ],
            "10m",
            [at(BAD, **TRAINING, by="CircuitOpen")],
        ),
    },
    "NoriaTriggerWarns": {
        "drift whose action is to warn": (
            [
                series("noria_trigger_decision", "1x20", **BAD, **LOOP, decision="Warn", kind="Drift"),
                series("noria_trigger_decision", "1x20", **GOOD, **LOOP, decision="Fire", kind="Drift"),
                series("noria_trigger_decision", "1x20", **IDLE, **LOOP, decision="Warn", kind=ESTIMATED),
            ],
            "10m",
            [at(BAD, **LOOP, decision="Warn")],
        ),
        "not for fairness, which has an alert of its own": (
            [
                series("noria_trigger_decision", "1x20", **BAD, **LOOP, decision="Warn", kind="Fairness"),
                series("noria_fairness_exceeded", "1x20", **BAD, **LOOP, **SEX),
            ],
            "10m",
            [],
        ),
    },
    "NoriaTriggerFails": {
        "a location that cannot be read, and one that can": (
            [
                series("noria_trigger_decision", "1x50", **BAD, **LOOP, decision="Error", kind="DataChange"),
                series("noria_trigger_decision", "1x50", **GOOD, **LOOP, decision="No", kind="DataChange"),
            ],
            "40m",
            [at(BAD, **LOOP)],
        ),
        "counts that cannot be read, whatever decision stands": (
            [
                series("noria_trigger_decision", "1x50", **BAD, **LOOP, decision="No", kind="Drift"),
                series("noria_trigger_problem", "1x50", **BAD, **LOOP),
                # The same trigger of another loop, which takes its counts from elsewhere.
                series("noria_trigger_decision", "1x50", **BAD, **LOOP | OTHER, decision="No", kind="Drift"),
            ],
            "40m",
            [at(BAD, **LOOP)],
        ),
        "not within half an hour": (
            [
                series("noria_trigger_decision", "1x50", **BAD, **LOOP, decision="Error", kind="DataChange"),
                series("noria_trigger_problem", "1x50", **GOOD, **LOOP),
            ],
            "25m",
            [],
        ),
        "not of a source that is back in time": (
            [
                series("noria_trigger_decision", "1x80", **BAD, **LOOP, decision="No", kind="Drift"),
                series("noria_trigger_problem", "1x20 stale _x14 1x20", **BAD, **LOOP),
            ],
            "50m",
            [],
        ),
    },
    "NoriaUnfair": {
        "one bound is exceeded, one is not, and another loop has not asked for enough windows yet": (
            [
                series("noria_trigger_decision", "1x20", **BAD, **LOOP, decision="Warn", kind="Fairness"),
                series("noria_fairness_exceeded", "1x20", **BAD, **LOOP, **SEX),
                series("noria_fairness_exceeded", "0x20", **BAD, **LOOP, **{**SEX, "check": "other"}),
                series("noria_trigger_decision", "1x20", **GOOD, **LOOP, decision="Wait", kind="Fairness"),
                series("noria_fairness_exceeded", "1x20", **GOOD, **LOOP, **SEX),
            ],
            "10m",
            [at(BAD, **LOOP, **SEX)],
        ),
        "of two loops the one that asks for fewer windows": (
            [
                series("noria_trigger_decision", "1x20", **BAD, **LOOP, decision="Wait", kind="Fairness"),
                series(
                    "noria_trigger_decision", "1x20", **BAD, **LOOP | OTHER, decision="Warn", kind="Fairness"
                ),
                *[
                    series("noria_fairness_exceeded", "1x20", **BAD, **loop, **SEX)
                    for loop in (LOOP, LOOP | OTHER)
                ],
            ],
            "10m",
            [at(BAD, **LOOP | OTHER, **SEX)],
        ),
        "and is over": (
            [
                series("noria_trigger_decision", "1x10", **BAD, **LOOP, decision="Warn", kind="Fairness"),
                series("noria_trigger_decision", "_x10 1x10", **BAD, **LOOP, decision="No", kind="Fairness"),
                series("noria_fairness_exceeded", "1x10 0x10", **BAD, **LOOP, **SEX),
            ],
            "18m",
            [],
        ),
    },
    "NoriaEstimatedQualityLow": {
        "scores that say so, and an estimate that is well": (
            [
                series("noria_trigger_decision", "1x20", **BAD, **LOOP, decision="Warn", kind=ESTIMATED),
                series("noria_trigger_decision", "1x20", **GOOD, **LOOP, decision="No", kind=ESTIMATED),
                series("noria_trigger_decision", "1x20", **IDLE, **LOOP, decision="Warn", kind="Drift"),
            ],
            "10m",
            [at(BAD, **LOOP)],
        ),
        "an estimate that is to start runs is told as a loss": (
            [series("noria_trigger_decision", "1x20", **BAD, **LOOP, decision="Fire", kind=ESTIMATED)],
            "10m",
            [],
        ),
    },
    "NoriaRolledBack": {
        "half an hour ago": (
            gauge(
                "noria_deployment_event_timestamp_seconds", "7200x200", "1200x200", event="RolledBack", **V
            ),
            "150m",
            [at(BAD, **V)],
        ),
        "a promotion is none": (
            gauge("noria_deployment_event_timestamp_seconds", "7200x200", "1200x200", event="Promoted", **V),
            "150m",
            [],
        ),
    },
    "NoriaRolloutPaused": {
        "for an hour": (
            [
                series("noria_deployment_phase", "1x100", **BAD, **MODEL, phase="Paused"),
                series("noria_deployment_phase", "1x100", **GOOD, **MODEL, phase="Progressing"),
                series("noria_deployment_phase", "_x60 1x40", **IDLE, **MODEL, phase="Paused"),
            ],
            "90m",
            [at(BAD, **MODEL)],
        ),
    },
    "NoriaDeploymentNotReady": {
        "for ten minutes": (
            gauge(
                "noria_deployment_condition", "0x30", "0x5 1x25", condition="Ready", reason=NO_PODS, **MODEL
            ),
            "15m",
            [at(BAD, **MODEL)],
        ),
        "whatever the reasons are that follow each other": (
            [
                series("noria_deployment_condition", "0x8 _x22", **BAD, **MODEL, **READY, reason="NoRouter"),
                series("noria_deployment_condition", "_x9 0x21", **BAD, **MODEL, **READY, reason=NO_PODS),
            ],
            "15m",
            [at(BAD, **MODEL)],
        ),
        "not while somebody, or an autoscaler, wants no pods": (
            gauge("noria_deployment_condition", "0x30", "0x30", reason="ScaledToZero", **READY, **MODEL),
            "15m",
            [],
        ),
        "not while the first version is trained; where nobody trains one": (
            [
                series("noria_deployment_condition", "0x90", **BAD, **MODEL, **READY, reason="NoVersion"),
                series("noria_deployment_condition", "0x90", **GOOD, model="n", **READY, reason="NoVersion"),
                series("noria_training_jobs", "1x90", namespace="shop", model="m", phase="Failed"),
                series("noria_training_jobs", "1x90", namespace="shop", model="n", phase="Running"),
            ],
            "80m",
            [at(BAD, **MODEL)],
        ),
    },
    "NoriaDeploymentStalled": {
        "for ten minutes": (
            gauge("noria_deployment_condition", "1x30", "0x30", condition="Stalled", **MODEL),
            "15m",
            [at(BAD, **MODEL)],
        ),
    },
    "NoriaDeploymentNotReadable": {
        "for ten minutes; one that any operator reads does not say so": (
            [
                series("noria_deployment_condition", "0x30", **BAD, **MODEL, **UNREAD),
                series("noria_deployment_condition", "1x30", **GOOD, **MODEL, **READY, reason="Serving"),
                series("noria_deployment_condition", "0x30", **IDLE, **MODEL, **READY, reason=NO_PODS),
            ],
            "15m",
            [at(BAD, **MODEL)],
        ),
        "not while a newer operator takes over": (
            [series("noria_deployment_condition", "0x8 stale", **BAD, **MODEL, **UNREAD)],
            "12m",
            [],
        ),
    },
    "NoriaReconcileErrors": {
        "a fifth of one kind's": (
            [
                *[
                    series("noria_reconcile_total", "0+8x60", kind=kind, outcome="success")
                    for kind in ("A", "B")
                ],
                series("noria_reconcile_total", "0+2x60", kind="A", outcome="error"),
                series("noria_reconcile_total", "0+2x60", kind="B", outcome="conflict"),
            ],
            "40m",
            [{"kind": "A"}],
        ),
        "of two installations the one that fails, however much the other does": (
            [
                series("noria_reconcile_total", "0+1x60", kind="A", outcome="error", **HERE),
                series("noria_reconcile_total", "0+200x60", kind="A", outcome="success", **THERE),
            ],
            "40m",
            [{"kind": "A", **HERE}],
        ),
    },
    "NoriaNoLeader": {
        "two followers": (
            [series("noria_leader", "0x20", pod="a"), series("noria_leader", "0x20", pod="b")],
            "10m",
            [{}],
        ),
        "nobody": ([series("up", "1x20", pod="a")], "10m", [{}]),
        "one leads": (
            [series("noria_leader", "0x20", pod="a"), series("noria_leader", "1x20", pod="b")],
            "10m",
            [],
        ),
        "of several installations those that nobody leads, and that are not scraped any more": (
            [
                series("noria_leader", "1x90", namespace="good", job="noria-operator"),
                series("noria_leader", "0x90", namespace="followers", job="noria-operator"),
                series("noria_leader", "1x20 stale", namespace="crashed", job="noria-operator"),
            ],
            "80m",
            [{"namespace": name, "job": "noria-operator"} for name in ("followers", "crashed")],
        ),
        "an installation whose job tells the namespace from now on is not missed, one that is gone is": (
            [
                series("noria_leader", "1x20 stale", pod="a", job="noria-operator"),
                series("noria_leader", "_x21 1x69", pod="a", namespace="noria", job="noria-operator"),
                series("noria_leader", "_x21 1x69", pod="a", namespace="second", job="noria-operator"),
                series("noria_leader", "1x20 stale", pod="b", job="gone"),
            ],
            "80m",
            [{"job": "gone"}],
        ),
    },
    "NoriaWatchSilent": {
        "three minutes": (
            [
                series("noria_watch_age_seconds", "0+60x20", namespace="n", pod="a", instance="a:1"),
                series("noria_watch_age_seconds", "300x20", namespace="n", pod="b", instance="b:1"),
            ],
            "10m",
            [{"namespace": "n", "pod": "a", "instance": "a:1"}],
        ),
    },
    "NoriaQueueSlow": {
        "a tenth waits a minute": (
            [
                series("noria_workqueue_queue_duration_seconds_bucket", f"0+{count}x40", le=le)
                for le, count in (("10", 9), ("60", 10), ("+Inf", 10))
            ],
            "30m",
            [{}],
        ),
        "of two installations the one that is slow, however busy the other is": (
            [
                series("noria_workqueue_queue_duration_seconds_bucket", f"0+{count}x40", le=le, **place)
                for place, counts in ((HERE, (0, 5, 5)), (THERE, (900, 900, 900)))
                for le, count in zip(("10", "60", "+Inf"), counts, strict=True)
            ],
            "30m",
            [HERE],
        ),
        "all are quick": (
            [
                series("noria_workqueue_queue_duration_seconds_bucket", "0+10x40", le=le)
                for le in ("0.01", "10", "60", "+Inf")
            ],
            "30m",
            [],
        ),
    },
    "NoriaObjectsUntold": {
        "one of a kind": (
            [
                series("noria_objects_untold", "1x30", kind="ModelDeployment"),
                series("noria_objects_untold", "_x5 1x3 stale", kind="TrainingJob"),
            ],
            "20m",
            [{"kind": "ModelDeployment"}],
        ),
    },
    "NoriaNotificationsDropped": {
        "one target's": (
            [
                series("noria_notifications_dropped_total", "0+1x20", target="chat", reason="full"),
                series("noria_notifications_dropped_total", "3x20", target="hook", reason="full"),
            ],
            "15m",
            [{"target": "chat", "reason": "full"}],
        ),
    },
}


def test_every_alert_has_a_case_that_fires_and_something_that_does_not() -> None:
    assert set(CASES) == set(alerts())
    for name, cases in CASES.items():
        assert any(bad for _, _, bad in cases.values()), name
        silent = any(not bad for _, _, bad in cases.values())
        beside = any(len({one["series"] for one in given}) > len(bad) for given, _, bad in cases.values())
        assert silent or beside, name


@pytest.mark.parametrize(
    ("alert", "case"), [(alert, case) for alert, cases in CASES.items() for case in cases]
)
def test_it_fires_for_what_is_wrong_and_nothing_else(alert: str, case: str, tmp_path: Path) -> None:
    given, when, bad = CASES[alert][case]
    judge(tmp_path, given, firing(alert, when, *bad))


def test_a_slow_burn_calls_nobody_at_night(tmp_path: Path) -> None:
    judge(tmp_path, routed(BAD, 1000, 4, 150), firing("NoriaAvailabilityBudgetBurnsFast", "145m"))


def test_an_alert_is_not_over_while_another_leader_begins(tmp_path: Path) -> None:
    told = series(
        "noria_deployment_condition",
        "1x20 stale _x1 1x10 stale",
        **BAD,
        **MODEL,
        condition="Stalled",
        reason="NameTaken",
    )
    name = "NoriaDeploymentStalled"
    judge(tmp_path, [told], firing(name, "22m", at(BAD, **MODEL)), firing(name, "45m"))


HOUR = 60
BURNS: dict[str, tuple[float, dict[str, list[tuple[int, int]]]]] = {
    "BudgetBurnsFast": (
        10,
        {
            "fires-for-six-hours": [(0, 24 * HOUR), (1, 6 * HOUR)],
            "fires-ended-just-now": [(0, 24 * HOUR - 10), (1, 6 * HOUR), (0, 10)],
            "silent-for-three-hours": [(0, 27 * HOUR), (1, 3 * HOUR)],
            "silent-ended-before-the-short-window": [(0, 24 * HOUR - 40), (1, 6 * HOUR), (0, 40)],
        },
    ),
    "BudgetBurns": (
        2,
        {
            "fires-for-three-days": [(1, 96 * HOUR)],
            "fires-ended-two-hours-ago": [(0, 46 * HOUR), (1, 48 * HOUR), (0, 2 * HOUR)],
            "silent-for-a-day": [(0, 72 * HOUR), (1, 24 * HOUR)],
            "silent-ended-before-the-short-window": [(0, 41 * HOUR), (1, 48 * HOUR), (0, 7 * HOUR)],
        },
    ),
}
"""What spends the budget too slowly for the shorter pair of windows: bad requests of a thousand, and when."""


@pytest.mark.parametrize("alert", BURNS)
@pytest.mark.parametrize("objective", ["Availability", "Latency"])
def test_a_slow_burn_is_seen_in_the_longer_windows(objective: str, alert: str, tmp_path: Path) -> None:
    share, shapes = BURNS[alert]
    given, bad = [], []
    for name, phases in shapes.items():
        place, minutes = {"namespace": "shop", "deployment": name}, sum(each for _, each in phases)
        if objective == "Availability":
            given += routed(place, 1000, 0, minutes, counter(*((on * share, each) for on, each in phases)))
        else:
            quick = counter(*((1000 - on * 10 * share, each) for on, each in phases))
            given += timed(place, 1000, 0, minutes, quick)
        bad += [place] if name.startswith("fires") else []
    judge(tmp_path, given, firing(f"Noria{objective}{alert}", f"{minutes - 1}m", *bad), every="5m")


def test_labels_that_stopped_are_missed_for_eight_days(tmp_path: Path) -> None:
    gone, minutes = counter((5, 10 * HOUR), (0, 200 * HOUR)), 210 * HOUR
    given = [*labelled(BAD, gone, f"0+10x{minutes}"), *labelled(GOOD, f"0+5x{minutes}", f"0+10x{minutes}")]
    name, missed = "NoriaLabelsStopped", at(BAD, **MODEL)
    expected = [firing(name, f"{hours}h", missed) for hours in (17, 80, 200)]
    judge(tmp_path, given, *expected, firing(name, "12h"), firing(name, "204h"), every="10m")
