"""One simulated rollout as Noria's judge sees it: windows of counts, and the evidence after each of them.

Comes in: the traffic of a rollout. Goes out: what `domain/verdict.py` makes of it, window by window, as far
as somebody asks. Invariant: evidence is computed once, by the operator's own functions, whichever rules look
at it.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.judge.traffic import ERRORS, REQUESTS, Traffic
from benchmarks.judge.troubles import CHALLENGER, CHAMPION
from noria_operator.domain.verdict import Counts, Evidence, Window, step


class Rollout:
    """The traffic of one rollout, and what was found in it so far."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self._weighed: dict[int, Weighed] = {}

    def windows(self, seconds: int) -> Weighed:
        """Cut into windows of so many seconds."""
        if seconds not in self._weighed:
            self._weighed[seconds] = Weighed(self.traffic, seconds)
        return self._weighed[seconds]


class Weighed:
    """Windows of one length, by their number, and the evidence after so many of them."""

    def __init__(self, traffic: Traffic, seconds: int) -> None:
        self._parts = traffic.reshape(-1, seconds, *traffic.shape[1:])
        self._sums = self._parts.sum(axis=1).tolist()
        self._evidence = [Evidence()]

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self._sums)))

    def errors(self, number: int) -> int:
        """Errors of the challenger in the window."""
        return int(self._sums[number][CHALLENGER][ERRORS])

    def failing(self, number: int) -> list[int]:
        """Seconds of the window in which requests to the challenger failed, from 0."""
        return self._parts[number, :, CHALLENGER, ERRORS].nonzero()[0].tolist()  # type: ignore[no-any-return]

    def before(self, number: int) -> Evidence:
        """What earlier windows said."""
        while len(self._evidence) <= number:
            window = _window(self._sums[len(self._evidence) - 1])
            self._evidence.append(step(self._evidence[-1], window))
        return self._evidence[number]

    def within(self, number: int, seconds: int) -> Evidence:
        """What earlier windows and the first `seconds` of this one say, which is still open."""
        sums = self._parts[number, :seconds].sum(axis=0).tolist()
        return step(self.before(number), _window(sums), over=False)


def _window(sums: list[list[int]]) -> Window:
    champion, challenger = sums[CHAMPION], sums[CHALLENGER]
    return Window(
        Counts(champion[REQUESTS], champion[ERRORS]), Counts(challenger[REQUESTS], challenger[ERRORS])
    )
