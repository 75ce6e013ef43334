"""Results of readings in the background: which are kept, and for how long."""

from __future__ import annotations

from datetime import timedelta

import pytest

from noria_operator.evidence import background
from noria_operator.evidence.background import UNUSED, Background


class Kept:
    """Readings at moments of a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.results = Background[str](lambda: self.now)

    async def read(self, key: str, *, every: timedelta = timedelta()) -> None:
        async def reading() -> str:
            return f"{key} at {self.now:g}"

        self.results.read(key, reading, every=every)
        await self.results.settled()


async def test_a_result_that_nobody_looks_at_goes_and_one_that_is_looked_at_stays() -> None:
    kept = Kept()
    await kept.read("closed window")
    await kept.read("open window")
    for hour in (0.4, 0.8, 1.2):
        kept.now = hour * UNUSED
        assert kept.results.latest("open window") == "open window at 0"
    await kept.read("another")
    assert kept.results.latest("closed window") is None
    assert kept.results.latest("open window") == "open window at 0"


async def test_what_was_read_a_moment_ago_is_not_read_again() -> None:
    kept = Kept()
    for now, expected in ((0, "a at 0"), (14, "a at 0"), (15, "a at 15"), (29, "a at 15"), (30, "a at 30")):
        kept.now = now
        await kept.read("a", every=timedelta(seconds=15))
        assert kept.results.latest("a") == expected


async def test_results_are_bounded_in_number_and_what_was_looked_at_last_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(background, "REMEMBERED", 2)
    kept = Kept()
    await kept.read("a")
    await kept.read("b")
    assert kept.results.latest("a") == "a at 0"
    await kept.read("c")
    assert [kept.results.latest(key) for key in "abc"] == ["a at 0", None, "c at 0"]
