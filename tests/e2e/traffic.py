"""Traffic beside a test: it runs in a thread and an event loop of its own for as long as a block lasts."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

ENDS = 60.0
"""Seconds in which the last requests are over."""


class Traffic(ABC):
    """A context manager; subclasses send in `_run` until `_stop` is set. Errors there are the block's."""

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._broke: BaseException | None = None
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=ENDS)
        if self._broke is not None:
            raise self._broke
        assert error or not self._thread.is_alive(), f"it still sends {ENDS:.0f} s after it was told to end"

    def _send(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as broke:  # which a thread would keep to itself
            self._broke = broke

    @abstractmethod
    async def _run(self) -> None: ...
