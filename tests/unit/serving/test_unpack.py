"""Row 21 of the threat table: hostile archives write nothing outside their directory, and no more than they
may.
"""

from __future__ import annotations

import gzip
import io
import itertools
import tarfile
import zipfile
from pathlib import Path

import pytest

from noria_serving.errors import NoriaError, Reason
from noria_serving.remote import unpack

UNSAFE = [
    "../../x",
    "/etc/passwd",
    "a/../../x",
    "..",
    "a/b/c",
    "back\\slash",
    "..\\x",
    "right\u202eleft",
    "full\uff0fwidth",
    "new\nline",
    "-rf",
    ".hidden",
    "x" * 200,
]


def tarred(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def untar(data: bytes, target: Path, *, compressed: bool = False, only: str = "") -> None:
    target.mkdir(exist_ok=True)
    pieces = (data[i : i + 1000] for i in range(0, len(data), 1000))
    unpack.tar(pieces, target, compressed=compressed, only=only)


def zipped(*entries: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return target.getvalue()


def unzip(data: bytes, target: Path) -> None:
    target.mkdir(exist_ok=True)
    archive = target.parent / "bundle.zip"
    archive.write_bytes(data)
    unpack.unzip(archive, target)


def written(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.mark.parametrize("folder", ["", "./", "bundle/", "./bundle/"])
def test_a_flat_bundle_is_unpacked_with_or_without_a_folder_around_it(folder: str, tmp_path: Path) -> None:
    files = {"noria.json": b"{}", "model.onnx": b"m" * 3_000_000, "empty": b""}
    data = tarred(
        (entry(folder or "./", tarfile.DIRTYPE), b""),
        *((entry(folder + name), content) for name, content in files.items()),
    )
    untar(data, tmp_path / "plain")
    untar(gzip.compress(data), tmp_path / "packed", compressed=True)
    assert written(tmp_path / "plain") == written(tmp_path / "packed") == files


def test_headers_of_other_tars_are_understood(tmp_path: Path) -> None:
    target = io.BytesIO()
    for kind in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        target = io.BytesIO()
        with tarfile.open(fileobj=target, mode="w", format=kind) as archive:
            info = entry("noria.json")
            info.mtime = 1.5 if kind == tarfile.PAX_FORMAT else 1  # a header before the header
            info.size = 2
            archive.addfile(info, io.BytesIO(b"{}"))
        untar(target.getvalue(), tmp_path / str(kind))
        assert written(tmp_path / str(kind)) == {"noria.json": b"{}"}


@pytest.mark.parametrize("name", UNSAFE)
def test_row_21_unsafe_names_are_refused(name: str, tmp_path: Path) -> None:
    for attempt, pack, form in (
        (untar, tarred((entry(name), b"x")), "tar"),
        (unzip, zipped((name, b"x")), "zip"),
    ):
        with pytest.raises(NoriaError) as caught:
            attempt(pack, tmp_path / form)
        assert caught.value.reason is Reason.PATH_UNSAFE
        assert not written(tmp_path / form)
    assert not (tmp_path / "x").exists()


def test_row_21_a_name_with_nul_is_refused(tmp_path: Path) -> None:
    data = zipped(("noria.json.exe", b"x")).replace(b"noria.json.exe", b"noria.json\0exe")
    with pytest.raises(NoriaError) as caught:
        unzip(data, tmp_path / "zip")
    assert caught.value.reason is Reason.PATH_UNSAFE


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_row_21_links_and_devices_are_refused(kind: bytes, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    data = tarred((entry("model.onnx", kind, str(outside)), b""), (entry("model.onnx"), b"owned"))
    with pytest.raises(NoriaError) as caught:
        untar(data, tmp_path / "tar")
    assert caught.value.reason is Reason.PATH_UNSAFE
    assert not outside.exists()
    assert not written(tmp_path / "tar")


def test_row_21_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("model.onnx")
    link.external_attr = 0o120777 << 16
    with pytest.raises(NoriaError) as caught:
        unzip(zipped((link, b"/etc/passwd")), tmp_path / "zip")
    assert caught.value.reason is Reason.PATH_UNSAFE


def test_row_21_a_link_that_lies_in_the_way_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (tmp_path / "tar").mkdir()
    (tmp_path / "tar" / "noria.json").symlink_to(outside)
    with pytest.raises(NoriaError):
        untar(tarred((entry("noria.json"), b"x")), tmp_path / "tar")
    assert not outside.exists()


def test_row_21_the_same_name_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoriaError) as caught:
        untar(tarred((entry("a"), b"1"), (entry("a"), b"2")), tmp_path / "tar")
    assert caught.value.reason is Reason.PATH_UNSAFE


def test_row_21_too_many_files_are_refused(tmp_path: Path) -> None:
    many = [(f"f{index}", b"") for index in range(200)]
    for attempt, data in ((untar, tarred(*((entry(n), c) for n, c in many))), (unzip, zipped(*many))):
        with pytest.raises(NoriaError) as caught:
            attempt(data, tmp_path / attempt.__name__)
        assert caught.value.reason is Reason.TOO_LARGE
        assert len(written(tmp_path / attempt.__name__)) < 100


def test_row_21_bombs_stop_at_the_ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "MAX_DOCUMENT", 100_000)
    bomb = b"\0" * 5_000_000
    packed = gzip.compress(tarred((entry("model.onnx"), bomb)))
    for attempt in (
        lambda: untar(packed, tmp_path / "tar", compressed=True),
        lambda: unzip(zipped(("model.onnx", bomb)), tmp_path / "zip"),
    ):
        with pytest.raises(NoriaError) as caught:
            attempt()
        assert caught.value.reason is Reason.TOO_LARGE
    for folder in (tmp_path / "tar", tmp_path / "zip"):
        assert sum(file.stat().st_size for file in folder.iterdir()) < len(bomb)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_row_21_what_zipfile_would_unpack_all_at_once_is_refused(method: int, tmp_path: Path) -> None:
    """Whatever it becomes: 231 bytes of bzip2 are 100 MiB."""
    info = zipfile.ZipInfo("model.onnx")
    info.compress_type = method
    with pytest.raises(NoriaError, match="deflate") as caught:
        unzip(zipped((info, b"\0" * 1_000_000)), tmp_path / "zip")
    assert caught.value.reason is Reason.FORMAT_REFUSED
    assert not written(tmp_path / "zip")


def test_row_21_the_cap_on_bytes_holds_without_compression(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack, "MAX_BYTES", 10_000)
    with pytest.raises(NoriaError) as caught:
        untar(tarred((entry("model.onnx"), b"x" * 20_000)), tmp_path / "tar")
    assert caught.value.reason is Reason.TOO_LARGE


def test_row_21_a_header_that_claims_gigabytes_is_not_read_into_memory(tmp_path: Path) -> None:
    huge = entry("x", tarfile.XHDTYPE)
    huge.size = 3 * 1024**3
    with pytest.raises(NoriaError) as caught:
        untar(huge.tobuf(tarfile.USTAR_FORMAT) + b"1" * 5000, tmp_path / "tar")
    assert caught.value.reason is Reason.FORMAT_REFUSED


@pytest.mark.parametrize("cut", [1, 100, 700, 1500])
def test_row_22_a_truncated_archive_is_refused(cut: int, tmp_path: Path) -> None:
    data = tarred((entry("model.onnx"), b"x" * 1000))[:2048]
    with pytest.raises(NoriaError):
        untar(data[:cut], tmp_path / "tar")
    with pytest.raises(NoriaError):
        unzip(zipped(("model.onnx", b"x" * 1000))[:cut][:-1], tmp_path / "zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_row_19_a_zip_whose_bytes_are_not_those_of_its_checksum_is_refused(
    method: int, tmp_path: Path
) -> None:
    info = zipfile.ZipInfo("model.onnx")
    info.compress_type = method
    data = bytearray(zipped((info, bytes(range(256)) * 20)))
    data[data.index(b"model.onnx") + len(b"model.onnx") + 100] ^= 1
    with pytest.raises(NoriaError) as caught:
        unzip(bytes(data), tmp_path / "zip")
    assert caught.value.reason is Reason.FORMAT_REFUSED


def test_of_an_image_only_the_folder_of_models_is_taken(tmp_path: Path) -> None:
    data = tarred(
        (entry("bin", tarfile.DIRTYPE), b""),
        (entry("bin/sh", tarfile.SYMTYPE, "/bin/busybox"), b""),
        (entry("etc/a/b/passwd"), b"root"),
        (entry("models/noria.json"), b"{}"),
    )
    untar(data, tmp_path / "tar", only="models")
    assert written(tmp_path / "tar") == {"noria.json": b"{}"}


def test_an_archive_that_unpacks_to_nothing_is_not_read_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack, "MAX_BYTES", 100_000)
    nothing = gzip.compress(b"") * 100
    pieces = itertools.repeat(nothing, 10 * 100_000 // len(nothing))
    with pytest.raises(NoriaError) as caught:
        unpack.tar(pieces, tmp_path, compressed=True)
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_headers_that_lead_to_further_headers_are_not_followed_for_ever(tmp_path: Path, kind: bytes) -> None:
    header = entry("header", kind).tobuf(tarfile.USTAR_FORMAT)
    with pytest.raises(NoriaError) as caught:
        untar(header * 3000, tmp_path)
    assert caught.value.reason is Reason.FORMAT_REFUSED
