"""The Jobs that Noria runs around a model: select, train, evaluate, verify.

Comes in: a TrainingJob or ModelVersion and where its inputs lie. Goes out: complete batch/v1 Jobs, ready
to be created once and never written again (a queueing controller may rewrite them). Invariants: same
owner, same name; every output of a TrainingJob lies in a directory of its own; the evaluation sees both
bundles and the held-out rows read-only.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from noria_operator.api import names
from noria_operator.api.trainingjob import Data, TrainingJobSpec
from noria_operator.domain.training_locations import Location
from noria_operator.domain.training_pods import RUN, WORK, Place, Program, placement, pod_template
from noria_serving import contract

Json = dict[str, Any]

CHAMPION_ANNOTATION: Final = "noria.dev/champion"
"""On the evaluation Job: the ModelVersion it compares with, so that a restart judges by the same champion."""
RESULT_ANNOTATION: Final = "noria.dev/result"
"""On the evaluation Job: what the trainer said, should its pod be gone when the version is made."""
QUEUE_PREFIX: Final = "kueue.x-k8s.io/"
"""Labels that a queueing controller reads on the Job; copied from the TrainingJob."""
_USUAL: Final = frozenset({"auc", "logloss", "accuracy", "rmse", "mae"})
"""What the evaluation computes unasked, by task; a list is passed only when something else is named."""
_OURS: Final[Json] = {
    "requests": {"cpu": "100m", "memory": "256Mi"},
    "limits": {"cpu": "2", "memory": "4Gi"},
}
_OUR_LIMIT: Final = timedelta(hours=1)
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

    @property
    def signed(self) -> bool:
        """Whether models must be signed."""
        return self.fetching.get(contract.ENV_REQUIRE_SIGNATURE) == "1"


def train_name(job: str) -> str:
    """Name of the training Job."""
    return _fit(job, "-train")


def evaluate_name(job: str) -> str:
    """Name of the evaluation Job."""
    return _fit(job, "-evaluate")


def select_name(job: str) -> str:
    """Name of the selection Job."""
    return _fit(job, "-select")


def check_name(job: str) -> str:
    """Name of the Job that checks rows for training."""
    return _fit(job, "-check")


def verify_name(version: str, attempt: int = 1) -> str:
    """Name of the verification Job."""
    return _fit(version, "-verify" if attempt == 1 else f"-verify-{attempt}")


def output_of(obj: Json, spec: TrainingJobSpec) -> Location:
    """The directory of this run inside spec.output: the same for every attempt, another for every
    TrainingJob.
    """
    meta = obj["metadata"]
    return Location.parse(spec.output.uri).below(names.fit(f"{names.short_uid(meta['uid'])}-{meta['name']}"))


def partitions_of(obj: Json, name: str) -> Json:
    """The range of partitions that was chosen for a data set of this TrainingJob; empty when none was."""
    for entry in (obj.get("status", {}).get("resolved") or {}).get("data", []):
        if entry["name"] == name:
            return dict(entry.get("partitions") or {})
    return {}


def selection_job(obj: Json, spec: TrainingJobSpec, images: Images) -> Json:
    """The Job that chooses the partitions of every data set that selects some."""
    sources = [source for source in spec.data if source.select is not None]
    asked = [
        {"name": source.name, "location": Location.parse(source.uri).as_seen, "select": _select(obj, source)}
        for source in sources
    ]
    env = {contract.ENV_SELECTIONS: json.dumps(asked)}
    program = _ours("selection", env, tuple(_place(source) for source in sources), images)
    return _own_job(
        obj,
        select_name(obj["metadata"]["name"]),
        pod_template(program, placement(_wire(spec)), _labels(obj, names.TRAINING_JOB, "select")),
    )


def check_job(obj: Json, spec: TrainingJobSpec, champion: Bundle | None, images: Images) -> Json:
    """The Job that looks at rows before they are trained on, beside what the champion learned from."""
    if spec.data_quality is None:
        raise ValueError("a TrainingJob without spec.dataQuality has no check Job")
    rule = spec.data_quality
    source = next(one for one in spec.data if one.name == rule.data)
    env = {"NORIA_CHECK_DATA": Location.parse(source.uri).as_seen}
    if source.select is not None:
        env["NORIA_CHECK_DATA_SELECT"] = json.dumps(_select(obj, source))
    if rule.time_column is not None:
        env["NORIA_CHECK_TIME"] = rule.time_column
    env |= _champion(champion)
    places = (*([champion.place] if champion else []), _place(source))
    job = _own_job(
        obj,
        check_name(obj["metadata"]["name"]),
        pod_template(
            _ours("check", env, places, images),
            placement(_wire(spec)),
            _labels(obj, names.TRAINING_JOB, "check"),
        ),
    )
    job["metadata"]["annotations"] = {CHAMPION_ANNOTATION: champion.version if champion else ""}
    return job


def fingerprint_name(training: str, uid: str, trigger: str, at: str) -> str:
    """Name of the Job with which a trigger looks at stored data at one time."""
    key = hashlib.sha256("\0".join((uid, trigger, at)).encode()).hexdigest()[:10]
    return _fit(training, f"-look-{key}")


def fingerprint_job(
    obj: Json, spec: TrainingJobSpec, source: Data, images: Images, *, name: str, dvc_file: str | None
) -> Json:
    """The Job that says whether a data set of a ContinuousTraining's template has changed."""
    env = {contract.ENV_LOCATION: Location.parse(source.uri).as_seen}
    if dvc_file is not None:
        env[contract.ENV_DVC_FILE] = dvc_file
    program = _ours("fingerprint", env, (_place(source),), images)
    labels = _labels(obj, names.CONTINUOUS_TRAINING, "fingerprint")
    template = pod_template(program, placement(_wire(spec)), labels)
    job = _own_job(obj, name, template)
    # Its word is read at once; should nobody be there to delete it, it goes by itself.
    job["spec"]["ttlSecondsAfterFinished"] = 3600
    return job


def training_job(obj: Json, spec: TrainingJobSpec) -> Json:
    """The Job that runs the user's container."""
    output = output_of(obj, spec)
    held_out = spec.evaluation.data if spec.evaluation else None
    data = [source for source in spec.data if source.name != held_out]
    program = Program(
        name="train",
        image=spec.image,
        command=spec.command,
        args=spec.args,
        env=_training_env(obj, spec, output, data),
        places=(*(_place(source) for source in data), Place(output, spec.output.secret_name, writable=True)),
        files={
            "params.json": json.dumps(spec.params, sort_keys=True),
            "trigger.json": obj["metadata"].get("annotations", {}).get(names.TRIGGER_ANNOTATION) or "{}",
        },
    )
    queue = {k: v for k, v in obj["metadata"].get("labels", {}).items() if k.startswith(QUEUE_PREFIX)}
    return _job(
        obj,
        train_name(obj["metadata"]["name"]),
        pod_template(program, _wire(spec), _labels(obj, names.TRAINING_JOB, "train")),
        stop_on=[contract.EXIT_DO_NOT_RETRY],
        retries=spec.retries,
        active=spec.deadlines.active,
        labels=queue,
    )


def evaluation_job(
    obj: Json, spec: TrainingJobSpec, *, challenger: Bundle, champion: Bundle | None, images: Images
) -> Json:
    """The Job that scores challenger and champion on the same held-out rows."""
    if spec.evaluation is None:
        raise ValueError("a TrainingJob without spec.evaluation has no evaluation Job")
    held_out = next(source for source in spec.data if source.name == spec.evaluation.data)
    env = {
        "NORIA_CHALLENGER": challenger.place.location.as_seen,
        "NORIA_CHALLENGER_DIGEST": challenger.digest,
        "NORIA_HOLDOUT": Location.parse(held_out.uri).as_seen,
        "NORIA_LABEL": spec.evaluation.label,
    }
    if held_out.select is not None:
        env["NORIA_HOLDOUT_SELECT"] = json.dumps(_select(obj, held_out))
    named = list(dict.fromkeys([*spec.evaluation.metrics, *(gate.metric for gate in spec.gates)]))
    if spec.evaluation.metrics or not _USUAL.issuperset(named):
        env["NORIA_METRICS"] = ",".join(named)
    if spec.slices:
        by_slice = list(dict.fromkeys(gate.metric for gate in spec.gates if gate.by_slice))
        env |= {contract.ENV_SLICES: _slices(spec), contract.ENV_SLICE_METRICS: ",".join(by_slice)}
    env |= _champion(champion)
    bundles = [challenger.place, *([champion.place] if champion else [])]
    images = replace(images, server=spec.evaluation.image or images.server)
    program = _ours("evaluate", env, (*bundles, _place(held_out)), images)
    job = _own_job(
        obj,
        evaluate_name(obj["metadata"]["name"]),
        pod_template(program, placement(_wire(spec)), _labels(obj, names.TRAINING_JOB, "evaluate")),
    )
    job["metadata"]["annotations"] = {CHAMPION_ANNOTATION: champion.version if champion else ""}
    return job


def verification_job(obj: Json, bundle: Bundle, images: Images, *, attempt: int = 1) -> Json:
    """The Job that checks that a ModelVersion's artifact exists and has the stated digest."""
    env = {contract.ENV_BUNDLE: bundle.place.location.as_seen, contract.ENV_DIGEST: bundle.digest}
    program = _ours("verify", env, (bundle.place,), images)
    job = _own_job(
        obj,
        verify_name(obj["metadata"]["name"], attempt),
        pod_template(program, {}, _labels(obj, names.MODEL_VERSION, "verify")),
    )
    # A version stays for years; its Job goes once there was time to look at the log.
    job["spec"]["ttlSecondsAfterFinished"] = 3600
    return job


def _training_env(obj: Json, spec: TrainingJobSpec, output: Location, data: list[Data]) -> dict[str, str]:
    on_claim = output.claim is not None
    checkpoints = Location.parse(spec.output.uri).below(
        f"checkpoints/{names.short_uid(obj['metadata']['uid'])}"
    )
    env = {f"{contract.ENV_PARAM_PREFIX}{_variable(name)}": value for name, value in spec.params.items()}
    for source in data:
        variable = f"{contract.ENV_DATA_PREFIX}{_variable(source.name)}"
        env[variable] = Location.parse(source.uri).as_seen
        if source.select is not None:
            env[f"{variable}_SELECT"] = json.dumps(_select(obj, source))
    if spec.slices:
        env[contract.ENV_SLICES] = _slices(spec)
    return env | {
        contract.ENV_PARAMS: f"{RUN}/params.json",
        contract.ENV_TRIGGER: f"{RUN}/trigger.json",
        contract.ENV_SEED: str(spec.seed),
        contract.ENV_OUTPUT: output.as_seen if on_claim else f"{WORK}/output",
        contract.ENV_OUTPUT_URI: output.uri,
        "CHECKPOINT_DIR": checkpoints.as_seen if on_claim else f"{WORK}/checkpoints",
        "RESUME": "1",
    }


def _slices(spec: TrainingJobSpec) -> str:
    """As the library reads it; bounds may be written in any order."""
    told = [
        {
            "feature": one.feature,
            "bounds": sorted({float(b) for b in one.bounds or ()}),
            "values": one.values or [],
        }
        for one in spec.slices
    ]
    return json.dumps(told)


def _ours(module: str, env: dict[str, str], places: tuple[Place, ...], images: Images) -> Program:
    return Program(
        name=module,
        image=images.server,
        command=["python", "-m", f"noria_serving.{module}"],
        env={**env, contract.ENV_ALLOW_CODE: "1" if images.allow_code else "0", **images.fetching},
        places=places,
        resources=_OURS,
        pull_policy=images.pull_policy,
    )


def _champion(bundle: Bundle | None) -> dict[str, str]:
    """Where a program of ours finds the champion; nothing where there is none."""
    if bundle is None:
        return {}
    return {"NORIA_CHAMPION": bundle.place.location.as_seen, "NORIA_CHAMPION_DIGEST": bundle.digest}


def _own_job(obj: Json, name: str, template: Json) -> Json:
    """A Job of a program of ours: tried again where that may help, an hour long at most."""
    return _job(obj, name, template, stop_on=_USELESS, retries=2, active=_OUR_LIMIT)


def _job(
    obj: Json,
    name: str,
    template: Json,
    *,
    stop_on: list[int],
    retries: int,
    active: timedelta,
    labels: Mapping[str, str] | None = None,
) -> Json:
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


def _labels(obj: Json, kind: str, component: str) -> dict[str, str]:
    return {
        names.APP_LABEL: f"noria-{component}",
        names.MANAGED_BY_LABEL: names.MANAGED_BY,
        names.OWNER_KIND_LABEL: kind,
        names.OWNER_NAME_LABEL: names.fit(obj["metadata"]["name"]),
        names.OWNER_UID_LABEL: obj["metadata"]["uid"],
    }


def _place(source: Data) -> Place:
    return Place(Location.parse(source.uri), source.secret_name)


def _select(obj: Json, source: Data) -> Json:
    """What is asked for and, once it is known, the range that this means for the run."""
    if source.select is None:
        raise ValueError(f"data {source.name} selects nothing")
    asked = {"by": source.select.by, "last": source.select.last, "skip": source.select.skip}
    partitions = partitions_of(obj, source.name)
    return asked | {bound: partitions[bound] for bound in ("oldest", "newest") if bound in partitions}


def _wire(spec: TrainingJobSpec) -> Json:
    return spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)


def _variable(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def _fit(name: str, suffix: str) -> str:
    return names.fit(name, names.LABEL_LIMIT - len(suffix)) + suffix
