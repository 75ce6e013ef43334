"""Counts are compared within stretches of one share of the traffic: what changes with the shares is no
difference between versions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from tests.unit.domain.rollout_world import START, World, canary, revision

from noria_operator.domain.analysis import Analysis, Counted, Stretch, Turn
from noria_operator.domain.predictions import Outputs
from noria_operator.domain.quality import Labels
from noria_operator.domain.quality_drop import QualityPolicy
from noria_operator.domain.rollout_policy import Policy, PolicyStep
from noria_operator.domain.rollout_state import Reach
from noria_operator.domain.strata import weights
from noria_operator.domain.stretches import APART, MOST, learnt, shares, stretches, turned
from noria_serving.contract import SCORE_BINS

NEW = revision(2).name
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
LOOK = 2 * MINUTE


def test_a_stratum_weighs_what_a_difference_of_its_means_is_worth() -> None:
    assert weights([(900, 100), (50, 50)]) == pytest.approx([90 / 115, 25 / 115])
    assert weights([(7, 3)]) == [1.0]
    assert weights([(900, 100), (0, 50), (10, 0)]) == [1.0, 0.0, 0.0], "who is silent cannot be compared"
    assert weights([(0, 50)]) == [0.0]
    assert weights([]) == []
    same = weights([(900, 100), (1800, 200), (9, 1)])
    assert same == pytest.approx([1000 / 3010, 2000 / 3010, 10 / 3010]), "of the same shares, by their size"


def test_stretches_lie_between_turns_and_labels_count_once_those_of_earlier_predictions_have_come() -> None:
    analysis = Analysis(since=START)
    assert stretches(Analysis(), MINUTE) == []
    assert stretches(analysis, MINUTE) == [Stretch(START, START + MINUTE)]
    turn = START + HOUR
    analysis = turned(analysis, turn, 10 * MINUTE)
    assert stretches(analysis, timedelta()) == [
        Stretch(START, START, turn),
        Stretch(turn, turn + 10 * MINUTE),
    ]
    assert stretches(analysis, 5 * MINUTE) == [
        Stretch(START, START + 5 * MINUTE, turn),
        Stretch(turn, turn + 5 * MINUTE),
    ], "who says how long labels take is believed"
    last = turned(analysis, turn + HOUR, timedelta())
    assert stretches(last, timedelta())[-1] == Stretch(turn + HOUR, turn + HOUR)
    assert stretches(last, timedelta())[1].moments == {turn, turn + 10 * MINUTE, turn + HOUR}


def test_no_label_counts_at_another_weight_before_it_is_known_how_long_labels_take() -> None:
    """None had come yet, or no server had been read yet: those that come now are of earlier predictions."""
    unknown = turned(turned(Analysis(since=START), START + MINUTE, None), START + HOUR, None)
    assert stretches(unknown, timedelta())[1:] == [
        Stretch(START + MINUTE, None, START + HOUR),
        Stretch(START + HOUR, None),
    ]
    assert [one.moments for one in stretches(unknown, timedelta())[1:]] == [
        {START + MINUTE, START + HOUR},
        {START + HOUR},
    ]
    assert stretches(unknown, HOUR)[-1] == Stretch(START + HOUR, START + 2 * HOUR), "who says it is believed"
    assert learnt(unknown, START + 2 * HOUR, None) == unknown
    soon = learnt(unknown, START + 2 * HOUR, 2 * HOUR)
    assert stretches(soon, timedelta())[-1] == Stretch(START + HOUR, START + 3 * HOUR)
    late = learnt(unknown, START + 4 * HOUR, 2 * HOUR)
    assert stretches(late, timedelta())[-1] == Stretch(START + HOUR, START + 4 * HOUR), "never in the past"
    assert learnt(late, START + 5 * HOUR, 9 * HOUR) == late, "they count"


def test_labels_that_take_longer_than_a_stretch_count_in_none_that_has_ended() -> None:
    short = Stretch(START, START + HOUR, START + MINUTE)
    assert short.moments == {START, START + MINUTE}


def test_the_oldest_stretches_go_and_what_lies_before_a_turn_that_was_kept_is_none() -> None:
    analysis = Analysis(since=START)
    for count in range(1, MOST + 3):
        analysis = turned(analysis, START + count * HOUR, None)
        found = stretches(analysis, timedelta())
        assert len(found) == min(count + 1, MOST)
        assert found[-1].ended is None
        lengths = {one.ended - one.began for one in found if one.ended is not None}
        assert lengths <= {HOUR}, "one of several shares"


def test_a_weight_that_climbs_by_itself_begins_a_stretch_with_each_quarter_more() -> None:
    odds: dict[tuple[object, ...], list[float]] = {}
    for weight in range(2, 61):
        odds.setdefault(shares(100 - weight, Reach(weight)), []).append(weight / (100 - weight))
    assert len(odds) < 22
    assert all(max(one) < APART * min(one) for one in odds.values())
    assert shares(0, Reach(100)) == shares(100, Reach())
    assert len({shares(100, one) for one in (Reach(), Reach(mirror=50), Reach(mirror=100))}) == 3


# -- in a rollout

Rows = Counter[tuple[datetime, datetime, str, bool]]
"""How many: by the moment of the prediction, that of its label, whose it is, and whether at night."""


def counted(
    world: World, rows: Rows, outputs: Callable[[int, int], Outputs], labels: Callable[[int, int], Labels]
) -> Counted:
    """What model servers have counted; `outputs` and `labels` are what a version makes of so many rows by day
    and by night.
    """
    analysis = world.state.analysis
    assert analysis is not None
    assert analysis.since is not None
    delay = world.policy.quality.initial_delay if world.policy.quality else timedelta()

    def of(stretch: Stretch) -> Counted:
        last = stretch.ended or world.now + LOOK
        predicted, labelled = Counter[tuple[str, bool]](), Counter[tuple[str, bool]]()
        for (made, came, arm, night), count in rows.items():
            predicted[arm, night] += count * (stretch.began <= made < last)
            counts = stretch.labelled is not None and stretch.labelled <= came < min(last, world.now)
            labelled[arm, night] += count * counts
        return Counted(
            champion=labels(labelled["old", False], labelled["old", True]),
            challenger=labels(labelled["new", False], labelled["new", True]),
            champion_outputs=outputs(predicted["old", False], predicted["old", True]),
            challenger_outputs=outputs(predicted["new", False], predicted["new", True]),
        )

    parts = {one: of(one) for one in stretches(analysis, delay)}
    seen = max((came - made for made, came, _, _ in rows if came < world.now), default=None)
    return replace(of(Stretch(analysis.since, analysis.since)), stretches=parts, delay=seen)


def spread(day: int, night: int) -> Outputs:
    """By day all predictions are low, by night all are high."""
    return Outputs(-7, 0, (*[day // 64] * 64, *[night // 64] * 64))


def scored(right: Mapping[bool, float]) -> Callable[[int, int], Labels]:
    """Labels of a model that is right so often by day and by night."""

    def labels(day: int, night: int) -> Labels:
        good = round(day * right[False]) + round(night * right[True])
        positives = [0] * SCORE_BINS
        positives[20], positives[180] = day + night - good, good
        return Labels.of([0] * SCORE_BINS, positives)

    return labels


EQUAL = scored({False: 0.95, True: 0.85})
WEIGHTS = (PolicyStep(10, HOUR), PolicyStep(50, HOUR))
STEPS: dict[str, tuple[PolicyStep, ...]] = {
    "10, 50": WEIGHTS,
    "mirror, 10, 50": (PolicyStep(0, 6 * MINUTE, mirror=100), *WEIGHTS),
}
QUALITY = Policy(replicas=2, quality=QualityPolicy("accuracy"))
PREDICTIONS = Policy(replicas=2, max_distance=0.2)


def ramp(policy: Policy, steps: tuple[PolicyStep, ...], *late: timedelta, night: timedelta = HOUR) -> World:
    """The last step by night, those before by day. As many requests are labelled as late as each of these
    times; at once where there is none.
    """
    world, rows = canary(replace(policy, steps=steps)), Rows()
    dusk = START + sum((one.duration for one in steps[:-1]), timedelta())
    while world.now < dusk + night:
        new, copies = world.state.weight(NEW), world.state.reach.mirror
        for arm, share in (("old", 100 - new), ("new", new or copies)):
            for delay in late or (timedelta(),):
                rows[world.now, world.now + delay, arm, world.now >= dusk] += 12 * share
        world.send(600)
        world.pass_time(LOOK)
        world.counted = {NEW: counted(world, rows, spread, EQUAL)}
        world.settle()
        if world.state.rejected or world.state.candidate is None:
            break
    return world


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("policy", [QUALITY, PREDICTIONS], ids=["quality", "predictions"])
def test_one_and_the_same_model_is_not_rejected_on_a_ramp_from_day_to_night(
    policy: Policy, steps: tuple[PolicyStep, ...]
) -> None:
    world = ramp(policy, steps)
    assert not world.state.rejected
    analysis = world.state.analysis
    assert analysis is not None
    assert [one.verdict for one in analysis.said] == ["Pass", "Pass"]


def test_each_change_of_the_shares_is_a_turn_and_nothing_else() -> None:
    world = ramp(PREDICTIONS, STEPS["mirror, 10, 50"])
    assert world.state.analysis is not None
    assert world.state.analysis.since == START
    apart = [one.at - START for one in world.state.analysis.turns]
    promoted = 2 * HOUR + 6 * MINUTE
    assert apart == [6 * MINUTE, HOUR + 6 * MINUTE, promoted]


def test_labels_of_earlier_predictions_do_not_count_for_the_weight_at_which_they_come() -> None:
    """By night half of the labels are still those of the day, of which the challenger had fewer."""
    world = ramp(QUALITY, STEPS["10, 50"], 20 * MINUTE)
    assert not world.state.rejected
    assert world.state.analysis is not None
    assert world.state.analysis.turns[0] == Turn(START + HOUR, 20 * MINUTE)


def test_labels_that_come_after_all_weights_were_tried_do_not_count_for_the_last_one() -> None:
    """They take three hours. The first that come are of the day, of which the challenger had fewer."""
    patient = replace(QUALITY, max_hold=10 * HOUR)
    world = ramp(patient, STEPS["10, 50"], 3 * HOUR, night=5 * HOUR)
    assert not world.state.rejected
    assert world.state.stable == revision(2)
    assert world.state.analysis is not None
    assert world.state.analysis.turns[0] == Turn(START + HOUR, 3 * HOUR)


def test_labels_that_turn_out_to_take_longer_count_later_as_long_as_none_counts() -> None:
    """Half of the day's labels take half an hour; that others take more is seen when it is night."""
    patient = replace(QUALITY, max_hold=10 * HOUR)
    world = ramp(patient, STEPS["10, 50"], 30 * MINUTE, 80 * MINUTE, night=4 * HOUR)
    assert not world.state.rejected
    assert world.state.analysis is not None
    assert world.state.analysis.turns[0] == Turn(START + HOUR, 80 * MINUTE)
