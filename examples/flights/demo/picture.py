"""The demo's picture: quality by month with and without Noria, and which version answered the flights of each
day.

In: the report and the daily shares. Out: a PNG.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.dates import DateFormatter, MonthLocator, date2num

MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def draw(report: dict[str, Any], path: Path) -> None:
    """Write the picture."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(10, 7), layout="constrained")
    _quality(above, report["quality"])
    _shares(below, report["shares"], report["bad"]["version_number"])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _quality(axes: Any, quality: dict[str, dict[str, Any]]) -> None:
    months = sorted(int(month) for month in quality)
    for key, label, style in (
        ("served", "with Noria", "o-"),
        ("never_retrained", "never retrained", "s--"),
    ):
        axes.plot(months, [quality[str(month)][key] for month in months], style, label=label)
    axes.set_xticks(months, [MONTHS[month - 1] for month in months])
    axes.set_ylabel("AUC on the replayed flights")
    axes.set_title("Will it arrive more than 15 minutes late? New York 2013, replayed")
    axes.grid(alpha=0.3)
    axes.legend()


def _shares(axes: Any, shares: dict[str, dict[str, int]], bad: str) -> None:
    days = sorted(shares)
    names = sorted(
        {name for counts in shares.values() for name in counts}, key=lambda name: (len(name), name)
    )
    rows = [
        [100 * shares[day].get(name, 0) / max(1, sum(shares[day].values())) for day in days] for name in names
    ]
    labels = [f"version {name}" + (" (bad)" if name == bad else "") for name in names]
    axes.stackplot([date2num(date.fromisoformat(day)) for day in days], rows, labels=labels)
    axes.xaxis.set_major_locator(MonthLocator())
    axes.xaxis.set_major_formatter(DateFormatter("%b"))
    axes.set_ylabel("share of the flights, %")
    axes.set_ylim(0, 100)
    axes.legend(loc="upper left", fontsize="small")
