"""The payload log's thread: collects records, writes a file when there is enough or it is time.

In: records from the queue. Out: Parquet files at the place, with names that no other process uses:
`predictions/version=<version>/day=<day>/<time>-<process>-<number>.parquet`, and under `labels/` the same with
`taken_by=<version>`, since the column `version` of labels is the version that predicted.
Invariants: a file that could not be written is tried again, later and later, while records beyond the bound
are dropped by whoever offers them; no record waits for another one to come; one that cannot be written is
dropped alone; the store's client and pyarrow are loaded here, when the first file is due.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from noria_serving.objects import is_store, open_store
from noria_serving.payload.settings import LogSettings

if TYPE_CHECKING:
    from noria_serving.payload.columns import Columns
    from noria_serving.payload.log import Labels, Prediction

log = logging.getLogger(__name__)
Place = Callable[[str, bytes], None]
"""Puts a file where the log is; raises whatever went wrong."""
FIRST_WAIT: Final = 1.0
LONGEST_WAIT: Final = 60.0


def open_place(uri: str) -> Place:
    """An object store, or a directory; files appear there whole."""
    if is_store(uri):
        store = open_store(uri)
        return lambda name, data: store.put(name, data) and None
    root = Path(uri.removeprefix("file://"))

    def put(name: str, data: bytes) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.part")
        unfinished.write_bytes(data)
        unfinished.rename(path)

    return put


class Writer(Thread):
    """One thread of one log."""

    def __init__(
        self, queue: SimpleQueue[Any], settings: LogSettings, columns: Columns, *,
        version: str, regression: bool, place: Place | None,
    ) -> None:  # fmt: skip
        super().__init__(name="payload-log", daemon=True)
        self._queue = queue
        self._settings = settings
        self._columns = columns
        self._version = version
        self._regression = regression
        self._place = place
        self._process = os.urandom(6).hex()
        self._number = 0
        self._records: list[Prediction | Labels] = []
        self._size = 0
        self._due = 0.0
        """When (time.monotonic()) the first of the records has waited long enough, if there are any."""
        self._closing = False
        self.done = 0
        """Bytes of records that wait no more; only this thread adds to it, and to what follows."""
        self.written = 0
        self.unwritable = 0
        self.failures = 0

    def run(self) -> None:
        while not self._closing:
            self._take(max(0.0, self._due - time.monotonic()) if self._records else None)
            due = self._records and time.monotonic() >= self._due
            if self._closing or due or self._size >= self._settings.file_bytes:
                self._write()
        if self._records:  # what came while the last file met trouble
            self._write()

    def _take(self, timeout: float | None) -> None:
        try:
            record = self._queue.get(timeout=timeout)
        except Empty:
            return
        if record is None:
            self._closing = True
            return
        if not self._records:
            self._due = time.monotonic() + self._settings.every
        self._records.append(record)
        self._size += record.size

    def _write(self) -> None:
        """Everything that was collected, as one file of each kind."""
        from noria_serving.payload import tables  # noqa: PLC0415  pyarrow is heavy: not before there is a file

        records, size, self._records, self._size = self._records, self._size, [], 0
        predictions = [record for record in records if hasattr(record, "inputs")]
        labels = [record for record in records if not hasattr(record, "inputs")]
        files: list[tuple[str, Callable[[Any], bytes], list[Any]]] = [
            ("predictions", lambda some: tables.predictions(some, self._columns), predictions),
            ("labels", lambda some: tables.labels(some, regression=self._regression), labels),
        ]
        for kind, encode, some in files:
            good, data = self._encoded(encode, some)
            if data is None:
                continue
            rows = sum(record.rows for record in good)
            if self._put(self._path(kind), data):
                self.written += rows
            else:
                self.unwritable += rows
        self.done += size

    def _encoded(
        self, encode: Callable[[Any], bytes], records: Sequence[Any]
    ) -> tuple[Sequence[Any], bytes | None]:
        """The records that can be written, and the file; one that cannot does not take others along."""
        if not records:
            return records, None
        try:
            return records, encode(records)
        except Exception as error:
            log.warning("payload log: a record cannot be written: %s", error)
        good = [record for record in records if self._fits(encode, record)]
        self.unwritable += sum(record.rows for record in records) - sum(record.rows for record in good)
        try:
            return good, encode(good) if good else None
        except Exception:
            log.exception("payload log: records cannot be written together")
            self.unwritable += sum(record.rows for record in good)
            return [], None

    def _fits(self, encode: Callable[[Any], bytes], record: Any) -> bool:
        try:
            encode([record])
        except Exception:
            return False
        return True

    def _put(self, name: str, data: bytes) -> bool:
        """Until it is there; after `close` only once more."""
        wait = FIRST_WAIT
        while True:
            try:
                if self._place is None:
                    self._place = open_place(self._settings.uri)
                self._place(name, data)
            except Exception as error:
                self.failures += 1
                log.warning("payload log: %s cannot be written: %s", name, error)
            else:
                return True
            if self._closing:
                return False
            self._pause(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    def _pause(self, seconds: float) -> None:
        """Meanwhile records are collected, and the end is heard of."""
        until = time.monotonic() + seconds
        while not self._closing and (left := until - time.monotonic()) > 0:
            self._take(left)

    def _path(self, kind: str) -> str:
        self._number += 1
        now = datetime.now(UTC)
        key = "version" if kind == "predictions" else "taken_by"
        place = f"{kind}/{key}={self._version}/day={now:%Y-%m-%d}"
        return f"{place}/{now:%H%M%S}-{self._process}-{self._number}.parquet"
