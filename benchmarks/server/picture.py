"""CPU per request of all servers as bars: one panel for each protocol and backend of the small model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from benchmarks.peers.servers import Server
from benchmarks.server.measure import Cell, Figures
from benchmarks.server.table import PROTOCOLS

PANELS = [
    Cell("small", "sklearn", "json"),
    Cell("small", "onnx", "json"),
    Cell("small", "onnx", "binary"),
    Cell("small", "onnx", "grpc"),
]
OURS, PEER, FLOOR = "#0b7285", "#adb5bd", "#e9ecef"


def draw(medians: Mapping[str, Mapping[Cell, Figures]], lanes: Sequence[Server], path: Path) -> None:
    """Write the picture; its text stays text, so that it can be searched and read aloud."""
    panels = [cell for cell in PANELS if any(cell in found for found in medians.values())]
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "noria", "font.size": 9}):
        figure, axes = plt.subplots(len(panels), 1, figsize=(7, 1.75 * len(panels)), squeeze=False)
        for axis, cell in zip(axes[:, 0], panels, strict=True):
            shown = [lane for lane in lanes if cell in medians.get(lane.name, {})]
            values = [medians[lane.name][cell]["cpu ms"] for lane in shown]
            bars = axis.barh([lane.title for lane in shown], values, color=[_colour(lane) for lane in shown])
            axis.bar_label(bars, fmt="%.2f", padding=3)
            axis.invert_yaxis()
            axis.margins(x=0.12)
            axis.set_title(f"{cell.backend}, {PROTOCOLS[cell.protocol]}: CPU ms a request", loc="left")
            axis.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _colour(lane: Server) -> str:
    if lane.name == "noria":
        return OURS
    return FLOOR if lane.name.startswith("floor") else PEER
