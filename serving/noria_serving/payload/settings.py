"""What the payload log is told.

In: the text of $NORIA_PAYLOAD_LOG, `{"uri", "sample", "redact", "every"}`, or arguments. Out: LogSettings, or
`ConfigurationInvalid` that says what to correct.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from noria_serving import contract
from noria_serving.errors import NoriaError, Reason
from noria_serving.objects import is_store

FILE_BYTES: Final = 8 * 1024 * 1024
MEMORY_BYTES: Final = 4 * FILE_BYTES
EVERY_SECONDS: Final = 60.0


@dataclass(frozen=True)
class LogSettings:
    """Where rows go, and which."""

    uri: str
    """A directory, or a location in an object store."""
    sample: float = 1.0
    """Share of predictions that are written."""
    redact: tuple[str, ...] = ()
    """Names of features, embeddings and outputs that are left out; `id`: what a client calls its request."""
    every: float = EVERY_SECONDS
    """Seconds after which rows that wait are written, however few."""
    file_bytes: int = FILE_BYTES
    """In memory; a file is a fraction of it."""
    memory_bytes: int = MEMORY_BYTES
    """What may wait; rows beyond it are dropped, and counted."""


def parse(text: str) -> LogSettings:
    """The variable's text."""
    try:
        said = json.loads(text)
        settings = LogSettings(
            uri=str(said["uri"]),
            sample=float(said.get("sample", 1)),
            redact=tuple(map(str, said.get("redact", ()))),
            every=float(said.get("every", EVERY_SECONDS)),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoriaError(
            Reason.CONFIGURATION,
            f"{contract.ENV_PAYLOAD_LOG} must be a JSON object with uri and perhaps sample, redact and "
            f"every, not {text!r:.100}",
        ) from error
    return checked(settings)


def checked(settings: LogSettings) -> LogSettings:
    """The same, if it makes sense."""
    if not settings.uri or not 0 < settings.sample <= 1 or not 1 <= settings.every <= 86_400:
        raise NoriaError(
            Reason.CONFIGURATION,
            "the payload log needs a uri, a sample above 0 and up to 1, and from 1 to 86400 seconds between "
            "files",
        )
    if "://" in settings.uri and not settings.uri.startswith("file://") and not is_store(settings.uri):
        raise NoriaError(
            Reason.CONFIGURATION,
            f"the payload log cannot be written to {settings.uri[:100]!r}: give a directory, s3://, gs:// or az://",
        )
    return settings
