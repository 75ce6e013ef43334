"""Parts of objects that are equal to parts of others are held once.

In: objects as the store keeps them, which nobody changes. Out: the same, which share what they have in
common. Invariants: whatever is shared is equal in every value and its type; what is remembered to be shared
is bounded.

A pod template is two thirds of what is kept of a version, and is there twice, in its Deployment and in the
record of its revision. Those of a deployment's versions differ in a few lines, those of different deployments
in their names. Pods differ in an address and the second in which they became ready, versions in the second in
which they were checked. The status of a ModelDeployment, which changes most often, has little in common.
"""

from __future__ import annotations

import marshal
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

from noria_operator.kube.kinds import (
    CONTROLLERREVISION,
    DEPLOYMENT,
    ENDPOINTSLICE,
    MODELDEPLOYMENT,
    MODELVERSION,
    POD,
    SERVICE,
    Json,
    Kind,
)
from noria_operator.recent import Recent

_BULK: Final[Mapping[Kind, Sequence[str]]] = {
    DEPLOYMENT: ("spec",),
    CONTROLLERREVISION: ("data",),
    POD: ("spec", "status"),
    ENDPOINTSLICE: ("endpoints", "ports"),
    SERVICE: ("spec",),
    MODELDEPLOYMENT: ("spec",),
    MODELVERSION: ("status",),
}
"""Where much stands that others have, too."""
MOST: Final = 50_000
"""Parts that are remembered, 150 bytes each besides what is shared, whether an object still has them or not:
some 25 MB at most. Two dozen of a version are its own.
"""
_PLAIN: Final = 2
"""The last version of marshal's format in which equal values of equal types are equal bytes."""


class Alike:
    """Parts of the objects of one store."""

    def __init__(self, most: int = MOST) -> None:
        self._seen: Recent[bytes, Any] = Recent(most)

    def __call__(self, kind: Kind, obj: Json, before: Json | None) -> Json:
        """The object; `before` is what was kept of it until now."""
        held = {}
        for name in _BULK.get(kind, ()):
            if name in obj:
                part, known = obj[name], (before or {}).get(name)
                held[name] = known if known == part else self._shared(part)
        return {**obj, **held} if held else obj

    def _shared(self, part: Any) -> Any:
        if type(part) is dict:
            held: Any = {name: self._shared(each) for name, each in part.items()}
        elif type(part) is list:
            held = [self._shared(each) for each in part]
        else:
            return part
        key = blake2b(marshal.dumps(part, _PLAIN), digest_size=16).digest()
        found = self._seen.used(key)
        if found is None:
            found = self._seen[key] = held
        return found
