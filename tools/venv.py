"""Virtual environments in the cache: one for each state of requirements/dev.txt, and of other lock files.

It is made at its final path (its scripts name that path) and counts only with its stamp, written last; one
without a stamp is a half-made one and is made again. The Makefile computes the same path.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tools.cluster.errors import ClusterError
from tools.cluster.layout import CHECKOUT, cache
from tools.cluster.locks import turn
from tools.cluster.process import dying_with_us, write_atomically
from tools.cluster.progress import say, step

REQUIREMENTS = CHECKOUT / "requirements" / "dev.txt"
STAMP = ".noria-complete"
UNUSED_DAYS = 30


def path(requirements: Path = REQUIREMENTS) -> Path:
    """Where the environment for the present state of a lock file is."""
    content = hashlib.sha256(requirements.read_bytes()).hexdigest()
    return cache() / "venvs" / content[:12]


def ensure(requirements: Path = REQUIREMENTS, *, size: str = "1.5 GB") -> Path:
    """Make the environment of a lock file unless it is whole. `size`: what to tell the user about it.

    Two that want the same environment take turns; a whole one is used without asking anybody.
    """
    home = path(requirements)
    if _whole(home):
        (home / STAMP).touch()  # it is in use: see `forget_unused`
        return home
    if not usable():
        raise ClusterError("this Python cannot make virtual environments; install the package python3-venv")
    with turn(f"venv-{home.name}", f"the Python packages of requirements/{requirements.name}"):
        if not _whole(home):
            say(f"Python packages of requirements/{requirements.name} go to {home} (about {size})")
            with step("installing the Python packages"):
                _make(home, requirements)
    return home


def forget_unused() -> None:
    """Remove environments that no command of any checkout has asked for in a month; each takes 1 to 4 GB."""
    for stamp in sorted((cache() / "venvs").glob(f"*/{STAMP}")):
        if time.time() - stamp.stat().st_mtime > UNUSED_DAYS * 86_400:
            with turn(f"venv-{stamp.parent.name}", "an old environment"), step(f"removing {stamp.parent}"):
                stamp.unlink(missing_ok=True)  # first: without it, nobody takes the rest for an environment
                _remove(stamp.parent)


def _whole(home: Path) -> bool:
    """Whether the environment was finished, by a Python like ours, and is still there."""
    try:
        made_by = (home / STAMP).read_text(encoding="utf-8")
    except OSError:
        return False
    return made_by == _version() and (home / "bin" / "python").exists()


def _version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _make(home: Path, requirements: Path) -> None:
    _remove(home)
    home.parent.mkdir(parents=True, exist_ok=True)
    _run(sys.executable, "-m", "venv", str(home))
    pip = [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    # A lock file is whole: pip has nothing to resolve, and would trip over a requirement with an extra.
    _run(*pip, "install", "--quiet", "--no-deps", "--require-hashes", "-r", str(requirements))
    write_atomically(home / STAMP, _version())


def usable() -> bool:
    """Whether this Python can make an environment with pip in it (Debian splits that off)."""
    return importlib.util.find_spec("ensurepip") is not None


def _remove(home: Path) -> None:
    if home.is_symlink():
        home.unlink()
    else:
        shutil.rmtree(home, ignore_errors=True)


def _run(*command: str) -> None:
    done = subprocess.run(
        [*dying_with_us(), *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ClusterError(f"`{' '.join(command[:4])}` failed:\n{(done.stdout + done.stderr)[-1500:]}")
