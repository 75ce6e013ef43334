"""A small table of flights with the columns that the examples read; no file is loaded."""

from __future__ import annotations

import pandas as pd
import pytest


@pytest.fixture
def flights() -> pd.DataFrame:
    """Two days around the first of March, one flight an hour; the third flight of each day is cancelled."""
    rows = []
    for month, day in ((2, 28), (3, 1), (3, 2)):
        for hour in range(6, 22):
            cancelled = hour == 8
            rows.append(
                {
                    "year": 2013,
                    "month": month,
                    "day": day,
                    "sched_dep_time": hour * 100 + 30,
                    "sched_arr_time": hour * 100 + 230,
                    "dep_delay": float("nan") if cancelled else 30.0 * (hour % 3),
                    "arr_delay": float("nan") if cancelled else 30.0 * (hour % 3) - 14,
                    "air_time": float("nan") if cancelled else 100.0,
                    "carrier": "UA" if hour % 2 else "B6",
                    "origin": "JFK",
                    "dest": "BOS" if hour % 2 else "SJU",
                    "distance": 187 + hour,
                }
            )
    return pd.DataFrame(rows)


@pytest.fixture
def weather() -> pd.DataFrame:
    """One report an hour whose humidity is the hour; the pressure is missing at noon."""
    rows = [
        {
            "origin": "JFK",
            "year": 2013,
            "month": month,
            "day": day,
            "hour": hour,
            "humid": float(hour),
            "wind_speed": 10.0,
            "precip": 0.0,
            "pressure": float("nan") if hour == 12 else 1010.0,
            "visib": 10.0,
        }
        for month, day in ((2, 28), (3, 1), (3, 2))
        for hour in range(24)
    ]
    return pd.DataFrame(rows)
