"""From requests to a verdict: what model servers count, summed over them, is what the operator's triggers
judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import httpx
import numpy as np
import pytest
from tests.unit.domain.training_world import NOW

from noria_operator.api.triggers import TriggerSpec
from noria_operator.domain.drift.columns import Reference
from noria_operator.domain.fairness import Group
from noria_operator.domain.triggers import Champion, Request
from noria_operator.domain.triggers_findings import Traffic
from noria_operator.domain.triggers_monitoring import watch
from noria_operator.evidence import windows
from noria_operator.evidence.windows import Window
from noria_serving.feedback.keys import KeyRing
from noria_serving.model.loaded import Loaded
from noria_serving.server.app import App
from noria_serving.server.counters_app import CountersApp
from noria_serving.server.models import Models
from noria_serving.server.service import Service
from noria_serving.settings import ModelSettings, Settings

LATE = ModelSettings(
    bundle="", namespace="shop", deployment="late", model="late-model", version="late-model-4", number="4"
)
FIRST = Champion("late-model-4", {})
HOUR = timedelta(hours=1)
LATER = 9e9
"""After every real time, so that a snapshot of the test is the newest."""
Rows = np.ndarray


class Server:
    """One pod."""

    def __init__(self, loaded: Loaded) -> None:
        self.tokens: list[str] = []
        self.models = Models(Settings((LATE,), max_body=1_000_000))
        self.service = Service(LATE, loaded)
        self.service.desk.keys.ring = KeyRing("k", {"k": b"k" * 32})
        self.models.serve(self.service)

    def snapshot(self, hour: int) -> None:
        """What the server does by itself every five seconds."""
        self.service.recorder.fold()
        self.service.ring.take(self.service.recorder.state.vector, LATER + hour)

    async def predict(self, rows: Rows) -> None:
        tensor = {"name": "input-0", "shape": list(rows.shape), "datatype": "FP64"}
        body = {"inputs": [tensor | {"data": rows.tolist()}]}
        async with self._client(App(self.models)) as client:
            answer = await client.post("/v2/models/late/infer", json=body)
            assert answer.status_code == 200
            self.tokens.append(answer.headers.get("Noria-Feedback", ""))

    async def label(self, token: str, labels: list[Any]) -> Any:
        async with self._client(App(self.models)) as client:
            body = {"token": token, "labels": labels}
            answer = await client.post("/v2/models/late/feedback", json=body)
            assert answer.status_code == 200, answer.text
            return answer.json()

    async def scraped(self) -> str:
        async with self._client(CountersApp(self.models)) as client:
            return (await client.get("/metrics")).text

    async def told(self, path: str) -> Any:
        async with self._client(CountersApp(self.models)) as client:
            return (await client.get(path)).json()

    @staticmethod
    def _client(app: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://late")


async def judged(
    trigger: TriggerSpec, servers: Iterable[Server], windows_: Iterable[Mapping[int, Rows]]
) -> Request:
    """Each window: rows by the number of the server that gets them; then an hour is over."""
    pods = list(servers)
    found = watch(trigger, {}, champion=FIRST, traffic=None, now=NOW)
    for hour, parts in enumerate(windows_, 1):
        window = Window(0.0)
        for pod in pods:
            pod.snapshot(hour)
            before = windows.parse(await pod.told("/counters"))
            assert before is not None
            window.take(before, windows.parse(await pod.told(f"/counters?since={LATER + hour}")))
        for number, rows in parts.items():
            await pods[number].predict(rows)
        for pod in pods:
            after = windows.parse(await pod.told("/counters"))
            assert after is not None
            window.take(after)
        seen = windows.seen(window.total(), FIRST.name)
        reference = windows.reference(await pods[0].told("/reference"), FIRST.name)
        assert isinstance(reference, Reference)
        groups = windows.groups(window.total(), FIRST.name, reference.slices)
        traffic = Traffic(seen, reference, groups=groups, task="binary")
        found = watch(trigger, found.entry, champion=FIRST, traffic=traffic, now=NOW + hour * HOUR)
    return found


def trigger(kind: str, **rule: Any) -> TriggerSpec:
    return TriggerSpec.model_validate({"name": "watch", kind: {"window": "1h"} | rule})


def rows(count: int, seed: int) -> Rows:
    return np.random.default_rng(seed).normal(size=(count, 3))


@pytest.mark.parametrize(("shift", "reason"), [(0.0, "Steady"), (2.0, "Drifted")])
async def test_traffic_like_training_is_steady_and_traffic_unlike_it_drifted(
    loaded: Loaded, shift: float, reason: str
) -> None:
    servers = [Server(loaded), Server(loaded)]
    each = [{0: rows(300, n) + shift, 1: rows(300, n + 50) + shift} for n in range(3)]
    found = await judged(trigger("drift"), servers, each)
    assert (found.entry["reason"], found.entry["samples"]) == (reason, 600)


async def test_sticky_routing_is_steady(loaded: Loaded) -> None:
    """One pod gets the low half of every window, the other the high half."""
    servers, each = [Server(loaded), Server(loaded)], []
    for seed in range(3):
        drawn = rows(800, seed)
        drawn = drawn[drawn[:, 0].argsort()]
        each.append({0: drawn[:400], 1: drawn[400:]})
    assert (await judged(trigger("drift"), servers, each)).entry["reason"] == "Steady"
    halves = [{0: one[0]} for one in each]
    assert (await judged(trigger("drift"), [Server(loaded)], halves)).entry["reason"] == "Drifted"


async def test_values_beyond_those_of_training_are_broken_data(loaded: Loaded) -> None:
    drawn = rows(600, 1)
    beyond = drawn.copy()
    beyond[:300, 1] = 1e6
    found = await judged(trigger("dataQuality"), [Server(loaded)], [{0: beyond}])
    assert found.entry["reason"] == "Violated"
    assert (found.entry["columns"][0]["name"], found.entry["columns"][0]["check"]) == ("x1", "range")
    assert float(found.entry["columns"][0]["value"]) == pytest.approx(0.5, abs=0.02)
    clean = await judged(trigger("dataQuality"), [Server(loaded)], [{0: drawn}])
    assert clean.entry["reason"] == "Clean"


async def test_groups_that_get_other_answers_or_other_mistakes_are_unfairly_treated(
    loaded_apart: Loaded,
) -> None:
    """The score follows x0 and slices x1: rows where both agree are positive oftener where x1 is high."""
    drawn = rows(2000, 3)
    alike = {0: drawn[:1000], 1: drawn[1000:]}
    unlike = {pod: np.column_stack([part[:, 0] + 0.5 * (part[:, 1] > 0), part[:, 1:]])
              for pod, part in alike.items()}  # fmt: skip
    rule = {"feature": "x1", "maxParityDifference": "0.05"}
    for each, reason in ((alike, "Fair"), (unlike, "Unfair")):
        servers = [Server(loaded_apart), Server(loaded_apart)]
        found = await judged(trigger("fairness", **rule), servers, [each])
        assert (found.entry["reason"], found.entry["samples"]) == (reason, 2000)


async def test_labels_count_for_the_slices_of_their_rows_at_whatever_pod(loaded_apart: Loaded) -> None:
    one, two = Server(loaded_apart), Server(loaded_apart)
    each = np.array([[2.0, -1.0, 0.0], [2.0, 1.0, 0.0], [-2.0, 1.0, 5.0], [2.0, 3.0, 0.0]])
    await one.predict(each[:1])
    await one.predict(each[1:])
    for token, labels in zip(one.tokens, [[1], [0, 1, None]], strict=True):
        await two.label(token, labels)
    document = windows.parse(await two.told("/counters"))
    reference = windows.reference(await two.told("/reference"), FIRST.name)
    assert document is not None
    assert reference is not None
    groups = windows.groups(document.counts, FIRST.name, reference.slices)
    assert groups["x1"] == (Group("..0", tp=1), Group("0..", fp=1, fn=1), Group("missing"))
    seen = windows.parse(await one.told("/counters"))
    assert seen is not None
    predicted = windows.groups(seen.counts, FIRST.name, reference.slices)["x1"]
    assert [(group.rows, group.positive) for group in predicted] == [(1, 1), (3, 2), (0, 0)]
    labels = 'actual="1",feature="x1",model="late-model",predicted="0",slice="0..",version="late-model-4"'
    assert f"model_slice_confusion_total{{{labels}}} 1.0" in await two.scraped()
