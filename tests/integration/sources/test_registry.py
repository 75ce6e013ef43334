"""Bundles in a real registry (Debian's docker-registry, over TLS): each way of packing one."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.sources.registry import Registry, serve, titled

from noria_serving.bundle import Bundle
from noria_serving.errors import NoriaError, Reason
from noria_serving.model.loaded import load

pytestmark = [
    pytest.mark.extended,
    pytest.mark.skipif(shutil.which("docker-registry") is None, reason="needs Debian's docker-registry"),
]
IMAGE = "application/vnd.oci.image.config.v1+json"
TAR, TGZ = "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+gzip"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with serve(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(autouse=True)
def allowed(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ca.crt").write_text(registry.ca)
    monkeypatch.setenv("NORIA_CREDENTIALS", json.dumps({f"oci://{registry.host}": str(tmp_path)}))
    monkeypatch.setenv("NORIA_PRIVATE_HOSTS", "localhost")


def tarred(bundle: Bundle, folder: str) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name in os.listdir(bundle.path):
            archive.add(bundle.path / name, folder + name)
    return target.getvalue()


def test_a_layer_a_file_as_oras_pushes_it(registry: Registry, matrix_bundle: Bundle) -> None:
    digest = registry.push("files", titled(registry, matrix_bundle.path))
    for reference in (":files", f"@{digest}"):
        loaded = load(f"oci://{registry.host}/team/model{reference}", digest=matrix_bundle.digest)
        assert loaded.manifest.digest == matrix_bundle.digest


@pytest.mark.parametrize("folder", ["", "bundle/"])
def test_one_tar_layer(folder: str, registry: Registry, matrix_bundle: Bundle) -> None:
    data = tarred(matrix_bundle, folder)
    for tag, layer in (("tar", registry.blob(data, TAR)), ("tgz", registry.blob(gzip.compress(data), TGZ))):
        registry.push(tag, [layer])
        assert load(f"oci://{registry.host}/team/model:{tag}", digest=matrix_bundle.digest)


def test_an_image_with_the_files_in_models(registry: Registry, matrix_bundle: Bundle) -> None:
    base = io.BytesIO()
    with tarfile.open(fileobj=base, mode="w") as archive:
        link = tarfile.TarInfo("bin/sh")
        link.type, link.linkname = tarfile.SYMTYPE, "busybox"
        archive.addfile(link)
    layers = [registry.blob(gzip.compress(base.getvalue()), TGZ)]
    layers.append(registry.blob(gzip.compress(tarred(matrix_bundle, "models/")), TGZ))
    registry.push("car", layers, IMAGE)
    assert load(f"oci://{registry.host}/team/model:car", digest=matrix_bundle.digest)


def test_row_22_a_tag_that_moved_fails_on_the_digest(
    registry: Registry, matrix_bundle: Bundle, frame_bundle: Bundle
) -> None:
    registry.push("moving", titled(registry, frame_bundle.path))
    with pytest.raises(NoriaError) as caught:
        load(f"oci://{registry.host}/team/model:moving", digest=matrix_bundle.digest)
    assert caught.value.reason is Reason.DIGEST_MISMATCH


def test_row_21_a_title_that_climbs_is_refused(registry: Registry) -> None:
    note = {"org.opencontainers.image.title": "../../x"}
    registry.push("climbs", [registry.blob(b"x", "application/octet-stream", **note)])
    with pytest.raises(NoriaError) as caught:
        load(f"oci://{registry.host}/team/model:climbs")
    assert caught.value.reason is Reason.PATH_UNSAFE


def test_a_tag_that_is_not_there_is_said(registry: Registry) -> None:
    with pytest.raises(NoriaError) as caught:
        load(f"oci://{registry.host}/team/model:nowhere")
    assert caught.value.reason is Reason.NOT_FOUND
