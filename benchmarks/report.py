"""What a benchmark found, as a table for people and as JSON for machines.

Figures of one run are compared with each other and given as ratios: absolute times belong to the machine,
ratios to the code.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles

import psutil

RESULTS = Path("build/bench")


@dataclass(frozen=True)
class Row:
    """One figure: `value` in `unit`, and the floor or peer it is compared with, where there is one."""

    name: str
    value: float
    unit: str
    floor: float | None = None
    floor_name: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times the floor; None without one."""
        return self.value / self.floor if self.floor else None


def show(title: str, rows: Sequence[Row]) -> str:
    """The table of one benchmark."""
    lines = [title]
    for row in rows:
        beside = f"   {row.ratio:5.2f} x {row.floor_name} ({row.floor:.4g})" if row.ratio else ""
        lines.append(f"  {row.name:<52} {row.value:10.4g} {row.unit:<6}{beside}")
    return "\n".join(lines)


def write(name: str, rows: Sequence[Row]) -> Path:
    """Keep the figures as `build/bench/<name>.json`."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps([{**asdict(row), "ratio": row.ratio} for row in rows], indent=1) + "\n")
    return path


def machine() -> str:
    """What this machine is, and how fast today."""
    began = time.perf_counter()
    count = 0
    while count < 10_000_000:
        count += 1
    seconds = time.perf_counter() - began
    libraries = ", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "scikit-learn", "numpy"))
    return (
        f"{psutil.cpu_count()} cores that add ten million times in a Python loop in {seconds:.2f} s, "
        f"{platform.system()}, Python {platform.python_version()}, {libraries}"
    )


def middle(values: Sequence[float]) -> float:
    """The median."""
    return median(values)


def high(values: Sequence[float]) -> float:
    """The 99th percentile of a sample, its largest value when it is small."""
    return quantiles(values, n=100)[98] if len(values) >= 100 else max(values)
