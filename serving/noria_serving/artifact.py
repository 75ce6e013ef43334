"""Where a bundle's bytes come from, and the proof that they are the registered ones before anything parses
them.

In: a location (directory or URI), where known the digest of its manifest, and whose signatures are trusted.
Out: the manifest and verified bytes. Invariants: the manifest's sha256 is checked before its JSON is read;
a signature is checked before any other file is opened; every file's sha256 is checked before its content is
handed out, and what is handed out are the very bytes that were hashed (never a second read); a bundle holds
exactly the files that its manifest lists, and perhaps their signature; no link is followed and no name leaves
the bundle.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final, Protocol

from noria_serving import contract, scratch, signing
from noria_serving.errors import NoriaError, Reason
from noria_serving.objects import ObjectSource, is_store
from noria_serving.signing import NOBODY, Trust

MAX_FILES: Final = 64
MAX_MANIFEST: Final = 256 * 1024
MAX_DOCUMENT: Final = 64 * 1024 * 1024
MAX_MODEL: Final = 4 * 1024**3
CHUNK: Final = 1024 * 1024
IN_MEMORY: Final = 16 * 1024 * 1024
"""A model of more bytes is opened from scratch space where its runtime reads files."""
SCHEMES: Final = ("s3://", "gs://", "az://", "https://", "oci://")
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


class Source(Protocol):
    """A flat set of named files somewhere."""

    def sizes(self) -> Mapping[str, int] | None:
        """Name → bytes of every file that is there; None where a place cannot be listed."""

    def chunks(self, name: str) -> Iterator[bytes]:
        """The content of one file, in pieces."""


@dataclass(frozen=True)
class Manifest:
    """noria.json, checked."""

    digest: str
    format: str
    task: str
    model: str
    files: Mapping[str, str]
    classes: tuple[Any, ...]
    document: Mapping[str, Any]
    labels_only: bool = False
    """Whether it is a classifier that gives no probabilities."""


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def open_source(location: str) -> Source:
    """A URI of a store, `file:///path` or a directory."""
    if is_store(location):
        return ObjectSource.from_uri(location)
    if location.startswith("https://"):
        from noria_serving.remote.sources import web_source  # noqa: PLC0415  TLS is only loaded where it is used

        return web_source(location)
    if location.startswith("oci://"):
        from noria_serving.remote.registry import registry_source  # noqa: PLC0415  as above

        return registry_source(location)
    if "://" in location and not location.startswith("file://"):
        raise NoriaError(
            Reason.CONFIGURATION,
            f"{location.partition('://')[0][:40]}:// is not read; give a directory, {', '.join(SCHEMES)}",
        )
    return DirectorySource(Path(location.removeprefix("file://")))


class DirectorySource:
    """A directory; links, devices and sub-directories in it are refused, not followed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def sizes(self) -> Mapping[str, int]:
        sizes: dict[str, int] = {}
        try:
            with os.scandir(self._root) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if not stat.S_ISREG(status.st_mode):
                        raise NoriaError(
                            Reason.PATH_UNSAFE, f"{entry.name!r} in the bundle is not a plain file; remove it"
                        )
                    sizes[entry.name] = status.st_size
        except (FileNotFoundError, NotADirectoryError) as error:
            is_file = isinstance(error, NotADirectoryError)
            why = (
                "it is a file; give the directory that noria.json is in"
                if is_file
                else "there is no such directory"
            )
            raise NoriaError(Reason.NOT_FOUND, f"no bundle at {self._root}: {why}") from error
        except OSError as error:
            raise NoriaError(
                Reason.STORAGE_UNAVAILABLE, f"cannot read {self._root}: {error.strerror}"
            ) from error
        return sizes

    def chunks(self, name: str) -> Iterator[bytes]:
        try:
            descriptor = os.open(
                self._root / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            )
            with open(descriptor, "rb") as stream:
                while piece := stream.read(CHUNK):
                    yield piece
        except OSError as error:
            raise NoriaError(Reason.STORAGE_UNAVAILABLE, f"cannot read {name!r}: {error.strerror}") from error


class Artifact:
    """A bundle whose manifest has been verified; files are verified as they are read."""

    def __init__(self, source: Source, *, digest: str | None = None, trust: Trust = NOBODY) -> None:
        self._source = source
        self._sizes = source.sizes()
        if self._sizes is not None and contract.MANIFEST not in self._sizes:
            raise NoriaError(
                Reason.NOT_FOUND,
                f"no {contract.MANIFEST} there: the bundle is missing or was not written to its end",
            )
        data = b"".join(self._bounded(contract.MANIFEST, MAX_MANIFEST))
        actual, self._manifest_size = sha256(data), len(data)
        if digest is not None and actual != digest:
            raise NoriaError(
                Reason.DIGEST_MISMATCH,
                f"the manifest has {actual}, registered was {digest}: the bundle was changed",
            )
        self.manifest = parse_manifest(data, actual)
        self._check_names()
        self.signer = self._signer(trust)
        """The trusted key that signed it, as `sha256:…`; None where no signature was looked for or found."""

    def read(self, name: str) -> bytes:
        """The verified content of one file."""
        return b"".join(self._verified(name))

    def document(self, name: str) -> Any:
        """The same of a file that holds JSON; anything else in it is `ManifestInvalid`."""
        try:
            return json.loads(self.read(name))
        except (ValueError, RecursionError) as error:
            raise NoriaError(Reason.MANIFEST_INVALID, f"{name} is not JSON: {error}") from error

    @contextmanager
    def content(self, name: str, *, most: int = IN_MEMORY) -> Iterator[bytes | Path]:
        """The verified content of a file of up to `most` bytes; of a larger one a copy in scratch space, that
        no one else can change between the check and its use.
        """
        pieces, begin, size = self._verified(name), [], 0
        for piece in pieces:
            begin.append(piece)
            size += len(piece)
            if size > most:
                with scratch.directory() as folder:
                    scratch.write_new(Path(folder) / name, chain(begin, pieces))
                    del begin, piece
                    yield Path(folder) / name
                return
        yield b"".join(begin)

    def verify(self) -> int:
        """Hash every file without keeping it; the bundle's size in bytes."""
        pieces = (piece for name in self.manifest.files for piece in self._verified(name))
        return self._manifest_size + sum(map(len, pieces))

    def _check_names(self) -> None:
        if self._sizes is None:
            return
        expected = {*self.manifest.files, contract.MANIFEST}
        present = set(self._sizes) - {contract.MODEL_SIGNATURE}
        if expected != present:
            missing, extra = sorted(expected - present), sorted(present - expected)
            raise NoriaError(
                Reason.FILES_DIFFER, f"files missing: {missing}; not in the manifest: {extra[:5]}"
            )

    def _signer(self, trust: Trust) -> str | None:
        if not trust.keys and not trust.required:
            return None
        files = {**self.manifest.files, contract.MANIFEST: self.manifest.digest}
        return signing.signer(self._signature(), files, trust)

    def _signature(self) -> bytes | None:
        if self._sizes is not None and contract.MODEL_SIGNATURE not in self._sizes:
            return None
        try:
            return b"".join(self._bounded(contract.MODEL_SIGNATURE, MAX_MANIFEST))
        except NoriaError as error:
            if error.reason is Reason.NOT_FOUND:
                return None
            raise

    def _bounded(self, name: str, limit: int) -> Iterator[bytes]:
        total = 0
        if self._sizes is not None and self._sizes[name] > limit:
            raise NoriaError(Reason.TOO_LARGE, f"{name} has {self._sizes[name]} bytes, the limit is {limit}")
        for piece in self._source.chunks(name):
            total += len(piece)
            if total > limit:
                raise NoriaError(Reason.TOO_LARGE, f"{name} grew over {limit} bytes while it was read")
            yield piece

    def _verified(self, name: str) -> Iterator[bytes]:
        hasher = hashlib.sha256()
        limit = MAX_MODEL if name == self.manifest.model else MAX_DOCUMENT
        for piece in self._bounded(name, limit):
            hasher.update(piece)
            yield piece
        actual = "sha256:" + hasher.hexdigest()
        if actual != self.manifest.files[name]:
            raise NoriaError(
                Reason.DIGEST_MISMATCH, f"{name} has {actual}, the manifest says {self.manifest.files[name]}"
            )


def parse_manifest(data: bytes, digest: str) -> Manifest:
    """noria.json's bytes → Manifest; anything that this version does not understand is refused."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NoriaError(Reason.MANIFEST_INVALID, f"{contract.MANIFEST} is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != contract.BUNDLE_SCHEMA:
        raise NoriaError(
            Reason.MANIFEST_INVALID, f"{contract.MANIFEST}: schema must be {contract.BUNDLE_SCHEMA!r}"
        )
    files, model, classes = document.get("files"), document.get("model"), document.get("classes", [])
    if not isinstance(files, dict) or not 0 < len(files) <= MAX_FILES:
        raise NoriaError(Reason.MANIFEST_INVALID, f"`files` must be an object of 1 to {MAX_FILES} files")
    for name, value in files.items():
        if not NAME.fullmatch(name) or name in (contract.MANIFEST, contract.MODEL_SIGNATURE):
            raise NoriaError(Reason.PATH_UNSAFE, f"file name {name!r} in the manifest is not a plain name")
        if not isinstance(value, str) or not _DIGEST.fullmatch(value):
            raise NoriaError(
                Reason.MANIFEST_INVALID, f"the digest of {name!r} must be sha256:<64 hex digits>"
            )
    required = {contract.SIGNATURE, contract.REFERENCE, contract.GOLDEN, contract.METRICS}
    if not isinstance(model, str) or not {*required, model} <= set(files):
        raise NoriaError(Reason.MANIFEST_INVALID, f"`files` must list the model and {sorted(required)}")
    task = document.get("task")
    if task not in ("binary", "multiclass", "regression") or not isinstance(document.get("format"), str):
        raise NoriaError(
            Reason.MANIFEST_INVALID, "task must be binary, multiclass or regression, format a string"
        )
    if not isinstance(classes, list) or len(classes) > 65_536:
        raise NoriaError(Reason.MANIFEST_INVALID, "`classes` must be a list")
    labels_only = document.get(contract.LABELS_ONLY, False)
    fits = len(classes) == 2 if task == "binary" else bool(classes) and task == "multiclass"
    if labels_only is not False and not (labels_only is True and fits):
        raise NoriaError(
            Reason.MANIFEST_INVALID,
            f"`{contract.LABELS_ONLY}` is true or false, true of a classifier alone that lists its classes",
        )
    return Manifest(digest, document["format"], task, model, files, tuple(classes), document, labels_only)
