"""Latency: the edge that divides fast from slow, and a challenger that is slow, fast, or not to be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from tests.unit.domain.rollout_world import World, canary, revision, seconds

from noria_operator.api.modeldeployment_status import ModelDeploymentStatus
from noria_operator.domain.analysis import Said
from noria_operator.domain.bursts import Bursts
from noria_operator.domain.latency import ENOUGH, Histogram, edge, slow
from noria_operator.domain.overdispersion import Overdispersion
from noria_operator.domain.rollout_policy import LatencyPolicy, Policy, PolicyStep
from noria_operator.domain.rollout_wire import state_of, status_fields
from noria_operator.domain.verdict import Counts, Verdict

OLD, NEW = revision(1).name, revision(2).name
BOUNDS = (1.0, 10.0, 100.0, 1000.0)
LATENCY = Policy(replicas=2, steps=(PolicyStep(10, seconds(3600)),), latency=LatencyPolicy())


def histogram(*counts: int) -> Histogram:
    """Answers by bucket."""
    return Histogram(BOUNDS, tuple(sum(counts[: i + 1]) for i in range(len(BOUNDS))))


@pytest.mark.parametrize(
    ("quantile", "counts", "expected"),
    [
        (0.9, (90, 10, 0, 0), 1.0),
        (0.9, (89, 11, 0, 0), 10.0),
        (0.99, (90, 5, 5, 0), 100.0),
        (0.5, (0, 0, 0, 100), 1000.0),
        (0.9, (ENOUGH - 1, 0, 0, 0), None),
    ],
)
def test_the_edge_is_the_least_bound_that_the_quantile_of_all_answers_kept(
    quantile: float, counts: tuple[int, ...], expected: float | None
) -> None:
    assert edge([histogram(*counts)], quantile) == expected


def test_the_edge_is_that_of_all_routers_together_whatever_their_buckets() -> None:
    coarse = Histogram((5.0, 1000.0), (0, 100))
    assert edge([histogram(200, 0, 0, 0), coarse], 0.6) == 1.0
    assert edge([histogram(200, 0, 0, 0), coarse], 0.9) == 1000.0


def test_a_router_without_the_edge_counts_above_its_next_bound() -> None:
    coarse = Histogram((5.0, 50.0, 1000.0), (60, 90, 100))
    assert slow({"a": {"m": histogram(50, 30, 15, 5)}, "b": {"m": coarse}}, 10.0) == {
        "a": {"m": Counts(100, 20)},
        "b": {"m": Counts(100, 10)},
    }
    assert Histogram().above(10.0) == Counts()


def judged(world: World) -> Mapping[str, Said]:
    assert world.state.analysis is not None
    return {one.measure: one for one in world.state.analysis.said}


def served(world: World, old: tuple[int, ...], new: tuple[int, ...]) -> None:
    """The routers' histograms of now; the counts of requests go with them."""
    world.timings = {"router-0": {OLD: histogram(*old), NEW: histogram(*new)}, "router-1": {}}


def begun() -> World:
    """A canary at its first weight, with a champion whose 0.9 quantile is 10 ms."""
    world = canary(LATENCY)
    served(world, (0, 9000, 1000, 0), (0, 0, 0, 0))
    world.send(10)
    world.reconcile()
    world.settle()
    return world


def traffic(world: World, slow_share: float, *, steps: int = 20) -> None:
    """In each ten seconds 90 answers of the champion, 10 % of them slow, and 10 of the challenger."""
    for step in range(1, steps + 1):
        late = round(slow_share * 10 * step)
        served(world, (0, 9000 + 81 * step, 1000 + 9 * step, 0), (0, 10 * step - late, late, 0))
        world.send(100)
        world.pass_time(seconds(10))
        world.settle()


def test_a_challenger_that_is_slow_without_failing_is_rolled_back_and_the_reason_says_so() -> None:
    world = begun()
    traffic(world, 0.8)
    assert world.state.weight(NEW) == 0
    (rejected,) = world.state.rejected
    assert "latency: it answers later than 10 ms more often than the champion" in rejected.reason
    assert judged(world)["latency"].figures["edgeMilliseconds"] == "10"
    assert judged(world)["errors"].verdict is not Verdict.FAIL


def test_a_challenger_as_fast_as_the_champion_passes_once_both_measures_do() -> None:
    world = begun()
    traffic(world, 0.1, steps=70)
    assert {name: one.verdict for name, one in judged(world).items()} == {
        "errors": Verdict.PASS,
        "latency": Verdict.PASS,
    }
    assert world.state.analysis is not None
    assert world.state.analysis.verdict is Verdict.PASS


def test_latencies_that_cannot_be_read_are_an_error_though_counts_can() -> None:
    """No data is no evidence: nothing moves, nothing is promoted."""
    world = begun()
    traffic(world, 0.1)
    world.timings = None
    world.pass_time(seconds(10))
    world.settle()
    assert judged(world)["latency"].verdict is Verdict.ERROR
    assert world.state.analysis is not None
    assert world.state.analysis.verdict is Verdict.ERROR
    kept = world.state.analysis.latency
    assert kept is not None
    assert kept.evidence.challenger.requests > 0, "what was seen stays"


def test_without_enough_answers_of_the_champion_latency_waits_and_says_for_what() -> None:
    world = canary(LATENCY)
    served(world, (10, 0, 0, 0), (0, 0, 0, 0))
    world.settle()
    world.pass_time(seconds(10))
    world.settle()
    assert judged(world)["latency"].verdict is Verdict.HOLD
    assert "waiting for 100 answers of the champion" in judged(world)["latency"].message


def test_latency_taken_out_of_the_spec_is_judged_no_longer() -> None:
    world = begun()
    world.edit(latency=None)
    world.settle()
    assert judged(world).keys() == {"errors"}
    assert world.state.analysis is not None
    assert world.state.analysis.latency is None


def test_latency_asked_for_in_a_running_rollout_begins_with_what_is_counted_from_then() -> None:
    """As after an upgrade from a release that did not know it."""
    world = canary(Policy(replicas=2, steps=LATENCY.steps))
    served(world, (0, 9000, 1000, 0), (0, 0, 500, 0))
    world.run(1)
    world.edit(latency=LatencyPolicy())
    world.settle()
    assert world.state.analysis is not None
    assert world.state.analysis.latency is not None
    assert world.state.analysis.latency.evidence.challenger == Counts()
    assert world.state.analysis.evidence.challenger.requests > 0


@pytest.mark.parametrize("asked", [LatencyPolicy(factor=1.5), LatencyPolicy(quantile=0.8)])
def test_an_edited_factor_or_quantile_is_asked_of_what_comes_from_then_on(asked: LatencyPolicy) -> None:
    """Evidence is weighed by what was asked in its time."""
    world = canary(replace(LATENCY, latency=LatencyPolicy(factor=10.0)))
    served(world, (0, 9000, 1000, 0), (0, 0, 0, 0))
    world.send(10)
    world.settle()
    traffic(world, 0.2, steps=6)
    assert judged(world)["latency"].verdict is Verdict.PASS
    world.edit(latency=asked)
    world.reconcile()
    assert judged(world)["latency"].verdict is Verdict.HOLD
    world.settle()
    kept = world.state.analysis and world.state.analysis.latency
    assert kept
    assert (kept.asked, kept.evidence.challenger) == (asked, Counts())
    assert world.state.analysis is not None
    assert world.state.analysis.evidence.challenger.requests > 0
    world.edit(latency=asked)
    traffic(world, 0.2, steps=40)
    kept = world.state.analysis.latency
    assert kept is not None
    assert kept.evidence.challenger.requests > 0, "the same is no edit"


def test_latency_of_an_earlier_release_goes_on_by_what_is_asked_now() -> None:
    world = begun()
    traffic(world, 0.1)
    wire = ModelDeploymentStatus(**status_fields(world.state)).to_json()
    del wire["analysis"]["state"]["evidence"]["latency"]["asked"]
    read = state_of(ModelDeploymentStatus.model_validate(wire))
    assert world.state.analysis is not None
    assert read.analysis is not None
    assert world.state.analysis.latency is not None
    assert read.analysis.latency == replace(world.state.analysis.latency, asked=None)
    world.state = read
    world.settle()
    assert world.state.analysis.latency == read.analysis.latency, "nothing is written for it"
    served(world, (0, 11_000, 1_200, 0), (0, 400, 40, 0))
    world.send(100)
    world.pass_time(seconds(10))
    world.settle()
    kept = world.state.analysis.latency
    assert kept is not None
    assert kept.asked == LatencyPolicy()
    assert kept.evidence.windows > read.analysis.latency.evidence.windows


def test_the_status_of_an_earlier_release_goes_on_where_it_was() -> None:
    """It has no measures and no latency; its evidence on errors, marks and window stay."""
    world = begun()
    world.policy = replace(LATENCY, latency=None)
    world.run(1)
    fields = status_fields(world.state)
    wire = ModelDeploymentStatus(**fields).to_json()
    del wire["analysis"]["measures"]
    read = state_of(ModelDeploymentStatus.model_validate(wire))
    assert read.analysis is not None
    assert world.state.analysis is not None
    assert read.analysis == replace(world.state.analysis, said=(), latency=None)
    world.state = read
    world.run(1)
    assert world.state.analysis.evidence.windows > read.analysis.evidence.windows
    assert [one.measure for one in world.state.analysis.said] == ["errors"]


def test_evidence_without_bursts_of_an_earlier_release_goes_on_with_its_sums() -> None:
    world = begun()
    world.send(100, {NEW: 2})
    world.pass_time(seconds(10))
    world.settle()
    wire = ModelDeploymentStatus(**status_fields(world.state)).to_json()
    kept = wire["analysis"]["state"]["evidence"]
    assert kept.pop("bursts")["bets"] == 1
    assert kept.pop("overdispersion")["windows"] == 1
    kept |= {"last": [0.0] * 14, "burst": [0.0] * 14}
    assert world.state.analysis is not None
    evidence = world.state.analysis.evidence
    read = state_of(ModelDeploymentStatus.model_validate(wire)).analysis
    assert read is not None
    assert read.evidence == replace(evidence, bursts=Bursts(), overdispersion=Overdispersion())
    assert read.evidence.log_e_harm == evidence.log_e_harm > 0
