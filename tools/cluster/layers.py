"""Whether the image builder's storage still holds what was put into it.

containers/storage keeps, beside each layer, the list of the entries that the layer was made of (tar-split:
gzip, one JSON object a line, with the size of each file) and, for each image, the sizes of its manifest and
configuration. A process that is killed leaves nothing that its next run does not clean up; a full disk, a
lost page cache or a hand can. buildah itself looks at none of these lists: it goes on with what is there.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = 1  # type of a tar-split entry; 2 is padding and headers


def damage(root: Path) -> str:
    """What is wrong first, in words; empty when every file has the size that it was stored with."""
    if not root.is_dir():
        return ""
    try:
        for layer in _records(root / "overlay-layers" / "layers.json"):
            if not layer.get("flags", {}).get("incomplete"):  # buildah removes these itself
                _check_layer(root, layer["id"])
        for image in _records(root / "overlay-images" / "images.json"):
            for key, size in image.get("big-data-sizes", {}).items():
                _check(root / "overlay-images" / image["id"] / _file_name(key), size)
        list(_records(root / "overlay-containers" / "containers.json"))
    except _DamagedError as found:
        return str(found)
    return ""


class _DamagedError(Exception):
    """The first thing that is not as it was stored."""


def _check_layer(root: Path, layer: str) -> None:
    content = root / "overlay" / layer / "diff"
    try:
        with gzip.open(root / "overlay-layers" / f"{layer}.tar-split.gz") as entries:
            for line in entries.readlines() or [b"nothing"]:  # which is no JSON
                entry = json.loads(line)
                if entry["type"] == FILE and entry.get("size"):
                    _check(content / _entry_name(entry), entry["size"])
    except FileNotFoundError:
        return  # the layer of a working container has no list
    except (OSError, EOFError, ValueError, KeyError, zlib.error) as unreadable:
        raise _DamagedError(f"the list of layer {layer[:12]} cannot be read: {unreadable}") from unreadable


def _check(path: Path, size: int) -> None:
    try:
        found = path.lstat().st_size
    except OSError as missing:
        raise _DamagedError(f"{path} is missing") from missing
    if found != size:
        raise _DamagedError(f"{path} has {found} bytes instead of {size}")


def _records(path: Path) -> Iterator[dict[str, Any]]:
    try:
        yield from json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError) as unreadable:
        raise _DamagedError(f"{path} cannot be read: {unreadable}") from unreadable


def _entry_name(entry: dict[str, Any]) -> str:
    """Name of a file in a layer; names that are not UTF-8 are written in base64."""
    raw = entry.get("name_raw")
    return base64.b64decode(raw).decode("utf-8", "surrogateescape") if raw else str(entry["name"])


def _file_name(key: str) -> str:
    """Name of the file that holds a part of an image (storage: makeBigDataBaseName)."""
    return key if re.fullmatch(r"[A-Za-z0-9.]+", key) else "=" + base64.b64encode(key.encode()).decode()
