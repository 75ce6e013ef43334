"""An image is built again exactly when something that goes into it has changed."""

from __future__ import annotations

import tarfile
from io import BytesIO
from pathlib import Path

import pytest
from tools.cluster import binaries, images, toolbox
from tools.cluster.builder import Buildah, Docker
from tools.cluster.errors import ClusterError
from tools.cluster.images import Image


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one package."""
    monkeypatch.setattr(images, "CHECKOUT", tmp_path)
    for name in (*images.SHARED, "lock.txt", "package/module.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    return tmp_path


IMAGE = Image("operator", ("lock.txt", "package"))


@pytest.mark.parametrize("name", [*images.SHARED, "lock.txt", "package/module.py"])
def test_a_change_of_any_input_changes_the_key(checkout: Path, name: str) -> None:
    before = IMAGE.key("base")
    (checkout / name).write_text("changed", encoding="utf-8")
    assert IMAGE.key("base") != before


def test_a_moved_source_or_another_base_changes_the_key(checkout: Path) -> None:
    before = IMAGE.key("base")
    assert IMAGE.key("another") != before
    (checkout / "package/module.py").rename(checkout / "package/renamed.py")
    assert IMAGE.key("base") != before


def test_byte_code_and_other_files_of_the_checkout_do_not_matter(checkout: Path) -> None:
    before = IMAGE.key("base")
    (checkout / "package/__pycache__").mkdir()
    (checkout / "package/__pycache__/module.cpython-311.pyc").write_bytes(b"compiled")
    (checkout / "notes.txt").write_text("notes", encoding="utf-8")
    assert IMAGE.key("base") == before


def test_the_layer_of_the_toolbox_is_the_same_each_time_and_carries_no_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "busybox"
    program.write_bytes(b"static program")
    monkeypatch.setattr(toolbox, "BUSYBOX", program)
    layer = toolbox._layer()
    assert layer == toolbox._layer()
    with tarfile.open(fileobj=BytesIO(layer)) as tar:
        assert {entry.mtime for entry in tar} == {0}
        assert {entry.uid for entry in tar} == {0}
        assert tar.extractfile("bin/busybox").read() == b"static program"  # type: ignore[union-attr]
        assert tar.getmember("bin/sh").linkname == "busybox"


def test_an_image_of_programs_holds_them_and_nothing_else_and_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORIA_CACHE", str(tmp_path))
    (tmp_path / "bin").mkdir()
    for program in ("prometheus", "promtool", "alertmanager", "contour", "gateway-api.yaml"):
        (tmp_path / "bin" / program).write_text(program)
    made: dict[str, dict[str, str]] = {}
    started: list[str] = []

    def make(_: Buildah, root: Path, image: str, *, entrypoint: str) -> None:
        files = [path for path in root.rglob("*") if path.is_file()]
        made[image] = {str(path.relative_to(root)): path.read_text() for path in files}
        started.append(entrypoint)
        assert (root / "tmp").stat().st_mode & 0o7777 == 0o1777

    target = images._Target(Buildah(), "registry", (), "local")
    monkeypatch.setattr(images, "_target", lambda _: target)
    monkeypatch.setattr(images, "_push", lambda image, name, _: f"sha256:of-{name.partition(':')[0]}")
    monkeypatch.setattr(binaries, "ensure", lambda *_: None)
    monkeypatch.setattr(Buildah, "exists", lambda _, image: image in made)
    monkeypatch.setattr(Buildah, "import_root", make)
    for _ in range(2):
        name = images.programs("local", "noria/monitoring", ["prometheus", "alertmanager"])
        assert name == "127.0.0.1:5000/noria/monitoring@sha256:of-noria/monitoring"
    ((image, files),) = made.items()
    assert image.startswith("localhost/noria/monitoring:")
    assert files == {f"bin/{one}": one for one in ("prometheus", "promtool", "alertmanager")}
    assert started == [""]

    images.programs("local", "peers/contour", ["contour"])
    assert list(made.values())[1] == {"bin/contour": "contour"}
    assert started == ["", "/bin/contour"]


def test_an_image_of_programs_needs_the_local_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    target = images._Target(Docker(), "registry", (), "kind")
    monkeypatch.setattr(images, "_target", lambda _: target)
    with pytest.raises(ClusterError, match="NORIA_CLUSTER_KIND=local"):
        images.programs("kind", "noria/monitoring", ["prometheus"])
