"""Answers of a Prometheus about moments that are over, which are asked for once.

Comes in: a ModelDeployment, a question with its moment, what was answered. Goes out: the same, later.
Invariants: what is kept is bounded in answers and in numbers, and what nobody asked for longest goes first;
an answer without anything in it is not kept, as a source may only have begun to read what it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Place = tuple[str, str]
Question = tuple[str, float]
"""A query and the moment it is asked as of."""

MAX_ANSWERS: Final = 4096
"""Of a thousand models with a window each, two or three; what earlier weeks counted comes on top."""
MAX_NUMBERS: Final = 2_000_000
"""In all of them: some 20 MB of mostly small numbers, or a hundred windows of a thousand features."""


class Kept:
    """What was answered, those that were asked for last at the end."""

    def __init__(self) -> None:
        self._answers: dict[tuple[Place, Question], Mapping[str, Any]] = {}
        self.numbers = 0
        """In all answers."""

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, place: Place, question: Question) -> Mapping[str, Any] | None:
        """The answer; None where nobody knows it any more."""
        key = place, question
        found = self._answers.pop(key, None)
        if found is not None:
            self._answers[key] = found
        return found

    def put(self, place: Place, question: Question, answer: Mapping[str, Any]) -> None:
        """Keep an answer that stays as it is."""
        if not answer:
            return
        self._drop((place, question))
        self._answers[place, question] = answer
        self.numbers += _size(answer)
        while len(self._answers) > MAX_ANSWERS or self.numbers > MAX_NUMBERS:
            self._drop(next(iter(self._answers)))

    def forget(self, place: Place) -> None:
        """The ModelDeployment is gone."""
        for key in [key for key in self._answers if key[0] == place]:
            self._drop(key)

    def _drop(self, key: tuple[Place, Question]) -> None:
        self.numbers -= _size(self._answers.pop(key, {}))


def _size(answer: Mapping[str, Any]) -> int:
    return sum(len(value) if isinstance(value, tuple) else 1 for value in answer.values())
