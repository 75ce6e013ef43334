"""Issues tokens with predictions and counts the labels that come back with them.

In: scores at prediction time; tokens and labels later. Out: counts in the State, under the version in the
token; labels for the payload log. Invariant: a token is counted at most once within the window, whatever
order its labels arrive in; a refusal counts nothing but itself.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from noria_serving.contract import CONFUSION_CLASSES, FEEDBACK_MAX_ROWS, SCORE_BINS, error_exponent
from noria_serving.counters.state import FEEDBACK, State
from noria_serving.feedback.keys import MountedKeys
from noria_serving.feedback.token import Refusal, Refused, Token, binding, key_id, mark, order, sign, verify
from noria_serving.feedback.window import Window
from noria_serving.protocol.mistakes import kind_of
from noria_serving.quality import positions, spelling
from noria_serving.reference import Bins

MAX_AGE_SECONDS: Final = 90 * 86_400
LATE_SECONDS: Final = 7 * 86_400
FUTURE_SECONDS: Final = 300
LONGEST_LABEL: Final = 1024
"""Characters of a label whose class is not known here."""
Array = NDArray[Any]


class Accepted(NamedTuple):
    """What became of labels."""

    result: str
    """`matched`: counted. `logged`: handed to the payload log, which has the rows of their large batch."""
    rows: int
    message: str = ""
    """What to look at all the same."""

    def as_json(self) -> dict[str, Any]:
        """What the caller is told."""
        told = {"result": self.result, "rows": self.rows}
        return {**told, "message": self.message} if self.message else told


class LabelLog(Protocol):
    """Where labels go beside the counters."""

    def samples(self, nonce: bytes) -> bool:
        """Whether the prediction with this token is in the log, whichever pod made it."""
        ...

    def fits(self, labels: Sequence[Any]) -> bool:
        """Whether it has room for so many."""
        ...

    def labels(self, token: Token, labels: Sequence[Any], now: float) -> None:
        """Write them down; what does not fit is dropped."""
        ...


class Desk:
    """Feedback of one deployment at one server process."""

    def __init__(
        self, state: State, keys: MountedKeys, *, namespace: str, deployment: str, version: str,
        task: str, classes: Sequence[Any], by_class: bool = False, log: LabelLog | None = None,
        window: Window | None = None,
    ) -> None:  # fmt: skip
        """by_class: whether `issue` is told a score of each of several classes."""
        self._state = state
        state.own = version
        self.keys = keys
        self._bound = binding(namespace, deployment)
        self._version = version
        self._task = task
        self._log = log
        self._exponent = unit_exponent(state.reference.prediction)
        names = [*map(spelling, classes)]
        self._kinds = frozenset(map(_kind, names)) if task == "multiclass" else frozenset()
        self.classes: list[str] = []
        """Names of several classes by which labels are counted, in the order of the table."""
        if task == "multiclass":
            self.classes = names if len(names) <= CONFUSION_CLASSES else []
            state.keep_table(len(self.classes) ** 2)
            state.keep_class_scores(len(names) if by_class else 0)
        self._labels = positions(classes, binary=task == "binary")
        self._marks = bytes(map(mark, names))
        self._order = order(*names) if task == "binary" and len(names) == 2 else 0
        self._reversed = {**self._labels, **{name: place for place, name in enumerate(reversed(names))}}
        self._window = window or Window()
        self._process = os.urandom(6)
        self._sequence = 0

    def nonce(self) -> bytes:
        """A new one: the id of a prediction, whether it gets a token or not."""
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        return self._process + self._sequence.to_bytes(4)

    def issue(
        self, nonce: bytes, scores: Array, predicted: Array | None, now: float, slices: bytes = b"",
        *, by_class: Array | None = None, logged: bool = False,
    ) -> str | None:  # fmt: skip
        """A token for the rows; None without keys, and for more than 64 rows that are not in the payload log.

        scores: in [0, 1], or what was predicted (regression). predicted: index of the predicted class of each
        row (multiclass). slices: the group of each row by each slicing, row by row. by_class: the scores of
        all classes, [rows, classes] (multiclass). logged: whether the payload log took them.
        """
        ring = self.keys.ring
        if ring is None:
            return None
        token: Token | None
        common, rows = (self._version, int(now * 1000), nonce), len(scores)
        if rows > FEEDBACK_MAX_ROWS:
            token = Token(*common, batch=rows) if logged else None
        elif self._task == "regression":
            values = tuple(map(float, scores.tolist()))
            finite = all(map(math.isfinite, values))
            token = Token(*common, values=values, exponent=self._exponent, slices=slices) if finite else None
        else:
            bins = bytes(map(_bin, scores.tolist()))
            called = [] if predicted is None else predicted.tolist()
            groups = bytes([i & 255 for i in called]) or bytes((self._order,)) * rows
            marks = b"".join(self._marks[i : i + 1] or b"\0" for i in called)
            spread = b"" if by_class is None else _bins(by_class)
            token = Token(*common, bins=bins, groups=groups, slices=slices, marks=marks, by_class=spread)
        return None if token is None else sign(token, ring, self._bound)

    def accept(self, text: object, labels: object, now: float) -> Accepted:
        """Count the labels, or Refused."""
        try:
            return self._accept(text, labels, now)
        except Refused as refused:
            self._count(refused.refusal)
            raise

    def _accept(self, text: object, labels: object, now: float) -> Accepted:
        if not isinstance(text, str):
            raise Refused(Refusal.INVALID, "give the feedback token as a string")
        if self.keys.ring is None:
            raise Refused(
                Refusal.INVALID, "this server has no keys for tokens: look at its log, and try later"
            )
        if key_id(text) not in self.keys.ring.keys:
            self.keys.missed()
        token = verify(text, self.keys.ring, self._bound)
        age = now - token.milliseconds / 1000
        if not -FUTURE_SECONDS <= age <= MAX_AGE_SECONDS:
            raise Refused(
                Refusal.EXPIRED,
                f"the token is {age:.0f} s old; labels are counted for {MAX_AGE_SECONDS} s",
            )
        if not self._understands(token):
            raise Refused(
                Refusal.INVALID,
                f"the token is of {token.version}, which predicts something else than {self._version}, or "
                f"was issued by an earlier release: pods of {token.version} take it",
            )
        given = labels if isinstance(labels, list) else [labels]
        if len(given) != token.rows:
            raise Refused(Refusal.INVALID, f"the token has {token.rows} rows, `labels` has {len(given)}")
        known = [None if label is None else self._known(token, label) for label in given]
        if all(label is None for label in known):
            raise Refused(Refusal.INVALID, "`labels` holds no label; send the token once one is known")
        if token.batch:
            self._look_for_room(given)
        if not self._window.add(token.nonce[:6], int.from_bytes(token.nonce[6:])):
            raise Refused(Refusal.DUPLICATE, "the labels of this token were counted before")
        # A large batch's token says that its rows are in the log: another version may log a larger share.
        if self._log is not None and (token.batch or self._log.samples(token.nonce)):
            self._log.labels(token, given, now)
        if token.batch:
            self._count("logged")
            return Accepted("logged", sum(label is not None for label in given), self._strange(known))
        rows = sum(self._add(token, row, label) for row, label in enumerate(known) if label is not None)
        self._count("matched")
        if age > LATE_SECONDS:
            self._count("late")
        self._state.add_delay(age)
        strange = self._strange(known)
        return Accepted(
            "matched", rows, f"{strange}; unless that was predicted, it counts as wrong" if strange else ""
        )

    def _understands(self, token: Token) -> bool:
        """Whether it is known here what another version's rows were asked: which of two classes, or which of
        several. Numbers, and large batches, which are not counted, need no names of classes.
        """
        if token.version == self._version or token.values or token.batch:
            return True
        return self._task == ("multiclass" if token.marks else "binary")

    def _look_for_room(self, labels: Sequence[Any]) -> None:
        """Refused, where the payload log cannot take them: nowhere else are labels of a large batch kept."""
        if self._log is None:
            raise Refused(Refusal.INVALID, "labels of so many rows go to the payload log, which is off here")
        if not self._log.fits(labels):
            raise Refused(Refusal.FULL, "the payload log has no room for these labels now; send them later")

    def _known(self, token: Token, label: object) -> float | str:
        """Index of the label's class, or the number it is. Of several classes, the name of one that is not
        known here: refused, labels of a class that one version learnt would count only where it is served.
        """
        if isinstance(label, list | dict):
            raise Refused(Refusal.INVALID, f"a label is one value, not {kind_of(label)}")
        if token.values or (token.batch and self._task == "regression"):
            if isinstance(label, bool) or not isinstance(label, int | float) or not math.isfinite(label):
                raise Refused(
                    Refusal.INVALID, f"label {label!r:.60} is no number, and a regression predicts numbers"
                )
            return float(label)
        name = spelling(label)
        index = self._places(token).get(name)
        if index is not None:
            return index
        if _kind(name) not in self._kinds:
            raise Refused(Refusal.INVALID, f"label {label!r:.60} is not one of {list(self._labels)[:10]}")
        if len(name) > LONGEST_LABEL:
            text = f"label {name[:60]!r}… has {len(name)} characters, of which a class has {LONGEST_LABEL}"
            raise Refused(Refusal.INVALID, f"{text} at most")
        return name

    def _strange(self, labels: Sequence[float | str | None]) -> str:
        """A sentence about the first label whose class is not known here, if there is one."""
        name = next((label for label in labels if isinstance(label, str)), None)
        return "" if name is None else f"{self._version} knows no class called {name!r:.60}"

    def _places(self, token: Token) -> dict[str, int]:
        """Which class is which: of two as the version says that predicted, if it has the same ones."""
        turned = self._order and token.groups[:1] == bytes((self._order ^ 1,))
        return self._reversed if turned else self._labels

    def _add(self, token: Token, row: int, label: float | str) -> bool:
        """Count one row: its error, or whether the label is the positive (of several: predicted) class."""
        groups = token.slices_of(row) if token.slices else b""
        if isinstance(label, str):
            return self._add_chosen(token, row, label, groups)
        if token.values:
            unit = math.ldexp(1.0, token.exponent)
            return self._state.add_error(token.version, token.values[row] - label, unit, groups)
        if self._task != "multiclass":
            return self._state.add_score(token.version, token.bins[row], positive=label == 1, groups=groups)
        predicted, classes = token.groups[row], len(self._labels)
        # Of another version it is not known in which order its classes are.
        if token.version == self._version and predicted < classes <= CONFUSION_CLASSES:
            self._state.add_call(int(label) * classes + predicted)
        return self._add_chosen(token, row, int(label), groups)

    def _add_chosen(self, token: Token, row: int, label: int | str, groups: bytes) -> bool:
        """Whether the class of several that was predicted is the label's. A token has a byte for either: of
        more than 256 classes, and of another version, one mistake in 256 counts as right.
        """
        if token.by_class and token.version == self._version:
            self._state.add_class_scores(token.by_class_of(row), None if isinstance(label, str) else label)
        if token.version != self._version:
            given = mark(label) if isinstance(label, str) else self._marks[label]
            right = given == token.marks[row]
        else:
            right = not isinstance(label, str) and label & 255 == token.groups[row]
        return self._state.add_score(
            token.version, token.bins[row], positive=right, groups=groups, chosen=True
        )

    def _count(self, outcome: str) -> None:
        self._state.vector[self._state.feedback + FEEDBACK.index(outcome)] += 1


def _bin(score: float) -> int:
    place = int(score * SCORE_BINS)
    if 0 <= place < SCORE_BINS:
        return place
    return 0 if place < 0 else SCORE_BINS - 1


def _bins(scores: Array) -> bytes:
    """Of many scores what `_bin` is of one; of a few, numpy takes longer."""
    if scores.size <= 64:
        return bytes(map(_bin, scores.ravel().tolist()))
    places = np.asarray(scores, dtype=np.float64) * SCORE_BINS
    return np.clip(places, 0, SCORE_BINS - 1).astype(np.uint8).tobytes()


def _kind(name: str) -> str:
    """What a class is called by. Nothing and nan, which mostly stand for a label that is missing, are of
    kinds of their own. Its start tells: anybody may send texts of millions of digits.
    """
    if not name.strip():
        return "nothing"
    try:
        return "number" if math.isfinite(float(name[:100])) else "no number"
    except ValueError:
        return "text"


def unit_exponent(prediction: Bins) -> int:
    """The unit of errors, as a power of two; of bundles of earlier releases by the extremes alone."""
    low, high = prediction.usual or (0.0, 0.0)
    return error_exponent(prediction.high - prediction.low or abs(prediction.high), high - low)
