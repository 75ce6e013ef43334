"""What the demo tells: one line an event with the elapsed time, and the command that shows the same.

In: sentences. Out: stdout. Invariant: lines of different threads never mix.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.Lock()
_STARTED = time.monotonic()
_SHOWN: set[str] = set()


class DemoError(Exception):
    """The demo cannot go on; the message says what happened and where to look."""


def elapsed() -> float:
    """Seconds since the demo started."""
    return time.monotonic() - _STARTED


def say(text: str, *, command: str = "") -> None:
    """Tell one thing that happened; a command is shown the first time only."""
    lines = [f"[{elapsed():6.1f} s] {text}"]
    with _LOCK:
        if command and command not in _SHOWN:
            _SHOWN.add(command)
            lines.append(f"             $ {command}")
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()


class Steps:
    """Seconds of each step, for the report."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Announce a step and measure it."""
        say(f"== {name}")
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - started, 1)
