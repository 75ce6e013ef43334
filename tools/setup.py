"""Set-up of this machine for the repository: what is missing is said first, then installed.

Three parts, each skipped when it is whole: Debian packages (with root), the virtual environment (locked
with hashes, one for each state of requirements/dev.txt) and the programs of the local cluster. A
half-finished part has no stamp and is made again.

    python3 -m tools.setup [--venv]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools import venv
from tools.cluster import binaries, commands
from tools.cluster.errors import ClusterError
from tools.cluster.layout import cache
from tools.cluster.locks import turn
from tools.cluster.modules import MODULES
from tools.cluster.progress import say, step

# Debian package for each program that something here calls.
PACKAGES = {
    "buildah": "buildah",
    "/bin/busybox": "busybox-static",
    "conntrack": "conntrack",
    "containerd": "containerd",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "debootstrap": "debootstrap",
    "docker-registry": "docker-registry",
    "git": "git",
    "ip": "iproute2",
    "iptables": "iptables",
    "make": "make",
    "openssl": "openssl",
    "runc": "runc",
    "unshare": "util-linux",
}


def main() -> int:
    """Set up; an error is one line for the user."""
    parser = argparse.ArgumentParser(prog="python3 -m tools.setup", description=__doc__)
    parser.add_argument("--venv", action="store_true", help="only the virtual environment")
    arguments = parser.parse_args()
    try:
        if not arguments.venv:
            with turn("setup", "Debian packages"):
                _packages()
        venv.ensure()
        if not arguments.venv:
            venv.forget_unused()
            _programs()
    except ClusterError as failed:
        say(f"error: {failed}")
        return 1
    return 0


def _packages() -> None:
    """Install missing Debian packages; without root, say what stays impossible."""
    if commands.chosen() != "local":
        return
    missing = sorted({package for program, package in PACKAGES.items() if not _there(program)})
    if not venv.usable():
        missing.append("python3-venv")
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        say(f"not installed: {' '.join(missing)}")
        say("    the local cluster, e2e and the demo need them, and root; unit and integration tests do not")
        return
    say(f"this machine lacks some Debian packages; installing: {' '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with step("installing Debian packages"):
        for command in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *missing]):
            done = subprocess.run(
                ["apt-get", *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise ClusterError(f"apt-get {command[0]} failed:\n{(done.stdout + done.stderr)[-1500:]}")


def _programs() -> None:
    """Build the programs; an API server alone runs without root, so they are useful to everybody."""
    usual = {name: module for name, module in MODULES.items() if not module.on_demand}
    names = [name for name, module in usual.items() if not binaries.whole(module)]
    if names:
        say(f"to be built from Go modules, once, into {cache() / 'bin'} (takes 10 GB): {', '.join(names)}")
        binaries.ensure(*names)


def _there(program: str) -> bool:
    return Path(program).exists() if program.startswith("/") else shutil.which(program) is not None


if __name__ == "__main__":
    sys.exit(main())
