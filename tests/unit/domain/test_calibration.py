"""The calibration error is that of a reliability diagram, and noise alone is no loss of calibration."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve

from noria_operator.domain.calibration import ece, noise
from noria_operator.domain.lost import Asked, Stretch, continued, surely_lost
from noria_operator.domain.performance import Measured, measure
from noria_operator.domain.quality import Direction, Labels, rows
from noria_serving.contract import CALIBRATION_BINS as BINS
from noria_serving.contract import SCORE_BINS

MIDDLES = (np.arange(SCORE_BINS) + 0.5) / SCORE_BINS
Numbers = NDArray[np.int64]


def drawn(random: np.random.Generator, count: int, off: float = 0.0) -> Labels:
    """Scores from 0 to 1, and labels that are positive by `off` more often than they say, from 0.3 to 0.7."""
    total = random.multinomial(count, np.full(SCORE_BINS, 1 / SCORE_BINS))
    share = MIDDLES + off * ((MIDDLES > 0.3) & (MIDDLES < 0.7))
    positives: Numbers = random.binomial(total, share)
    return Labels.of((total - positives).tolist(), positives.tolist())


def measured(labels: Labels, metric: str = "ece") -> Measured:
    found = measure(metric, labels)
    assert found is not None
    return found


def test_the_error_is_the_gap_in_scikit_learns_reliability_diagram() -> None:
    labels = drawn(np.random.default_rng(3), 2000, off=0.15)
    negatives, positives = (np.array(side, dtype=int) for side in (labels.negatives, labels.positives))
    scores = np.concatenate([np.repeat(MIDDLES, negatives), np.repeat(MIDDLES, positives)])
    truth = np.repeat([0, 1], [negatives.sum(), positives.sum()])
    share, score = calibration_curve(truth, scores, n_bins=BINS)
    counts = np.histogram(scores, np.linspace(0, 1, BINS + 1))[0]
    assert ece(rows(labels)) == pytest.approx(float(np.average(np.abs(share - score), weights=counts)))


def test_without_labels_there_is_no_error() -> None:
    assert ece(rows(Labels.none())) is None
    assert measure("ece", Labels.none()) is None


def test_scores_at_both_ends_have_a_bin() -> None:
    assert ece([(0.0, 3, 1), (1.0, 1, 3)]) == pytest.approx(0.25)


def test_labels_that_are_all_alike_leave_room_for_others() -> None:
    deviation, excess = noise([(0.05, 40, 0)])
    assert deviation == pytest.approx((0.05 * 0.95 / 40) ** 0.5)
    assert excess == pytest.approx(deviation * (2 / np.pi) ** 0.5)


@pytest.mark.simulated
@pytest.mark.parametrize("off", [0.0, 0.05, 0.2])
def test_chance_adds_what_is_told_at_most_and_the_interval_holds_the_truth(off: float) -> None:
    random, truth = np.random.default_rng(8), 0.4 * off
    windows = [measured(drawn(random, 1000, off)) for _ in range(200)]
    added = float(np.mean([one.value for one in windows])) - truth
    most = float(np.mean([one.excess for one in windows]))
    assert added < 1.05 * most
    assert added == pytest.approx(most, rel=0.05) if off == 0 else added < most
    assert sum(one.low <= truth <= one.high for one in windows) >= 190


def test_smaller_windows_are_no_loss_of_calibration() -> None:
    """A calibrated model's error is larger in a window of few labels; that alone is never a loss."""
    random = np.random.default_rng(1)
    best = measured(drawn(random, 20_000)).high
    small = [measured(drawn(random, 300)) for _ in range(30)]
    assert min(one.value for one in small) > best
    assert not after(small, best)
    assert after([replace(one, excess=0.0) for one in small], best)
    assert after([measured(drawn(random, 300, off=0.3)) for _ in range(30)], best)


@pytest.mark.simulated
def test_the_gap_of_a_calibrated_model_is_never_lost_though_chance_alone_opens_it() -> None:
    """Each of 5 champions had a luckily small gap when it was accepted."""
    random = np.random.default_rng(1)
    for _ in range(5):
        windows = [measured(drawn(random, 500), "calibration") for _ in range(60)]
        assert float(np.mean([one.value for one in windows])) < 1.2 * windows[0].excess
        assert not after(windows, 0.002)


def test_a_gap_that_is_no_chance_is_lost() -> None:
    random = np.random.default_rng(2)
    assert after([measured(drawn(random, 500, off=0.3), "calibration") for _ in range(20)], 0.002)


def after(windows: list[Measured], best: float) -> bool:
    """Whether all of them together surely lose more than half of the best."""
    stretch, asked = Stretch(), Asked(Direction.LOWER, best, 1.5 * best)
    for one in windows:
        stretch = continued(stretch, one, 300, asked)
    return surely_lost(stretch, Direction.LOWER, best) > 0
