"""What each client script shares: it reads one target, runs its own checks, and prints what came of each as
JSON.

The scripts run in environments of the clients that they drive; standard library and numpy only.
"""

import asyncio
import inspect
import json
import signal
import sys
import traceback
from types import SimpleNamespace

PREFIX = "check_"
SECONDS = 45
"""A check that has not ended by then failed: some clients wait for ever for an answer."""


def main(names):
    """Run each `check_*` of the script on the target of argv[1]; print {check: what went wrong, or null}."""
    target = SimpleNamespace(**json.loads(sys.argv[1]))
    found = {name: value for name, value in names.items() if name.startswith(PREFIX)}
    report = {name.removeprefix(PREFIX): _failure(check, target) for name, check in found.items()}
    sys.stdout.write(f"\n{json.dumps(report)}\n")


def _failure(check, target):
    signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(SECONDS)
    try:
        result = check(target)
        if inspect.iscoroutine(result):
            asyncio.run(result)
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error!s:.300} ({frame.name}, line {frame.lineno}: {frame.line})"
    finally:
        signal.alarm(0)
    return None


def _give_up(signum, frame):
    raise TimeoutError(f"no end within {SECONDS} s")


def same_labels(target, values):
    """Fail unless the values are the labels of the target's rows."""
    labels = [int(value) for value in values.reshape(-1)]
    assert labels == target.labels, f"labels {labels}, not {target.labels}"


def raises(expected, call):
    """The error that the call ends with; fails when it ends well."""
    try:
        call()
    except expected as error:
        return error
    raise AssertionError(f"no {expected.__name__} was raised")
