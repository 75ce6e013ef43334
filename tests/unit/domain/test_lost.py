"""A loss is sure or it waits, however often one looks."""

from __future__ import annotations

import json
import random

import pytest

from noria_operator.domain.lost import OF_LEVEL, Asked, Stretch, continued, level, surely_lost
from noria_operator.domain.performance import Measured
from noria_operator.domain.proportions import Z95
from noria_operator.domain.quality import Direction

LOWER, HIGHER = Direction.LOWER, Direction.HIGHER
ERROR = 0.02


def window(value: float, error: float = ERROR) -> Measured:
    return Measured(value, value - Z95 * error, value + Z95 * error)


def stretch(*values: float, labels: int = 1000) -> Stretch:
    found = Stretch()
    for value in values:
        found = found.plus(value, ERROR, labels)
    return found


def lost(asked: Asked, *values: float) -> Stretch:
    found = Stretch()
    for value in values:
        found = continued(found, window(value), 1000, asked)
    return found


@pytest.mark.simulated
@pytest.mark.parametrize("direction", [LOWER, HIGHER])
def test_while_nothing_is_lost_hardly_any_of_many_windows_proves_a_loss(direction: Direction) -> None:
    """At the worst: against the true value itself, and with hardly any drop allowed."""
    source, alarms = random.Random(3), 0
    asked = Asked(direction, 0.5, 0.5 + (0.0005 if direction is LOWER else -0.0005))
    for _ in range(200):
        found, alarmed = Stretch(), False
        for _ in range(100):
            found = continued(found, window(source.gauss(0.5, ERROR)), 1000, asked)
            alarmed = alarmed or surely_lost(found, direction, 0.5) > 0
        alarms += alarmed
    assert alarms <= 6  # 2 of 200 to expect at most; more than 6 would be seen once in 200 seeds


@pytest.mark.simulated
def test_the_level_held_is_hardly_ever_better_than_the_quality() -> None:
    source, wrong = random.Random(4), 0
    for _ in range(200):
        held, best = Stretch(), 1.0
        for _ in range(100):
            held = held.plus(source.gauss(0.5, ERROR), ERROR, 1000)
            best = min(best, level(held, LOWER))
        wrong += best < 0.5
    assert wrong <= 200 * OF_LEVEL * 2


@pytest.mark.parametrize(
    ("values", "windows", "sure"),
    [
        ((0.51,), 0, False),  # within what is allowed
        ((0.58,), 1, False),
        ((0.58, 0.58), 2, True),
        ((0.55, 0.55), 2, False),
        ((0.55,) * 5, 5, True),
        ((0.55, 0.55, 0.40), 0, False),  # the mean is not worse any more: it begins anew
        ((9.0,), 1, False),  # one window proves nothing, however bad it is
        ((9.0, 0.50), 2, False),
        ((9.0, 0.50, 0.50, 0.50), 0, False),
    ],
)
def test_a_stretch_lasts_while_its_mean_is_worse_than_the_threshold(
    values: tuple[float, ...], windows: int, sure: bool
) -> None:
    found = lost(Asked(LOWER, 0.5, 0.525), *values)
    assert (found.windows, surely_lost(found, LOWER, 0.5) > 0) == (windows, sure)


def test_what_is_surely_lost_grows_to_what_is_lost() -> None:
    shown = [surely_lost(lost(Asked(LOWER, 0.5, 0.525), *[0.56] * count), LOWER, 0.5) for count in (3, 9, 90)]
    assert shown == sorted(shown)
    assert 0.045 < shown[-1] < 0.06


def test_one_window_is_enough_where_one_is_asked_for() -> None:
    assert surely_lost(lost(Asked(HIGHER, 0.9, 0.85, alone=True), 0.7), HIGHER, 0.9) > 0


def test_a_label_counts_as_much_as_any_other() -> None:
    mixed = Stretch().plus(0.5, 0.01, 9000).plus(0.9, 0.03, 1000)
    assert mixed.mean == pytest.approx(0.54)


def test_a_stretch_is_the_same_after_it_was_written_down() -> None:
    found = stretch(0.51, 0.49)
    assert Stretch.of(json.loads(json.dumps(found.state))) == found
    assert Stretch.of(None) == Stretch()


def test_windows_without_an_error_are_taken_at_their_word() -> None:
    sure = Stretch().plus(1.0, 0.0, 10)
    assert level(sure, HIGHER) == 1.0
