"""A challenger that refuses what the champion takes is no better than one that fails, though it says 4xx."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.domain.rollout_world import CANARY, World, canary, revision, seconds, serving

from noria_operator.api.modeldeployment import ModelDeploymentSpec
from noria_operator.domain import refusals
from noria_operator.domain.analysis_wire import analysis_of, analysis_status
from noria_operator.domain.rollout_policy import Policy, PolicyStep
from noria_operator.domain.rollout_policy_wire import policy_of
from noria_operator.domain.rollout_words import Happened
from noria_operator.domain.verdict import Counts, Evidence, Verdict, Window

V1, V2 = revision(1), revision(2)
STICKY = Policy(replicas=2, steps=CANARY, sticky=True)


def rejected(world: World) -> bool:
    return world.state.stable == V1 and [one.promoted for one in world.state.decisions] == [False]


def measures(world: World) -> list[str]:
    return [one.measure for one in world.state.decisions[0].said]


def test_a_version_that_refuses_every_request_is_aborted_within_two_windows() -> None:
    world = canary()
    world.run(0.5, refused={V2.name: 1.0})
    assert rejected(world)
    assert measures(world) == ["errors", "refusals"]
    (_, said) = world.state.decisions[0].said
    assert said.verdict is Verdict.FAIL
    assert "refuses requests (4xx, 3xx) more often than the champion" in said.message
    assert said.figures["challengerRefused"] == said.figures["challengerRequests"]


def test_a_burst_of_refusals_is_told_without_what_the_other_measures_wait_for() -> None:
    world = canary()
    for _ in range(12):
        world.send(40, refused={V2.name: 1.0})
        world.pass_time(seconds(1))
        world.reconcile()
    (told,) = [one.message for one in world.state.history if one.event == Happened.BURST]
    assert told.startswith(
        "refusals: it refuses requests (4xx, 3xx) more often than the champion so far: e_harm"
    )
    assert "errors:" not in told


def test_a_version_that_refuses_some_requests_that_the_champion_takes_is_aborted() -> None:
    world = canary()
    world.run(10, requests=300, refused={V1.name: 0.02, V2.name: 0.3})
    assert rejected(world)


@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 1.0])
def test_what_clients_do_wrong_falls_on_both_and_keeps_nobody(share: float) -> None:
    world = canary()
    world.run(20, refused={V1.name: share, V2.name: share})
    assert world.state.stable == V2
    assert measures(world) == ["errors"]


def test_a_version_that_refuses_less_than_the_champion_is_promoted() -> None:
    world = canary()
    world.run(20, refused={V1.name: 0.4})
    assert world.state.stable == V2


@pytest.mark.parametrize(
    "policy",
    [
        STICKY,
        replace(STICKY, sticky=False, steps=(PolicyStep(10, match=(("a", "b"),)),)),
        replace(STICKY, sticky=False, by_pods=True, replicas=4),
        replace(STICKY, sticky=False, preview=True),
    ],
    ids=["sticky", "match", "connections", "preview"],
)
def test_where_users_are_divided_one_client_is_no_reason_and_refusing_nearly_everything_is(
    policy: Policy,
) -> None:
    one = canary(policy)
    one.run(20, refused={V2.name: 0.4})
    assert one.state.stable == V2
    all_ = canary(policy)
    all_.run(0.5, refused={V2.name: 0.9})
    assert rejected(all_)


GATEWAY = {"type": "Gateway", "gateway": {"name": "public"}}


@pytest.mark.parametrize(
    ("strategy", "router", "divides"),
    [
        ({}, {}, False),
        ({"sticky": {"header": "user"}}, {}, True),
        ({"preview": True}, {}, False),  # which is counted apart
        ({"preview": True}, GATEWAY, True),
    ],
)
def test_the_spec_says_whether_users_are_divided(
    strategy: dict[str, object], router: dict[str, object], divides: bool
) -> None:
    spec = {"model": "m", "router": router, "strategy": {"steps": [{"weight": 10}], **strategy}}
    assert policy_of(ModelDeploymentSpec.model_validate(spec)).divides_users is divides


def test_what_is_suspected_holds_a_rollout_and_says_why() -> None:
    evidence = Evidence()
    while refusals.judge(evidence, tests=1, rivals=1, by_users=False) is None:
        window = Window(Counts(900, 0), Counts(100, 1))
        evidence = refusals.added(evidence, window, Evidence())
    judged = refusals.judge(evidence, tests=1, rivals=1, by_users=False)
    assert judged is not None
    assert judged.verdict is Verdict.HOLD
    assert judged.suspicious
    assert judged.message.startswith("it refuses requests (4xx, 3xx) more often than the champion so far: ")


@pytest.mark.parametrize(
    ("champion", "by_users", "alone", "holds"),
    [
        (Counts(900, 440), False, False, False),  # who is as good, where half of all requests are wrong
        (Counts(99, 44), False, False, True),
        (Counts(99, 44), True, False, False),
        (Counts(900, 440), False, True, True),
        (Counts(900, 440), True, True, True),
    ],
)
def test_who_refuses_most_is_held_where_there_is_too_little_to_compare_with(
    champion: Counts, by_users: bool, alone: bool, holds: bool
) -> None:
    evidence = Evidence(champion=champion, challenger=Counts(100, 52), windows=1)
    judged = refusals.judge(evidence, tests=1, rivals=1, by_users=by_users, alone=alone)
    assert (judged is not None) is holds
    if judged is not None:
        assert judged.verdict is Verdict.HOLD
        assert (
            "it refuses most requests (4xx, 3xx), and there is too little to compare with" in judged.message
        )


def test_nothing_is_kept_before_somebody_is_refused() -> None:
    window = Window(Counts(900), Counts(100))
    assert refusals.added(Evidence(), window, Evidence()) == Evidence()
    begun = refusals.added(Evidence(), Window(Counts(900, 1), Counts(100)), Evidence())
    assert refusals.added(begun, window, Evidence()).windows == 2


def test_all_that_a_challenger_ever_got_counts_also_before_somebody_was_refused() -> None:
    """Good answers for long, then one client whose requests are all wrong, and go to the challenger: it is
    looked at while that goes on.
    """
    world = canary(replace(STICKY, steps=(PolicyStep(10, seconds(36_000)),)))
    world.run(30, requests=20)
    world.run(0.5, requests=20, refused={V2.name: 0.95})
    assert world.state.analysis is not None
    kept, errors = world.state.analysis.refused, world.state.analysis.evidence
    assert (kept.champion.requests, kept.challenger.requests) == (
        errors.champion.requests,
        errors.challenger.requests,
    )
    assert kept.windows < errors.windows
    good = Evidence(champion=Counts(6480), challenger=Counts(720), windows=360)
    evidence = refusals.added(Evidence(), Window(Counts(18), Counts(22, 20)), good)
    for _ in range(20):
        evidence = refusals.added(evidence, Window(Counts(18), Counts(22, 20)), good)
    assert evidence.challenger == Counts(720 + 21 * 22, 21 * 20)
    judged = refusals.judge(evidence, tests=1, rivals=1, by_users=True)
    assert judged is not None
    assert judged.verdict is Verdict.HOLD
    evidence = refusals.added(evidence, Window(Counts(18), Counts(2)), good)
    assert refusals.judge(evidence, tests=1, rivals=1, by_users=True) is None


def test_a_challenger_that_begins_to_refuse_everything_after_good_answers_is_not_promoted() -> None:
    """Users are divided, so that it may be one of them: a person has to tell."""
    world = canary(replace(STICKY, steps=(PolicyStep(10, seconds(1800)),)))
    world.run(24, requests=200)
    world.run(12, requests=200, refused={V2.name: 1.0})
    assert world.state.stable == V1
    assert world.state.weight(V2.name) == 10
    assert world.state.analysis is not None
    assert world.state.analysis.verdict is Verdict.HOLD
    assert "of late it refuses nearly all requests (4xx, 3xx)" in world.state.analysis.message
    world.run(2, requests=200)
    assert world.state.stable == V2, "it was a client, which has left"


@pytest.mark.parametrize("known", [2, 4])
def test_no_refusal_counts_that_came_before_anybody_kept_them(known: int) -> None:
    """An operator that goes on with what an earlier release left."""
    world = canary(Policy(replicas=2, steps=(PolicyStep(10, gate=True),)))
    world.run(0.5)
    kept = analysis_status(world.state.analysis, {})
    assert kept is not None
    assert kept.state is not None
    for clusters in kept.state["evidence"]["marks"].values():
        for name, told in clusters.items():
            clusters[name] = [*told, 0][:known]
    for counts in world.counts:
        counts[V2.name] = replace(counts[V2.name], refused=counts[V2.name].requests)
    world.state = replace(world.state, analysis=analysis_of(kept))
    world.run(1)
    assert world.state.analysis is not None
    assert world.state.analysis.refused == Evidence()
    assert world.state.analysis.evidence.challenger.requests, "what comes from then on counts"


def test_what_an_earlier_release_counted_of_feedback_makes_no_restart_of_a_router() -> None:
    """Its marks lie above all that counts now, and what is below a mark is new."""
    world = canary(Policy(replicas=2, steps=(PolicyStep(10, gate=True),)))
    world.run(1)
    kept = analysis_status(world.state.analysis, {})
    assert kept is not None
    assert kept.state is not None
    for clusters in kept.state["evidence"]["marks"].values():
        clusters |= {name: [told[0] + 9000, *told[1:3], 9000] for name, told in clusters.items()}
    before = analysis_of(kept)
    assert before is not None
    world.state = replace(world.state, analysis=before)
    world.run(1)
    assert world.state.analysis is not None
    came = world.state.analysis.evidence.challenger.requests - before.evidence.challenger.requests
    assert 0 < came <= 6 * 2 * 10


@pytest.mark.parametrize(("refused", "promoted"), [(600, False), (330, False), (180, True), (0, True)])
def test_beside_a_champion_that_is_down_who_refuses_most_requests_is_not_promoted(
    refused: int, promoted: bool
) -> None:
    """Nobody tells whether another version would have taken them."""
    world = serving(1, Policy(replicas=2, steps=CANARY))
    world.lose_pods(V1.name)
    world.approve(2)
    for _ in range(30):
        world.become_ready(V2.name)
        world.routers_follow()
        if world.state.reach.weight:
            counts = world.counts[0]
            counts[V2.name] = counts.get(V2.name, Counts()) + Counts(600, 0, refused)
        world.pass_time(seconds(10))
        world.reconcile()
        world.lose_pods(V1.name)
    assert (world.state.stable == V2) is promoted
    if not promoted:
        assert world.state.analysis is not None
        assert "too little to compare with" in world.state.analysis.message
        world.become_ready(V1.name)
        world.reconcile()
        assert world.state.stable == V1, "nor in the moment in which the champion is back"


def test_a_restarted_operator_goes_on_with_the_refusals_that_it_knew() -> None:
    world = canary(
        Policy(replicas=2, steps=(PolicyStep(10, gate=True),), progress_deadline=CANARY[1].duration * 60)
    )
    world.run(1, requests=100, refused={V1.name: 0.1, V2.name: 0.1})
    assert world.state.analysis is not None
    assert world.state.analysis.refused.challenger.errors, "the world reads each state from what was written"
    assert world.state.stable == V1


def version(**inputs: str) -> dict[str, object]:
    tensors = [{"name": name, "datatype": it, "shape": [-1, 1]} for name, it in inputs.items()]
    return {"spec": {"signature": {"inputs": tensors}}}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({"a": "FP64"}, {"a": "FP64"}, ""),
        ({"a": "FP64"}, {"a": "FP64", "b": "FP64"}, "b is new"),
        ({"a": "FP64", "b": "BYTES"}, {"a": "INT64"}, "b is gone, a is INT64 [-1, 1], not FP64 [-1, 1]"),
        ({"a": "FP64"}, {}, ""),
        (
            {"a": "FP64"},
            {name: "FP64" for name in "abcdefgh"},
            "b is new, c is new, d is new, e is new, f is new and 2 more",
        ),
    ],
)
def test_inputs_that_the_champion_does_not_take_are_named(
    old: dict[str, str], new: dict[str, str], said: str
) -> None:
    assert refusals.other_inputs(version(**old), version(**new)) == said


def test_a_refusal_is_explained_by_inputs_that_are_others_and_by_what_servers_say_most() -> None:
    evidence = refusals.added(Evidence(), Window(Counts(900, 0), Counts(100, 100)), Evidence())
    said = refusals.most({"inputs": 80, "shape": 15, "unanswered": 300, "of a later release": 500})
    judged = refusals.judge(evidence, tests=1, rivals=1, by_users=False, inputs="b is new", said=said)
    assert judged is not None
    assert judged.message.endswith(
        "; its servers say most that inputs are missing or unknown (80 of 95 times); of its inputs b is new"
    )


def test_requests_over_a_limit_are_not_said_to_be_unreadable_alone() -> None:
    """Servers count both as `form`, and a champion of an earlier release may have no such limit."""
    assert refusals.most({"form": 9}) == "the request cannot be read, or is too large (9 of 9 times)"


@pytest.mark.parametrize("times", [{}, {"unanswered": 7}, {"inputs": 0}])
def test_servers_that_say_nothing_of_refusals_are_not_quoted(times: dict[str, int]) -> None:
    assert refusals.most(times) == ""
