"""Which credentials open which location, for a pod whose locations have Secrets of their own.

In: a location and $NORIA_CREDENTIALS, a JSON object `{location: directory}`; each file of a directory is a
variable, named like the file (a Secret, mounted). Out: the directory or the variables of the longest location
that holds the one asked for. Invariant: a location that is named is opened with its own credentials and
nobody else's; for any other one nothing is said here, and the process's own environment (or its service
account) counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from noria_serving import contract
from noria_serving.errors import NoriaError, Reason


def directory(uri: str, *, env: Mapping[str, str] = os.environ) -> Path | None:
    """Where the files with the credentials of this location lie; None when it has none of its own."""
    named = {location.rstrip("/"): folder for location, folder in _map(env).items()}
    place = uri.rstrip("/")
    holding = [name for name in named if place == name or place.startswith(name + "/")]
    return Path(named[max(holding, key=len)]) if holding else None


def variables(uri: str, *, env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables for this location, without the line break that an editor leaves at a value's end; empty
    when it has none of its own. What is no text (a key store) is left out: see `directory`.
    """
    folder = directory(uri, env=env)
    if folder is None:
        return {}
    try:
        files = [file for file in folder.iterdir() if not file.name.startswith("..") and file.is_file()]
        contents = {file.name: file.read_bytes() for file in files}
    except OSError as error:
        raise NoriaError(
            Reason.CONFIGURATION, f"the credentials of {uri} in {folder} cannot be read: {error.strerror}"
        ) from error
    if not contents:
        raise NoriaError(
            Reason.STORAGE_UNAVAILABLE,
            f"there are no credentials of {uri} in {folder}; check that Secret {folder.name} exists and has "
            "keys",
        )
    return {name: text for name, data in contents.items() if (text := _text(data)) is not None}


def _text(data: bytes) -> str | None:
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        return None


def _map(env: Mapping[str, str]) -> dict[str, str]:
    text = env.get(contract.ENV_CREDENTIALS)
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(folder, str) for folder in found.values()):
        raise NoriaError(
            Reason.CONFIGURATION,
            f"${contract.ENV_CREDENTIALS} must be a JSON object of locations and directories, "
            f"not {text!r:.100}",
        )
    return found
