"""Series of a ModelDeployment that is bad, one that is good and one that is idle, as promtool writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.rules.promtool import series

Json = dict[str, Any]
BAD = {"namespace": "shop", "deployment": "bad"}
GOOD = {"namespace": "shop", "deployment": "good"}
IDLE = {"namespace": "shop", "deployment": "idle"}
MODEL = {"model": "m"}
V = {**MODEL, "version": "m-1"}
NEXT = {**MODEL, "version": "m-2"}
F = {**V, "feature": "age"}
TRAINING = {**MODEL, "training": "nightly"}
LOOP = {**TRAINING, "trigger": "quality"}
DAY = 86400


def at(labels: Mapping[str, str], **more: str) -> dict[str, str]:
    return {**labels, **more}


def counter(*phases: tuple[float, int]) -> str:
    """What a counter shows that grows by so much a minute for so many minutes, phase after phase."""
    said, reached = [], 0.0
    for step, minutes in phases:
        said.append(f"{reached:g}+{step:g}x{minutes - 1}")
        reached += step * minutes
    return " ".join(said)


def routed(
    labels: Mapping[str, str],
    each_minute: float,
    failed: float,
    minutes: int,
    errors: str = "",
    *,
    cluster: str = "1-aaaaaa",
) -> list[Json]:
    """Requests through a router, of which some fail."""
    place = {**labels, "envoy_cluster_name": f"{labels['deployment']}-{cluster}", "pod": "router-0"}
    total, errors = f"0+{each_minute}x{minutes}", errors or f"0+{failed}x{minutes}"
    return [
        series("envoy_cluster_upstream_rq_completed", total, **place),
        series("envoy_cluster_upstream_rq_xx", errors, **place, envoy_response_code_class="5"),
    ]


def timed(
    labels: Mapping[str, str],
    each_minute: float,
    slow: float,
    minutes: int,
    quick: str = "",
    *,
    version: Mapping[str, str] = V,
    pod: str = "a",
) -> list[Json]:
    """Requests with their time, some above a quarter of a second."""
    name, place = "model_request_duration_seconds", {**labels, **version, "pod": pod}
    quick = quick or f"0+{each_minute - slow}x{minutes}"
    return [
        series(f"{name}_count", f"0+{each_minute}x{minutes}", **place),
        series(f"{name}_bucket", quick, **place, le="0.25"),
    ]


def requests(
    labels: Mapping[str, str],
    answered: float,
    wrong: float,
    version: Mapping[str, str] = V,
    *,
    pod: str = "a",
) -> list[Json]:
    """What a model server answers each minute, and what it refuses as its clients' fault."""
    outcomes = {"success": answered, "client_error": wrong}
    return [
        series("model_requests_total", f"0+{count}x40", **labels, **version, outcome=outcome, pod=pod)
        for outcome, count in outcomes.items()
    ]


def served(labels: Mapping[str, str], version: Mapping[str, str] = V, role: str = "champion") -> Json:
    """That the operator tells of a version in use."""
    place = {**labels, **version, "role": role, "revision": f"{labels['deployment']}-1-aaaaaa"}
    return series("noria_deployment_weight_ratio", "0.5x5000", **place)


def asked(
    labels: Mapping[str, str],
    challenger: str,
    *,
    version: Mapping[str, str] = NEXT,
    cluster: str = "2-bbbbbb",
) -> list[Json]:
    """That clients ask the champion, and whether (1 or 0, minute by minute) they ask a challenger."""
    name, one = "noria_deployment_asked", labels["deployment"]
    return [
        series(name, "1x5000", **labels, **V, role="champion", revision=f"{one}-1-aaaaaa"),
        series(name, challenger, **labels, **version, role="challenger", revision=f"{one}-{cluster}"),
    ]


def pod_of(labels: Mapping[str, str], cluster: str) -> str:
    """A pod of a revision, as its ReplicaSet calls it."""
    return f"{labels['deployment']}-{cluster}-6d4cf56db6-x7x2f"


def distributed(
    labels: Mapping[str, str], shares: tuple[int, int], minutes: int = 200, version: Mapping[str, str] = V
) -> list[Json]:
    """Values of a feature with two bins, half and half in the reference."""
    place = {**labels, **version, "feature": "age"}
    found = [
        series("model_feature_bin_total", f"0+{count}x{minutes}", **place, bin=str(index))
        for index, count in enumerate(shares)
    ]
    found += [
        series("model_feature_reference_ratio", f"0.5x{minutes}", **place, bin=str(index)) for index in (0, 1)
    ]
    found += [
        series("model_feature_chi2_critical", f"6.6x{minutes}", **place),
        series("model_feature_reference_samples", f"10000x{minutes}", **place),
    ]
    return found


def predicted(
    labels: Mapping[str, str], shares: tuple[int, int], minutes: int = 200, version: Mapping[str, str] = V
) -> list[Json]:
    """The same of predictions."""
    place = {**labels, **version}
    found = [
        series("model_prediction_bin_total", f"0+{count}x{minutes}", **place, bin=str(index))
        for index, count in enumerate(shares)
    ]
    found += [
        series("model_prediction_reference_ratio", f"0.5x{minutes}", **place, bin=str(index))
        for index in (0, 1)
    ]
    return [
        *found,
        series("model_prediction_chi2_critical", f"6.6x{minutes}", **place),
        series("model_prediction_reference_samples", f"10000x{minutes}", **place),
    ]


def values(
    labels: Mapping[str, str],
    *,
    known: int,
    missing: int = 0,
    unseen: int = 0,
    high: int = 0,
    version: Mapping[str, str] = V,
) -> list[Json]:
    """A minute's values of a feature, by what they are."""
    place, minutes = {**labels, **version, "feature": "age"}, 90
    return [
        *distributed(labels, (known // 2, known - known // 2), minutes, version),
        series("model_feature_missing_total", f"0+{missing}x{minutes}", **place),
        series("model_feature_unseen_total", f"0+{unseen}x{minutes}", **place),
        series("model_feature_out_of_range_total", f"0+{high}x{minutes}", **place, side="high"),
        series("model_feature_reference_missing_ratio", f"0.02x{minutes}", **place),
    ]


def labelled(labels: Mapping[str, str], matched: str, predictions: str = "0+10x1800") -> list[Json]:
    return [
        series("model_feedback_total", matched, **labels, **V, outcome="matched"),
        series("model_confusion_total", matched, **labels, **V, actual="1", predicted="1"),
        series("model_predictions_total", predictions, **labels, **V, outcome="success"),
    ]


def gauge(name: str, bad: str, good: str, **labels: str) -> list[Json]:
    return [series(name, bad, **BAD, **labels), series(name, good, **GOOD, **labels)]
