"""How long clients may take to send a request and to take its answer, and how many took longer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

SLOW_REQUEST: Final = "slow_request"
"""A request, or the first one of a connection, did not arrive in time."""
SLOW_ANSWER: Final = "slow_answer"
"""An answer was not taken in time."""


@dataclass(slots=True)
class Patience:
    """Of one process, in seconds; 0: for ever."""

    seconds: float
    lost: Counter[str] = field(default_factory=lambda: Counter({SLOW_REQUEST: 0, SLOW_ANSWER: 0}))
