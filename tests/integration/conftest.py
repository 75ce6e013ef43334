"""One real control plane for all integration tests: etcd, API server and controllers, our CRDs, no nodes.

Tests play the kubelet themselves (`tests.integration.kubelet`), and run the operator in their own process.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

import pytest
import yaml
from tests.integration.running import Cluster, eventually
from tools.cluster.controlplane import control_plane

from noria_operator.controllers.context import Config
from noria_operator.kube.client import Client
from noria_operator.kube.errors import AlreadyExists, ApiError
from noria_operator.kube.kinds import OWN_KINDS, Json, Kind
from noria_operator.kube.login import from_kubeconfig

ROOT = Path(__file__).parents[2]
CRD = Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False)


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The admin kubeconfig of a control plane of our own with Noria's CRDs."""
    with control_plane(tmp_path_factory.mktemp("control-plane")) as path:
        asyncio.run(prepare(path))
        yield path


@pytest.fixture
async def cluster(kubeconfig: Path) -> AsyncIterator[Cluster]:
    """A client with all rights and a namespace of the test's own."""
    endpoint = from_kubeconfig(kubeconfig)
    async with Client(endpoint) as client:
        yield await Cluster(endpoint, client, "").another()


@pytest.fixture
def config(cluster: Cluster, tmp_path: Path) -> Config:
    """Of an operator that may make keys."""
    key = tmp_path / "master-key"
    key.write_bytes(b"k" * 32)
    return cluster.config(master_key_file=key)


async def prepare(path: Path) -> None:
    """Noria's own kinds."""
    files = sorted((ROOT / "crds").glob("*.yaml"))
    documents = [document for file in files for document in yaml.safe_load_all(file.read_text())]
    async with Client(from_kubeconfig(path)) as client:
        await install(client, documents, OWN_KINDS)


async def install(client: Client, crds: Iterable[Json], kinds: Iterable[Kind]) -> None:
    """Create CRDs that are not there yet, and wait until their kinds can be listed."""
    for crd in crds:
        with contextlib.suppress(AlreadyExists):
            await client.create(CRD, "", crd)

    async def listed() -> bool:
        with contextlib.suppress(ApiError):
            for kind in kinds:
                await client.list(kind)
            return True
        return False

    await eventually(listed)
