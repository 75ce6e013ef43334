"""The serving side of the payload log: hand over and go on.

In: answered requests and labels, on the event loop. Out: records for the writer's thread. Invariants: nothing
here waits for anything; what waits to be written is bounded in bytes, and what does not fit is dropped and
counted; whether a prediction is in the log is decided by its id alone, so that every pod knows it of every
other's predictions when their labels come.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from queue import SimpleQueue
from sys import getsizeof
from typing import Any, Final

from numpy.typing import NDArray

from noria_serving.columns import Packed, Row
from noria_serving.errors import NoriaError, Reason
from noria_serving.feedback.token import Token
from noria_serving.payload.columns import chosen
from noria_serving.payload.settings import LogSettings
from noria_serving.payload.writer import Place, Writer
from noria_serving.reference import Reference
from noria_serving.signature import Signature

Array = NDArray[Any]
RECORD_BYTES: Final = 700
"""What a record takes beside its arrays, about."""
ARRAY_BYTES: Final = 280
"""What an array takes beside what is in it, about, and its place among others: of small ones it is nearly
all."""
LABEL_BYTES: Final = 40
"""What a label takes beside what it is, about."""
FLUSH_SECONDS: Final = 10.0
"""What the last file may take when the process ends."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answered request."""

    id: str
    at: float
    request: str | None
    """The client's own id."""
    inputs: Mapping[str, Array] | Packed
    outputs: Sequence[Array]
    rows: int
    size: int


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels that came with one token."""

    id: str
    at: float
    predicted: float
    version: str
    labels: Sequence[Any]
    size: int

    @property
    def rows(self) -> int:
        return len(self.labels)


class PayloadLog:
    """Of one served version, at one process."""

    def __init__(
        self, settings: LogSettings, signature: Signature, reference: Reference, *,
        version: str, regression: bool, place: Place | None = None,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._threshold = round(settings.sample * 2**32)
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._offered = 0
        self._full = 0
        columns = chosen(signature, reference, settings.redact)
        if find_spec("pyarrow") is None:
            raise NoriaError(
                Reason.MISSING_DEPENDENCY, "the payload log needs pyarrow: pip install 'noria-ml[server]'"
            )
        self._writer = Writer(
            self._queue, settings, columns, version=version, regression=regression, place=place
        )
        self._writer.start()

    @property
    def dropped(self) -> Mapping[str, int]:
        """Rows that were not written, by reason."""
        return {"full": self._full, "unwritable": self._writer.unwritable}

    @property
    def written(self) -> int:
        """Rows in files."""
        return self._writer.written

    @property
    def failures(self) -> int:
        """Tries to write a file that did not succeed."""
        return self._writer.failures

    def samples(self, nonce: bytes) -> bool:
        """Whether the prediction with this id is in the log."""
        return zlib.crc32(nonce) < self._threshold

    def prediction(
        self,
        nonce: bytes,
        at: float,
        request: str | None,
        inputs: Mapping[str, Array],
        outputs: Sequence[Array],
    ) -> bool:
        """Hand over an answered request, if it is one of those that `samples`; whether it will be in the log,
        unless its file cannot be written.
        """
        if not self.samples(nonce):
            return False
        kept = inputs.packed() if isinstance(inputs, Row) else inputs
        given = [array if array.base is None else array.copy() for array in outputs]  # not all of a batch
        arrays = [*(kept.arrays if isinstance(kept, Packed) else kept.values()), *given]
        size = RECORD_BYTES + sum(map(_size, arrays)) + getsizeof(request)
        rows = len(next(iter(inputs.values())))
        return self._offer(Prediction(nonce.hex(), at, request, kept, given, rows, size))

    def labels(self, token: Token, labels: Sequence[Any], now: float) -> None:
        """Hand over the labels of a prediction that is in the log."""
        record = Labels(
            token.id, now, token.milliseconds / 1000, token.version, labels, _size_of_labels(labels)
        )
        self._offer(record)

    def fits(self, labels: Sequence[Any]) -> bool:
        """Whether there is room for them; who asks and writes at once finds the same."""
        return self._room(_size_of_labels(labels))

    def _room(self, size: int) -> bool:
        return self._offered + size - self._writer.done <= self._settings.memory_bytes

    def _offer(self, record: Prediction | Labels) -> bool:
        if not self._room(record.size):
            self._full += record.rows
            return False
        self._offered += record.size
        self._queue.put(record)
        return True

    def close(self) -> None:
        """No more records; what waits is written. Does not wait for it: see `join`."""
        self._queue.put(None)

    def join(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until everything is written, or so long; whether it is."""
        self._writer.join(seconds)
        return self.complete

    @property
    def complete(self) -> bool:
        """Whether it was closed, and everything is written."""
        return not self._writer.is_alive()


def _size_of_labels(labels: Sequence[Any]) -> int:
    """How long a text is its client decides."""
    return RECORD_BYTES + LABEL_BYTES * len(labels) + sum(map(getsizeof, labels))


def _size(array: Array) -> int:
    """Bytes in memory; how long a text is its client decides."""
    texts = array.reshape(-1).tolist() if array.dtype.kind == "O" else ()
    return ARRAY_BYTES + array.nbytes + sum(map(getsizeof, texts))
