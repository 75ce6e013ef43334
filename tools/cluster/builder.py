"""Building images with what the machine has: docker where it answers, else buildah in a chroot.

In: target and build arguments. Out: an image in the builder's own storage (buildah's is in the cache).
Certificates that the host trusts reach the build by a mount, never by a layer.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tools.cluster import layers
from tools.cluster.errors import ClusterError
from tools.cluster.layout import CHECKOUT, cache
from tools.cluster.process import dying_with_us
from tools.cluster.progress import say

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# Whatever a killed build had started and mounted goes with it: a build that went on alone would write into
# the storage beside the next one.
ISOLATION = (
    "unshare",
    "--pid",
    "--mount",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "--propagation",
    "private",
)


class Builder(Protocol):
    """What the images module asks of a builder."""

    def exists(self, image: str) -> bool:
        """Whether the storage holds the image."""

    def remove(self, image: str) -> None:
        """Take an image out of the storage; one that is not there, or is in use, is no error."""

    def repair(self) -> None:
        """Make the storage fit to build in, whatever a killed build or a full disk left of it."""

    def build(self, *, target: str, image: str, arguments: dict[str, str]) -> None:
        """Build one target of the Dockerfile under a name."""

    def push(self, image: str, name: str, *, registry: str, enter: tuple[str, ...]) -> str:
        """Push an image as NAME to a registry; returns the digest of its manifest."""


@dataclass(frozen=True)
class Buildah:
    """buildah, rootless daemons not needed; its storage is in the cache."""

    def exists(self, image: str) -> bool:
        """Whether the storage holds the image."""
        done = subprocess.run(
            [*self.command("inspect"), "--type", "image", image], capture_output=True, check=False
        )
        return done.returncode == 0

    def remove(self, image: str) -> None:
        """Take an image out of the storage."""
        succeeds([*self.command("rmi"), image])

    def repair(self) -> None:
        """Remove what killed builds left; empty the storage when its content is not what was stored.

        All of it can be made again, and nothing in it tells which layers stand on a damaged one.
        """
        storage = cache() / "containers"
        if problem := layers.damage(storage / "root"):
            say(f"the image builder's storage is damaged and is made again: {problem}")
            shutil.rmtree(storage)
        else:
            succeeds([*self.command("rm"), "--all"])

    def build(self, *, target: str, image: str, arguments: dict[str, str]) -> None:
        """Build one target; `--timestamp 0` makes the same content the same layer."""
        command = [
            *self.command("bud"),
            "--isolation",
            "chroot",
            "--layers",
            "--timestamp",
            "0",
            "--format",
            "oci",
        ]
        command += ["--target", target, "--tag", image]
        values = {**_index(), **arguments}
        if CERTIFICATES.is_file():
            command += ["--volume", f"{CERTIFICATES.parent}:{CERTIFICATES.parent}:ro"]
            values["PIP_CERT"] = str(CERTIFICATES)
        for name, value in values.items():
            command += ["--build-arg", f"{name}={value}"]
        run([*command, str(CHECKOUT)])

    def push(self, image: str, name: str, *, registry: str, enter: tuple[str, ...]) -> str:
        """Push through the network namespace that `enter` opens."""
        digest = cache() / f".digest-{os.getpid()}"
        options = [
            "--quiet",
            "--tls-verify=false",
            "--compression-format",
            "gzip",
            "--compression-level",
            "1",
        ]
        try:
            command = [*self.command("push"), *options, "--digestfile", str(digest), image]
            run([*enter, *command, f"docker://{registry}/{name}"])
            return digest.read_text(encoding="utf-8").strip()
        finally:
            digest.unlink(missing_ok=True)

    def import_root(self, root: Path, image: str, *, entrypoint: str = "") -> None:
        """Make an image of a directory tree, a base image without an entrypoint; the name appears last."""
        starts = ["--entrypoint", json.dumps([entrypoint])] if entrypoint else ["--cmd", "python3"]
        container = run([*self.command("from"), "--quiet", "scratch"]).strip()
        try:
            run([*self.command("add"), "--quiet", container, str(root), "/"])
            run([*self.command("config"), *starts, container])
            run([*self.command("commit"), "--quiet", "--timestamp", "0", "--format", "oci", container, image])
        finally:
            subprocess.run([*self.command("rm"), container], capture_output=True, check=False)

    @staticmethod
    def command(name: str) -> list[str]:
        """A buildah command on the storage in the cache."""
        storage = cache() / "containers"
        driver = ["--storage-driver", "overlay"]
        return [
            *dying_with_us(),
            *ISOLATION,
            "--",
            "buildah",
            *driver,
            "--root",
            str(storage / "root"),
            "--runroot",
            str(storage / "run"),
            name,
        ]


@dataclass(frozen=True)
class Docker:
    """docker with BuildKit."""

    def exists(self, image: str) -> bool:
        """Whether the daemon holds the image."""
        return (
            subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode
            == 0
        )

    def remove(self, image: str) -> None:
        """Take an image out of the daemon's storage."""
        succeeds(["docker", "image", "rm", image])

    def repair(self) -> None:
        """Docker looks after its own storage."""

    def build(self, *, target: str, image: str, arguments: dict[str, str]) -> None:
        """Build one target."""
        command = ["docker", "build", "--quiet", "--target", target, "--tag", image]
        for name, value in {**_index(), **arguments}.items():
            command += ["--build-arg", f"{name}={value}"]
        run([*command, str(CHECKOUT)])

    def push(self, image: str, name: str, *, registry: str, enter: tuple[str, ...]) -> str:
        """Push and read the digest that the registry gave."""
        if enter:
            raise ClusterError("docker cannot push into a network namespace; the local cluster needs buildah")
        target = f"{registry}/{name}"
        run(["docker", "tag", image, target])
        try:
            run(["docker", "push", "--quiet", target])
            pinned: list[str] = json.loads(
                run(["docker", "image", "inspect", "--format", "{{json .RepoDigests}}", target])
            )
        finally:
            succeeds(["docker", "image", "rm", target])  # its name here
        repository = f"{registry}/{name.partition(':')[0]}@"
        for one in pinned:  # an image that other registries have too carries their names as well
            if one.startswith(repository):
                return one.rpartition("@")[2]
        raise ClusterError(f"docker told no digest of {target} after its push; it says {pinned}")


def succeeds(command: list[str]) -> bool:
    """Whether a command ends with success; what it says does not matter."""
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode == 0


def run(command: list[str]) -> str:
    """Run a command that must succeed; its error shows the end of what it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    except FileNotFoundError:
        raise ClusterError(f"{command[0]} is not installed; run `make setup`") from None
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-3000:]
        raise ClusterError(f"`{' '.join(command[:8])} …` failed:\n{said}")
    return done.stdout


def _index() -> dict[str, str]:
    """A package index chosen by the user's environment; used in the build only, kept in no image."""
    index = os.environ.get("PIP_INDEX_URL")
    return {"PIP_INDEX_URL": index} if index else {}
