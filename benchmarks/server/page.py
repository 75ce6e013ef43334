"""What a run found as docs/benchmarks/server.md: Noria beside the best peer, and who wins. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from benchmarks.peers.servers import (
    FLOOR,
    FLOOR_GRPC,
    KSERVE_BOTH,
    NORIA,
    NORIA_LABELS,
    NORIA_LOGGED,
    NORIA_UNCOUNTED,
    Server,
)
from benchmarks.server.counting import FEATURES
from benchmarks.server.measure import STEADY_RATE, Cell, Figures

Medians = Mapping[str, Mapping[Cell, Figures]]
APART = (
    NORIA.name, NORIA_LABELS.name, NORIA_UNCOUNTED.name, NORIA_LOGGED.name, KSERVE_BOTH.name, FLOOR.name,
    FLOOR_GRPC.name,
)  # fmt: skip
"""All that are no peers in the way their documentation shows for the least overhead."""
INTRODUCTION = """\
# The model server beside its peers

`make bench-server` wrote this page on {day:%-d %B %Y}. It measured Noria's model server, {peers} and bare
floors in {rounds} rounds, one after the other, with the same model files and the same requests over 16
connections. [All figures](server-figures.md) (also as [JSON](server-figures.json)) name the machine. Read
ratios: times belong to it. Floors tell how fast it was, as they decode, ask the model and encode, and do
nothing else.

CPU is that of a server's whole process tree, divided by the requests that it answered.

![CPU a request of each server](server-cpu.svg)

Noria is measured as users run it: counts of features and predictions, signed feedback tokens, checks of
every value and the log of the process are on, and it answers labels and probabilities. The payload log is
off, as by default, but where a line says that it is on, with every request written. Peers answer labels
alone, one process each, in the way their documentation shows for the least overhead: what clients of each
get who name no output. Of large requests over gRPC, where answers weigh most, two more lines compare
answers that hold the same: Noria asked for labels by name beside peers as they are, and KServe made to
answer probabilities, too; and one tells what Noria would take if it counted nothing, which nobody can have.
"""
COUNTING = """\
Counting is a part of every figure of Noria's. Alone (`python -m benchmarks.server.counting`) it takes a
prediction of {features} features so much CPU; the floor sorts the same values and looks up their bins, with
numpy alone."""
RAW_AND_LARGE = """\
there is nothing to parse, and Noria counts 50,000 values a request. {apart} between the two here; with
  counting switched off, as this benchmark alone can do, Noria takes what the line says that names it. Two
  thirds of counting are sorts ([ADR 40](../adr/0040-counting-is-not-compiled.md) says what counting in C
  would gain). Asked for
  labels alone Noria computes probabilities all the same, as it counts predictions by them. What is
  counted is exact; only embeddings are sampled. Other ways were tried, and gained nothing that could be
  measured: comparing values with all bounds instead of sorting them (in runs of
  thousands that takes a sixth less, which whatever comes next pays back, as the caches hold less of it),
  sorting in memory that is kept, counting several requests at a time, reading a tensor where it came instead
  of copying it, and letting gRPC sleep until most of a message has come."""
BUSIER = """\
each is asked at half of its own saturation, so that Noria is asked several times as often, and the generator
  of the load, which has the same two cores, is that much busier. At one rate for all it answers sooner."""
PYARROW = """\
pyarrow writes the log, and is loaded when its first file is due; rows wait for a file of 8 MiB."""
LEFT_OUT = """\
MLServer and LitServe take no binary tensors. What gave errors or wrong answers, at least in one round:"""
SAME = 1.05
"""Times; figures that differ by less are called the same: runs of one server differ by as much."""
UNKNOWN = "nobody has looked into it yet."


@dataclass(frozen=True)
class Measure:
    """One line of the comparison. `unit`: behind the figure; `more`: whether more is better."""

    label: str
    cell: Cell
    figure: str = "cpu ms"
    unit: str = "ms"
    more: bool = False
    ours: str = NORIA.name
    theirs: tuple[str, ...] = ()
    """Whom it is compared with; all peers where none is named."""
    why: str = ""
    """What is known where a peer wins, before WHY."""


def _alike(label: str, cell: Cell) -> tuple[Measure, ...]:
    """What each answers to who names no output, then answers that hold the same."""
    return (
        Measure(label, cell),
        Measure(f"{label}, labels alone", cell, ours=NORIA_LABELS.name),
        Measure(f"{label}, labels and probabilities", cell, theirs=(KSERVE_BOTH.name,)),
        Measure(
            f"{label}, the same, counting switched off",
            cell,
            ours=NORIA_UNCOUNTED.name,
            theirs=(KSERVE_BOTH.name,),
        ),
    )


SKLEARN, ONNX = Cell("small", "sklearn", "json"), Cell("small", "onnx", "json")
MEASURES = (
    Measure("CPU a request, scikit-learn, V2 JSON", SKLEARN),
    Measure("CPU a request, ONNX, V2 JSON", ONNX),
    Measure("CPU a request, ONNX, V2 JSON, payload log on", ONNX, ours=NORIA_LOGGED.name),
    Measure("CPU a request, scikit-learn, gRPC", Cell("small", "sklearn", "grpc")),
    Measure("CPU a request, ONNX, gRPC", Cell("small", "onnx", "grpc")),
    Measure("CPU a request, scikit-learn, binary tensors", Cell("small", "sklearn", "binary")),
    Measure("CPU a request, ONNX, binary tensors", Cell("small", "onnx", "binary")),
    Measure("memory, scikit-learn", SKLEARN, "rss", "MiB"),
    Measure("memory, ONNX", ONNX, "rss", "MiB"),
    Measure("memory, ONNX, payload log on", ONNX, "rss", "MiB", ours=NORIA_LOGGED.name, why=PYARROW),
    Measure("start to ready, scikit-learn", SKLEARN, "start s", "s"),
    Measure("start to ready, ONNX", ONNX, "start s", "s"),
    Measure("p99 at its own half load, scikit-learn", SKLEARN, "half p99 ms"),
    Measure("p99 at its own half load, ONNX", ONNX, "half p99 ms"),
    Measure(f"p99 at {STEADY_RATE:.0f} requests a second, scikit-learn", SKLEARN, "steady p99 ms"),
    Measure(f"p99 at {STEADY_RATE:.0f} requests a second, ONNX", ONNX, "steady p99 ms"),
    Measure("answers a second, scikit-learn, V2 JSON", SKLEARN, "rps", "", more=True),
    Measure("answers a second, ONNX, V2 JSON", ONNX, "rps", "", more=True),
    Measure(
        "CPU a request, 1,000 rows × 50 columns, scikit-learn, V2 JSON", Cell("large", "sklearn", "json")
    ),
    Measure("CPU a request, 1,000 rows × 50 columns, ONNX, V2 JSON", Cell("large", "onnx", "json")),
    *_alike("CPU a request, 1,000 rows × 50 columns, scikit-learn, gRPC", Cell("large", "sklearn", "grpc")),
    *_alike("CPU a request, 1,000 rows × 50 columns, ONNX, gRPC", Cell("large", "onnx", "grpc")),
    Measure("CPU a request, 1,000 rows × 50 columns, ONNX, binary tensors", Cell("large", "onnx", "binary")),
)
WHY: Mapping[tuple[str, str, str], str] = {
    ("large", "grpc", "cpu ms"): RAW_AND_LARGE,
    ("small", "json", "half p99 ms"): BUSIER,
}
"""What is known of a shape, protocol and figure in which a peer wins; `{apart}`: by how much."""


@dataclass(frozen=True)
class Compared:
    """A measure with the figures of Noria, of the best peer and of the floor, if they have one."""

    measure: Measure
    ours: float
    peer: str
    theirs: float | None
    floor: float | None

    @property
    def times(self) -> float:
        """How many times Noria's figure is that of the peer, or the other way round; at least 1."""
        return 1.0 if self.theirs is None else max(self.ours, self.theirs) / min(self.ours, self.theirs)

    @property
    def lost(self) -> bool:
        if self.theirs is None or self.times < SAME:
            return False
        return self.theirs > self.ours if self.measure.more else self.theirs < self.ours

    def line(self) -> str:
        """Of the table; a peer that wins is bold."""
        measure = self.measure
        cells = [measure.label, _figure(self.ours, measure.unit), "none", ""]
        if self.theirs is not None:
            theirs = f"{_figure(self.theirs, measure.unit)} ({self.peer})"
            compared = "more" if self.ours > self.theirs else "less"
            apart = f"{self.times:.1f} times {compared}" if self.times >= SAME else "the same"
            cells[2:] = [f"**{theirs}**" if self.lost else theirs, apart]
        cells.append("" if self.floor is None else _figure(self.floor, measure.unit))
        return f"| {' | '.join(cells)} |"


def markdown(
    medians: Medians,
    lanes: Sequence[Server],
    counted: Mapping[str, float],
    left_out: Sequence[str],
    *,
    rounds: int,
    day: date,
) -> str:
    """The whole page. counted: µs of CPU a prediction, by what is counted."""
    peers = ", ".join(lane.title for lane in lanes if lane.name not in APART)
    found = compared(medians, lanes)
    return "\n".join(
        [
            INTRODUCTION.format(day=day, peers=peers, rounds=rounds),
            "| measure | Noria | best peer | | floor |",
            "|---|---|---|---|---|",
            *(one.line() for one in found),
            "",
            COUNTING.format(features=FEATURES),
            "",
            "| what is counted | µs |",
            "|---|---|",
            *(f"| {what} | {value:.2f} |" for what, value in counted.items()),
            "",
            "## Where a peer wins, and why",
            "",
            *(_reasons(found) or ["- Nowhere, in this run."]),
            "",
            "## Left out",
            "",
            LEFT_OUT,
            "",
            *(f"- {what}" for what in left_out or ["nothing"]),
            "",
        ]
    )


def compared(medians: Medians, lanes: Sequence[Server]) -> list[Compared]:
    """Every measure that Noria has a figure of."""
    found = []
    for measure in MEASURES:
        figures = {
            lane: cells[measure.cell][measure.figure]
            for lane, cells in medians.items()
            if measure.figure in cells.get(measure.cell, {})
        }
        if measure.ours not in figures:
            continue
        ours = figures[measure.ours]
        floor = figures.get((FLOOR_GRPC if measure.cell.protocol == "grpc" else FLOOR).name)
        figures = {lane: value for lane, value in figures.items() if _is_peer(lane, measure)}
        best = (max if measure.more else min)(figures, key=lambda lane: figures[lane], default=None)
        title = next((lane.title.split()[0] for lane in lanes if lane.name == best), "")
        found.append(Compared(measure, ours, title, None if best is None else figures[best], floor))
    return found


def _is_peer(lane: str, measure: Measure) -> bool:
    return lane in measure.theirs if measure.theirs else lane not in APART


def _reasons(found: Sequence[Compared]) -> list[str]:
    """A line for each reason, with all that it explains."""
    lost: dict[str, list[Compared]] = {}
    for one in found:
        if one.lost:
            cell = one.measure.cell
            why = one.measure.why or WHY.get((cell.shape, cell.protocol, one.measure.figure), UNKNOWN)
            lost.setdefault(why, []).append(one)
    return [
        f"- **{'; '.join(one.measure.label for one in those)}**: {why.format(apart=_apart(those))}"
        for why, those in lost.items()
    ]


def _apart(lost: Sequence[Compared]) -> str:
    """How far measures of one unit are from the peers that win."""
    between = sorted(abs(one.ours - (one.theirs or 0.0)) for one in lost)
    ends = dict.fromkeys(_figure(one, "") for one in (between[0], between[-1]))
    return f"{' to '.join(ends)} {lost[0].measure.unit} lie"


def _figure(value: float, unit: str) -> str:
    text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{text} {unit}".rstrip()
