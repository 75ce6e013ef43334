"""CPU per request of all servers as bars: one panel for each protocol and backend of the small model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import bars
from benchmarks.bars import FLOOR, OURS, PEER, Panel
from benchmarks.peers.servers import Server
from benchmarks.server.measure import Cell, Figures
from benchmarks.server.table import PROTOCOLS

PANELS = [
    Cell("small", "sklearn", "json"),
    Cell("small", "onnx", "json"),
    Cell("small", "onnx", "binary"),
    Cell("small", "onnx", "grpc"),
]


def draw(medians: Mapping[str, Mapping[Cell, Figures]], lanes: Sequence[Server], path: Path) -> None:
    """Write the picture."""
    cells = [cell for cell in PANELS if any(cell in found for found in medians.values())]
    bars.draw([_panel(cell, medians, lanes) for cell in cells], path, width=7, form="%.2f")


def _panel(cell: Cell, medians: Mapping[str, Mapping[Cell, Figures]], lanes: Sequence[Server]) -> Panel:
    shown = [lane for lane in lanes if cell in medians.get(lane.name, {})]
    return Panel(
        f"{cell.backend}, {PROTOCOLS[cell.protocol]}: CPU ms a request",
        [lane.title for lane in shown],
        [medians[lane.name][cell]["cpu ms"] for lane in shown],
        [_colour(lane) for lane in shown],
    )


def _colour(lane: Server) -> str:
    if lane.name.startswith("noria"):
        return OURS
    return FLOOR if lane.name.startswith("floor") else PEER
