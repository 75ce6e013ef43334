"""Streams with known changes: what a frozen model gets wrong on them, and what it sees.

In: seeds. Out: for each stream and seed the errors of a model that learnt from the first TRAINED items, one
an item, and the counts of features and predictions in windows. The generators are river's, in an environment
of its own; they are the only chance in here.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from tools import clients

from noria_operator.domain.drift.columns import PREDICTION, Reference, Seen, parse
from noria_serving import reference

PROGRAMS = Path(__file__).parent / "programs"
TRAINED, CHANGE, WINDOW = 3000, 10_000, 500
Array = NDArray[Any]


@dataclass(frozen=True)
class Stream:
    """`errors` of the items after the trained ones; `windows` of WINDOW of them, in the bins of `known`."""

    name: str
    seed: int
    errors: Array
    known: Reference
    windows: tuple[dict[str, Seen], ...]

    @property
    def rates(self) -> tuple[float, float]:
        """Share of errors before and after the change."""
        at = CHANGE - TRAINED
        return float(self.errors[:at].mean()), float(self.errors[at:].mean())


def streams(folder: Path, seeds: Sequence[int]) -> Iterator[Stream]:
    """All streams, in the generators' order."""
    program = [clients.python("peer-river"), PROGRAMS / "river_streams.py", folder]
    subprocess.run([*program, *map(str, seeds)], check=True)
    for path in sorted(folder.glob("*.npz"), key=lambda path: path.stat().st_mtime_ns):
        name, _, seed = path.stem.rpartition("-")
        with np.load(path) as data:
            yield _stream(name, int(seed), data["x"], data["y"])


def _stream(name: str, seed: int, x: Array, y: Array) -> Stream:
    model = HistGradientBoostingClassifier(random_state=0).fit(x[:TRAINED], y[:TRAINED])
    scores = model.predict_proba(x)[:, 1]
    errors = ((scores > 0.5) != (y == 1)).astype(np.int64)[TRAINED:]
    columns = {f"x{index}": x[:, index] for index in range(x.shape[1])} | {PREDICTION: scores}
    bins = {column: reference.numeric(column, values[:TRAINED]) for column, values in columns.items()}
    *features, prediction = bins.values()
    known = reference.Reference(TRAINED, tuple(features), prediction)
    windows = tuple(
        {
            column: Seen(tuple(_counts(bins[column], values[start : start + WINDOW])))
            for column, values in columns.items()
        }
        for start in range(TRAINED, len(y) - WINDOW + 1, WINDOW)
    )
    return Stream(name, seed, errors, parse(reference.document(known)), windows)


def _counts(bins: reference.Bins, values: Array) -> list[int]:
    places = np.searchsorted(np.array(bins.edges), values, side="left")
    return list(map(int, np.bincount(places, minlength=bins.size)))
