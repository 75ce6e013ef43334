"""What each rule does to good and to bad challengers, as bars: one panel for each question."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks import bars
from benchmarks.bars import OURS, PEER, Panel
from benchmarks.judge.grid import FIVE, HEALTHY, HEALTHY_2, TWENTY, TWICE, Figures
from benchmarks.judge.rules import NORIA
from benchmarks.judge.table import Found
from benchmarks.judge.traffic import FIXED, Case, Truth

PANELS: tuple[tuple[Truth, str, Callable[[Figures], float]], ...] = (
    (HEALTHY, "aborted, %", lambda figures: 100 * figures.aborted),
    (HEALTHY_2, "aborted, %", lambda figures: 100 * figures.aborted),
    (FIVE, "failed requests until the abort or the end", lambda figures: figures.failed),
    (TWENTY, "failed requests until the abort or the end", lambda figures: figures.failed),
    (TWICE, "promoted, %", lambda figures: 100 * figures.promoted),
)


def draw(found: Found, path: Path) -> None:
    """Write the picture."""
    bars.draw([_panel(found, *panel) for panel in PANELS], path, width=7.5, form="%.1f")


def _panel(found: Found, truth: Truth, what: str, value: Callable[[Figures], float]) -> Panel:
    rules = found[Case(truth, FIXED, 10)]
    colours = [OURS if name == NORIA.name else PEER for name in rules]
    values = [value(figures) for figures in rules.values()]
    return Panel(f"{truth.name}: {what}", list(rules), values, colours)
