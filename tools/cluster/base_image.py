"""The base image where no registry can be asked for one: a minimal Debian with Python, by debootstrap.

Made in namespaces of its own, so that a killed debootstrap leaves no mount behind, and given its name last,
so that a half-made one does not exist. What debootstrap copies from the host is taken out again.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from tools.cluster.builder import ISOLATION, Buildah
from tools.cluster.errors import ClusterError
from tools.cluster.layout import cache
from tools.cluster.process import dying_with_us
from tools.cluster.progress import step

SUITE = "bookworm"
PACKAGES = "ca-certificates,python3,python3-venv"
NAME = f"localhost/noria/base:{SUITE}-1"
REMOVED = (
    "etc/hostname",
    "etc/resolv.conf",
    "etc/machine-id",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "var/cache/apt",
    "var/cache/debconf",
    "var/lib/apt/lists",
    "var/log",
)


def ensure(builder: Buildah) -> str:
    """Name of the base image, made when the storage does not hold it."""
    if not builder.exists(NAME):
        directory = cache() / "base"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        what = "making the base image with debootstrap (about 1 minute once)"
        with step(what), tempfile.TemporaryDirectory(dir=directory) as temporary:
            root = Path(temporary) / "root"
            _bootstrap(root)
            _strip(root)
            builder.import_root(root, NAME)
    return NAME


def _bootstrap(root: Path) -> None:
    command = [
        *dying_with_us(),
        *ISOLATION,
        "--",
        "debootstrap",
        "--variant=minbase",
        f"--include={PACKAGES}",
        SUITE,
        str(root),
    ]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise ClusterError(
            f"debootstrap failed; run `make setup` if it is missing:\n{done.stdout[-1500:]}{done.stderr}"
        )


def _strip(root: Path) -> None:
    for name in REMOVED:
        path = root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
            path.mkdir()
        else:
            path.unlink(missing_ok=True)
    for compiled in root.rglob("__pycache__"):
        shutil.rmtree(compiled, ignore_errors=True)
