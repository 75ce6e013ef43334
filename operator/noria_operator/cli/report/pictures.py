"""The pictures of a report, as SVG within the page. Pure.

In: figures. Out: SVG. Invariants: a scale holds everything that is drawn; colours are told apart
without them, by place and by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from noria_operator.cli.report.page import Html

WIDTH: Final = 760
LEFT: Final = 190
RIGHT: Final = 90
ROW: Final = 30
CHALLENGER, CHAMPION, MARK = "#0969da", "#8c959f", "#cf222e"


@dataclass(frozen=True)
class Bar:
    """One value with its name; `low` and `high` are its bounds, `mark` what it is compared with."""

    name: str
    value: float
    colour: str = CHALLENGER
    low: float | None = None
    high: float | None = None
    mark: float | None = None


def number(value: Any) -> float | None:
    """What can be drawn of a figure: triggers also tell words, such as a digest or an age."""
    try:
        found = None if value is None else float(value)
    except ValueError:
        return None
    return found if found is not None and math.isfinite(found) else None


def bars(found: Sequence[Bar], *, percent: bool = False) -> Html:
    """Values side by side from zero, with bounds as whiskers and what they are compared with as a line."""
    if not found:
        return Html("")
    figures = [
        each for one in found for each in (0.0, one.value, one.low, one.high, one.mark) if each is not None
    ]
    least, most = min(figures), max(figures)
    span = (most - least) or 1.0

    def place(value: float) -> float:
        return LEFT + (value - least) / span * (WIDTH - LEFT - RIGHT)

    drawn = "".join(_bar(one, index, place, percent=percent) for index, one in enumerate(found))
    return _svg(len(found) * ROW + 6, drawn)


def timeline(events: Sequence[tuple[float, str, str]]) -> Html:
    """(seconds, word, colour) from left to right, by time; words that would meet stand on lines of their
    own.
    """
    if not events:
        return Html("")
    start, end = events[0][0], events[-1][0]
    span, rows, marks, words = (end - start) or 1.0, [0.0] * 8, [], []
    for at, word, colour in events:
        x = 20 + (at - start) / span * (WIDTH - 160)
        row = next((index for index, free in enumerate(rows) if free <= x), len(rows) - 1)
        rows[row] = x + 7.2 * len(word) + 14
        y = 26 + row * 20
        marks.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="8" y2="{y}" stroke="{colour}"/>')
        marks.append(f'<circle cx="{x:.1f}" cy="8" r="4" fill="{colour}"/>')
        words.append(f'<text x="{x + 4:.1f}" y="{y}">{escape(word)}</text>')
    used = max(index for index, free in enumerate(rows) if free)
    axis = f'<line x1="20" x2="{WIDTH - 140}" y1="8" y2="8" stroke="{CHAMPION}"/>'
    return _svg(40 + used * 20, axis + "".join([*marks, *words]))


def _bar(one: Bar, index: int, place: Callable[[float], float], *, percent: bool) -> str:
    y, start, end = index * ROW + 4, place(0), place(one.value)
    shown = f"{one.value * 100:.3g} %" if percent else f"{one.value:.4g}"
    parts = [
        f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(one.name)}</text>',
        f'<rect x="{min(start, end):.1f}" y="{y}" width="{max(1.0, abs(end - start)):.1f}" height="20" '
        f'fill="{one.colour}" opacity="0.85"/>',
    ]
    furthest = end
    if one.low is not None and one.high is not None:
        low, high = place(one.low), place(one.high)
        furthest = max(end, high)
        parts.append(
            f'<path d="M{low:.1f} {y + 10}H{high:.1f}M{low:.1f} {y + 4}v12M{high:.1f} {y + 4}v12" '
            'stroke="#1c2128"/>'
        )
    if one.mark is not None:
        at = place(one.mark)
        furthest = max(furthest, at)
        parts.append(
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y - 3}" y2="{y + 23}" stroke="{MARK}" stroke-width="2"/>'
        )
    parts.append(f'<text x="{furthest + 8:.1f}" y="{y + 15}">{shown}</text>')
    return "".join(parts)


def _svg(height: int, drawn: str) -> Html:
    return Html(
        f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">{drawn}</svg>'
    )
