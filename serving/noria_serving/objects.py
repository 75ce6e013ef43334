"""Bundles and rows in an object store (`s3://bucket/prefix`), through obstore.

Credentials and endpoint come from the AWS_* variables of the pod, never from a bundle or a user object.
Content is streamed; names outside the prefix cannot be asked for, because callers only ask for names that a
listing gave.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from noria_serving.errors import NoriaError, Reason


def open_store(uri: str) -> Any:
    """An obstore store rooted at the URI's prefix."""
    try:
        from obstore.store import S3Store  # noqa: PLC0415  only where a bundle lives in a store
    except ImportError as error:
        raise NoriaError(
            Reason.MISSING_DEPENDENCY, "s3:// needs obstore: pip install 'noria-ml[server]' (or [train])"
        ) from error
    try:
        return S3Store.from_url(uri.rstrip("/"))
    except Exception as error:
        raise NoriaError(Reason.CONFIGURATION, f"cannot open {uri}: {error}") from error


class ObjectSource:
    """The objects right under a prefix, seen as the files of a bundle."""

    def __init__(self, store: Any) -> None:
        self._store = store

    @classmethod
    def from_uri(cls, uri: str) -> ObjectSource:
        return cls(open_store(uri))

    def sizes(self) -> Mapping[str, int]:
        return {item["path"]: int(item["size"]) for item in list_objects(self._store)}

    def chunks(self, name: str) -> Iterator[bytes]:
        try:
            for piece in self._store.get(name).stream():
                yield bytes(piece)
        except FileNotFoundError as error:
            raise NoriaError(Reason.NOT_FOUND, f"no object {name!r}") from error
        except Exception as error:
            raise NoriaError(Reason.STORAGE_UNAVAILABLE, f"cannot read {name!r}: {error}") from error


def list_objects(store: Any, prefix: str | None = None, *, limit: int = 100_000) -> list[Mapping[str, Any]]:
    """Every object under the prefix (`path`, `size`), sorted by path."""
    found: list[Mapping[str, Any]] = []
    try:
        for batch in store.list(prefix):
            found.extend(batch)
            if len(found) > limit:
                break
    except Exception as error:
        raise NoriaError(Reason.STORAGE_UNAVAILABLE, f"cannot list the store: {error}") from error
    if len(found) > limit:
        raise NoriaError(Reason.TOO_LARGE, f"more than {limit} objects under the prefix; select fewer")
    return sorted(found, key=lambda item: str(item["path"]))


def upload(store: Any, name: str, path: Path) -> None:
    """Put one file under its name."""
    try:
        store.put(name, path)
    except Exception as error:
        raise NoriaError(Reason.STORAGE_UNAVAILABLE, f"cannot upload {name!r}: {error}") from error


def download(store: Any, name: str, target: Path) -> None:
    """Stream one object into a new file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as stream:
        for piece in ObjectSource(store).chunks(name):
            stream.write(piece)
