"""What was counted while the traffic was divided in one way, and in another.

Comes in: the state and a window of both arms. Goes out: a sum for each division. Totals over divisions must
not be compared: whoever had more of the requests of a bad hour would look worse. Within one, shares are
constant, and where it comes back its sum goes on. Invariant: bounded; what comes in further divisions than
`MOST` is not counted at all, which takes nothing from what the rest says.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from noria_operator.domain.rollout_state import State
from noria_operator.domain.verdict import Window

MOST: Final = 16
"""Divisions that are kept of one experiment."""

Divided = Mapping[str, Window]
"""What came in each division."""


def division(state: State) -> tuple[tuple[str, str], ...]:
    """How requests get to everybody who gets any."""
    return tuple(sorted((share.target.name, str(share.reach)) for share in state.traffic if share.reach.any))


def named(state: State) -> str:
    """The division as few letters."""
    return sha256(repr(division(state)).encode()).hexdigest()[:8]


def plus(divided: Divided, name: str, window: Window) -> Divided:
    """With what came in the division of this name, if anything."""
    known = divided.get(name)
    if not window.requests or (known is None and len(divided) >= MOST):
        return divided
    return {**divided, name: window if known is None else known + window}
