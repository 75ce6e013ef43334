"""What a pass over a ContinuousTraining found that waits for nothing but time.

Comes in: what the pass looked at, the windows that it read, when it looks again. Goes out: whether a pass now
could find anything else. Invariants: while it stands, everything that a pass looks at is as it was, and every
trigger waits for the end of a window, which is read meanwhile, or for a date; whatever else may depend on the
time is looked at within `LONGEST`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from noria_operator.api.continuoustraining import ContinuousTraining
from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.triggers_hold import Watched

Json = dict[str, Any]

LONGEST: Final = timedelta(minutes=15)
"""After so much time triggers are weighed again though nothing happened."""


@dataclass(frozen=True, slots=True)
class Open:
    """A pass at `at` wrote nothing, and until `until` none of the windows can close."""

    obj: Json
    training: ContinuousTraining
    """The same, parsed."""
    seen: Watched
    windows: tuple[tuple[TriggerSpec, datetime], ...]
    """Triggers, and since when their windows are open."""
    at: datetime
    until: datetime

    def stands(self, obj: Json, seen: Watched, now: datetime) -> bool:
        """Whether a pass over this would do nothing but read the windows."""
        return self.at <= now < self.until and obj == self.obj and seen == self.seen
