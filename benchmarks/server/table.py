"""The figures as Markdown tables: one for each model shape, backend and protocol. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.peers.servers import Server
from benchmarks.server.measure import STEADY_RATE, Cell, Figures

COLUMNS = ("cpu ms", "rps", "p50 ms", "p99 ms", "half p99 ms", "steady p99 ms", "rss", "start s")
TITLES = {
    "cpu ms": "CPU ms",
    "half p99 ms": "p99 ms at its half load",
    "steady p99 ms": f"p99 ms at {STEADY_RATE:.0f}/s",
    "rss": "RSS MiB",
}
SHAPES = {"small": "2 rows × 4 columns", "large": "1,000 rows × 50 columns"}
PROTOCOLS = {"json": "V2 JSON", "binary": "V2 binary tensors", "grpc": "gRPC, raw tensors"}


def markdown(medians: Mapping[str, Mapping[Cell, Figures]], lanes: Sequence[Server]) -> str:
    """All tables; ratios are to Noria's CPU per request."""
    cells = sorted({cell for found in medians.values() for cell in found}, key=_order)
    return "\n".join(_table(cell, medians, lanes) for cell in cells)


def _order(cell: Cell) -> tuple[int, str, int]:
    return list(SHAPES).index(cell.shape), cell.backend, list(PROTOCOLS).index(cell.protocol)


def _table(cell: Cell, medians: Mapping[str, Mapping[Cell, Figures]], lanes: Sequence[Server]) -> str:
    rows = {lane.title: medians[lane.name][cell] for lane in lanes if cell in medians.get(lane.name, {})}
    columns = [name for name in COLUMNS if any(name in figures for figures in rows.values())]
    ours = medians.get("noria", {}).get(cell)
    head = ["server", *(TITLES.get(name, name) for name in columns), "CPU × Noria"]
    lines = [
        f"### {cell.backend}, {PROTOCOLS[cell.protocol]}, {SHAPES[cell.shape]}",
        "",
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
    ]
    for title, figures in rows.items():
        ratio = f"{figures['cpu ms'] / ours['cpu ms']:.2f}" if ours else ""
        values = [f"{figures[name]:.3g}" if name != "rps" else f"{figures[name]:.0f}" for name in columns]
        lines.append(f"| {' | '.join([title, *values, ratio])} |")
    return "\n".join([*lines, ""])
