"""The figures as Markdown tables: one for each schedule and rate. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.judge.grid import Figures
from benchmarks.judge.traffic import Case

Found = Mapping[Case, Mapping[str, Figures]]
HEAD = ("truth", "rule", "aborted", "after min", "failed requests", "promoted")


def markdown(found: Found) -> str:
    """All tables, in the order of the cases."""
    titles = dict.fromkeys(map(_title, found))
    return "\n".join(
        _table(title, {case: rules for case, rules in found.items() if _title(case) == title})
        for title in titles
    )


def _title(case: Case) -> str:
    return f"{case.schedule.name}, {case.rate} requests/s"


def _table(title: str, found: Found) -> str:
    rows = [
        f"| {case.truth.name} | {rule} | {figures.aborted:.1%} | {_minutes(figures)} | {figures.failed:.1f} "
        f"| {figures.promoted:.1%} |"
        for case, rules in found.items()
        for rule, figures in rules.items()
    ]
    return "\n".join([f"### {title}", "", f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|", *rows, ""])


def _minutes(figures: Figures) -> str:
    return "–" if figures.minutes is None else f"{figures.minutes:.1f}"
