"""Lists that the cluster's admin writes into chart values, handed over as JSON: targets, sources, templates.

Comes in: the text of an environment variable, and how one entry is read. Goes out: what was read, by name.
Invariant: what is wrong with an entry is said behind its name, and then no entry counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final, TypeVar

Json = dict[str, Any]
Entry = TypeVar("Entry")

NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""What an admin may call an entry: a DNS label."""


class InvalidEntry(ValueError):
    """A list that cannot be used; the message names the entry and says what is wrong."""


def entries_of(
    text: str, what: str, keys: Collection[str], read: Callable[[str, Json], Entry]
) -> dict[str, Entry]:
    """Entries of a JSON list of `what`; raises `InvalidEntry`. `read` gets the name and the fields of one,
    of which there are none but `keys`, and raises what Python raises for a wrong value or type.
    """
    try:
        found = json.loads(text or "[]")
    except ValueError as error:
        raise InvalidEntry(f"it is no JSON: {error}") from error
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InvalidEntry(f"it is no list of {what}")
    entries = dict(_entry(one, keys, read) for one in found)
    if len(entries) < len(found):
        raise InvalidEntry(f"two {what} have one name; give each its own")
    return entries


def _entry(found: Json, keys: Collection[str], read: Callable[[str, Json], Entry]) -> tuple[str, Entry]:
    name = found.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InvalidEntry(f"name {name!r} is no DNS label")
    if unknown := found.keys() - keys:
        raise InvalidEntry(f"{name}: {', '.join(sorted(unknown))} is not known")
    try:
        return name, read(name, found)
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidEntry(f"{name}: {error}") from error


def file_of(found: Any) -> Path | None:
    """The file that a field names, if it names one."""
    return Path(found) if found else None
