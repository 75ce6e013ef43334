"""The figures as a table.

Comes in: what each contender took, for each number of rollouts. Goes out: JSON, Markdown, and the same tables
in the page that explains them, where that stands in the folder.
Invariant: every column is one run of one contender; nothing is computed from several.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.rollouts.contender import Figures

ROWS: Sequence[tuple[str, Callable[[Figures], float], str]] = (
    ("until all are healthy, s", lambda it: it.healthy, ".1f"),
    ("requests for it, each", lambda it: it.healthy_requests, ".1f"),
    ("CPU for it, each, ms", lambda it: it.healthy_cpu / it.rollouts * 1e3, ".0f"),
    ("writes of everybody for it, each", lambda it: it.healthy_writes, ".1f"),
    ("CPU of the cluster for it, each, ms", lambda it: it.healthy_cluster / it.rollouts * 1e3, ".0f"),
    ("until all stand at the first step, s", lambda it: it.first_step, ".1f"),
    ("requests for it, each", lambda it: it.first_step_requests, ".1f"),
    ("CPU for it, each, ms", lambda it: it.first_step_cpu / it.rollouts * 1e3, ".0f"),
    ("writes of everybody for it, each", lambda it: it.first_step_writes, ".1f"),
    ("CPU of the cluster for it, each, ms", lambda it: it.first_step_cluster / it.rollouts * 1e3, ".0f"),
    ("reconcile pass p50, ms", lambda it: it.reconcile_p50 * 1e3, ".1f"),
    ("reconcile pass p99, ms", lambda it: it.reconcile_p99 * 1e3, ".0f"),
    ("abort to weight 0, p50, ms", lambda it: it.abort_p50 * 1e3, ".0f"),
    ("abort to weight 0, slowest of 20, ms", lambda it: it.abort_max * 1e3, ".0f"),
    ("memory, MiB", lambda it: it.memory, ".0f"),
    ("idle: requests a minute", lambda it: it.idle_requests, ".0f"),
    ("idle: CPU of one core, %", lambda it: it.idle_cpu, ".1f"),
)


BEGIN, END = "<!-- begin: figures -->\n", "<!-- end: figures -->\n"


def record(folder: Path, figures: Figures) -> list[Figures]:
    """Add to, or replace in, what was measured before; gives all of it, Noria first. What was measured before
    more was asked for is dropped: it would stand beside figures that it has not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rollouts-figures.json"
    kept = json.loads(path.read_text()) if path.exists() else []
    known = [Figures(**one) for one in kept if one.keys() == Figures.__dataclass_fields__.keys()]
    same = (figures.contender, figures.rollouts)
    found = [*(one for one in known if (one.contender, one.rollouts) != same), figures]
    found.sort(key=lambda one: (one.rollouts, not one.contender.startswith("Noria"), one.contender))
    path.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n")
    (folder / "rollouts-figures.md").write_text(f"# Rollouts: figures\n\n{markdown(found)}")
    explained = folder / "rollouts.md"
    if explained.exists():
        explained.write_text(between(explained.read_text(), f"\n{markdown(found)}\n"))
    return found


def between(page: str, tables: str) -> str:
    """The page with these tables between its two marks; raises ValueError where it lacks one."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{tables}{END}{after}"


def markdown(found: Sequence[Figures]) -> str:
    """One table for each number of rollouts."""
    tables = []
    for count in sorted({it.rollouts for it in found}):
        mine = [it for it in found if it.rollouts == count]
        head = f"| {count:,} rollouts | {' | '.join(it.contender for it in mine)} |"
        rows = [
            f"| {title} | {' | '.join(format(value(it), form) for it in mine)} |"
            for title, value, form in ROWS
        ]
        tables.append("\n".join([head, "|---" * (len(mine) + 1) + "|", *rows]))
    return "\n\n".join(tables) + "\n"
