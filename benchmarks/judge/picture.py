"""What each rule does to good and to bad challengers, as bars: one panel for each question."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from benchmarks.judge.grid import FIVE, HEALTHY, TRUTHS, TWENTY, Figures
from benchmarks.judge.rules import NORIA
from benchmarks.judge.table import Found
from benchmarks.judge.traffic import FIXED, Case, Truth

OURS, PEER = "#0b7285", "#adb5bd"
PANELS: tuple[tuple[Truth, str, Callable[[Figures], float]], ...] = (
    (HEALTHY, "aborted, %", lambda figures: 100 * figures.aborted),
    (TRUTHS[1], "aborted, %", lambda figures: 100 * figures.aborted),
    (FIVE, "failed requests until the abort or the end", lambda figures: figures.failed),
    (TWENTY, "failed requests until the abort or the end", lambda figures: figures.failed),
    (TRUTHS[2], "promoted, %", lambda figures: 100 * figures.promoted),
)


def draw(found: Found, path: Path) -> None:
    """Write the picture; its text stays text, so that it can be searched and read aloud."""
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "noria", "font.size": 9}):
        figure, axes = plt.subplots(len(PANELS), 1, figsize=(7.5, 1.75 * len(PANELS)))
        for axis, (truth, what, value) in zip(axes, PANELS, strict=True):
            rules = found[Case(truth, FIXED, 10)]
            colours = [OURS if name == NORIA.name else PEER for name in rules]
            bars = axis.barh(list(rules), [value(figures) for figures in rules.values()], color=colours)
            axis.bar_label(bars, fmt="%.1f", padding=3)
            axis.invert_yaxis()
            axis.margins(x=0.12)
            axis.set_title(f"{truth.name}: {what}", loc="left")
            axis.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
