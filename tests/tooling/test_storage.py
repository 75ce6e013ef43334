"""Damage in the caches of images is found, and what is found is made again; what is whole is left alone."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tools.cluster import base_image, builder, images, layers, registry, toolbox
from tools.cluster.builder import Buildah
from tools.cluster.errors import ClusterError

LAYER, CONTAINER, IMAGE = "a" * 64, "b" * 64, "c" * 64
CONFIG = "sha256:" + IMAGE
FILES = {"usr/bin/python3.11": b"\x7fELF and more", "usr/share/café": b"coffee", "empty": b""}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NORIA_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def storage(cache: Path) -> Path:
    """Storage as buildah leaves it: one image of one layer, and the layer of a container that a kill left."""
    root = cache / "containers" / "root"
    entries: list[dict[str, Any]] = [{"type": 2, "payload": "AAAA"}]
    for name, content in FILES.items():
        path = root / "overlay" / LAYER / "diff" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        entries.append({"type": 1, "name": name, "size": len(content)})
    entries[2] |= {"name": "", "name_raw": base64.b64encode("usr/share/café".encode()).decode()}
    write(root / "overlay-layers/layers.json", [{"id": LAYER}, {"id": CONTAINER}])
    split = root / "overlay-layers" / f"{LAYER}.tar-split.gz"
    split.write_bytes(gzip.compress("\n".join(json.dumps(entry) for entry in entries).encode()))
    parts = {CONFIG: b"{}", "manifest": b"{...}"}
    sizes = {key: len(content) for key, content in parts.items()}
    write(root / "overlay-images/images.json", [{"id": IMAGE, "layer": LAYER, "big-data-sizes": sizes}])
    for key, content in parts.items():
        path = root / "overlay-images" / IMAGE / layers._file_name(key)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    write(root / "overlay-containers/containers.json", [])
    return root


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_a_whole_storage_shows_no_damage_and_neither_does_none(storage: Path, tmp_path: Path) -> None:
    assert layers.damage(storage) == ""
    assert layers.damage(tmp_path / "nothing") == ""


@pytest.mark.parametrize(
    "place",
    [
        f"overlay/{LAYER}/diff/usr/bin/python3.11",
        f"overlay/{LAYER}/diff/usr/share/café",
        f"overlay-layers/{LAYER}.tar-split.gz",
        "overlay-layers/layers.json",
        "overlay-images/images.json",
        "overlay-containers/containers.json",
        f"overlay-images/{IMAGE}/manifest",
        f"overlay-images/{IMAGE}/={base64.b64encode(CONFIG.encode()).decode()}",
    ],
)
@pytest.mark.parametrize("how", ["truncated", "emptied"])
def test_a_file_that_lost_content_is_found(storage: Path, place: str, how: str) -> None:
    path = storage / place
    path.write_bytes(path.read_bytes()[:-1] if how == "truncated" else b"")
    assert path.name[:12] in layers.damage(storage)


def test_a_missing_file_is_found(storage: Path) -> None:
    (storage / "overlay" / LAYER / "diff" / "usr/bin/python3.11").unlink()
    assert "python3.11 is missing" in layers.damage(storage)


def test_a_layer_that_buildah_removes_by_itself_is_no_damage(storage: Path) -> None:
    write(storage / "overlay-layers/layers.json", [{"id": LAYER, "flags": {"incomplete": True}}])
    (storage / "overlay" / LAYER / "diff" / "usr/bin/python3.11").unlink()
    assert layers.damage(storage) == ""


def test_repair_empties_a_damaged_storage_and_keeps_a_whole_one(
    storage: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(builder, "succeeds", lambda command: ran.append(command) or True)
    Buildah().repair()
    assert storage.is_dir()
    assert [command[-2:] for command in ran] == [["rm", "--all"]]  # containers of killed builds
    (storage / "overlay" / LAYER / "diff" / "usr/bin/python3.11").write_bytes(b"")
    Buildah().repair()
    assert not storage.exists()
    assert "python3.11 has 0 bytes instead of 13" in capsys.readouterr().err


@dataclass(frozen=True)
class Pushes(Buildah):
    """A builder that has every image, and a registry that keeps what it has, whole or not."""

    blobs: Path
    did: list[str] = field(default_factory=list)

    def exists(self, image: str) -> bool:
        return True

    def repair(self) -> None:
        self.did.append("repair")

    def push(self, image: str, name: str, **_: Any) -> str:
        self.did.append(f"push {name.partition(':')[0]}")
        config, layer = b"{}", f"layer of {name}".encode()
        parts = [self.part(blob) for blob in (config, layer)]
        digest = self.keep(json.dumps({"config": parts[0], "layers": parts[1:]}).encode())
        repository = self.blobs.parents[1] / "repositories" / name.partition(":")[0]
        link = repository / "_manifests/revisions/sha256" / digest.removeprefix("sha256:") / "link"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.write_text(digest)
        return digest

    def part(self, blob: bytes) -> dict[str, Any]:
        """What the manifest says: of a blob that is there already, the size that the registry tells."""
        digest = self.keep(blob)
        return {"digest": digest, "size": registry._blob(digest).stat().st_size}

    def keep(self, blob: bytes) -> str:
        value = hashlib.sha256(blob).hexdigest()
        data = self.blobs / value[:2] / value / "data"
        if not data.exists():
            data.parent.mkdir(parents=True)
            data.write_bytes(blob)
        return f"sha256:{value}"


@pytest.fixture
def pushes(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Pushes:
    made = Pushes(cache / "registry/docker/registry/v2/blobs/sha256")
    few = tuple(images.Image(target, ("LICENSE",)) for target in ("operator", "router"))
    monkeypatch.setattr(images, "IMAGES", few)
    monkeypatch.setattr(images, "_target", lambda which: images._Target(made, "registry", (), which))
    monkeypatch.setattr(base_image, "ensure", lambda builder: base_image.NAME)
    return made


def test_images_that_the_registry_holds_whole_are_neither_built_nor_pushed(pushes: Pushes) -> None:
    first = images.ensure("local")
    assert pushes.did == ["repair", *(f"push noria/{image.target}" for image in images.IMAGES)]
    pushes.did.clear()
    assert images.ensure("local") == first
    assert pushes.did == []


@pytest.mark.parametrize("content", [b"", b"half"])
@pytest.mark.parametrize("part", ["manifest", "layer"])
def test_an_image_that_is_damaged_in_the_registry_is_pushed_until_it_is_whole(
    pushes: Pushes, part: str, content: bytes
) -> None:
    first = images.ensure("local")
    digest = first["operator"].rpartition("@")[2]
    if part == "layer":
        digest = json.loads(registry._blob(digest).read_text())["layers"][0]["digest"]
    whole = registry._blob(digest).read_bytes()
    registry._blob(digest).write_bytes(content)
    pushes.did.clear()
    assert images.ensure("local") == first
    assert registry._blob(digest).read_bytes() == whole
    assert pushes.did == ["repair", "push noria/operator", "push noria/operator"]


def test_a_registry_that_keeps_nothing_is_an_error(pushes: Pushes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "intact", lambda name, digest: False)
    with pytest.raises(ClusterError, match="does not keep what is pushed"):
        images.ensure("local")


def test_an_image_is_found_by_its_tag_only_while_it_is_whole(pushes: Pushes, cache: Path) -> None:
    digest = pushes.push("image", "noria/toolbox:1", registry="", enter=())
    link = cache / "registry/docker/registry/v2/repositories/noria/toolbox/_manifests/tags/1/current/link"
    assert not registry.holds_tag("noria/toolbox", "1")
    link.parent.mkdir(parents=True)
    link.write_text(digest)
    assert registry.holds_tag("noria/toolbox", "1")
    registry._blob(digest).write_bytes(b"{}")
    assert not registry.holds_tag("noria/toolbox", "1")
    assert registry.drop_damaged() == [digest.removeprefix("sha256:")]
    assert registry.drop_damaged() == []


@pytest.mark.parametrize(("machine", "said"), [("x86_64", "amd64"), ("aarch64", "arm64")])
def test_the_toolbox_says_for_which_machines_it_is(
    monkeypatch: pytest.MonkeyPatch, machine: str, said: str
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert json.loads(toolbox._config("sha256:0"))["architecture"] == said


def test_what_is_neither_new_nor_needed_leaves_the_registry(pushes: Pushes, cache: Path) -> None:
    digests = [pushes.push("image", f"noria/operator:{number}", registry="", enter=()) for number in range(3)]
    other = pushes.push("image", "noria/toolbox:0", registry="", enter=())
    blobs = sorted(pushes.blobs.glob("*/*/data"))
    old, young = digests[0], digests[1]
    for data in blobs:
        os.utime(data, (0, 0))
    layer = json.loads(registry._blob(young).read_text())["layers"][0]["digest"]
    os.utime(registry._blob(layer))
    registry.keep_only("noria/operator", {digests[2]})
    assert not registry.holds("noria/operator", old)
    assert not registry._blob(old).exists()
    assert registry._blob(layer).exists(), "it may belong to a push that is under way"
    assert registry.holds("noria/operator", digests[2])
    assert registry.holds("noria/toolbox", other)


def test_only_the_newest_builds_of_an_image_stay(pushes: Pushes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "YOUNG_SECONDS", -1.0)
    for number in range(images.KEPT + 2):
        monkeypatch.setattr(images.Image, "key", lambda _, base, n=number: f"{n:016}")
        images.ensure("local")
    left = sorted(registry._repository("noria/operator").glob("_manifests/revisions/sha256/*/link"))
    assert len(left) == images.KEPT
