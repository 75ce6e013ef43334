"""What a version was promoted or rejected on stays when the next one is judged."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.domain.rollout_world import World, canary, revision, seconds, serving

from noria_operator.api.modeldeployment_status import ModelDeploymentStatus
from noria_operator.domain.analysis import Analysis, Said
from noria_operator.domain.latency import Histogram
from noria_operator.domain.rollout_analysis import Reading
from noria_operator.domain.rollout_evidence import SENTENCE, decided
from noria_operator.domain.rollout_observed import Observed
from noria_operator.domain.rollout_policy import LatencyPolicy, Policy, PolicyStep
from noria_operator.domain.rollout_scene import Scene
from noria_operator.domain.rollout_state import DECISIONS
from noria_operator.domain.rollout_target import choose
from noria_operator.domain.rollout_wire import status_fields
from noria_operator.domain.verdict import Verdict
from noria_operator.domain.windows import SILENT

V1, V2, V3 = revision(1), revision(2), revision(3)


def told(world: World) -> list[tuple[str, bool, Verdict]]:
    return [(one.target.version, one.promoted, one.verdict) for one in world.state.decisions]


def test_a_rejection_keeps_its_evidence_while_a_later_version_is_judged() -> None:
    world = canary()
    world.send(500, {V2.name: 500})
    world.pass_time(seconds(1))
    world.settle()
    assert told(world) == [("m-2", False, Verdict.FAIL)]
    (rejection,) = world.state.decisions
    assert rejection.challenger.errors == 500, "of the window in which it failed, too"
    assert [one.measure for one in rejection.said] == ["errors"]
    assert rejection.said[0].figures
    world.approve(3)
    world.run(1)
    assert world.state.analysis is not None
    assert world.state.analysis.version == "m-3"
    assert world.state.decisions == (rejection,)


def test_a_promotion_keeps_the_evidence_that_it_was_made_on() -> None:
    world = canary(Policy(replicas=2, steps=(PolicyStep(50, seconds(10)),)))
    world.run(60, requests=1000)
    assert world.state.stable == V2
    assert told(world) == [("m-2", True, Verdict.PASS)]
    assert world.state.decisions[0].challenger.requests >= 1000


def test_what_was_decided_without_evidence_is_not_told_as_if_there_were_some() -> None:
    world = serving()
    world.approve(2)
    world.reconcile()
    world.commands["abort"] = "1"
    world.settle()
    assert world.state.is_rejected(V2)
    assert told(world) == []


def test_a_person_who_aborts_may_do_so_against_the_evidence() -> None:
    world = canary()
    world.run(1)
    world.commands["abort"] = "1"
    world.settle()
    assert told(world) == [("m-2", False, Verdict.HOLD)]


class Changing(World):
    """One router pod takes the place of the other, again and again."""

    generation = 0

    def observed(self) -> Observed:
        found = super().observed()
        counts = {f"{pod}-{self.generation}": seen for pod, seen in (found.counts or {}).items()}
        timings = {f"{pod}-{self.generation}": seen for pod, seen in (found.timings or {}).items()}
        return replace(found, counts=counts, timings=timings)


@pytest.mark.parametrize(("requests", "every"), [(0, 1), (1000, 1), (1000, 30)])
def test_a_status_knows_no_more_pods_however_many_came_and_went(requests: int, every: int) -> None:
    """A canary that waits for weeks: every pod of a node that ends is another one."""
    steps = (PolicyStep(10, timedelta(weeks=4)),)
    world = Changing(Policy(replicas=2, steps=steps, latency=LatencyPolicy()))
    world.approve(1)
    world.settle()
    world.approve(2)
    world.settle()
    for world.generation in range(100):
        world.counts = [{} for _ in world.counts]
        for _ in range(3):
            world.send(requests)
            timings = Histogram((5.0, 10.0), (world.counts[0][V1.name].requests, 10**9))
            world.timings = {"router-0": {V1.name: timings, V2.name: timings}}
            world.pass_time(seconds(every))
            world.reconcile()
    analysis = world.state.analysis
    assert analysis is not None
    assert analysis.latency is not None
    assert len(analysis.marks) <= SILENT + 4
    assert len(analysis.latency.marks) <= SILENT + 2
    assert world.state.weight(V2.name) == 10


@pytest.mark.parametrize(("weight", "lasts"), [(10, 72), (50, 192)])
def test_one_user_who_always_fails_aborts_the_version_that_he_stays_with(weight: int, lasts: int) -> None:
    """A limit that docs/analysis.md names with these times: with `sticky`, counts do not go by weight."""
    world = canary(Policy(replicas=2, steps=(PolicyStep(weight, timedelta(hours=1)),)))
    passed = 0
    while not world.state.is_rejected(V2) and passed < 600:
        world.answer(V1.name, 10 - weight // 10, 0)
        world.answer(V2.name, weight // 10, int(passed % 10 == 0))
        world.pass_time(seconds(1))
        world.reconcile()
        passed += 1
    assert passed == lasts


def test_it_is_bounded_whatever_measures_say() -> None:
    world = canary()
    world.run(1)
    observed = world.observed()
    target = choose(world.policy, world.state, observed.versions)
    scene = Scene(world.policy, observed, target, Reading(observed), world.now, world.policy)
    long = tuple(Said(f"query-{at}", Verdict.HOLD, "x" * 1000, {}, "up" * 500) for at in range(16))
    state = replace(world.state, analysis=Analysis(said=long, verdict=Verdict.HOLD, message="m"))
    for _ in range(3 * DECISIONS):
        state = decided(scene, state, V2, promoted=False)
    assert len(state.decisions) == DECISIONS
    assert all(len(one.message) <= SENTENCE and not one.query for one in state.decisions[-1].said)
    written = ModelDeploymentStatus(**status_fields(state)).to_json()["decisions"]
    assert len(str(written)) < 100_000
