"""Which objects of ours must be looked at again when something in the cluster changed.

In: one changed object, of any kind. Out: keys for the work queue. Three ways lead from one to the other: it
is ours itself, it names its owner (label or controller reference), or a controller says that it is related.
Owners that do not control an object (a router has a thousand) are not woken by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from noria_operator.api import names
from noria_operator.controllers.context import Controller
from noria_operator.kube.kinds import (
    CONTROLLERREVISION,
    DEPLOYMENT,
    MODELDEPLOYMENT,
    MODELVERSION,
    NAMESPACE,
    OWN_KINDS,
    PDB,
    SERVICE,
    Json,
    Key,
    Kind,
    key_of,
    kind_named,
    kind_of,
)
from noria_operator.kube.store import EventType, Store

_OWN = {kind.kind for kind in OWN_KINDS}
_CHILDREN = frozenset({CONTROLLERREVISION, DEPLOYMENT, PDB, SERVICE})
_ACCOUNTS: Mapping[tuple[Kind, Kind], float] = {
    (MODELDEPLOYMENT, MODELVERSION): 1.0,
    (MODELDEPLOYMENT, NAMESPACE): 0.5,
}
"""Seconds that news of the first kind may wait to be accounted for by the second: who serves a version, whom
a router belongs to. Nothing depends on it, one pass then accounts for much news, and it comes after what
others wait for.
"""


def keys(store: Store, obj: Json, controllers: Iterable[Controller]) -> list[Key]:
    """The keys that a change of `obj` wakes, each once."""
    known = {controller.KIND for controller in controllers}
    kind = kind_of(obj)
    found: dict[Key, None] = {}
    if kind in known:
        found[key_of(obj)] = None
    for owner in _owners(store, obj):
        if owner.kind in known:
            found[owner] = None
    for controller in controllers:
        found.update(dict.fromkeys(controller.related(store, obj)))
    return list(found)


def foreseen(type: EventType, obj: Json) -> bool:
    """Whether the pass that wrote `obj` knew what it would find, so that its key need not come again for it.

    What Kubernetes does about a child is news of its own, and a ModelDeployment with nothing under way is
    only found as it was left. All else comes again: a weight has to be read back, a Job's first status to be
    written.
    """
    kind = kind_of(obj)
    if kind == MODELDEPLOYMENT:
        conditions = obj.get("status", {}).get("conditions") or ()
        return any(one["type"] == "Reconciling" and one["status"] == "False" for one in conditions)
    return kind in _CHILDREN and type != "DELETED"


def delay(key: Key, obj: Json) -> float:
    """Seconds that `key` may wait after a change of `obj`."""
    return _ACCOUNTS.get((kind_of(obj), key.kind), 0.0)


def everything(store: Store, controllers: Iterable[Controller]) -> Iterator[Key]:
    """Every key there is: our objects, and the namespaces that they are in where a controller has those."""
    known = {controller.KIND for controller in controllers}
    spaces: dict[str, None] = {}
    for kind in OWN_KINDS:
        for obj in store.list(kind):
            spaces[obj["metadata"]["namespace"]] = None
            if kind in known:
                yield key_of(obj)
    if NAMESPACE in known:
        yield from (Key(NAMESPACE, "", space) for space in spaces)


def edited(type: EventType, obj: Json) -> bool:
    """Whether a person (or a program other than us) just did something to one of our objects.

    True for a new or deleted object, a spec that status does not know yet, and a command not yet
    acknowledged.
    """
    if kind_of(obj) not in OWN_KINDS:
        return False
    meta, status = obj["metadata"], obj.get("status", {})
    if type in {"ADDED", "DELETED"} or meta.get("deletionTimestamp"):
        return True
    if status.get("observedGeneration") != meta.get("generation"):
        return type is not None  # what a list brings at the start is no news
    acknowledged = status.get("commands") or {}
    commands = (*names.DEPLOYMENT_COMMANDS, *names.TRAINING_COMMANDS)
    return any(
        names.command_id(meta.get("annotations"), command) not in ("", acknowledged.get(command))
        for command in commands
    )


def _owners(store: Store, obj: Json) -> Iterator[Key]:
    meta = obj["metadata"]
    namespace, labels = meta.get("namespace", ""), meta.get("labels") or {}
    owner = store.with_uid(labels.get(names.OWNER_UID_LABEL, ""))
    if owner is not None and owner["metadata"].get("namespace", "") == namespace and _is_own(owner):
        yield key_of(owner)
    for reference in meta.get("ownerReferences", ()):
        if reference.get("controller") and _is_own(reference):
            yield Key(kind_named(reference["kind"]), namespace, reference["name"])


def _is_own(obj: Json) -> bool:
    """Whether an object, or what a reference names, is of a kind of ours."""
    return obj["apiVersion"] == names.API_VERSION and obj["kind"] in _OWN
