"""The store's indexes: which objects carry a label, a field or an owner, found without looking at each one.

In: objects as they come and go. Out: names, in order. Invariant: whatever is indexed gives exactly what a
scan over all objects would give. A namespace of a thousand objects is asked thousands of times a minute, so
what the controllers ask for often is written down here; everything else is scanned.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from noria_operator.api import names
from noria_operator.kube.kinds import (
    CONTINUOUSTRAINING,
    HTTPROUTE,
    MODELDEPLOYMENT,
    MODELVERSION,
    TRAININGJOB,
    Json,
    Key,
    Kind,
)

LABELS: Final = (names.OWNER_UID_LABEL, names.ROUTER_LABEL)
"""Labels that objects are looked for by; others only narrow down what these have found."""


def _stalled(obj: Json) -> Iterator[str]:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return (str(one["reason"]) for one in conditions if one["type"] == "Stalled" and one["status"] == "True")


def _route(obj: Json) -> Iterator[str]:
    gateway = (obj["spec"].get("router") or {}).get("gateway") or {}
    return iter([gateway["route"]] if "route" in gateway else [])


def _hostnames(obj: Json) -> Iterator[str]:
    return (host.lower() for host in obj["spec"].get("hostnames") or ("*",))


def _paths(obj: Json) -> Iterator[str]:
    matches = (one for rule in obj["spec"].get("rules") or () for one in rule.get("matches") or [{}])
    return ((one.get("path") or {}).get("value", "/") for one in matches)


FIELDS: Final[Mapping[Kind, Mapping[str, Callable[[Json], Iterable[str]]]]] = {
    TRAININGJOB: {"spec.model": lambda obj: (obj["spec"]["model"],)},
    MODELVERSION: {"spec.model": lambda obj: (obj["spec"]["model"],)},
    MODELDEPLOYMENT: {
        "spec.model": lambda obj: (obj["spec"]["model"],),
        "spec.router.gateway.route": _route,
        "spec.hosts": lambda obj: obj["spec"].get("hosts") or (),
        "Stalled": _stalled,
    },
    CONTINUOUSTRAINING: {
        "spec.deployment": lambda obj: (obj["spec"]["deployment"],),
        "spec.template.spec.model": lambda obj: (obj["spec"]["template"]["spec"]["model"],),
    },
    HTTPROUTE: {"spec.hostnames": _hostnames, "spec.rules.matches.path": _paths},
}
"""Fields that objects are looked for by, with the values of an object; `Stalled` is the reason of that
condition while it is true, a route without hosts has `*`, a match without a path `/`."""

OWNER: Final = "ownerReferences"
_Place = tuple[Kind, str, str, str]
"""Kind, namespace, what is indexed, and its value."""


class Names:
    """Names in order; adding one costs a search, not a sort."""

    def __init__(self) -> None:
        self._sorted: list[str] = []

    def add(self, name: str) -> None:
        insort(self._sorted, name)

    def discard(self, name: str) -> None:
        at = bisect_left(self._sorted, name)
        if at < len(self._sorted) and self._sorted[at] == name:
            del self._sorted[at]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sorted)

    def __len__(self) -> int:
        return len(self._sorted)


class Index:
    """Names of objects by what they carry."""

    def __init__(self) -> None:
        self._names: dict[_Place, Names] = {}

    def put(self, key: Key, old: Json | None, new: Json | None) -> None:
        """An object came (`old` is None), changed, or went (`new` is None)."""
        before = _places(key, old) if old is not None else set()
        after = _places(key, new) if new is not None else set()
        for place in before - after:
            found = self._names[place]
            found.discard(key.name)
            if not found:
                del self._names[place]
        for place in after - before:
            self._names.setdefault(place, Names()).add(key.name)

    def find(self, kind: Kind, namespace: str, what: str, value: str) -> Names:
        """Names of the objects that carry this; `what` is one of `LABELS`, a field, or `OWNER`."""
        return self._names.get((kind, namespace, what, value), _NONE)


def field_of(kind: Kind, obj: Json, name: str) -> tuple[str, ...]:
    """The values of an indexed field, none when the object lacks it. Raises KeyError for any other field."""
    read = FIELDS[kind][name]
    try:
        return tuple(map(str, read(obj)))
    except (KeyError, TypeError, AttributeError):
        return ()


def _places(key: Key, obj: Json) -> set[_Place]:
    meta = obj["metadata"]
    labels = meta.get("labels") or {}
    found = {(key.kind, key.namespace, label, labels[label]) for label in LABELS if label in labels}
    for name in FIELDS.get(key.kind, {}):
        found.update((key.kind, key.namespace, name, value) for value in field_of(key.kind, obj, name))
    for reference in meta.get("ownerReferences") or ():
        found.add((key.kind, key.namespace, OWNER, reference["uid"]))
    return found


_NONE: Final = Names()
