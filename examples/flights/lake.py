"""The lake of the demo: directories with one partition a day, `day=YYYY-MM-DD/part-0.parquet`.

In: rows whose outcome is known. Out: partitions that other pods read: flights, and beside them what somebody
derives from them each day, the share of late ones by hour. Invariant: a partition appears whole or not at all
(written beside the others under a name that no reader selects, then renamed), and is never written twice; a
day of flights has its hours.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from examples.flights.features import DAY, FEATURES, HOUR_MINUTES, LABEL, MINUTE

KEY = "day"
FLIGHTS = "flights"
HOURS = "late-by-hour"
HOUR = "hour"


def write_day(root: Path, date: str, rows: pd.DataFrame) -> int:
    """Write the labelled flights of one day, and their hours; the number of flights. A day that is there
    already stays as it is.
    """
    known = rows[rows[LABEL].notna()].astype({LABEL: "int64"})
    if known.empty or (root / FLIGHTS / f"{KEY}={date}").exists():
        return 0
    hour = (known[MINUTE] // HOUR_MINUTES).rename(HOUR)
    _write(root / HOURS, date, known.groupby([known[DAY], hour])[LABEL].mean().reset_index())
    _write(root / FLIGHTS, date, known[[*FEATURES, LABEL]])
    return len(known)


def _write(folder: Path, date: str, rows: pd.DataFrame) -> None:
    final, staging = folder / f"{KEY}={date}", folder / f".{KEY}={date}"
    if not final.exists():
        staging.mkdir(parents=True, exist_ok=True)
        rows.to_parquet(staging / "part-0.parquet", index=False)
        staging.rename(final)
