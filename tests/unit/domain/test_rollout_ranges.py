"""Users go from the champion to a challenger and back, as few as weights ask for."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from noria_operator.domain.rollout_ranges import moved, owners, ranges_of

ARMS = ("a", "b", "c")


@st.composite
def weights(draw: st.DrawFn) -> dict[str, int]:
    """A champion `m` and three arms, which leave it at least a quarter."""
    arms = {arm: draw(st.integers(0, 25)) for arm in ARMS}
    return {"m": 100 - sum(arms.values()), **arms}


@given(st.lists(weights(), min_size=2, max_size=8))
def test_shares_are_exact_and_no_user_goes_from_arm_to_arm(seen: list[dict[str, int]]) -> None:
    owned = owners(seen[0], {})
    for wanted in seen[1:]:
        before, owned = owned, moved(owned, wanted, ARMS)
        assert Counter(owned) == Counter({name: weight for name, weight in wanted.items() if weight})
        for one, other in zip(before, owned, strict=True):
            assert one == other or "m" in (one, other), f"from {one} to {other}"
        for arm in ARMS:
            kept = sum(one == other == arm for one, other in zip(before, owned, strict=True))
            assert kept == min(before.count(arm), wanted[arm]), "a user left without need"
        ranges = ranges_of(owned)
        assert owners(wanted, ranges) == owned


def test_a_challenger_alone_has_the_upper_end_and_needs_no_ranges() -> None:
    owned = owners({"m": 100, "a": 0}, {}, "a")
    for weight in (10, 40, 20):
        owned = moved(owned, {"m": 100 - weight, "a": weight}, ["a"])
        assert owned == owners({"m": 100 - weight, "a": weight}, {}, "a")


def test_an_arm_takes_what_another_gave_only_when_the_champion_has_too_little() -> None:
    owned = moved(owners({"m": 10, "a": 90}, {}), {"m": 10, "b": 90}, ["a", "b"])
    assert Counter(owned) == {"m": 10, "b": 90}
    assert owned[:10] == ["b"] * 10, "all that the champion had"
