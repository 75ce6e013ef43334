"""What the dashboards ask of model servers is answered by a real Prometheus that scrapes real ones and reads
the rules as they are shipped, for a classifier and for a regression.

The demo asks the rest, with an operator: `make demo MONITORING=1`.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.linear_model import LinearRegression, LogisticRegression
from tests.integration.scraping import Json
from tests.integration.scraping import prometheus as scraping
from tests.integration.server.process import Process, ready
from tools.monitoring import live
from tools.monitoring.dashboards.files import FOLDER
from tools.monitoring.live import Prometheus, Span, targets, variables
from tools.ports import free_port

from noria_serving import bundle

RULES = FOLDER.parent / "rules.yaml"
ROWS = np.random.default_rng(7).normal(size=(400, 3)).astype(np.float32)
MODELS = {
    "late": (LogisticRegression(), (ROWS[:, 0] > 0).astype(int)),
    "price": (LinearRegression(), ROWS[:, 0] + 0.1 * ROWS[:, 1] ** 2),
}
OF_SERVERS = re.compile(r"(?<![:\w])(model_|model:|version:)")
"""What servers tell, and what rules make of it; ages of models are the operator's."""

pytestmark = pytest.mark.extended


def rules() -> Json:
    """As shipped, but every second; and in the place of an operator what namespaces and models there are."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    told = [
        {
            "record": "noria_deployment_phase",
            "expr": "vector(1)",
            "labels": {"namespace": "shop", "deployment": name, "model": name},
        }
        for name in MODELS
    ]
    return {
        "groups": [{**group, "interval": "1s"} for group in [*groups, {"name": "operator", "rules": told}]]
    }


@asynccontextmanager
async def served(name: str, folder: Path) -> AsyncIterator[tuple[Process, Json]]:
    """A model server with its model, and the job that scrapes it as the chart's PodMonitor does."""
    model, labels = MODELS[name]
    apart = [{"feature": "x1", "bounds": [0]}]
    saved = bundle.save(model.fit(ROWS, labels), ROWS, labels, folder / name, name=name, slices=apart)
    counters = free_port()
    async with ready(
        saved.path, NORIA_MODEL=name, NORIA_DEPLOYMENT=name, NORIA_VERSION=f"{name}-1",
        NORIA_COUNTERS_PORT=str(counters),
    ) as server:  # fmt: skip
        labelled = {"namespace": "shop", "deployment": name}
        target = {"targets": [f"127.0.0.1:{counters}"], "labels": labelled}
        yield server, {"job_name": name, "static_configs": [target]}


async def ask(server: Process, name: str, count: int) -> None:
    """Predictions, each with its label sent back."""
    labels = MODELS[name][1]
    for index in range(count):
        row = ROWS[index % len(ROWS)]
        inputs = [{"name": "input-0", "shape": [1, 3], "datatype": "FP32", "data": row.tolist()}]
        answer = (await server.client.post(f"/v2/models/{name}/infer", json={"inputs": inputs})).json()
        body = {
            "token": answer["parameters"]["feedback_token"],
            "labels": [labels[index % len(ROWS)].item()],
        }
        assert (await server.client.post(f"/v2/models/{name}/feedback", json=body)).status_code == 200


async def test_every_query_on_model_servers_is_answered(tmp_path: Path) -> None:
    async with served("late", tmp_path) as (late, one), served("price", tmp_path) as (price, other):
        with scraping(one, other, rules=rules()) as url:
            prometheus, start_of = Prometheus(url), time.time()
            deadline = time.monotonic() + 90
            while (empty := await asyncio.to_thread(unanswered, prometheus, start_of)) and (
                time.monotonic() < deadline
            ):
                await asyncio.gather(ask(late, "late", 60), ask(price, "price", 60))
                await asyncio.sleep(1)
    assert empty == []


def unanswered(prometheus: Prometheus, start_of: float) -> list[str]:
    """The targets of all dashboards that ask model servers only, and get nothing."""
    span, found = Span(start_of, time.time()), []
    for path in sorted(FOLDER.glob("*.json")):
        dashboard = json.loads(path.read_text())
        for one in targets(dashboard, variables(dashboard, prometheus, span)):
            if (
                OF_SERVERS.search(one.expr)
                and "noria_" not in one.expr
                and not live.ask(prometheus, one, span)
            ):
                found.append(f"{path.stem}: {one.panel} {one.ref}")
    return found
