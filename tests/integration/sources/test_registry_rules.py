"""What a registry may ask for and answer: tokens, digests, references (a real one is in test_registry.py)."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.sources.https_server import Web, serve

from noria_serving.artifact import open_source
from noria_serving.bundle import Bundle
from noria_serving.errors import NoriaError, Reason
from noria_serving.model.loaded import load
from noria_serving.remote.sources import basic

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
REPOSITORY = "/v2/team/model"


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    with serve(tmp_path) as web:
        place = f"localhost:{web.port}"
        login = {"auths": {place: {"auth": base64.b64encode(b"reader:s3cret").decode()}}}
        folder = tmp_path / "secret"
        folder.mkdir()
        (folder / ".dockerconfigjson").write_text(json.dumps(login))
        (folder / "ca.crt").write_text(web.ca)
        monkeypatch.setenv("NORIA_CREDENTIALS", json.dumps({f"oci://{place}": str(folder)}))
        monkeypatch.setenv("NORIA_PRIVATE_HOSTS", "localhost")
        yield web


def put(web: Web, bundle: Bundle) -> str:
    """A manifest under the tag and its digest, which is given back."""
    layers: list[dict[str, Any]] = []
    for file in bundle.path.iterdir():
        digest = "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()
        web.files[f"{REPOSITORY}/blobs/{digest}"] = file.read_bytes()
        layers.append({"digest": digest, "annotations": {"org.opencontainers.image.title": file.name}})
    data = json.dumps({"mediaType": MANIFEST, "layers": layers}).encode()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    web.files[f"{REPOSITORY}/manifests/1"] = web.files[f"{REPOSITORY}/manifests/{digest}"] = data
    return digest


def test_a_password_buys_a_token_that_opens_the_repository(web: Web, matrix_bundle: Bundle) -> None:
    put(web, matrix_bundle)
    web.authorization, web.free = "Bearer abc", frozenset({"/token"})
    web.challenge = f'Bearer realm="{web.url}/token",service="registry"'
    web.files["/token"] = b'{"token": "abc"}'
    assert load(f"oci://localhost:{web.port}/team/model:1", digest=matrix_bundle.digest)
    assert web.passwords["/token"] == basic("reader", "s3cret")
    assert any(path.startswith("/token?scope=repository%3Ateam%2Fmodel%3Apull") for path, _ in web.asked)


def test_row_3_a_token_is_not_fetched_from_the_inside(web: Web) -> None:
    web.authorization = "Bearer abc"
    web.challenge = 'Bearer realm="https://169.254.169.254/token"'
    with pytest.raises(NoriaError) as caught:
        open_source(f"oci://localhost:{web.port}/team/model:1")
    assert caught.value.reason is Reason.ADDRESS_REFUSED


def test_row_22_a_manifest_or_layer_that_is_not_what_was_asked_for_is_refused(
    web: Web, matrix_bundle: Bundle
) -> None:
    digest = put(web, matrix_bundle)
    place = f"oci://localhost:{web.port}/team/model"
    web.files[f"{REPOSITORY}/manifests/{digest}"] += b" "
    blob = next(path for path in web.files if "/blobs/" in path)
    web.files[blob] += b" "
    for reference in (f"@{digest}", ":1"):
        with pytest.raises(NoriaError) as caught:
            open_source(place + reference)
        assert caught.value.reason is Reason.DIGEST_MISMATCH


@pytest.mark.parametrize(
    "place", ["user:hunter2@localhost/team/model:1", "localhost/team/model", "localhost"]
)
def test_row_4_a_reference_with_a_password_or_without_a_tag_is_refused(place: str) -> None:
    with pytest.raises(NoriaError) as caught:
        open_source("oci://" + place)
    assert caught.value.reason is Reason.CONFIGURATION
    assert "hunter2" not in caught.value.message


INDEX = {"mediaType": "application/vnd.oci.image.index.v1+json"}
LAYER = {"digest": "sha256:" + "0" * 64}


@pytest.mark.parametrize(
    "manifest",
    [
        {"layers": ["x"]},
        {"layers": [LAYER | {"annotations": "x"}]},
        {"layers": [LAYER], "config": "x"},
        INDEX | {"manifests": ["x"]},
        INDEX | {"manifests": [{"mediaType": MANIFEST, "platform": "linux"}]},
        INDEX | {"manifests": [{"mediaType": ["x"], "digest": LAYER["digest"]}]},
    ],
)
def test_row_10_a_manifest_of_other_parts_than_objects_is_refused(web: Web, manifest: dict[str, Any]) -> None:
    web.files[f"{REPOSITORY}/manifests/1"] = json.dumps(manifest).encode()
    with pytest.raises(NoriaError) as caught:
        open_source(f"oci://localhost:{web.port}/team/model:1")
    assert caught.value.reason is Reason.FORMAT_REFUSED


def test_row_10_an_index_that_leads_to_another_index_is_not_followed(web: Web, matrix_bundle: Bundle) -> None:
    further = {"mediaType": MANIFEST, "digest": put(web, matrix_bundle)}
    data = json.dumps({"manifests": [further]}).encode()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    web.files[f"{REPOSITORY}/manifests/{digest}"] = data
    outer = {"manifests": [{"mediaType": MANIFEST, "digest": digest}]}
    web.files[f"{REPOSITORY}/manifests/1"] = json.dumps(outer).encode()
    with pytest.raises(NoriaError) as caught:
        open_source(f"oci://localhost:{web.port}/team/model:1")
    assert caught.value.reason is Reason.FORMAT_REFUSED


@pytest.mark.parametrize("kind", ["application/vnd.oci.image.layer.v1.tar+zstd", "application/zstd"])
def test_a_layer_packed_with_zstd_is_refused_by_that_name(web: Web, kind: str) -> None:
    content = b"\x28\xb5\x2f\xfd" + b"x" * 600
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    web.files[f"{REPOSITORY}/blobs/{digest}"] = content
    manifest = {"layers": [{"mediaType": kind, "digest": digest}]}
    web.files[f"{REPOSITORY}/manifests/1"] = json.dumps(manifest).encode()
    with pytest.raises(NoriaError, match="zstd") as caught:
        open_source(f"oci://localhost:{web.port}/team/model:1")
    assert caught.value.reason is Reason.FORMAT_REFUSED
