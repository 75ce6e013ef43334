"""What benchmarks of the operator run on: a real API server with simulated nodes, and the operator beside it.

The operator is a process of its own that logs in with the chart's role, so that the API server itself counts
its requests (by a FlowSchema of its own), and nobody has to take its word.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
from tools.cluster.layout import CHECKOUT, binary
from tools.ports import free_port

from benchmarks.objects import IMAGE, NAMESPACE, Json
from noria_operator.kube import kinds
from noria_operator.kube.client import Client
from noria_operator.kube.kinds import Kind
from noria_operator.kube.login import from_kubeconfig

FLOW = "noria-bench"
CLUSTER = frozenset({"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"})
"""Names of processes, of which Linux keeps fifteen letters."""
ACCOUNT = "noria-operator"
MASTER_KEY = "0" * 64
AT_ONCE = 16
"""Requests of a benchmark's own client at a time."""
FLOW_SCHEMA = Kind("flowcontrol.apiserver.k8s.io", "v1", "flowschemas", "FlowSchema", namespaced=False)


@dataclass(frozen=True)
class Bench:
    """The API server, a client with all rights, and the operator's process."""

    kubeconfig: Path
    client: Client
    operator: psutil.Process
    metrics_url: str

    async def scrape(self) -> str:
        """The operator's own metrics page."""
        async with aiohttp.ClientSession() as session, session.get(self.metrics_url) as answer:
            return await answer.text()

    def cpu(self) -> float:
        """CPU seconds that the operator has used."""
        return cpu_seconds(self.operator)

    def memory(self) -> float:
        """Resident memory of the operator in MiB."""
        return float(self.operator.memory_info().rss / 2**20)

    def requests(self) -> float:
        """Requests of the operator that the API server has counted."""
        return flow_total(self.kubeconfig, FLOW)


def cpu_seconds(process: psutil.Process) -> float:
    """CPU seconds that a process has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


def cluster_cpu() -> float:
    """CPU seconds that etcd, the API server, Kubernetes' controllers and the simulated node have used."""
    return sum(cpu_seconds(each) for each in psutil.Process().children() if each.name() in CLUSTER)


async def in_parallel(requests: Sequence[Callable[[], Awaitable[object]]]) -> None:
    """Send them, a few at a time."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(request: Callable[[], Awaitable[object]]) -> None:
        async with slots:
            await request()

    await asyncio.gather(*(one(request) for request in requests))


def flow_total(kubeconfig: Path, flow: str) -> float:
    """Requests that the API server has counted for a FlowSchema."""
    page = kubectl(kubeconfig, "get", "--raw", "/metrics")
    pattern = rf'apiserver_flowcontrol_dispatched_requests_total\{{flow_schema="{flow}"[^}}]*\}} (\S+)'
    return sum(float(count) for count in re.findall(pattern, page))


def writes_total(kubeconfig: Path) -> float:
    """Writes that the API server has counted, whoever asked for them; refused ones too."""
    page = kubectl(kubeconfig, "get", "--raw", "/metrics")
    pattern = r'apiserver_request_total\{.*verb="(?:APPLY|DELETE|PATCH|POST|PUT)".*\} (\S+)'
    return sum(float(count) for count in re.findall(pattern, page))


def install(kubeconfig: Path) -> None:
    """The CRDs."""
    kubectl(kubeconfig, "apply", "--server-side", "-f", str(CHECKOUT / "crds"))
    kubectl(kubeconfig, "wait", "--for=condition=Established", "-f", str(CHECKOUT / "crds"))


async def create_namespace(client: Client, name: str) -> None:
    await client.create(kinds.NAMESPACE, "", {"metadata": {"name": name}})


@asynccontextmanager
async def bench(kubeconfig: Path, folder: Path) -> AsyncIterator[Bench]:
    """Install the chart's role, start the operator, end it afterwards."""
    kubectl(kubeconfig, "create", "namespace", NAMESPACE)
    apply_chart_roles(kubeconfig)
    login = login_as(kubeconfig, ACCOUNT, folder, namespace=NAMESPACE)
    async with Client(from_kubeconfig(kubeconfig)) as client:
        await client.create(FLOW_SCHEMA, "", flow_schema(ACCOUNT, namespace=NAMESPACE, flow=FLOW))
        process, url = _start(login, folder)
        try:
            await eventually(lambda: answers(f"{url}/readyz"))
            yield Bench(kubeconfig, client, psutil.Process(process.pid), f"{url}/metrics")
        finally:
            process.terminate()
            process.wait(timeout=40)


def kubectl(kubeconfig: Path, *arguments: str, stdin: str = "") -> str:
    """What kubectl prints; raises `CalledProcessError`."""
    command = [str(binary("kubectl")), "--kubeconfig", str(kubeconfig), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, input=stdin).stdout


async def eventually(
    probe: Callable[[], Awaitable[bool]], *, seconds: float = 60, every: float = 0.1
) -> None:
    """Return when `probe` is true; raises `TimeoutError` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not await probe():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s")
        await asyncio.sleep(every)


def _start(login: Path, folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    port = free_port()
    environment = os.environ | operator_environment(login, folder, http=port, xds=free_port())
    process = subprocess.Popen([sys.executable, "-m", "noria_operator.app"], env=environment)
    return process, f"http://127.0.0.1:{port}"


def operator_environment(login: Path, folder: Path, *, http: int, xds: int) -> dict[str, str]:
    """What the operator is told: who it is, on which ports it listens, and a key that all can know."""
    key = folder / "master-key"
    key.write_text(MASTER_KEY)
    return {
        "KUBECONFIG": str(login),
        "NORIA_NAMESPACE": NAMESPACE,
        "NORIA_SERVER_IMAGE": IMAGE,
        "NORIA_ROUTER_IMAGE": IMAGE,
        "NORIA_MASTER_KEY_FILE": str(key),
        "NORIA_HTTP_PORT": str(http),
        "NORIA_XDS_PORT": str(xds),
        "NORIA_LOG_LEVEL": "WARNING",
    }


def apply_chart_roles(kubeconfig: Path) -> None:
    """The chart's service account and roles."""
    chart = str(CHECKOUT / "charts" / "noria")
    template = [str(binary("helm")), "template", "noria", chart, "--namespace", NAMESPACE]
    rendered = subprocess.run(
        [*template, "-s", "templates/serviceaccount.yaml", "-s", "templates/rbac.yaml"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    kubectl(kubeconfig, "apply", "-f", "-", stdin=rendered)


def login_as(kubeconfig: Path, account: str, folder: Path, *, namespace: str) -> Path:
    """A kubeconfig in `folder` that logs in as a service account."""
    token = kubectl(kubeconfig, "create", "token", account, "-n", namespace, "--duration=2h").strip()
    config = json.loads(kubectl(kubeconfig, "config", "view", "--raw", "-o", "json"))
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    path = folder / f"{account}.conf"
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))
    return path


def flow_schema(account: str, *, namespace: str, flow: str) -> Json:
    """A FlowSchema that counts the requests of one service account."""
    subject = {"name": account, "namespace": namespace}
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}
    rule = {
        "subjects": [{"kind": "ServiceAccount", "serviceAccount": subject}],
        "resourceRules": [{**everything, "clusterScope": True}],
    }
    level = {"name": "workload-high"}
    spec = {"priorityLevelConfiguration": level, "matchingPrecedence": 10, "rules": [rule]}
    kind = {"apiVersion": FLOW_SCHEMA.api_version, "kind": FLOW_SCHEMA.kind}
    return {**kind, "metadata": {"name": flow}, "spec": spec}


async def answers(url: str) -> bool:
    """Whether it answers 200."""
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False
