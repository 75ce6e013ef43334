"""The cluster by kind, for machines where Docker answers. Not run in CI, which has no Docker.

The cluster has the same name rules, the same registry name inside and the same image names as the local
build: a `registry` container on kind's network, known to the node's containerd as 127.0.0.1:5000.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import textwrap
from pathlib import Path

from tools.cluster.builder import succeeds
from tools.cluster.errors import ClusterError
from tools.cluster.layout import cache, owner_key
from tools.cluster.process import wait_for
from tools.cluster.progress import step
from tools.cluster.slots import REGISTRY

NODE_IMAGE = "kindest/node:v1.34.0"
REGISTRY_IMAGE = "registry:2.8.3"
HOSTS_DIRECTORY = f"/etc/containerd/certs.d/{REGISTRY}"
ANSWER_SECONDS = 10.0


def docker_answers() -> bool:
    """Whether there is a Docker daemon to talk to."""
    if shutil.which("docker") is None:
        return False
    try:
        done = subprocess.run(
            ["docker", "info"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=ANSWER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def name() -> str:
    """Name of this checkout's cluster."""
    return f"noria-{owner_key()}"


def up() -> Path:
    """Create the cluster and its registry unless they run."""
    if shutil.which("kind") is None:
        raise ClusterError(
            "Docker answers but kind is not installed; install it, or set NORIA_CLUSTER_KIND=local"
        )
    if status() is None:
        with step("creating the cluster with kind"):
            _create()
    _registry()
    return _kubeconfig()


def down() -> None:
    """Delete the cluster and its registry."""
    with step("removing the cluster"):
        _run("kind", "delete", "cluster", "--name", name())
        subprocess.run(
            ["docker", "rm", "--force", "--volumes", _registry_name()], capture_output=True, check=False
        )
        _kubeconfig().unlink(missing_ok=True)


def status() -> Path | None:
    """Kubeconfig of the cluster when it exists."""
    if shutil.which("kind") is None:
        return None
    clusters = _run("kind", "get", "clusters").split()
    return _kubeconfig() if name() in clusters and _kubeconfig().is_file() else None


def push_address() -> str:
    """Where the host pushes to: the registry's published port on loopback."""
    ports = json.loads(
        _run("docker", "inspect", "--format", "{{json .NetworkSettings.Ports}}", _registry_name())
    )
    return f"127.0.0.1:{ports['5000/tcp'][0]['HostPort']}"


def _create() -> None:
    config = textwrap.dedent(
        """
        kind: Cluster
        apiVersion: kind.x-k8s.io/v1alpha4
        containerdConfigPatches:
        - |-
          [plugins."io.containerd.grpc.v1.cri".registry]
            config_path = "/etc/containerd/certs.d"
        """
    )
    path = _kubeconfig()
    path.parent.mkdir(parents=True, exist_ok=True)
    arguments = [
        "--name",
        name(),
        "--image",
        NODE_IMAGE,
        "--kubeconfig",
        str(path),
        "--config",
        "-",
        "--wait",
        "120s",
    ]
    _run("kind", "create", "cluster", *arguments, stdin=config)


def _registry() -> None:
    """Run the registry on kind's network and tell the node that 127.0.0.1:5000 means it."""
    inspected = subprocess.run(
        ["docker", "inspect", "--format", "{{.State.Running}}", _registry_name()],
        capture_output=True,
        text=True,
        check=False,
    )
    if inspected.stdout.strip() != "true":
        succeeds(["docker", "rm", "--force", _registry_name()])
        network = ["--network", "kind", "--publish", "127.0.0.1::5000"]
        _run("docker", "run", "--detach", "--name", _registry_name(), *network, REGISTRY_IMAGE)
    hosts = f'server = "http://{_registry_name()}:5000"\n[host."http://{_registry_name()}:5000"]\n'
    script = f"mkdir -p {HOSTS_DIRECTORY} && cat > {HOSTS_DIRECTORY}/hosts.toml"
    _run("docker", "exec", "--interactive", f"{name()}-control-plane", "sh", "-c", script, stdin=hosts)
    if not wait_for(_registry_answers, ANSWER_SECONDS):
        raise ClusterError(
            f"the registry {_registry_name()} does not answer; see `docker logs {_registry_name()}`"
        )


def _registry_answers() -> bool:
    probe = [
        "docker",
        "exec",
        f"{name()}-control-plane",
        "curl",
        "-fsS",
        f"http://{_registry_name()}:5000/v2/",
    ]
    return succeeds(probe)


def _registry_name() -> str:
    return f"{name()}-registry"


def _kubeconfig() -> Path:
    return cache() / "kind" / f"{name()}.conf"


def _run(*command: str, stdin: str | None = None) -> str:
    done = subprocess.run(command, input=stdin or "", capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"`{' '.join(command[:3])}` failed: {done.stderr.strip()[-800:]}")
    return done.stdout
