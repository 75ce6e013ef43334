"""A version's thread and the requests that wait for it.

In: requests with their deadlines. Out: the model's answers, or a RequestError. Invariants: the thread makes
one call of the model at a time; whoever leaves (deadline passed, client gone) frees its place at once if its
turn has not come, and is let go at once even if it has; a call that never returns is known by `stuck`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from noria_serving.counters.latency import Histogram
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.inference import Array
from noria_serving.server import batching
from noria_serving.server.admission import Admission, Refusal, Turn
from noria_serving.server.batching import Inputs, Predict

ROWS: tuple[float, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024)
"""Bounds of the histogram of rows a call."""
LONGEST: Final = 3600.0
"""Seconds; a client that says that it waits for longer does not make a stuck model a busy one."""


@dataclass(slots=True)
class _Work:
    """What a turn carries."""

    inputs: Inputs
    answer: asyncio.Future[list[Array] | None]
    """None: its time was over."""


@dataclass(slots=True)
class Line:
    """`joins`: whether requests may be joined; `observe`: told the seconds of each call of the model."""

    predict: Predict
    admission: Admission
    joins: bool = False
    observe: Callable[[float], None] = lambda seconds: None
    rows: Histogram = field(default_factory=lambda: Histogram(ROWS))
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "inference"))
    _busy: bool = False
    _called: int = 0
    """What `call` was given and did not return from."""
    _began: float | None = None
    """When the thread began what it is at."""
    _patience: float = 0.0
    _closed: bool = False
    _alarm: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """Whether the model may be called from elsewhere without meeting the thread."""
        return self._began is None and not self._busy and not self._called

    def stuck(self, now: float) -> float:
        """Seconds that the call under way has taken."""
        began = self._began
        return 0.0 if began is None else now - began

    @property
    def patience(self) -> float:
        """Seconds that somebody was ready to wait for the call under way; 0: nobody said."""
        return self._patience

    async def run(self, inputs: Inputs, rows: int, deadline: float | None) -> list[Array]:
        """The model's answer, when the turn has come."""
        if self._closed:
            raise _leaves()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Array] | None] = loop.create_future()
        key = batching.key(inputs) if self.joins else None
        turn = Turn(rows, deadline, key, _Work(inputs, answer))
        now = time.monotonic()
        self.admission.enter(turn, now)
        if self.joins:
            loop.call_soon(self._next)  # after whoever came in the same round of the loop
        else:
            self._next()
        alarm = None if deadline is None else loop.call_later(deadline - now, self._late, turn)
        try:
            given = await answer
        except asyncio.CancelledError:
            self.admission.leave(turn)
            raise
        finally:
            if alarm is not None:
                alarm.cancel()
        if given is None:
            raise self.admission.refuse(Refusal.DEADLINE)
        return given

    async def call(self, function: Callable[[], Any]) -> Any:
        """Something else that calls the model, in the same thread."""
        self._called += 1  # at once: the thread begins when it can, and nobody may meet it there
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._timed, function)
        finally:
            self._called -= 1

    def close(self) -> None:
        """The call under way is the last; who waits is told so."""
        self._closed = True
        for turn in self.admission.clear():
            if not turn.work.answer.done():
                turn.work.answer.set_exception(_leaves())
        self._thread.shutdown(wait=False)

    def _late(self, turn: Turn) -> None:
        if not turn.work.answer.done():
            self.admission.leave(turn)
            turn.work.answer.set_result(None)

    def _next(self) -> None:
        """Give the thread its next call, if it is free."""
        if self._busy:
            return
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        now = time.monotonic()
        batch, later = self.admission.take(now)
        loop = asyncio.get_running_loop()
        if batch:
            self._busy = True
            waits = (turn.deadline - turn.since for turn in batch if turn.deadline is not None)
            self._patience = min(max(waits, default=0.0), LONGEST)
            self.rows.observe(sum(turn.rows for turn in batch))
            calling = loop.run_in_executor(self._thread, self._timed, lambda: self._answer(batch))
            calling.add_done_callback(lambda done: self._done(batch, done))
        elif later is not None:
            self._alarm = loop.call_later(later - now, self._next)

    def _timed(self, function: Callable[[], Any]) -> Any:
        """In the thread."""
        self._began = time.monotonic()
        try:
            return function()
        finally:
            self._began = None

    def _answer(self, batch: list[Turn]) -> tuple[float, list[list[Array] | Exception]]:
        """In the thread: (seconds, answers)."""
        started = time.perf_counter()
        answers = batching.answer(
            self.predict,
            [turn.work.inputs for turn in batch],
            [turn.rows for turn in batch],
            lambda index: not batch[index].work.answer.done(),
        )
        return time.perf_counter() - started, answers

    def _done(self, batch: list[Turn], calling: asyncio.Future[Any]) -> None:
        self._busy = False
        if calling.cancelled():  # the loop ends
            return
        seconds, answers = calling.result()
        self.admission.done(seconds)
        self.observe(seconds)
        for turn, given in zip(batch, answers, strict=True):
            if turn.work.answer.done():
                continue
            if isinstance(given, Exception):
                turn.work.answer.set_exception(given)
            else:
                turn.work.answer.set_result(given)
        self._next()


def _leaves() -> RequestError:
    return RequestError("this version leaves, another one takes its place: try again", status=503)
