"""Answers of two versions as pairs: exactly once, whatever is read again, restarted or lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.evidence.test_readers import pod, pods

from noria_operator.domain.disagreement import Paired, Pairs
from noria_operator.evidence.pairing import (
    ARMS,
    MOST_ALIKE,
    MOST_WAITING,
    PATIENCE,
    Join,
    Told,
    parse,
)
from noria_operator.evidence.pairs import PairReader, Servers
from noria_serving.contract import ANSWERS_SCHEMA
from noria_serving.counters.answers import Answers

PLACE = ("shop", "m", "m-1-a", "m-2-b", 300.0)
NOW = timedelta()


class Server:
    """A process that keeps its newest answers as the real one does, and can be replaced or away."""

    def __init__(self, name: str, *, most: int = 4096, task: str = "binary") -> None:
        self.name, self.most, self.task, self.lives, self.status = name, most, task, 0, 200
        self.answers = Answers(task, (), most=most)

    def restart(self) -> None:
        self.lives += 1
        self.answers = Answers(self.task, (), most=self.most)

    @property
    def process(self) -> str:
        return f"{self.name}-{self.lives}"

    def predict(self, request: str, score: float) -> None:
        if self.answers.wanted:
            self.answers.add((request.encode(), b"rows"), np.array([score]))

    def document(self, process: str | None, after: str | None) -> dict[str, Any]:
        self.answers.ask(0.0)
        known = process == self.process
        return {
            "schema": ANSWERS_SCHEMA,
            "version": self.name,
            "process": self.process,
            "task": self.task,
            "next": self.answers.next,
            "answers": self.answers.since(int(after or 0)) if known else [],
        }

    async def __call__(self, request: web.Request) -> web.Response:
        if self.status != 200:
            return web.json_response({}, status=self.status)
        return web.json_response(self.document(request.query.get("process"), request.query.get("after")))


def told(server: Server, join: Join) -> Told:
    """Straight, without HTTP; as JSON would bring it."""
    process, after = join.places.get(server.name, (None, 0))
    found = parse(server.document(process, str(after)))
    assert found is not None
    return found


EVENT = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, 9), st.integers(0, 2), st.booleans()),
    st.tuples(st.just("read"), st.integers(0, 4), st.booleans(), st.just(0)),
    st.tuples(st.just("restart"), st.integers(0, 4), st.just(0), st.just(0)),
)


@given(st.lists(EVENT, max_size=60))
def test_each_request_that_both_answered_and_told_is_one_pair(events: Sequence[tuple[Any, ...]]) -> None:
    """Three pods of the champion, two of the challenger. Clients repeat ids, answers get lost on their way
    (they are read again), processes restart with what they had not told; what is expected is counted by a
    plain multiset.
    """
    servers = [Server(f"{ARMS[index > 2]}-{index}") for index in range(5)]
    join = Join()
    got: dict[str, Counter[str]] = {arm: Counter() for arm in ARMS}
    untold: list[Counter[str]] = [Counter() for _ in servers]
    for server in servers:
        join.take(server.name.split("-")[0], server.name, told(server, join), now=0.0, tolerance=0.01)
    for kind, which, more, copied in events:
        if kind == "ask":
            for index in (more, 3 + more % 2) if copied else (more,):
                servers[index].predict(f"id-{which}", 0.9)
                untold[index][f"id-{which}"] += 1
        elif kind == "restart":
            servers[which].restart()
            servers[which].answers.ask(0.0)
            untold[which].clear()
        else:
            server, arm = servers[which], servers[which].name.split("-")[0]
            said = told(server, join)
            if not more:
                continue  # it never arrived
            if join.places[server.name][0] == server.process:
                got[arm] += untold[which]
            untold[which].clear()
            join.take(arm, server.name, said, now=0.0, tolerance=0.01)
            join.take(arm, server.name, told(server, join), now=0.0, tolerance=0.01)
    both = got["champion"] & got["challenger"]
    assert join.pairs.count == sum(both.values())
    assert join.pairs.differing == 0


def test_what_waits_for_a_partner_is_bounded_in_number_and_time() -> None:
    def said(*requests: str) -> Told:
        return Told("p", "binary", 0, [(request, (0.9,)) for request in requests])

    join = Join()
    join.take("champion", "a", said(*(f"r{i}" for i in range(MOST_WAITING + 10))), now=0.0, tolerance=0.01)
    join.take("challenger", "b", said("r9", "r10"), now=0.0, tolerance=0.01)
    assert join.pairs.count == 1, "the oldest ten are forgotten"
    join.take("champion", "a", said(), now=PATIENCE + 1, tolerance=0.01)
    join.take("challenger", "b", said("r11"), now=PATIENCE + 1, tolerance=0.01)
    assert join.pairs.count == 1
    join.take("champion", "a", said(*["same"] * 100), now=PATIENCE + 2, tolerance=0.01)
    join.take("challenger", "b", said(*["same"] * 100), now=PATIENCE + 2, tolerance=0.01)
    assert join.pairs.count == 1 + MOST_ALIKE


def test_versions_of_different_tasks_never_agree() -> None:
    join = Join()
    join.take("champion", "a", Told("p", "binary", 1, [("r", (0.9,))]), now=0.0, tolerance=0.01)
    join.take("challenger", "b", Told("q", "regression", 1, [("r", (0.9,))]), now=0.0, tolerance=0.01)
    assert join.pairs == Pairs(1, 1.0)


GOOD: dict[str, Any] = {
    "schema": ANSWERS_SCHEMA, "process": "p", "task": "binary", "next": 1, "answers": [["r", [0.5]]],
}  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {**GOOD, "schema": "noria.answers/v2"},
        {**GOOD, "next": "x"},
        {**GOOD, "answers": [["r"]]},
        {**GOOD, "answers": [["r", 5]]},
        {**GOOD, "answers": [["r", [0.5] * 1000]]},
        {**GOOD, "answers": [["r", ["yes"]]]},
        {**GOOD, "answers": [["r", [[0.5]]]]},
        {**GOOD, "answers": [["r" * 65, [0.5]]]},
        {**GOOD, "answers": [["r", [0.5]]] * 8193},
        {**GOOD, "answers": None},
        {**GOOD, "process": "p" * 65},
        {**GOOD, "next": "9" * 100},
        {**GOOD, "next": -1},
        {name: value for name, value in GOOD.items() if name != "process"},
    ],
)
def test_what_is_no_answer_of_ours_is_not_read(body: Any) -> None:
    assert parse(body) is None
    assert parse(GOOD) == Told("p", "binary", 1, [("r", (0.5,))])


async def look(reader: PairReader, servers: Servers) -> Paired:
    reader.read(PLACE, servers, tolerance=0.01, every=NOW)
    await reader.settled()
    found = reader.latest(PLACE)
    assert found is not None
    return found


async def test_servers_are_read_over_http_and_those_that_cannot_be_are_named() -> None:
    champion, challenger = Server("one"), Server("two")
    both = Servers([pod(1)], [pod(2)])
    async with pods(champion, challenger) as port:
        reader = PairReader(port=port)
        assert reader.latest(PLACE) is None
        champion.predict("before", 0.9)
        assert (await look(reader, both)).pairs == Pairs()
        for number in range(20):
            champion.predict(f"r{number}", 0.9)
            challenger.predict(f"r{number}", 0.9 if number % 4 else 0.2)
        found = await look(reader, both)
        assert (found.pairs.count, found.pairs.differing, found.readable) == (20, 5, True)
        assert await look(reader, both) == found, "nothing is taken twice"

        champion.predict("late", 0.9)
        challenger.predict("late", 0.1)
        challenger.status = 500
        found = await look(reader, both)
        assert (found.pairs.count, found.readable) == (20, False)
        challenger.status = 200
        assert (await look(reader, both)).pairs.count == 21, "it comes with the next reading"

        champion.status = 404
        found = await look(reader, both)
        assert (found.readable, found.untold) == (True, "champion")
        assert not (await look(reader, Servers([pod(1)], []))).readable
        again = PairReader(port=port)
        champion.status = 200
        restarted = await look(again, both)
        assert restarted.pairs == Pairs(), "another process counts nothing that was counted before"
        assert restarted.reader != found.reader
        await reader.close()
        await again.close()


async def test_what_waits_is_forgotten_also_where_nobody_reads_any_more() -> None:
    """A comparison that is over: what it holds is not kept until a thousand others came."""
    time = [0.0]
    both = Servers([pod(1)], [pod(2)])
    async with pods(Server("one"), Server("two")) as port:
        reader = PairReader(port=port, clock=lambda: time[0])
        await look(reader, both)
        over = reader._joins[PLACE]
        over.take("champion", "a", Told("p", "binary", 1, [("r", (0.9,))]), now=0.0, tolerance=0.01)
        time[0] = PATIENCE + 1
        reader.read((*PLACE[:4], 600.0), both, tolerance=0.01, every=NOW)
        await reader.settled()
        over.take("challenger", "b", Told("q", "binary", 1, [("r", (0.9,))]), now=0.0, tolerance=0.01)
        assert over.pairs.count == 0
        await reader.close()


async def test_a_reader_asks_no_more_often_than_it_is_told() -> None:
    asked = []

    async def server(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response(GOOD)

    time = [0.0]
    async with pods(server, server) as port:
        reader = PairReader(port=port, clock=lambda: time[0])
        for moment, expected in ((0.0, 2), (14.0, 2), (15.0, 4)):
            time[0] = moment
            servers = Servers([pod(1)], [pod(2)])
            reader.read(PLACE, servers, tolerance=0.01, every=timedelta(seconds=15))
            await reader.settled()
            assert len(asked) == expected
        await reader.close()
