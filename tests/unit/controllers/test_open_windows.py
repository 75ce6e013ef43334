"""While windows are open and nothing else happens, a pass over a ContinuousTraining only reads counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.controllers.training_api import Api, Servers, operator
from tests.unit.domain.test_triggers_plan import training
from tests.unit.domain.training_world import deployment, version

from noria_operator.controllers.context import Context
from noria_operator.controllers.continuoustraining import reconcile
from noria_operator.domain.training_times import moment
from noria_operator.domain.triggers_gap import Gap
from noria_operator.domain.triggers_open import LONGEST
from noria_operator.evidence.totals import Totals
from noria_operator.kube.kinds import CONTINUOUSTRAINING, MODELDEPLOYMENT, MODELVERSION, TRAININGJOB, Key
from noria_serving.contract import SCORE_BINS

Json = dict[str, Any]
KEY = Key(CONTINUOUSTRAINING, "demo", "flights")
TRIGGERS: list[Json] = [
    {"name": "quality", "performance": {"metric": "auc", "relativeDrop": "0.05", "window": "1h"}},
    {"name": "drift", "drift": {"window": "30m"}},
    {"name": "weekly", "schedule": "0 2 * * 1"},
    {"name": "both", "combine": {"of": ["quality", "drift"]}},
]
LABELS = {f"scores/flights-1/{side}": (1,) * SCORE_BINS for side in ("negatives", "positives")}


class Counts(dict[str, tuple[int, ...]]):
    """Counts that know whether anybody looked at them."""

    looks = 0

    def get(self, *key: Any) -> Any:
        self.looks += 1
        return super().get(*key)


async def world(triggers: list[Json] = TRIGGERS, **servers: Any) -> tuple[Api, Context, Servers, Counts]:
    """An operator that has found all windows open."""
    api = Api()
    api.put(CONTINUOUSTRAINING, training(triggers=triggers))
    api.put(MODELVERSION, version(1))
    api.put(MODELDEPLOYMENT, deployment(1))
    counts = Counts(LABELS)
    told = Servers(**{"totals": Totals(counts)} | servers)
    ctx = operator(api, told)
    for _ in range(2):
        await reconcile(ctx, KEY)
        api.clock.time += timedelta(seconds=15)
    told.asked.clear()
    told.kept.clear()
    counts.looks = 0
    return api, ctx, told, counts


async def test_open_windows_are_read_and_nothing_is_weighed() -> None:
    api, ctx, servers, counts = await world()
    before = len(api.writes)
    result = await reconcile(ctx, KEY)
    assert (len(servers.asked), len(servers.kept)) == (1, 1)
    assert (counts.looks, len(api.writes)) == (0, before)
    assert result.after == ctx.config.counters_interval


async def test_the_first_window_that_ends_is_judged_at_that_very_time() -> None:
    api, ctx, servers, counts = await world()
    drift = api.objects[KEY]["status"]["triggers"][1]
    ends = moment(drift["windowStartedAt"]) + timedelta(minutes=30)
    api.clock.time = ends - timedelta(seconds=20)
    await reconcile(ctx, KEY)  # so long after the last time, triggers are weighed
    counts.looks = 0
    api.clock.time = ends - timedelta(seconds=10)
    result = await reconcile(ctx, KEY)
    assert (counts.looks, result.after) == (0, timedelta(seconds=10))
    api.clock.time = ends
    await reconcile(ctx, KEY)
    assert len(servers.asked) == 4, "the window of drift is asked, too"
    assert counts.looks > 0


Change = Callable[[Api, Context], Context]


def put(kind: Any, change: Callable[[Json], Json]) -> Change:
    """Somebody changes an object."""

    def changed(api: Api, ctx: Context) -> Context:
        (known,) = api.all(kind)
        ctx.store.observe("MODIFIED", api.put(kind, change(known)))
        return ctx

    return changed


def asks(obj: Json) -> Json:
    return obj | {"metadata": obj["metadata"] | {"annotations": {"noria.dev/retrain": "1"}}}


def suspends(obj: Json) -> Json:
    return obj | {"spec": obj["spec"] | {"suspend": True}}


def leads_aside(obj: Json) -> Json:
    traffic = [{"version": "flights-2", "weight": 0, "match": [{"name": "market", "value": "de"}]}]
    return obj | {"status": obj["status"] | {"traffic": traffic}}


def is_evaluated(obj: Json) -> Json:
    return obj | {"spec": obj["spec"] | {"evaluation": {"metrics": {"auc": "0.75"}}}}


def runs_elsewhere(api: Api, ctx: Context) -> Context:
    meta = {"name": "other", "namespace": "demo", "uid": "other", "creationTimestamp": "2026-03-01T12:00:00Z"}
    body = {"apiVersion": "noria.dev/v1alpha1", "kind": "TrainingJob", "metadata": meta}
    ctx.store.observe("ADDED", api.put(TRAININGJOB, body | {"spec": {"model": "flights"}}))
    return ctx


def later(by: timedelta) -> Change:
    def moved(api: Api, ctx: Context) -> Context:
        api.clock.time += by
        return ctx

    return moved


def nobody_looked(api: Api, ctx: Context) -> Context:
    gap = Gap(api.clock.time - timedelta(hours=1), api.clock.time)
    return replace(ctx, gap=lambda: gap)


@pytest.mark.parametrize(
    "change",
    [
        put(CONTINUOUSTRAINING, asks),
        put(CONTINUOUSTRAINING, suspends),
        put(MODELDEPLOYMENT, leads_aside),
        put(MODELVERSION, is_evaluated),
        runs_elsewhere,
        nobody_looked,
        later(LONGEST),
        later(timedelta(seconds=-20)),
    ],
    ids=["command", "spec", "traffic", "version", "run", "gap", "long ago", "clock set back"],
)
async def test_whatever_changes_is_weighed(change: Change) -> None:
    api, ctx, _, counts = await world()
    await reconcile(change(api, ctx), KEY)
    assert counts.looks > 0


async def test_what_a_pod_says_later_of_its_model_is_told_at_once() -> None:
    api, ctx, servers, _ = await world(totals=None)
    servers.totals = Totals({"task/flights-1/regression": ()})
    await reconcile(ctx, KEY)
    (quality, *_) = api.objects[KEY]["status"]["triggers"]
    assert quality["reason"] == "MetricUnsuitable"


async def test_counts_that_cannot_be_read_any_more_are_told_at_once() -> None:
    api, ctx, servers, _ = await world()
    for problem in ("prom: no answer within 5 s", ""):
        servers.unreadable = problem
        await reconcile(ctx, KEY)
        (quality, *_) = api.objects[KEY]["status"]["triggers"]
        assert quality.get("problem", "") == problem


@pytest.mark.parametrize(
    "trigger",
    [
        {"performance": {"metric": "auc", "min": "0.6", "minLabels": 10_000}},
        {"newSamples": {"count": 10_000}},
        {"maxAge": "900h"},
    ],
)
async def test_a_trigger_that_waits_for_more_than_the_end_of_a_window_is_weighed_each_time(
    trigger: Json,
) -> None:
    _, ctx, _, counts = await world([*TRIGGERS, {"name": "more", **trigger}])
    await reconcile(ctx, KEY)
    assert counts.looks > 0
