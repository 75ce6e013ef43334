"""What the rules compute: golden numbers of drift, shares of values, quality with bounds, budgets, ages."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest
from tests.rules.promtool import Expected, Labels, firing, groups, judge, needed, series
from tests.rules.test_alerts import CASES
from tests.rules.world import (
    BAD,
    GOOD,
    V,
    asked,
    at,
    counter,
    distributed,
    predicted,
    routed,
    served,
    timed,
    values,
)

Json = dict[str, Any]


def recorded(name: str, when: str, *samples: tuple[Labels, float]) -> Expected:
    return Expected(when, name, [({"__name__": name, **labels}, value) for labels, value in samples])


def rounded(name: str, when: str, digits: int, *samples: tuple[Labels, float]) -> Expected:
    """The same, compared to so many digits: promtool compares exactly."""
    return Expected(when, f"round({name}, 1e-{digits})", samples)


def golden() -> list[Json]:
    """Four equal bins of 10,000 values, and the counts that two pods add each minute."""
    found: list[Json] = []
    for feature, pods in (
        ("f1", ((10, 20, 30, 40), (40, 30, 20, 10))),
        ("f2", ((10, 20, 30, 40), (10, 20, 30, 40))),
    ):
        place = {**V, "namespace": "shop", "deployment": "d", "feature": feature}
        for index in range(4):
            found.append(series("model_feature_reference_ratio", "0.25x240", **place, bin=str(index)))
            for pod, counts in zip("ab", pods, strict=True):
                found.append(
                    series(
                        "model_feature_bin_total", f"0+{counts[index]}x240", **place, bin=str(index), pod=pod
                    )
                )
        found.append(series("model_feature_chi2_critical", "11.34x240", **place))
        found.append(series("model_feature_reference_samples", "10000x240", **place))
    return found


D = {**V, "namespace": "shop", "deployment": "d"}
F1, F2 = {**D, "feature": "f1"}, {**D, "feature": "f2"}


def test_drift_has_the_golden_numbers(tmp_path: Path) -> None:
    """Counts are summed over pods before they are compared: opposite skews of two pods are no drift."""
    judge(
        tmp_path,
        [*golden(), served({"namespace": "shop", "deployment": "d"})],
        rounded("model:feature_psi:1h", "115m", 6, (F1, 0), (F2, 0.228129)),
        rounded("model:feature_jsd_bits:1h", "115m", 6, (F1, 0), (F2, 0.040187)),
        rounded("model:feature_linf:1h", "115m", 6, (F1, 0), (F2, 0.149975)),
        recorded("model:feature_samples:increase1h", "115m", (F1, 12000), (F2, 12000)),
        rounded("model:feature_noise_floor:1h", "115m", 6, (F1, 0.002079), (F2, 0.002079)),
        recorded("model:drifted_features:ratio1h", "115m", (D, 0.5)),
        firing("NoriaFeatureDrift", "200m", F2),
    )


def test_predictions_drift_as_features_do(tmp_path: Path) -> None:
    judge(
        tmp_path,
        predicted(BAD, (80, 20)),
        rounded("model:prediction_psi:1h", "115m", 4, (at(BAD, **V), 0.4157)),
        recorded("model:prediction_drifted:bool1h", "115m", (at(BAD, **V), 1)),
    )


def test_an_idle_model_does_not_drift(tmp_path: Path) -> None:
    judge(
        tmp_path,
        distributed(BAD, (0, 0)),
        recorded("model:feature_drifted:bool1h", "115m", (at(BAD, **V, feature="age"), 0)),
    )


def test_values_are_shared_out_by_what_they_are(tmp_path: Path) -> None:
    place = at(BAD, **V, feature="age")
    judge(
        tmp_path,
        values(BAD, known=80, missing=15, unseen=5, high=10),
        rounded("model:feature_missing:ratio1h", "80m", 6, (place, 0.15)),
        rounded("model:feature_unseen:ratio1h", "80m", 6, (place, 0.05)),
        rounded("model:feature_out_of_range:ratio1h", "80m", 6, (place, 0.1)),
    )


def confusion(counts: Sequence[tuple[str, str, int]]) -> list[Json]:
    """Labelled rows, (actual, predicted, how many) in half a day."""
    return [
        series(
            "model_confusion_total", f"0+{count / 720}x720", **BAD, **V, actual=actual, predicted=predicted
        )
        for actual, predicted, count in counts
    ]


def test_accuracy_has_wilsons_bounds(tmp_path: Path) -> None:
    z, n, share = NormalDist().inv_cdf(0.975), 1000, 0.8
    middle, width = share + z * z / (2 * n), z * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    low, high = ((middle + sign * width) / (1 + z * z / n) for sign in (-1, 1))
    place = at(BAD, **V)
    judge(
        tmp_path,
        confusion([("1", "1", 300), ("0", "0", 500), ("0", "1", 150), ("1", "0", 50)]),
        rounded("model:accuracy:ratio1d", "12h", 4, (place, 0.8)),
        rounded("model:accuracy_low:ratio1d", "12h", 3, (place, round(low, 3))),
        rounded("model:accuracy_high:ratio1d", "12h", 3, (place, round(high, 3))),
    )


def test_accuracy_is_that_of_any_number_of_classes(tmp_path: Path) -> None:
    judge(
        tmp_path,
        confusion([("cat", "cat", 300), ("dog", "dog", 200), ("eel", "dog", 450), ("eel", "eel", 50)]),
        rounded("model:accuracy:ratio1d", "12h", 4, (at(BAD, **V), 0.55)),
    )


def test_calibration_is_that_of_tenths_with_bounds(tmp_path: Path) -> None:
    """Scores of 0.15, of which 0.3 are positive, and of 0.85, of which 0.8 are: distances 0.15 and 0.05."""
    counted = [
        series(f"model_calibration_{what}_total", f"0+{each}x720", **BAD, **V, bin=name, pod=pod)
        for pod, share in (("a", 0.25), ("b", 0.75))
        for name, rows, score, positive in (("0.1..0.2", 3, 0.15, 0.3), ("0.8..0.9", 1, 0.85, 0.8))
        for what, each in (
            ("rows", rows * share), ("scores", rows * share * score), ("positives", rows * share * positive)
        )
    ]  # fmt: skip
    empty = series("model_calibration_rows_total", "0x720", **BAD, **V, bin="0.9..1", pod="a")
    place, deviations = at(BAD, **V), (3 * 720 * 0.3 * 0.7, 720 * 0.8 * 0.2)
    margin = 1.96 * sum(deviations) ** 0.5 / (4 * 720)
    noise = (2 / pi) ** 0.5 * sum(one**0.5 for one in deviations) / (4 * 720)
    judge(
        tmp_path,
        [*counted, empty],
        rounded("model:calibration_error:1d", "12h", 4, (place, 0.125)),
        rounded("model:calibration_gap:1d", "12h", 4, (place, 0.1)),
        rounded("model:calibration_error_margin:1d", "12h", 4, (place, round(margin, 4))),
        rounded("model:calibration_error_noise:1d", "12h", 4, (place, round(noise, 4))),
    )


def test_slices_are_summed_over_pods_before_they_are_compared(tmp_path: Path) -> None:
    group = {**V, "feature": "sex", "slice": "f"}
    counted = [
        series("model_slice_positive_predictions_total", f"0+{positive}x720", **BAD, **group, pod=pod)
        for pod, positive in (("a", 1), ("b", 2))
    ]
    counted += [
        series("model_slice_predictions_total", f"0+{rows}x720", **BAD, **group, pod=pod)
        for pod, rows in (("a", 1), ("b", 9))
    ]
    counted += [
        series(
            "model_slice_confusion_total",
            f"0+{count}x720",
            **BAD,
            **group,
            actual=actual,
            predicted=predicted,
        )
        for actual, predicted, count in (("1", "1", 3), ("0", "0", 5), ("0", "1", 1), ("1", "0", 1))
    ]
    counted += [
        series("model_slice_errors_labelled_total", "0+2x720", **BAD, **group),
        series("model_slice_errors_absolute_total", "0+1x720", **BAD, **group, side="over"),
        series("model_slice_errors_absolute_total", "0+4x720", **BAD, **group, side="under"),
    ]
    place = at(BAD, **group)
    judge(
        tmp_path,
        counted,
        rounded("model:slice_positive:ratio1d", "12h", 4, (place, 0.3)),
        rounded("model:slice_accuracy:ratio1d", "12h", 4, (place, 0.8)),
        rounded("model:slice_mean_absolute_error:1d", "12h", 4, (place, 2.5)),
    )


def test_a_regressions_error_has_its_margin(tmp_path: Path) -> None:
    """Half of the rows are off by 1, half by 3: mean 2, mean square 5, so a deviation of 1."""
    place = at(BAD, **V)
    judge(
        tmp_path,
        [
            series("model_errors_labelled_total", "0+1x720", **BAD, **V),
            series("model_errors_absolute_total", "0+0.5x720", **BAD, **V, side="over"),
            series("model_errors_absolute_total", "0+1.5x720", **BAD, **V, side="under"),
            series("model_errors_squared_total", "0+5x720", **BAD, **V),
        ],
        rounded("model:mean_absolute_error:1d", "12h", 4, (place, 2)),
        rounded("model:mean_absolute_error_margin:1d", "12h", 3, (place, round(1.96 / 720**0.5, 3))),
    )


def test_labels_tell_how_many_they_are_and_how_late(tmp_path: Path) -> None:
    place = at(BAD, model="m")
    delays = [
        series("model_label_delay_seconds_bucket", f"0+{count}x720", **BAD, **V, le=le)
        for le, count in (("60.0", 0), ("600.0", 5), ("3600.0", 10), ("+Inf", 10))
    ]
    fours = [series("model_feedback_total", "0+1x720", **one, **V, outcome="matched") for one in (BAD, GOOD)]
    requests = [
        series("model_predictions_total", "0+10x720", **one, **V, outcome="success") for one in (BAD, GOOD)
    ]
    known = [
        series("model_confusion_total", f"0+{count}x720", **BAD, **V, actual=actual, predicted="1")
        for actual, count in (("0", 1), ("1", 3))
    ]
    errors = series("model_errors_labelled_total", "0+4x720", **GOOD, **V)
    judge(
        tmp_path,
        [*fours, *requests, *known, errors, *delays],
        rounded("model:label_coverage:ratio1d", "12h", 4, (place, 0.4), (at(GOOD, model="m"), 0.4)),
        rounded("model:label_delay_seconds:p50_1d", "12h", 2, (place, 600)),
        rounded("model:label_delay_seconds:p95_1d", "12h", 2, (place, 3300)),
    )


def test_budgets_tell_what_is_left_of_them(tmp_path: Path) -> None:
    judge(
        tmp_path,
        [*routed(BAD, 1000, 0.5, 100), *timed(BAD, 100, 2, 100), *routed(GOOD, 1000, 0, 100)],
        rounded("deployment:availability_budget:ratio30d", "90m", 4, (BAD, 0.5), (GOOD, 1)),
        rounded("deployment:latency_budget:ratio30d", "90m", 4, (BAD, -1)),
        recorded("deployment:requests:rate5m", "90m", (BAD, 1000 / 60), (GOOD, 1000 / 60)),
    )


def test_requests_of_clients_count_until_their_rate_is_over(tmp_path: Path) -> None:
    """A challenger gets copies, then requests, of which all fail, and then neither."""
    given = [
        *routed(BAD, 60, 0, 60),
        *routed(BAD, 60, 60, 60, counter((60, 40), (0, 20)), cluster="2-bbbbbb"),
        *asked(BAD, "0x19 1x19 0x40"),
    ]
    failing = {"19m": 0, "21m": 1, "40m": 1, "42m": 1, "47m": 0}
    judge(
        tmp_path,
        given,
        *(
            Expected(when, "deployment:errors:rate5m > bool 0", [(BAD, said)])
            for when, said in failing.items()
        ),
        recorded("deployment:requests:rate5m", "19m", (BAD, 1)),
        recorded("deployment:requests:rate5m", "30m", (BAD, 2)),
    )


WINDOWS = {"30m": 30, "1h": 60, "2h": 120, "6h": 360, "1d": 1440, "3d": 4320}


@pytest.mark.parametrize("kind", ["error", "slow"])
def test_a_ratio_is_that_of_its_window(kind: str, tmp_path: Path) -> None:
    """Four in ten for twenty minutes after days without are seven or eight minutes of nothing else (a rate
    takes five to rise), in whatever window: times its length each ratio is the same.
    """
    quiet, bad = 4400, 20
    when, minutes = f"{quiet + bad}m", quiet + bad + 1
    failing = counter((0, quiet), (400, bad + 1))
    if kind == "error":
        given = routed(BAD, 1000, 0, minutes, failing)
    else:
        given = timed(BAD, 1000, 0, minutes, counter((1000, quiet), (600, bad + 1)))
    names = {window: f"deployment:{kind}_ratio:rate{window}" for window in WINDOWS}
    judge(
        tmp_path,
        given,
        rounded(f"deployment:{kind}_ratio:rate5m", when, 2, (BAD, 0.4)),
        *(
            Expected(when, f"round({names[window]} * {length}, 4)", [(BAD, 8)])
            for window, length in WINDOWS.items()
        ),
        every="2m",
    )


def test_versions_have_requests_errors_and_times_of_their_own(tmp_path: Path) -> None:
    place = at(BAD, **V)
    buckets = [
        series("model_request_duration_seconds_bucket", f"0+{count}x30", **BAD, **V, le=le)
        for le, count in (("0.1", 50), ("0.25", 95), ("0.5", 99), ("+Inf", 100))
    ]
    requests = [
        series("model_requests_total", f"0+{count}x30", **BAD, **V, outcome=outcome)
        for outcome, count in (("success", 54), ("server_error", 6))
    ]
    judge(
        tmp_path,
        [*buckets, *requests],
        rounded("version:requests:rate5m", "20m", 4, (place, 1)),
        rounded("version:server_errors:rate5m", "20m", 4, (place, 0.1)),
        rounded("version:request_duration_seconds:p50", "20m", 4, (place, 0.1)),
        rounded("version:request_duration_seconds:p95", "20m", 4, (place, 0.25)),
        rounded("version:request_duration_seconds:p99", "20m", 4, (place, 0.5)),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("noria:objective:availability_ratio", 0.999),
        ("noria:objective:latency_ratio", 0.99),
        ("noria:objective:model_age_seconds", 30 * 86400),
        ("noria:objective:data_age_seconds", 45 * 86400),
        ("noria:objective:fix_seconds", 86400),
    ],
)
def test_objectives_are_figures_to_compare_with(name: str, value: float, tmp_path: Path) -> None:
    judge(tmp_path, [series("up", "1x10")], recorded(name, "5m", ({}, value)))


def test_every_rule_is_run_by_a_test() -> None:
    text = Path(__file__).read_text() + " ".join(CASES)
    run = {rule.get("record") or rule["alert"] for group in needed(text) for rule in group["rules"]}
    every = {rule.get("record") or rule["alert"] for group in groups() for rule in group["rules"]}
    assert every - run == set()
