"""Figures as horizontal bars, one panel below the other, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

OURS, PEER, FLOOR = "#0b7285", "#adb5bd", "#e9ecef"


@dataclass(frozen=True)
class Panel:
    """One question; each bar with its name, value and colour."""

    title: str
    names: Sequence[str]
    values: Sequence[float]
    colours: Sequence[str]


def draw(panels: Sequence[Panel], path: Path, *, width: float, form: str) -> None:
    """Write the picture, `width` inches wide, values written as `form`. Its text stays text, so that it can
    be searched and read aloud.
    """
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "noria", "font.size": 9}):
        figure, axes = plt.subplots(len(panels), 1, figsize=(width, 1.75 * len(panels)), squeeze=False)
        for axis, panel in zip(axes[:, 0], panels, strict=True):
            bars = axis.barh(panel.names, panel.values, color=panel.colours)
            axis.bar_label(bars, fmt=form, padding=3)
            axis.invert_yaxis()
            axis.margins(x=0.12)
            axis.set_title(panel.title, loc="left")
            axis.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
