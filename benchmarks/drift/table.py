"""The figures as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.drift.detectors import Figures

Streams = Mapping[str, Mapping[str, Figures]]
"""By stream and rule."""
Noise = Mapping[int, Mapping[str, float]]
"""Alarms a month by rows of a window and rule."""
Power = Mapping[tuple[int, float | str], Mapping[str, float | None]]
"""Windows until the first alarm, at the median, by rows and shift (or what changed); None: not within a
day.
"""


def streams(found: Streams, rates: Mapping[str, tuple[float, float]]) -> str:
    """One row a stream, one column a rule: median delay in items (found in so many seeds), false alarms."""
    rules = list(next(iter(found.values())))
    rows = [
        [f"{name}: {rates[name][0]:.3f} → {rates[name][1]:.3f}", *(_delay(one[rule]) for rule in rules)]
        for name, one in found.items()
    ]
    return _table(["stream: error before → after", *rules], rows)


def noise(found: Noise) -> str:
    """Alarms a month where nothing changes."""
    rules = list(next(iter(found.values())))
    rows = [[f"{rows_:,}", *(f"{one[rule]:.3g}" for rule in rules)] for rows_, one in found.items()]
    return _table(["rows of a window", *rules], rows)


def power(found: Power, what: str = "shift in sd") -> str:
    """Windows until the first alarm where something changes; `what` is the head of that column."""
    rules = list(next(iter(found.values())))
    rows = [
        [
            str(shift) if isinstance(shift, str) else f"{shift:g}",
            f"{rows_:,}",
            *("–" if one[rule] is None else f"{one[rule]:g}" for rule in rules),
        ]
        for (rows_, shift), one in found.items()
    ]
    return _table([what, "rows", *rules], rows)


def seasons(calm: Noise, found: Power, months: int, runs: int) -> str:
    """Both tables of traffic with seasons."""
    lines = [
        f"Alarms in a month of 730 windows in which nothing but the season changes, mean of {months} months.",
        "",
        noise(calm),
        f"Windows until the first alarm where six of nineteen features move, median of {runs} runs; –: not "
        "within 24.",
        "",
        power(found),
    ]
    return "\n".join(lines)


def flights(
    found: Streams,
    rates: Mapping[str, tuple[float, float]],
    calm: Noise,
    moved: Power,
    *,
    seeds: int,
    months: int,
    runs: int,
) -> str:
    """All tables of real data."""
    lines = [
        "## With labels",
        "",
        f"Median delay in flights, then false alarms in 7,000 flights before the change; {seeds} seeds.",
        "",
        streams(found, rates),
        "## Flights without drift",
        "",
        f"Alarms in a month of 730 windows, mean of {months} months.",
        "",
        noise(calm),
        "## Flights after a change",
        "",
        f"Windows until the first alarm, median of {runs} runs; –: not within 24.",
        "",
        power(moved, "what changed"),
    ]
    return "\n".join(lines)


def _delay(one: Figures) -> str:
    some = "" if one.found in (0, one.seeds) else f" ({one.found}/{one.seeds})"
    delay = "never" if one.delay is None else f"{one.delay:.0f}{some}"
    return f"{delay}, {one.false:.2g}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join([*lines, ""])
