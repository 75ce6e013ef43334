"""The command line against a real API server, with the official client."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.integration.running import Cluster
from tests.integration.wheel import NAME, continuous_training, model_deployment

from noria_operator.cli.main import main
from noria_operator.kube.kinds import CONTINUOUSTRAINING, MODELDEPLOYMENT


async def test_people_can_look_and_give_commands(
    cluster: Cluster, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    space = cluster.namespace
    await cluster.client.create(MODELDEPLOYMENT, space, model_deployment())
    await cluster.client.create(CONTINUOUSTRAINING, space, continuous_training())

    def call(*arguments: str) -> str:
        main(["--namespace", space, *arguments])
        return capsys.readouterr().out

    assert NAME in await asyncio.to_thread(call, "status")
    assert f"ModelDeployment {NAME}: Pending" in await asyncio.to_thread(call, "why", NAME)
    with pytest.raises(SystemExit, match="did not acknowledge"):
        await asyncio.to_thread(call, "abort", NAME, "--wait", "0.2")
    found = await cluster.client.get(MODELDEPLOYMENT, space, NAME)
    assert found["metadata"]["annotations"]["noria.dev/abort"]
