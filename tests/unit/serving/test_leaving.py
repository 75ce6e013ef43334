"""The end of a process with threads and processes that a model began."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import noria_serving

pytestmark = pytest.mark.processes
PROGRAM = """
import atexit, multiprocessing, os, subprocess, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from noria_serving import leaving, scratch
space = scratch.directory()
atexit.register(print, "ended by itself")
print("printed")
BEGUN
leaving.SECONDS = 0.5
leaving.leave(7)
"""
COMMAND = """
import sys, threading, time
threading.Thread(target=time.sleep, args=(120,)).start()
sys.argv = ["noria-server", "inspect", "nowhere"]
from noria_serving.main import main
main()
"""
THREAD = "threading.Thread(target=time.sleep, args=(120,)).start()"
TIMER = "threading.Timer(120, print).start()"
AT_WORK = "ThreadPoolExecutor().submit(time.sleep, 120)"
IDLE = "pool = ThreadPoolExecutor(); pool.submit(print).result()"
CHILD = "child = multiprocessing.Process(target=time.sleep, args=(120,)); child.start()"
DAEMON = "threading.Thread(target=time.sleep, args=(120,), daemon=True).start()"


def program(source: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Waits for the end of its output, which all that it began hold as well; raises `TimeoutExpired`."""
    env = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(noria_serving.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, "-c", source], env=env, timeout=60, check=False, capture_output=True, text=True
    )


@pytest.mark.parametrize("begun", [THREAD, TIMER, AT_WORK])
def test_what_a_model_began_holds_up_no_end(begun: str, tmp_path: Path) -> None:
    ended = program(PROGRAM.replace("BEGUN", begun), tmp_path)
    assert (ended.returncode, ended.stdout) == (7, "printed\n")
    assert "left behind" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_a_model_began_ends_with_its_own(tmp_path: Path) -> None:
    assert program(PROGRAM.replace("BEGUN", CHILD), tmp_path).returncode == 7


@pytest.mark.parametrize("begun", ["", IDLE, DAEMON])
def test_what_ends_by_itself_is_let_end(begun: str, tmp_path: Path) -> None:
    ended = program(PROGRAM.replace("BEGUN", begun).replace("0.5", "60"), tmp_path)
    assert (ended.returncode, ended.stdout.split("\n")[-2], ended.stderr) == (7, "ended by itself", "")


def test_a_command_ends_with_its_code(tmp_path: Path) -> None:
    assert program(COMMAND, tmp_path).returncode == 1
