"""What makes one revision of a served version: the artifact and the user's server settings, and nothing
else.

Comes in: a ModelVersion, the server settings of a ModelDeployment. Goes out: a hash, a name, and the record
(ControllerRevision) of the pod template that was built for it. Invariant: the operator's own image or version
is not part of the hash; the template, with its image digest, is recorded once and used until somebody asks
for a restart, so that upgrading Noria restarts no serving pod.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from noria_operator.api.modelversion import ModelVersion
from noria_operator.api.names import command_annotation, revision_name
from noria_operator.api.server import Server
from noria_operator.domain.rollout_observed import Version
from noria_operator.domain.rollout_state import ANY, Revision

Json = dict[str, Any]

HASH_LENGTH = 10
_RESTART = command_annotation("restart")


def revision_of(deployment: str, version: ModelVersion, server: Server) -> Revision:
    """The revision that `version` has under these server settings.

    Fields at their defaults do not count, so that a field added by a newer Noria changes no hash.
    """
    text = json.dumps(
        {
            "artifact": version.spec.artifact.model_dump(mode="json", by_alias=True, exclude_defaults=True),
            "server": server.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        },
        sort_keys=True,
        separators=(",", ":"),
    )
    digest = hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]
    name = revision_name(deployment, version.spec.version, digest)
    return Revision(version.metadata.name, digest, name)


def version_of(deployment: str, version: ModelVersion, server: Server | None) -> Version:
    """A ModelVersion as the planner sees it; without `server`, where not all was read that its revision
    depends on.
    """
    phase, unknown = version.status.phase, Revision(version.metadata.name, ANY, "")
    return Version(
        target=revision_of(deployment, version, server) if server else unknown,
        number=version.spec.version,
        phase=phase.value if phase else "Pending",
        message=version.status.message or "",
    )


def record(name: str, number: int, template: Json, port: int) -> Json:
    """The ControllerRevision that keeps the pod template of a revision; Kubernetes keeps its data
    immutable.
    """
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {"name": name},
        "revision": number,
        "data": {"template": template, "port": port},
    }


def restarted(template: Json, restart: str) -> Json:
    """The template marked with the id of a restart, so that its pods take the place of those before."""
    if not restart:
        return template
    meta = template["metadata"]
    annotations = {**(meta.get("annotations") or {}), _RESTART: restart}
    return {**template, "metadata": {**meta, "annotations": annotations}}


def restart_of(template: Json) -> str:
    """The id of the restart that the template was made for; empty for none."""
    return str((template["metadata"].get("annotations") or {}).get(_RESTART, ""))


def recorded(controller_revision: Json) -> tuple[Json, int]:
    """The pod template and the port that were recorded."""
    data = controller_revision["data"]
    return data["template"], int(data["port"])
