"""One stream split over servers that come and go gives the totals of one server, as the operator adds up."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.evidence.sums import add, subtract

from noria_operator.evidence.growth import Vector
from noria_operator.evidence.windows import Window, parse
from noria_serving import slices
from noria_serving.contract import COUNTERS_SCHEMA
from noria_serving.counters.latency import Histogram
from noria_serving.counters.recorder import Recorder
from noria_serving.counters.ring import Ring
from noria_serving.feedback.desk import Desk
from noria_serving.feedback.keys import KeyRing, MountedKeys
from noria_serving.feedback.token import Refused
from noria_serving.model.loaded import Loaded

NOW = 1_800_000_000.0
KEYS = MountedKeys(None)
KEYS.ring = KeyRing("k", {"k": b"k" * 32})
VALUE = st.floats(-4, 4, width=32) | st.sampled_from([float("nan"), float("inf")])


@dataclass
class Server:
    """A process of a model server: what it counts, and what it tells the operator."""

    loaded: Loaded
    process: str
    task: str
    version: str
    started: float = NOW

    def __post_init__(self) -> None:
        self.recorder = Recorder(self.loaded.reference)
        self.ring = Ring(self.recorder.state.vector, self.started)
        self.desk = Desk(
            self.recorder.state, KEYS, namespace="shop", deployment="late", version=self.version,
            task=self.task, classes=(0, 1),
        )  # fmt: skip

    def predict(self, row: list[float], score: float, now: float) -> str | None:
        scores, inputs = np.array([score]), {"input-0": np.array([row])}
        self.recorder.answered(inputs, scores)
        groups = slices.of_rows(self.loaded.reference.slices, inputs, 1)
        return self.desk.issue(self.desk.nonce(), scores, None, now, groups)

    def document(self, now: float, since: float | None = None) -> dict[str, object]:
        self.recorder.fold()
        state, origin = self.recorder.state, self.started
        vector = state.vector
        if since is not None:
            origin, older = self.ring.since(since)
            vector = state.difference(older)
        return {
            "schema": COUNTERS_SCHEMA, "process": self.process, "version": self.version,
            "started": self.started, "from": origin, "at": now, "error_units": state.units,
            **state.as_json(vector),
        }  # fmt: skip


@dataclass
class Fleet:
    """Servers side by side, beside one that gets everything; and what the operator has read."""

    loaded: Loaded
    task: str
    size: int
    window: Window = field(default_factory=lambda: Window(NOW))
    now: float = NOW

    def __post_init__(self) -> None:
        self.one = Server(self.loaded, "one", self.task, "late-4")
        self.many = [self._server(n) for n in range(self.size)]
        self.tokens: list[str] = []

    def _server(self, number: int) -> Server:
        # one of each two is of the next version, so that feedback meets tokens of another one
        return Server(self.loaded, f"{number}-{self.now}", self.task, f"late-{4 + number % 2}", self.now)

    def predict(self, number: int, row: list[float], score: float) -> None:
        token = self.many[number].predict(row, score, self.now)
        self.one.predict(row, score, self.now)
        if token is not None:
            self.tokens.append(token)

    def label(self, number: int, value: float) -> None:
        """The oldest token's label: at another server, and at the one that gets everything."""
        if not self.tokens:
            return
        token, label = self.tokens.pop(0), value if self.task == "regression" else int(value > 0)
        for server in (self.many[number], self.one):
            server.desk.accept(token, [label], self.now)
            with pytest.raises(Refused):  # counted once
                server.desk.accept(token, [label], self.now)

    def scrape(self, number: int) -> None:
        document = parse(self.many[number].document(self.now))
        assert document is not None
        self.window.take(document)

    def restart(self, number: int) -> None:
        """A pod that goes is read once more; its place is taken by a new process."""
        self.scrape(number)
        self.many[number] = self._server(number)


def seen(counts: Vector) -> Vector:
    """What was counted at all; rows of both versions together, as the one server takes them. Rows that came
    before are looked for by each server among its own, and in a sample.
    """
    rows = [
        {re.sub("^(requests|malformed|outputs|features|prediction|slices)/[^/]+", r"\1", place): row}
        for place, row in counts.items()
        if not place.startswith("duplicates/")
    ]
    return {place: row for place, row in add(rows).items() if any(row)}


EVENT = st.one_of(
    st.tuples(st.just("predict"), st.lists(VALUE, min_size=3, max_size=3), st.floats(0, 1)),
    st.tuples(st.just("label"), st.floats(-100, 100)),
    st.tuples(st.just("scrape")),
    st.tuples(st.just("restart")),
)


@pytest.mark.parametrize("task", ["binary", "regression"])
@given(events=st.lists(st.tuples(EVENT, st.integers(0, 10)), max_size=40), size=st.integers(1, 4))
def test_servers_that_restart_add_up_to_one_that_does_not(
    loaded_apart: Loaded, task: str, events, size
) -> None:
    fleet = Fleet(loaded_apart, task, size)
    for (name, *arguments), number in events:
        fleet.now += 1
        getattr(fleet, name)(number % size, *arguments)
    for number in range(size):
        fleet.scrape(number)
    alone = parse(fleet.one.document(fleet.now))
    assert seen(fleet.window.total()) == seen(alone.counts)


@given(
    events=st.lists(st.tuples(EVENT, st.integers(0, 10)), max_size=20), size=st.integers(1, 4), data=st.data()
)
def test_an_operator_that_starts_later_reads_the_window_from_the_servers(
    loaded_apart: Loaded, events, size, data
) -> None:
    fleet = Fleet(loaded_apart, "binary", size)
    cut, before = data.draw(st.integers(0, len(events))), None
    for index, ((name, *arguments), number) in enumerate([*events, (("scrape",), 0)]):
        fleet.now += 10
        if index == cut:
            before = parse(fleet.one.document(fleet.now))
            opened = fleet.now
            for server in fleet.many:
                server.recorder.fold()
                server.ring.take(server.recorder.state.vector, fleet.now)
        if name != "restart":  # what a process counted that nobody read is gone with it
            getattr(fleet, name)(number % size, *arguments)
    window = Window(opened)
    for server in fleet.many:
        now, difference = parse(server.document(fleet.now)), parse(server.document(fleet.now, opened))
        window.take(now, difference if window.needs_difference(now) else None)
    alone = subtract(parse(fleet.one.document(fleet.now)).counts, before.counts)
    assert seen(window.total()) == seen(alone)


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 3)), max_size=60))
def test_latencies_of_servers_add_up_to_those_of_one(observed) -> None:
    one, many = Histogram(), [Histogram() for _ in range(4)]
    for seconds, server in observed:
        one.observe(seconds)
        many[server].observe(seconds)
    assert one.counts == [sum(counts) for counts in zip(*(each.counts for each in many), strict=True)]
    assert one.total == sum(each._nanoseconds for each in many) / 1e9
