"""The cluster by kind, for machines where Docker answers. Not run in CI, which has no Docker.

The cluster has the same name rules, the same registry name inside and the same image names as the local
build: a `registry` container on kind's network, known to the node's containerd as 127.0.0.1:5000.

kind writes the kubeconfig last, so a cluster without its file is one whose creation was killed: it is made
again. What stands in the registry goes with `down`; it is pushed again when somebody asks for images.
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
READY_SECONDS = 120.0


def usable() -> bool:
    """Whether kind is installed, and a Docker daemon there to talk to."""
    if shutil.which("kind") is None or shutil.which("docker") is None:
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


def check() -> None:
    """Refuse where kind was asked for by hand and cannot work."""
    for program in ("kind", "docker"):
        if shutil.which(program) is None:
            raise ClusterError(f"{program} is not installed; install it, or unset NORIA_CLUSTER_KIND")
    if not usable():
        raise ClusterError("Docker does not answer this user; see `docker info`, or unset NORIA_CLUSTER_KIND")


def up() -> Path:
    """Create the cluster and its registry unless they run."""
    check()
    if status() is None:
        with step("creating the cluster with kind"):
            _create()
    else:
        _run("docker", "start", _node())  # says nothing to one that runs
    if not wait_for(ready, READY_SECONDS):
        raise ClusterError(
            f"the cluster {name()} does not become ready; see `docker logs {_node()}`, or make it again: "
            "`make cluster-down cluster`"
        )
    _registry()
    return _kubeconfig()


def down() -> None:
    """Delete the cluster and its registry; what is not there is no error."""
    check()
    with step("removing the cluster"):
        _run("kind", "delete", "cluster", "--name", name())
        subprocess.run(
            ["docker", "rm", "--force", "--volumes", _registry_name()], capture_output=True, check=False
        )
        _kubeconfig().unlink(missing_ok=True)


def status() -> Path | None:
    """Kubeconfig of the cluster when it was made whole, running or not."""
    if shutil.which("kind") is None:
        return None
    return _kubeconfig() if _exists() and _kubeconfig().is_file() else None


def ready() -> bool:
    """Whether the API server of the cluster calls itself ready."""
    kubectl = ["kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf", "get", "--raw", "/readyz"]
    return succeeds(["docker", "exec", _node(), *kubectl])


def push_address() -> str:
    """Where the host pushes to: the registry's published port on loopback."""
    shown = ["docker", "inspect", "--format", "{{json .NetworkSettings.Ports}}", _registry_name()]
    done = subprocess.run(shown, capture_output=True, text=True, check=False)
    published = json.loads(done.stdout).get("5000/tcp") if done.returncode == 0 else None
    if not published:
        raise ClusterError("the cluster's registry is not running; start it with `make cluster`")
    return f"127.0.0.1:{published[0]['HostPort']}"


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
    path.unlink(missing_ok=True)  # of a cluster that was deleted by hand
    if _exists():  # its creation was killed
        _run("kind", "delete", "cluster", "--name", name())
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
    _run("docker", "exec", "--interactive", _node(), "sh", "-c", script, stdin=hosts)
    if not wait_for(_registry_answers, ANSWER_SECONDS):
        raise ClusterError(
            f"the registry {_registry_name()} does not answer; see `docker logs {_registry_name()}`"
        )


def _registry_answers() -> bool:
    probe = [
        "docker",
        "exec",
        _node(),
        "curl",
        "-fsS",
        f"http://{_registry_name()}:5000/v2/",
    ]
    return succeeds(probe)


def _exists() -> bool:
    return name() in _run("kind", "get", "clusters").split()


def _node() -> str:
    return f"{name()}-control-plane"


def _registry_name() -> str:
    return f"{name()}-registry"


def _kubeconfig() -> Path:
    return cache() / "kind" / f"{name()}.conf"


def _run(*command: str, stdin: str | None = None) -> str:
    done = subprocess.run(command, input=stdin or "", capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"`{' '.join(command[:3])}` failed: {done.stderr.strip()[-800:]}")
    return done.stdout
