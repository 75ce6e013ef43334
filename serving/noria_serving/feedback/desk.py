"""Issues tokens with predictions and counts the labels that come back with them.

In: scores at prediction time; tokens and labels later. Out: counts in the State, under the version in the
token. Invariant: a token is counted at most once within the window, whatever order its labels arrive in; a
refusal counts nothing but itself. Classification only: labels of regressions have no score bins.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

from numpy.typing import NDArray

from noria_serving.contract import FEEDBACK_MAX_ROWS, SCORE_BINS
from noria_serving.counters.state import FEEDBACK, State
from noria_serving.feedback.keys import MountedKeys
from noria_serving.feedback.token import Refusal, Refused, Token, binding, key_id, sign, verify
from noria_serving.feedback.window import Window
from noria_serving.quality import spelling

MAX_AGE_SECONDS: Final = 90 * 86_400
LATE_SECONDS: Final = 7 * 86_400
FUTURE_SECONDS: Final = 300
Array = NDArray[Any]


class Desk:
    """Feedback of one deployment at one server process."""

    def __init__(
        self, state: State, keys: MountedKeys, *, namespace: str, deployment: str, version: str,
        task: str, classes: Sequence[Any],
    ) -> None:  # fmt: skip
        self._state = state
        self.keys = keys
        self._bound = binding(namespace, deployment)
        self._version = version
        self._task = task
        self._labels = {spelling(value): index for index, value in enumerate(classes)}
        if task == "binary":
            self._labels = {"0": 0, "1": 1, **self._labels}
        self._window = Window()
        self._process = os.urandom(6)
        self._sequence = 0

    def issue(self, scores: Array, predicted: Array | None, now: float) -> str | None:
        """A token for the rows; None for regressions, more than 64 rows, or without keys.

        scores: in [0, 1]. predicted: index of the predicted class of each row (multiclass).
        """
        ring = self.keys.ring
        if ring is None or self._task == "regression" or len(scores) > FEEDBACK_MAX_ROWS:
            return None
        bins = bytes([_bin(score) for score in scores.tolist()])
        groups = bytes(len(bins)) if predicted is None else bytes([int(i) & 255 for i in predicted])
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        token = Token(self._version, int(now * 1000), self._process, self._sequence, bins, groups)
        return sign(token, ring, self._bound)

    def accept(self, text: object, labels: object, now: float) -> int:
        """Count the labels; the number of rows counted, or Refused."""
        try:
            return self._accept(text, labels, now)
        except Refused as refused:
            self._count(refused.refusal)
            raise

    def _accept(self, text: object, labels: object, now: float) -> int:
        if not isinstance(text, str) or self.keys.ring is None:
            raise Refused(Refusal.INVALID, "give the feedback token as a string")
        if key_id(text) not in self.keys.ring.keys:
            self.keys.refresh()
        token = verify(text, self.keys.ring, self._bound)
        age = now - token.milliseconds / 1000
        if not -FUTURE_SECONDS <= age <= MAX_AGE_SECONDS:
            raise Refused(
                Refusal.EXPIRED, f"the token is {age:.0f} s old; labels are counted for {MAX_AGE_SECONDS} s"
            )
        outcomes = self._outcomes(token, labels)
        if not self._window.add(token.process, token.sequence):
            raise Refused(Refusal.DUPLICATE, "the labels of this token were counted before")
        counted = [self._state.add_score(token.version, b, positive=p) for b, p in outcomes]
        self._count("matched")
        if age > LATE_SECONDS:
            self._count("late")
        self._state.vector[self._state.delay] += max(0, round(age))
        self._state.vector[self._state.delay + 1] += 1
        return sum(counted)

    def _outcomes(self, token: Token, labels: object) -> list[tuple[int, bool]]:
        """(score bin, whether the label is the positive class; with several classes: the predicted one)."""
        given = labels if isinstance(labels, list) else [labels]
        if len(given) != len(token.bins):
            raise Refused(Refusal.INVALID, f"the token has {len(token.bins)} rows, `labels` has {len(given)}")
        outcomes = []
        for label, row_bin, group in zip(given, token.bins, token.groups, strict=True):
            if label is None:
                continue
            index = self._labels.get(spelling(label))
            if index is None:
                raise Refused(Refusal.INVALID, f"label {label!r:.60} is not one of {list(self._labels)[:10]}")
            outcomes.append((row_bin, index == group if self._task == "multiclass" else index == 1))
        return outcomes

    def _count(self, outcome: str) -> None:
        self._state.vector[self._state.feedback + FEEDBACK.index(outcome)] += 1


def _bin(score: float) -> int:
    return min(SCORE_BINS - 1, max(0, int(score * SCORE_BINS)))
