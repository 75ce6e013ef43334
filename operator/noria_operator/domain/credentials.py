"""How a pod gets the credentials of the locations that it opens: every Secret as files, each location
pointing to its own.

Comes in: location → Secret. Goes out: volumes, mounts, the map in $NORIA_CREDENTIALS, and the keys as
environment variables for tools that know nothing of Noria. Invariants: no location is opened with another
one's credentials; a Secret that is not there keeps the container waiting, with a reason in the pod's status;
the operator never reads a Secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from noria_serving.contract import ENV_CREDENTIALS

Json = dict[str, Any]
Secrets = Mapping[str, str]
"""URI of a location → name of its Secret."""

DIRECTORY: Final = "/noria/credentials"
"""A Secret is mounted at `/noria/credentials/<its name>`."""
_READABLE: Final = 0o440


def variables(secrets: Secrets) -> dict[str, str]:
    """Our own variable: where the credentials of each location lie."""
    if not secrets:
        return {}
    return {
        ENV_CREDENTIALS: json.dumps({uri: _folder(name) for uri, name in secrets.items()}, sort_keys=True)
    }


def pulling(asked: Sequence[Json], installed: Sequence[str]) -> Json:
    """The field of a pod that runs an image of this installation's: the Secrets that its spec asks for, and
    those by which the installation pulls. The kubelet passes over names that are not there."""
    names = dict.fromkeys([*(one["name"] for one in asked), *installed])
    return {"imagePullSecrets": [{"name": name} for name in names]} if names else {}


def sources(secrets: Secrets) -> list[Json]:
    """`envFrom`: the keys of the only Secret by their own names. Of several, one would win and the others be
    lost in silence, so their keys get `SECRET_<NAME>_` in front.
    """
    names = _names(secrets)
    if len(names) == 1:
        return [{"secretRef": {"name": names[0]}}]
    return [{"prefix": f"SECRET_{_variable(name)}_", "secretRef": {"name": name}} for name in names]


def volumes(secrets: Secrets) -> list[Json]:
    """A volume a Secret, readable for the pod's group.

    Optional, because of a missing one the pod's status would say nothing: `envFrom` is what waits for it.
    """
    return [
        {
            "name": f"credentials-{index}",
            "secret": {"secretName": name, "defaultMode": _READABLE, "optional": True},
        }
        for index, name in enumerate(_names(secrets))
    ]


def mounts(secrets: Secrets) -> list[Json]:
    """Where the container sees them."""
    return [
        {"name": f"credentials-{index}", "mountPath": _folder(name), "readOnly": True}
        for index, name in enumerate(_names(secrets))
    ]


def _names(secrets: Secrets) -> list[str]:
    return list(dict.fromkeys(secrets.values()))


def _variable(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def _folder(name: str) -> str:
    return f"{DIRECTORY}/{name}"
