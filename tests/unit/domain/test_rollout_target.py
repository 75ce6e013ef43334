"""Which version is wanted: followed or pinned, approved or not, rejected or not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.domain.rollout_world import CANARY, SERVER_UNREAD, START, revision, serving

from noria_operator.domain.rollout_observed import Version
from noria_operator.domain.rollout_policy import Policy
from noria_operator.domain.rollout_state import Rejected, Revision, State, Undo
from noria_operator.domain.rollout_target import choose
from noria_operator.domain.rollout_words import Phase

V1, V2, V3, V10 = (revision(number) for number in (1, 2, 3, 10))


def state(stable: Revision | None = V1, rejected: tuple[Revision, ...] = ()) -> State:
    failed = tuple(Rejected(one.version, one.revision, "bad", START) for one in rejected)
    return State(stable=stable, rejected=failed)


def versions(**phases: str) -> tuple[Version, ...]:
    numbers = {name: int(name.removeprefix("v")) for name in phases}
    return tuple(Version(revision(numbers[name]), numbers[name], phase) for name, phase in phases.items())


A = "Approved"


@pytest.mark.parametrize(
    ("pinned", "known", "stands", "expected", "wanted"),
    [
        (None, {}, state(None), None, None),
        (None, {"v1": A}, state(None), V1, V1),
        (None, {"v1": A, "v2": A}, state(), V2, V2),
        (None, {"v2": A, "v10": A}, state(), V10, V10),
        (None, {"v1": A, "v2": "Validating"}, state(), V1, V1),
        (None, {"v1": A, "v2": A}, state(V2), V2, V2),
        (None, {"v1": A, "v2": "Rejected"}, state(V2), V2, V2),
        (None, {"v1": A}, state(V2), V2, V2),
        (None, {"v1": A, "v2": A, "v3": A}, state(V1, (V3,)), V2, V3),
        (None, {"v1": A, "v2": A, "v3": A}, state(V1, (V2, V3)), V1, V3),
        ("m-1", {"v1": A, "v2": A}, state(V2), V1, V1),
        ("m-2", {"v1": A, "v2": A, "v3": A}, state(V1), V2, V2),
        ("m-2", {"v1": A, "v2": A}, state(V1, (V2,)), V1, V2),
        ("m-9", {"v1": A}, state(V1), V1, None),
        ("m-2", {"v1": A, "v2": "Pending"}, state(V1), V1, None),
        ("m-1", {"v1": "Archived"}, state(V1), V1, V1),
    ],
)
def test_the_target_is_what_the_user_means_and_evidence_allows(
    pinned: str | None,
    known: dict[str, str],
    stands: State,
    expected: Revision | None,
    wanted: Revision | None,
) -> None:
    """Case 52: never the merely previous or rejected one."""
    target = choose(Policy(pinned=pinned), stands, versions(**known))
    assert (target.revision, target.wanted) == (expected, wanted)


OLD, BACK = revision(3, "bbbbbb"), revision(1, "bbbbbb")


@pytest.mark.parametrize(
    ("pinned", "known", "undo", "rejected", "answer"),
    [
        (None, {"v1": A, "v2": A, "v3": A}, Undo(V1, V3), (V3,), (V1, V3)),
        (None, {"v1": A, "v2": A, "v3": A, "v10": A}, Undo(V1, V3), (V3,), (V10, V10)),
        (None, {"v1": A, "v2": A, "v3": A, "v10": A}, Undo(V1, V3), (V3, V10), (V1, V10)),
        (None, {"v1": A, "v2": A}, Undo(V1, V3), (V3,), (V1, V3)),
        (None, {"v1": A, "v3": "Rejected"}, Undo(V1, V3), (V3,), (V1, V3)),
        (None, {"v1": A, "v3": A}, Undo(BACK, V3), (V3,), (BACK, V3)),
        (None, {"v1": A, "v3": A}, Undo(BACK, OLD), (OLD,), (V3, V3)),
        (None, {"v1": A, "v3": A}, Undo(V1, V3), (V3, V1), (V2, V3)),
        ("m-3", {"v1": A, "v3": A, "v10": A}, Undo(V1, V3), (V3,), (V1, V3)),
        ("m-2", {"v1": A, "v2": A, "v3": A}, Undo(V1, V3), (V3,), (V2, V2)),
    ],
    ids=[
        "versions in between stay left",
        "a newer version is followed",
        "a newer one that failed is not",
        "the version left is gone",
        "the version left is rejected",
        "an old configuration",
        "the spec's configuration changed",
        "what was gone back to failed: the champion stays",
        "the pin stands",
        "another pin",
    ],
)
def test_an_undo_holds_until_the_spec_asks_for_something_else(
    pinned: str | None,
    known: dict[str, str],
    undo: Undo,
    rejected: tuple[Revision, ...],
    answer: tuple[Revision, Revision],
) -> None:
    """Cases 34 and 52."""
    stands = replace(state(V2, rejected), undo=undo)
    target = choose(Policy(pinned=pinned), stands, versions(**known))
    assert (target.revision, target.wanted) == answer


def test_an_undo_from_a_champion_that_is_approved_no_more_is_carried_out_in_whatever_configuration() -> None:
    world = serving(1)
    world.approve(3)
    world.settle()
    world.commands["promote-full"] = "1"
    world.settle()
    assert world.state.stable == V3
    world.approve(3, "Rejected", "bbbbbb")
    world.approve(1, config="bbbbbb")
    world.settle()
    world.commands["undo"] = "1"
    world.settle()
    assert world.state.stable == V1


def test_a_retry_goes_back_again_where_pods_were_late_in_whatever_configuration() -> None:
    world = serving(1, Policy(replicas=2, keep_previous=timedelta()))
    world.approve(3)
    world.settle()
    world.approve(1, config="bbbbbb")
    world.approve(3, "Rejected", "bbbbbb")
    world.settle()
    assert (world.state.stable, [*world.pods]) == (V3, [V3.name])
    world.commands["undo"] = "1"
    world.reconcile()
    world.routers_follow()
    world.reconcile()
    world.pass_time(timedelta(minutes=11))
    made = world.reconcile()
    assert (world.state.candidate, made.wanted) == (None, V1)
    assert made.message.startswith("m-3 serves; m-1 was rejected: not ready within progressDeadline")
    world.routers_follow()
    world.commands["retry"] = "1"
    world.settle()
    assert world.state.stable == V1


def test_an_undo_of_a_configuration_that_could_not_be_read_holds_whichever_it_was() -> None:
    world = serving(1, Policy(replicas=2, keep_previous=timedelta()))
    world.approve(3)
    world.settle()
    world.edit(unread=SERVER_UNREAD)
    world.commands["undo"] = "1"
    world.reconcile()
    world.edit(unread="")
    for number in (1, 3):
        world.approve(number, config="bbbbbb")
    world.settle()
    made = world.settle()
    assert (world.state.stable, made.phase, made.wanted) == (V1, Phase.ROLLED_BACK, OLD)
    assert made.message.startswith("m-1 serves; m-3 was rejected: undone by noria.dev/undo 1")
    world.commands["retry"] = "1"
    world.settle()
    assert (world.state.stable, world.state.undo) == (OLD, None)


def test_an_undo_by_a_spec_that_is_not_read_whole_goes_back_to_the_same_version_as_it_was() -> None:
    world = serving(1, Policy(replicas=2))
    world.approve(1, config="bbbbbb")
    world.settle()
    assert world.state.stable == BACK
    world.edit(unread=SERVER_UNREAD)
    world.commands["undo"] = "1"
    world.settle()
    world.edit(unread="")
    world.settle()
    assert (world.state.stable, world.state.candidate) == (V1, None)


@pytest.mark.parametrize("retried", [False, True])
def test_an_abort_by_a_spec_that_is_not_read_whole_holds_in_whatever_configuration(retried: bool) -> None:
    """Of what waits to begin, and of what would be tried again by itself."""
    world = serving(1, Policy(replicas=2, steps=CANARY, retry_limit=1))
    if retried:
        world.approve(2)
        world.settle()
        world.pass_time(timedelta(minutes=11))
        world.run(1, errors={revision(2).name: 50})
        assert world.state.rejected[0].retry_at is not None
    world.edit(unread=SERVER_UNREAD)
    world.approve(2)
    world.settle()
    world.commands["abort"] = "1"
    world.settle()
    assert world.state.history[-1].message.startswith("m-2 will not be tried")
    world.edit(unread="")
    world.pass_time(timedelta(hours=1))
    made = world.settle()
    assert (world.state.candidate, made.phase) == (None, Phase.ROLLED_BACK)
    assert world.state.rejected[0].retry_at is None
    world.commands["retry"] = "1"
    world.settle()
    assert world.state.candidate is not None


def test_an_abort_by_a_spec_that_is_not_read_whole_has_nothing_to_say_of_the_champion() -> None:
    world = serving(1)
    world.edit(unread=SERVER_UNREAD)
    world.commands["abort"] = "1"
    world.settle()
    assert world.state.rejected == ()
