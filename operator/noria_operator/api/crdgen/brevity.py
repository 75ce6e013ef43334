"""What a CRD leaves out of its descriptions, because `kubectl explain` or another kind says it.

Comes in: a CRD in whole, from which `docs/api` is written. Goes out: the CRD that is applied. Invariants:
every field keeps a description; nothing but descriptions differs; the API server checks the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

Json = dict[str, Any]

_END: Final = re.compile(r"(?<=[.]) (?=[A-Z0-9])|, for example |, like |; ")
"""What a field is comes before, examples, defaults and exceptions after it."""


def brief(crd: Json, borrowed: Iterable[str] = ()) -> Json:
    """The CRD without descriptions of list items and map values (their field has one), and with what
    a field is and no more below the paths in `borrowed`, where fields of another kind stand.
    """
    versions = [
        version
        | {"schema": {"openAPIV3Schema": _brief(version["schema"]["openAPIV3Schema"], "", set(borrowed))}}
        for version in crd["spec"]["versions"]
    ]
    return crd | {"spec": crd["spec"] | {"versions": versions}}


def _brief(schema: Json, path: str, borrowed: set[str], *, first: bool = False) -> Json:
    result = dict(schema)
    if first and "description" in schema and "enum" not in schema:  # an enum tells what each value means
        result["description"] = _END.split(schema["description"], maxsplit=1)[0].removesuffix(".") + "."
    first = first or path in borrowed
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            result[name] = _brief(schema[name], f"{path}[]", borrowed, first=first)
            result[name].pop("description", None)
    if "properties" in schema:
        result["properties"] = {
            name: _brief(inner, f"{path}.{name}".lstrip("."), borrowed, first=first)
            for name, inner in schema["properties"].items()
        }
    return result
