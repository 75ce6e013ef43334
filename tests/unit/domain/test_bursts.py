"""Harm by windows: what a burst may weigh, whatever its size and wherever its window ends."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import exp, log, prod
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria_operator.domain.bursts import REMEMBERED, SPREAD, Bursts, Seen, weigh

RATIOS = (1.0, 1.25, 4.0, 32.0)
SHARE = 0.1


def seen(champion: int, challenger: int, *, share: float = SHARE, requests: int = 100) -> Seen:
    return Seen(share, champion, challenger, requests)


def after(*windows: Seen, begun: Bursts | None = None, usual: float = 0.0) -> Bursts:
    """`usual` is what the champion's windows with errors had before."""
    bursts, before = begun or Bursts(), [usual] * (usual > 0)
    for one in windows:
        bursts = weigh(bursts, replace(one, usual=fmean(before) if before else 0.0), RATIOS)
        before += [one.champion] * (one.champion > 0)
    return bursts


counts = st.tuples(st.integers(0, 30), st.integers(0, 30), st.floats(0.01, 0.99))


@given(st.lists(counts.map(lambda x: seen(x[0], x[1], share=x[2])), max_size=8))
def test_the_evidence_equals_the_bets_written_out(windows: list[Seen]) -> None:
    wealth, bets, skip = [1.0] * len(RATIOS), 0, False
    before: list[int] = []
    for one in windows:
        errors = one.champion + one.challenger
        usual = sum(before) / len(before) if before else 0.0
        if errors and not skip:
            excess = (one.challenger - one.share * errors) / max(errors, usual)
            odds = [1 + excess * (ratio - 1) / (1 + one.share * (ratio - 1)) for ratio in RATIOS]
            wealth = [have * odd for have, odd in zip(wealth, odds, strict=True)]
            mean = sum(wealth) / len(wealth)
            bets += 1
            part = 1 / (bets + SPREAD)
            wealth = [(1 - part) * have + part * mean for have in wealth]
        skip = one.challenger > 0 and not skip
        before += [one.champion] * (one.champion > 0)
    assert exp(after(*windows).log_e) == pytest.approx(sum(wealth) / len(wealth), rel=1e-9)


@pytest.mark.parametrize("size", [1, 7, 5000])
def test_a_burst_weighs_as_much_as_one_error(size: int) -> None:
    one = exp(after(seen(0, 1)).log_e)
    assert exp(after(seen(0, size)).log_e) == pytest.approx(one)
    assert one == pytest.approx(sum(ratio / (1 + SHARE * (ratio - 1)) for ratio in RATIOS) / len(RATIOS))


@pytest.mark.parametrize(("first", "second"), [(1, 9), (5, 5), (9, 1)])
def test_a_burst_over_the_end_of_a_window_weighs_once(first: int, second: int) -> None:
    assert after(seen(0, first), seen(0, second)).log_e == pytest.approx(after(seen(0, 10)).log_e)


def test_harm_that_goes_on_weighs_in_every_second_window() -> None:
    apart = after(seen(0, 3), seen(0, 0), seen(0, 3), seen(0, 0), seen(0, 3))
    assert after(*[seen(0, 3)] * 5).log_e == pytest.approx(apart.log_e)


def test_windows_without_errors_say_nothing() -> None:
    begun = after(seen(2, 1))
    assert after(*[seen(0, 0)] * 9, begun=begun).wealth == begun.wealth


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (1, 50, 3, 8), (40, 1, 40, 1)])
@pytest.mark.parametrize("spills", list(product((False, True), repeat=4)))
def test_a_fair_version_expects_to_win_nothing_however_bursts_lie(
    sizes: tuple[int, ...], spills: tuple[bool, ...]
) -> None:
    """All ways in which four bursts can fall on the versions, the challenger with its share of probability;
    a burst that spills has half of its errors, one at least, in the next window.
    """
    total = 0.0
    for falls in product((False, True), repeat=len(sizes)):
        windows = [[0, 0] for _ in range(len(sizes) + 1)]
        for place, (size, bad, spilled) in enumerate(zip(sizes, falls, spills, strict=True)):
            windows[place][bad] += size if not spilled else max(1, size // 2)
            windows[place + 1][bad] += max(1, size // 2) if spilled else 0
        chance = prod(SHARE if bad else 1 - SHARE for bad in falls)
        total += chance * exp(after(*(seen(*one) for one in windows)).log_e)
    assert total <= 1 + 1e-9


def test_less_than_a_champions_window_with_errors_weighs_less() -> None:
    """A pod that stumbles takes much of a small version's requests and little of a large one's."""
    used_to = after(*[seen(20, 0)] * 3)
    gained = after(seen(0, 2), begun=used_to, usual=20).log_e - used_to.log_e
    assert 0 < gained < 0.5 * after(seen(0, 2)).log_e
    steady = after(*[seen(1, 0)] * 3)
    assert after(seen(0, 2), begun=steady, usual=1).log_e - steady.log_e > gained


def test_harm_after_a_long_healthy_time_is_found_in_three_times_the_windows_at_most() -> None:
    """Without spreading, the bets on much harm would be lost for ever."""
    healthy = after(*[seen(1, 0)] * 2000)
    assert -8 < healthy.log_e < 0
    assert after(*[seen(0, 5)] * 7).log_e >= log(200)
    assert after(*[seen(0, 5)] * 21, begun=healthy, usual=1).log_e >= log(200)


@pytest.mark.parametrize(
    ("champion", "challenger", "points"),
    [(0, 33, 2), (0, 32, 1), (0, 10, 1), (0, 9, 0), (40, 13, 0), (40, 14, 1)],
)
def test_a_window_has_points_of_an_outage_by_what_failed_and_more_often_than_the_champion(
    champion: int, challenger: int, points: int
) -> None:
    """A tenth of the requests is the challenger's, so that 40 errors of the champion are 4.4 for as many."""
    assert after(seen(champion, challenger, requests=99)).down == points


def test_points_of_an_outage_are_kept_while_windows_follow_each_other() -> None:
    down = after(seen(0, 50), seen(0, 15))
    assert down.down == 3
    assert after(seen(0, 0, requests=0), begun=down).down == 3
    assert after(seen(0, 9), begun=down).down == 0


@pytest.mark.parametrize(
    ("champion", "challenger", "windows"), [(0, 80, 1), (0, 79, 0), (240, 80, 1), (241, 80, 0)]
)
def test_windows_in_a_row_in_which_nearly_all_failed_are_counted(
    champion: int, challenger: int, windows: int
) -> None:
    assert after(seen(champion, challenger)).nearly_all == windows
    twice = after(seen(0, 90), seen(0, 80))
    assert twice.nearly_all == 2
    assert after(seen(0, 50), begun=twice).nearly_all == 0


def test_windows_in_which_nearly_all_failed_are_forgotten_when_nobody_asks_any_more() -> None:
    """A tester who leaves after requests that were rightly refused holds nothing up for ever."""
    quiet, few = seen(3, 0, requests=0), seen(0, 4, requests=4)
    lately = after(*[seen(0, 5, requests=5)] * 20)
    assert lately.nearly_all == REMEMBERED
    assert after(few, begun=lately).nearly_all == REMEMBERED
    assert after(seen(0, 1, requests=2), begun=lately).nearly_all == 0
    assert after(*[quiet] * 3, begun=lately).nearly_all == REMEMBERED - 3
    assert after(*[quiet] * 9, begun=lately).nearly_all == 0
    assert after(*[few] * 9).nearly_all == 0, "a request or two are a coincidence"
