"""Runs against loss, one panel a stream: what lies left and below is better. Schedules and the peers' rule
have their names, and of ours what is on the front; the figures tell them all.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from benchmarks.bars import OURS, PEER
from benchmarks.policies.table import Found, front


def draw(found: Found, path: Path) -> None:
    """Write the picture; the line joins the policies that no other one beats in both."""
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "noria", "font.size": 9}):
        figure, axes = plt.subplots(2, 2, figsize=(9, 7))
        for axis, (stream, outcomes) in zip(axes.flat, found.items(), strict=True):
            named: dict[tuple[float, float], str] = {}
            for name, one in outcomes.items():
                colour = OURS if name.startswith("Noria") else PEER
                axis.scatter(one.runs, one.loss, color=colour, zorder=2)
                if colour == PEER or name in front(outcomes):
                    named.setdefault((one.runs, one.loss), name.removeprefix("Noria, "))
            for place, name in named.items():
                axis.annotate(name, place, xytext=(4, 4), textcoords="offset points", fontsize=7)
            best = sorted((outcomes[name].runs, outcomes[name].loss) for name in front(outcomes))
            axis.step(*zip(*best, strict=True), where="post", color="#ced4da", zorder=1)
            axis.set_xscale("symlog", linthresh=1)
            axis.set_xlim(left=-0.2)
            axis.set_title(stream, loc="left")
            axis.set_xlabel("trainings")
            axis.set_ylabel("1 - AUC")
            axis.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
