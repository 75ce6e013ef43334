"""What the store keeps of an object.

Comes in: an object as the API server tells it. Goes out: a copy without what nobody here reads. Invariants:
what is left stands where it stood; of the kinds that are not named here only `managedFields` goes.

Pods are the many: two of a deployment are 50 KB with all that their containers and volumes say, which the
Deployment says too, and a seventh of that with what is read of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from sys import intern
from typing import Any, Final

from noria_operator.kube.kinds import DEPLOYMENT, PDB, POD, Json, Kind

WORD: Final = 63
"""Letters of the longest text that objects are expected to share: those of a label."""


def lean(kind: Kind, obj: Json) -> Json:
    """A copy without `managedFields`, which is often half of it, and with each word held once: thousands of
    objects have their keys, labels and reasons in common (half of the rest).
    """
    meta = {name: value for name, value in obj["metadata"].items() if name != "managedFields"}
    cut = _CUT.get(kind)
    kept: Json = _shared({**obj, "metadata": meta} | (cut(obj) if cut else {}))
    return kept


def _pod(pod: Json) -> Json:
    """Where it is, which ports have names, and which claims it mounts; of its status all."""
    spec = pod.get("spec") or {}
    left: Json = {name: spec[name] for name in ("nodeName",) if name in spec}
    left["containers"] = [
        {name: one[name] for name in ("name", "ports") if name in one} for one in spec.get("containers") or ()
    ]
    claims = [one for one in spec.get("volumes") or () if "persistentVolumeClaim" in one]
    return {"spec": left | ({"volumes": claims} if claims else {})}


def _workload(workload: Json) -> Json:
    """What it says of pods that are refused; how many there are, and how they are, pods say themselves."""
    if "status" not in workload:
        return {}
    conditions = workload["status"].get("conditions") or ()
    refused = [one for one in conditions if one["type"] == "ReplicaFailure"]
    return {"status": {"conditions": refused} if refused else {}}


def _budget(_: Json) -> Json:
    """Nothing of its status, which Kubernetes writes whenever a pod of it comes or goes."""
    return {"status": {}}


_CUT: Final[Mapping[Kind, Callable[[Json], Json]]] = {POD: _pod, DEPLOYMENT: _workload, PDB: _budget}


def is_silent(kind: Kind, before: Json, after: Json) -> bool:
    """Whether nothing that is kept has changed but the resourceVersion.

    Only of Deployments and disruption budgets, whose status Kubernetes writes several times for a version:
    routers' configurations are numbered by the resourceVersions of pods and ModelDeployments, each of which
    counts.
    """
    return kind in (DEPLOYMENT, PDB) and _unnumbered(before) == _unnumbered(after)


def _unnumbered(obj: Json) -> Json:
    meta = {name: value for name, value in obj["metadata"].items() if name != "resourceVersion"}
    return {**obj, "metadata": meta}


def _shared(value: Any) -> Any:
    # Every event passes here, and most of it is text: a call for each one would take half of the time.
    if type(value) is dict:
        held = {}
        for name, item in value.items():
            kind = type(item)
            if kind is str:
                held[intern(name)] = intern(item) if len(item) <= WORD else item
            else:
                held[intern(name)] = _shared(item) if kind is dict or kind is list else item
        return held
    if type(value) is list:
        return [_shared(item) for item in value]
    return intern(value) if type(value) is str and len(value) <= WORD else value
