"""The end of a process that ran code of others.

In: an exit code. Out: the process is over, with that code. Invariants: what ends by itself when a program
does (an idle pool, what `atexit` was given) has SECONDS for it; then threads and processes that a model
began, which the interpreter would wait for without limit, hold nobody up, and no scratch space is left.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
from contextlib import suppress
from threading import Timer
from typing import Final, NoReturn

from noria_serving import scratch

log = logging.getLogger(__name__)
SECONDS: Final = 2.0


def leave(code: int) -> NoReturn:
    """From the main thread, with nothing left to do."""
    late = Timer(SECONDS, _leave_behind, [code])
    late.daemon = True
    late.start()
    sys.exit(code)


def leave_now(code: int) -> NoReturn:
    """Without the interpreter's exit; what it prints is still written."""
    try:
        for child in multiprocessing.active_children():
            child.kill()
        scratch.remove(os.getpid())
        logging.shutdown()
        with suppress(OSError):  # whoever reads it has gone
            sys.stdout.flush()
    finally:
        os._exit(code)


def _leave_behind(code: int) -> None:
    log.warning("threads or processes of a model's own do not end: they are left behind")
    leave_now(code)
