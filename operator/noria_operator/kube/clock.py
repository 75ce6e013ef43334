"""Wall-clock time as a dependency, so that everything that waits for a date can be tested without waiting,
and how far it is to be believed.

A node may boot with a clock that is a year ahead, or be set there. Each answer of the API server says what
time it is (`ServerTime`), and a machine's monotonic clock does not leap: an operator takes the API server's
time while its own clock is ahead of it (`CheckedClock`). When both leap, or an operator begins to lead, much
may have fallen due at once: `Attention` tells when nobody looked. Invariant: the time is never later than
either of the two, so that nothing falls due because one of them leapt.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from noria_operator.domain.training_times import TOLERANCE
from noria_operator.domain.triggers_gap import SPREAD, Gap

log = logging.getLogger(__name__)

AGREED: Final = 60.0
"""Seconds for which no answer has to agree with what the API server's time was taken for."""


class Clock(Protocol):
    """Tells the time. `now` is timezone-aware and in UTC."""

    def now(self) -> datetime: ...


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class ServerTime:
    """The API server's time, as the `Date` of its answers tells it and the monotonic clock goes on from
    there.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._heard: tuple[datetime, float] | None = None
        self._agreed = 0.0

    def heard(self, date: datetime) -> None:
        """An answer came that was dated so. It may be old when it is read, and its date is cut to seconds, so
        it is that late or later: the latest counts, while any answers agree with it. Of several servers one
        whose clock is behind changes nothing; one that was set back does.
        """
        known, at = self.now(), self._monotonic()
        if known is None or date > known or (date < known - TOLERANCE and at - self._agreed > AGREED):
            self._heard, self._agreed = (date, at), at
        elif date >= known - TOLERANCE:
            self._agreed = at

    def now(self) -> datetime | None:
        """What time it is at least; None before the first answer."""
        if self._heard is None:
            return None
        date, at = self._heard
        return date + timedelta(seconds=self._monotonic() - at)


class CheckedClock:
    """The clock of this machine; the API server's time while that clock is ahead of it by more than clocks
    may differ.
    """

    def __init__(self, server: ServerTime, wall: Clock | None = None) -> None:
        self._server = server
        self._wall = wall or SystemClock()
        self._ahead = False

    def now(self) -> datetime:
        wall, server = self._wall.now(), self._server.now()
        if server is None or wall <= server + TOLERANCE:
            if self._ahead:
                log.info("The clock of this node agrees with the API server's again")
            self._ahead = False
            return wall
        if not self._ahead:
            log.warning(
                "The clock of this node is ahead of the API server's, whose time counts until they agree; "
                "synchronize the clocks of the nodes",
                extra={"clock": rfc3339(wall), "server": rfc3339(server)},
            )
        self._ahead = True
        return server


class Attention:
    """When nobody looked what is due: before the operator led, and while its clock leapt, as no monotonic
    clock does.
    """

    def __init__(
        self, clock: Clock, *, spread: timedelta = SPREAD, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._spread = spread
        self._monotonic = monotonic
        self.begin()

    def begin(self) -> None:
        """Somebody looks from now on."""
        self._now, self._at = self._clock.now(), self._monotonic()
        self._gap = Gap(self._now, self._now, self._spread)

    def gap(self) -> Gap:
        """The latest time in which nobody looked."""
        expected = self._now + timedelta(seconds=self._monotonic() - self._at)
        self._now, self._at = self._clock.now(), self._monotonic()
        if abs(self._now - expected) > TOLERANCE:
            # A clock that was set back shows times that were looked at already: it starts anew, too.
            self._gap = Gap(min(expected, self._now), self._now, self._spread)
        return self._gap


def rfc3339(moment: datetime) -> str:
    """A time as Kubernetes writes it in `metav1.Time`: UTC, whole seconds, `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(moment: datetime) -> str:
    """A time as Kubernetes writes it in `metav1.MicroTime`: UTC, six digits, `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
