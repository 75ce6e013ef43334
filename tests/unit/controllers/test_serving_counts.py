"""Labels in a rollout: read of all pods for both versions, only where they are judged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

from tests.unit.controllers.serving_api import KEY, Routers, ServingApi, edit, started
from tests.unit.controllers.test_modeldeployment import STEPS, canary, weights
from tests.unit.controllers.training_api import minutes

from noria_operator.controllers import modeldeployment
from noria_operator.evidence.server import CounterReader, Totals
from noria_serving.contract import SCORE_BINS

Json = dict[str, Any]


@dataclass
class Servers:
    """Model servers with labels that all scores were right about, or none."""

    right: dict[str, int] = field(default_factory=dict)
    wrong: dict[str, int] = field(default_factory=dict)
    task: str = ""
    asked: list[set[str]] = field(default_factory=list)
    since: list[datetime] = field(default_factory=list)

    def latest(
        self, namespace: str, deployment: str, pods: Iterable[Json], *, since: datetime, every: timedelta
    ) -> tuple[Totals | None] | None:
        self.since.append(since)
        self.asked.append({one["metadata"]["labels"]["noria.dev/version"] for one in pods})
        counts: dict[str, tuple[int, ...]] = {
            f"task/{one}/{self.task}": () for one in self.right if self.task
        }
        for version in {*self.right, *self.wrong}:
            row = [0] * SCORE_BINS
            row[-1], row[0] = self.right.get(version, 0), self.wrong.get(version, 0)
            counts[f"scores/{version}/positives"] = tuple(row)
            if self.task:
                counts[f"scores/{version}/positives"] = (self.right.get(version, 0), *[0] * (SCORE_BINS - 1))
                counts[f"scores/{version}/negatives"] = (self.wrong.get(version, 0), *[0] * (SCORE_BINS - 1))
        return (Totals(counts),)


async def look(api: ServingApi, routers: Routers, folder: Path, servers: Servers) -> None:
    ctx = started(api, routers, folder)
    await modeldeployment.reconcile(replace(ctx, servers=cast(CounterReader, servers)), KEY)


async def test_labels_of_both_versions_are_read_from_all_pods_and_judged(tmp_path: Path) -> None:
    api, routers = await canary(tmp_path)
    servers = Servers(right={"flights-1": 2900, "flights-2": 500}, wrong={"flights-1": 100, "flights-2": 500})
    await look(api, routers, tmp_path, servers)
    assert servers.asked == [], "nobody asked for quality"
    edit(api, strategy={**STEPS, "analysis": {"quality": {"metric": "accuracy"}}})
    await look(api, routers, tmp_path, servers)
    assert servers.asked == [{"flights-1", "flights-2"}]
    assert weights(api) == {"flights-1": 100}
    assert "quality: too much worse: accuracy 0.5000" in api.status["rejected"][0]["reason"]


async def test_labels_count_after_their_delay_so_that_both_versions_have_old_ones(tmp_path: Path) -> None:
    """Until then the champion alone has labels of old predictions."""
    api, routers = await canary(tmp_path)
    servers = Servers(right={"flights-1": 2900, "flights-2": 500}, wrong={"flights-1": 100, "flights-2": 500})
    quality = {"metric": "accuracy", "initialDelay": "10m"}
    edit(api, strategy={**STEPS, "analysis": {"quality": quality}})
    await look(api, routers, tmp_path, servers)
    assert api.status["analysis"]["measures"][1]["verdict"] == "Hold"
    began = servers.since[0]
    api.clock.time += minutes(10)
    await look(api, routers, tmp_path, servers)
    assert servers.since[-1] == began + minutes(10)
    assert weights(api) == {"flights-1": 100}


async def test_several_classes_are_compared_by_accuracy_and_nothing_else(tmp_path: Path) -> None:
    api, routers = await canary(tmp_path)
    servers = Servers(right={"flights-1": 2900, "flights-2": 500}, wrong={"flights-1": 100, "flights-2": 500})
    servers.task = "multiclass"
    edit(api, strategy={**STEPS, "analysis": {"quality": {}}})
    await look(api, routers, tmp_path, servers)
    measure = api.status["analysis"]["measures"][1]
    assert measure["verdict"] == "Error"
    assert "of which auc cannot be told from counts; use accuracy" in measure["message"]
    edit(api, strategy={**STEPS, "analysis": {"quality": {"metric": "accuracy"}}})
    await look(api, routers, tmp_path, servers)
    assert weights(api) == {"flights-1": 100}
    assert "quality: too much worse: accuracy 0.5000" in api.status["rejected"][0]["reason"]
