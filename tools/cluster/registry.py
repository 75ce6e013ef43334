"""The files of the cluster's registry: whether an image is there whole; taking out what is damaged or old.

The registry trusts the files it has: it never looks whether a blob is what its name says, and does not store
one again whose file exists. So a truncated layer would stay for ever; here it is found and removed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Collection
from pathlib import Path

from tools.cluster.layout import cache

ALGORITHM = "sha256:"
YOUNG_SECONDS = 3600.0
_REVISIONS = "**/_manifests/revisions/sha256/*/link"


def holds(name: str, digest: str) -> bool:
    """Whether the manifest is there, linked to this name, and every part of the size that it states."""
    revision = _repository(name) / "_manifests/revisions/sha256" / digest.removeprefix(ALGORITHM) / "link"
    try:
        whole = all(_blob(part).stat().st_size == size for part, size in _parts(digest).items())
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return whole and revision.is_file()


def intact(name: str, digest: str) -> bool:
    """The same, and the content of every part is what its name says: for after a push, since it reads all.

    Sizes do not tell it then: a builder takes the size of a layer that is there already from the registry, so
    the manifest that it makes fits a truncated one.
    """
    return holds(name, digest) and all(map(_unspoiled, map(_blob, (digest, *_parts(digest)))))


def holds_tag(name: str, tag: str) -> bool:
    """The same for the image that a tag names."""
    link = _repository(name) / "_manifests/tags" / tag / "current/link"
    try:
        return holds(name, link.read_text(encoding="utf-8").strip())
    except OSError:
        return False


def drop_damaged() -> list[str]:
    """Remove every blob whose content has another digest than its name; returns the digests."""
    dropped = []
    for data in sorted(_blobs().glob("*/*/data")):
        if not _unspoiled(data):
            shutil.rmtree(data.parent)
            dropped.append(data.parent.name)
    return dropped


def keep_only(name: str, digests: Collection[str]) -> None:
    """Take out every other image of this name, and the blobs that no image of any name needs any more.

    A running cluster has pulled what its pods use. A blob without an image may belong to a push that is under
    way: those of the last hour stay.
    """
    for link in (_repository(name) / "_manifests").glob("*/**/link"):
        if link.read_text(encoding="utf-8").strip() not in digests:
            link.unlink()
    kept = {link.read_text(encoding="utf-8").strip() for link in _repository("").glob(_REVISIONS)}
    needed = kept.union(*map(_named_by, kept))
    for data in _blobs().glob("*/*/data"):
        young = time.time() - data.stat().st_mtime < YOUNG_SECONDS
        if f"{ALGORITHM}{data.parent.name}" not in needed and not young:
            shutil.rmtree(data.parent)


def _named_by(digest: str) -> Collection[str]:
    try:
        return _parts(digest)
    except (OSError, ValueError, KeyError, TypeError):
        return ()  # damaged: `holds` says so, and it is pushed again


def _parts(digest: str) -> dict[str, int]:
    """The configuration and the layers that a manifest names, with their sizes."""
    manifest = json.loads(_blob(digest).read_text(encoding="utf-8"))
    return {part["digest"]: part["size"] for part in (manifest["config"], *manifest["layers"])}


def _unspoiled(data: Path) -> bool:
    with data.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == data.parent.name


def _blob(digest: str) -> Path:
    value = digest.removeprefix(ALGORITHM)
    return _blobs() / value[:2] / value / "data"


def _blobs() -> Path:
    return cache() / "registry/docker/registry/v2/blobs/sha256"


def _repository(name: str) -> Path:
    return cache() / "registry/docker/registry/v2/repositories" / name
