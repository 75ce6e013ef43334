"""Bundles in a real registry (Debian's docker-registry, over TLS): each way of packing one."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import socket
import ssl
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.integration.sources.https_server import certificate

from noria_serving.bundle import Bundle
from noria_serving.errors import NoriaError, Reason
from noria_serving.model.loaded import load

pytestmark = [
    pytest.mark.extended,
    pytest.mark.skipif(shutil.which("docker-registry") is None, reason="needs Debian's docker-registry"),
]
CONFIG = "application/vnd.oci.empty.v1+json"
IMAGE = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
TAR, TGZ = "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass
class Registry:
    """Pushes as any client does, with plain requests."""

    host: str
    ca: str

    def send(self, method: str, path: str, data: bytes = b"", kind: str = "application/octet-stream") -> Any:
        url = path if path.startswith("https://") else f"https://{self.host}{path}"
        request = urllib.request.Request(url, data, {"Content-Type": kind}, method=method)
        context = ssl.create_default_context(cadata=self.ca)
        return urllib.request.urlopen(request, context=context, timeout=10)

    def blob(self, content: bytes, kind: str, **notes: str) -> dict[str, Any]:
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        place = self.send("POST", "/v2/team/model/blobs/uploads/").headers["Location"]
        self.send("PUT", f"{place}&digest={digest}", content)
        return {"mediaType": kind, "digest": digest, "size": len(content), "annotations": notes}

    def push(self, tag: str, layers: list[dict[str, Any]], config: str = CONFIG) -> str:
        document = {
            "schemaVersion": 2, "mediaType": MANIFEST, "config": self.blob(b"{}", config), "layers": layers,
        }  # fmt: skip
        data = json.dumps(document).encode()
        self.send("PUT", f"/v2/team/model/manifests/{tag}", data, MANIFEST)
        return "sha256:" + hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("registry")
    cert, key = certificate(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"127.0.0.1:{port}", "tls": {"certificate": str(cert), "key": str(key)}},
    }
    (folder / "config.json").write_text(json.dumps(settings))
    command = ["docker-registry", "serve", str(folder / "config.json")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            found = Registry(f"localhost:{port}", cert.read_text())
            until_it_answers(found)
            yield found
        finally:
            process.kill()


def until_it_answers(registry: Registry) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            registry.send("GET", "/v2/")
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


@pytest.fixture(autouse=True)
def allowed(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ca.crt").write_text(registry.ca)
    monkeypatch.setenv("NORIA_CREDENTIALS", json.dumps({f"oci://{registry.host}": str(tmp_path)}))
    monkeypatch.setenv("NORIA_PRIVATE_HOSTS", "localhost")


def titled(registry: Registry, bundle: Bundle) -> list[dict[str, Any]]:
    return [
        registry.blob(
            file.read_bytes(), "application/octet-stream", **{"org.opencontainers.image.title": file.name}
        )
        for file in bundle.path.iterdir()
    ]


def tarred(bundle: Bundle, folder: str) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name in os.listdir(bundle.path):
            archive.add(bundle.path / name, folder + name)
    return target.getvalue()


def test_a_layer_a_file_as_oras_pushes_it(registry: Registry, matrix_bundle: Bundle) -> None:
    digest = registry.push("files", titled(registry, matrix_bundle))
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
    registry.push("moving", titled(registry, frame_bundle))
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
