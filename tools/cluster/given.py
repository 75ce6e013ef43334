"""The cluster that `NORIA_KUBECONFIG` names: it is asked whether it is ready, and nothing else is done to it.

A kubeconfig of the user's may log in in any way (tokens, programs, certificates), so kubectl asks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tools.cluster.errors import ClusterError
from tools.cluster.layout import binary

VARIABLE = "NORIA_KUBECONFIG"


def kubeconfig() -> Path:
    """The file that the variable names."""
    path = Path(os.environ[VARIABLE]).expanduser()
    if not path.is_file():
        raise ClusterError(f"{VARIABLE} names {path}, which is not a file")
    return path


def check() -> None:
    """Refuse a cluster that does not answer, as far as there is a kubectl to ask with."""
    if (problem := _problem()) and _kubectl():
        raise ClusterError(f"the cluster of {VARIABLE} ({kubeconfig()}) is not ready: {problem}")


def ready() -> bool:
    """Whether it says so itself."""
    return not _problem()


def _problem() -> str:
    """What kubectl says against the cluster; empty when it is ready."""
    kubectl = _kubectl()
    if not kubectl:
        return "there is no kubectl to ask it with; `make setup` brings one"
    command = [kubectl, "--kubeconfig", str(kubeconfig()), "get", "--raw", "/readyz", "--request-timeout=10s"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    return (done.stderr.strip() or f"status {done.returncode}")[-500:] if done.returncode else ""


def _kubectl() -> str:
    built = binary("kubectl")
    return str(built) if built.is_file() else shutil.which("kubectl") or ""
