"""The tables of docs/benchmarks/judge.md, which the command writes between their marks.

Comes in: figures of all cases, by rule. Goes out: Markdown by the name of the mark, and the page with it. The
best of a row is bold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.judge.grid import FIVE, HEALTHY, HEALTHY_2, HEALTHY_10, SLIGHT, TWENTY, TWICE, Figures
from benchmarks.judge.rules import NORIA, PEERS, UNGUARDED
from benchmarks.judge.table import Found
from benchmarks.judge.traffic import FIXED, Case

RULES = {
    NORIA.name: "Noria",
    UNGUARDED.name: "each error by itself",
    **dict(
        zip(
            (peer.name for peer in PEERS),
            ("Argo, ≤ 5 %", "Argo, failureLimit 3", "Argo tuned", "Flagger"),
            strict=True,
        )
    ),
}
"""Heads of columns."""


@dataclass(frozen=True)
class Row:
    """One line of a table: what is `shown` of the figures of a case, and of what the least is bold, or the
    `most`."""

    label: str
    case: Case
    shown: Callable[[Figures], str]
    value: Callable[[Figures], float]
    most: bool = False


def tables(grid: Found, bursts: Found, promotions: Found) -> dict[str, str]:
    """All of them by name."""
    alone = (NORIA.name, UNGUARDED.name)
    return {
        "independent": _table("", _independent(), grid),
        "bursts": _table("aborted", [_aborted(case) for case in bursts if healthy(case)], bursts),
        "cost": _table(
            "stopped after, failed requests until then",
            [_stopped(case) for case in bursts if not healthy(case)],
            bursts,
        ),
        "promotions": _table(
            "a Pass at any time (promoted after half an hour)",
            [_passed(case) for case in promotions],
            {case: {name: rules[name] for name in alone} for case, rules in promotions.items()},
        ),
    }


def write(page: Path, texts: Mapping[str, str]) -> None:
    """Put the tables between their marks, where there is such a page."""
    if not page.exists():
        return
    text = page.read_text()
    for name, table in texts.items():
        begin, end = f"<!-- begin: {name} -->\n", f"<!-- end: {name} -->\n"
        before, rest = text.split(begin)
        _, after = rest.split(end)
        text = f"{before}{begin}\n{table}\n\n{end}{after}"
    page.write_text(text)


def healthy(case: Case) -> bool:
    """Whether both versions are equally good."""
    return case.truth.champion == case.truth.challenger


def _independent() -> list[Row]:
    ok, ok_2, ok_10, twice, slight = (
        Case(truth, FIXED, 10) for truth in (HEALTHY, HEALTHY_2, HEALTHY_10, TWICE, SLIGHT)
    )
    rows = [
        _aborted(ok, "aborted, healthy, 0.5 % errors"),
        _aborted(ok_2, "aborted, healthy, 2 % errors"),
        _aborted(ok_10, "aborted, healthy, 10 % errors"),
    ]
    for truth, name in ((FIVE, "0.5 → 5 %"), (TWENTY, "0.5 → 20 %")):
        case = Case(truth, FIXED, 10)
        rows += [
            Row(f"{name} stopped after", case, _after, lambda one: one.minutes or 99.0),
            Row("failed requests until then", case, lambda one: f"{one.failed:.2g}", lambda one: one.failed),
        ]
    return [
        *rows,
        _promoted(slight, "0.5 → 2 % promoted"),
        _promoted(twice, "twice as bad (0.5 → 1 %) promoted"),
        _promoted(ok, "healthy, 0.5 % errors, promoted", most=True),
        _promoted(ok_2, "healthy, 2 % errors, promoted", most=True),
    ]


def _aborted(case: Case, label: str = "") -> Row:
    return Row(label or _named(case), case, lambda one: _share(one.aborted), lambda one: one.aborted)


def _promoted(case: Case, label: str, *, most: bool = False) -> Row:
    return Row(label, case, lambda one: _share(one.promoted), lambda one: one.promoted, most)


def _stopped(case: Case) -> Row:
    def shown(one: Figures) -> str:
        missed = "" if one.aborted > 0.995 else f" ({_share(one.aborted)})"
        return f"{_after(one)}, {one.failed:.0f}{missed}"

    return Row(_named(case), case, shown, lambda one: one.minutes or 99.0)


def _passed(case: Case) -> Row:
    return Row(
        _named(case) + (", healthy" if healthy(case) else ""),
        case,
        lambda one: f"{_share(one.passed or 0.0)} ({_share(one.promoted)})",
        lambda one: one.passed or 0.0,
        healthy(case),
    )


def _named(case: Case) -> str:
    """The truth, and what is not as in most cases."""
    unusual = [] if case.schedule == FIXED else [case.schedule.name]
    unusual += [] if case.rate == 10 else [f"{case.rate} requests/s"]
    name = case.truth.name.removeprefix("healthy, ").replace("%, healthy", "%")
    return f"{name} ({', '.join(unusual)})" if unusual else name


def _table(head: str, rows: Sequence[Row], found: Found) -> str:
    names = list(next(iter(found.values())))
    lines = [f"| {head} | {' | '.join(RULES[name] for name in names)} |", "|---" * (len(names) + 1) + "|"]
    for row in rows:
        figures = [found[row.case][name] for name in names]
        best = row.shown((max if row.most else min)(figures, key=row.value))
        cells = [row.shown(one) for one in figures]
        shown = (f"**{cell}**" if cell == best else cell for cell in cells)
        lines.append(f"| {row.label} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _after(one: Figures) -> str:
    return "–" if one.minutes is None else f"{one.minutes:.1f} min"


def _share(share: float) -> str:
    """In percent, with one decimal below ten."""
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"
