"""`python -m benchmarks.drift.seasons [--quick] [--into FOLDER]`: traffic that is another one by day and by
night and at weekends, and the same every week; under rules that compare with training, with the window before
and with the same hour of earlier weeks. Keeps drift-seasons.{md,json}.

In: rows of a window, a shift, a seed. Out: windows that alarm in the month after four weeks. Counts are
drawn, not rows. Training saw all hours of a week alike.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.drift.noise import DAY, KNOWN, MONTH, Array, alarms, first_alarm, moved
from benchmarks.drift.table import seasons as table
from benchmarks.report import RESULTS
from noria_operator.domain.drift import policy, season
from noria_operator.domain.drift.columns import PREDICTION, Column, Seen
from noria_operator.domain.drift.policy import Policy
from noria_operator.domain.drift.season import WEEKS

HOURS: Final = 168
ROWS: Final = (200, 1000, 5000)
SHIFTS: Final = (0.5, 1.0)
_NAMES: Final = (*(f"x{index}" for index in range(19)), PREDICTION)
_SWING: Final = 0.6
"""Standard deviations by which ten numbers move between the middle of the day and that of the night."""
_WEEKEND: Final = 0.4

Windows = Sequence[Mapping[str, Seen]]


def truths(hour: int, shift: float = 0.0) -> list[Array]:
    """Shares of the bins in an hour of the week: ten numbers with a season, nine without, the predictions
    with a weaker one; the first six move by `shift` on top of it.
    """
    wave = _SWING * np.sin(2 * np.pi * hour / DAY) + (_WEEKEND if hour >= 5 * DAY else 0.0)
    numbers = [moved(wave + (shift if index < 6 else 0.0)) for index in range(10)]
    return [*numbers, *[moved(0.0)] * 9, moved(wave / 3)]


def month(rows: int, seed: int, shift: float = 0.0, windows: int = MONTH) -> dict[str, Array]:
    """Which windows alarm, by rule; weeks before the first are without the shift."""
    rng = np.random.default_rng([rows, seed, int(100 * shift)])
    plain = [truths(hour) for hour in range(HOURS)]
    trained = [rng.multinomial(KNOWN, np.mean([one[place] for one in plain], axis=0)) for place in range(20)]
    columns = [Column(name, tuple(bins.tolist())) for name, bins in zip(_NAMES, trained, strict=True)]
    before = [_drawn(rng, rows, plain[hour % HOURS]) for hour in range(WEEKS * HOURS)]
    strange = [truths(hour, shift) for hour in range(HOURS)]
    told = [*before, *(_drawn(rng, rows, strange[hour % HOURS]) for hour in range(windows))]
    return {name: rule(columns, told) for name, rule in RULES.items()}


def _drawn(rng: np.random.Generator, rows: int, shares: Sequence[Array]) -> dict[str, Seen]:
    each = (rng.multinomial(rows, one) for one in shares)
    return {name: Seen(tuple(bins.tolist())) for name, bins in zip(_NAMES, each, strict=True)}


def _trained(columns: list[Column], told: Windows) -> Array:
    return _judged(told, lambda place: (columns, False))


def _before(columns: list[Column], told: Windows) -> Array:
    return _judged(told, lambda place: (_with(columns, [told[place - 1]]), False))


def _weeks(number: int) -> Callable[[list[Column], Windows], Array]:
    def rule(columns: list[Column], told: Windows) -> Array:
        def known(place: int) -> tuple[list[Column], bool]:
            return _with(columns, [told[place - each * HOURS] for each in range(1, number + 1)]), True

        return _judged(told, known)

    return rule


def _with(columns: list[Column], windows: Windows) -> list[Column]:
    return season.compared(columns, season.usual(windows), 1)


def _judged(told: Windows, known: Callable[[int], tuple[list[Column], bool]]) -> Array:
    """The trigger `drift` with its defaults, in the month after the first weeks."""
    asked, marks, found = Policy(), "", []
    for place in range(WEEKS * HOURS, len(told)):
        columns, apart = known(place)
        said = policy.judge(asked, columns, told[place], marks, timedelta(hours=1), apart=apart)
        marks = said.marks
        found.append(said.drifted)
    return np.array(found)


RULES: Final[Mapping[str, Callable[[list[Column], Windows], Array]]] = {
    "Reference": _trained,
    "PreviousWindow": _before,
    "SameHour, one week known": _weeks(1),
    "SameHour, two weeks": _weeks(2),
    "SameHour, four weeks": _weeks(4),
}


def main() -> None:
    """Every figure is a function of the seeds: two machines print the same."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift.seasons", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one month of each")
    parser.add_argument("--into", type=Path, default=RESULTS, help="where the results are kept")
    options = parser.parse_args()
    repeats = 1 if options.quick else 4
    calm = {rows: alarms([month(rows, seed) for seed in range(repeats)]) for rows in ROWS}
    found = {
        (rows, shift): first_alarm([month(rows, seed, shift, DAY) for seed in range(2 * repeats + 1)])
        for rows in ROWS
        for shift in SHIFTS
    }
    text = table(calm, found, repeats, 2 * repeats + 1)
    sys.stdout.write(text)
    options.into.mkdir(parents=True, exist_ok=True)
    (options.into / "drift-seasons.md").write_text(f"# Drift of traffic with seasons: figures\n\n{text}")
    plain = {
        "calm": calm,
        "shifts": [{"rows": rows, "shift": shift, **each} for (rows, shift), each in found.items()],
    }
    (options.into / "drift-seasons.json").write_text(json.dumps(plain, indent=1) + "\n")


if __name__ == "__main__":
    main()
