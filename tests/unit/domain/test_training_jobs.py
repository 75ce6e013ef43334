"""The Jobs that are made: restricted, with exactly the environment of the contract, the same for the same
owner.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import kubernetes_validate
import pytest
from tests.unit.domain.training_world import CHAMPION, DIGEST, IMAGES, SELECTING, UID, training_job, version

from noria_operator.api.parsing import parse_as
from noria_operator.api.trainingjob import TrainingJob
from noria_operator.domain.job_shape import Bundle, Images
from noria_operator.domain.training_jobs import (
    evaluate_name,
    evaluation_job,
    selection_job,
    train_name,
    verification_job,
)
from noria_operator.domain.training_jobs import training_job as build

Json = dict[str, Any]


def train(obj: Json) -> Json:
    return build(obj, parse_as(TrainingJob, obj).spec)


def evaluate(obj: Json, champion: Bundle | None = CHAMPION, images: Images = IMAGES) -> Json:
    challenger = Bundle("pvc://models/flights/run", DIGEST)
    return evaluation_job(
        obj, parse_as(TrainingJob, obj).spec, challenger=challenger, champion=champion, images=images
    )


def select(obj: Json) -> Json:
    return selection_job(obj, parse_as(TrainingJob, obj).spec, IMAGES)


def verify() -> Json:
    return verification_job(version(3), Bundle("pvc://models/flights/3", DIGEST), IMAGES)


def container(job: Json) -> Json:
    (found,) = job["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def env(job: Json) -> dict[str, str]:
    variables = container(job)["env"]
    assert len({one["name"] for one in variables}) == len(variables)
    return {one["name"]: one["value"] for one in variables}


EVERY = [select(training_job(data=SELECTING)), train(training_job()), evaluate(training_job()), verify()]


@pytest.mark.parametrize("job", EVERY)
def test_every_job_is_valid_kubernetes_and_meets_the_restricted_standard(job: Json) -> None:
    kubernetes_validate.validate(job, "1.34", strict=True)
    pod = job["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(job)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("job", EVERY)
def test_every_job_ends_by_the_exit_code_contract(job: Json) -> None:
    spec = job["spec"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["podReplacementPolicy"] == "Failed"
    ignore, stop = spec["podFailurePolicy"]["rules"]
    assert ignore["action"] == "Ignore"
    assert stop["action"] == "FailJob"
    assert stop["onExitCodes"]["containerName"] == container(job)["name"]
    assert container(job)["terminationMessagePath"] == env(job)["NORIA_RESULT"]


def test_a_job_of_ours_may_wait_for_a_node_as_long_as_the_spec_says() -> None:
    hours = {"deadlines": {"pending": "12h", "active": "1h"}}
    jobs = [select(training_job(data=SELECTING, **hours)), evaluate(training_job(**hours)), verify()]
    assert [job["spec"]["activeDeadlineSeconds"] // 3600 for job in jobs] == [13, 13, 2]


def test_the_training_container_gets_the_environment_of_the_contract() -> None:
    found = env(
        train(
            training_job(
                seed=7, data=[*training_job()["spec"]["data"], {"name": "x_1", "uri": "s3://lake/x"}]
            )
        )
    )
    run = f"/noria/volumes/models/flights/{UID[:8]}-flights-1"
    assert found == {
        "HOME": "/noria/work",
        "PARAM_MAX_DEPTH": "6",
        "NORIA_DATA_TRAIN": "/noria/volumes/lake/flights",
        "NORIA_DATA_X_1": "s3://lake/x",
        "NORIA_PARAMS": "/noria/run/params.json",
        "NORIA_TRIGGER": "/noria/run/trigger.json",
        "NORIA_SEED": "7",
        "NORIA_OUTPUT": run,
        "NORIA_OUTPUT_URI": f"pvc://models/flights/{UID[:8]}-flights-1",
        "CHECKPOINT_DIR": f"/noria/volumes/models/flights/checkpoints/{UID[:8]}",
        "RESUME": "1",
        "NORIA_RESULT": "/dev/termination-log",
    }


def test_the_held_out_rows_are_for_the_evaluation_alone() -> None:
    found = env(evaluate(training_job()))
    assert found["NORIA_HOLDOUT"] == "/noria/volumes/lake/days"
    assert found["NORIA_LABEL"] == "late"
    assert found["NORIA_CHAMPION"] == "/noria/volumes/models/flights/1"
    assert not [name for name in env(train(training_job())) if "HOLDOUT" in name]


def test_the_evaluation_runs_the_servers_image_or_the_one_that_its_models_need() -> None:
    held_out = {"data": "holdout", "label": "late"}
    assert container(evaluate(training_job(evaluation=held_out)))["image"] == IMAGES.server
    own = container(evaluate(training_job(evaluation={**held_out, "image": "team/server:1"})))
    assert own["image"] == "team/server:1"
    assert own["command"] == ["python", "-m", "noria_serving.evaluate"]


def test_trainer_and_evaluation_are_given_the_range_that_was_chosen() -> None:
    obj = training_job(data=SELECTING)
    ranges = {"train": ("2026-01-01", "2026-02-21"), "holdout": ("2026-02-22", "2026-02-28")}
    data = [
        {"name": name, "partitions": {"by": "day", "oldest": oldest, "newest": newest, "count": 1}}
        for name, (oldest, newest) in ranges.items()
    ]
    obj["status"] = {"resolved": {"data": data}}
    assert json.loads(env(train(obj))["NORIA_DATA_TRAIN_SELECT"]) == {
        "by": "day", "last": 60, "skip": 7, "oldest": "2026-01-01", "newest": "2026-02-21",
    }  # fmt: skip
    assert json.loads(env(evaluate(obj))["NORIA_HOLDOUT_SELECT"]) == {
        "by": "day", "last": 7, "skip": 0, "oldest": "2026-02-22", "newest": "2026-02-28",
    }  # fmt: skip


def test_the_selection_lists_every_data_set_that_selects_and_no_other() -> None:
    data = [*SELECTING, {"name": "whole", "uri": "pvc://other/x"}]
    job = select(training_job(data=data))
    assert [one["name"] for one in json.loads(env(job)["NORIA_SELECTIONS"])] == ["train", "holdout"]
    mounts = {one["mountPath"]: one.get("readOnly") for one in container(job)["volumeMounts"]}
    assert mounts["/noria/volumes/lake"] is True
    assert "/noria/volumes/other" not in mounts


@pytest.mark.parametrize(
    ("metrics", "gate", "expected"),
    [([], "auc", None), (["ece"], "auc", "ece,auc"), ([], "ece", "ece"), (["auc"], "auc", "auc")],
)
def test_metrics_beyond_the_usual_ones_are_asked_for(
    metrics: list[str], gate: str, expected: str | None
) -> None:
    evaluation = {"data": "holdout", "label": "late", "metrics": metrics}
    job = evaluate(training_job(evaluation=evaluation, gates=[{"metric": gate, "min": "0"}]))
    assert env(job).get("NORIA_METRICS") == expected


def test_slices_reach_the_trainer_and_the_evaluation() -> None:
    slices = [{"feature": "sex"}, {"feature": "age", "bounds": ["40", "25"]}]
    gates = [{"metric": "logloss", "versus": "champion", "maxDrop": "0", "bySlice": True}]
    obj = training_job(slices=slices, gates=[{"metric": "auc", "min": "0"}, *gates])
    told = [
        {"feature": "sex", "bounds": [], "values": []},
        {"feature": "age", "bounds": [25.0, 40.0], "values": []},
    ]
    for variables in (env(train(obj)), env(evaluate(obj))):
        assert json.loads(variables["NORIA_SLICES"]) == told
    assert env(evaluate(obj))["NORIA_SLICE_METRICS"] == "logloss"
    assert not [name for name in env(evaluate(training_job())) if "SLICE" in name]


def test_the_evaluation_reads_only_and_the_trainer_writes_only_its_output() -> None:
    mounts = {
        one["mountPath"]: one.get("readOnly") for one in container(train(training_job()))["volumeMounts"]
    }
    assert mounts["/noria/volumes/lake"] is True
    assert mounts["/noria/volumes/models"] is None
    mounts = {
        one["mountPath"]: one.get("readOnly") for one in container(evaluate(training_job()))["volumeMounts"]
    }
    assert mounts["/noria/volumes/lake"] is True
    assert mounts["/noria/volumes/models"] is True


def test_parameters_and_trigger_are_files_and_never_part_of_a_command() -> None:
    odd = "$(NORIA_SEED); `rm -rf /` {{7*7}} a$$b ^c$"
    job = train(training_job(params={"odd": odd}, env=[{"name": "ODD", "value": odd}]))
    template = job["spec"]["template"]
    assert json.loads(template["metadata"]["annotations"]["noria.dev/params"]) == {"odd": odd}
    assert env(job)["ODD"] == env(job)["PARAM_ODD"] == odd.replace("$", "$$")
    (run,) = [one for one in template["spec"]["volumes"] if one["name"] == "run"]
    assert {item["path"] for item in run["downwardAPI"]["items"]} == {"params.json", "trigger.json"}
    assert "command" not in container(job)


def test_s3_output_is_made_in_scratch_space_and_credentials_come_from_the_secret() -> None:
    job = train(training_job(output={"uri": "s3://models/flights", "secretName": "store"}))
    assert env(job)["NORIA_OUTPUT"] == "/noria/work/output"
    assert env(job)["NORIA_OUTPUT_URI"] == f"s3://models/flights/{UID[:8]}-flights-1"
    assert container(job)["envFrom"] == [{"secretRef": {"name": "store"}}]


def folders(job: Json) -> dict[str, str]:
    """Location → the Secret that is mounted where $NORIA_CREDENTIALS points to."""
    pod = job["spec"]["template"]["spec"]
    volumes = {one["name"]: one["secret"]["secretName"] for one in pod["volumes"] if "secret" in one}
    mounted = {
        one["mountPath"]: volumes[one["name"]]
        for one in container(job)["volumeMounts"]
        if one["name"] in volumes
    }
    return {uri: mounted[folder] for uri, folder in json.loads(env(job)["NORIA_CREDENTIALS"]).items()}


def test_each_location_has_its_own_secret_and_none_wins_in_the_environment() -> None:
    data = [
        {"name": "train", "uri": "s3://lake/flights/", "secretName": "lake"},
        {"name": "weather", "uri": "s3://lake/weather", "secretName": "lake"},
        {"name": "holdout", "uri": "s3://vault/days", "secretName": "vault"},
    ]
    obj = training_job(data=data, output={"uri": "s3://models/flights", "secretName": "models"})
    trainer = train(obj)
    kubernetes_validate.validate(trainer, "1.34", strict=True)
    assert folders(trainer) == {
        "s3://lake/flights": "lake",
        "s3://lake/weather": "lake",
        f"s3://models/flights/{UID[:8]}-flights-1": "models",
    }
    assert container(trainer)["envFrom"] == [
        {"prefix": "SECRET_LAKE_", "secretRef": {"name": "lake"}},
        {"prefix": "SECRET_MODELS_", "secretRef": {"name": "models"}},
    ]
    champion = Bundle("s3://old/flights/1", DIGEST, "old", "flights-1")
    judge = evaluation_job(
        obj,
        parse_as(TrainingJob, obj).spec,
        challenger=Bundle("s3://models/flights/2", DIGEST, "models"),
        champion=champion,
        images=IMAGES,
    )
    kubernetes_validate.validate(judge, "1.34", strict=True)
    assert folders(judge) == {
        "s3://models/flights/2": "models",
        "s3://old/flights/1": "old",
        "s3://vault/days": "vault",
    }
    prefixes = [one["prefix"] for one in container(judge)["envFrom"]]
    assert prefixes == ["SECRET_MODELS_", "SECRET_OLD_", "SECRET_VAULT_"]


def test_one_secret_for_everything_is_in_the_environment_too() -> None:
    data = [{"name": "train", "uri": "s3://lake/flights", "secretName": "store"}]
    obj = training_job(
        data=data, output={"uri": "s3://models/x", "secretName": "store"}, evaluation=None, gates=[]
    )
    job = train(obj)
    assert set(folders(job).values()) == {"store"}
    assert container(job)["envFrom"] == [{"secretRef": {"name": "store"}}]


def test_the_users_pod_fields_reach_every_pod_that_must_share_a_node() -> None:
    spread = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    fields: Json = {
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "imagePullSecrets": [{"name": "pull"}],
        "serviceAccountName": "trainer",
        "resources": {"requests": {"cpu": "1"}},
        "topologySpreadConstraints": [spread],
    }
    pod = train(training_job(**fields))["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "trainer"
    assert pod["containers"][0]["resources"] == {"requests": {"cpu": "1"}}
    assert pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]["noria.dev/owner-uid"] == UID
    other = evaluate(training_job(**fields))["spec"]["template"]["spec"]
    assert other["nodeSelector"] == {"disk": "ssd"}
    assert other["imagePullSecrets"] == [{"name": "pull"}]
    assert "serviceAccountName" not in other


def test_only_jobs_of_noria_s_own_image_pull_by_the_installations_secrets() -> None:
    images = replace(IMAGES, pull_secrets=("registry", "pull"))
    obj = training_job(imagePullSecrets=[{"name": "pull"}])
    assert train(obj)["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "pull"}]
    evaluation = evaluate(obj, images=images)["spec"]["template"]["spec"]
    assert evaluation["imagePullSecrets"] == [{"name": "pull"}, {"name": "registry"}]


def test_queue_labels_go_to_the_job_and_no_other_label_does() -> None:
    obj = training_job()
    obj["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "ml", "app.kubernetes.io/managed-by": "Helm"}
    job = train(obj)
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "ml"
    assert job["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "noria"
    assert "kueue.x-k8s.io/queue-name" not in job["spec"]["template"]["metadata"]["labels"]


def test_names_fit_and_long_ones_stay_apart() -> None:
    one, other = "a" * 62 + "1", "a" * 62 + "2"
    assert train_name("flights-1") == "flights-1-train"
    assert len(evaluate_name(one)) <= 63
    assert evaluate_name(one) != evaluate_name(other)
    assert train_name(one) == train_name(one)
    kubernetes_validate.validate(train(training_job(one)), "1.34", strict=True)
