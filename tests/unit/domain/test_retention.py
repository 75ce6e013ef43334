"""Retention archives the oldest that nobody uses, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.domain.training_world import deployment, served, version

from noria_operator.domain.retention import KEEP_ANNOTATION, Retained, archivable, in_use, keep_of, retained


def kept(number: int, keep: str) -> dict[str, object]:
    made = version(number)
    made["metadata"]["annotations"] = {KEEP_ANNOTATION: keep}
    return made


def test_the_oldest_beyond_the_newest_keep_are_archived() -> None:
    versions = [version(1), version(2), kept(3, "1")]
    assert archivable(retained(versions, [])) == ("flights-1", "flights-2")


@pytest.mark.parametrize(
    "serving",
    [
        deployment(1),
        deployment(9, candidate=served(1)),
        deployment(9, previous=served(1)),
        deployment(None, pinned="flights-1"),
        deployment(9, champions=[served(1), served(9)]),
        deployment(9, undo={"target": served(1), "left": served(9)}),
    ],
)
def test_a_version_in_use_stays(serving: dict[str, object]) -> None:
    versions = [version(1), version(2), kept(3, "1")]
    assert archivable(retained(versions, [serving])) == ("flights-2",)


def test_a_version_with_an_alias_or_on_hold_stays() -> None:
    versions = [version(1, aliases=["best"]), version(2, hold=True), kept(3, "1")]
    assert archivable(retained(versions, [])) == ()


def test_only_approved_versions_count_and_are_archived() -> None:
    versions = [version(1), version(2, phase="Rejected"), version(3, phase="Pending"), kept(4, "2")]
    assert archivable(retained(versions, [])) == ()


@pytest.mark.parametrize(("text", "expected"), [("5", 5), ("0", 0), ("", 0), ("-1", 0), ("²", 0), ("x", 0)])
def test_a_figure_that_is_no_number_says_nothing(text: str, expected: int) -> None:
    assert keep_of(kept(1, text)) == expected


@pytest.mark.parametrize("newest", [version(61), kept(61, "all")])
def test_a_version_that_says_nothing_of_keep_leaves_the_figure_as_it_was(newest: dict[str, object]) -> None:
    versions = [kept(number, "60") for number in range(1, 61)]
    assert archivable(retained([*versions, newest], [])) == ("flights-1",)


def test_without_any_figure_the_default_counts() -> None:
    assert archivable(retained([version(number) for number in range(1, 23)], [])) == (
        "flights-1",
        "flights-2",
    )


def test_users_are_named_with_their_role() -> None:
    found = in_use([deployment(1, candidate=served(2)), deployment(1, name="mirror")])
    assert found == {
        "flights-1": ["flights (stable)", "mirror (stable)"],
        "flights-2": ["flights (candidate)"],
    }


def test_what_serves_is_told_before_what_is_only_named() -> None:
    """The table of `kubectl get mv` prints the first entry alone."""
    arms = {"experiment": {"arms": [{"version": "flights-1", "weight": 10}]}}
    champion = deployment(1, name="zoo")
    champion["spec"] |= {"strategy": arms, "version": "flights-1"}
    other = deployment(2, candidate=served(1), name="app")
    found = in_use([other, champion, deployment(1, name="mirror")])
    assert found["flights-1"] == [
        "mirror (stable)",
        "zoo (stable)",
        "app (candidate)",
        "zoo (pinned)",
        "zoo (arm)",
    ]


ARMS: dict[str, object] = {
    "strategy": {"experiment": {"arms": [{"version": f"flights-{number}"} for number in (2, 3, 4)]}}
}


def test_an_arm_is_told_until_its_experiment_is_over_and_kept_as_long_as_it_is_named() -> None:
    lost = {"version": "flights-2", "revision": "abc123", "lost": True}
    failed = {"version": "flights-4", "revision": "abc123"}
    waits, won = deployment(1), deployment(3, rejected=[lost, failed])
    newer = deployment(5, rejected=[lost, failed])
    for one in (waits, won, newer):
        one["spec"] |= ARMS
    arm = ["flights (arm)"]
    assert in_use([waits]) == {"flights-1": ["flights (stable)"]} | {f"flights-{n}": arm for n in (2, 3, 4)}
    assert in_use([won]) == {"flights-3": ["flights (stable)", "flights (arm)"]}
    assert in_use([newer]) == {"flights-5": ["flights (stable)"]}
    versions = [*map(version, (1, 2, 3, 4)), kept(5, "1")]
    assert archivable(retained(versions, [newer])) == ("flights-1",)


def test_an_arm_that_is_added_to_an_experiment_that_is_over_is_told() -> None:
    lost = {"version": "flights-2", "revision": "abc123", "lost": True}
    added = deployment(3, rejected=[lost])
    added["spec"] |= ARMS
    assert in_use([added])["flights-4"] == ["flights (arm)"]


@given(
    st.dictionaries(st.integers(1, 60), st.booleans(), max_size=30),
    st.integers(1, 10),
)
def test_neither_a_protected_one_nor_one_of_the_newest_is_ever_archived(
    protected: dict[int, bool], keep: int
) -> None:
    versions = [Retained(f"m-{number}", number, held, keep) for number, held in protected.items()]
    gone = set(archivable(versions))
    newest = sorted(versions, key=lambda one: -one.number)[:keep]
    assert not gone & {one.name for one in newest}
    assert not gone & {one.name for one in versions if one.protected}
    assert len(versions) - len(gone) >= min(keep, len(versions))
