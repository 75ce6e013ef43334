"""Rows and bundles in a real S3 store: a model trained, judged and served without any claim, rows that are
refused because they are unlike the champion's, and what is said when the store refuses.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from tests.e2e.kube import Json, Kube, condition, namespace, phase
from tests.e2e.load import REQUEST
from tests.e2e.manifests import model_deployment, training_job
from tests.e2e.object_store import Store, object_store
from tests.e2e.rollouts import address
from tools.cluster.process import wait_for

pytestmark = pytest.mark.extended

TRAIN = """
import numpy as np
from sklearn.linear_model import LogisticRegression
from noria_serving import bundle, data, rows

days = [rows.read(place) for place in data.partitions("train")]
X = np.vstack([np.column_stack([day.columns[f"x{i}"] for i in range(3)]) for day in days]).astype("float32")
y = np.concatenate([day.columns["label"] for day in days])
bundle.save(LogisticRegression().fit(X, y), X, y, name="tiny").publish(
    data=[{"name": "train", "digest": days[-1].digest(), "rows": len(y)}]
)
"""
DAYS, ROWS = 4, 150
ROWS_AT, BROKEN_AT = "s3://lake/rows", "s3://lake/broken"


def lake(store: Store) -> None:
    """Labelled rows, a partition a day; and the last day as a feed that broke hands it over: a third of x1 is
    no number, x2 is in another unit.
    """
    rng = np.random.default_rng(7)
    bucket = store.bucket("lake")
    for day in range(1, DAYS + 1):
        x = rng.normal(size=(ROWS, 3))
        labels = x[:, 0] + 0.5 * rng.normal(size=ROWS) > 0
        lines = [
            ",".join([*(f"{value:.5f}" for value in row), str(int(label))])
            for row, label in zip(x, labels, strict=True)
        ]
        text = "\n".join(["x0,x1,x2,label", *lines, ""])
        bucket.put(f"rows/day=2013-01-0{day}/part.csv", text.encode())
    broken = [
        f"{x0:.5f},{'error' if row % 3 == 0 else f'{x1:.5f}'},{1000 * x2:.5f},{int(label)}"
        for row, ((x0, x1, x2), label) in enumerate(zip(x, labels, strict=True))
    ]
    bucket.put("broken/part.csv", "\n".join(["x0,x1,x2,label", *broken, ""]).encode())


def select(last: int, skip: int) -> Json:
    return {"uri": ROWS_AT, "secretName": "store", "select": {"by": "day", "last": last, "skip": skip}}


def run_on_s3(name: str, image: str) -> Json:
    """Trains on all days but the newest, is scored on the newest, leaves its bundle in another bucket."""
    return training_job(
        name,
        image,
        code=TRAIN,
        data=[{"name": "train", **select(2, 1)}, {"name": "holdout", **select(1, 0)}],
        evaluation={"data": "holdout", "label": "label"},
        gates=[{"metric": "auc", "min": "0.7"}],
        output={"uri": "s3://models/tiny", "secretName": "store"},
    )


def checked(name: str, image: str, data: Json) -> Json:
    """Trains on rows that must be like those of the champion of the deployment `tiny`."""
    return training_job(
        name,
        image,
        code=TRAIN,
        deployment="tiny",
        data=[{"name": "train", **data}],
        dataQuality={"data": "train"},
        output={"uri": "s3://models/tiny", "secretName": "store"},
    )


def version(name: str, like: Json, **artifact: str) -> Json:
    """A ModelVersion made by hand of an artifact that is there."""
    spec = {"model": name, "version": 1, "artifact": {**like["spec"]["artifact"], **artifact}}
    return {"kind": "ModelVersion", "metadata": {"name": f"{name}-1"}, "spec": spec}


@pytest.fixture(scope="module")
def store(kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with object_store(tmp_path_factory.mktemp("s3"), "lake", "models") as store:
        lake(store)
        yield store


@pytest.fixture(scope="module")
def kube(noria: Path, store: Store) -> Iterator[Kube]:
    """A namespace without any claim, with a Secret that opens the store and one that does not."""
    with namespace(noria, "e2e-s3") as kube:
        secrets = {"store": store.keys(), "wrong": store.keys(AWS_SECRET_ACCESS_KEY="of-yesterday")}
        for name, keys in secrets.items():
            kube.apply({"kind": "Secret", "metadata": {"name": name}, "stringData": keys})
        yield kube


@pytest.fixture(scope="module")
def trained(kube: Kube, images: dict[str, str]) -> Json:
    kube.apply(run_on_s3("tiny-first", images["example-flights"]))
    return kube.until("TrainingJob", "tiny-first", phase("Succeeded"), timeout=180)


@pytest.fixture(scope="module")
def approved(kube: Kube, trained: Json) -> Json:
    return kube.until("ModelVersion", trained["status"]["modelVersion"], phase("Approved"))


@pytest.fixture(scope="module")
def served(kube: Kube, approved: Json) -> Json:
    kube.apply(model_deployment(replicas=1))
    return kube.until("ModelDeployment", "tiny", phase("Healthy"), timeout=180)


@pytest.fixture(scope="module")
def unreadable(kube: Kube, approved: Json) -> None:
    """Versions that cannot be read, verified at the same time: each is tried three times."""
    kube.apply(version("shut", approved, secretName="wrong"))
    kube.apply(version("lost", approved, uri="s3://nowhere/tiny"))


def test_a_run_reads_its_rows_from_the_store_and_leaves_its_bundle_there(trained: Json, store: Store) -> None:
    status = trained["status"]
    assert status["artifact"]["uri"].startswith("s3://models/tiny/")
    assert status["evaluation"]["rows"] == ROWS
    assert [gate["result"] for gate in status["gates"]] == ["Pass"]
    resolved = {each["name"]: each for each in status["resolved"]["data"]}
    assert resolved["train"]["rows"] == 2 * ROWS
    prefix = status["artifact"]["uri"].removeprefix("s3://models/")
    there = [each["path"] for batch in store.bucket("models").list(prefix) for each in batch]
    assert f"{prefix}/noria.json" in there


def test_a_version_in_the_store_is_verified_and_served(kube: Kube, approved: Json, served: Json) -> None:
    assert approved["spec"]["artifact"]["secretName"] == "store"
    assert condition(served, "Servable")["status"] == "True"
    answer = httpx.post(address(kube), json=REQUEST, timeout=15)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model_version"] == "1"


def test_rows_that_are_not_like_the_champions_are_refused_before_anything_is_trained(
    kube: Kube, images: dict[str, str], served: Json
) -> None:
    champion, image = served["status"]["stable"]["version"], images["example-flights"]
    kube.apply(checked("broken", image, {"uri": BROKEN_AT, "secretName": "store"}))
    kube.apply(checked("usual", image, select(2, 0)))

    refused = kube.until("TrainingJob", "broken", phase("Failed"), timeout=180)
    said = refused["status"]["dataQuality"]
    assert (condition(refused, "Failed")["reason"], said["result"]) == ("DataRefused", "Refused")
    assert (said["rows"], said["against"]) == (ROWS, champion)
    found = {(one["name"], one["check"]): float(one["value"]) for one in said["violations"]}
    assert set(found) == {("x1", "dataType"), ("x2", "range")}
    assert found["x1", "dataType"] == pytest.approx(1 / 3, abs=1e-4)
    assert wait_for(lambda: "DataRefused" in kube.events("broken"), 10), kube.events("broken")
    assert kube.get("Job", "broken-train") is None

    trained = kube.until("TrainingJob", "usual", phase("Succeeded"), timeout=180)
    said = trained["status"]["dataQuality"]
    assert (said["result"], said["rows"], said["against"]) == ("Pass", 2 * ROWS, champion)
    assert not said["violations"]
    assert trained["status"]["modelVersion"] != champion


def test_a_run_whose_output_refuses_the_credentials_names_them(kube: Kube, images: dict[str, str]) -> None:
    output = {"uri": "s3://models/refused", "secretName": "wrong"}
    kube.apply(training_job("refused", images["example-flights"], model="refused", output=output))
    found = kube.until("TrainingJob", "refused", phase("Failed"), timeout=120)
    said = condition(found, "Failed")["message"]
    assert "credentials" in said
    assert "SignatureDoesNotMatch" in said
    assert "AWSAccessKeyId" not in said
    assert kube.get("ModelVersion", "refused-1") is None


@pytest.mark.usefixtures("unreadable")
def test_a_version_whose_secret_is_wrong_says_so_and_is_verified_again_once_that_is_right(
    kube: Kube, store: Store
) -> None:
    waiting = kube.until("ModelVersion", "shut-1", lambda it: "verification" in it["status"], timeout=180)
    assert condition(waiting, "ArtifactReady")["reason"] == "StorageUnavailable"
    assert condition(waiting, "Ready")["status"] == "False"
    assert "credentials" in waiting["status"]["message"]
    kube.apply({"kind": "Secret", "metadata": {"name": "wrong"}, "stringData": store.keys()})
    kube.until("ModelVersion", "shut-1", phase("Approved"), timeout=180)


@pytest.mark.usefixtures("unreadable")
def test_a_bucket_that_does_not_exist_is_named(kube: Kube) -> None:
    said = "bucket does not exist"  # between two attempts, and while one fails
    kube.until("ModelVersion", "lost-1", lambda it: said in it["status"].get("message", ""), timeout=180)
