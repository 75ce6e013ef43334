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
from dataclasses import replace
from typing import Any, Final

from noria_operator.api import names
from noria_operator.api.trainingjob import Data, TrainingJobSpec
from noria_operator.domain.drift.columns import PREDICTIONS, Seen
from noria_operator.domain.job_shape import (
    Bundle,
    Images,
    as_written,
    fit,
    job_of,
    labels_of,
    our_program,
    own_job,
    place_of,
    selected,
)
from noria_operator.domain.training_locations import Location
from noria_operator.domain.training_pods import RUN, TRAIN, WORK, Place, Program, placement, pod_template
from noria_serving import contract

Json = dict[str, Any]

CHAMPION_ANNOTATION: Final = "noria.dev/champion"
"""On the evaluation Job: the ModelVersion it compares with, so that a restart judges by the same champion."""
RESULT_ANNOTATION: Final = "noria.dev/result"
"""On the evaluation Job: what the trainer said, should its pod be gone when the version is made."""
QUEUE_PREFIX: Final = "kueue.x-k8s.io/"
"""Labels that a queueing controller reads on the Job; copied from the TrainingJob, to which they come from
its ContinuousTraining.
"""
_VARIABLE: Final = 96 * 1024
"""Bytes in a variable of the environment: Linux starts no program with one of 128 KiB."""
_USUAL: Final = frozenset({"auc", "logloss", "accuracy", "rmse", "mae"})
"""What the evaluation computes unasked, by task; a list is passed only when something else is named."""


def train_name(job: str) -> str:
    """Name of the training Job."""
    return fit(job, "-train")


def evaluate_name(job: str) -> str:
    """Name of the evaluation Job."""
    return fit(job, "-evaluate")


def select_name(job: str) -> str:
    """Name of the selection Job."""
    return fit(job, "-select")


def check_name(job: str) -> str:
    """Name of the Job that checks rows for training."""
    return fit(job, "-check")


def verify_name(version: str, attempt: int = 1) -> str:
    """Name of the verification Job."""
    return fit(version, "-verify" if attempt == 1 else f"-verify-{attempt}")


def queue_labels(obj: Json) -> dict[str, str]:
    """Those of an object that a queueing controller reads."""
    labels = obj["metadata"].get("labels", {})
    return {name: value for name, value in labels.items() if name.startswith(QUEUE_PREFIX)}


def output_of(obj: Json, spec: TrainingJobSpec) -> Location:
    """The directory of this run inside spec.output: the same for every attempt, another for every
    TrainingJob.
    """
    meta = obj["metadata"]
    return Location.parse(spec.output.uri).below(names.fit(f"{names.short_uid(meta['uid'])}-{meta['name']}"))


def selection_job(obj: Json, spec: TrainingJobSpec, images: Images) -> Json:
    """The Job that chooses the partitions of every data set that selects some."""
    sources = [source for source in spec.data if source.select is not None]
    asked = [
        {"name": source.name, "location": Location.parse(source.uri).as_seen, "select": selected(obj, source)}
        for source in sources
    ]
    env = {contract.ENV_SELECTIONS: json.dumps(asked)}
    program = our_program("selection", env, tuple(place_of(source) for source in sources), images)
    return own_job(
        obj,
        select_name(obj["metadata"]["name"]),
        pod_template(program, placement(as_written(spec)), labels_of(obj, names.TRAINING_JOB, "select")),
        pending=spec.deadlines.pending,
    )


def check_job(
    obj: Json,
    spec: TrainingJobSpec,
    champion: Bundle | None,
    images: Images,
    *,
    served: Mapping[str, Seen] | None = None,
) -> Json:
    """The Job that looks at rows before they are trained on, beside what the champion learned from."""
    if spec.data_quality is None:
        raise ValueError("a TrainingJob without spec.dataQuality has no check Job")
    rule = spec.data_quality
    source = next(one for one in spec.data if one.name == rule.data)
    env = {"NORIA_CHECK_DATA": Location.parse(source.uri).as_seen}
    if source.select is not None:
        env["NORIA_CHECK_DATA_SELECT"] = json.dumps(selected(obj, source))
    if rule.time_column is not None:
        env["NORIA_CHECK_TIME"] = rule.time_column
    env |= _champion(champion)
    if served:
        env["NORIA_CHECK_SERVED"] = _served(served)
    places = (*([champion.place] if champion else []), place_of(source))
    job = own_job(
        obj,
        check_name(obj["metadata"]["name"]),
        pod_template(
            our_program("check", env, places, images),
            placement(as_written(spec)),
            labels_of(obj, names.TRAINING_JOB, "check"),
        ),
        pending=spec.deadlines.pending,
    )
    job["metadata"]["annotations"] = {CHAMPION_ANNOTATION: champion.version if champion else ""}
    return job


def _served(columns: Mapping[str, Seen]) -> str:
    """Counts by feature, of as many as find room."""
    each, room = [], _VARIABLE
    for name, seen in columns.items():
        # Kubernetes reads `$(NAME)` in a value as another variable.
        key = json.dumps(name).replace("$", "\\u0024")
        text = f"{key}:{json.dumps(seen.bins, separators=(',', ':'))}"
        room -= len(text) + 1
        if room < 0:
            break
        if name not in PREDICTIONS:
            each.append(text)
    return f"{{{','.join(each)}}}"


def fingerprint_name(training: str, uid: str, trigger: str, at: str) -> str:
    """Name of the Job with which a trigger looks at stored data at one time."""
    key = hashlib.sha256("\0".join((uid, trigger, at)).encode()).hexdigest()[:10]
    return fit(training, f"-look-{key}")


def fingerprint_job(
    obj: Json, spec: TrainingJobSpec, source: Data, images: Images, *, name: str, dvc_file: str | None
) -> Json:
    """The Job that says whether a data set of a ContinuousTraining's template has changed."""
    env = {contract.ENV_LOCATION: Location.parse(source.uri).as_seen}
    if dvc_file is not None:
        env[contract.ENV_DVC_FILE] = dvc_file
    program = our_program("fingerprint", env, (place_of(source),), images)
    labels = labels_of(obj, names.CONTINUOUS_TRAINING, "fingerprint")
    template = pod_template(program, placement(as_written(spec)), labels)
    job = own_job(obj, name, template)
    # Its word is read at once; should nobody be there to delete it, it goes by itself.
    job["spec"]["ttlSecondsAfterFinished"] = 3600
    return job


def training_job(obj: Json, spec: TrainingJobSpec) -> Json:
    """The Job that runs the user's container."""
    output = output_of(obj, spec)
    held_out = spec.evaluation.data if spec.evaluation else None
    data = [source for source in spec.data if source.name != held_out]
    program = Program(
        name=TRAIN,
        image=spec.image,
        command=spec.command,
        args=spec.args,
        env=_training_env(obj, spec, output, data),
        places=(
            *(place_of(source) for source in data),
            Place(output, spec.output.secret_name, writable=True),
        ),
        files={
            "params.json": json.dumps(spec.params, sort_keys=True),
            "trigger.json": obj["metadata"].get("annotations", {}).get(names.TRIGGER_ANNOTATION) or "{}",
        },
    )
    return job_of(
        obj,
        train_name(obj["metadata"]["name"]),
        pod_template(program, as_written(spec), labels_of(obj, names.TRAINING_JOB, "train")),
        stop_on=[contract.EXIT_DO_NOT_RETRY],
        retries=spec.retries,
        # The operator counts `active` from the pods on; this holds where nobody looks.
        active=spec.deadlines.pending + spec.deadlines.active,
        labels=queue_labels(obj),
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
        env["NORIA_HOLDOUT_SELECT"] = json.dumps(selected(obj, held_out))
    named = list(dict.fromkeys([*spec.evaluation.metrics, *(gate.metric for gate in spec.gates)]))
    if spec.evaluation.metrics or not _USUAL.issuperset(named):
        env["NORIA_METRICS"] = ",".join(named)
    if spec.slices:
        by_slice = list(dict.fromkeys(gate.metric for gate in spec.gates if gate.by_slice))
        env |= {contract.ENV_SLICES: _slices(spec), contract.ENV_SLICE_METRICS: ",".join(by_slice)}
    env |= _champion(champion)
    bundles = [challenger.place, *([champion.place] if champion else [])]
    images = replace(images, server=spec.evaluation.image or images.server)
    program = our_program("evaluate", env, (*bundles, place_of(held_out)), images)
    job = own_job(
        obj,
        evaluate_name(obj["metadata"]["name"]),
        pod_template(program, placement(as_written(spec)), labels_of(obj, names.TRAINING_JOB, "evaluate")),
        pending=spec.deadlines.pending,
    )
    job["metadata"]["annotations"] = {CHAMPION_ANNOTATION: champion.version if champion else ""}
    return job


def verification_job(obj: Json, bundle: Bundle, images: Images, *, attempt: int = 1) -> Json:
    """The Job that checks that a ModelVersion's artifact exists and has the stated digest."""
    env = {contract.ENV_BUNDLE: bundle.place.location.as_seen, contract.ENV_DIGEST: bundle.digest}
    program = our_program("verify", env, (bundle.place,), images)
    job = own_job(
        obj,
        verify_name(obj["metadata"]["name"], attempt),
        pod_template(program, {}, labels_of(obj, names.MODEL_VERSION, "verify")),
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
            env[f"{variable}_SELECT"] = json.dumps(selected(obj, source))
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


def _champion(bundle: Bundle | None) -> dict[str, str]:
    """Where a program of ours finds the champion; nothing where there is none."""
    if bundle is None:
        return {}
    return {"NORIA_CHAMPION": bundle.place.location.as_seen, "NORIA_CHAMPION_DIGEST": bundle.digest}


def _variable(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", name.upper())
