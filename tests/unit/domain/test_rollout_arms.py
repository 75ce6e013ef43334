"""Several challengers at once: they begin together, are judged each by itself, and one is left at the end."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from tests.unit.domain.rollout_world import SERVER_UNREAD, World, once, report, revision, seconds, serving

from noria_operator.api.modeldeployment_status import ModelDeploymentStatus
from noria_operator.domain.analysis import Counted, Stretch
from noria_operator.domain.divisions import MOST
from noria_operator.domain.quality import Labels
from noria_operator.domain.quality_drop import QualityPolicy
from noria_operator.domain.rollout_arms import seats
from noria_operator.domain.rollout_conditions import conditions, status
from noria_operator.domain.rollout_policy import Arm, Experiment, Policy, PolicyStep
from noria_operator.domain.rollout_state import REMEMBERED
from noria_operator.domain.rollout_traffic import FULL
from noria_operator.domain.rollout_wire import state_of
from noria_operator.domain.rollout_words import Happened, Phase
from noria_operator.domain.stretches import stretches
from noria_operator.domain.verdict import Verdict
from noria_serving.contract import SCORE_BINS

MINUTE = timedelta(minutes=1)
ARMS = (Arm("m-2", 20), Arm("m-3", 10), Arm("m-4", 10))
TRIAL = Experiment(ARMS, duration=5 * MINUTE, min_requests=500)
ASKED = Policy(replicas=10, experiment=TRIAL, steps=(PolicyStep(10),))


def trial(policy: Policy = ASKED, *, settled: bool = True) -> World:
    """Version 1 serves, and all arms are approved."""
    return once(_tried, policy, settled)


def _tried(policy: Policy, settled: bool) -> World:
    world = serving(1, replace(policy, experiment=None))
    arms = policy.experiment.arms if policy.experiment else ()
    for arm in arms:
        world.approve(int(arm.version[2:]))
    world.edit(experiment=policy.experiment)
    if settled:
        world.settle()
    return world


def weights(world: World) -> dict[str, int]:
    return {share.target.version: share.weight for share in world.state.traffic if share.weight}


def versions(world: World) -> list[str]:
    return [one.target.version for one in world.state.challengers]


def message(world: World) -> str:
    return world.plan.message if world.plan else ""


def test_every_arm_gets_exactly_its_weight_beside_the_champion() -> None:
    world = trial()
    assert versions(world) == ["m-2", "m-3", "m-4"]
    assert weights(world) == {"m-1": 60, "m-2": 20, "m-3": 10, "m-4": 10}
    assert {name: world.pods[revision(int(name[2:])).name] for name in weights(world)} == {
        "m-1": 10, "m-2": 2, "m-3": 1, "m-4": 1,
    }  # fmt: skip
    assert world.plan is not None
    assert world.plan.phase is Phase.PROGRESSING
    assert message(world) == (
        "experiment: m-2 weight 20 Hold, m-3 weight 10 Hold, m-4 weight 10 Hold, until 2026-01-01T00:05:00Z "
        "at least, m-2 got 0 of 500 requests, m-3 got 0 of 500 requests, m-4 got 0 of 500 requests"
    )
    world.run(5, requests=600)
    assert "until" not in message(world)
    assert "m-3 got 1 of" not in message(world)


def test_an_experiment_has_no_step_of_a_canary_in_status_and_goes_on_after_a_restart() -> None:
    """`kubectl get md` shows its number."""
    world = trial(settled=False)
    for _ in range(8):
        world.send(600)
        world.pass_time(MINUTE)
        told = status(report(world), {}, generation=1)
        world.become_ready()
        world.routers_follow()
        assert "step" not in told
        assert state_of(ModelDeploymentStatus.model_validate(told)) == world.state
    assert world.state.step is not None
    assert world.state.step.index == 1
    world.commands["promote"] = "m-4@ann"
    assert status(report(world), {}, generation=1)["step"]["index"] == 1


def test_no_arm_begins_before_all_have_their_pods() -> None:
    world = trial(settled=False)
    world.reconcile()
    for number in (2, 3):
        world.become_ready(revision(number).name)
        world.reconcile()
    assert weights(world) == {"m-1": 100}
    assert "m-4: 0 of 1 pods ready" in message(world)
    world.become_ready()
    world.reconcile()
    assert weights(world) == {"m-1": 60, "m-2": 20, "m-3": 10, "m-4": 10}
    since = {mine.analysis.since for mine in world.state.others if mine.analysis}
    assert world.state.analysis is not None
    assert since == {world.state.analysis.since} == {world.now}


def test_an_arm_that_never_gets_ready_is_aborted_and_the_others_begin() -> None:
    world = trial(settled=False)
    world.reconcile()
    for number in (2, 4):
        world.become_ready(revision(number).name)
    world.pass_time(11 * MINUTE)
    world.reconcile()
    assert versions(world) == ["m-2", "m-4"]
    assert world.state.is_rejected(revision(3))
    world.settle()
    assert weights(world) == {"m-1": 70, "m-2": 20, "m-4": 10}


@pytest.mark.parametrize("bad", [2, 3, 4])
def test_an_arm_that_fails_loses_its_weight_at_once_and_the_others_go_on(bad: int) -> None:
    world = trial()
    name = revision(bad).name
    others = {
        version: weight for version, weight in weights(world).items() if version not in ("m-1", f"m-{bad}")
    }
    world.run(1, requests=100)
    evidence = {one.candidate.target.version: one.analysis for one in world.state.others}
    world.run(2, requests=1000, errors={name: 60})
    assert Happened.ROLLED_BACK in world.events
    assert f"m-{bad}" not in versions(world)
    assert world.state.weight(name) == 0
    assert name not in world.pods
    assert weights(world) == {"m-1": FULL - sum(others.values()), **others}
    for one in world.state.others:
        before = evidence.get(one.candidate.target.version)
        assert one.analysis is not None
        assert before is None or one.analysis.evidence.windows >= before.evidence.windows > 0
    assert world.state.rejected[-1].reason.count("fails more often") == 1


def test_weight_0_of_a_failed_arm_is_written_before_its_pods_go() -> None:
    world = trial()
    name = revision(3).name
    while not world.state.is_rejected(revision(3)):
        world.send(1000, {name: 60})
        world.pass_time(seconds(10))
        world.reconcile()
    assert world.state.weight(name) == 0
    assert world.pods[name] == 1, "routers still send to it"
    world.routers_follow()
    world.reconcile()
    world.reconcile()
    assert name not in world.pods


def test_an_arm_that_loses_its_pods_gives_its_weight_to_the_champion_until_they_are_back() -> None:
    world = trial()
    world.lose_pods(revision(2).name)
    world.reconcile()
    assert weights(world) == {"m-1": 80, "m-3": 10, "m-4": 10}
    world.settle()
    assert weights(world) == {"m-1": 60, "m-2": 20, "m-3": 10, "m-4": 10}


def test_an_arm_has_no_more_weight_than_its_ready_pods_carry() -> None:
    world = trial()
    world.lose_pods(revision(2).name, 1)
    world.reconcile()
    assert weights(world) == {"m-1": 70, "m-2": 10, "m-3": 10, "m-4": 10}


def test_an_arm_grows_for_the_weight_that_routers_still_send_by() -> None:
    """Its smaller weight is written and not yet read back when `replicas` grows."""
    world = trial(Policy(replicas=1, experiment=replace(TRIAL, arms=(Arm("m-1", 1), Arm("m-2", 24)))))
    world.edit(experiment=replace(TRIAL, arms=(Arm("m-1", 1), Arm("m-2", 1))))
    world.reconcile()
    world.edit(replicas=5)
    world.reconcile()
    assert weights(world) == {"m-1": 99, "m-2": 1}
    assert world.pods[revision(2).name] == 2, "24 % of what 5 pods carry"
    world.settle()
    assert world.pods[revision(2).name] == 1


def test_the_deadline_of_an_arm_counts_its_own_missing_pods_alone() -> None:
    """One never comes up, and another one loses its pods as the first one's time is over."""
    world = trial(settled=False)
    world.reconcile()
    world.become_ready(revision(2).name)
    world.become_ready(revision(3).name)
    world.reconcile()
    world.pass_time(9 * MINUTE)
    world.lose_pods(revision(2).name)
    world.reconcile()
    world.pass_time(MINUTE)
    world.reconcile()
    assert versions(world) == ["m-2", "m-3"]
    world.become_ready(revision(2).name)
    world.settle()
    world.lose_pods(revision(3).name)
    world.reconcile()
    assert versions(world) == ["m-2", "m-3"]
    assert weights(world) == {"m-1": 80, "m-2": 20}
    world.pass_time(10 * MINUTE)
    world.reconcile()
    assert versions(world) == ["m-2"]


def between(two: int, three: int) -> Experiment:
    """Two arms with these weights; the first has pods for any."""
    return replace(TRIAL, arms=(Arm("m-2", two, replicas="100%"), Arm("m-3", three)))


def test_arms_exchange_their_weights_in_one_write() -> None:
    world = trial(replace(ASKED, experiment=between(10, 80)))
    world.edit(experiment=between(80, 10))
    world.reconcile()
    assert weights(world) == {"m-1": 10, "m-2": 80, "m-3": 10}


def test_arms_exchange_what_the_champion_cannot_hold_meanwhile() -> None:
    world = trial(replace(ASKED, experiment=between(10, 80)))
    world.lose_pods(revision(1).name)
    world.edit(experiment=between(80, 10))
    world.reconcile()
    assert weights(world) == {"m-2": 80, "m-3": 20}
    world.settle()
    assert weights(world) == {"m-1": 10, "m-2": 80, "m-3": 10}


def owners(world: World) -> list[str]:
    found = {
        percent: share.target.version
        for share in world.state.traffic
        for start, end in share.ranges
        for percent in range(start, end + 1)
    }
    return [found[percent] for percent in sorted(found)]


def test_users_move_between_the_champion_and_an_arm_alone() -> None:
    world = trial()
    before = owners(world)
    assert {version: before.count(version) for version in before} == weights(world)
    world.run(2, requests=1000, errors={revision(2).name: 60})
    after = owners(world)
    moved = {(one, other) for one, other in zip(before, after, strict=True) if one != other}
    assert moved == {("m-2", "m-1")}
    world.edit(experiment=replace(TRIAL, arms=(Arm("m-2", 20), Arm("m-3", 30), Arm("m-4", 5))))
    world.settle()
    last = owners(world)
    moved = {(one, other) for one, other in zip(after, last, strict=True) if one != other}
    assert moved == {("m-1", "m-3"), ("m-4", "m-1")}
    assert {version: last.count(version) for version in last} == {"m-1": 65, "m-3": 30, "m-4": 5}


def test_the_last_arm_keeps_its_users_whichever_it_is() -> None:
    world = trial(replace(ASKED, experiment=replace(TRIAL, arms=ARMS[:2])))
    before = owners(world)
    world.run(2, requests=1000, errors={revision(2).name: 60})
    assert versions(world) == ["m-3"]
    assert [index for index, one in enumerate(before) if one == "m-3"] == [
        index for index, one in enumerate(owners(world)) if one == "m-3"
    ]


def test_evidence_goes_on_for_every_arm_by_itself_and_survives_being_written() -> None:
    world = trial()
    world.run(2, requests=1000)
    seen = {one.candidate.target.version: one.analysis for one in world.state.others}
    assert world.state.analysis is not None
    counts = [world.state.analysis.evidence.challenger.requests]
    counts += [analysis.evidence.challenger.requests for analysis in seen.values() if analysis]
    assert counts[0] > counts[1] == counts[2] > 0


def test_false_passes_are_shared_by_the_arms() -> None:
    """354 requests without an error pass one challenger at tolerated 0.01; three need e 60."""
    world = trial()
    verdicts = {}
    for _ in range(40):
        world.run(1 / 6, requests=100)
        analysis = world.state.others[0].analysis
        assert analysis is not None
        verdicts[analysis.evidence.challenger.requests] = analysis.verdict
    passed = min(count for count, verdict in verdicts.items() if verdict is Verdict.PASS)
    held = max(count for count, verdict in verdicts.items() if verdict is Verdict.HOLD)
    assert 354 < held < passed < 600


def test_the_best_arm_by_errors_takes_over_and_the_others_are_left() -> None:
    policy = replace(ASKED, tolerated=0.2, keep_previous=timedelta())
    world = trial(policy)
    rates = {1: 0.06, 2: 0.06, 3: 0.005, 4: 0.06}
    sent = 4000

    def errors() -> dict[str, int]:
        shares = {name: world.routers[0].get(name, 0) for name in world.pods}
        return {
            revision(n).name: int(sent * 2 * shares.get(revision(n).name, 0) / 100 * rate)
            for n, rate in rates.items()
        }

    for _ in range(80):
        world.send(sent, errors())
        world.pass_time(seconds(10))
        world.settle()
        if world.state.stable == revision(3):
            break
    assert world.state.stable == revision(3)
    assert world.events[-2:] == [Happened.PASSED, Happened.PROMOTED]
    assert "m-2, m-4 end here" in world.state.history[-2].message
    world.settle()
    assert weights(world) == {"m-3": 100}
    assert world.plan is not None
    assert (world.plan.phase, world.state.challengers) == (Phase.HEALTHY, ())
    assert {one.version for one in world.state.rejected if one.lost} == {"m-2", "m-4"}
    world.pass_time(60 * MINUTE)
    world.settle()
    assert world.state.stable == revision(3), "a newer arm that lost is not followed"
    assert world.state.candidate is None


def succeeded() -> World:
    """Version 3 won an experiment that still stands in the spec, and version 5 came after it."""
    return once(_succeeded, replace(ASKED, keep_previous=timedelta()))


def _succeeded(policy: Policy) -> World:
    world = trial(policy)
    world.commands["promote"] = "m-3@ann"
    world.settle()
    world.approve(5)
    world.run(3, requests=2000)
    assert world.state.stable == revision(5)
    return world


def test_an_experiment_that_is_over_stays_over_however_many_versions_fail_after_it() -> None:
    """It may stand in the spec for months."""
    world = trial()
    world.commands["promote"] = "m-4@ann"
    world.settle()
    for number in range(5, 5 + REMEMBERED + 2):
        world.approve(number)
        world.settle()
        assert versions(world) == [f"m-{number}"]
        world.commands["abort"] = str(number)
        world.settle()
    assert (world.state.stable, versions(world)) == (revision(4), [])
    assert len(world.state.rejected) == REMEMBERED
    world.commands["retry"] = "1"
    world.settle()
    assert versions(world) == [f"m-{4 + REMEMBERED + 2}"]


def test_the_winner_is_not_compared_with_its_own_successor() -> None:
    world = succeeded()
    world.run(3, requests=2000)
    assert versions(world) == []
    assert message(world) == "m-5 serves"
    world.state = replace(world.state, champions=(revision(5),))
    world.settle()
    assert versions(world) == [], "also once ten others have served since then"


def test_another_arm_in_the_spec_of_an_experiment_that_is_over_begins_one_with_all_that_may_be_tried() -> (
    None
):
    world = succeeded()
    world.approve(6)
    world.edit(experiment=replace(TRIAL, arms=(*ARMS, Arm("m-6", 10))))
    world.settle()
    assert versions(world) == ["m-3", "m-6"]
    world.run(2, requests=1000, errors={revision(6).name: 60})
    assert versions(world) == ["m-3"], "who is on trial stays"


def test_a_retry_of_a_newer_version_does_not_begin_an_experiment_again_that_is_over() -> None:
    world = succeeded()
    world.approve(6)
    world.settle()
    world.commands["abort"] = "1"
    world.settle()
    assert world.state.is_rejected(revision(6))
    world.commands["retry"] = "1"
    world.settle()
    assert versions(world) == ["m-6"]
    assert {one.version for one in world.state.rejected} == {"m-2", "m-4"}
    world.run(3, requests=2000)
    assert world.state.stable == revision(6)
    world.commands["retry"] = "2"
    world.settle()
    assert versions(world) == ["m-2", "m-3", "m-4"], "nothing else is there to be tried again"


def labels(good: int, bad: int) -> Labels:
    """Scores 0.9 for positives and 0.1 for negatives; `bad` the other way."""
    high, low = int(0.9 * SCORE_BINS), int(0.1 * SCORE_BINS)
    positives, negatives = [0] * SCORE_BINS, [0] * SCORE_BINS
    positives[high], negatives[low], positives[low], negatives[high] = good, good, bad, bad
    return Labels.of(negatives, positives)


def test_the_best_arm_by_quality_takes_over_only_when_that_is_sure() -> None:
    quality = replace(TRIAL, arms=ARMS[:2], metric="quality", duration=MINUTE, min_requests=0)
    world = trial(replace(ASKED, quality=QualityPolicy("accuracy", 0.02), experiment=quality))
    champion = labels(3000, 900)

    def told(good: int, bad: int, other: tuple[int, int]) -> None:
        two, three = (revision(number).name for number in (2, 3))
        world.counted = {two: Counted(champion=champion, challenger=labels(good, bad))}
        world.counted[three] = Counted(champion=champion, challenger=labels(*other))

    told(3000, 700, (3000, 690))
    world.run(3, requests=1000)
    assert world.state.stable == revision(1)
    assert "waiting for a winner" in message(world)
    told(3000, 400, (3000, 900))
    world.run(2, requests=1000)
    assert world.state.stable == revision(2)


def test_weights_that_are_edited_make_no_arm_sure_to_be_better() -> None:
    """All answer alike at any time; one in a hundred requests fails before the edit, one in ten after it."""
    asked = replace(ASKED, tolerated=0.2, max_hold=60 * MINUTE, experiment=between(10, 40))
    world = trial(asked)
    for rate, arms in ((1, between(10, 40)), (10, between(40, 10))):
        world.edit(experiment=arms)
        world.settle()
        for _ in range(40):
            world.send(1000)
            for name, weight in world.routers[0].items():
                world.answer(name, weight * 10, weight * 10 * rate // 100)
            world.pass_time(seconds(10))
            world.settle()
    assert versions(world) == ["m-2", "m-3"]
    assert "waiting for a winner" in message(world)
    assert {len(mine.analysis.divided) for mine in seats(world.state) if mine.analysis} == {2}


def test_pods_that_come_back_go_on_with_what_was_seen_before() -> None:
    world = trial()
    world.run(1, requests=1000)
    world.lose_pods(revision(3).name)
    world.reconcile()
    world.routers_follow()
    world.send(1000)
    world.pass_time(seconds(10))
    world.run(1, requests=1000)
    first = world.state.analysis
    assert first is not None
    assert [one.champion.requests for one in first.divided.values()] == [13200, 2800]
    assert (
        sum(one.challenger.requests for one in first.divided.values()) == first.evidence.challenger.requests
    )


def test_what_comes_in_ever_other_divisions_of_traffic_is_not_kept() -> None:
    world = trial()
    for weight in range(1, 40):
        world.edit(experiment=replace(TRIAL, arms=(ARMS[0], Arm("m-3", weight), ARMS[2])))
        world.settle()
        world.run(1 / 6, requests=1000)
    assert world.state.analysis is not None
    assert len(world.state.analysis.divided) == MOST


def test_a_division_in_which_nobody_asked_anything_takes_the_place_of_none() -> None:
    """As at night, while weights are tried out, or pods come and go."""
    world = trial()
    for weight in range(1, 40):
        world.edit(experiment=replace(TRIAL, arms=(ARMS[0], Arm("m-3", weight), ARMS[2])))
        world.settle()
        world.pass_time(seconds(10))
        world.settle()
    world.run(1, requests=1000)
    assert world.state.analysis is not None
    (seen,) = world.state.analysis.divided.values()
    assert seen.challenger == world.state.analysis.evidence.challenger


Told = list[tuple[datetime, str, int, int]]
"""When which version was how often right and how often wrong."""


def tell(world: World, told: Told) -> None:
    """Labels come at once: what model servers have counted of each arm and of the champion."""

    def of(version: str, stretch: Stretch) -> Labels:
        ends = stretch.ended or world.now + MINUTE
        rows = [row for row in told if row[1] == version and stretch.began <= row[0] < ends]
        return labels(sum(row[2] for row in rows), sum(row[3] for row in rows))

    for mine in seats(world.state):
        assert mine.analysis is not None
        assert mine.candidate is not None
        target = mine.candidate.target
        parts = {
            one: Counted(champion=of("m-1", one), challenger=of(target.version, one))
            for one in stretches(mine.analysis, timedelta())
        }
        world.counted[target.name] = Counted(stretches=parts, delay=timedelta())


@pytest.mark.parametrize(("ahead", "winner"), [(0.0, 1), (0.1, 2)])
def test_labels_of_before_and_after_an_edit_of_weights_are_compared_by_themselves(
    ahead: float, winner: int
) -> None:
    """Everybody is right less often after it, when version 2 has most of its labels."""
    first, then = (
        replace(between(*both), metric="quality", duration=40 * MINUTE, min_requests=0)
        for both in ((10, 40), (40, 10))
    )
    policy = QualityPolicy("accuracy", 0.2)
    world, told = trial(replace(ASKED, quality=policy, experiment=first)), Told()
    for right, arms in ((0.95, first), (0.7, then)):
        world.edit(experiment=arms)
        world.settle()
        for _ in range(20):
            for version, weight in weights(world).items():
                good = round(10 * weight * (right + ahead * (version == "m-2" and right < 0.9)))
                told.append((world.now, version, good, 10 * weight - good))
            world.send(1000)
            world.pass_time(MINUTE)
            tell(world, told)
            world.settle()
    assert world.state.stable == revision(winner)
    assert ("waiting for a winner" in message(world)) == (winner == 1)


def test_stretches_are_those_of_all_arms() -> None:
    """One arm loses its pod and gets it back, and another one fails; the third one keeps its weight."""
    world = trial(replace(ASKED, quality=QualityPolicy("accuracy", 0.2)))
    begun = world.now
    world.run(1, requests=1000)
    world.lose_pods(revision(3).name)
    world.reconcile()
    world.run(2, requests=1000, errors={revision(2).name: 60})
    assert versions(world) == ["m-3", "m-4"]
    turns = {mine.analysis.turns for mine in seats(world.state) if mine.analysis}
    assert [[one.at - begun for one in arm] for arm in turns] == [[seconds(60), seconds(70), seconds(150)]]


def tied(**changes: object) -> World:
    """Arms without any error: nobody is better than anybody."""
    asked = replace(ASKED, max_hold=10 * MINUTE, experiment=replace(TRIAL, **changes))  # type: ignore[arg-type]
    return once(_held, asked)


def _held(policy: Policy) -> World:
    world = trial(policy)
    world.run(16, requests=6000, every=60)
    return world


@pytest.mark.parametrize(
    ("promote", "why"),
    [("Sure", "is not surely better than"), ("Best", "is as good or better"), ("Never", "not surely better")],
)
def test_without_a_winner_it_stays_as_it_is_for_a_person_to_choose(promote: str, why: str) -> None:
    world = tied(promote=promote)
    assert world.plan is not None
    assert world.plan.phase is Phase.PAUSED
    assert world.events.count(Happened.PAUSED) == (2 if promote == "Never" else 1)
    assert weights(world) == {"m-1": 60, "m-2": 20, "m-3": 10, "m-4": 10}
    told = next(entry for entry in reversed(world.state.history) if entry.event == Happened.PAUSED)
    assert why in told.message
    assert "annotate noria.dev/promote: <version>" in told.message
    assert message(world).startswith("experiment paused at m-2 weight 20")
    assert told.message in message(world), "it says so for as long as it lasts"


@pytest.mark.parametrize("aborts", [False, True], ids=["pauses", "aborts"])
def test_whom_a_person_has_to_name_is_said_once_the_figures_are_there(aborts: bool) -> None:
    """And not only by maxHold, which may end all arms."""
    experiment = replace(TRIAL, promote="Never")
    world = trial(replace(ASKED, max_hold=60 * MINUTE, abort_on_max_hold=aborts, experiment=experiment))
    world.run(3, requests=6000, every=60)
    assert "promote" not in message(world)
    assert world.events.count(Happened.PAUSED) == 0
    world.run(6, requests=6000, every=60)
    assert world.plan is not None
    assert world.plan.phase is Phase.PROGRESSING
    assert "waiting for a winner" not in message(world)
    assert message(world).endswith("annotate noria.dev/promote: <version> to name the winner, or abort")
    (told,) = (entry for entry in world.state.history if entry.event == Happened.PAUSED)
    assert told.message == (
        "m-2, m-3, m-4: time and requests are full; "
        "annotate noria.dev/promote: <version> to name the winner, or abort"
    )
    world.commands["promote"] = "m-3@ann"
    world.settle()
    world.run(3, requests=6000)
    assert world.state.stable == revision(3)


def test_a_hold_for_requests_says_which_arm_got_too_few() -> None:
    """Also where it is sure by then who is the best."""
    short = replace(TRIAL, arms=ARMS[:2], min_requests=30_000)
    world = trial(replace(ASKED, max_hold=10 * MINUTE, tolerated=0.2, experiment=short))
    rates = {revision(1).name: 900, revision(2).name: 900}
    world.run(16, requests=6000, every=60, errors=rates)
    assert world.plan is not None
    assert world.plan.phase is Phase.PAUSED
    told = next(entry for entry in reversed(world.state.history) if entry.event == Happened.PAUSED)
    assert "within maxHold 10m: m-3 got 18000 of 30000 requests; m-3 is surely better than" in told.message


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_arm_that_is_pinned_while_it_loses_pods_loses_weight_as_well(place: int) -> None:
    """Its canary's first step asks for fewer pods than the weight that it keeps."""
    arms = tuple(replace(arm, weight=70 if at == place else 5) for at, arm in enumerate(ARMS))
    world = trial(replace(ASKED, experiment=replace(TRIAL, arms=arms)))
    pinned = revision(place + 2)
    world.lose_pods(pinned.name, 3)
    world.edit(experiment=None, pinned=pinned.version)
    world.reconcile()
    assert weights(world) == {"m-1": 70, pinned.version: 30}


def test_with_on_max_hold_abort_all_arms_end() -> None:
    world = trial(replace(ASKED, max_hold=10 * MINUTE, abort_on_max_hold=True))
    world.run(16, requests=6000, every=60)
    assert weights(world) == {"m-1": 100}
    assert all(world.state.is_rejected(revision(number)) for number in (2, 3, 4))
    assert world.events.count(Happened.ROLLED_BACK) == 1


def test_arms_whose_pods_come_once_a_spec_is_not_read_whole_end_with_their_time() -> None:
    world = trial(replace(ASKED, abort_on_max_hold=True, max_hold=MINUTE), settled=False)
    for _ in range(3):
        world.reconcile()
        world.routers_follow()
    world.edit(unread="spec.newer")
    world.settle()
    assert message(world).startswith(
        "experiment stays at m-2 weight 0, m-3 weight 0, m-4 weight 0; spec.newer"
    )
    world.pass_time(7 * MINUTE)
    world.settle()
    assert world.state.challengers == ()
    assert "no winner within maxHold 1m" in world.state.history[-1].message


def test_a_person_names_the_winner() -> None:
    world = tied()
    world.commands["promote"] = "m-4@ann"
    world.settle()
    assert world.state.stable == revision(4)
    assert weights(world) == {"m-4": 100}
    assert world.events[-2:] == [Happened.BY_HAND, Happened.PROMOTED]
    assert world.state.history[-2].message == (
        "m-4 is promoted by hand (noria.dev/promote m-4@ann); m-2, m-3 end here"
    )
    assert {one.reason for one in world.state.rejected} == {
        "m-4 is promoted by hand (noria.dev/promote m-4@ann)"
    }


def test_arms_that_lost_keep_what_the_champion_cannot_carry_until_the_winner_takes_over() -> None:
    world = trial(replace(ASKED, experiment=replace(TRIAL, arms=(Arm("m-2", 40), Arm("m-3", 40)))))
    world.lose_pods(revision(1).name, 1)
    world.commands["promote"] = "m-2@ann"
    world.reconcile()
    assert weights(world) == {"m-1": 20, "m-2": 40, "m-3": 40}
    world.become_ready(revision(1).name)
    world.reconcile()
    assert weights(world) == {"m-1": 60, "m-2": 40}
    world.settle()
    assert weights(world) == {"m-2": 100}


def test_the_last_arm_needs_no_name() -> None:
    world = trial(replace(ASKED, experiment=replace(TRIAL, arms=ARMS[:2])))
    world.run(2, requests=1000, errors={revision(2).name: 60})
    world.commands["promote"] = "ann"
    world.settle()
    assert world.state.stable == revision(3)


@pytest.mark.parametrize("command", ["promote", "promote-full"])
def test_a_promotion_that_names_no_arm_is_refused_and_says_which_there_are(command: str) -> None:
    world = trial()
    world.commands[command] = "ann"
    world.settle()
    assert world.events[-1] is Happened.REFUSED
    assert "one of m-2, m-3, m-4" in world.state.history[-1].message
    assert weights(world)["m-2"] == 20


@pytest.mark.parametrize("command", ["promote", "promote-full"])
@pytest.mark.parametrize("name", ["", "m-2@"])
def test_a_promotion_that_comes_with_other_arms_names_one_that_is_still_asked_for(
    command: str, name: str
) -> None:
    """The first arm has just left the spec: no arm gets all of the traffic beside the shares of others."""
    world = trial()
    world.edit(experiment=replace(TRIAL, arms=ARMS[1:]))
    world.commands[command] = f"{name}ann"
    world.reconcile()
    assert Happened.REFUSED in world.events
    assert "one of m-3, m-4" in "".join(entry.message for entry in world.state.history)
    assert weights(world) == {"m-1": 80, "m-3": 10, "m-4": 10}
    assert not world.state.is_rejected(revision(3))
    world.settle()
    assert versions(world) == ["m-3", "m-4"]


def test_an_abort_ends_all_arms_until_a_retry() -> None:
    world = trial()
    world.commands["abort"] = "1"
    world.reconcile()
    assert weights(world) == {"m-1": 100}
    assert world.events.count(Happened.ROLLED_BACK) == 1
    world.settle()
    assert set(world.pods) == {revision(1).name}
    world.pass_time(60 * MINUTE)
    world.settle()
    assert world.state.challengers == ()
    world.commands["retry"] = "1"
    world.settle()
    assert versions(world) == ["m-2", "m-3", "m-4"]
    assert [one.attempt for one in world.state.challengers] == [2, 2, 2]


@pytest.mark.parametrize("command", ["abort", "undo"])
@pytest.mark.parametrize("there", [False, True], ids=["missing", "pending"])
def test_who_ends_all_arms_ends_those_too_that_were_waited_for(command: str, there: bool) -> None:
    world = trial(replace(ASKED, experiment=replace(TRIAL, arms=ARMS[:2])))
    if there:
        world.approve(4, "PendingApproval")
    world.edit(experiment=TRIAL)
    world.settle()
    assert versions(world) == ["m-2", "m-3"]
    world.commands[command] = "1"
    world.settle()
    world.approve(4)
    world.settle()
    assert world.state.challengers == ()
    world.commands["retry"] = "1"
    world.settle()
    assert versions(world) == ["m-2", "m-3", "m-4"]


@pytest.mark.parametrize("command", ["abort", "undo"])
def test_arms_on_trial_are_ended_once_though_the_spec_is_not_read_whole(command: str) -> None:
    world = trial(replace(ASKED, experiment=replace(TRIAL, arms=ARMS[:2])))
    world.edit(experiment=TRIAL, unread=SERVER_UNREAD)
    world.settle()
    world.commands[command] = "1"
    world.settle()
    assert sorted(one.version for one in world.state.rejected) == ["m-2", "m-3", "m-4"]
    world.edit(unread="")
    world.approve(4, config="bbbbbb")
    made = world.settle()
    assert (world.state.challengers, world.state.stable) == ((), revision(1)), made.message


@pytest.mark.parametrize("there", [0, 1, 2])
def test_an_abort_ends_an_experiment_that_waits_for_arms(there: int) -> None:
    world = serving(1, ASKED)
    for number in (2, 3, 4)[:there]:
        world.approve(number)
    world.settle()
    world.commands["abort"] = "1"
    made = world.settle()
    assert "m-2, m-3, m-4 will not be tried: noria.dev/abort 1" in world.state.history[-1].message
    assert Happened.ROLLED_BACK not in world.events
    assert "waiting" not in made.message
    for number in (2, 3, 4):
        world.approve(number)
    world.settle()
    assert world.state.challengers == ()
    world.commands["retry"] = "1"
    world.settle()
    assert versions(world) == ["m-2", "m-3", "m-4"]


def test_an_abort_ends_an_arm_too_that_no_version_can_be() -> None:
    """Its name has no number, as one that somebody mistyped."""
    world = trial(replace(ASKED, experiment=replace(TRIAL, arms=ARMS[:2])))
    world.edit(experiment=replace(TRIAL, arms=(*ARMS[:2], Arm("m-v4", 10))))
    world.settle()
    assert versions(world) == ["m-2", "m-3"]
    world.commands["abort"] = "1"
    world.settle()
    assert weights(world) == {"m-1": 100}
    for number in range(5, 5 + REMEMBERED):
        world.approve(number)
        world.commands["abort"] = str(number)
        world.settle()
    assert (world.state.stable, versions(world)) == (revision(1), [])


def test_an_arm_that_was_aborted_before_it_was_there_waits_for_a_retry_with_the_others_of_a_new_list() -> (
    None
):
    world = serving(1, ASKED)
    world.approve(2)
    world.settle()
    world.commands["abort"] = "1"
    world.settle()
    world.approve(5)
    world.approve(6)
    world.edit(experiment=replace(TRIAL, arms=(*ARMS, Arm("m-5", 10), Arm("m-6", 10))))
    world.settle()
    assert versions(world) == ["m-5", "m-6"]


@pytest.mark.parametrize("there", [False, True], ids=["made after it", "made before"])
def test_a_version_made_after_its_name_was_aborted_is_followed_once_no_experiment_names_it(
    there: bool,
) -> None:
    world = serving(1, ASKED)
    world.approve(2)
    world.settle()
    world.commands["abort"] = "1"
    world.settle()
    if there:
        world.approve(3)
        world.settle()
    assert (world.state.challengers, len(world.state.rejected)) == ((), 3)
    world.edit(experiment=None)
    world.settle()
    world.approve(3)
    world.settle()
    assert versions(world) == ["m-3"]
    assert [one.version for one in world.state.rejected] == ["m-2"]


def test_names_that_were_aborted_bring_no_version_back_that_was_rejected_before_as_many_others() -> None:
    world = serving(1, replace(ASKED, experiment=replace(TRIAL, arms=(Arm("m-2", 10), Arm("m-v3", 10)))))
    world.approve(2)
    world.settle()
    for number in range(5, 5 + REMEMBERED):
        world.commands["abort"] = str(number)
        world.settle()
        world.approve(number)
        world.settle()
    world.commands["abort"] = "the last"
    world.settle()
    assert len(world.state.rejected) == REMEMBERED
    world.edit(experiment=None)
    world.settle()
    assert (world.state.stable, versions(world)) == (revision(1), [])


def test_a_pause_holds_the_end_and_an_arm_still_fails_in_it() -> None:
    world = trial()
    world.commands["pause"] = "1"
    world.settle()
    world.run(2, requests=1000, errors={revision(3).name: 60})
    assert versions(world) == ["m-2", "m-4"]
    world.commands["resume"] = "1"
    world.settle()
    assert weights(world) == {"m-1": 70, "m-2": 20, "m-4": 10}


def test_arms_that_are_paused_before_they_begin_begin_together_when_that_is_over() -> None:
    """One of them needs no weight that the pause could keep."""
    arms = (ARMS[0], Arm("m-3", match=(("x-team", "a"),), replicas="10%"))
    world = trial(replace(ASKED, experiment=replace(TRIAL, arms=arms)), settled=False)
    world.reconcile()
    world.commands["pause"] = "1"
    world.settle()
    assert [str(mine.reach) for mine in seats(world.state)] == ["weight 0", "weight 0"]
    world.pass_time(MINUTE)
    world.commands["resume"] = "1"
    world.settle()
    assert [mine.analysis.since for mine in seats(world.state) if mine.analysis] == [world.now] * 2
    assert str(world.state.reach_of(revision(3))) == "weight 0 and requests with x-team: a"


@pytest.mark.parametrize("kept", [timedelta(), timedelta(hours=1)], ids=["gone", "warm"])
@pytest.mark.parametrize("there", [0, 2], ids=["no arm", "some arms"])
@pytest.mark.parametrize("numbers", [(2, 3, 4), (6, 7, 8), (1, 6, 7)], ids=["older", "newer", "one of them"])
@pytest.mark.parametrize("config", ["aaaaaa", "bbbbbb"])
def test_an_undo_waits_for_no_experiment_that_waits_for_arms(
    config: str, numbers: tuple[int, ...], there: int, kept: timedelta
) -> None:
    """Whatever configuration the spec asks for by now."""
    world = serving(1, replace(ASKED, experiment=None, keep_previous=kept))
    world.approve(5)
    world.settle()
    world.run(20, requests=2000)
    world.settle()
    world.edit(experiment=replace(TRIAL, arms=tuple(Arm(f"m-{number}", 10) for number in numbers)))
    for number in (1, 5, *numbers[:there]):
        world.approve(number, config=config)
    world.settle()
    assert world.state.stable == revision(5)
    world.commands["undo"] = "1"
    world.settle()
    world.settle()
    assert (world.state.stable, weights(world)["m-1"]) == (revision(1), 100)
    for number in numbers:
        world.approve(number, config=config)
    world.settle()
    left = [f"m-{number}" for number in numbers if number > 1]
    assert versions(world) == left, "they meet the one that serves now"


@pytest.mark.parametrize("config", ["aaaaaa", "bbbbbb"])
@pytest.mark.parametrize("there", [1, 3])
def test_an_abort_beside_an_undo_of_the_champion_ends_the_experiment_that_waits(
    there: int, config: str
) -> None:
    world = serving(1, replace(ASKED, experiment=None))
    world.approve(5)
    world.settle()
    world.run(20, requests=2000)
    arms = (1, 6, 7, 8)
    world.edit(experiment=replace(TRIAL, arms=tuple(Arm(f"m-{number}", 10) for number in arms)))
    for number in (1, 5, *arms[:there]):
        world.approve(number, config=config)
    world.settle()
    assert (world.state.stable, world.state.challengers) == (revision(5), ())
    world.commands |= {"abort": "1", "undo": "2"}
    world.settle()
    for number in arms:
        world.approve(number, config=config)
    world.settle()
    assert (world.state.stable, weights(world)) == (revision(1), {"m-1": 100})


@pytest.mark.parametrize("command", ["m-1@1", "1"], ids=["further back", "to the champion"])
def test_an_undo_of_an_experiment_begins_with_no_other_configuration_of_the_champion(command: str) -> None:
    world = serving(1, replace(ASKED, experiment=None))
    world.approve(5)
    world.settle()
    world.run(20, requests=2000)
    world.edit(experiment=replace(TRIAL, arms=(Arm("m-6", 10), Arm("m-7", 10))))
    for number in (1, 5, 6, 7):
        world.approve(number, config="bbbbbb")
    world.settle()
    assert versions(world) == ["m-6", "m-7"]
    world.commands["undo"] = command
    world.settle()
    back = revision(1 if "@" in command else 5)
    assert (world.state.stable, weights(world)) == (back, {back.version: 100})
    world.commands["retry"] = "1"
    world.settle()
    assert Happened.RETRIED in world.events


def test_an_undo_ends_all_arms_and_the_champion_serves() -> None:
    world = trial()
    world.commands["undo"] = "1"
    world.settle()
    assert weights(world) == {"m-1": 100}
    assert world.state.challengers == ()


def test_a_canary_that_kept_its_weight_when_its_steps_were_edited_gets_that_of_its_arm() -> None:
    world = serving(1, replace(ASKED, experiment=None, steps=(PolicyStep(50, 60 * MINUTE),)))
    world.approve(2)
    world.settle()
    world.edit(steps=(PolicyStep(30, 60 * MINUTE),))
    world.settle()
    assert weights(world) == {"m-1": 50, "m-2": 50}
    world.edit(experiment=replace(TRIAL, arms=(Arm("m-2", 10), Arm("m-3", 70))))
    world.settle()
    assert weights(world) == {"m-1": 90, "m-2": 10}
    world.approve(3)
    world.settle()
    assert weights(world) == {"m-1": 20, "m-2": 10, "m-3": 70}


def test_requests_of_an_experiment_that_was_edited_twice_still_count_for_every_arm() -> None:
    world = trial()
    world.run(12, requests=6000, every=60)
    for weight in (11, 12):
        assert "waiting for a winner" in message(world)
        world.edit(experiment=replace(TRIAL, arms=(*ARMS[:2], Arm("m-4", weight))))
        world.settle()
    assert "waiting for a winner" in message(world)


def test_an_edit_is_told_that_gives_arms_each_others_weights_and_no_other_order_of_them() -> None:
    world = trial(replace(ASKED, experiment=replace(TRIAL, arms=(Arm("m-2", 20), Arm("m-3", 10)))))
    world.edit(experiment=replace(TRIAL, arms=(Arm("m-3", 10), Arm("m-2", 20))))
    world.settle()
    assert Happened.EDITED not in world.events
    world.edit(experiment=replace(TRIAL, arms=(Arm("m-3", 20), Arm("m-2", 10))))
    world.settle()
    assert world.events.count(Happened.EDITED) == 1


def test_requests_of_the_open_window_count_when_the_experiment_is_full_and_when_it_is_edited() -> None:
    short = replace(TRIAL, arms=ARMS[:2], duration=timedelta(), min_requests=300)
    world = trial(replace(ASKED, experiment=short))
    world.run(1 / 5, requests=1000, every=3)
    assert "waiting for a winner" in message(world)
    world.send(1000)
    world.edit(experiment=replace(short, min_requests=301))
    world.settle()
    assert "waiting for a winner" in message(world)
    assert world.state.step is not None
    for mine in seats(world.state):
        assert mine.analysis is not None
        assert mine.step is not None
        assert mine.step.requests == mine.analysis.evidence.challenger.requests > 300


def test_an_arm_that_is_taken_out_of_the_spec_leaves_and_the_others_stay() -> None:
    world = trial()
    world.edit(experiment=replace(TRIAL, arms=(ARMS[0], ARMS[2])))
    world.settle()
    assert weights(world) == {"m-1": 70, "m-2": 20, "m-4": 10}
    assert not world.state.is_rejected(revision(3))
    assert set(world.pods) == {revision(number).name for number in (1, 2, 4)}


def test_an_arm_that_joins_later_is_judged_but_a_person_has_to_choose() -> None:
    world = trial(replace(ASKED, max_hold=10 * MINUTE, experiment=replace(TRIAL, arms=ARMS[:2])))
    world.run(3, requests=1000)
    world.approve(4)
    world.edit(experiment=TRIAL)
    world.settle()
    assert weights(world) == {"m-1": 60, "m-2": 20, "m-3": 10, "m-4": 10}
    assert "m-4 began later, so that a person has to choose" in message(world)
    world.run(20, requests=6000, every=60)
    assert "did not begin together" in "".join(entry.message for entry in world.state.history)


def test_arms_that_leave_together_keep_what_the_champion_cannot_carry() -> None:
    arms = tuple(Arm(f"m-{number}", 10) for number in range(2, 10))
    world = trial(replace(ASKED, experiment=replace(TRIAL, arms=arms)))
    world.lose_pods(revision(1).name, 1)
    world.edit(experiment=None, pinned="m-1")
    world.reconcile()
    assert weights(world) == {"m-1": 20} | {f"m-{number}": 10 for number in range(2, 10)}
    world.settle()
    assert weights(world) == {"m-1": 100}


def test_an_arm_that_gave_all_it_had_keeps_no_pod_busy_for_the_one_that_gives_a_part() -> None:
    """The champion has two pods of five that were asked for just now: a fifth pod is the light arm's."""
    heavy = (Arm("m-2", 5), Arm("m-3", 70, replicas="100%"))
    world = trial(replace(ASKED, replicas=2, experiment=replace(TRIAL, arms=heavy)))
    assert weights(world) == {"m-1": 25, "m-2": 5, "m-3": 70}
    world.approve(4)
    world.edit(experiment=None, replicas=5)
    world.reconcile()
    assert weights(world) == {"m-1": 50, "m-3": 50}
    world.settle()
    assert versions(world) == ["m-4"]
    assert world.state.weight("d-3-aaaaaa") == 0


def test_a_newer_version_waits_for_the_end_of_the_experiment() -> None:
    world = trial()
    world.approve(9)
    world.run(1, requests=1000)
    assert versions(world) == ["m-2", "m-3", "m-4"]
    world.commands["abort"] = "1"
    world.settle()
    assert versions(world) == ["m-9"]


def test_the_experiment_waits_until_all_arms_are_approved() -> None:
    world = serving(1, ASKED)
    world.approve(2)
    world.approve(3, "PendingApproval")
    world.settle()
    assert world.state.challengers == ()
    assert "m-4 does not exist, m-3 is PendingApproval" in message(world)
    shown = {one.type: (one.status, one.reason) for one in conditions(report(world))}
    assert shown["Stalled"] == (True, "VersionUnavailable")
    assert not shown["UpToDate"][0]
    world.approve(3)
    world.approve(4)
    world.settle()
    assert versions(world) == ["m-2", "m-3", "m-4"]
    assert not next(one.status for one in conditions(report(world)) if one.type == "Stalled")


def test_an_experiment_of_which_no_arm_is_there_yet_is_told_and_newer_versions_wait_for_its_end() -> None:
    world = serving(1, ASKED)
    world.settle()
    assert message(world).startswith(
        "experiment: m-2 does not exist, m-3 does not exist, m-4 does not exist, "
    )
    world.approve(9)
    world.settle()
    assert versions(world) == []
    world.commands["abort"] = "1"
    world.settle()
    assert versions(world) == ["m-9"]


def test_a_name_that_nobody_made_holds_nothing_up_once_another_arm_won() -> None:
    world = trial(replace(ASKED, experiment=replace(TRIAL, arms=ARMS[:2])))
    world.edit(experiment=replace(TRIAL, arms=(*ARMS[:2], Arm("m-60", 10))))
    world.settle()
    world.commands["promote"] = "m-3@ann"
    world.settle()
    assert (world.state.stable, message(world)) == (revision(3), "m-3 serves")
    world.approve(5)
    world.settle()
    assert versions(world) == ["m-5"]


@pytest.mark.parametrize("ended", ["abort", "promote"])
def test_arms_that_were_deleted_after_the_experiment_hold_nothing_up(ended: str) -> None:
    world = trial()
    world.commands[ended] = "m-3@ann"
    world.settle()
    world.approve(5)
    world.run(3, requests=2000)
    assert world.state.stable == revision(5)
    for number in (2, 3, 4):
        del world.versions[f"m-{number}"]
        world.approve(5 + number)
        world.settle()
        assert (versions(world), "waiting for it" in message(world)) == ([f"m-{5 + number}"], False)


@pytest.mark.parametrize(
    ("there", "stalled"),
    [
        ({2: "Validating"}, False),
        ({2: "Approved", 3: "Pending"}, False),
        ({2: "Rejected"}, True),
        ({2: "PendingApproval"}, True),
        ({3: "Approved", 4: "Approved"}, True),
    ],
    ids=["is verified", "is new", "was refused", "waits for a person", "was passed over"],
)
def test_an_experiment_is_stalled_by_what_does_not_come_by_itself(
    there: dict[int, str], stalled: bool
) -> None:
    world = serving(1, ASKED)
    for number, phase in there.items():
        world.approve(number, phase)
    world.settle()
    assert "waiting for it to be Approved" in message(world)
    shown = {one.type: (one.status, one.reason) for one in conditions(report(world))}
    assert (shown["Stalled"][0], shown["UpToDate"][0]) == (stalled, False)


@pytest.mark.parametrize(("last", "stalled"), [("m-8", False), ("m-60", True), ("m-v8", True)])
def test_arms_behind_a_version_that_was_refused_come_by_themselves(last: str, stalled: bool) -> None:
    """Version 6 is: nobody looks at it, and the next run makes version 7."""
    arms = (Arm("m-7", 10), Arm(last, 10))
    world = serving(5, replace(ASKED, experiment=replace(TRIAL, arms=arms)))
    for number in (None, 7):
        if number:
            world.approve(number)
        world.settle()
        shown = {one.type: one.status for one in conditions(report(world))}
        assert shown["Stalled"] == stalled


def test_the_first_champion_is_no_arm() -> None:
    world = World(ASKED)
    for number in (1, 2, 3, 4):
        world.approve(number)
    world.settle()
    assert world.state.stable == revision(1)
    assert versions(world) == ["m-2", "m-3", "m-4"]


def test_without_the_experiment_in_the_spec_the_newest_arm_goes_on_as_a_canary() -> None:
    world = trial(replace(ASKED, steps=(PolicyStep(10), PolicyStep(50))))
    world.edit(experiment=None)
    world.settle()
    assert versions(world) == ["m-4"]
    assert weights(world)["m-4"] == 50
    assert owners(world) == []


def test_arms_can_be_reached_by_header_without_a_weight() -> None:
    arms = (Arm("m-2", match=(("x-team", "a"),), replicas="20%"), Arm("m-3", match=(("x-team", "b"),)))
    world = trial(replace(ASKED, experiment=replace(TRIAL, arms=arms)))
    assert weights(world) == {"m-1": 100}
    reaches = {share.target.version: share.match for share in world.state.traffic if share.match}
    assert reaches == {"m-2": (("x-team", "a"),), "m-3": (("x-team", "b"),)}
    assert world.pods[revision(2).name] == 2


def test_a_warm_former_champion_can_be_an_arm() -> None:
    world = serving(1, Policy(replicas=2, keep_previous=60 * MINUTE))
    world.approve(2)
    world.settle()
    assert world.state.previous is not None
    world.approve(3)
    arms = (Arm("m-1", 10), Arm("m-3", 10))
    world.edit(experiment=replace(TRIAL, arms=arms))
    world.settle()
    assert versions(world) == ["m-1", "m-3"]
    assert weights(world) == {"m-2": 80, "m-1": 10, "m-3": 10}


def test_a_pause_among_the_steps_of_canaries_is_none_of_an_experiment() -> None:
    world = trial(replace(ASKED, steps=(PolicyStep(replicas="100%", pause=True), PolicyStep(50))))
    assert world.plan is not None
    assert world.plan.phase is Phase.PROGRESSING
    world.edit(replicas=0)
    world.settle()
    assert "m-2 stays at weight 20 until replicas, which is 0, is raised" in message(world)


def test_an_experiment_that_may_ask_for_no_pods_says_why_it_does_not_begin() -> None:
    world = serving(1, replace(ASKED, experiment=None))
    for arm in ARMS[:2]:
        world.approve(int(arm.version[2:]))
    world.obstacle = "claim models is not there"
    world.edit(experiment=replace(TRIAL, arms=ARMS[:2]))
    world.settle()
    assert message(world) == world.obstacle
    assert world.plan is not None
    assert world.plan.phase is Phase.PROGRESSING
    shown = {one.type: (one.status, one.reason) for one in conditions(report(world))}
    assert shown["Stalled"] == (True, "VolumeUnavailable")
    assert not shown["UpToDate"][0], "who waits for something is woken when a claim changes"
    world.obstacle = ""
    world.settle()
    world.obstacle = "claim models is not there"
    world.approve(4)
    world.edit(experiment=TRIAL)
    world.settle()
    assert versions(world) == ["m-2", "m-3"]
    assert message(world).endswith("; claim models is not there")


def test_nobody_is_an_arm_while_replicas_is_0() -> None:
    world = trial(replace(ASKED, replicas=0))
    assert world.state.challengers == ()


def test_another_configuration_begins_the_experiment_again() -> None:
    world = trial()
    for number in (1, 2, 3, 4):
        world.approve(number, config="bbbbbb")
    world.settle(20)
    assert [one.target.revision for one in world.state.challengers] == ["bbbbbb"] * 3
    assert world.state.stable == revision(1)
    assert sum(weights(world).values()) == 100
