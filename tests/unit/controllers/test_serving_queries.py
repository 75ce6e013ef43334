"""Custom queries in a rollout: asked when they are due, of a source that only the admin names."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from tests.unit.controllers.serving_api import (
    KEY,
    NAMESPACE,
    Routers,
    ServingApi,
    edit,
    settle,
    started,
)
from tests.unit.controllers.test_modeldeployment import STEPS, canary, condition, serving, weights
from tests.unit.controllers.training_api import minutes

from noria_operator.controllers import modeldeployment
from noria_operator.controllers.context import Result
from noria_operator.controllers.routing_envoy import UNCOUNTED
from noria_operator.domain import metric_sources
from noria_operator.domain.queries import Answer
from noria_operator.domain.query_templates import ArgumentType, Template
from noria_operator.evidence.prometheus import QueryReader
from noria_operator.kube.kinds import Key

Json = dict[str, Any]

LATE = Template(
    "late",
    metric_sources.Source("", "http://prometheus:9090"),
    'late{namespace="{{namespace}}",version="{{challenger}}",shop="{{shop}}"}',
    {"shop": ArgumentType.LABEL},
)
QUERY = {
    "name": "late-orders",
    "template": "late",
    "args": {"shop": "a"},
    "successCondition": "result[0] < 0.05",
    "interval": "30s",
}


@dataclass
class Asked:
    """Prometheus, which answers when a test says so."""

    asked: list[tuple[Hashable, str, str]] = field(default_factory=list)
    answers: dict[Hashable, Answer] = field(default_factory=dict)
    woken: list[Key] = field(default_factory=list)
    then: Callable[[], None] | None = None

    def answer(self, key: Hashable) -> Answer | None:
        return self.answers.get(key)

    def ask(
        self, key: Hashable, source: metric_sources.Source, query: str, *, then: Callable[[], None]
    ) -> None:
        self.asked.append((key, source.address, query))
        self.then = then


async def look(api: ServingApi, routers: Routers, folder: Path, source: Asked, **config: Any) -> Result:
    ctx = started(api, routers, folder, **{"query_templates": {"late": LATE}} | config)
    asking = replace(ctx, queries=cast(QueryReader, source), wake=source.woken.append)
    return await modeldeployment.reconcile(asking, KEY)


async def judged(folder: Path, **query: Any) -> tuple[ServingApi, Routers]:
    api, routers = await canary(folder)
    edit(api, strategy={**STEPS, "analysis": {"queries": [QUERY | query]}})
    return api, routers


async def test_a_query_is_asked_when_it_is_due_and_a_bad_answer_takes_the_weight(tmp_path: Path) -> None:
    api, routers = await judged(tmp_path)
    source = Asked()
    await look(api, routers, tmp_path, source)
    ((key, address, query),) = source.asked
    assert address == "http://prometheus:9090"
    assert query == f'late{{namespace="{NAMESPACE}",version="flights-2",shop="a"}}'
    source.answers[key] = Answer(api.clock.now(), (0.01,))
    source.asked.clear()
    await look(api, routers, tmp_path, source)
    (errors, measure) = api.status["analysis"]["measures"]
    assert (errors["name"], measure["name"]) == ("errors", "query late-orders")
    assert (measure["verdict"], measure["query"]) == ("Pass", query)
    assert source.asked == [], "not before its interval is over"
    api.clock.time += minutes(0.5)
    await look(api, routers, tmp_path, source)
    assert len(source.asked) == 1
    source.answers[key] = Answer(api.clock.now(), (0.5,))
    await look(api, routers, tmp_path, source)
    assert weights(api) == {"flights-1": 100}
    assert "query late-orders: 1 measurements failed" in api.status["rejected"][0]["reason"]


async def test_an_answer_wakes_the_rollout_which_is_left_alone_until_the_next_is_due(tmp_path: Path) -> None:
    api, routers = await judged(tmp_path, interval="6s")
    source = Asked()
    asked = await look(api, routers, tmp_path, source)
    assert asked.after == minutes(1 / 60), "a source that never answers is not waited for"
    assert source.then is not None
    source.then()
    assert source.woken == [KEY]
    source.answers[source.asked[0][0]] = Answer(api.clock.now(), (0.01,))
    assert (await look(api, routers, tmp_path, source)).after == minutes(0.1)
    api.clock.time += minutes(0.05)
    assert (await look(api, routers, tmp_path, source)).after == minutes(0.05)


async def test_an_answer_counts_once_though_the_clock_is_set_back(tmp_path: Path) -> None:
    api, routers = await judged(tmp_path, failureLimit=2, interval="10s")
    source = Asked()
    await look(api, routers, tmp_path, source)
    source.answers[source.asked[0][0]] = Answer(api.clock.now(), (0.5,))
    await look(api, routers, tmp_path, source)
    api.clock.time -= minutes(0.5)
    source.asked.clear()
    for _ in range(4):
        api.clock.time += minutes(0.04)
        await look(api, routers, tmp_path, source)
    assert weights(api) == {"flights-1": 50, "flights-2": 50}
    assert source.asked == []
    api.clock.time += minutes(0.1)
    await look(api, routers, tmp_path, source)
    assert len(source.asked) == 1, "the next one is not put off until the clock is where it was"


async def test_a_query_that_cannot_be_asked_asks_for_no_look(tmp_path: Path) -> None:
    api, routers = await judged(tmp_path, template="gone")
    assert (await look(api, routers, tmp_path, Asked())).after == UNCOUNTED


async def test_an_answer_to_what_was_asked_before_an_edit_counts_for_nothing(
    tmp_path: Path,
) -> None:
    api, routers = await judged(tmp_path)
    source = Asked()
    await look(api, routers, tmp_path, source)
    ((key, _, _),) = source.asked
    edit(api, strategy={**STEPS, "analysis": {"queries": [QUERY | {"args": {"shop": "b"}}]}})
    source.answers[key] = Answer(api.clock.now(), (0.5,))  # the wrong shop is late
    await look(api, routers, tmp_path, source)
    assert weights(api) == {"flights-1": 50, "flights-2": 50}
    assert 'shop="b"' in source.asked[-1][2]
    source.answers[source.asked[-1][0]] = Answer(api.clock.now(), (0.01,))
    await look(api, routers, tmp_path, source)
    assert api.status["analysis"]["measures"][1]["verdict"] == "Pass"


async def test_an_unknown_template_is_named_in_a_condition_and_nothing_is_promoted(tmp_path: Path) -> None:
    """Case 45: in Flagger, an unknown metric passed."""
    api, routers = await judged(tmp_path, template="gone")
    source = Asked()
    await look(api, routers, tmp_path, source)
    assert condition(api, "Stalled") == ("True", "AnalysisInvalid")
    told = next(one for one in api.status["conditions"] if one["type"] == "Stalled")["message"]
    assert "no query template gone (there are: late)" in told
    assert api.status["analysis"]["verdict"] == "Error"
    assert source.asked == []
    assert weights(api) == {"flights-1": 50, "flights-2": 50}


async def test_a_query_that_cannot_be_asked_is_told_before_a_rollout_needs_it(tmp_path: Path) -> None:
    api, routers = await serving(tmp_path)
    for query, words in (
        ({"template": "gone"}, "no query template gone"),
        ({"successCondition": "result.pop()"}, "is not allowed"),
        ({"args": {"shop": "a\u0000"}}, "args.shop of template late"),
        ({"args": {}}, "needs args shop"),
    ):
        edit(api, strategy={**STEPS, "analysis": {"queries": [QUERY | query]}})
        await look(api, routers, tmp_path, Asked())
        told = next(one for one in api.status["conditions"] if one["type"] == "Stalled")
        assert (told["status"], words in told["message"]) == ("True", True), told
        assert condition(api, "Ready")[0] == "True"
    edit(api, strategy={**STEPS, "analysis": {"queries": [QUERY]}})
    await look(api, routers, tmp_path, Asked())
    assert condition(api, "Stalled")[0] == "False"
    await settle(api, routers, tmp_path, query_templates={"late": LATE})
