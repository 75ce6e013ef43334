"""Whose an object is: the reference and the labels that children carry, and how they are told by them.

Comes in: objects as JSON. Goes out: new JSON, or the answer. Invariant: what another object controls, or what
carries no label of ours, is never taken for ours.
"""

from __future__ import annotations

from noria_operator.api import names
from noria_operator.kube.kinds import Json


def owned(desired: Json, owner: Json | None) -> Json:
    """`desired` with the managed-by label and, when there is an owner, its reference and labels."""
    meta = desired["metadata"]
    labels = {names.MANAGED_BY_LABEL: names.MANAGED_BY, **meta.get("labels", {})}
    extra: Json = {"labels": labels}
    if owner is not None:
        mine = owner["metadata"]
        extra["namespace"] = mine["namespace"]
        extra["labels"] = {
            names.OWNER_KIND_LABEL: owner["kind"],
            names.OWNER_NAME_LABEL: names.fit(mine["name"]),
            names.OWNER_UID_LABEL: mine["uid"],
            **labels,
        }
        extra["ownerReferences"] = meta.get("ownerReferences") or [controller_reference(owner)]
    return {**desired, "metadata": {**meta, **extra}}


def controller_reference(owner: Json) -> Json:
    """The ownerReference that makes the garbage collector remove a child with its owner.

    It blocks no deletion in the foreground: where OwnerReferencesPermissionEnforcement is on, as on
    OpenShift, that takes the right to set finalizers on the owner.
    """
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }


def controller_uid(obj: Json) -> str | None:
    """The uid of the one owner that controls the object, or None."""
    references = obj["metadata"].get("ownerReferences", ())
    return next((reference["uid"] for reference in references if reference.get("controller")), None)


def is_ours(observed: Json, owner: Json | None, desired: Json | None) -> bool:
    """Whether `owner` controls the object; or, without one, whether it carries our label, and that of the
    owner whom `desired` names.
    """
    if owner is not None:
        return controller_uid(observed) == str(owner["metadata"]["uid"])
    labels = observed["metadata"].get("labels", {})
    wanted = (desired or {}).get("metadata", {}).get("labels", {}).get(names.OWNER_UID_LABEL)
    return managed(observed) and (wanted is None or labels.get(names.OWNER_UID_LABEL) == wanted)


def managed(obj: Json) -> bool:
    """Whether the object carries the label by which our watches find it."""
    return bool(obj["metadata"].get("labels", {}).get(names.MANAGED_BY_LABEL) == names.MANAGED_BY)
