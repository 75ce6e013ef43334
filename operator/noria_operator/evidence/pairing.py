"""Answers of two versions as pairs, by the request that they are answers to.

Comes in: what model servers say of their newest answers. Goes out: sums over pairs that only grow.
Invariants: an answer is taken once, however often it is told, and is part of one pair at most; what finds no
partner in time is forgotten and counts for nothing; what waits for one is bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

from noria_operator.domain.disagreement import Paired, Pairs, compare
from noria_operator.domain.tasks import MULTICLASS
from noria_serving.contract import ANSWERS_SCHEMA

ARMS: Final = ("champion", "challenger")
MOST_WAITING: Final = 8192
"""Requests of each version whose partner is waited for; the oldest go first."""
MOST_ALIKE: Final = 16
"""Answers to requests of one key that wait."""
PATIENCE: Final = 60.0
"""Seconds that a partner is waited for: longer than a request takes, and servers are read after."""
MOST_PODS: Final = 512
"""Pods whose place is remembered; one that is forgotten tells from then on."""
MOST_ROWS: Final = 64
"""Of one answer: more is none of ours."""
MOST_TOLD: Final = 8192
"""Answers that are told at a time: twice what servers keep."""
NAME_LIMIT: Final = 64
"""Characters of a process and of a request: servers tell a UUID and a digest."""

Answer = tuple[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Told:
    """What a server says: its answers, and the number of the next one."""

    process: str
    task: str
    next: int
    answers: Sequence[Answer]


def parse(body: Any) -> Told | None:
    """What an answer of a server says; None when it is none that we understand."""
    if not isinstance(body, dict) or body.get("schema") != ANSWERS_SCHEMA:
        return None
    try:
        if len(body["answers"]) > MOST_TOLD:
            return None
        answers = [(str(key), tuple(values)) for key, values in body["answers"]]
        told = Told(str(body["process"]), str(body["task"]), int(body["next"]), answers)
    except (KeyError, OverflowError, TypeError, ValueError):
        return None
    named = max(map(len, (told.process, *(key for key, _ in answers))))
    if named > NAME_LIMIT or not 0 <= told.next < 2**63:
        return None
    return (
        told if all(len(values) <= MOST_ROWS and _fit(values, told.task) for _, values in answers) else None
    )


def _fit(values: Sequence[Any], task: str) -> bool:
    """Whether such values can be compared: of several classes names, else numbers, or None for NaN."""
    return task == MULTICLASS or all(value is None or isinstance(value, int | float) for value in values)


@dataclass(slots=True)
class _Waiting:
    """Answers of one version without a partner, by request; `since` is when the first of them came."""

    since: float
    answers: deque[Sequence[Any]] = field(default_factory=lambda: deque(maxlen=MOST_ALIKE))


@dataclass(slots=True)
class Join:
    """The pairs of two versions, from the first reading on."""

    reader: str = field(default_factory=lambda: uuid4().hex[:12])
    pairs: Pairs = field(default_factory=Pairs)
    places: dict[str, tuple[str, int]] = field(default_factory=dict)
    """(process, number of its next answer) by uid of the pod."""
    _tasks: dict[str, str] = field(default_factory=dict)
    _waiting: dict[str, dict[str, _Waiting]] = field(default_factory=lambda: {arm: {} for arm in ARMS})

    def question(self, uid: str) -> str:
        """The query for what this pod has not told yet; nothing before it was asked once."""
        if uid not in self.places:
            return ""
        process, number = self.places[uid]
        return f"?process={process}&after={number}"

    def take(self, arm: str, uid: str, told: Told, *, now: float, tolerance: float) -> None:
        """What a pod of `arm` told when it was asked the `question`."""
        self.places.pop(uid, None)
        self.places[uid] = told.process, told.next
        if len(self.places) > MOST_PODS:
            del self.places[next(iter(self.places))]
        self._tasks[arm] = told.task
        for request, values in told.answers:
            self._meet(arm, request, values, now, tolerance)
        self._forget(arm, now)

    def forget(self, now: float) -> None:
        """What has waited for too long, where nobody reads these servers any more."""
        for arm in ARMS:
            self._forget(arm, now)

    def paired(self, *, readable: bool = True, untold: str = "") -> Paired:
        """All pairs so far."""
        return Paired(self.reader, self.pairs, readable, untold)

    def _meet(self, arm: str, request: str, values: Sequence[Any], now: float, tolerance: float) -> None:
        other = ARMS[arm == ARMS[0]]
        partners = self._waiting[other].get(request)
        if partners is None:
            self._waiting[arm].setdefault(request, _Waiting(now)).answers.append(values)
            return
        partner = partners.answers.popleft()
        if not partners.answers:
            del self._waiting[other][request]
        same = self._tasks.get(arm) == self._tasks.get(other)
        self.pairs += compare(values, partner, self._tasks[arm], tolerance) if same else Pairs(1, 1.0)

    def _forget(self, arm: str, now: float) -> None:
        waiting = self._waiting[arm]
        while waiting:
            request, oldest = next(iter(waiting.items()))
            if len(waiting) <= MOST_WAITING and now - oldest.since <= PATIENCE:
                return
            del waiting[request]
