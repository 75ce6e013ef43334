"""Labels and pairs in a rollout: read of the pods that have them, only where they are judged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.controllers.serving_api import KEY, Routers, ServingApi, edit, settle, started
from tests.unit.controllers.test_modeldeployment import STEPS, approve, canary, count, serving, weights
from tests.unit.controllers.training_api import minutes

from noria_operator.controllers import modeldeployment
from noria_operator.domain.disagreement import Paired, Pairs
from noria_operator.domain.training_times import stamp
from noria_operator.evidence import pairs
from noria_operator.evidence.server import CounterReader
from noria_operator.evidence.totals import Totals
from noria_serving.contract import SCORE_BINS

Json = dict[str, Any]


@dataclass
class Servers:
    """Model servers with labels that all scores were right about, or none."""

    right: dict[str, int] = field(default_factory=dict)
    wrong: dict[str, int] = field(default_factory=dict)
    task: str = ""
    asked: list[set[str]] = field(default_factory=list)
    since: list[Sequence[datetime]] = field(default_factory=list)
    delays: tuple[int, ...] = ()
    """Labels by how long they took."""
    later: Servers | None = None
    """What of all that came after the first moment that is asked for; None: everything."""

    def latest(
        self,
        namespace: str,
        deployment: str,
        pods: Iterable[Json],
        *,
        since: Sequence[datetime],
        every: timedelta,
    ) -> tuple[Totals | None, ...] | None:
        self.since.append(since)
        self.asked.append({one["metadata"]["labels"]["noria.dev/version"] for one in pods})
        return (self.totals(), *((self.later or self).totals() for _ in since[1:]))

    def totals(self) -> Totals:
        counts: dict[str, tuple[int, ...]] = {
            f"task/{one}/{self.task}": () for one in self.right if self.task
        }
        counts["label_delay/buckets"] = self.delays
        for version in {*self.right, *self.wrong}:
            row = [0] * SCORE_BINS
            row[-1], row[0] = self.right.get(version, 0), self.wrong.get(version, 0)
            counts[f"scores/{version}/positives"] = tuple(row)
            if self.task:
                counts[f"scores/{version}/positives"] = (self.right.get(version, 0), *[0] * (SCORE_BINS - 1))
                counts[f"scores/{version}/negatives"] = (self.wrong.get(version, 0), *[0] * (SCORE_BINS - 1))
        return Totals(counts)


@dataclass
class Labelling(Servers):
    """Servers of models that give labels alone, and of some that give probabilities."""

    called: dict[str, dict[str, int]] = field(default_factory=dict)

    def totals(self) -> Totals:
        counts = dict(super().totals().counts)
        for version, classes in self.called.items():
            counts[f"task/{version}/binary/labels"] = ()
            counts[f"prediction/{version}/bins"] = (*classes.values(), 0)
            counts |= {f"called/{version}/{name}": (rows,) for name, rows in classes.items()}
        return Totals(counts)


@dataclass
class Mixed(Labelling):
    """Beside them, other counts."""

    more: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def totals(self) -> Totals:
        return Totals({**super().totals().counts, **self.more})


async def look(api: ServingApi, routers: Routers, folder: Path, servers: Servers) -> None:
    ctx = started(api, routers, folder)
    await modeldeployment.reconcile(replace(ctx, servers=cast(CounterReader, servers)), KEY)


async def look_twice(api: ServingApi, routers: Routers, folder: Path, servers: Servers) -> None:
    """Once more an interval later, from when on all of it came: harm is to be seen at two times."""
    await look(api, routers, folder, servers)
    assert not api.status.get("rejected")
    api.clock.time += timedelta(seconds=10)
    await look(api, routers, folder, servers)


async def test_labels_of_both_versions_are_read_from_all_pods_and_judged(tmp_path: Path) -> None:
    api, routers = await canary(tmp_path)
    servers = Servers(right={"flights-1": 2900, "flights-2": 500}, wrong={"flights-1": 100, "flights-2": 500})
    await look(api, routers, tmp_path, servers)
    assert servers.asked == [], "nobody asked for quality"
    edit(api, strategy={**STEPS, "analysis": {"quality": {"metric": "accuracy"}}})
    await look(api, routers, tmp_path, servers)
    assert servers.asked == [{"flights-1", "flights-2"}]
    ((began,),) = servers.since
    assert weights(api) == {"flights-1": 50, "flights-2": 50}
    assert "waiting for the same in what comes" in api.status["analysis"]["measures"][1]["message"]
    showed = api.clock.now()
    api.clock.time += timedelta(seconds=9)
    await look(api, routers, tmp_path, servers)
    assert servers.since == [[began]] * 2
    api.clock.time += timedelta(seconds=1)
    await look(api, routers, tmp_path, servers)
    assert servers.since[2:] == [[began], [showed + timedelta(seconds=10)]]
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
    (began,) = servers.since[0]
    api.clock.time += minutes(10)
    await look_twice(api, routers, tmp_path, servers)
    assert [began, began + minutes(10)] in servers.since
    assert weights(api) == {"flights-1": 100}


async def test_what_came_before_and_after_another_weight_is_compared_by_itself(tmp_path: Path) -> None:
    """By day both are right 19 times of 20, by night 3 of 4; most of the challenger's labels are of it."""
    api, routers = await canary(tmp_path)
    steps = [{"weight": 50, "duration": "10s"}, {"weight": 80, "duration": "2h"}]
    edit(api, strategy={"steps": steps})
    await settle(api, routers, tmp_path)
    api.clock.time += minutes(5)
    await settle(api, routers, tmp_path)
    edit(api, strategy={"steps": steps, "analysis": {"quality": {"metric": "accuracy"}}})
    night = Servers(
        right={"flights-1": 3000, "flights-2": 3000}, wrong={"flights-1": 1000, "flights-2": 1000}
    )
    both = Servers(
        right={"flights-1": 3000 + 8550, "flights-2": 3000 + 950},
        wrong={"flights-1": 1000 + 450, "flights-2": 1000 + 50},
    )
    both.later, both.delays = night, (18_000,)
    await look(api, routers, tmp_path, both)
    api.clock.time += timedelta(seconds=15)
    await look(api, routers, tmp_path, both)
    began, turned, labelled = both.since[-1]
    assert began < turned < labelled < api.clock.now(), "since it was told how long they take"
    assert not api.status.get("rejected")
    figures = api.status["analysis"]["measures"][1]["figures"]
    assert (figures["labels"], figures["championLabels"], figures["drop"]) == ("5000", "13000", "0")
    both.later = None  # nothing came before: it is all of one stretch
    await look_twice(api, routers, tmp_path, both)
    assert "quality: too much worse: accuracy 0.79" in api.status["rejected"][0]["reason"]


async def test_labels_at_another_weight_count_once_those_of_earlier_predictions_have_come(
    tmp_path: Path,
) -> None:
    api, routers = await canary(tmp_path)
    steps = [{"weight": 50, "duration": "10m"}, {"weight": 80, "duration": "2h"}]
    edit(api, strategy={"steps": steps, "analysis": {"quality": {"metric": "accuracy"}}})
    servers = Servers(right={"flights-1": 900, "flights-2": 900}, wrong={"flights-1": 100, "flights-2": 100})
    servers.delays = (0, 0, 20, 1)
    for _ in range(3):  # what is before the turn, and how the next weight gets into force
        await look(api, routers, tmp_path, servers)
        api.run_pods()
        routers.follow()
        api.clock.time += minutes(5)
    assert weights(api) == {"flights-1": 20, "flights-2": 80}
    for _ in range(2):  # a window of counts opens and closes
        count(api, routers)
        await look(api, routers, tmp_path, servers)
        api.clock.time += timedelta(seconds=15)
    began, turned = servers.since[-1]
    message = api.status["analysis"]["measures"][1]["message"]
    assert f"of this weight count those that come from {stamp(turned + minutes(10))} on" in message
    api.clock.time = turned + minutes(10)
    await look(api, routers, tmp_path, servers)
    assert servers.since[-1] == [began, turned, turned + minutes(10)]


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
    await look_twice(api, routers, tmp_path, servers)
    assert weights(api) == {"flights-1": 100}
    assert "quality: too much worse: accuracy 0.5000" in api.status["rejected"][0]["reason"]


@dataclass
class Answers:
    """Model servers that have answered the same requests."""

    paired: Paired | None = None
    read_of: list[tuple[set[str], set[str]]] = field(default_factory=list)
    places: set[pairs.Place] = field(default_factory=set)

    def read(self, place: pairs.Place, servers: pairs.Servers, *, tolerance: float, every: timedelta) -> None:
        self.places.add(place)
        arms = (servers.champion, servers.challenger)
        champion, challenger = (
            {one["metadata"]["labels"]["noria.dev/version"] for one in arm} for arm in arms
        )
        self.read_of.append((champion, challenger))

    def latest(self, place: pairs.Place) -> Paired | None:
        return self.paired if place in self.places else None


async def test_answers_are_read_of_both_arms_while_there_are_copies_and_judged_beyond(tmp_path: Path) -> None:
    api, routers = await serving(tmp_path)
    answers = Answers()
    mirror = [{"mirror": 100, "duration": "10s"}, {"weight": 50, "duration": "1h"}]
    analysis = {"disagreement": {"maxRate": "0.1"}}

    async def look() -> None:
        ctx = started(api, routers, tmp_path)
        await modeldeployment.reconcile(replace(ctx, pairs=cast(pairs.PairReader, answers)), KEY)

    edit(api, strategy={"steps": mirror})
    approve(api, 2)
    await settle(api, routers, tmp_path)
    await look()
    assert answers.read_of == [], "nobody asked"
    edit(api, strategy={"steps": mirror, "analysis": analysis})
    await look()
    assert answers.read_of == [({"flights-1"}, {"flights-2"})]
    api.clock.time += minutes(1)
    await look()
    assert weights(api) == {"flights-1": 100}, "nothing was compared yet"
    answers.paired = Paired("a", Pairs(100, 0, 0.0))
    for _ in range(4):
        await look()
        routers.follow()
    assert weights(api) == {"flights-1": 50, "flights-2": 50}
    reads = len(answers.read_of)
    await look()
    assert len(answers.read_of) == reads, "there are no copies any more"
    measures = {one["name"]: one for one in api.status["analysis"]["measures"]}
    assert measures["disagreement"]["verdict"] == "Pass"
    assert len(answers.places) == 1


LABELS = Labelling(
    right={"flights-1": 2900, "flights-2": 500},
    wrong={"flights-1": 100, "flights-2": 500},
    called={"flights-1": {"0": 1500, "1": 1500}, "flights-2": {"0": 4000, "1": 1000}},
)


@pytest.mark.parametrize(
    ("analysis", "said"),
    [
        ({"quality": {"metric": "accuracy"}}, "quality: too much worse: accuracy 0.5000"),
        ({"predictions": {"maxDistance": "0.1"}}, "predictions: they differ too much: distance 0.300"),
    ],
)
async def test_versions_that_give_labels_alone_are_judged_by_what_these_tell(
    tmp_path: Path, analysis: Json, said: str
) -> None:
    api, routers = await canary(tmp_path)
    edit(api, strategy={**STEPS, "analysis": analysis})
    await look_twice(api, routers, tmp_path, LABELS)
    assert said in api.status["rejected"][0]["reason"]


@pytest.mark.parametrize("metric", ["auc", "logloss", "brier"])
@pytest.mark.parametrize("alone", [["flights-1", "flights-2"], ["flights-1"], ["flights-2"]])
async def test_a_metric_of_probabilities_is_refused_whichever_version_gives_none(
    tmp_path: Path, metric: str, alone: list[str]
) -> None:
    api, routers = await canary(tmp_path)
    servers = replace(LABELS, called={version: LABELS.called[version] for version in alone}, asked=[])
    edit(api, strategy={**STEPS, "analysis": {"quality": {"metric": metric}}})
    await look(api, routers, tmp_path, servers)
    told = api.status["analysis"]["measures"][1]
    assert (told["verdict"], api.status.get("rejected")) == ("Error", [])
    assert (
        f"{alone[0]} gives labels alone, no probabilities, of which {metric} is; use accuracy"
        in told["message"]
    )


async def test_labels_and_scores_are_not_compared_as_predictions(tmp_path: Path) -> None:
    api, routers = await canary(tmp_path)
    outputs = {"outputs/flights-2/-7/0": (10,) * 128}
    servers = Mixed({}, called={"flights-1": {"0": 1500, "1": 1500}}, more=outputs)
    edit(api, strategy={**STEPS, "analysis": {"predictions": {"maxDistance": "0.1"}}})
    await look(api, routers, tmp_path, servers)
    told = api.status["analysis"]["measures"][1]
    assert (told["verdict"], "cannot be compared" in told["message"]) == ("Error", True)


def of_several(version: str, **classes: int) -> dict[str, tuple[int, ...]]:
    """A version that is as sure of its predictions as any other."""
    rows = sum(classes.values())
    return {
        f"task/{version}/multiclass": (),
        f"outputs/{version}/-7/0": (*[0] * 127, rows),
        f"prediction/{version}/bins": (rows,),
        **{f"called/{version}/{name}": (count,) for name, count in classes.items()},
    }


@pytest.mark.parametrize(
    ("challenger", "said"),
    [
        (of_several("flights-2", cat=4000, dog=500, eel=500), "distance 0.600 by class"),
        ({}, "distance 0.400 by class"),
    ],
    ids=["scores", "labels alone"],
)
async def test_classes_that_are_predicted_more_often_are_seen(
    tmp_path: Path, challenger: dict[str, tuple[int, ...]], said: str
) -> None:
    api, routers = await canary(tmp_path)
    more = of_several("flights-1", cat=600, dog=1200, eel=1200) | challenger
    called = {} if challenger else {"flights-2": {"cat": 3000, "dog": 1000, "eel": 1000}}
    edit(api, strategy={**STEPS, "analysis": {"predictions": {"maxDistance": "0.1"}}})
    await look_twice(api, routers, tmp_path, Mixed({}, called=called, more=more))
    assert f"predictions: they differ too much: {said}" in api.status["rejected"][0]["reason"]


async def test_classes_are_compared_once_no_server_of_an_earlier_release_counted_beside(
    tmp_path: Path,
) -> None:
    api, routers = await canary(tmp_path)
    classes = {"cat": 1000, "dog": 1000, "eel": 1000}
    more = of_several("flights-1", **classes) | of_several("flights-2", **classes)
    more["prediction/flights-1/bins"], more["outputs/flights-1/-7/0"] = (6000,), (*[0] * 127, 6000)
    edit(api, strategy={**STEPS, "analysis": {"predictions": {"maxDistance": "0.1"}}})
    await look(api, routers, tmp_path, Mixed({}, more=more))
    assert api.status.get("rejected") == []
    told = api.status["analysis"]["measures"][1]
    assert told["message"].startswith("distance 0.000, at most 0.1 allowed")


@dataclass
class Fading(Servers):
    """Servers whose labels were bad for a while, of which nothing came since the moments in `fine`."""

    fine: Servers | None = None
    began: datetime | None = None
    unread: bool = False

    def latest(self, *place: Any, since: Sequence[datetime], **how: Any) -> tuple[Totals | None, ...] | None:
        self.began = self.began or since[0]
        if since[0] == self.began:
            return super().latest(*place, since=since, **how)
        self.since.append(since)
        return (None,) if self.unread else tuple(self.fine.totals() for _ in since) if self.fine else None


@pytest.mark.parametrize("unread", [False, True])
async def test_labels_of_one_batch_are_no_reason_while_later_ones_are_fine_or_unknown(
    tmp_path: Path, unread: bool
) -> None:
    api, routers = await canary(tmp_path)
    fine = Servers(right={"flights-1": 2900, "flights-2": 970}, wrong={"flights-1": 100, "flights-2": 30})
    servers = Fading(right={"flights-1": 2900, "flights-2": 500}, wrong={"flights-1": 100, "flights-2": 500})
    servers.fine, servers.unread = fine, unread
    edit(api, strategy={**STEPS, "analysis": {"quality": {"metric": "accuracy"}}})
    await look_twice(api, routers, tmp_path, servers)
    assert len(servers.since[-1]) == 1
    told = api.status["analysis"]["measures"][1]
    assert (told["verdict"], api.status.get("rejected")) == ("Hold", [])
    assert weights(api) == {"flights-1": 50, "flights-2": 50}


async def test_what_came_after_harm_showed_is_compared_by_the_weights_at_which_it_came(
    tmp_path: Path,
) -> None:
    api, routers = await canary(tmp_path)
    edit(api, strategy={**STEPS, "analysis": {"predictions": {"maxDistance": "0.1"}}})
    labels = replace(LABELS, since=[], asked=[])
    await look(api, routers, tmp_path, labels)
    ((began,),) = labels.since
    kept, showed = api.status["analysis"]["state"]["evidence"], api.clock.now()
    assert kept["doubts"] == {"predictions": showed.isoformat()}
    turns = [showed + timedelta(seconds=after) for after in (4, 14)]
    kept["turns"] = [[one.isoformat()] for one in turns]
    api.clock.time += timedelta(seconds=20)
    await look(api, routers, tmp_path, labels)
    assert labels.since[1:] == [[began, *turns], [showed + timedelta(seconds=10), turns[1]]]
    assert "distance 0.300" in api.status["rejected"][0]["reason"]
