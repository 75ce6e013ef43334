"""Noria's images: built when their inputs change, pushed to the cluster's registry, named by digest.

`ensure` answers {"operator": "127.0.0.1:5000/noria/operator@sha256:…", …}. Each image has a key: the hash
of the Dockerfile, its requirements and its sources. An image of the same key is never built twice; one that
the registry holds is never pushed twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.cluster import base_image, kind, local, namespaces
from tools.cluster.builder import Buildah, Builder, Docker
from tools.cluster.errors import ClusterError
from tools.cluster.layout import CHECKOUT, cache
from tools.cluster.process import write_atomically
from tools.cluster.progress import step
from tools.cluster.slots import REGISTRY

SHARED = ("Dockerfile", ".dockerignore", "requirements/build.txt", "tools/image/install")
KEPT = 5
PACKAGE = ("pyproject.toml", "README.md", "LICENSE", "operator/noria_operator", "serving/noria_serving")


@dataclass(frozen=True)
class Image:
    """One target of the Dockerfile and what goes into it."""

    target: str
    inputs: tuple[str, ...]

    def key(self, base: str) -> str:
        """Key of everything that decides the image's content."""
        digest = hashlib.sha256(base.encode())
        for name in (*SHARED, *self.inputs):
            for path in _files(CHECKOUT / name):
                digest.update(f"{path.relative_to(CHECKOUT)}\0".encode())
                digest.update(path.read_bytes())
        return digest.hexdigest()[:16]


IMAGES = (
    Image("operator", ("requirements/operator.txt", *PACKAGE)),
    Image("server", ("requirements/server.txt", *PACKAGE)),
    Image("router", ("requirements/router.txt",)),
    Image("example-flights", ("requirements/example-flights.txt", "examples", *PACKAGE)),
)


def ensure(which: str) -> dict[str, str]:
    """Build and push what changed; returns the pinned name of each image as the node pulls it."""
    target = _target(which)
    with _lock():
        base = _base(target.builder)
        return {image.target: _ensure(image, base, target) for image in IMAGES}


def load(which: str, image: str, name: str) -> str:
    """Push any image of the builder's storage; returns its pinned name."""
    target = _target(which)
    with _lock():
        digest = target.builder.push(image, name, registry=target.registry, enter=target.enter)
    return f"{REGISTRY}/{name.partition(':')[0]}@{digest}"


@dataclass(frozen=True)
class _Target:
    """Which builder, and the way into the cluster's registry."""

    builder: Builder
    registry: str
    enter: tuple[str, ...]
    store: str


def _target(which: str) -> _Target:
    if which == "given":
        raise ClusterError(
            "NORIA_KUBECONFIG is set: build the images with `docker build --target …`, push them to "
            "a registry that it pulls from, and set NORIA_IMAGES to a JSON file of their names by target"
        )
    if which == "kind":
        address = kind.push_address()
        return _Target(Docker(), address, (), f"kind-{address}")
    slot = local.status().slot
    process = namespaces.first_process(slot) if slot else None
    if process is None:
        raise ClusterError("no cluster is running; start one with `make cluster`")
    return _Target(Buildah(), REGISTRY, ("nsenter", f"--net=/proc/{process}/ns/net", "--"), "local")


def _base(builder: Builder) -> str:
    """The base image: made here without Docker, the Dockerfile's default with it."""
    return base_image.ensure(builder) if isinstance(builder, Buildah) else ""


def _ensure(image: Image, base: str, target: _Target) -> str:
    key = image.key(base)
    name = f"noria/{image.target}"
    local_name = f"localhost/{name}:{key}"
    record = cache() / "images" / target.store / f"{image.target}-{key}.json"
    known = _known(record)
    if known and _in_registry(name, known, target):
        return f"{REGISTRY}/{name}@{known}"
    if not target.builder.exists(local_name):
        with step(f"building the image {name}"):
            arguments = {"BASE": base} if base else {}
            target.builder.build(target=image.target, image=local_name, arguments=arguments)
    with step(f"pushing the image {name}"):
        digest = target.builder.push(
            local_name, f"{name}:{key}", registry=target.registry, enter=target.enter
        )
    write_atomically(record, json.dumps({"digest": digest}))
    _forget_old(image, target, record.parent)
    return f"{REGISTRY}/{name}@{digest}"


def _forget_old(image: Image, target: _Target, records: Path) -> None:
    """Keep the newest builds of an image; layers that newer ones share stay with them."""
    found = sorted(records.glob(f"{image.target}-{'?' * 16}.json"), key=lambda path: path.stat().st_mtime)
    for old in found[:-KEPT]:
        key = old.stem.removeprefix(f"{image.target}-")
        target.builder.remove(f"localhost/noria/{image.target}:{key}")
        old.unlink(missing_ok=True)


def _known(record: Path) -> str:
    try:
        return str(json.loads(record.read_text(encoding="utf-8"))["digest"])
    except (OSError, ValueError, KeyError):
        return ""


def _in_registry(name: str, digest: str, target: _Target) -> bool:
    """Whether the registry has the manifest and everything that it names, whole."""
    if target.store != "local":
        return False  # a push of known layers costs a second; asking the registry of kind costs the same
    blobs = cache() / "registry" / "docker" / "registry" / "v2" / "blobs" / "sha256"

    def blob(wanted: str) -> Path:
        value = wanted.removeprefix("sha256:")
        return blobs / value[:2] / value / "data"

    revisions = cache() / "registry/docker/registry/v2/repositories" / name / "_manifests/revisions/sha256"
    try:
        manifest = json.loads(blob(digest).read_text(encoding="utf-8"))
        parts = [manifest["config"], *manifest["layers"]]
        whole = all(blob(part["digest"]).stat().st_size == part["size"] for part in parts)
    except (OSError, ValueError, KeyError):
        return False
    return whole and (revisions / digest.removeprefix("sha256:") / "link").is_file()


def _files(path: Path) -> Iterator[Path]:
    """The file itself, or the sources below a directory, in a fixed order."""
    if path.is_file():
        yield path
        return
    for found in sorted(path.rglob("*")):
        if found.is_file() and "__pycache__" not in found.parts and found.suffix != ".pyc":
            yield found


@contextmanager
def _lock() -> Iterator[None]:
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / ".images.lock").open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
