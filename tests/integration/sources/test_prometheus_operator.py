"""The real Prometheus operator and what the chart gives it: all of it is taken, and a Prometheus that runs as
it says tells the counts of pods that look as Noria makes them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import yaml
from tests.chart.rendering import objects
from tests.integration import kubelet
from tests.integration.conftest import install
from tests.integration.running import NAMESPACE, Cluster, eventually
from tests.integration.scraping import Prometheus
from tests.integration.sources.counted import DELAY, PLACE, Pod, asked, scraped, settled
from tests.sockets import until_it_answers
from tools.cluster import binaries
from tools.cluster.layout import binary
from tools.ports import free_port

from noria_operator.domain.metric_sources import Source
from noria_operator.domain.rollout_state import Revision
from noria_operator.domain.serving_children import pod_labels
from noria_operator.kube.client import Client
from noria_operator.kube.errors import Forbidden, NotFound
from noria_operator.kube.kinds import POD, SECRET, Json, Kind
from noria_serving.contract import COUNTS_PATH
from noria_serving.model.loaded import Loaded

pytestmark = pytest.mark.extended

GROUP = "monitoring.coreos.com"
PROMETHEUS = Kind(GROUP, "v1", "prometheuses", "Prometheus")
MONITORING = {
    kind: Kind(GROUP, "v1", f"{kind.lower()}s", kind)
    for kind in ("ServiceMonitor", "PodMonitor", "PrometheusRule")
}
REVISION = Revision("late-1", "0123456789", "late-1-012345")
CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap")
VALUES = {
    "serviceMonitor": {"enabled": True},
    "podMonitors": {"enabled": True, "interval": "1s"},
    "prometheusRule": {"enabled": True},
    "metricSources": [{"name": "near", "address": "http://prometheus-operated:9090"}],
    "countsFrom": "near",
}
RULES_FOLDER = "/etc/prometheus/rules"
"""Where the pods of the Prometheus operator have their rules."""

IN_THE_POD = {"$(SHARD)": "0", "$(POD_NAME)": "prometheus-all-0"}
"""What its config reloader puts in, which runs beside each Prometheus."""


@contextmanager
def prometheus_operator(kubeconfig: Path, namespace: str) -> Iterator[str]:
    """The address of one that looks after a namespace."""
    address = f"127.0.0.1:{free_port()}"
    command = [
        str(binary("prometheus-operator")),
        f"--web.listen-address={address}",
        f"--namespaces={namespace}",
        "--log-level=warn",
    ]
    with subprocess.Popen(command, env={**os.environ, "KUBECONFIG": str(kubeconfig)}) as process:
        try:
            until_it_answers(process, f"http://{address}/healthz")
            yield f"http://{address}"
        finally:
            process.terminate()


def add_kinds(kubeconfig: Path) -> None:
    """Those of the Prometheus operator; added again they stay as they are."""
    kubectl = [str(binary("kubectl")), f"--kubeconfig={kubeconfig}", "apply", "--server-side", "-f"]
    crds = str(binary("prometheus-operator-crds.yaml"))
    subprocess.run([*kubectl, crds], check=True, capture_output=True)


@pytest.fixture
async def watched(cluster: Cluster, kubeconfig: Path) -> AsyncIterator[str]:
    """The Prometheus operator's address, and in the test's namespace what the chart makes for it, with a
    Prometheus that selects all that there is.
    """
    binaries.ensure("prometheus-operator", "prometheus")
    add_kinds(kubeconfig)
    await install(cluster.client, (), [PROMETHEUS, *MONITORING.values()])
    for one in objects(VALUES):
        if kind := MONITORING.get(one["kind"]):
            one["metadata"]["namespace"] = cluster.namespace
            await cluster.client.create(kind, cluster.namespace, one)
    all_of_it: Json = {f"{kind}Selector": {} for kind in ("serviceMonitor", "podMonitor", "rule")}
    body = {"metadata": {"name": "all"}, "spec": {"replicas": 1, **all_of_it}}
    await cluster.client.create(PROMETHEUS, cluster.namespace, body)
    with prometheus_operator(kubeconfig, cluster.namespace) as url:
        yield url


async def configuration(cluster: Cluster, folder: Path) -> Json:
    """What the Prometheus operator wrote, with its rules in files of the folder."""

    async def written() -> tuple[Json, Json] | None:
        with contextlib.suppress(NotFound):
            secret = await cluster.client.get(SECRET, cluster.namespace, "prometheus-all")
            rules = await cluster.client.get(CONFIG_MAP, cluster.namespace, "prometheus-all-rulefiles-0")
            return secret, rules
        return None

    secret, rules = await eventually(written, seconds=60)
    packed = base64.b64decode(secret["data"]["prometheus.yaml.gz"])
    text = gzip.decompress(packed).decode().replace(RULES_FOLDER, str(folder))
    for name, value in IN_THE_POD.items():
        text = text.replace(name, value)
    (folder / "prometheus-all-rulefiles-0").mkdir()
    for name, content in rules["data"].items():
        (folder / "prometheus-all-rulefiles-0" / name).write_text(content, encoding="utf-8")
    found: Json = yaml.load(text, yaml.CSafeLoader)
    return found


def checked(folder: Path, config: Json) -> str:
    """What promtool says of a configuration that it takes, and of its rules."""
    (folder / "checked.yml").write_text(json.dumps(config), encoding="utf-8")
    command = [str(binary("promtool")), "check", "config", "--lint=all", str(folder / "checked.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def managed(url: str) -> dict[tuple[str, str], int]:
    """How many objects of each kind the Prometheus operator selected, and how many it rejected."""
    found: dict[tuple[str, str], int] = {}
    for line in httpx.get(f"{url}/metrics").text.splitlines():
        if line.startswith("prometheus_operator_managed_resources{") and 'controller="prometheus"' in line:
            labels = dict(part.split("=") for part in line.partition("{")[2].partition("}")[0].split(","))
            kind, state = json.loads(labels["resource"]), json.loads(labels["state"])
            found[kind, state] = found.get((kind, state), 0) + int(float(line.rpartition(" ")[2]))
    return found


async def test_the_prometheus_operator_takes_all_that_the_chart_makes(
    cluster: Cluster, watched: str, tmp_path: Path
) -> None:
    config = await configuration(cluster, tmp_path)
    said = checked(tmp_path, config)
    made = {kind: [one for one in objects(VALUES) if one["kind"] == kind] for kind in MONITORING}
    states = managed(watched)
    for kind, ours in made.items():
        assert states[kind, "selected"] == len(ours)
        assert states.get((kind, "rejected"), 0) == 0

    (file,) = (tmp_path / "prometheus-all-rulefiles-0").iterdir()
    (rule,) = made["PrometheusRule"]
    assert yaml.safe_load(file.read_text())["groups"] == rule["spec"]["groups"]
    assert f"{sum(len(group['rules']) for group in rule['spec']['groups'])} rules found" in said

    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    expected = {
        f"{kind}/{cluster.namespace}/{one['metadata']['name']}/{number}": endpoint
        for kind, field in (("serviceMonitor", "endpoints"), ("podMonitor", "podMetricsEndpoints"))
        for one in made[kind[0].upper() + kind[1:]]
        for number, endpoint in enumerate(one["spec"][field])
    }
    assert jobs.keys() == expected.keys()
    for name, endpoint in expected.items():
        for field, key in (("path", "metrics_path"), ("interval", "scrape_interval"), ("params", "params")):
            assert jobs[name].get(key) == endpoint.get(field), (name, key)


async def test_a_prometheus_of_that_operator_tells_the_counts_of_noria_s_pods(
    cluster: Cluster, watched: str, kubeconfig: Path, loaded: Loaded, tmp_path: Path
) -> None:
    config = await configuration(cluster, tmp_path)
    for job in config["scrape_configs"]:
        for discovery in job["kubernetes_sd_configs"]:
            discovery["kubeconfig_file"] = str(kubeconfig)  # it does not run in a pod
    pods = [Pod(number, loaded, free_port(f"127.0.0.{number}")) for number in (21, 22)]
    (tmp_path / "run").mkdir()
    prometheus = Prometheus(tmp_path / "run", config=config)
    await cluster.client.create(NAMESPACE, "", {"metadata": {"name": PLACE[0]}})
    await kubelet.add_node(cluster.client, "node-of-shop")
    async with pods[0].listening(), pods[1].listening():
        for pod in pods:
            await _run(cluster.client, pod)
        with prometheus.running() as url:
            await scraped(url, 2)
            since = await settled()
            await asyncio.sleep(DELAY.total_seconds())
            await pods[0].work(300, 1)
            await pods[1].work(40, 2)
            await settled()
            found = await asked(Source("near", url, delay=DELAY, interval=timedelta(seconds=1)), pods, since)
            assert found.number("predictions") == 340
            assert scraped_paths(url) == {pod.name: {"/metrics", COUNTS_PATH} for pod in pods}


def scraped_paths(url: str) -> dict[str, set[str]]:
    """What is scraped of each pod; everything answers."""
    found = httpx.get(f"{url}/api/v1/targets", params={"state": "active"}).json()["data"]["activeTargets"]
    paths: dict[str, set[str]] = {}
    for one in found:
        assert (one["health"], one["lastError"]) == ("up", "")
        paths.setdefault(one["labels"]["pod"], set()).add(httpx.URL(one["scrapeUrl"]).path)
    return paths


async def _run(client: Client, pod: Pod) -> None:
    """A pod of PLACE, with the labels and the port that Noria gives to its model servers."""
    port = {"name": "counters", "containerPort": pod.port}
    body = {
        "metadata": {"name": pod.name, "labels": pod_labels(PLACE[1], "uid", REVISION)},
        "spec": {"containers": [{"name": "server", "image": "none", "ports": [port]}]},
    }

    async def made() -> Json | None:
        with contextlib.suppress(Forbidden):  # the namespace's service account is made a moment later
            return await client.create(POD, PLACE[0], body)
        return None

    await kubelet.make_ready(client, await eventually(made), node="node-of-shop", ip=pod.address)
