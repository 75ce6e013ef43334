"""Archives of bundles, unpacked so that no archive can write anywhere else, or more than it may.

In: a .tar, .tar.gz or .zip. Out: plain files in a new directory. Invariants: nothing but regular files with
plain names is written, each by a new name straight into the directory (a bundle is flat: at most one folder
around it is taken off); links, devices, absolute or climbing paths, backslashes, NUL and other characters are
refused, not skipped; bytes and files are counted as they come out, never taken from what a header says.
"""

from __future__ import annotations

import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final

from noria_serving.artifact import CHUNK, MAX_DOCUMENT, MAX_FILES, MAX_MODEL, NAME
from noria_serving.errors import NoriaError, Reason
from noria_serving.scratch import write_new
from noria_serving.zips import check_method

MAX_BYTES: Final = MAX_MODEL + MAX_DOCUMENT
MAX_RATIO: Final = 200
"""How much larger than the archive its content may be, once it is over MAX_DOCUMENT."""
MAX_ENTRIES: Final = 4096
"""Of an archive in which a bundle is only a part (an image)."""
_FOLDER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
INFLATED: Final = 64 * 1024
"""Bytes decompressed at a time."""
_ZIP_END: Final = 22


class Files:
    """The directory being filled."""

    def __init__(self, target: Path, *, only: str = "") -> None:
        """`only`: take the files of this folder and leave others alone (an image's)."""
        self._target, self.only = target, only
        self._folder: str | None = None
        self._names: set[str] = set()
        self._bytes = 0

    def name(self, path: str) -> str | None:
        """The name that a path in the archive gets; None for one that is not of the bundle."""
        plain = path.removeprefix("./")
        if self.only:
            if not plain.startswith(self.only + "/"):
                return None
            plain = plain.removeprefix(self.only + "/")
        folder, _, name = plain.rpartition("/")
        if not NAME.fullmatch(name) or (folder and not _FOLDER.fullmatch(folder)):
            raise NoriaError(
                Reason.PATH_UNSAFE,
                f"{path!r:.200} in the archive is not a plain name; pack the bundle's files flat",
            )
        if self._folder is None:
            self._folder = folder
        if folder != self._folder:
            raise NoriaError(Reason.PATH_UNSAFE, f"{path!r:.200}: the archive has files in several folders")
        return name

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """A new file; its bytes are counted."""
        if name in self._names:
            raise NoriaError(Reason.PATH_UNSAFE, f"{name!r} is in the archive twice")
        self._names.add(name)
        if len(self._names) > MAX_FILES + 2:
            raise NoriaError(Reason.TOO_LARGE, f"the archive has more than {MAX_FILES} files")
        write_new(self._target / name, self._counted(pieces))

    def _counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._bytes += len(piece)
            if self._bytes > MAX_BYTES:
                raise NoriaError(Reason.TOO_LARGE, f"the archive holds more than {MAX_BYTES} bytes")
            yield piece


def capped(pieces: Iterable[bytes], limit: int, what: str) -> Iterator[bytes]:
    """The pieces, up to so many bytes of them all; NoriaError where more come."""
    left = limit
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise NoriaError(Reason.TOO_LARGE, f"{what} has more than {limit} bytes")
        yield piece


def tar(pieces: Iterable[bytes], target: Path, *, compressed: bool, only: str = "") -> None:
    """Unpack a tar archive that comes in pieces."""
    files = Files(target, only=only)
    sent = capped(pieces, MAX_BYTES, "the archive")  # also of what unpacks to nothing
    plain = _Forward(_gunzip(sent) if compressed else sent)
    try:
        with tarfile.TarFile(fileobj=plain, mode="r") as archive:  # type: ignore[arg-type]
            for _ in range(MAX_ENTRIES):
                member = archive.next()
                if member is None:
                    return
                _member(archive, member, files)
            raise NoriaError(Reason.TOO_LARGE, f"the archive has more than {MAX_ENTRIES} entries")
    except (tarfile.TarError, zlib.error, EOFError, ValueError, OverflowError, RecursionError) as error:
        raise NoriaError(Reason.FORMAT_REFUSED, f"not a whole tar archive: {error!s:.200}") from error


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo, files: Files) -> None:
    if member.isdir() and not files.only:
        if member.name not in (".", "") and not _FOLDER.fullmatch(member.name.removeprefix("./")):
            raise NoriaError(Reason.PATH_UNSAFE, f"{member.name!r:.200} in the archive is not a plain folder")
        return
    if files.only and (member.isdir() or not member.name.removeprefix("./").startswith(files.only + "/")):
        return
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
        raise NoriaError(
            Reason.PATH_UNSAFE, f"{member.name!r:.200} in the archive is a link or device, not a plain file"
        )
    name = files.name(member.name)
    content = archive.extractfile(member)
    if name is not None and content is not None:
        files.write(name, _pieces(content))


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: stream.read(CHUNK), b"")


class _Forward:
    """A stream that only goes forward, refuses large single reads (a header that claims to be huge would be
    read into memory) and ends at the limit.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest, self._place = b"", 0

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= CHUNK:
            raise tarfile.ReadError("a header is too large")
        parts, missing = [], size
        while missing:
            if not self._rest:
                self._rest = next((piece for piece in self._pieces if piece), b"")
                if not self._rest:
                    break
            part, self._rest = self._rest[:missing], self._rest[missing:]
            parts.append(part)
            missing -= len(part)
        self._place += size - missing
        if self._place > MAX_BYTES:
            raise NoriaError(Reason.TOO_LARGE, f"the archive unpacks to more than {MAX_BYTES} bytes")
        return b"".join(parts)

    def tell(self) -> int:
        return self._place

    def seek(self, place: int, whence: int = 0) -> int:
        if whence or place < self._place:
            raise tarfile.ReadError("the archive leads backwards")
        while self._place < place:
            if not self.read(min(CHUNK, place - self._place)):
                raise tarfile.ReadError("unexpected end of data")
        return self._place


def _gunzip(pieces: Iterable[bytes]) -> Iterator[bytes]:
    inflate, taken, given = zlib.decompressobj(wbits=31), 0, 0
    for piece in pieces:
        taken, rest = taken + len(piece), piece
        while rest:
            plain = inflate.decompress(rest, INFLATED)
            given += len(plain)
            if given > max(MAX_DOCUMENT, MAX_RATIO * taken):
                raise NoriaError(
                    Reason.TOO_LARGE, f"the archive unpacks to {MAX_RATIO} times its size and more"
                )
            yield plain
            rest = inflate.unconsumed_tail
            if inflate.eof:
                rest, inflate = inflate.unused_data, zlib.decompressobj(wbits=31)
    yield inflate.flush()


def unzip(path: Path, target: Path) -> None:
    """Unpack a .zip that lies on disk."""
    _check_directory(path)
    files, packed = Files(target), path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                mode = entry.external_attr >> 16
                name = entry.orig_filename
                if name.endswith("/") and _FOLDER.fullmatch(name[:-1]):
                    continue
                if stat.S_IFMT(mode) not in (0, stat.S_IFREG) or entry.flag_bits & 1:
                    raise NoriaError(
                        Reason.PATH_UNSAFE, f"{name!r:.200} in the archive is a link or encrypted, not plain"
                    )
                check_method(entry)
                plain = files.name(name)
                with archive.open(entry) as content:
                    if plain is not None:
                        limit = max(MAX_DOCUMENT, MAX_RATIO * packed)
                        files.write(plain, capped(_pieces(content), limit, "an unpacked file"))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise NoriaError(Reason.FORMAT_REFUSED, f"not a whole zip archive: {error!s:.200}") from error


def _check_directory(path: Path) -> None:
    """The table of contents is read into memory: not one of a million entries."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(0, size - _ZIP_END - 65_535 - 20))
        tail = stream.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < _ZIP_END:
        raise NoriaError(Reason.FORMAT_REFUSED, "not a zip archive: its end is missing")
    if b"PK\6\7" in tail[max(0, at - 20) : at]:
        raise NoriaError(Reason.TOO_LARGE, "zip archives over 4 GiB are not read; use .tar")
    if int.from_bytes(tail[at + 12 : at + 16], "little") > 1024 * 1024:
        raise NoriaError(Reason.TOO_LARGE, f"the archive has more than {MAX_FILES} files")
