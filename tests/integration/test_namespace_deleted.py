"""A namespace that is deleted under a working operator: nothing is tried again, nobody is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from tests.integration.faults import Faults
from tests.integration.running import NAMESPACE, Cluster, eventually, operator
from tests.integration.toy import Toy, create
from tests.integration.wheel import NAME, World

from noria_operator.controllers.context import Context, Result
from noria_operator.controllers.registry import CONTROLLERS
from noria_operator.kube.client import Answer
from noria_operator.kube.errors import NamespaceTerminating, NotFound, error_of
from noria_operator.kube.kinds import EVENT, LEASE, MODELDEPLOYMENT, SERVICE, Key, Kind
from noria_operator.kube.requests import Request

CONFIGMAP = Kind("", "v1", "configmaps", "ConfigMap")
PATIENCE = 40.0
"""Seconds that Kubernetes may take to empty a namespace."""


@dataclass
class Requests:
    """What the operator sent, and what of it was turned away because the namespace goes."""

    sent: list[str] = field(default_factory=list)
    terminating: list[str] = field(default_factory=list)

    def faults(self) -> Faults:
        return Faults(after=self._after)

    def _after(self, request: Request, answer: Answer) -> None:
        if request.kind == LEASE:
            return
        line = f"{answer.status} {request.verb} {request.path}"
        self.sent.append(line)
        if answer.status >= 300 and isinstance(error_of(answer.status, answer.body), NamespaceTerminating):
            self.terminating.append(line)


async def delete(cluster: Cluster) -> None:
    """Delete the namespace and wait until it says so itself."""
    await cluster.client.delete(NAMESPACE, "", cluster.namespace)

    async def terminating() -> bool:
        found = await cluster.client.get(NAMESPACE, "", cluster.namespace)
        return bool(found["status"]["phase"] == "Terminating")

    await eventually(terminating)


async def gone(cluster: Cluster) -> bool:
    try:
        await cluster.client.get(NAMESPACE, "", cluster.namespace)
    except NotFound:
        return True
    return False


async def hold(cluster: Cluster) -> Callable[[], object]:
    """Keep the namespace from going; returns what lets it go."""
    kept = {"metadata": {"name": "kept", "finalizers": ["noria.dev/test"]}}
    await cluster.client.create(CONFIGMAP, cluster.namespace, kept)
    free = {"metadata": {"finalizers": None}}
    return lambda: cluster.client.merge(CONFIGMAP, cluster.namespace, "kept", free)


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the operator itself logged as a warning or worse."""
    return [
        f"{record.levelname} {record.name}: {record.getMessage()} {getattr(record, 'error', '')}"
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name.startswith("noria_operator")
    ]


async def test_what_the_api_server_answers_has_a_type(cluster: Cluster) -> None:
    free = await hold(cluster)
    await delete(cluster)
    service = {"metadata": {"name": "a", "namespace": cluster.namespace}, "spec": {"ports": [{"port": 1}]}}
    with pytest.raises(NamespaceTerminating, match="because it is being terminated"):
        await cluster.client.create(SERVICE, cluster.namespace, service)
    with pytest.raises(NamespaceTerminating):
        await cluster.client.apply(SERVICE, cluster.namespace, service)
    await free()


class Late(Toy):
    """Its first pass looks at an object whose namespace is deleted before it writes."""

    cluster: Cluster

    async def reconcile(self, ctx: Context, key: Key) -> Result:
        if not self.passes:
            await delete(self.cluster)
        return await super().reconcile(ctx, key)


async def test_a_pass_that_comes_too_late_ends_without_a_word(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    home, requests, toy = await cluster.another(), Requests(), Late()
    toy.cluster = cluster
    free = await hold(cluster)
    with caplog.at_level(logging.WARNING):
        config = home.config(watch_namespaces=(cluster.namespace,))
        async with operator(home, [toy], faults=requests.faults(), config=config):
            await create(cluster)
            await eventually(lambda: _some(requests.terminating))
            await asyncio.sleep(2)
            assert len(requests.terminating) == 1, "it was tried again"
            assert toy.passes["train"] <= 3
            assert await cluster.client.list(EVENT, cluster.namespace) == []
            await free()
            await eventually(lambda: gone(cluster), seconds=PATIENCE)
    assert complaints(caplog) == []


async def _some(found: list[str]) -> bool:
    return bool(found)


async def test_a_namespace_goes_in_the_middle_of_a_turn_without_a_word(
    cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = tmp_path / "master-key"
    key.write_text("k" * 44)
    home, requests, world = await cluster.another(), Requests(), World(cluster)
    config = home.config(
        watch_namespaces=(cluster.namespace,),
        master_key_file=key,
        evidence_interval=timedelta(milliseconds=100),
    )
    await world.prepare()
    await world.retrain(1)
    with caplog.at_level(logging.WARNING):
        parts = {"faults": requests.faults(), "router": world, "config": config}
        async with operator(home, CONTROLLERS, **parts) as running:

            async def serving() -> bool:
                await world.step()
                found = running.store.get(Key(MODELDEPLOYMENT, cluster.namespace, NAME))
                return bool(found and found["status"].get("traffic"))

            await eventually(serving)
            await delete(cluster)
            await eventually(lambda: _emptied(world), seconds=PATIENCE)
            assert len(requests.terminating) < 100, "a storm"
            assert not running.store.list(MODELDEPLOYMENT)
            before = len(requests.sent)
            await asyncio.sleep(3)
            assert requests.sent[before:] == []
    assert complaints(caplog) == []


async def _emptied(world: World) -> bool:
    await world.step()
    return await gone(world.cluster)
