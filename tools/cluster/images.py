"""Noria's images: built when their inputs change, pushed to the cluster's registry, named by digest.

`ensure` answers {"operator": "127.0.0.1:5000/noria/operator@sha256:…", …}. Each image has a key: the hash
of the Dockerfile, its requirements and its sources. An image of the same key is never built twice; one that
the registry holds is never pushed twice.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.cluster import base_image, binaries, kind, local, namespaces, registry
from tools.cluster.builder import Buildah, Builder, Docker
from tools.cluster.errors import ClusterError
from tools.cluster.layout import CHECKOUT, binary, cache
from tools.cluster.locks import turn
from tools.cluster.modules import MODULES
from tools.cluster.process import write_atomically
from tools.cluster.progress import say, step
from tools.cluster.slots import REGISTRY

SHARED = ("Dockerfile", ".dockerignore", "requirements/build.txt", "tools/image/install")
KEPT = 5
LOCAL = "local"
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
    with turn("images", "image builds"):
        base = base_image.NAME if isinstance(target.builder, Buildah) else ""  # else the Dockerfile's default
        names = {image: _pushed(image, base, target) for image in IMAGES}
        if not all(names.values()):
            target.builder.repair()
            if isinstance(target.builder, Buildah):
                base_image.ensure(target.builder)
        return {image.target: name or _make(image, base, target) for image, name in names.items()}


def load(which: str, image: str, name: str) -> str:
    """Push any image of the builder's storage; returns its pinned name."""
    target = _target(which)
    with turn("images", "image builds"):
        digest = _push(image, name, target)
    return f"{REGISTRY}/{name.partition(':')[0]}@{digest}"


def programs(which: str, name: str, modules: list[str]) -> str:
    """An image of programs from Go modules, in /bin, and an empty /tmp; returns its pinned name. Where there
    is but one, containers run it.
    """
    target = _target(which)
    if not isinstance(target.builder, Buildah):
        raise ClusterError("images of programs are made on the local cluster only (NORIA_CLUSTER_KIND=local)")
    binaries.ensure(*modules)
    chosen = [MODULES[module] for module in modules]
    key = hashlib.sha256("".join(module.key for module in chosen).encode()).hexdigest()[:16]
    image = f"localhost/{name}:{key}"
    with turn("images", "image builds"):
        if not target.builder.exists(image):
            with tempfile.TemporaryDirectory(dir=cache()) as root, step(f"building the image {name}"):
                (Path(root) / "bin").mkdir()
                (Path(root) / "tmp").mkdir()
                (Path(root) / "tmp").chmod(0o1777)
                found = [program for module in chosen for program in module.executables]
                for program in found:
                    (Path(root) / "bin" / program).hardlink_to(binary(program))
                alone = f"/bin/{found[0]}" if len(found) == 1 else ""
                target.builder.import_root(Path(root), image, entrypoint=alone)
        with step(f"pushing the image {name}"):
            return f"{REGISTRY}/{name}@{_push(image, f'{name}:{key}', target)}"


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
    return _Target(Buildah(), REGISTRY, ("nsenter", f"--net=/proc/{process}/ns/net", "--"), LOCAL)


def _pushed(image: Image, base: str, target: _Target) -> str:
    """The pinned name of an image that the registry holds whole; empty when it must be made or pushed."""
    known = _known(_record(image, image.key(base), target))
    name = f"noria/{image.target}"
    # A push of known layers to the registry of kind costs a second; asking it costs the same.
    there = known and target.store == LOCAL and registry.holds(name, known)
    return f"{REGISTRY}/{name}@{known}" if there else ""


def _make(image: Image, base: str, target: _Target) -> str:
    key = image.key(base)
    name = f"noria/{image.target}"
    local_name = f"localhost/{name}:{key}"
    if not target.builder.exists(local_name):
        with step(f"building the image {name}"):
            arguments = {"BASE": base} if base else {}
            target.builder.build(target=image.target, image=local_name, arguments=arguments)
    with step(f"pushing the image {name}"):
        digest = _push(local_name, f"{name}:{key}", target)
    record = _record(image, key, target)
    write_atomically(record, json.dumps({"digest": digest}))
    _forget_old(image, target, record.parent)
    return f"{REGISTRY}/{name}@{digest}"


def _push(image: str, name: str, target: _Target) -> str:
    """Push, and look whether all of it arrived: a damaged layer counts as known, and is not sent again."""
    digest = target.builder.push(image, name, registry=target.registry, enter=target.enter)
    repository = name.partition(":")[0]
    if target.store != LOCAL or registry.intact(repository, digest):
        return digest
    say(f"the registry's files were damaged; taken out: {registry.drop_damaged()}")
    digest = target.builder.push(image, name, registry=target.registry, enter=target.enter)
    if not registry.intact(repository, digest):
        raise ClusterError(f"the registry does not keep what is pushed to it; look at {cache() / 'registry'}")
    return digest


def _record(image: Image, key: str, target: _Target) -> Path:
    return cache() / "images" / target.store / f"{image.target}-{key}.json"


def _forget_old(image: Image, target: _Target, records: Path) -> None:
    """Keep the newest builds of an image, with the builder and in the registry; layers that newer ones share
    stay with them.
    """
    found = sorted(records.glob(f"{image.target}-{'?' * 16}.json"), key=lambda path: path.stat().st_mtime)
    for old in found[:-KEPT]:
        key = old.stem.removeprefix(f"{image.target}-")
        target.builder.remove(f"localhost/noria/{image.target}:{key}")
        old.unlink(missing_ok=True)
    if target.store == LOCAL:
        registry.keep_only(f"noria/{image.target}", {_known(record) for record in found[-KEPT:]})


def _known(record: Path) -> str:
    try:
        return str(json.loads(record.read_text(encoding="utf-8"))["digest"])
    except (OSError, ValueError, KeyError):
        return ""


def _files(path: Path) -> Iterator[Path]:
    """The file itself, or the sources below a directory, in a fixed order."""
    if path.is_file():
        yield path
        return
    for found in sorted(path.rglob("*")):
        if found.is_file() and "__pycache__" not in found.parts and found.suffix != ".pyc":
            yield found
