"""Where rules alarm on a stream: Noria's, river's and the baselines that any of them has to beat."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import fmean, median

import numpy as np
from tools import clients

from benchmarks.drift.streams import CHANGE, PROGRAMS, TRAINED, WINDOW, Stream
from noria_operator.domain.drift import change, policy
from noria_operator.domain.drift.change import Bucket
from noria_operator.domain.drift.policy import Policy

AT = CHANGE - TRAINED
"""Items of the stream's errors before its change."""
BATCH = 32
"""Labels in a step, as many as ADWIN waits for (its `clock`)."""
NORIA, DRIFT = "Noria, labels", "Noria, drift (no labels)"
WINDOWED, ALWAYS = "window above mean + 3 sd", "alarm every 500 items"
Alarms = Mapping[str, Sequence[int]]
"""Items after the trained ones at which each rule alarmed."""


@dataclass(frozen=True)
class Figures:
    """Of several seeds: in how many the change was found, after how many items at the median, and the mean
    of the alarms before it.
    """

    found: int
    seeds: int
    delay: float | None
    false: float


def alarms(streams: Sequence[Stream], folder: Path) -> list[Alarms]:
    """Those of every rule on each stream."""
    paths = []
    for index, stream in enumerate(streams):
        paths.append(folder / f"errors-{index}.npy")
        np.save(paths[-1], stream.errors)
    program = [clients.python("peer-river"), PROGRAMS / "river_detectors.py", *paths]
    told = json.loads(subprocess.run(program, check=True, capture_output=True, text=True).stdout)
    return [
        {
            NORIA: labels(stream),
            **told[str(path)],
            WINDOWED: windowed(stream),
            ALWAYS: range(WINDOW - 1, len(stream.errors), WINDOW),
            DRIFT: drift(stream),
        }
        for stream, path in zip(streams, paths, strict=True)
    ]


def labels(stream: Stream) -> list[int]:
    """The adaptive window on counts, asked after each BATCH labels."""
    memory: tuple[Bucket, ...] = ()
    found = []
    for start in range(0, len(stream.errors) - BATCH + 1, BATCH):
        memory = change.remember(memory, BATCH, int(stream.errors[start : start + BATCH].sum()))
        seen, memory = change.look(memory)
        if seen.found:
            found.append(start + BATCH - 1)
    return found


def windowed(stream: Stream) -> list[int]:
    """Error of a window above mean + 3 standard deviations of the windows before the change but for the last
    two: what NannyML's thresholds do with its reference chunks.
    """
    rates = stream.errors[: len(stream.errors) // WINDOW * WINDOW].reshape(-1, WINDOW).mean(axis=1)
    known = rates[: AT // WINDOW - 2]
    limit = known.mean() + 3 * known.std()
    return [(index + 1) * WINDOW - 1 for index, rate in enumerate(rates) if rate > limit]


def drift(stream: Stream) -> list[int]:
    """The trigger `drift` with its defaults but one window of one, a window taken for an hour."""
    asked, marks, found = Policy(k=1, n=1), "", []
    columns = policy.watched(asked, stream.known)
    for index, window in enumerate(stream.windows, 1):
        said = policy.judge(asked, columns, window, marks, timedelta(hours=1))
        marks = said.marks
        if said.drifted:
            found.append(index * WINDOW - 1)
    return found


def figures(each: Sequence[Sequence[int]]) -> Figures:
    """Of one rule's alarms on the same stream with several seeds."""
    first = [next((item for item in alarms if item >= AT), None) for alarms in each]
    delays = [item - AT for item in first if item is not None]
    false = fmean(sum(item < AT for item in alarms) for alarms in each)
    return Figures(len(delays), len(each), median(delays) if delays else None, false)
