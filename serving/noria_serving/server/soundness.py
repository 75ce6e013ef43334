"""Whether the model of a served version gives good answers still.

In: what happened to it (it failed, a call does not end), and the time. Out: why it is not ready any more, and
whether only a new process will help. Invariant: what failed gives its golden answers again before it counts
as sound.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from noria_serving.errors import NoriaError
from noria_serving.limits import Limits
from noria_serving.model.loaded import Loaded
from noria_serving.server.line import Line

log = logging.getLogger(__name__)
STUCK: Final = 2
"""Times a request's deadline; a call of the model that takes longer makes the version unready."""
HOPELESS: Final = 4
"""Times a request's deadline; then the process says that it is not alive, and is replaced."""


class Soundness:
    """Of one model, which is called in its line."""

    def __init__(self, loaded: Loaded, line: Line, limits: Limits) -> None:
        self.fault = ""
        """Why it is not ready any more."""
        self.loaded = loaded
        self._line = line
        self._limits = limits
        self._proving: asyncio.Task[None] | None = None
        self._closed = False

    def prove_soon(self) -> None:
        """After what runs now."""
        if not self._closed and (self._proving is None or self._proving.done()):
            self._proving = asyncio.get_running_loop().create_task(self.prove())

    async def prove(self) -> None:
        """Does the model still give its golden answers? If not, it is not ready until it does again."""
        try:
            await self._line.call(self.loaded.prove)
        except NoriaError as error:
            self.fault = error.message
            log.error("model failed its golden rows: %s", error.message)  # noqa: TRY400  the reason says it all
        else:
            self.fault = ""

    def look(self) -> None:
        """Nobody waits any more for a call that takes `STUCK` times as long as a request may: its thread is
        lost, and with it the model, until it returns after all. One that failed its golden rows must prove
        itself.
        """
        if self._overdue(STUCK):
            seconds = self._line.stuck(time.monotonic())
            self.fault = f"a prediction has been running for {seconds:.0f} s"
            log.error("a prediction does not end", extra={"seconds": round(seconds)})
        elif self.fault:
            self.prove_soon()

    @property
    def hopeless(self) -> bool:
        """Whether a call of the model has taken so long that only a new process will help."""
        return self._overdue(HOPELESS)

    def close(self) -> None:
        """It proves nothing any more."""
        self._closed = True

    def _overdue(self, times: int) -> bool:
        limit = self._limits.deadline and max(self._limits.deadline, self._line.patience)
        return bool(limit) and self._line.stuck(time.monotonic()) > times * limit
