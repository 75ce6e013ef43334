"""Delay and false alarms on labelled streams, and alarms on traffic that does not change, as bars."""

from __future__ import annotations

from pathlib import Path

from benchmarks import bars
from benchmarks.bars import OURS, PEER, Panel
from benchmarks.drift.detectors import ALWAYS, DRIFT
from benchmarks.drift.table import Noise, Streams


def draw(
    streams: Streams, noise: Noise, path: Path, *, changed: str = "SEA 0→3", calm: str = "no change"
) -> None:
    """Write the picture of a stream that changed and of one that did not."""
    found, none = streams[changed], streams[calm]
    rules = [rule for rule in found if rule not in (DRIFT, ALWAYS)]
    panels = [
        _panel(f"{changed}: items until found, median", {rule: found[rule].delay or 0.0 for rule in rules}),
        _panel(f"{calm}: false alarms in 7,000 items", {rule: none[rule].false for rule in rules}),
        _panel("no drift, windows of 100 rows: alarms a month", dict(noise[100])),
    ]
    bars.draw(panels, path, width=7.5, form="%.3g")


def _panel(title: str, values: dict[str, float]) -> Panel:
    colours = [OURS if name.startswith("Noria") else PEER for name in values]
    return Panel(title, list(values), list(values.values()), colours)
