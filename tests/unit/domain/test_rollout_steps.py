"""Steps as settings and waits: what is in force in each of them, and what it takes to go on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.domain.rollout_world import START, World, canary, revision, seconds

from noria_operator.domain import predictions, quality_drop
from noria_operator.domain.predictions import Outputs
from noria_operator.domain.quality import Labels
from noria_operator.domain.quality_drop import QualityPolicy
from noria_operator.domain.queries import Answer, Asked, QueryPolicy
from noria_operator.domain.rollout_policy import Policy, PolicyStep
from noria_operator.domain.rollout_state import Reach, Step
from noria_operator.domain.rollout_steps import asked, fingerprint, pods, ramped
from noria_operator.domain.rollout_words import Happened, Phase
from noria_operator.domain.verdict import Judgement, Verdict, together
from noria_serving.contract import SCORE_BINS

V1, V2, V3 = revision(1), revision(2), revision(3)
OLD, NEW = V1.name, V2.name
HEADERS = (("x-canary", "always"),)
HOURS = timedelta(hours=9)
MIXED = (
    PolicyStep(mirror=40),
    PolicyStep(match=HEADERS, replicas="75%"),
    PolicyStep(10),
    PolicyStep(20, replicas="7", pause=True),
    PolicyStep(match=()),
)


@pytest.mark.parametrize(
    ("index", "reach", "count"),
    [
        (0, Reach(0, 40), 2),
        (1, Reach(0, 0, HEADERS), 3),
        (2, Reach(10, 0, HEADERS), 3),
        (3, Reach(20, 0, HEADERS), 7),
        (4, Reach(20), 7),
        (5, Reach(20), 7),
    ],
)
def test_a_setting_stays_until_a_later_step_changes_it_but_for_the_mirror(
    index: int, reach: Reach, count: int
) -> None:
    policy, step = Policy(replicas=4, steps=MIXED), Step(index, START)
    assert (asked(policy, step), pods(policy, step)) == (reach, count)


@pytest.mark.parametrize(
    ("one", "replicas", "count"),
    [
        (PolicyStep(50, replicas="1"), 10, 5),
        (PolicyStep(mirror=100, replicas="1"), 10, 10),
        (PolicyStep(replicas="100%"), 10, 10),
        (PolicyStep(replicas="1%"), 10, 1),
        (PolicyStep(replicas="20"), 10, 20),
        (PolicyStep(match=HEADERS), 10, 1),
        (PolicyStep(replicas="20"), 0, 0),
    ],
)
def test_replicas_are_never_fewer_than_weight_and_mirror_need(
    one: PolicyStep, replicas: int, count: int
) -> None:
    assert pods(Policy(replicas=replicas, steps=(one,)), Step(0, START)) == count


def test_the_mirror_of_the_last_step_stays_until_the_verdict_and_all_traffic_needs_nothing_beside() -> None:
    policy = Policy(replicas=4, steps=(PolicyStep(mirror=40, replicas="9"),))
    assert asked(policy, Step(1, START)) == Reach(0, 40)
    released = Step(1, START, released=True)
    assert (asked(policy, released), pods(policy, released)) == (Reach(100), 4)


def test_a_field_at_its_default_edits_no_step_that_an_older_operator_began() -> None:
    old = (PolicyStep(10, min_requests=100), PolicyStep(pause=True), PolicyStep(50, timedelta(minutes=1)))
    assert fingerprint(old) == "2c3960d7"
    changed = [PolicyStep(mirror=1), PolicyStep(match=HEADERS), PolicyStep(match=()), PolicyStep(gate=True)]
    prints = {fingerprint((one,)) for one in (*changed, PolicyStep(replicas="2"), PolicyStep())}
    assert len(prints) == 6


def at(*steps: PolicyStep, replicas: int = 4) -> World:
    return canary(Policy(replicas=replicas, steps=steps))


def index(world: World) -> int | None:
    return world.state.step.index if world.state.step else None


def test_copies_need_the_pods_that_carry_them_and_are_fewer_while_pods_are_missing() -> None:
    world = at(PolicyStep(mirror=100, duration=HOURS))
    assert (world.state.reach, world.pods[NEW], world.state.verified) == (Reach(0, 100), 4, True)
    for ready, mirror in ((2, 50), (0, 0), (3, 0), (4, 100)):
        world.ready[NEW] = ready
        world.reconcile()
        assert world.state.reach == Reach(0, mirror)
        assert world.state.weight(OLD) == 100
        world.routers_follow()
    assert world.events.count(Happened.FALLBACK) == 2


def test_headers_lead_to_the_challenger_only_while_it_has_a_pod() -> None:
    world = at(PolicyStep(match=HEADERS, duration=HOURS))
    assert world.state.reach == Reach(0, 0, HEADERS)
    world.lose_pods(NEW)
    world.reconcile()
    assert world.state.reach == Reach()
    world.settle()
    assert world.state.reach == Reach(0, 0, HEADERS)


def test_a_change_of_copies_or_headers_is_read_back_before_the_step_counts() -> None:
    world = at(PolicyStep(mirror=50, duration=seconds(10)), PolicyStep(match=HEADERS, duration=seconds(10)))
    world.pass_time(seconds(11))
    world.reconcile()
    assert (index(world), world.state.reach, world.state.verified) == (1, Reach(0, 0, HEADERS), False)
    world.pass_time(seconds(60))
    world.reconcile()
    assert index(world) == 1
    world.settle()
    assert world.state.verified
    assert index(world) == 1


def mirrored(world: World, minutes: int, errors: int = 0) -> None:
    """Traffic of which the challenger gets copies; `errors` of a hundred fail."""
    for _ in range(minutes * 6):
        world.send(100)
        world.answer(NEW, 100, errors)
        world.pass_time(seconds(10))
        world.settle()


def test_shadow_a_challenger_that_gets_copies_alone_is_judged_and_promoted() -> None:
    world = at(PolicyStep(mirror=100, min_requests=500))
    world.send(100)
    world.pass_time(seconds(10))
    world.reconcile()
    assert index(world) == 0
    mirrored(world, 2)
    assert world.state.stable == V2
    assert Happened.PASSED in world.events


@pytest.mark.parametrize(
    "one", [PolicyStep(mirror=100), PolicyStep(match=HEADERS)], ids=["copies", "headers"]
)
def test_errors_of_copies_and_of_matched_requests_abort(one: PolicyStep) -> None:
    world = at(one, PolicyStep(10, HOURS))
    world.edit(steps=(PolicyStep(mirror=one.mirror, match=one.match, duration=HOURS), PolicyStep(10)))
    world.settle()
    mirrored(world, 5, errors=30)
    assert (world.state.stable, world.state.is_rejected(V2), world.state.reach) == (V1, True, Reach())


def test_what_is_counted_before_requests_may_reach_the_challenger_is_no_evidence() -> None:
    world = at(PolicyStep(replicas="100%", duration=seconds(60)), PolicyStep(10, HOURS))
    mirrored(world, 1, errors=100)
    assert (index(world), world.state.is_rejected(V2)) == (1, False)
    assert world.state.analysis is not None
    assert world.state.analysis.evidence.windows == 0


def test_a_gate_waits_for_the_verdict_pass_and_for_max_hold_at_most() -> None:
    gate = (PolicyStep(10, gate=True), PolicyStep(50, HOURS))
    world = at(*gate)
    world.pass_time(timedelta(minutes=59))
    world.settle()
    assert index(world) == 0
    world.run(6, requests=300)
    assert (index(world), world.state.weight(NEW)) == (1, 50)

    idle = at(*gate)
    idle.pass_time(timedelta(minutes=61))
    assert idle.settle().phase is Phase.PAUSED
    assert "no decision within maxHold" in idle.state.history[-1].message


def test_a_step_that_was_held_for_requests_says_so() -> None:
    world = at(PolicyStep(10, min_requests=5000))
    world.run(61, requests=150, every=60)
    told = next(entry for entry in reversed(world.state.history) if entry.event == Happened.PAUSED)
    assert "no decision within maxHold 60m: m-2 got 1800 of 5000 requests; as good as" in told.message


def test_a_weight_may_wait_for_a_person() -> None:
    world = at(PolicyStep(10, pause=True), PolicyStep(50, HOURS))
    world.run(5, requests=600)
    assert world.reconcile().phase is Phase.PAUSED
    assert (index(world), world.state.weight(NEW)) == (0, 10)
    world.commands["promote"] = "1"
    world.settle()
    assert world.state.weight(NEW) == 50


@pytest.mark.parametrize("command", ["promote", "resume"])
def test_blue_green_all_pods_wait_for_a_person_and_take_everything_in_one_switch(command: str) -> None:
    world = at(PolicyStep(replicas="100%", pause=True))
    assert (world.pods[NEW], world.state.reach) == (4, Reach())
    world.pass_time(HOURS)
    world.settle()
    assert world.state.stable == V1
    world.commands[command] = "1"
    before = world.state.traffic_version
    world.settle()
    assert (world.state.stable, world.state.weight(NEW)) == (V2, 100)
    assert world.state.traffic_version == before + 1
    assert Happened.PASSED not in world.events
    assert not any("verdict" in entry.message for entry in world.state.history)


WAITS = {
    "analysis": PolicyStep(10, pause=True, gate=True),
    "minRequests": PolicyStep(10, pause=True, min_requests=500),
}


@pytest.mark.parametrize("step", WAITS.values(), ids=WAITS)
def test_resume_ends_a_pause_and_nothing_else_that_the_step_waits_for(step: PolicyStep) -> None:
    world = at(step, PolicyStep(50, HOURS))
    world.commands["resume"] = "1"
    made = world.settle()
    assert (index(world), world.state.weight(NEW), made.phase) == (0, 10, Phase.PROGRESSING)
    assert Happened.RESUMED in world.events
    world.run(5, requests=1000)
    assert (index(world), world.state.weight(NEW)) == (1, 50)


@pytest.mark.parametrize("step", WAITS.values(), ids=WAITS)
def test_promote_passes_all_that_a_step_waits_for(step: PolicyStep) -> None:
    world = at(step, PolicyStep(50, HOURS))
    world.commands["promote"] = "1"
    world.settle()
    assert (index(world), world.state.weight(NEW)) == (1, 50)


def test_what_a_resumed_step_still_waits_for_has_max_hold() -> None:
    world = at(WAITS["analysis"], PolicyStep(50, HOURS))
    world.pass_time(HOURS)
    world.commands["resume"] = "1"
    assert world.settle().phase is Phase.PROGRESSING
    world.pass_time(world.policy.max_hold)
    made = world.settle()
    assert made.phase is Phase.PAUSED
    assert world.state.step is not None
    assert world.state.step.paused
    assert made.message.startswith("m-2 is paused at weight 10: no decision within maxHold 60m: ")


@pytest.mark.parametrize("lost", [False, True], ids=["all pods", "pods lost meanwhile"])
def test_time_of_a_step_before_a_pause_by_hand_counts_after_it_and_that_of_the_pause_does_not(
    lost: bool,
) -> None:
    world = at(PolicyStep(10, timedelta(hours=1)), PolicyStep(50, HOURS))
    world.pass_time(timedelta(minutes=50))
    world.settle()
    world.commands["pause"] = "1"
    world.settle()
    world.pass_time(timedelta(minutes=30))
    if lost:
        world.lose_pods(NEW)
        world.reconcile()
        world.pass_time(timedelta(minutes=5))
    world.settle()
    world.pass_time(timedelta(hours=3))
    world.commands["resume"] = "1"
    world.settle()
    world.pass_time(timedelta(minutes=9))
    world.settle()
    assert index(world) == 0
    world.pass_time(timedelta(minutes=1))
    world.settle()
    assert index(world) == 1


def test_what_max_hold_paused_needs_no_second_duration_but_what_it_waited_for() -> None:
    world = at(PolicyStep(10, HOURS, min_requests=100), PolicyStep(50, HOURS))
    world.pass_time(HOURS + world.policy.max_hold)
    assert world.settle().phase is Phase.PAUSED
    world.pass_time(HOURS)
    world.commands["resume"] = "1"
    assert world.settle().phase is Phase.PROGRESSING
    world.pass_time(world.policy.max_hold - seconds(1))
    assert world.settle().phase is Phase.PROGRESSING
    world.send(600)
    world.settle()
    assert index(world) == 1


def requests(world: World) -> tuple[int | None, int, int | None]:
    """The step, the weight in it, and the requests that count for it."""
    return index(world), world.state.weight(NEW), world.state.step.requests if world.state.step else None


def test_requests_before_a_step_has_its_weight_in_force_do_not_fill_it() -> None:
    steps = (PolicyStep(10, min_requests=100), PolicyStep(50, min_requests=500), PolicyStep(90, HOURS))
    world = at(*steps, replicas=10)
    for _ in range(8):
        world.send(500)
        world.pass_time(seconds(10))
        world.reconcile()
    assert requests(world) == (1, 10, 0)
    world.become_ready()
    world.reconcile()
    world.send(5000)
    world.pass_time(seconds(10))
    shifts = "m-2: waiting until every ready router has weight 50 in force"
    assert world.reconcile().message == shifts
    world.pass_time(seconds(10))
    world.reconcile()
    assert requests(world) == (1, 50, 0)
    world.settle()
    assert index(world) == 1
    for _ in range(5):
        assert index(world) == 1
        world.send(100)
        world.pass_time(seconds(10))
        world.settle()
    assert index(world) == 2


def test_requests_of_a_pause_before_a_step_has_its_weight_do_not_fill_it() -> None:
    world = at(PolicyStep(10, min_requests=100), PolicyStep(50, min_requests=500), replicas=10)
    world.send(500)
    world.pass_time(seconds(10))
    world.reconcile()
    world.commands["pause"] = "1"
    for _ in range(8):
        world.reconcile()
        world.routers_follow()
        world.send(500)
        world.pass_time(seconds(10))
    world.commands["resume"] = "1"
    world.settle()
    assert requests(world) == (1, 50, 0)


def test_requests_that_filled_a_step_do_not_fill_the_next_one_of_the_same_weight() -> None:
    world = at(PolicyStep(10, min_requests=500), PolicyStep(min_requests=500), PolicyStep(50, HOURS))
    for sent in (200, 400, 600, 800):
        world.send(1000)
        world.pass_time(seconds(1))
        world.settle()
        assert index(world) == (0 if sent < 500 else 1)
    for _ in range(2):
        world.send(1000)
        world.pass_time(seconds(10))
        world.settle()
    assert index(world) == 2


def test_what_a_ramp_waits_for_begins_when_its_weight_is_reached() -> None:
    world = at(PolicyStep(60, ramp_from=5, min_requests=500), PolicyStep(90, HOURS), replicas=10)
    while world.state.weight(NEW) < 60:
        assert requests(world)[2] == 0
        ramps(world, 0.2, 100)
    assert requests(world) == (0, 60, 0)
    ramps(world, 0.7, 100)
    assert requests(world) == (0, 60, 480)
    ramps(world, 0.2, 100)
    assert index(world) == 1


def test_status_says_which_step_it_is_and_what_that_waits_for() -> None:
    world = at(PolicyStep(10, timedelta(hours=1), min_requests=600), PolicyStep(50))
    told = "m-2 has weight 10 in step 1 of 2"
    assert world.settle().message.startswith(f"{told} until 2026-01-01T01:00:00Z, 0 of 600 requests: ")
    world.run(2, requests=600)
    assert world.settle().message.startswith(f"{told} until 2026-01-01T01:00:00Z: ")
    world.pass_time(timedelta(minutes=57))
    writes = {world.reconcile().message for _ in range(3)}
    assert len(writes) == 1, "time alone changes nothing"
    world = at(PolicyStep(10, timedelta(hours=1), min_requests=600), PolicyStep(50))
    world.pass_time(timedelta(hours=1))
    assert world.settle().message.startswith(f"{told}, 0 of 600 requests: ")


def test_a_pause_by_hand_says_by_which_command() -> None:
    world = at(WAITS["analysis"])
    world.commands["pause"] = "ada-42"
    assert world.settle().message == (
        "m-2 is paused at weight 10: noria.dev/pause ada-42; annotate noria.dev/resume, promote or abort"
    )


def test_a_pause_in_edited_steps_has_to_be_ended_again() -> None:
    world = at(WAITS["analysis"], PolicyStep(50, HOURS))
    world.commands["resume"] = "1"
    world.settle()
    world.edit(steps=(WAITS["minRequests"], PolicyStep(50, HOURS)))
    assert world.settle().phase is Phase.PAUSED


def test_after_steps_that_send_nothing_at_the_end_the_evidence_of_earlier_ones_is_needed() -> None:
    world = at(
        PolicyStep(mirror=100, duration=seconds(20)), PolicyStep(replicas="100%", duration=seconds(20))
    )
    world.pass_time(seconds(60))
    world.settle()
    world.pass_time(seconds(60))
    world.settle()
    assert (index(world), world.state.stable) == (2, V1)


def test_a_message_says_how_requests_reach_the_challenger() -> None:
    made = at(PolicyStep(mirror=40, match=HEADERS, duration=HOURS)).reconcile()
    assert made.message.startswith(
        "m-2 has weight 0 and copies of 40 % of requests and requests with x-canary"
    )


def test_a_superseding_version_ends_copies_and_headers_of_the_one_before_in_the_same_write() -> None:
    world = at(PolicyStep(mirror=40, match=HEADERS, duration=HOURS))
    world.approve(3)
    world.reconcile()
    assert [(one.target, one.weight, one.mirror, one.match) for one in world.state.traffic] == [
        (V1, 100, 0, ()),
        (V2, 0, 0, ()),
    ]


RAMP = PolicyStep(80, ramp_from=5)


@pytest.mark.parametrize(("progress", "weight"), [(0, 5), (0.25, 10), (0.5, 20), (0.75, 40), (1, 80)])
def test_a_ramp_doubles_with_equal_gains_of_evidence(progress: float, weight: int) -> None:
    assert ramped(RAMP, progress) == weight


@pytest.mark.parametrize(
    ("figures", "progress"),
    [
        ([], 0),
        ([{"logEOk": -1.0, "logEAbs": -2.0}], 0),
        ([{"logEOk": -1.0, "logEAbs": 1.498}], 0.5),
        ([{"logEOk": 9.0, "logEAbs": 0.0}], 1),
        ([{"logEOk": 9.0, "logEAbs": 0.0}, {"logEOk": 0.749, "logEAbs": 0.0}], 0.25),
        ([{"logEOk": 9.0, "logEAbs": 0.0}, {}], 0),
    ],
)
def test_progress_is_that_of_the_measure_that_has_least_evidence(
    figures: list[dict[str, float]], progress: float
) -> None:
    parts = tuple(Judgement(Verdict.HOLD, "", figures=one) for one in figures)
    assert Judgement(Verdict.HOLD, "", parts=parts).progress == pytest.approx(progress, abs=1e-3)


PASSED = Judgement(Verdict.PASS, "")
ASKED = Judgement(Verdict.HOLD, "no answer yet", reached=None)


@pytest.mark.parametrize(
    ("parts", "progress"),
    [
        ([PASSED], 1),
        ([replace(PASSED, figures={"logEOk": 0.1})], 1),
        (
            [
                replace(PASSED, figures={"logEOk": 0.1}),
                Judgement(Verdict.HOLD, "", figures={"logEOk": 1.498}),
            ],
            0.5,
        ),
        ([PASSED, ASKED], 0),
        ([replace(PASSED, figures={"logEOk": 0.1}), ASKED], 1),
        ([Judgement(Verdict.HOLD, "", figures={"logEOk": 1.498}), ASKED], 0.5),
        ([replace(PASSED, figures={"logEOk": 0.1}), Judgement(Verdict.HOLD, "", reached=0.3)], 0.3),
    ],
    ids=["no figures", "optional", "another holds", "a query alone", "a query", "both", "no e-value"],
)
def test_a_measure_that_passed_holds_no_ramp(parts: list[Judgement], progress: float) -> None:
    assert together(parts).progress == pytest.approx(progress, abs=1e-3)


def labels(n: int) -> Labels:
    """All of them right."""
    sides = [0] * SCORE_BINS, [0] * SCORE_BINS
    sides[0][20], sides[1][150] = n // 2, n - n // 2
    return Labels.of(*sides)


def test_a_ramp_never_falls_behind_as_labels_come_and_waits_for_the_first() -> None:
    seen = [
        quality_drop.judge(QualityPolicy(metric="accuracy"), [(labels(20 * n), labels(n))], 2)
        for n in (0, 99, 100, 1000)
    ]
    known = replace(PASSED, figures={"logEOk": 9.0})
    reached = [together([known, one]).progress for one in seen]
    assert reached[:2] == [0, 0]
    assert reached == sorted(reached)
    assert 0 < reached[2] < reached[3] == 1
    optional = quality_drop.judge(QualityPolicy(optional=True), [(labels(0), labels(0))], 2)
    assert together([known, optional]).progress == 1


def test_a_ramp_grows_with_the_predictions_that_it_compares() -> None:
    def judged(*bins: int) -> Judgement:
        return predictions.judge(0.2, [(Outputs(-7, 0, (100,) * 128), Outputs(-7, 0, bins))], 2)

    few, more = judged(*(1, 0, 0, 0) * 32), judged(*(1, 0) * 64)
    assert 0 < few.progress < more.progress < 1
    assert more.progress == pytest.approx(2 * few.progress, rel=0.3), "as other evidence, it grows evenly"
    assert judged(*(2,) * 128).verdict is Verdict.PASS
    assert judged(*(1,) * 28, *(0,) * 100).progress == 0
    waiting = predictions.judge(0.2, [(Outputs(-7, 0, (100,) * 128), None)], 2)
    assert together([replace(PASSED, figures={"logEOk": 9.0}), waiting]).progress == 0


def test_a_ramp_rises_by_queries_where_nobody_counts_errors() -> None:
    query = QueryPolicy("load", "load", success="result < 1", interval=seconds(10))
    world = canary(Policy(replicas=4, steps=(RAMP, PolicyStep(90, HOURS)), counted=False, queries=(query,)))
    assert world.state.weight(NEW) == 5
    for _ in range(3):
        world.pass_time(seconds(10))
        world.queries["load"] = Asked("load", Answer(world.now, 0.5))
        world.settle()
    assert (index(world), world.state.weight(NEW)) == (1, 90)


def ramps(world: World, minutes: float, requests: int, errors: int = 0) -> list[int]:
    """The weights that came into force meanwhile."""
    seen = [world.state.weight(NEW)]
    for _ in range(int(minutes * 6)):
        world.send(requests, {NEW: errors} if errors else None)
        world.pass_time(seconds(10))
        world.settle()
        seen += [world.state.weight(NEW)] if world.state.weight(NEW) != seen[-1] else []
    return seen


def test_a_ramp_grows_with_the_evidence_within_its_bounds_and_then_goes_on() -> None:
    world = at(RAMP, replicas=10)
    assert world.state.weight(NEW) == 5
    seen = ramps(world, 30, 100)
    assert seen[0] == 5
    assert seen == sorted(seen)
    assert seen[-1] == 100
    assert len(seen) >= 6
    assert seen[2] <= 20
    assert world.state.stable == V2


def test_a_ramp_moves_once_an_interval_at_most() -> None:
    world = at(RAMP, PolicyStep(90, HOURS))
    began = world.state.traffic_version
    for _ in range(20):
        world.send(1000)
        world.pass_time(seconds(1))
        world.settle()
    assert began < world.state.traffic_version <= began + 2


def test_a_ramp_stands_still_without_traffic_and_while_something_is_suspicious() -> None:
    world = at(RAMP, PolicyStep(90, HOURS))
    assert ramps(world, 5, 0) == [5]
    ramps(world, 1, 100)
    weight = world.state.weight(NEW)
    assert 5 < weight < 80
    world.answer(NEW, 60, 4)
    assert ramps(world, 0.2, 10) == [weight]
    assert world.state.candidate is not None


def test_a_ramp_never_begins_below_the_step_before_it_and_survives_a_pause_and_edited_steps() -> None:
    world = at(PolicyStep(20, seconds(10)), RAMP, PolicyStep(90, HOURS))
    world.pass_time(seconds(11))
    world.settle()
    assert (index(world), world.state.weight(NEW)) == (1, 20)
    ramps(world, 1, 100)
    weight = world.state.weight(NEW)
    assert weight > 20
    world.commands["pause"] = "1"
    assert ramps(world, 5, 100) == [weight]
    world.commands["resume"] = "1"
    world.edit(steps=(PolicyStep(70, ramp_from=2), PolicyStep(90, HOURS)))
    world.reconcile()
    assert (index(world), world.state.weight(NEW)) == (0, weight)
    assert ramps(world, 10, 100)[-1] == 90


def test_steps_edited_to_less_weight_take_it_only_as_the_champion_can_carry_it() -> None:
    world = canary(Policy(replicas=4, steps=(PolicyStep(50),)))
    world.lose_pods(revision(1).name)
    world.edit(steps=(PolicyStep(replicas="100%", pause=True),))
    world.reconcile()
    assert world.state.weight(revision(2).name) == 50
    world.settle()
    assert world.state.weight(revision(2).name) == 0


@pytest.mark.parametrize(
    ("steps", "place", "weight"),
    [
        ((), 0, 100),
        ((PolicyStep(60, HOURS), PolicyStep(90, HOURS)), 0, 60),
        (tuple(PolicyStep(weight, HOURS) for weight in (10, 20, 50, 80)), 2, 50),
    ],
)
@pytest.mark.parametrize("lost", [False, True])
def test_steps_edited_in_a_pause_move_no_weight_before_it_is_over(
    steps: tuple[PolicyStep, ...], place: int, weight: int, lost: bool
) -> None:
    world = at(PolicyStep(10), PolicyStep(50, HOURS), replicas=10)
    world.commands["pause"] = "1"
    world.settle()
    if lost:
        world.lose_pods(NEW)
        world.reconcile()
    world.edit(steps=steps)
    world.settle()
    assert world.state.weight(NEW) == 50
    world.commands["resume"] = "1"
    world.reconcile()
    assert index(world) == place
    world.settle()
    assert world.state.weight(NEW) == weight


def test_pods_lost_while_steps_are_edited_to_less_take_their_weight_along() -> None:
    """What the new steps ask for at the old place says nothing about the pods that a kept weight needs."""
    world = at(PolicyStep(10), PolicyStep(50, HOURS), replicas=10)
    world.lose_pods(NEW, 2)
    world.edit(steps=LOWER)
    world.reconcile()
    assert world.state.weight(NEW) == 20
    world.settle()
    assert (index(world), world.state.weight(NEW)) == (1, 50)


@pytest.mark.parametrize("edited", [False, True])
def test_pods_that_came_while_nobody_looked_are_in_time_though_steps_were_edited_too(edited: bool) -> None:
    """The operator is away for an hour, in which a lost pod comes back."""
    world = at(PolicyStep(10), PolicyStep(50, HOURS), replicas=10)
    world.lose_pods(NEW, 2)
    world.reconcile()
    world.pass_time(timedelta(hours=1))
    world.become_ready()
    if edited:
        world.edit(steps=LOWER)
    world.settle()
    assert not world.state.rejected
    assert (index(world), world.state.weight(NEW)) == (1, 20 if edited else 50)


def test_steps_edited_in_a_pause_of_the_last_shift_move_no_weight_either() -> None:
    world = at(PolicyStep(50, HOURS), replicas=10)
    world.commands["promote-full"] = "1"
    world.reconcile()
    world.commands["pause"] = "1"
    world.edit(steps=(PolicyStep(60, HOURS),))
    world.settle()
    assert world.state.weight(NEW) == 50
    world.commands["resume"] = "1"
    world.settle()
    assert world.state.stable == revision(2)


def test_steps_that_are_gone_for_a_while_of_a_pause_are_asked_for_when_it_ends() -> None:
    """A GitOps tool that applies another revision for a minute promotes nobody."""
    steps = (PolicyStep(10), PolicyStep(50, HOURS))
    world = at(*steps, replicas=10)
    world.commands["pause"] = "1"
    world.settle()
    world.edit(steps=())
    world.settle()
    assert world.state.weight(NEW) == 50
    world.edit(steps=steps)
    world.settle()
    world.commands["resume"] = "1"
    world.settle()
    assert (world.state.stable, index(world), world.state.weight(NEW)) == (revision(1), 1, 50)


@pytest.mark.parametrize("command", ["", "resume", "promote"])
def test_who_is_left_without_steps_takes_over_and_that_is_told(command: str) -> None:
    world = at(PolicyStep(10), PolicyStep(50, HOURS), replicas=10)
    if command:
        world.commands["pause"] = "1"
        world.settle()
    world.edit(steps=())
    world.settle()
    if command:
        assert (world.state.stable, Happened.EDITED in world.events) == (revision(1), False)
        world.commands[command] = "1"
        world.settle()
    assert world.state.stable == revision(2)
    told = Happened.BY_HAND if command == "promote" else Happened.EDITED
    assert world.events[-2:] == [told, Happened.PROMOTED]


LOWER = (PolicyStep(10, HOURS), PolicyStep(20, HOURS), PolicyStep(pause=True), PolicyStep(80, HOURS))
"""Steps of which none has the weight 50."""


@pytest.mark.parametrize("edited_in_the_pause", [False, True])
def test_a_weight_that_edited_steps_left_outlives_a_pause(edited_in_the_pause: bool) -> None:
    world = at(PolicyStep(10), PolicyStep(50, HOURS), replicas=10)
    if not edited_in_the_pause:
        world.edit(steps=LOWER)
        world.settle()
    world.commands["pause"] = "1"
    world.settle()
    world.edit(steps=LOWER)
    world.settle()
    world.commands["resume"] = "1"
    world.settle()
    assert (index(world), world.state.weight(NEW)) == (1, 50)


@pytest.mark.parametrize("paused", [False, True])
def test_a_weight_that_edited_steps_left_stays_until_a_step_asks_for_more(paused: bool) -> None:
    world = at(PolicyStep(10), PolicyStep(50, HOURS), replicas=10)
    world.edit(steps=LOWER)
    world.settle()
    weights = []
    for number in range(3):
        if paused:
            world.commands["pause"] = str(number)
            world.settle()
        world.commands["promote"] = str(number)
        world.settle()
        weights.append((index(world), world.state.weight(NEW)))
    assert weights == [(2, 50), (3, 80), (4, 80)]


def test_a_pause_keeps_no_weight_that_edited_steps_take_away() -> None:
    world = at(PolicyStep(10), PolicyStep(50, HOURS), replicas=10)
    world.commands["pause"] = "1"
    world.settle()
    world.edit(steps=(PolicyStep(replicas="100%", pause=True),))
    world.settle()
    assert world.state.weight(NEW) == 50
    world.commands["resume"] = "1"
    world.settle()
    assert world.state.weight(NEW) == 0


def test_in_a_pause_headers_follow_an_edit_and_the_weight_does_not() -> None:
    world = at(PolicyStep(20, HOURS, match=HEADERS), replicas=10)
    world.commands["pause"] = "1"
    world.settle()
    others = (("x-team", "research"),)
    world.edit(steps=(PolicyStep(30, HOURS, match=others),))
    world.settle()
    assert world.state.reach == Reach(20, 0, others)
    world.edit(steps=(PolicyStep(30, HOURS, match=()),))
    world.settle()
    assert world.state.reach == Reach(20)
    world.commands["resume"] = "1"
    world.settle()
    assert world.state.reach == Reach(30)


def test_copies_of_edited_steps_begin_once_the_weight_is_taken() -> None:
    world = canary(Policy(replicas=4, steps=(PolicyStep(50),)))
    world.lose_pods(revision(1).name)
    world.edit(steps=(PolicyStep(mirror=10, duration=HOURS), PolicyStep(60)))
    world.reconcile()
    assert world.state.reach == Reach(50)
    world.settle()
    assert world.state.reach == Reach(0, 10)
