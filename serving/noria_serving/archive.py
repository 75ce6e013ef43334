"""skops archives with equal bytes for equal models: the digest of a bundle is its identity.

In: what skops.io.dumps gave. Out: the same model without what changes from run to run: addresses of objects
(used as ids and as file names) and the times of entries.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from typing import Any, Final

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


def normalised(data: bytes) -> bytes:
    """A skops archive without what changes from run to run: object addresses and times."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(contents.pop("schema.json"))
    numbers: dict[str, int] = {}

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: _renumber(key, item, numbers, renamed) for key, item in value.items()}
        return [renamed(item) for item in value] if isinstance(value, list) else value

    text = json.dumps(renamed(schema), indent=2)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        files = {_file(name, numbers): content for name, content in contents.items()}
        for name, content in [("schema.json", text.encode()), *sorted(files.items())]:
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
    return target.getvalue()


def _renumber(key: str, value: Any, numbers: dict[str, int], descend: Any) -> Any:
    if key == "__id__" and isinstance(value, int):
        return numbers.setdefault(str(value), len(numbers) + 1)
    if key == "file" and isinstance(value, str):
        return _file(value, numbers)
    return descend(value)


def _file(name: str, numbers: dict[str, int]) -> str:
    stem, dot, suffix = name.partition(".")
    if not re.fullmatch(r"\d+", stem):
        return name
    return f"{numbers.setdefault(stem, len(numbers) + 1)}{dot}{suffix}"
