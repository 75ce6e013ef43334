"""A challenger that hangs has no error until requests time out, and may have enough good answers before."""

from __future__ import annotations

import pytest
from tests.unit.domain.rollout_world import World, canary, revision, seconds

from noria_operator.domain.rollout_policy import Policy, PolicyStep
from noria_operator.domain.verdict import Verdict

V1, V2 = revision(1), revision(2)
QUICK = Policy(replicas=2, steps=(PolicyStep(10, min_requests=100),))


def loaded(under_way: dict[str, int]) -> World:
    """So many requests are answered each second that a second tells enough; as many hang."""
    world = canary(QUICK)
    world.under_way = under_way
    for _ in range(5):
        world.send(3000)
        world.pass_time(seconds(1))
        world.settle()
    return world


def test_nobody_is_promoted_while_more_requests_hang_than_fall_on_him() -> None:
    world = loaded({V1.name: 20, V2.name: 300})
    assert world.state.stable == V1
    assert world.state.analysis is not None
    assert world.state.analysis.verdict is Verdict.HOLD
    assert "300 requests wait for its answer" in world.state.analysis.message
    for _ in range(120):
        world.send(3000, {V2.name: 60})
        world.pass_time(seconds(1))
        world.settle()
    assert world.state.stable == V1
    assert [one.verdict for one in world.state.decisions] == [Verdict.FAIL], "once they have timed out"


@pytest.mark.parametrize(
    "under_way", [{}, {V1.name: 900, V2.name: 100}, {V1.name: 90, V2.name: 12}, {V1.name: 50}, {V2.name: 1}]
)
def test_who_has_no_more_than_his_share_of_them_waits_for_nothing(under_way: dict[str, int]) -> None:
    assert loaded(under_way).state.stable == V2


def test_a_slow_challenger_that_is_right_waits_no_longer_than_a_request_may_take() -> None:
    world = loaded({V1.name: 900, V2.name: 300})
    assert world.state.stable == V1
    for _ in range(40):
        world.send(3000)
        world.pass_time(seconds(1))
        world.settle()
    assert world.state.stable == V2


def test_headers_divide_requests_by_what_nobody_knows() -> None:
    matched = PolicyStep(10, min_requests=100, match=(("a", "b"),))
    world = canary(Policy(replicas=2, steps=(matched,)))
    world.under_way = {V2.name: 300}
    world.run(1, requests=3000)
    assert world.state.stable == V2
