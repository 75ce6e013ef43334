"""What is killed half way leaves no process behind that would go on writing beside the next try."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tools import venv
from tools.cluster import binaries, builder, golang
from tools.cluster.layout import CHECKOUT
from tools.cluster.modules import MODULES
from tools.cluster.process import Identity, wait_for

CHILD = "import os, pathlib, time; pathlib.Path({pid!r}).write_text(str(os.getpid())); time.sleep(60)"
STARTS = {
    "pip": "from tools import venv; venv._run",
    "the installation of Go": "from tools.cluster import golang; golang._run",
    "go": "import os, pathlib; from tools.cluster import binaries; "
    "(lambda *command: binaries._go(pathlib.Path('.'), dict(os.environ), *command))",
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_a_killed_set_up_takes_what_it_started_with_it(tmp_path: Path, start: str) -> None:
    pid = tmp_path / "pid"
    program = f"{start}({sys.executable!r}, '-c', {CHILD.format(pid=str(pid))!r})"
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=CHECKOUT)
    assert wait_for(lambda: pid.is_file() and pid.read_text() != "", 10)
    child = Identity.of(int(pid.read_text()))
    assert child is not None
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert wait_for(lambda: not child.alive, 5)


def test_builds_of_images_run_where_a_kill_takes_all_of_them() -> None:
    command = builder.Buildah.command("bud")
    assert command[:3] == ["setpriv", "--pdeathsig", "KILL"]
    assert {"--pid", "--mount", "--kill-child"} < set(command[: command.index("buildah")])


@pytest.mark.parametrize("left", ["packages", "nothing"])
def test_an_environment_whose_installation_was_killed_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    monkeypatch.setenv("NORIA_CACHE", str(tmp_path))
    home = venv.path()

    def killed(*command: str) -> None:
        (home / "lib").mkdir(parents=True, exist_ok=True)
        (home / "lib" / left).touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(venv, "_run", killed)
    with pytest.raises(KeyboardInterrupt):
        venv.ensure()
    ran: list[str] = []
    monkeypatch.setattr(venv, "_run", lambda *command: ran.append(command[1]))
    venv.ensure()
    assert len(ran) == 2
    assert not (home / "lib").exists()


def test_a_build_of_programs_that_was_killed_leaves_nothing_beside_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORIA_CACHE", str(tmp_path))
    half = tmp_path / "bin" / ".build-killed"
    half.mkdir(parents=True)
    (half / "etcd").write_bytes(b"half")
    monkeypatch.setattr(golang, "ensure", lambda: Path("/go"))

    def built(source: Path, environment: dict[str, str], *command: str) -> str:
        (Path(environment["GOBIN"]) / "server").write_bytes(b"\x7fELF")
        return ""

    monkeypatch.setattr(binaries, "_go", built)
    binaries.ensure("etcd")
    assert sorted(path.name for path in (tmp_path / "bin").iterdir()) == [".stamps", "etcd"]
    assert binaries.whole(MODULES["etcd"])
