"""The objects of a namespace's router, and the Service by which each ModelDeployment is reached.

Comes in: the ModelDeployments of the namespace and how this installation is set up. Goes out: bodies to
apply. Invariants: the router belongs to all ModelDeployments, by way of its anchors, and goes with the last
one; pods meet the "restricted" Pod Security Standard and mount no API token; a running router's pods are
not replaced because the operator was upgraded: their template stays as it is until somebody asks for a
restart, or until no operator answers them any more where they ask and as they ask.

The bootstrap is a Secret (it holds the router's token) named by the Deployment's uid, so the order is:
`deployment(…, live=None)` without pods, `secret(…, live)`, `deployment(…, live=live)` with them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from noria_operator.api import names
from noria_operator.domain.access import Guard, guard
from noria_operator.domain.keys import derive, router_token
from noria_operator.domain.training_times import stamp
from noria_operator.routers import tls
from noria_operator.routers.bootstrap import CONFIG_FILE, TLS_DIR, Bootstrap, bootstrap
from noria_operator.routers.router_pod import MEMORY, labels, selector, template
from noria_serving.contract import GRPC_PORT

Json = dict[str, Any]

RESTART_ANNOTATION = f"{names.GROUP}/restart"
"""On the router's Deployment; any new value brings its pods to the current image and configuration."""
RESTARTED_ANNOTATION = f"{names.GROUP}/restarted"
"""On the pod template: the value of RESTART_ANNOTATION it was made for."""
CERTIFICATES_ANNOTATION = f"{names.GROUP}/certificates"
"""On the pod template: the Secrets with certificates that it mounts."""
MISSING_ANNOTATION = f"{names.GROUP}/missing-certificates"
"""On the router's Deployment: Secrets that its pods do without, as they could not mount them, and since when.
"""
GUARDS_ANNOTATION = f"{names.GROUP}/guards"
"""On the pod template: digest of the rules by which it lets callers in."""
DISCOVERY_ANNOTATION = f"{names.GROUP}/discovery"
"""On the pod template: how its routers ask for their configuration."""
DISCOVERY = "pods"
"""By one stream, from operators alone that take endpoints from pods."""
OPERATOR_ANNOTATION = f"{names.GROUP}/operator"
"""On the pod template: digest of where its routers ask, and of the token that they show there."""
DECISIVE = (
    RESTARTED_ANNOTATION,
    DISCOVERY_ANNOTATION,
    OPERATOR_ANNOTATION,
    CERTIFICATES_ANNOTATION,
    GUARDS_ANNOTATION,
)
"""Pods are replaced where one of these has to be another."""
TEMPLATE_ANNOTATION = f"{names.GROUP}/template"
"""On the router's Deployment: the pod template as it was applied, as JSON."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What this installation says about routers; `replicas` is the largest that a ModelDeployment asks
    for, `address` where their pods listen, `certificates` the Secrets with certificates that any of them
    names but for the `missing` ones, `guards` who may call them."""

    image: str
    xds_address: str
    master_key: bytes
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    address: str = "0.0.0.0"
    replicas: int = 2
    concurrency: int = 2
    certificates: tuple[str, ...] = ()
    missing: Mapping[str, datetime] = field(default_factory=dict)
    guards: tuple[Guard, ...] = ()


def replicas_wanted(deployments: Iterable[Json]) -> int:
    """The most that any ModelDeployment of the namespace asks for; 2 where none says."""
    return max(((each["spec"].get("router") or {}).get("replicas", 2) for each in deployments), default=2)


def certificates_wanted(deployments: Iterable[Json]) -> tuple[str, ...]:
    """The Secrets with certificates that ModelDeployments of the namespace name, in order."""
    return tuple(sorted({name for each in deployments if (name := certificate(each))}))


def guards_wanted(deployments: Iterable[Json]) -> tuple[Guard, ...]:
    """Who may call ModelDeployments of the namespace that not everybody may, in order."""
    found = (guard(each) for each in deployments)
    return tuple(sorted((one for one in found if one), key=lambda one: one.deployment))


def anchors(namespace: str, owners: Iterable[Json]) -> list[Json]:
    """What ties the router to its ModelDeployments: those whose uid begins with the same digit own one.

    The router's objects belong to the anchors. So a thousand owners are sixty in each of sixteen small
    objects instead of a thousand in each large one: one that comes changes one anchor, and for one that goes
    the garbage collector, which asks for every other owner of what it owned, asks for sixty. An anchor is
    for one digit all its life, and goes with the last of its owners.
    """
    by_digit: dict[str, list[Json]] = {}
    for owner in owners:
        if not owner["metadata"].get("deletionTimestamp"):
            by_digit.setdefault(owner["metadata"]["uid"][0], []).append(owner)
    return [_anchor(namespace, digit, by_digit[digit]) for digit in sorted(by_digit)]


def deployment(namespace: str, owners: Iterable[Json], settings: Settings, *, live: Json | None) -> Json:
    """The router's Deployment. `live` is what the API server has; without it no pod is started yet.

    Its owners are the anchors, here and below.
    """
    pod = _kept_template(namespace, settings, live) or _template(namespace, settings, live)
    metadata = _metadata(namespace, owners)
    noted = ",".join(f"{name}={stamp(at)}" for name, at in sorted(settings.missing.items()))
    metadata["annotations"] = {TEMPLATE_ANNOTATION: json.dumps(pod, sort_keys=True)}
    metadata["annotations"] |= {MISSING_ANNOTATION: noted} if noted else {}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": settings.replicas if live is not None else 0,
            "revisionHistoryLimit": 2,
            "minReadySeconds": 1,
            "selector": {"matchLabels": selector()},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": pod,
        },
    }


def secret(namespace: str, settings: Settings, live: Json) -> Json:
    """The bootstrap of the pods that `deployment` describes; created once, never read back, goes with
    `live`."""
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": names.ROUTER_NAME}
    config = _config(namespace, settings)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "immutable": True,
        "metadata": {
            "name": _secret_name(config, live),
            "namespace": namespace,
            "labels": labels(),
            "ownerReferences": [{**reference, "uid": live["metadata"]["uid"]}],
        },
        "stringData": {
            CONFIG_FILE: config,
            **tls.files(settings.certificates, TLS_DIR),
        },
    }


def secret_name(namespace: str, settings: Settings, live: Json) -> str:
    """By the Deployment's uid and the content, so that changed content is another Secret."""
    return _secret_name(_config(namespace, settings), live)


def _secret_name(config: str, live: Json) -> str:
    digest = hashlib.sha256(config.encode()).hexdigest()[:6]
    return f"{names.router_secret_name(live['metadata']['uid'])}-{digest}"


def service(namespace: str, owners: Iterable[Json], settings: Settings) -> Json:
    """The router's own Service: for an Ingress or HTTPRoute in front that serves several ModelDeployments."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(namespace, owners),
        "spec": _service_spec(secured=bool(settings.certificates)),
    }


def preview_service(owner: Json) -> Json:
    """The address of the challenger: the router again, under a name of its own."""
    service = deployment_service(owner)
    return {
        **service,
        "metadata": {**service["metadata"], "name": names.preview_name(owner["metadata"]["name"])},
    }


def deployment_service(owner: Json) -> Json:
    """The Service of a ModelDeployment's own name: an address that never changes, whatever serves behind
    it."""
    meta = owner["metadata"]
    own = labels() | {names.DEPLOYMENT_LABEL: names.fit(meta["name"])}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": meta["name"], "namespace": meta["namespace"], "labels": own},
        "spec": _service_spec(secured=bool(certificate(owner))),
    }


def disruption_budget(namespace: str, owners: Iterable[Json], settings: Settings) -> Json | None:
    """One router at a time may be evicted; None for a single one, which a budget would pin to its node."""
    if settings.replicas < 2:
        return None
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(namespace, owners),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": selector()},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def drain_token(settings: Settings, namespace: str) -> str:
    """What the preStop hook shows to start the lame duck."""
    return derive(settings.master_key, "router-drain", namespace).hex()[:32]


def by_pods(made: Json) -> bool:
    """Whether a router's pod, or a template of pods, asks only operators that take endpoints from pods."""
    return bool((made["metadata"].get("annotations") or {}).get(DISCOVERY_ANNOTATION) == DISCOVERY)


def certificate(deployment: Json) -> str:
    """The Secret with its certificate that a ModelDeployment names; empty where it names none."""
    return str(((deployment["spec"].get("router") or {}).get("tls") or {}).get("secretName", ""))


def _config(namespace: str, settings: Settings) -> str:
    want = Bootstrap(
        namespace=namespace,
        token=router_token(settings.master_key, namespace),
        drain_token=drain_token(settings, namespace),
        xds_address=settings.xds_address,
        address=settings.address,
        heap_bytes=MEMORY * 4 // 5,
        tls=settings.certificates,
        guards=settings.guards,
    )
    return json.dumps(bootstrap(want), sort_keys=True)


def _kept_template(namespace: str, settings: Settings, live: Json | None) -> Json | None:
    """The template that running pods were made from, unless there are none, or others have to be made.

    It is read from our own annotation: the one in the spec has the API server's defaults added, and applying
    that would be another write.
    """
    if live is None or not live["spec"].get("replicas"):
        return None
    try:
        kept: Json = json.loads(live["metadata"].get("annotations", {}).get(TEMPLATE_ANNOTATION, ""))
        notes: Json = kept["metadata"]["annotations"]
        made_for = [notes.get(name) for name in DECISIVE]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    wanted = _notes(namespace, settings, live)
    return kept if made_for == [wanted.get(name) for name in DECISIVE] else None


def _template(namespace: str, settings: Settings, live: Json | None) -> Json:
    return template(
        image=settings.image,
        pull_policy=settings.pull_policy,
        pull_secrets=settings.pull_secrets,
        concurrency=settings.concurrency,
        config=secret_name(namespace, settings, live) if live else names.ROUTER_NAME,
        token=drain_token(settings, namespace),
        annotations=_notes(namespace, settings, live),
        certificates=settings.certificates,
        guards=settings.guards,
    )


def _notes(namespace: str, settings: Settings, live: Json | None) -> dict[str, str]:
    """Annotations that tell what pods are made for."""
    asked = (live or {}).get("metadata", {}).get("annotations", {}).get(RESTART_ANNOTATION, "")
    operator = f"{settings.xds_address} {router_token(settings.master_key, namespace)}"
    notes = {
        RESTARTED_ANNOTATION: asked,
        DISCOVERY_ANNOTATION: DISCOVERY,
        OPERATOR_ANNOTATION: _digest(operator),
    }
    if settings.certificates:
        notes[CERTIFICATES_ANNOTATION] = ",".join(settings.certificates)
    if settings.guards:
        notes[GUARDS_ANNOTATION] = _digest(" ".join(f"{it.deployment}={it.rules}" for it in settings.guards))
    return notes


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _anchor(namespace: str, digit: str, owners: list[Json]) -> Json:
    metadata = _metadata(namespace, owners) | {"name": f"{names.ROUTER_NAME}-{digit}"}
    # A kind that holds nothing and runs nothing, and that the operator reads and writes anyway.
    kind = {"apiVersion": "apps/v1", "kind": "ControllerRevision"}
    return {**kind, "metadata": metadata, "revision": 0, "data": {}}


def _metadata(namespace: str, owners: Iterable[Json]) -> Json:
    """Owned by all of `owners`, controlled by none."""
    references = [
        {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
        }
        for owner in sorted(owners, key=lambda owner: str(owner["metadata"]["uid"]))
    ]
    return {
        "name": names.ROUTER_NAME,
        "namespace": namespace,
        "labels": labels(),
        "ownerReferences": references,
    }


def _service_spec(*, secured: bool) -> Json:
    """The router's port under two numbers, so that what stands in front knows which protocol to speak; and
    the one for TLS.
    """
    to = {"targetPort": names.ROUTER_TRAFFIC_PORT, "protocol": "TCP"}
    ports = [
        {"name": "http", "port": 80, **to, "appProtocol": "http"},
        {"name": "grpc", "port": GRPC_PORT, **to, "appProtocol": "kubernetes.io/h2c"},
    ]
    if secured:
        to = {"targetPort": names.ROUTER_TLS_PORT, "protocol": "TCP"}
        ports.append({"name": "https", "port": 443, **to, "appProtocol": "https"})
    return {"type": "ClusterIP", "selector": selector(), "ports": ports}
