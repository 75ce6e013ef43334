"""Pods of Jobs: one restricted container that ends, with claims, credentials and scratch space.

Comes in: what runs (image, command, environment), where it reads and writes, and the pod fields of the
user's spec. Goes out: a pod template. Invariants: every pod meets the Pod Security Standard "restricted",
mounts no API token, has a read-only root file system, and sees of a claim only what is named; what is
read only is mounted read-only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from noria_operator.domain import credentials
from noria_operator.domain.training_locations import VOLUMES, Location
from noria_serving.contract import ENV_RESULT

Json = dict[str, Any]

USER: Final = 65532
"""uid, gid and fsGroup of every pod of ours, so that what one writes the next can read."""
TRAIN: Final = "train"
"""Name of the container of the user's; those of Jobs of Noria's own are called as their programs are."""
TERMINATION_LOG: Final = "/dev/termination-log"
WORK: Final = "/noria/work"
RUN: Final = "/noria/run"
"""Where the downward API puts the files that say why and how this run is made."""
_PLACEMENT: Final = ("nodeSelector", "tolerations", "affinity", "priorityClassName")


@dataclass(frozen=True)
class Place:
    """A location that a pod uses; `secret` names the Secret that opens it."""

    location: Location
    secret: str | None = None
    writable: bool = False


@dataclass(frozen=True)
class Program:
    """What a pod runs. `files` maps file names below `RUN` to their contents, carried as pod annotations."""

    name: str
    image: str
    command: list[str] = field(default_factory=list)
    args: list[str] = field(default_factory=list)
    env: Mapping[str, str] = field(default_factory=dict)
    places: tuple[Place, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    resources: Json = field(default_factory=dict)
    pull_policy: str | None = None
    pull_secrets: tuple[str, ...] = ()

    @property
    def secrets(self) -> credentials.Secrets:
        """Which Secret opens which location."""
        return {place.location.uri: place.secret for place in self.places if place.secret}


def pod_template(program: Program, fields: Json, labels: Mapping[str, str]) -> Json:
    """The template; `fields` are the pod fields of the user's spec as on the wire (placement, pull secrets,
    account).
    """
    metadata: Json = {"labels": dict(labels)}
    if program.files:
        metadata["annotations"] = {_annotation(name): text for name, text in program.files.items()}
    spec: Json = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(program, fields)],
        "volumes": _volumes(program),
    }
    spec.update({name: fields[name] for name in (*_PLACEMENT, "serviceAccountName") if fields.get(name)})
    spec.update(credentials.pulling(fields.get("imagePullSecrets") or [], program.pull_secrets))
    if fields.get("topologySpreadConstraints"):
        selector = {"labelSelector": {"matchLabels": dict(labels)}}
        spec["topologySpreadConstraints"] = [rule | selector for rule in fields["topologySpreadConstraints"]]
    return {"metadata": metadata, "spec": spec}


def placement(fields: Json) -> Json:
    """The part of a spec's pod fields that Jobs of ours share with it: where pods may run, and how images
    are pulled.
    """
    return {name: fields[name] for name in (*_PLACEMENT, "imagePullSecrets") if fields.get(name)}


def _container(program: Program, fields: Json) -> Json:
    container: Json = {
        "name": program.name,
        "image": program.image,
        "env": _env(program, fields),
        "resources": program.resources or fields.get("resources") or {},
        "terminationMessagePath": TERMINATION_LOG,
        "terminationMessagePolicy": "File",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": _mounts(program),
    }
    sources = [*fields.get("envFrom", []), *credentials.sources(program.secrets)]
    optional = {
        "command": program.command,
        "args": program.args,
        "envFrom": sources,
        "imagePullPolicy": program.pull_policy,
    }
    return container | {name: value for name, value in optional.items() if value}


def _env(program: Program, fields: Json) -> list[Json]:
    """The user's variables, then ours. Home is scratch space unless the user says else: the root is read-
    only.
    """
    user = {entry["name"]: entry.get("value", "") for entry in fields.get("env", [])}
    variables = {
        "HOME": WORK,
        **user,
        **program.env,
        **credentials.variables(program.secrets),
        ENV_RESULT: TERMINATION_LOG,
    }
    # `$(NAME)` in a value would be expanded by the kubelet, and `$$` be one dollar: both stay what they are.
    return [{"name": name, "value": value.replace("$", "$$")} for name, value in variables.items()]


def _claims(places: Iterable[Place]) -> dict[str, bool]:
    """Claim → whether any of the places there is written."""
    claims: dict[str, bool] = {}
    for place in places:
        if place.location.claim:
            claims[place.location.claim] = claims.get(place.location.claim, False) or place.writable
    return claims


def _volumes(program: Program) -> list[Json]:
    volumes: list[Json] = [{"name": "tmp", "emptyDir": {}}, {"name": "work", "emptyDir": {}}]
    if program.files:
        items = [
            {"path": name, "fieldRef": {"fieldPath": f"metadata.annotations['{_annotation(name)}']"}}
            for name in program.files
        ]
        volumes.append({"name": "run", "downwardAPI": {"items": items}})
    for index, (claim, writable) in enumerate(_claims(program.places).items()):
        source: Json = {"claimName": claim} | ({} if writable else {"readOnly": True})
        volumes.append({"name": f"claim-{index}", "persistentVolumeClaim": source})
    return volumes + credentials.volumes(program.secrets)


def _mounts(program: Program) -> list[Json]:
    mounts: list[Json] = [{"name": "tmp", "mountPath": "/tmp"}, {"name": "work", "mountPath": WORK}]
    if program.files:
        mounts.append({"name": "run", "mountPath": RUN, "readOnly": True})
    for index, (claim, writable) in enumerate(_claims(program.places).items()):
        mount: Json = {"name": f"claim-{index}", "mountPath": f"{VOLUMES}/{claim}"}
        mounts.append(mount if writable else mount | {"readOnly": True})
    return mounts + credentials.mounts(program.secrets)


def _annotation(name: str) -> str:
    """`params.json` → `noria.dev/params`."""
    return f"noria.dev/{name.removesuffix('.json')}"
