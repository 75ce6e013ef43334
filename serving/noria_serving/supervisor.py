"""The process that stays: it starts the server, keeps its ports open, and starts another one when it dies.

In: what the server hands over (listening sockets) and says (that it is ready). Out: the server's exit code.
Invariants: what was handed over stays open from one server to the next, so that clients who connect in
between wait and are not refused; a server that ends before it was ready, or that was told to end, has no
successor, and neither has one that dies over and over, which Kubernetes is to see; no server outlives this
process; one that a signal ends which it does not look for yet, or not any more, has ended well.

The standard library only, and little of it: all of this stays in memory beside the server.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from contextlib import suppress

REPLACED = 3
"""So many servers that die within WITHIN are replaced; the next one ends the supervisor, too."""
WITHIN = 60.0
"""Seconds."""
_READY = b"ready"
_SIGNALS = {signal.SIGTERM, signal.SIGINT}
_PR_SET_PDEATHSIG = 1
_MOST_SOCKETS = 16

Kept = dict[str, list[int]]
"""File descriptors by name."""


class Parent:
    """The supervisor, as its server sees it; without arguments: there is none, and nothing is kept."""

    def __init__(
        self,
        channel: socket.socket | None = None,
        kept: Kept | None = None,
        restarts: int = 0,
        ended: str = "",
    ) -> None:
        self._channel = channel
        self._pid = os.getppid()
        self._kept = kept or {}
        self.restarts = restarts
        """How many servers this one comes after."""
        self.ended = ended
        """How the last of them ended."""

    @property
    def present(self) -> bool:
        return self._channel is not None

    def keep(self, name: str, *sockets: socket.socket) -> None:
        """From now on these stay open when this process ends; its successor finds them under the name."""
        self._say(name.encode(), *sockets)

    def kept(self, name: str) -> list[socket.socket]:
        """What a server before this one gave, once; empty for the first."""
        return [socket.socket(fileno=number) for number in self._kept.pop(name, [])]

    def ready(self) -> None:
        """When this process ends now, start another one."""
        self._say(_READY)

    def leaving(self) -> None:
        """This process ends because it was told to: keep nothing for a successor, for there will be none."""
        if self.present and os.getppid() == self._pid:
            os.kill(self._pid, signal.SIGTERM)

    def _say(self, what: bytes, *sockets: socket.socket) -> None:
        if self._channel is None:
            return
        with suppress(OSError):  # it keeps nothing any more: it was told to end
            socket.send_fds(self._channel, [what], [sock.fileno() for sock in sockets])


def supervise() -> Parent:
    """Returns in every server that is started, and nowhere else: the process that calls it becomes the
    supervisor, and ends as its last server did.
    """
    own, kept, restarts, ended = os.getpid(), Kept(), 0, ""
    deaths: list[float] = []
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, nobody is told how a child ended
    signal.pthread_sigmask(signal.SIG_BLOCK, {*_SIGNALS, signal.SIGCHLD})
    while True:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        server = os.fork()
        if not server:
            here.close()
            os.setpgid(0, 0)
            _die_with(own)
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)  # at once, whatever it imports or waits for
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_SIGNALS, signal.SIGCHLD})
            return Parent(there, kept, restarts, ended)
        there.close()
        code, told = _watch(server, here, kept)
        _end_rest(server)
        was_ready = not told and _collect(here, kept)
        here.close()
        now = time.monotonic()
        deaths = [*(death for death in deaths if now - death < WITHIN), now]
        ended = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        if not was_ready or len(deaths) > REPLACED:
            if was_ready:
                _give_up(ended)
            elif -code in _SIGNALS:
                code = 0  # it was not up yet, or was down already
            sys.exit(code if code >= 0 else 128 - code)
        restarts += 1


def _watch(server: int, here: socket.socket, kept: Kept) -> tuple[int, bool]:
    """Until the server ends: its exit code (negative: by which signal), and whether it was told to end."""
    told = False
    while True:
        number = signal.sigwait({*_SIGNALS, signal.SIGCHLD})
        if number == signal.SIGCHLD:
            code = _reap(server)
            if code is not None:
                return code, told
        elif not told:
            # With the server's own sockets the ports are open as long as it listens, and not longer.
            told = True
            here.close()
            for name in list(kept):
                for descriptor in kept.pop(name):
                    os.close(descriptor)
            os.kill(server, number)


def _reap(server: int) -> int | None:
    """The server's exit code, if it has ended. The first process of a container inherits others, too."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return None
        if pid == server:
            return os.waitstatus_to_exitcode(status)


def _end_rest(server: int) -> None:
    """What the server has started and left would go on holding the ports that it had opened."""
    with suppress(ProcessLookupError):
        os.killpg(server, signal.SIGKILL)


def _collect(here: socket.socket, kept: Kept) -> bool:
    """Take what a server handed over while it lived; whether it was ever ready."""
    ready = False
    here.setblocking(False)
    while True:
        try:
            said, descriptors, _, _ = socket.recv_fds(here, 64, _MOST_SOCKETS)
        except BlockingIOError:
            return ready
        if said == _READY:
            ready = True
            continue
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        kept[said.decode()] = list(descriptors)


def _die_with(supervisor: int) -> None:
    """A server that nobody supervises any more must not go on holding the ports."""
    if sys.platform != "linux":
        return
    import ctypes  # noqa: PLC0415  in the server, not in the supervisor

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:  # it ended before it could be told
        os._exit(1)


def _give_up(ended: str) -> None:
    import logging  # noqa: PLC0415  only to say this

    from noria_serving import log  # noqa: PLC0415

    log.configure(text=sys.stderr.isatty())
    logging.getLogger(__name__).error(
        "the server dies too often: it is not replaced any more",
        extra={"ended": ended, "replaced": REPLACED, "seconds": WITHIN},
    )
