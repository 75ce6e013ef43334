"""Bundles and payload logs in the stores of Google and Microsoft, as their emulators have them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from tests.integration.sources.emulators import Cloud, google, microsoft

from noria_serving.artifact import Artifact, open_source
from noria_serving.bundle import Bundle
from noria_serving.errors import NoriaError, Reason
from noria_serving.model.loaded import load
from noria_serving.objects import open_store, upload
from noria_serving.payload.writer import open_place

pytestmark = [
    pytest.mark.extended,
    pytest.mark.skipif(shutil.which("npm") is None, reason="needs Debian's npm"),
]


@pytest.fixture(scope="module", params=[google, microsoft])
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    with request.param() as cloud:
        yield cloud


@pytest.fixture(autouse=True)
def opened(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Secret, as a pod has it; a place for what a run says at its end."""
    monkeypatch.setenv("NORIA_RESULT", str(tmp_path / "result"))
    secret(cloud, cloud.keys, tmp_path, monkeypatch)


def secret(
    cloud: Cloud, keys: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, of: str = ""
) -> None:
    folder = tmp_path / "secret"
    folder.mkdir(exist_ok=True)
    for name, value in keys.items():
        (folder / name).write_text(value)
    monkeypatch.setenv("NORIA_CREDENTIALS", json.dumps({of or cloud.uri: str(folder)}))


def put(cloud: Cloud, bundle: Bundle, name: str) -> str:
    """A bundle in the store, brought there by our own client."""
    return bundle.publish(uri=f"{cloud.uri}/{name}")


def refusal(location: str, digest: str | None = None) -> NoriaError:
    with pytest.raises(NoriaError) as caught:
        load(location, digest=digest)
    return caught.value


def test_a_bundle_is_verified_and_loaded(cloud: Cloud, matrix_bundle: Bundle) -> None:
    place = put(cloud, matrix_bundle, "flights/4")
    for _ in range(2):  # repeated is harmless
        assert load(place, digest=matrix_bundle.digest).manifest.digest == matrix_bundle.digest
    here, there = (Artifact(open_source(where)).verify() for where in (str(matrix_bundle.path), place))
    assert here == there


def test_a_changed_file_is_refused(cloud: Cloud, matrix_bundle: Bundle) -> None:
    place = put(cloud, matrix_bundle, "changed")
    cloud.put("changed/golden.json", b"{}")
    assert refusal(place, matrix_bundle.digest).reason is Reason.DIGEST_MISMATCH


def test_a_bundle_that_is_not_there_is_named(cloud: Cloud) -> None:
    assert refusal(f"{cloud.uri}/nothing").reason is Reason.NOT_FOUND


def test_a_bucket_that_does_not_exist_is_named(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    elsewhere = f"{cloud.scheme}://nowhere"
    secret(cloud, cloud.keys, tmp_path, monkeypatch, of=elsewhere)
    error = refusal(f"{elsewhere}/flights")
    assert error.reason is Reason.STORAGE_UNAVAILABLE
    assert "bucket" in error.message


@pytest.mark.parametrize("cloud", [microsoft], indirect=True)  # fake-gcs-server refuses nobody
def test_refused_credentials_are_named_and_not_shown(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret(cloud, cloud.wrong, tmp_path, monkeypatch)
    error = refusal(f"{cloud.uri}/flights/4")
    assert error.reason is Reason.STORAGE_UNAVAILABLE
    assert "refused the credentials" in error.message
    assert not any(value in error.message for name, value in cloud.wrong.items() if name.endswith("KEY"))


def test_a_file_that_is_uploaded_in_parts_comes_back_whole(cloud: Cloud, tmp_path: Path) -> None:
    content = np.random.default_rng(1).bytes(11 * 2**20)
    (tmp_path / "large").write_bytes(content)
    upload(open_store(cloud.uri), "large", tmp_path / "large")
    assert cloud.get("large") == content


def test_the_payload_log_leaves_its_files_there(cloud: Cloud) -> None:
    open_place(f"{cloud.uri}/log")("day=1/rows.parquet", b"rows")
    assert cloud.get("log/day=1/rows.parquet") == b"rows"
