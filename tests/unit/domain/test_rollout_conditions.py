"""Conditions and status of a ModelDeployment: they say what was verified, and what to do next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.domain.rollout_world import CANARY, World, canary, report, revision, serving

from noria_operator.domain.queries import QueryPolicy
from noria_operator.domain.rollout_conditions import Report, Trouble, conditions, status
from noria_operator.domain.rollout_policy import Arm, Experiment, Policy, PolicyStep

V1, V2 = revision(1), revision(2)


def shown(found: Report, before: Sequence[Any] = ()) -> dict[str, tuple[bool | None, str]]:
    return {one.type: (one.status, one.reason) for one in conditions(found, before)}


def test_a_served_version_is_ready_and_up_to_date() -> None:
    found = shown(report(serving()))
    assert found == {
        "Ready": (True, "Serving"),
        "Reconciling": (False, "Healthy"),
        "Stalled": (False, "Healthy"),
        "Servable": (True, "Serving"),
        "UpToDate": (True, "WantedVersionServes"),
    }


def test_a_rollout_is_not_up_to_date_but_stays_ready() -> None:
    found = shown(report(canary()))
    assert found["Ready"] == (True, "Serving")
    assert found["Reconciling"][0] is True
    assert found["UpToDate"] == (False, "Progressing")


def test_a_version_that_takes_over_is_up_to_date_once_every_router_sends_to_it() -> None:
    world = canary()
    world.run(8)
    world.edit(pinned="m-1")
    assert shown(report(world))["UpToDate"] == (False, "Progressing")
    world.routers_follow()
    assert shown(report(world))["UpToDate"] == (True, "WantedVersionServes")


def test_a_rolled_back_version_leaves_the_deployment_ready_and_says_how_to_retry() -> None:
    world = canary()
    world.commands["abort"] = "1"
    world.settle()
    made = report(world)
    assert shown(made)["Ready"][0] is True
    assert shown(made)["UpToDate"] == (False, "RolledBack")
    assert "noria.dev/retry" in made.plan.message


QUERIES = (QueryPolicy("load", "load"),)
TIMED = (PolicyStep(10, timedelta(minutes=1)),)
ARMS = (Arm("m-2", 10), Arm("m-3", 10))


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (Policy(steps=CANARY), None),
        (Policy(counted=False), None),
        (Policy(steps=TIMED, counted=False), "NoCounts"),
        (Policy(steps=TIMED, counted=False, queries=QUERIES), None),
        (Policy(steps=CANARY, counted=False, queries=QUERIES), "NoRequestsCounted"),
        (Policy(counted=False, queries=QUERIES, experiment=Experiment(ARMS)), None),
        (
            Policy(counted=False, queries=QUERIES, experiment=Experiment(ARMS, min_requests=9)),
            "NoRequestsCounted",
        ),
    ],
)
def test_what_a_rollout_would_wait_for_in_vain_is_said(policy: Policy, reason: str | None) -> None:
    found = shown(report(serving(policy=policy))).get("Judgeable")
    assert found == (reason and (False, reason))


def test_a_host_that_another_deployment_has_is_said_and_takes_nothing_away() -> None:
    made = report(serving(), refused_hosts="x.example.com leads to a")
    assert shown(made)["Stalled"] == (True, "HostConflict")
    assert shown(made)["Ready"] == (True, "Serving")
    assert {one.type: one.message for one in conditions(made)}["Stalled"] == "x.example.com leads to a"


def no_pods(world: World) -> dict[str, Any]:
    world.lose_pods(V1.name)
    return {}


def no_routers(world: World) -> dict[str, Any]:
    return {"routers": 0}


def conflict(world: World) -> dict[str, Any]:
    return {"trouble": Trouble("NameConflict", "Service d is foreign", fatal=True)}


@pytest.mark.parametrize(
    ("happens", "reason"),
    [(no_pods, "NoReadyPods"), (no_routers, "NoRouter"), (conflict, "NameConflict")],
)
def test_what_keeps_requests_from_being_answered_ends_ready(happens: Any, reason: str) -> None:
    world = serving()
    found = shown(report(world, **happens(world)))
    assert (found["Ready"], found["Servable"]) == ((False, reason), (False, reason))


@pytest.mark.parametrize("read", [False, True])
def test_who_takes_over_from_a_broken_champion_is_ready_once_routers_send_to_it(read: bool) -> None:
    """The weights are in status before any router has them."""
    world = serving(policy=Policy(replicas=2))
    world.approve(2)
    world.settle()
    world.lose_pods(V2.name)
    world.commands["undo"] = "1"
    found = report(world)
    if not read:  # as where nothing was under way
        found = replace(found, observed=replace(found.observed, in_force=None))
    assert found.plan.state.stable == V1
    assert shown(found)["Ready"] == (False, "NoReadyPods")
    said = "m-1 is ready, but a router still sends to m-2, of which no pod is"
    assert {one.type: one.message for one in conditions(found)}["Ready"] == said
    world.routers_follow()
    assert shown(report(world))["Ready"] == (True, "Serving")


def test_zero_replicas_are_said_to_be_the_reason() -> None:
    for world in (serving(policy=Policy(replicas=0)), World(Policy(replicas=0))):
        assert shown(report(world))["Servable"] == (False, "ScaledToZero")


def test_a_refused_write_stalls_and_leaves_serving_alone() -> None:
    found = shown(report(serving(), trouble=Trouble("WriteRefused", "quota")))
    assert found["Stalled"] == (True, "WriteRefused")
    assert found["Ready"][0] is True


def test_a_first_version_past_its_deadline_is_stalled() -> None:
    world = World(Policy(replicas=2, steps=CANARY))
    world.approve(1)
    world.reconcile()
    world.pass_time(timedelta(minutes=11))
    found = shown(report(world))
    assert found["Stalled"] == (True, "ProgressDeadlineExceeded")
    assert found["Ready"] == (False, "NoVersion")


def weights_on_their_way(world: World) -> None:
    world.become_ready()


def weights_taken_away(world: World) -> None:
    world.become_ready()
    world.reconcile()
    world.routers_follow()
    world.reconcile()
    world.commands["abort"] = "1"


@pytest.mark.parametrize("happens", [weights_on_their_way, weights_taken_away])
def test_weights_that_no_router_takes_for_as_long_as_pods_may_take_stall(
    happens: Callable[[World], None],
) -> None:
    """argo-rollouts#4128, #4626: whoever waits for a router waits for ever, without a word."""
    world = serving(policy=Policy(replicas=2, steps=CANARY))
    world.approve(2)
    world.reconcile()
    happens(world)
    before = status(report(world), {}, generation=1)["conditions"]
    world.router_follows(0)  # the other one never does
    world.pass_time(timedelta(minutes=9))
    assert shown(report(world), before)["Stalled"][0] is False
    world.pass_time(timedelta(minutes=2))
    found = report(world)
    assert shown(found, before)["Stalled"] == (True, "WeightsNotInForce")
    assert shown(found, before)["Ready"] == (True, "Serving")
    said = {one.type: one.message for one in conditions(found, before)}["Stalled"]
    assert said.startswith(found.plan.message)
    assert "not every ready router acted on it for 10m" in said
    world.routers_follow()
    assert shown(report(world), before)["Stalled"][0] is False


def behind(world: World) -> None:
    """A router that came up with what was in force once, or a gateway that looks at its route anew."""
    world.told[0] -= 1


def away(world: World) -> None:
    world.routers, world.told = [], []


@pytest.mark.parametrize("happens", [behind, away])
def test_routers_that_were_in_force_for_long_have_the_whole_time_to_be_so_again(
    happens: Callable[[World], None],
) -> None:
    """For status tools Stalled means failed: nobody waited for these yet."""
    world = serving()
    world.pass_time(timedelta(days=1))
    told = status(report(world), {}, generation=1)
    happens(world)
    for minutes, stalls in ((0, "False"), (9, "False"), (2, "True")):
        world.pass_time(timedelta(minutes=minutes))
        told = status(report(world), told, generation=1)
        assert {one["type"]: one["status"] for one in told["conditions"]}["Stalled"] == stalls


def test_a_pinned_version_that_is_missing_stalls() -> None:
    world = serving()
    world.edit(pinned="m-9")
    assert shown(report(world))["Stalled"] == (True, "VersionUnavailable")


def test_conditions_keep_their_time_until_they_flip() -> None:
    world = serving()
    first = status(report(world), {}, generation=1)
    world.pass_time(timedelta(hours=1))
    again = status(report(world), first, generation=1)
    assert again == first
    later = status(report(world, routers=0), first, generation=2)
    moved = {
        one["type"] for one in later["conditions"] if one["lastTransitionTime"] != "2026-01-01T00:00:00Z"
    }
    assert moved == {"Ready", "Servable"}
    assert {one["observedGeneration"] for one in later["conditions"]} == {2}


def test_a_version_that_keeps_weight_until_the_champion_can_carry_it_is_told() -> None:
    world = canary(Policy(replicas=2, steps=CANARY))
    world.edit(replicas=10, pinned="m-1")
    found = report(world)
    assert shown(found)["UpToDate"] == (False, "Degraded")
    assert shown(found)["Reconciling"] == (True, "Degraded")
    assert found.plan.message.startswith("m-1: 2 of 10 pods ready; ")
    assert found.plan.message.endswith(
        "m-2 keeps weight 10 until m-1 has the pods for it; annotate noria.dev/abort to end that at once"
    )
