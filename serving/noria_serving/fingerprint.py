"""`python -m noria_serving.fingerprint`: whether what is stored at a location is what was there before.

In: $NORIA_LOCATION (a directory, a file or a store's URI) and, if a .dvc file is to speak for it, its name
in $NORIA_DVC_FILE. Out at $NORIA_RESULT: `{"schema", "digest", "files", "bytes"}`. Two looks give the same
digest exactly when names, sizes and times (in a store: ETags) of all files are the same, or the .dvc file
names the same md5. Opens no file but the .dvc file. Memory does not grow with the number of files: the digest
is the sum of the files' own digests (a multiset hash), so their order does not matter.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from noria_serving import contract
from noria_serving.errors import NoriaError, Reason
from noria_serving.job import main
from noria_serving.objects import cause, is_store, open_store

File = tuple[str, int, str]
"""Name below the location, size in bytes, and what changes when the content does."""

_MD5: Final = re.compile(r"\s*-?\s*md5:\s*['\"]?([0-9a-f]{32}(?:\.dir)?)['\"]?\s*")
_DVC_LIMIT: Final = 1 << 20
"""Bytes of a .dvc file; real ones have some hundred."""


def fingerprint(env: Mapping[str, str]) -> dict[str, Any]:
    """The result document."""
    location = env.get(contract.ENV_LOCATION)
    if not location:
        raise NoriaError(Reason.CONFIGURATION, f"${contract.ENV_LOCATION} is not set")
    name = env.get(contract.ENV_DVC_FILE)
    found = _tracked(location, name) if name else summed(_files(location))
    return {"schema": contract.FINGERPRINT_SCHEMA} | found


def summed(files: Iterable[File]) -> dict[str, Any]:
    """Digest, number and bytes of these files, whatever their order."""
    total, count, size = 0, 0, 0
    for name, length, mark in files:
        own = sha256(f"{len(name)}:{name}\0{length}\0{mark}".encode("utf-8", "surrogateescape"))
        total += int.from_bytes(own.digest(), "big")
        count, size = count + 1, size + length
    digest = (total % (1 << 256)).to_bytes(32, "big").hex()
    return {"digest": f"sha256:{digest}", "files": count, "bytes": size}


def md5_of(text: str) -> str:
    """The md5 of what a .dvc file tracks: that of its first `outs`."""
    inside = False
    for line in text.splitlines():
        if line and not line[0].isspace() and not line.startswith("-"):
            inside = line.startswith("outs:")
        found = _MD5.fullmatch(line) if inside else None
        if found:
            return found[1].removesuffix(".dir")
    raise NoriaError(Reason.DATA_INVALID, "the .dvc file names no md5 in outs; is it written by dvc add?")


def _tracked(location: str, name: str) -> dict[str, Any]:
    text = _read(location, name)
    sizes = re.findall(r"^\s+size:\s*(\d+)\s*$", text, re.MULTILINE)
    counts = re.findall(r"^\s+nfiles:\s*(\d+)\s*$", text, re.MULTILINE)
    return {
        "digest": f"md5:{md5_of(text)}",
        "files": int(counts[0]) if counts else 1,
        "bytes": int(sizes[0]) if sizes else 0,
    }


def _read(location: str, name: str) -> str:
    try:
        if is_store(location):
            body = bytes(open_store(location).get_range(name, start=0, end=_DVC_LIMIT))
        else:
            with Path(location, name).open("rb") as stream:
                body = stream.read(_DVC_LIMIT)
    except FileNotFoundError as error:
        raise NoriaError(Reason.NOT_FOUND, f"there is no {name} right in {location}") from error
    except NoriaError:
        raise
    except OSError as error:
        raise NoriaError(Reason.NOT_FOUND, f"cannot read {name} in {location}: {error.strerror}") from error
    except Exception as error:
        raise NoriaError(Reason.STORAGE_UNAVAILABLE, f"cannot read {name}: {cause(error)}") from error
    return body.decode("utf-8", "replace")


def _files(location: str) -> Iterator[File]:
    if is_store(location):
        return files_in(open_store(location))
    place = Path(location)
    if place.is_file():
        return iter([_file(place.name, place.stat())])
    if not place.is_dir():
        raise NoriaError(Reason.NOT_FOUND, f"there is neither a file nor a directory {location}")
    return _below(place)


def _below(place: Path) -> Iterator[File]:
    """All files under a directory; what is a link, or goes away meanwhile, is left out."""
    for parent, _, names in os.walk(place, onerror=_unreadable):
        for name in names:
            path = Path(parent, name)
            try:
                if not path.is_symlink():
                    yield _file(str(path.relative_to(place)), path.stat())
            except FileNotFoundError:
                continue


def _file(name: str, found: os.stat_result) -> File:
    return name, found.st_size, str(found.st_mtime_ns)


def _unreadable(error: OSError) -> None:
    raise NoriaError(Reason.NOT_FOUND, f"cannot list {error.filename}: {error.strerror}") from error


def files_in(store: Any) -> Iterator[File]:
    """All objects under a store's prefix."""
    try:
        for batch in store.list():
            for item in batch:
                mark = item.get("e_tag") or item["last_modified"].isoformat()
                yield str(item["path"]), int(item["size"]), str(mark)
    except Exception as error:
        raise NoriaError(Reason.STORAGE_UNAVAILABLE, f"cannot list the store: {cause(error)}") from error


if __name__ == "__main__":
    main(contract.FINGERPRINT_SCHEMA, fingerprint)
