"""The regression beside the demo: what it learns, how it is asked, and the manifest that serves it."""

from __future__ import annotations

import asyncio
from string import Template
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from examples.flights.demo.monitoring import FOLDER, NAMESPACE
from examples.flights.monitoring import air_time
from examples.flights.monitoring.air_time import FEATURES, LABEL, flights

from noria_serving import conversion
from noria_serving.model.loaded import load

Json = dict[str, Any]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return flights()


def test_flights_have_all_that_is_asked_and_the_minutes_that_they_took(rows: pd.DataFrame) -> None:
    assert rows[[*FEATURES, LABEL]].notna().all().all()
    assert set(rows["month"]) == set(range(1, 13))


def test_the_model_foresees_the_minutes_better_than_their_mean(rows: pd.DataFrame, tmp_path: Any) -> None:
    made = air_time.save(rows.iloc[::50], tmp_path)
    later = rows[rows["month"] == 3].iloc[::100]
    model = load(str(made.path))
    arrays, _ = conversion.table(later[list(FEATURES)])
    inputs = conversion.cast(arrays, model.backend.signature)
    said = model.scoring.read(model.backend.predict(inputs))[0]
    assert np.abs(said - later[LABEL]).mean() < 20
    assert np.abs(later[LABEL].mean() - later[LABEL]).mean() > 60


class Server:
    """Stands for the router of a deployment; the second request fails."""

    def __init__(self) -> None:
        self.asked: list[Json] = []
        self.told: list[Json] = []

    def app(self) -> web.Application:
        async def infer(request: web.Request) -> web.Response:
            self.asked.append(await request.json())
            if len(self.asked) == 2:
                return web.json_response({"error": "not ready"}, status=503)
            return web.json_response({"parameters": {"feedback_token": f"t{len(self.asked)}"}})

        async def feedback(request: web.Request) -> web.Response:
            self.told.append(await request.json())
            return web.json_response({"results": []})

        made = web.Application()
        made.add_routes(
            [
                web.post("/v2/models/air-time/infer", infer),
                web.post("/v2/models/air-time/feedback", feedback),
            ]
        )
        return made


async def test_each_answer_gets_its_label_and_a_failure_ends_nothing(rows: pd.DataFrame) -> None:
    server, chosen = Server(), rows.iloc[:3]
    async with TestServer(server.app()) as running:
        url = str(running.make_url("")).rstrip("/")
        await asyncio.wait_for(air_time.ask(url, chosen, each=0.0), 10)
    assert [one["inputs"][0]["name"] for one in server.asked] == [FEATURES[0]] * 3
    minutes = chosen[LABEL].astype(float).tolist()
    assert server.told == [
        {"token": "t1", "labels": [minutes[0]]},
        {"token": "t3", "labels": [minutes[2]]},
    ]


async def test_nobody_there_ends_nothing(rows: pd.DataFrame) -> None:
    await asyncio.wait_for(air_time.ask("http://127.0.0.1:9", rows.iloc[:2], each=0.0), 10)


def test_its_manifest_is_accepted_by_our_own_models() -> None:
    from noria_operator.api.modeldeployment import ModelDeployment
    from noria_operator.api.trainingjob import TrainingJob

    text = Template((FOLDER / "air-time.yaml").read_text()).substitute(FLIGHTS_IMAGE="noria/flights:1")
    documents = list(yaml.safe_load_all(text))
    assert {one["metadata"]["namespace"] for one in documents} == {NAMESPACE}
    kinds: dict[str, Any] = {"TrainingJob": TrainingJob, "ModelDeployment": ModelDeployment}
    found = {one["kind"]: one for one in documents}
    assert set(found) == {"PersistentVolumeClaim", "Deployment", *kinds}
    for kind, model in kinds.items():
        model.model_validate({key: found[kind][key] for key in ("metadata", "spec")})
    served = found["ModelDeployment"]
    assert served["spec"]["model"] == found["TrainingJob"]["spec"]["model"] == "air-time"
    (asker,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    (url,) = (one["value"] for one in asker["env"] if one["name"] == "AIR_TIME_URL")
    assert url == f"http://{served['metadata']['name']}.{NAMESPACE}.svc"
