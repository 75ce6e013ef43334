"""One server as a process group of its own: started, measured over its whole tree, ended without rest."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

START_SECONDS = 90.0
STOP_SECONDS = 10.0


class ServerFailed(Exception):
    """A server did not start; its log's end says why."""


@dataclass(frozen=True)
class Command:
    """How to start a server, and how to see that it is ready."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    http: int
    ready_path: str
    grpc: int | None = None


@dataclass
class Running:
    """A server that answers."""

    command: Command
    process: subprocess.Popen[bytes]
    ready_seconds: float
    """From the start of the process to the first 200 of its ready path."""
    log: Path
    _tree: list[psutil.Process] = field(default_factory=list)

    @property
    def http(self) -> str:
        return f"127.0.0.1:{self.command.http}"

    @property
    def grpc(self) -> str | None:
        return None if self.command.grpc is None else f"127.0.0.1:{self.command.grpc}"

    def tree(self) -> list[psutil.Process]:
        """The process and all its descendants."""
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def cpu(self) -> tuple[float, frozenset[int]]:
        """CPU seconds that the tree has used, and its pids: a process that died took its seconds with it."""
        tree = self.tree()
        times = [process.cpu_times() for process in tree]
        return sum(t.user + t.system for t in times), frozenset(process.pid for process in tree)

    def memory(self) -> float:
        """Resident memory of the tree in MiB."""
        return float(sum(process.memory_info().rss for process in self.tree()) / 2**20)


@contextmanager
def running(command: Command, log: Path) -> Iterator[Running]:
    """Start the server, wait until it is ready, end its whole process group afterwards."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            list(command.argv), env=dict(command.env), cwd=command.cwd,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        _await_ready(process, command, log)
        yield Running(command, process, time.perf_counter() - started, log)
    finally:
        _end(process)


def _await_ready(process: subprocess.Popen[bytes], command: Command, log: Path) -> None:
    deadline = time.perf_counter() + START_SECONDS
    while not _answers(command.http, command.ready_path):
        if process.poll() is not None or time.perf_counter() > deadline:
            said = log.read_text(errors="replace")[-3000:]
            raise ServerFailed(f"{command.argv[0]} did not become ready:\n{said}")
        time.sleep(0.005)


def _answers(port: int, path: str) -> bool:
    """Whether a GET is answered with 200, or, without a path, whether the port accepts. A plain socket takes
    less CPU than a client would, which the starting server would lack.
    """
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2.0) as sock:
        if not path:
            return True
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return sock.recv(64).startswith(b"HTTP/1.1 200")
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the server, then SIGKILL to what its group still holds: some peers leave workers behind."""
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
