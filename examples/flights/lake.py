"""The lake of the demo: a directory with one partition a day, `day=YYYY-MM-DD/part-0.parquet`.

In: rows whose outcome is known. Out: partitions that other pods read. Invariant: a partition appears whole or
not at all (written beside the others under a name that no reader selects, then renamed), and is never written
twice.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from examples.flights.features import FEATURES, LABEL

KEY = "day"


def write_day(root: Path, date: str, rows: pd.DataFrame) -> int:
    """Write the labelled flights of one day; the number of rows. A day that is there already stays as it
    is.
    """
    final = root / f"{KEY}={date}"
    known = rows[rows[LABEL].notna()]
    if final.exists() or known.empty:
        return 0
    staging = root / f".{KEY}={date}"
    staging.mkdir(parents=True, exist_ok=True)
    known[[*FEATURES, LABEL]].astype({LABEL: "int64"}).to_parquet(staging / "part-0.parquet", index=False)
    staging.rename(final)
    return len(known)
