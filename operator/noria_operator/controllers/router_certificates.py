"""Secrets with certificates that routers cannot mount, as their pods show, and do without meanwhile.

Comes in: the router's Deployment and pods. Goes out: which Secrets are left out of new pods, when to look
again, and what those who named them are told. Invariants: no Secret is read; what a running router mounts is
never left out; what is left out is tried again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from noria_operator.api import names
from noria_operator.domain.conditions import since
from noria_operator.domain.pod_status import waits_for_volumes
from noria_operator.domain.rollout_conditions import Trouble
from noria_operator.domain.training_times import moment
from noria_operator.kube.kinds import DEPLOYMENT, POD, Key
from noria_operator.kube.store import Store
from noria_operator.routers import children

Json = dict[str, Any]

PATIENCE: Final = timedelta(minutes=1)
"""Far longer than a kubelet takes for a Secret that is there."""
SOON: Final = timedelta(seconds=5)
"""At the earliest: a pod that waited for too much is on its way out meanwhile."""
RETRY: Final = timedelta(minutes=10)
"""After which a Secret that was left out is tried again, by one pod beside those that run."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """Secrets that new pods `mount`; those that are `missing`, and since when; when to look again."""

    mount: tuple[str, ...]
    missing: Mapping[str, datetime]
    due: timedelta | None


def certificates(store: Store, namespace: str, wanted: Sequence[str], now: datetime) -> Certificates:
    """What the router's pods are to mount of the Secrets that ModelDeployments name.

    Of several that a pod waits for not all have to be missing: they are tried one by one, as soon as a router
    runs. Until none is missing, routers keep what they have, also where nobody names it any more.
    """
    pods = [
        pod
        for pod in store.list(POD, namespace, {names.ROUTER_LABEL: "true"})
        if not pod["metadata"].get("deletionTimestamp")
    ]
    running = [pod for pod in pods if pod.get("status", {}).get("phase") == "Running"]
    there = frozenset[str]().union(*map(_mounted, running))
    new = [name for name in wanted if name not in there]
    missing = {name: at for name, at in _missing(store, namespace).items() if name in new}
    waits = {name: begun for pod in pods for name, begun in _waits(pod).items() if name in new}
    out = {name for name, at in missing.items() if at + RETRY > now}
    late = [name for name, begun in waits.items() if now - begun >= PATIENCE and name not in out]
    missing |= dict.fromkeys(late, now if len(late) == 1 else now - RETRY)
    free = [name for name, at in missing.items() if at + RETRY <= now] if running else []
    tried = min(free, key=lambda name: (missing[name], name), default="")
    kept = there if missing else frozenset[str]()
    mount = tuple(sorted({name for name in wanted if name not in missing or name == tried} | kept))
    rests = {name: at + RETRY for name, at in missing.items() if at + RETRY > now}
    looks = [rests.get(name, waits.get(name, now) + PATIENCE) for name in new]
    due = max(min(looks) - now, SOON) if looks else None
    return Certificates(mount, missing, due)


def trouble(store: Store, owner: Json) -> Trouble | None:
    """What a person has to change where `owner` names a Secret that is missing: pods do not say whether they
    wait for it or for their node's network.
    """
    name = children.certificate(owner)
    if name not in _missing(store, owner["metadata"]["namespace"]):
        return None
    text = (
        f"routers do without Secret {name} of spec.router.tls, since new ones waited with it for a minute: "
        "create it, with tls.crt and tls.key, or name another; where it is there, their Events say what they "
        "waited for (a node's network, say); it is tried again every 10 minutes"
    )
    return Trouble("CertificateMissing", text)


def misses(router: Json, deployment: Json) -> bool:
    """Whether a router's Deployment says that the Secret of a ModelDeployment is missing."""
    return children.certificate(deployment) in _noted(router)


def _missing(store: Store, namespace: str) -> dict[str, datetime]:
    return _noted(store.get(Key(DEPLOYMENT, namespace, names.ROUTER_NAME)) or {"metadata": {}})


def _noted(live: Json) -> dict[str, datetime]:
    noted = (live["metadata"].get("annotations") or {}).get(children.MISSING_ANNOTATION, "")
    found = (one.partition("=") for one in noted.split(",") if one)
    try:
        return {name: moment(at) for name, _, at in found}
    except ValueError:
        return {}  # somebody edited it: all are tried again


def _mounted(pod: Json) -> frozenset[str]:
    noted = (pod["metadata"].get("annotations") or {}).get(children.CERTIFICATES_ANNOTATION, "")
    return frozenset(filter(None, noted.split(",")))


def _waits(pod: Json) -> dict[str, datetime]:
    """The Secrets with certificates of a pod that waits for its volumes, and since when: all else that it
    mounts is ours, or may be missing.
    """
    status = pod.get("status", {})
    waits = status.get("phase") == "Pending" and waits_for_volumes(pod)
    begun = since(status["conditions"], "PodScheduled") if waits else None
    return dict.fromkeys(_mounted(pod), begun) if begun else {}
