"""Answers of a Prometheus about moments that are over, which are asked for once.

Comes in: a ModelDeployment, a question with its moment, what was answered. Goes out: the same, later.
Invariants: what is kept is bounded in answers and in numbers, and what nobody asked for longest goes first;
an answer without anything in it is not kept, as a source may only have begun to read what it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from noria_operator.recent import Recent

Place = tuple[str, str]
Question = tuple[str, float]
"""A query and the moment it is asked as of."""

MAX_ANSWERS: Final = 4096
"""Of a thousand models with a window each, two or three; what earlier weeks counted comes on top."""
MAX_NUMBERS: Final = 2_000_000
"""In all of them: some 20 MB of mostly small numbers, or a hundred windows of a thousand features."""


class Kept:
    """What was answered."""

    def __init__(self) -> None:
        self._answers = Recent[tuple[Place, Question], Mapping[str, Any]](
            MAX_ANSWERS, size=_size, room=MAX_NUMBERS
        )

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def numbers(self) -> int:
        """In all answers."""
        return self._answers.size

    def get(self, place: Place, question: Question) -> Mapping[str, Any] | None:
        """The answer; None where nobody knows it any more."""
        return self._answers.used((place, question))

    def put(self, place: Place, question: Question, answer: Mapping[str, Any]) -> None:
        """Keep an answer that stays as it is."""
        if answer:
            self._answers[place, question] = answer

    def forget(self, place: Place) -> None:
        """The ModelDeployment is gone."""
        self._answers.forget(lambda key: key[0] == place)


def _size(answer: Mapping[str, Any]) -> int:
    return sum(len(value) if isinstance(value, tuple) else 1 for value in answer.values())
