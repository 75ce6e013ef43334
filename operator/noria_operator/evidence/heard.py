"""What is known of one pod with a model server: its last answers, when it gave none, what to tell it.

Comes in: its documents, and from where windows are counted. Goes out: what it said lately, or when a window
ended, and the query of the next reading. Invariant: of its answers the last two are kept, and the pod is told
once of each beginning that was read since it was asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from noria_operator.evidence.windows import Document

AROUND = 4.0
"""Seconds between the last answer that went into a window and the window's end, at most."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a pod said, and when by the process's clock and by the operator's (Unix seconds)."""

    at: float
    time: float
    document: Document


@dataclass(slots=True)
class Heard:
    """Of one pod."""

    readings: tuple[Reading, ...] = ()
    given_up: float = -inf
    """When it gave no answer last, by the process's clock."""
    origins: set[float] = field(default_factory=set)
    """What windows that were read since the pod was asked are counted from."""

    def said(self, reading: Reading) -> None:
        """It answered."""
        self.readings = (*self.readings[-1:], reading)

    def since(self, at: float) -> Document | None:
        """What it said later than this."""
        return self.readings[-1].document if self.readings and self.readings[-1].at > at else None

    def when_ended(self, ended: float) -> Document | None:
        """What it said when a window ended; None when that is not remembered."""
        for one in reversed(self.readings):
            if 0 <= ended - one.time < AROUND:
                return one.document
        return None

    def ahead(self, document: Document, now: float) -> float:
        """How many seconds its clock is ahead of the operator's, by what it said: now, or when it did."""
        heard = next((one.time for one in self.readings if one.document is document), now)
        return document.at - heard

    def query(self) -> str:
        """What there is to tell it, as a query."""
        if not self.origins:
            return ""
        told = ",".join(map(repr, sorted(self.origins)))
        self.origins.clear()
        return f"?keep={told}"
