"""What the replayer sends and when things become known, on the simulated clock. Pure.

In: the table of all flights. Out: the sampled flights of March to December with their request bodies, in the
order in which they are asked; and for each day the minute at which its last outcome is known. Invariant: the
same flights in the same order on every machine: every eighth flight in the order of asking, cancelled ones
included (nobody knows beforehand), and no outcome in a request.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from examples.flights.data import SEED_BEFORE
from examples.flights.features import CATEGORIES, FEATURES, LABEL
from examples.flights.names import ONE_IN


@dataclass(frozen=True, slots=True)
class Flight:
    """One sampled flight: asked at minute `asked` of the year; outcome known at `known`, or never (None)."""

    asked: float
    known: float | None
    date: str
    month: int
    late: int | None
    body: bytes


@dataclass(frozen=True, slots=True)
class Day:
    """All flights of a date; the last of their outcomes is known at minute `known`."""

    known: float
    date: str
    rows: pd.DataFrame


def sample(rows: pd.DataFrame, *, one_in: int = ONE_IN) -> pd.DataFrame:
    """Every `one_in`-th flight from March on."""
    live = rows[rows["date"] >= SEED_BEFORE].sort_values("asked", kind="stable")
    return live.iloc[::one_in]


def flights(rows: pd.DataFrame) -> list[Flight]:
    """The sampled rows as flights with request bodies."""
    return [_flight(row) for row in rows.to_dict("records")]


def body(row: Mapping[str, Any]) -> bytes:
    """One flight as an Open Inference Protocol request: one tensor a column."""
    return json.dumps(
        {"inputs": [tensor(name, row[name]) for name in FEATURES]}, separators=(",", ":")
    ).encode()


def _flight(row: Mapping[str, Any]) -> Flight:
    unknown = math.isnan(row[LABEL])
    return Flight(
        asked=float(row["asked"]),
        known=None if unknown else float(row["known"]),
        date=str(row["date"]),
        month=int(row["month"]),
        late=None if unknown else int(row[LABEL]),
        body=body(row),
    )


def tensor(name: str, value: Any) -> dict[str, Any]:
    """One value of a column as a tensor; a number that is missing is null."""
    if name in CATEGORIES:
        return {"name": name, "shape": [1, 1], "datatype": "BYTES", "data": [value]}
    number = float(value)
    return {
        "name": name,
        "shape": [1, 1],
        "datatype": "FP32",
        "data": [None if math.isnan(number) else number],
    }


def days(rows: pd.DataFrame) -> list[Day]:
    """Every day from March on, in the order in which they become known."""
    live = rows[rows["date"] >= SEED_BEFORE]
    found = [Day(float(day["known"].max()), str(date), day) for date, day in live.groupby("date")]
    return sorted(found, key=lambda day: day.known)


def date_of(minute: float) -> str:
    """A minute of the simulated clock as a date of 2013."""
    return str((pd.Timestamp("2013-01-01") + pd.Timedelta(minutes=minute)).date())
