"""The commands of the demo: the cluster, its images, Helm and kubectl, as a user would type them.

In: names and files. Out: their effect. Invariant: a cluster that ran before the demo is left running, and one
that was given by NORIA_KUBECONFIG is only cleaned of what the demo put there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any, Final

from examples.flights.demo.say import DemoError, say
from tools.cluster.layout import binary

ROOT: Final = Path(__file__).resolve().parents[3]
MANIFESTS: Final = Path(__file__).resolve().parents[1] / "manifests"
NAMESPACE: Final = "flights"
SYSTEM: Final = "noria-system"
RELEASE: Final = "noria"
OPERATOR_CPU: Final = "150m"
"""So that training and the replay on the same two cores do not keep an abort waiting."""
COUNTERS_INTERVAL: Final = "2s"
"""How often model servers are read: the year takes minutes, so fifteen seconds would be three weeks of it."""
MARK: Final = "app.kubernetes.io/part-of=noria-flights-demo"
"""Label of the namespace, by which a later demo knows what it may remove."""
MONITORING_MARK: Final = "app.kubernetes.io/part-of=noria-flights-monitoring"
"""Label of what MONITORING=1 brings."""
DESCRIPTION: Final = "installed by the flights demo"


def tool(name: str) -> str:
    """Path of a program: the project's own build first, then PATH."""
    own = binary(name)
    found = str(own) if own.is_file() else shutil.which(name)
    if not found:
        raise DemoError(f"{name} is not installed; `make setup` brings it")
    return found


def run(command: Sequence[str], *, stdin: str | None = None, quiet: bool = True) -> str:
    """Run to the end; stdout. A failure carries the program's own words. Not quiet: stderr goes through as it
    comes.
    """
    done = subprocess.run(
        list(command),
        cwd=ROOT,
        input=stdin,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if quiet else None,
        check=False,
    )
    if done.returncode:
        words = (done.stderr or done.stdout or "").strip()[-2000:]
        raise DemoError(f"`{' '.join(command)}` failed with status {done.returncode}: {words}")
    return done.stdout


def _cluster(*arguments: str) -> str:
    return run([sys.executable, "-m", "tools.cluster", *arguments], quiet=False)


class Cluster:
    """The cluster that the demo runs on."""

    def __init__(self) -> None:
        self.kind = "local"
        self.was_running = False
        self.started = False
        self.claimed = False

    def up(self) -> Path:
        """Start it unless it runs; the path of its kubeconfig, which is also set for kubectl and Helm."""
        state = subprocess.run(
            [sys.executable, "-m", "tools.cluster", "status", "--json"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if state.returncode in (0, 3):
            content = json.loads(state.stdout)
            self.kind, self.was_running = content["kind"], bool(content["ready"])
        self.started = True
        path = Path(_cluster("up").strip().splitlines()[-1])
        os.environ["KUBECONFIG"] = str(path)
        return path

    def claim(self) -> None:
        """Make room on a cluster that ran before: what an earlier demo left goes, what is not ours stays."""
        given = self.kind == "given"
        if kubectl("get", "namespace", NAMESPACE, "--ignore-not-found", "--output=name"):
            if given and not kubectl("get", "namespace", f"--selector={MARK}", "--output=name"):
                raise DemoError(
                    f"the cluster has a namespace {NAMESPACE} that is not the demo's, which would delete it "
                    "at the end; remove it yourself, or let NORIA_KUBECONFIG name another cluster"
                )
            say(f"removing the namespace {NAMESPACE} that an earlier demo left")
            self._delete_namespace()
        if given and installed() not in ("", DESCRIPTION):
            raise DemoError(
                f"the cluster has a release {RELEASE} in {SYSTEM}, whose settings the demo would change; "
                f"`helm uninstall {RELEASE} -n {SYSTEM}`, or let NORIA_KUBECONFIG name another cluster"
            )
        kubectl("delete", "namespace,clusterrole,clusterrolebinding", f"--selector={MONITORING_MARK}")
        self.claimed = True

    def images(self) -> dict[str, str]:
        """Build and push what changed; the pinned name of each image."""
        given = os.environ.get("NORIA_IMAGES")
        text = Path(given).read_text() if given else _cluster("images")
        return {str(name): str(image) for name, image in json.loads(text).items()}

    def down(self) -> None:
        """Take away what the demo made."""
        if not self.started:
            return
        if self.was_running or self.kind == "given":
            if not self.claimed:
                return
            self._delete_namespace()
            kubectl("delete", "namespace,clusterrole,clusterrolebinding", f"--selector={MONITORING_MARK}")
            run([tool("helm"), "uninstall", RELEASE, "--namespace", SYSTEM, "--ignore-not-found"])
            pods = ["pod", f"--selector=app.kubernetes.io/instance={RELEASE}", f"--namespace={SYSTEM}"]
            kubectl("wait", "--for=delete", *pods, "--timeout=120s")
        else:
            _cluster("down")

    @staticmethod
    def _delete_namespace() -> None:
        kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=true", "--timeout=120s")


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """One kubectl command; its stdout."""
    return run([tool("kubectl"), *arguments], stdin=stdin)


def apply(manifest: str, values: Mapping[str, str]) -> None:
    """Apply one file of the demo with ${NAME} replaced."""
    text = Template((MANIFESTS / manifest).read_text()).substitute(values)
    kubectl("apply", "--server-side", "-f", "-", stdin=text)


def installed() -> str:
    """What the newest revision of the release says about itself; empty when there is none."""
    listed = run(
        [tool("helm"), "list", "--all", "--namespace", SYSTEM, "--filter", f"^{RELEASE}$", "--short"]
    )
    if not listed.strip():
        return ""
    history = [tool("helm"), "history", RELEASE, "--namespace", SYSTEM, "--max", "1", "--output", "json"]
    return str(json.loads(run(history))[-1]["description"])


def install(images: Mapping[str, str]) -> None:
    """Install or upgrade Noria with Helm, images pinned by digest."""
    pinned = [
        argument
        for name in ("operator", "server", "router")
        for argument in ("--set-string", f"images.{name}={images[name]}")
    ]
    command = [tool("helm"), "upgrade", "--install", RELEASE, str(ROOT / "charts" / "noria")]
    command += ["--namespace", SYSTEM, "--create-namespace", "--wait", "--timeout", "3m"]
    command += ["--description", DESCRIPTION]
    settings = [
        "--set",
        f"evidence.countersInterval={COUNTERS_INTERVAL},resources.requests.cpu={OPERATOR_CPU}",
    ]
    run([*command, *pinned, *settings])


def describe(*arguments: str) -> Any:
    """An object as JSON."""
    return json.loads(kubectl("get", *arguments, "--output", "json"))
