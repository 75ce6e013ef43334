"""What the user sees while something long runs: one line at its start, a sign of life, one line at its end.

All of it goes to stderr, so that stdout stays free for what a command answers.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SIGN_OF_LIFE_SECONDS = 20.0


def say(line: str) -> None:
    """Write one line for people."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


@contextmanager
def step(what: str) -> Iterator[None]:
    """Announce a step, repeat the elapsed time while it runs, close with the seconds that it took."""
    started = time.monotonic()
    ended = threading.Event()

    def alive() -> None:
        while not ended.wait(SIGN_OF_LIFE_SECONDS):
            say(f"    … {what}: {time.monotonic() - started:.0f} s")

    say(f"==> {what}")
    ticker = threading.Thread(target=alive, daemon=True)
    ticker.start()
    try:
        yield
    except BaseException:
        say(f"    {what}: failed after {time.monotonic() - started:.1f} s")
        raise
    else:
        say(f"    {what}: {time.monotonic() - started:.1f} s")
    finally:
        ended.set()
        ticker.join()
