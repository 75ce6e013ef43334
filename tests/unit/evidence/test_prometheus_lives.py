"""The processes of pods within a window, from samples that are read once."""

from __future__ import annotations

from typing import Any

from noria_operator.evidence.prometheus_lives import Lives

SAMPLES = [[10.0, "1.0"], [20.0, "1.0"], [30.0, "29.0"], [40.0, "29.0"]]


async def test_a_window_that_began_with_a_longer_one_has_its_own_processes() -> None:
    async def ask(query: str, at: float, kind: str) -> Any:
        if kind == "vector":
            return [{"metric": {"pod": "a"}, "value": [at, "4"]}]
        return [{"metric": {"pod": "a"}, "values": [sample for sample in SAMPLES if sample[0] <= at]}]

    lives = Lives(ask)
    for until, processes in ((40.0, [1.0, 29.0]), (25.0, [1.0]), (40.0, [1.0, 29.0])):
        found = await lives.of(("shop", "late"), ["a"], 5.0, until)
        assert [one.started for one in found] == processes
