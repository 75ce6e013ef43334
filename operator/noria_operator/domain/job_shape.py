"""What all Jobs of Noria have in common: whose they are, where their inputs lie, when they are tried again.

Comes in: the object that a Job is for, its pod's template. Goes out: batch/v1 Jobs and their parts.
Invariant: a disruption costs no try, and an answer that would be the same again is not asked for again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from noria_operator.api import names
from noria_operator.api.trainingjob import Data, TrainingJobSpec
from noria_operator.domain.training_locations import Location
from noria_operator.domain.training_pods import Place, Program
from noria_serving import contract

Json = dict[str, Any]

_OURS: Final[Json] = {
    "requests": {"cpu": "100m", "memory": "256Mi"},
    "limits": {"cpu": "2", "memory": "4Gi"},
}
_OUR_LIMIT: Final = timedelta(hours=1)
"""For all that a program of ours does."""
_OUR_PENDING: Final = timedelta(hours=1)
"""For its pod to come to a node, where no spec says how long that may take."""
REFUSED: Final = 1
"""Exit code of our own programs that says "looked at and refused"."""
_USELESS: Final = [REFUSED, 2]
"""Those after which trying again at once gives the same answer; 2: the pod's settings cannot be used."""
_IGNORE_DISRUPTION: Final[Json] = {
    "action": "Ignore",
    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
}


@dataclass(frozen=True)
class Bundle:
    """A model as it lies somewhere; `version` is empty for the challenger, which has no name yet."""

    uri: str
    digest: str
    secret: str | None = None
    version: str = ""

    @property
    def place(self) -> Place:
        return Place(Location.parse(self.uri), self.secret)


@dataclass(frozen=True)
class Images:
    """What Jobs of ours run, from the operator's configuration."""

    server: str
    pull_policy: str | None = None
    allow_code: bool = False
    fetching: Mapping[str, str] = field(default_factory=dict)
    """Variables that say from where pods of ours may fetch models, and who must have signed them."""
    pull_secrets: tuple[str, ...] = ()

    @property
    def signed(self) -> bool:
        """Whether models must be signed."""
        return self.fetching.get(contract.ENV_REQUIRE_SIGNATURE) == "1"


def our_program(module: str, env: dict[str, str], places: tuple[Place, ...], images: Images) -> Program:
    """The container of a program of ours: a module of the server image."""
    return Program(
        name=module,
        image=images.server,
        command=["python", "-m", f"noria_serving.{module}"],
        env={**env, contract.ENV_ALLOW_CODE: "1" if images.allow_code else "0", **images.fetching},
        places=places,
        resources=_OURS,
        pull_policy=images.pull_policy,
        pull_secrets=images.pull_secrets,
    )


def own_job(obj: Json, name: str, template: Json, *, pending: timedelta = _OUR_PENDING) -> Json:
    """A Job of a program of ours: tried again where that may help, an hour long at most, beside its wait."""
    return job_of(obj, name, template, stop_on=_USELESS, retries=2, active=pending + _OUR_LIMIT)


def job_of(
    obj: Json,
    name: str,
    template: Json,
    *,
    stop_on: list[int],
    retries: int,
    active: timedelta,
    labels: Mapping[str, str] | None = None,
) -> Json:
    """One pod, `retries` times again but for the exit codes of `stop_on`, for `active` in all: Kubernetes
    counts from the Job's start, pod or no pod.
    """
    meta = obj["metadata"]
    component = template["spec"]["containers"][0]["name"]
    stop = {"containerName": component, "operator": "In", "values": stop_on}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": meta["namespace"],
            "labels": {**(labels or {}), **template["metadata"]["labels"]},
        },
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": retries,
            "activeDeadlineSeconds": max(1, int(active.total_seconds())),
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": [_IGNORE_DISRUPTION, {"action": "FailJob", "onExitCodes": stop}]},
            "suspend": False,
            "template": template,
        },
    }


def labels_of(obj: Json, kind: str, component: str) -> dict[str, str]:
    """By which pods are found: what they are part of, and whose."""
    return {
        names.APP_LABEL: f"noria-{component}",
        names.MANAGED_BY_LABEL: names.MANAGED_BY,
        names.OWNER_KIND_LABEL: kind,
        names.OWNER_NAME_LABEL: names.fit(obj["metadata"]["name"]),
        names.OWNER_UID_LABEL: obj["metadata"]["uid"],
    }


def place_of(source: Data) -> Place:
    """Where a data set lies, and the Secret that opens it."""
    return Place(Location.parse(source.uri), source.secret_name)


def partitions_of(obj: Json, name: str) -> Json:
    """The range of partitions that was chosen for a data set of this TrainingJob; empty when none was."""
    for entry in (obj.get("status", {}).get("resolved") or {}).get("data", []):
        if entry["name"] == name:
            return dict(entry.get("partitions") or {})
    return {}


def selected(obj: Json, source: Data) -> Json:
    """What is asked for and, once it is known, the range that this means for the run."""
    if source.select is None:
        raise ValueError(f"data {source.name} selects nothing")
    asked = {"by": source.select.by, "last": source.select.last, "skip": source.select.skip}
    partitions = partitions_of(obj, source.name)
    return asked | {bound: partitions[bound] for bound in ("oldest", "newest") if bound in partitions}


def as_written(spec: TrainingJobSpec) -> Json:
    """As on the wire, without what is left at its default."""
    return spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)


def fit(name: str, suffix: str) -> str:
    """The name of a child, at most as long as a label."""
    return names.fit(name, names.LABEL_LIMIT - len(suffix)) + suffix
