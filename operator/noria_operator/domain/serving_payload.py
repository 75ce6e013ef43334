"""What a payload log adds to the pods of a revision.

Comes in: `spec.server.payloadLog`, and the claim that the artifact is mounted from. Goes out: an environment
variable, a volume and its mount. Invariant: the log may write to the whole of its own claim only, at a place
of its own; the artifact stays read-only also where both lie in one claim.
"""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any, Final

from noria_operator.api.payload_log import PayloadLog
from noria_operator.domain.training_locations import Location
from noria_serving.contract import ENV_PAYLOAD_LOG

Json = dict[str, Any]
DIRECTORY: Final = "/noria/payload-log"
FLUSH_SECONDS: Final = 10
"""What the last file may take after the last answer."""


def variables(log: PayloadLog | None) -> dict[str, str]:
    """What the server is told."""
    if log is None:
        return {}
    place = Location.parse(log.uri)
    said: Json = {
        "uri": str(PurePosixPath(DIRECTORY, place.path)) if place.claim else place.uri,
        "every": log.every.total_seconds(),
    }
    if log.sample is not None:
        said["sample"] = str(log.sample)
    if log.redact:
        said["redact"] = list(log.redact)
    return {ENV_PAYLOAD_LOG: json.dumps(said, sort_keys=True)}


def claim(log: PayloadLog | None) -> str | None:
    """The claim that it is written to."""
    return Location.parse(log.uri).claim if log else None


def mounts(log: PayloadLog | None, artifact: str | None) -> list[Json]:
    """Where the container sees the claim."""
    name = claim(log)
    if name is None:
        return []
    return [{"name": "artifact" if name == artifact else "payload-log", "mountPath": DIRECTORY}]


def volumes(log: PayloadLog | None, artifact: str | None) -> list[Json]:
    """The claim, unless the artifact's volume is of the same one."""
    name = claim(log)
    if name in (None, artifact):
        return []
    return [{"name": "payload-log", "persistentVolumeClaim": {"claimName": name}}]
