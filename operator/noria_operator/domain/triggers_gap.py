"""Runs that fell due while nobody looked: before an operator led, or while the clock leapt.

They are due for all loops at once when somebody looks again, and no budget is shared by loops, so each waits
for its turn. Comes in: the gap, the loop's uid, a request. Goes out: the request, which asks from its turn
on. Invariants: what fell due later, what a person asks for and what windows show waits for no turn; a loop's
turn is the same moment of each `spread`, so that an operator which restarts over and over starts it, too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from noria_operator.api.status import MESSAGE_LIMIT
from noria_operator.domain.conditions import clip
from noria_operator.domain.training_times import stamp
from noria_operator.domain.triggers import Request

SPREAD: Final = timedelta(minutes=10)
"""Over so much time starts are spread that fell due while nobody looked."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Gap:
    """From `gone` until `back` nobody looked; they are the same where nobody knows since when."""

    gone: datetime
    back: datetime
    spread: timedelta = SPREAD

    def turn(self, uid: str, due: datetime) -> datetime:
        """When a loop may start what fell due at `due`."""
        if due > self.back or not self.spread:
            return due
        place = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:6]) / 2**48
        return self.back + (_EPOCH + self.spread * place - self.back) % self.spread

    def within(self, begun: datetime, ended: datetime) -> timedelta:
        """How much of this time nobody looked."""
        return max(timedelta(), min(ended, self.back) - max(begun, self.gone))

    def grace(self, now: datetime) -> timedelta:
        """How much later than otherwise a run may start while loops take turns, and for as long after that:
        the pass of the last turns comes when there is time for it.
        """
        return self.spread if now < self.back + 2 * self.spread else timedelta()


def in_turn(request: Request, gap: Gap | None, uid: str, now: datetime) -> Request:
    """The request; while its loop's turn is yet to come it waits."""
    if gap is None or request.fell_due is None or not request.wanted:
        return request
    turn = gap.turn(uid, request.fell_due)
    if turn <= now:
        return request
    until = f"; it fell due while nobody looked, and starts in this loop's turn at {stamp(turn)}"
    text = clip(request.says, MESSAGE_LIMIT - len(until)) + until
    told = {"decision": "Wait", "reason": "InTurn", "message": text}
    return replace(
        request, entry=request.entry | told, wanted=False, due=min(filter(None, (request.due, turn)))
    )
