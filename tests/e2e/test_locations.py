"""Models from a web server and from a registry behind a private CA, rolled out under HTTP and gRPC load, with
warm-up and a payload log: what only the inside of a cluster proves.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from tests.e2e.conftest import Program, install
from tests.e2e.grpc_load import GrpcLoad
from tests.e2e.kube import Json, Kube, condition, namespace, phase
from tests.e2e.load import CONNECTIONS, REQUEST, Load
from tests.e2e.manifests import model_deployment
from tests.e2e.object_store import Store, object_store
from tests.e2e.rollouts import address, champions
from tests.integration.sources import https_server, registry
from tools.cluster import slots

from noria_serving import bundle

pytestmark = pytest.mark.extended
NAMESPACE = "e2e-locations"
MIRROR = f"mirror.{NAMESPACE}.svc"
"""A name inside the cluster for the host, where web server and registry listen."""
SERVER: Json = {
    "warmUp": {"rows": [1, 64], "calls": 2},
    "payloadLog": {"uri": "s3://payloads/tiny", "secretName": "store", "redact": ["x1"], "every": "1s"},
}
STRATEGY: Json = {
    "steps": [{"weight": 50, "minRequests": 100}],
    "analysis": {"interval": "2s", "errors": {"tolerated": "0.05"}},
    "keepPrevious": "5s",
}


@dataclass(frozen=True)
class Places:
    """Where the two versions lie, and the certificate that opens both."""

    uris: dict[str, str]
    digests: dict[str, str]
    cas: dict[str, str]


def model(folder: Path, seed: int) -> bundle.Bundle:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(400, 3)).astype("float32")
    labels = (rows[:, 0] + 0.5 * rng.normal(size=400) > 0).astype("int64")
    return bundle.save(LogisticRegression().fit(rows, labels), rows, labels, folder, name="tiny")


@pytest.fixture(scope="module")
def places(kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    slot = slots.mine()
    assert slot is not None, "the servers stand beside the local cluster; run without NORIA_KUBECONFIG"
    folder = tmp_path_factory.mktemp("places")
    for name in ("web", "registry"):
        (folder / name).mkdir()
    first, second = model(folder / "first", 1), model(folder / "second", 2)
    with (
        https_server.serve(folder / "web", MIRROR, slot.host_address) as web,
        registry.serve(folder / "registry", MIRROR, slot.host_address) as found,
    ):
        web.files.update({f"/models/tiny/{file.name}": file.read_bytes() for file in first.path.iterdir()})
        found.push("2", registry.titled(found, second.path))
        yield Places(
            {"1": f"{web.url}/models/tiny", "2": f"oci://{found.host}/team/model:2"},
            {"1": first.digest, "2": second.digest},
            {"1": web.ca, "2": found.ca},
        )


@pytest.fixture(scope="module")
def store(kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with object_store(tmp_path_factory.mktemp("s3"), "payloads") as store:
        yield store


@pytest.fixture(scope="module")
def kube(noria: Path, helm: Program, images: dict[str, str], store: Store, places: Places) -> Iterator[Kube]:
    slot = slots.mine()
    assert slot is not None
    install(helm, images, "--reuse-values", "--set", f"privateHosts={{{MIRROR}}}")
    with namespace(noria, NAMESPACE) as kube:
        kube.apply({"kind": "Service", "metadata": {"name": "mirror"}, "spec": {"clusterIP": "None"}})
        kube.apply({
            "kind": "EndpointSlice",
            "metadata": {"name": "mirror", "labels": {"kubernetes.io/service-name": "mirror"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [slot.host_address]}],
            "ports": [{"name": "https", "port": 443}],
        })  # fmt: skip
        secrets = {"store": store.keys(), **{f"mirror-{n}": {"ca.crt": ca} for n, ca in places.cas.items()}}
        for name, keys in secrets.items():
            kube.apply({"kind": "Secret", "metadata": {"name": name}, "stringData": keys})
        yield kube


def register(kube: Kube, places: Places, number: str) -> Json:
    """A ModelVersion of what lies there, once it was verified."""
    artifact = {
        "uri": places.uris[number], "digest": places.digests[number], "format": "onnx",
        "secretName": f"mirror-{number}",
    }  # fmt: skip
    spec = {"model": "tiny", "version": int(number), "artifact": artifact}
    kube.apply({"kind": "ModelVersion", "metadata": {"name": f"tiny-{number}"}, "spec": spec})
    return kube.until("ModelVersion", f"tiny-{number}", phase("Approved"), timeout=120)


@pytest.fixture(scope="module")
def served(kube: Kube, places: Places) -> Json:
    register(kube, places, "1")
    deployment = model_deployment(strategy=STRATEGY)
    deployment["spec"]["server"] |= SERVER
    kube.apply(deployment)
    return kube.until("ModelDeployment", "tiny", phase("Healthy"), timeout=180)


def serving(kube: Kube) -> list[Json]:
    return champions(kube, kube.until("ModelDeployment", "tiny", phase("Healthy")))


def test_a_version_from_a_web_server_is_warmed_up_before_it_is_ready(kube: Kube, served: Json) -> None:
    assert condition(served, "Servable")["status"] == "True"
    said = kube.core.read_namespaced_pod_log(
        serving(kube)[0]["metadata"]["name"], NAMESPACE, container="server"
    )
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    messages = [line["message"] for line in lines]
    assert [line["rows"] for line in lines if line["message"] == "warm"] == [1, 64]
    assert messages.index("warm") < messages.index("ready")


def test_no_request_is_lost_over_http_or_grpc_while_the_next_one_comes_from_a_registry(
    kube: Kube, served: Json, places: Places
) -> None:
    with (
        Load(address(kube)) as load,
        GrpcLoad(f"{kube.cluster_ip('tiny')}:80", "tiny") as calls,
    ):
        load.until_sent(100)
        former = serving(kube)
        register(kube, places, "2")
        kube.until(
            "ModelDeployment", "tiny", lambda md: md["status"]["stable"]["version"] == "tiny-2", timeout=180
        )
        for pod in former:  # they stay for as long as a stream does, for five minutes at most
            kube.delete("Pod", pod["metadata"]["name"])
            kube.until_gone("Pod", pod["metadata"]["name"], timeout=120)
        for pod in serving(kube):
            kube.delete("Pod", pod["metadata"]["name"])
            kube.until_gone("Pod", pod["metadata"]["name"], timeout=120)
            workload = pod["metadata"]["name"].rsplit("-", 2)[0]
            kube.until("Deployment", workload, lambda it: it["status"].get("readyReplicas") == 2)
        load.until_sent(100)
    assert load.failures == []
    assert calls.failures == []
    assert min(load.versions["1"], load.versions["2"], calls.calls["1"], calls.calls["2"]) > 0
    assert calls.streamed["2"] > 0
    assert calls.streams > 1, "servers that left ended the streams they had"


def test_a_server_that_crashes_is_replaced_and_the_address_refuses_nobody(kube: Kube, served: Json) -> None:
    pods = serving(kube)
    workload = pods[0]["metadata"]["name"].rsplit("-", 2)[0]
    with Load(address(kube), rate=80) as load:
        load.until_sent(100)
        kube.delete("Pod", pods[0]["metadata"]["name"], grace=0)
        load.until_sent(400)
        kube.until("Deployment", workload, lambda it: it["status"].get("readyReplicas") == 2)
    assert len(load.failures) <= CONNECTIONS, load.failures  # at most what was open
    assert not [failure for failure in load.failures if "ClientConnectorError" in failure]


def test_rows_are_written_without_what_is_redacted_and_joined_with_their_labels(
    kube: Kube, served: Json, store: Store
) -> None:
    url = f"http://{kube.cluster_ip('tiny')}/v2/models/tiny"
    answer = httpx.post(f"{url}/infer", json={"id": "to be labelled", **REQUEST}, timeout=15).json()
    token = answer["parameters"]["feedback_token"]
    said = httpx.post(f"{url}/feedback", json={"token": token, "labels": [1]}, timeout=15)
    assert said.status_code == 200, said.text
    (label,) = written(store, "labels", until=bool)
    rows = written(
        store, "predictions", until=lambda rows: any(row["request"] == "to be labelled" for row in rows)
    )
    (labelled,) = [row for row in rows if row["id"] == label["id"]]
    assert (labelled["request"], label["label"]) == ("to be labelled", "1")
    assert {row["version"] for row in rows} == {"tiny-1", "tiny-2"}
    for row in rows:
        assert [name for name in row if name.startswith("input.")] == ["input.x0", "input.x2"]
    assert len({row["id"] for row in rows}) == len(rows)


def written(store: Store, kind: str, *, until: Callable[[list[Json]], bool]) -> list[Json]:
    """The rows of all files of a kind, as soon as this holds of them."""
    bucket, deadline = store.bucket("payloads"), monotonic() + 60
    while True:
        paths = [each["path"] for batch in bucket.list(f"tiny/{kind}") for each in batch]
        rows = [row for path in paths for row in _rows(path, bytes(bucket.get(path).bytes()))]
        if until(rows):
            return rows
        assert monotonic() < deadline, f"{len(rows)} rows of {kind}, in {paths}"
        sleep(0.5)


def _rows(path: str, content: bytes) -> list[Json]:
    version = path.partition("version=")[2].partition("/")[0]
    return [{**row, "version": version} for row in pq.read_table(io.BytesIO(content)).to_pylist()]
