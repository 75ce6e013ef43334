"""The figures of the largest number of rollouts that several were measured at, as bars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bars import OURS, PEER, Panel, draw
from benchmarks.rollouts import page
from benchmarks.rollouts.contender import Figures


def show(found: Sequence[Figures], path: Path) -> None:
    """What a user waits for, and what it costs the API server."""
    runs = Counter(it.rollouts for it in found)
    most = max(runs, key=lambda count: (runs[count] > 1, count))
    mine = [it for it in found if it.rollouts == most]
    names = [it.contender for it in mine]
    colours = [OURS if it.contender.startswith("Noria") else PEER for it in mine]
    chosen = (page.ROWS[0], page.ROWS[5], ("requests each, until the first step", _requests, ""))
    panels = [
        Panel(f"{most:,} rollouts: {title}", names, [value(it) for it in mine], colours)
        for title, value, _ in chosen
    ]
    draw(panels, path, width=7, form="%.1f")


def _requests(it: Figures) -> float:
    return it.healthy_requests + it.first_step_requests
