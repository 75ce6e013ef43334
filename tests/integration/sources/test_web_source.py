"""Bundles on a web server behind TLS: directories and archives, and what is refused."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.integration.sources.https_server import Web, serve
from tools.ports import free_port

from noria_serving import scratch
from noria_serving.artifact import Artifact, open_source
from noria_serving.bundle import Bundle
from noria_serving.errors import NoriaError, Reason
from noria_serving.model.loaded import load
from noria_serving.remote import web as web_client
from noria_serving.remote.sources import basic
from noria_serving.remote.web import Client


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with serve(tmp_path_factory.mktemp("https")) as web:
        yield web


@pytest.fixture
def web(server: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Web:
    """The server as new, its CA in a Secret, its host allowed."""
    server.files, server.redirects, server.asked = {}, {}, []
    server.authorization, server.breaks_after, server.ranges = "", 0, True
    secret(server, tmp_path, monkeypatch)
    monkeypatch.setenv("NORIA_PRIVATE_HOSTS", "localhost")
    return server


def secret(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **keys: str) -> None:
    folder = tmp_path / "secret"
    folder.mkdir(exist_ok=True)
    for name, value in {"ca.crt": web.ca, **keys}.items():
        (folder / name).write_text(value)
    monkeypatch.setenv("NORIA_CREDENTIALS", json.dumps({web.url: str(folder)}))


def put(web: Web, bundle: Bundle, folder: str) -> str:
    for file in bundle.path.iterdir():
        web.files[f"{folder}/{file.name}"] = file.read_bytes()
    return web.url + folder


def refusal(act: Callable[[], object]) -> NoriaError:
    with pytest.raises(NoriaError) as caught:
        act()
    return caught.value


def test_a_directory_is_loaded_and_verified(web: Web, matrix_bundle: Bundle) -> None:
    location = put(web, matrix_bundle, "/models/4")
    assert load(location + "/", digest=matrix_bundle.digest).manifest.digest == matrix_bundle.digest
    here, there = (Artifact(open_source(place)).verify() for place in (str(matrix_bundle.path), location))
    assert here == there


@pytest.mark.parametrize("form", ["tar", "gztar", "zip"])
def test_an_archive_is_loaded_and_leaves_nothing_behind(
    form: str, web: Web, matrix_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "scratch"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    packed = Path(shutil.make_archive(str(tmp_path / "bundle"), form, matrix_bundle.path))
    path = "/models/" + packed.name
    web.files[path] = packed.read_bytes()
    for _ in range(2):  # repeated is harmless
        assert load(web.url + path, digest=matrix_bundle.digest).manifest.digest == matrix_bundle.digest
    assert not list(place.iterdir())


@pytest.mark.parametrize("ranges", [True, False])
def test_a_body_that_breaks_off_is_continued(ranges: bool, web: Web, matrix_bundle: Bundle) -> None:
    content = bytes(range(256)) * 4000
    web.files["/x"], web.breaks_after, web.ranges = content, 300_000, ranges
    assert b"".join(Client(ca=web.ca).stream(web.url + "/x")) == content
    assert [asked for _, asked in web.asked][1] == "bytes=300000-"


def test_a_server_that_is_away_when_it_is_asked_for_the_rest_is_asked_again(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, tries = web_client._Pinned.connect, []

    def away(connection: web_client._Pinned) -> None:
        tries.append(connection)
        if len(tries) in (2, 3):
            raise ConnectionRefusedError(111, "Connection refused")
        connect(connection)

    monkeypatch.setattr(web_client._Pinned, "connect", away)
    monkeypatch.setattr(web_client, "PAUSE", 0.01)
    content = bytes(range(256)) * 2000
    web.files["/x"], web.breaks_after = content, 300_000
    assert b"".join(Client(ca=web.ca).stream(web.url + "/x")) == content
    assert len(tries) == 4


def test_a_server_that_was_never_there_is_said_at_once(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("nothing came that could be continued"))
    nobody = f"https://localhost:{free_port()}/x"
    refused = refusal(lambda: list(Client(ca=web.ca).stream(nobody)))
    assert refused.reason is Reason.STORAGE_UNAVAILABLE
    assert "Connection refused" in refused.message


def test_a_body_that_breaks_off_for_ever_is_given_up(web: Web) -> None:
    web.files["/x"], web.breaks_after = b"x" * 1000, 10
    assert (
        refusal(lambda: list(Client(ca=web.ca).stream(web.url + "/x"))).reason is Reason.STORAGE_UNAVAILABLE
    )


def test_row_22_a_changed_file_is_not_loaded(web: Web, matrix_bundle: Bundle) -> None:
    location = put(web, matrix_bundle, "/models/4")
    web.files["/models/4/model.onnx"] += b"\0"
    assert refusal(lambda: load(location)).reason is Reason.DIGEST_MISMATCH


def test_nothing_there_is_said(web: Web) -> None:
    assert refusal(lambda: load(web.url + "/models/5")).reason is Reason.NOT_FOUND
    assert refusal(lambda: load(web.url + "/models/5.tgz")).reason is Reason.NOT_FOUND


def test_a_password_comes_from_the_secret_and_into_no_message(
    web: Web, matrix_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.authorization = basic("reader", "s3cret")
    location = put(web, matrix_bundle, "/models/4")
    said = refusal(lambda: load(location))
    assert said.reason is Reason.STORAGE_UNAVAILABLE
    assert "credentials" in said.message
    secret(web, tmp_path, monkeypatch, username="reader", password="s3cret")
    assert load(location, digest=matrix_bundle.digest)


def test_row_4_credentials_in_a_uri_are_refused_and_not_repeated(web: Web) -> None:
    for place in (
        f"https://me:hunter2@localhost:{web.port}/x",
        f"https://me:hunter2@localhost:{web.port}/x.zip",
    ):
        said = refusal(lambda place=place: load(place))  # type: ignore[misc]
        assert said.reason is Reason.CONFIGURATION
        assert "hunter2" not in said.message
    assert not web.asked


def test_row_3_loopback_is_refused_unless_allowed(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NORIA_PRIVATE_HOSTS")
    assert refusal(lambda: load(web.url + "/models/4")).reason is Reason.ADDRESS_REFUSED
    assert not web.asked


@pytest.mark.parametrize(
    "target", ["https://169.254.169.254/latest", "https://127.0.0.1/x", "http://localhost/x"]
)
def test_row_3_a_redirect_to_the_inside_is_refused(target: str, web: Web) -> None:
    web.redirects["/models/4/noria.json"] = target
    assert refusal(lambda: load(web.url + "/models/4")).reason is Reason.ADDRESS_REFUSED


def test_row_3_redirects_in_a_circle_end(web: Web) -> None:
    web.redirects["/a.zip"] = "/a.zip"
    assert refusal(lambda: load(web.url + "/a.zip")).reason is Reason.STORAGE_UNAVAILABLE
    assert len(web.asked) < 10


def test_a_certificate_that_is_not_trusted_is_said(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NORIA_CREDENTIALS")
    said = refusal(lambda: load(web.url + "/models/4"))
    assert said.reason is Reason.STORAGE_UNAVAILABLE
    assert "ca.crt" in said.message


def test_row_21_a_hostile_archive_from_a_server_is_refused(web: Web) -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../../x"))
    web.files["/a.tar.gz"] = target.getvalue()
    assert refusal(lambda: load(web.url + "/a.tar.gz")).reason is Reason.PATH_UNSAFE


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full takes the bytes and has no space for them."""
    opened = os.open
    monkeypatch.setattr(os, "open", lambda path, flags, mode: opened("/dev/full", os.O_WRONLY))
    said = refusal(lambda: scratch.write_new(tmp_path / "model", [b"x"]))
    assert said.reason is Reason.STORAGE_UNAVAILABLE
    assert "No space left" in said.message
    assert "scratch space" in said.message


def test_a_scheme_that_nobody_reads_is_named() -> None:
    assert "ftp://" in refusal(lambda: load("ftp://host/x")).message
