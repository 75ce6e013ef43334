"""What the replayer saw: every answer, every failure, and the quality of what was served. Pure bookkeeping.

In: one `answered`, `failed` or `outcome` call an event. Out: `stats()` (small, for a look every second) and
`report()` (all of it). Invariant: every flight that was asked is in exactly one of answered and failed;
nothing is retried and nothing is forgotten. Quality is computed over flights that were answered and whose
outcome is known, with the served score and the never-retrained model's score on the same flights.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sklearn.metrics import roc_auc_score

RECENT: Final = 2000
FAILURES_KEPT: Final = 500


@dataclass
class Seen:
    """When a version answered, in seconds since the epoch, and how often."""

    answered: int = 0
    failed: int = 0
    first: float = 0.0
    last: float = 0.0


@dataclass
class Ledger:
    """Everything counted so far."""

    versions: dict[str, Seen] = field(default_factory=lambda: defaultdict(Seen))
    by_day: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    failures: list[dict[str, Any]] = field(default_factory=list)
    failed: int = 0
    answered: int = 0
    feedback: Counter[str] = field(default_factory=Counter)
    milliseconds: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    slowest: float = 0.0
    quality: dict[int, list[tuple[int, float, float]]] = field(default_factory=lambda: defaultdict(list))

    def success(self, *, version: str, date: str, at: float, milliseconds: float) -> None:
        """A flight was answered with 200."""
        self.answered += 1
        self._seen(version, at).answered += 1
        self.by_day[date][version] += 1
        self.milliseconds.append(milliseconds)
        self.slowest = max(self.slowest, milliseconds)

    def failure(self, *, version: str, date: str, at: float, status: int, detail: str) -> None:
        """A flight was not answered with 200; `status` is 0 when there was no response at all."""
        self.failed += 1
        self._seen(version, at).failed += 1
        self.by_day[date][version] += 1
        if len(self.failures) < FAILURES_KEPT:
            self.failures.append(
                {"at": at, "date": date, "version": version, "status": status, "detail": detail[:300]}
            )

    def outcome(self, *, month: int, late: int, served: float, baseline: float) -> None:
        """The truth about a flight that was answered."""
        self.quality[month].append((late, served, baseline))

    def stats(self) -> dict[str, Any]:
        """Counts, small."""
        recent = sorted(self.milliseconds)
        return {
            "answered": self.answered,
            "failed": self.failed,
            "feedback": dict(self.feedback),
            "versions": {name: vars(seen) for name, seen in self.versions.items()},
            "latency_ms": {
                "p50": _quantile(recent, 0.5),
                "p99": _quantile(recent, 0.99),
                "max": self.slowest,
            },
        }

    def report(self) -> dict[str, Any]:
        """Everything, with quality by month."""
        return {
            **self.stats(),
            "failures": self.failures,
            "shares": {day: dict(counts) for day, counts in sorted(self.by_day.items())},
            "quality": quality_by_month(self.quality),
        }

    def _seen(self, version: str, at: float) -> Seen:
        seen = self.versions[version]
        seen.first = seen.first or at
        seen.last = max(seen.last, at)
        return seen


def quality_by_month(
    pairs: dict[int, list[tuple[int, float, float]]],
) -> dict[str, dict[str, float | int | None]]:
    """AUC of the served and of the never-retrained model on the same flights, by month."""
    result: dict[str, dict[str, float | int | None]] = {}
    for month, rows in sorted(pairs.items()):
        labels, served, baseline = zip(*rows, strict=True)
        result[str(month)] = {
            "flights": len(rows),
            "late": round(statistics.fmean(labels), 4),
            "served": auc(labels, served),
            "never_retrained": auc(labels, baseline),
        }
    return result


def auc(labels: Sequence[int], scores: Sequence[float]) -> float | None:
    """None with labels of one class only."""
    return round(float(roc_auc_score(labels, scores)), 5) if len(set(labels)) == 2 else None


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2) if ordered else None
