"""The figures as Markdown tables: one for each schedule and rate. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.judge.grid import Figures
from benchmarks.judge.traffic import Case

Found = Mapping[Case, Mapping[str, Figures]]
HEAD = ("truth", "rule", "aborted", "surely", "after min", "failed requests", "promoted", "ever a Pass")


def markdown(found: Found, runs: int) -> str:
    """All tables, in the order of the cases, of which most had so many `runs`."""
    titles = dict.fromkeys(map(_title, found))
    return "\n".join(
        _table(title, {case: rules for case, rules in found.items() if _title(case) == title}, runs)
        for title in titles
    )


def _title(case: Case) -> str:
    return f"{case.schedule.name}, {case.rate} requests/s"


def _table(title: str, found: Found, usual: int) -> str:
    rows = [
        f"| {case.truth.name}{_runs(figures, usual)} | {rule} | {figures.aborted:.2%} "
        f"| {figures.sure[0]:.2%} – {figures.sure[1]:.2%} | {_minutes(figures)} | {figures.failed:.1f} "
        f"| {figures.promoted:.1%} | {_share(figures.passed)} |"
        for case, rules in found.items()
        for rule, figures in rules.items()
    ]
    return "\n".join([f"### {title}", "", f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|", *rows, ""])


def _minutes(figures: Figures) -> str:
    return "–" if figures.minutes is None else f"{figures.minutes:.1f}"


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _runs(figures: Figures, usual: int) -> str:
    return "" if figures.runs == usual else f" ({figures.runs} runs)"
