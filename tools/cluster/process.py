"""Starting processes, remembering them, and ending only those that are still ours.

A process is remembered by pid, its start time in clock ticks since boot, and the boot's id: pids are reused,
the three together are not. Nothing is ever looked up or killed by name.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

START_TIME_FIELD = 19  # field 22 of proc(5) stat, counted after the command name


@dataclass(frozen=True)
class Identity:
    """One process, for all time."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """Identity of a running process, or None when there is no such process (a zombie counts as none)."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = stat.rpartition(")")[2].split()
        if fields[0] in "ZX":
            return None
        return cls(pid=pid, started=int(fields[START_TIME_FIELD]), boot=boot_id())

    @property
    def alive(self) -> bool:
        """Whether exactly this process still runs."""
        return Identity.of(self.pid) == self

    def save(self, path: Path) -> None:
        """Remember it in a file, at once whole or not at all."""
        write_atomically(path, json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Identity | None:
        """What `save` wrote; None when there is nothing or nothing readable."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def end(self, *, grace: float = 0.0) -> None:
        """End it and wait until it is gone: SIGTERM first when there is grace, SIGKILL after."""
        if grace > 0 and self._signal(signal.SIGTERM) and wait_for(lambda: not self.alive, grace):
            return
        if self._signal(signal.SIGKILL):
            wait_for(lambda: not self.alive, 15.0)

    def _signal(self, number: signal.Signals) -> bool:
        """Send a signal to this very process; a pidfd rules out that the pid has changed hands in between."""
        try:
            handle = os.pidfd_open(self.pid)
        except (ProcessLookupError, OSError):
            return False
        try:
            if not self.alive:
                return False
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        else:
            return True
        finally:
            os.close(handle)


def boot_id() -> str:
    """Id of this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()


def write_atomically(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace a file by its new content in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


def wait_for(condition: Callable[[], bool], seconds: float, *, every: float = 0.02) -> bool:
    """Whether the condition became true within the time; the pause grows to a tenth of a second."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
        every = min(every * 1.2, 0.1)
    return True


def dying_with_us() -> tuple[str, ...]:
    """What goes before a command that the kernel shall kill when the calling thread ends, however that is."""
    return ("setpriv", "--pdeathsig", "KILL", "--") if shutil.which("setpriv") else ()


def spawn(
    argv: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    die_with_parent: bool = False,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, its output appended to a log file.

    `die_with_parent` lets the kernel kill it when the calling thread is gone, however that ended.
    """
    command = [str(part) for part in argv]
    if die_with_parent:
        command = [*dying_with_us(), *command]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=dict(env) if env is not None else None,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
        )


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for an error message."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
