"""The supervisor with a server that only tells who it is: what stays open, what is replaced, what is not."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from tools.ports import free_port

import noria_serving
from noria_serving import supervisor

pytestmark = pytest.mark.processes
DEADLINE = 20.0
SERVER = """
import os, signal, socket, sys, time
from noria_serving.supervisor import supervise
parent = supervise()
port, before, start_seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
if before.isdigit() and parent.restarts == 0:
    sys.exit(int(before))
kept = parent.kept("http")
listening = kept[0] if kept else socket.create_server(("127.0.0.1", port))
if before == "begins":
    time.sleep(3600)
if not kept:
    parent.keep("http", listening)

def leave(number, frame):
    parent.leaving()
    listening.close()
    time.sleep(0.5)  # what is in flight
    sys.exit(7)

signal.signal(signal.SIGTERM, leave)
parent.ready()
if parent.restarts:
    time.sleep(start_seconds)
while True:
    connection, _ = listening.accept()
    with connection:
        word = connection.recv(9)
        if word == b"crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if word == b"fork" and not os.fork():
            time.sleep(3600)
        connection.sendall(f"{os.getpid()} {parent.restarts} {parent.ended}".encode())
"""


class Running:
    """A supervisor and its servers."""

    def __init__(self, *, before: str = "", start_seconds: float = 0.0) -> None:
        self.port = free_port()
        command = [sys.executable, "-c", SERVER, str(self.port), before, str(start_seconds)]
        env = {**os.environ, "PYTHONPATH": str(Path(noria_serving.__file__).parents[1])}
        self.process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE)

    def ask(self, word: str = "who") -> tuple[int, int, str]:
        """Of the server that answers: its pid, its restarts, how the one before it ended."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE) as sock:
            sock.sendall(word.encode())
            pid, restarts, ended = sock.recv(99).decode().split(" ", 2)
        return int(pid), int(restarts), ended

    def crash(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.ask("crash")

    def wait(self) -> int:
        return self.process.wait(DEADLINE)


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def run(**how: object) -> Running:
        started.append(Running(**how))  # type: ignore[arg-type]
        _until(lambda: started[-1].process.poll() is not None or _listens(started[-1].port))
        return started[-1]

    yield run
    for one in started:
        one.process.kill()
        one.process.communicate()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_who_connects_between_a_server_that_dies_and_the_next_one_waits_and_is_answered(
    start: Callable[..., Running],
) -> None:
    running = start(start_seconds=0.5)
    first, restarts, _ = running.ask()
    assert (first == running.process.pid, restarts) == (False, 0)
    running.crash()
    with ThreadPoolExecutor(8) as clients:
        answers = set(clients.map(lambda _: running.ask(), range(24)))
    assert len(answers) == 1
    assert answers.pop()[1:] == (1, "SIGSEGV")


def test_a_server_that_dies_over_and_over_ends_the_supervisor_with_its_code_and_a_line(
    start: Callable[..., Running],
) -> None:
    running = start()
    for deaths in range(1, supervisor.REPLACED + 1):
        running.crash()
        assert running.ask()[1] == deaths
    running.crash()
    _, errors = running.process.communicate(timeout=DEADLINE)
    assert running.process.returncode == 128 + signal.SIGSEGV
    said = json.loads(errors.decode().splitlines()[-1])
    assert (said["message"], said["ended"]) == (
        "the server dies too often: it is not replaced any more",
        "SIGSEGV",
    )
    assert not _listens(running.port)


def test_a_server_that_ends_before_it_was_ready_ends_the_supervisor_with_its_code(
    start: Callable[..., Running],
) -> None:
    running = start(before="3")
    assert running.wait() == 3


def test_a_server_is_told_to_end_and_nothing_is_kept_for_another(start: Callable[..., Running]) -> None:
    running = start()
    running.crash()
    running.ask()
    running.process.send_signal(signal.SIGTERM)
    _until(lambda: not _listens(running.port))
    assert running.process.poll() is None, "the port is closed while the server still finishes"
    running.process.send_signal(signal.SIGTERM)
    assert running.wait() == 7


def test_a_server_that_somebody_else_tells_to_end_is_not_replaced_either(
    start: Callable[..., Running],
) -> None:
    running = start()
    os.kill(running.ask()[0], signal.SIGTERM)
    _until(lambda: not _listens(running.port))
    assert running.process.poll() is None
    assert running.wait() == 7


@pytest.mark.parametrize("whom", ["the supervisor", "its server"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_told_to_end_before_it_looks_for_signals_has_lost_nothing(
    start: Callable[..., Running], whom: str, number: signal.Signals
) -> None:
    running = start(before="begins")
    (server,) = psutil.Process(running.process.pid).children()
    os.kill(running.process.pid if whom == "the supervisor" else server.pid, number)
    _, errors = running.process.communicate(timeout=DEADLINE)
    assert (running.process.returncode, errors) == (0, b"")


def test_what_a_server_has_started_ends_with_it(start: Callable[..., Running]) -> None:
    running = start()
    server = psutil.Process(running.ask("fork")[0])
    (started,) = server.children()
    running.crash()
    running.ask()
    _until(lambda: not started.is_running() or started.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.skipif(sys.platform != "linux", reason="others cannot tell a process of the end of its parent")
def test_no_server_outlives_the_supervisor(start: Callable[..., Running]) -> None:
    running = start()
    running.ask()
    running.process.kill()
    _until(lambda: not _listens(running.port))


def test_the_supervisor_holds_little_beside_the_server() -> None:
    said = "import noria_serving.main, sys; print(*sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(Path(noria_serving.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", said], env=env, capture_output=True, text=True, check=True)
    ours = {name for name in done.stdout.split() if name.startswith("noria_serving.")}
    assert ours == {"noria_serving.main", "noria_serving.supervisor"}
    assert not {"argparse", "dataclasses", "json", "logging", "typing"} & set(done.stdout.split())


def test_without_a_supervisor_nothing_is_kept_and_nobody_told() -> None:
    alone = supervisor.Parent()
    with socket.socket() as sock:
        alone.keep("http", sock)
    alone.ready()
    alone.leaving()
    assert (alone.kept("http"), alone.restarts, alone.present) == ([], 0, False)
