"""Answers that are kept for comparing two versions: exact, bounded, and only while somebody asks."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.serving.test_app import BASE, GOOD, LATE, SETTINGS

from noria_serving import contract
from noria_serving.counters.answers import LEASE_SECONDS, MOST, MOST_ROWS, Answers, Key
from noria_serving.model.loaded import Loaded
from noria_serving.server.app import App
from noria_serving.server.counters_app import CountersApp
from noria_serving.server.models import Models
from noria_serving.server.service import Service


def numbers(count: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.arange(count, dtype=np.float32)


@given(bursts=st.lists(st.integers(0, 30), max_size=20), most=st.integers(1, 40))
def test_a_reader_gets_each_answer_once_and_loses_the_oldest_alone(bursts: Sequence[int], most: int) -> None:
    answers, at, made, got = Answers("regression", (), most=most), 0, 0, []
    for burst in bursts:
        for _ in range(burst):
            answers.add((b"%d" % made, b""), np.array([made], dtype=np.float64))
            made += 1
        read = [values[0] for _, values in answers.since(at)]
        at = answers.next
        assert read == list(range(made))[-min(burst, most) :][: min(burst, most)]
        got += read
    assert got == sorted(set(got))


def test_what_is_kept_is_bounded_in_answers_and_rows() -> None:
    answers = Answers("regression", ())
    for _ in range(MOST + 100):
        answers.add((b"a", b""), numbers(1000))
    kept = answers.since(0)
    assert len(kept) == MOST
    rows = kept[0][1]
    assert len(rows) == MOST_ROWS
    assert rows[:3] == [0, 62, 125]


@pytest.mark.parametrize(
    ("classes", "expected"),
    [(["late", "on time"], ["on time", "late"]), ([], [1, 0]), (["late"], [1, "late"])],
)
def test_classes_are_told_by_name_where_they_have_one(classes: list[str], expected: list[Any]) -> None:
    answers = Answers("multiclass", classes)
    answers.add((b"a", b""), np.array([1, 0]))
    assert answers.since(0)[0][1] == expected


def test_nothing_is_wanted_before_somebody_asks_nor_long_after() -> None:
    answers = Answers("binary", ())
    assert not answers.wanted
    answers.ask(100.0)
    answers.add((b"a", b""), numbers(1))
    answers.expire(100.0 + LEASE_SECONDS)
    assert answers.wanted
    answers.expire(101.0 + LEASE_SECONDS)
    assert not answers.wanted
    assert answers.since(0) == []
    assert answers.next == 1, "numbers only grow"


def test_a_request_is_known_by_its_id_and_its_body() -> None:
    answers = Answers("binary", ())
    same: list[Key] = [(b"one", b"body"), (b"one", b"body"), (None, b"body"), (b"", b"body")]
    for each in [*same, (b"one", b"other"), (b"two", b"body"), (None, b"other")]:
        answers.add(each, numbers(1))
    one, again, without, empty, *others = (digest for digest, _ in answers.since(0))
    assert (one, without) == (again, empty)
    assert len({one, without, *others}) == 5


def test_a_long_id_is_known_by_its_beginning() -> None:
    answers = Answers("binary", ())
    for end in (b"a", b"b"):
        answers.add((b"x" * 5000 + end, b"body"), numbers(1))
    assert len({digest for digest, _ in answers.since(0)}) == 1


def test_servers_of_earlier_releases_know_a_request_by_the_same_digest() -> None:
    """However long it is."""
    answers = Answers("binary", ())
    long = b"body" * 1000
    keys: list[Key] = [
        (b"2f1a", b"body"),
        (None, b"body"),
        (b"2f1a", long),
        (None, long),
        (b"x" * 5000, b"body"),
    ]
    for key in keys:
        answers.add(key, numbers(1))
    assert [digest for digest, _ in answers.since(0)] == [
        "e9c28ef9a10d5b39", "d5b96979fdb8ad85", "e26c86ca198b7e24", "ac40e84582bab47d", "bb1df88309850319",
    ]  # fmt: skip


@pytest.mark.parametrize("key", [(b"one", b"body" * 25_000), (None, b"body" * 25_000), (b"x" * 100_000, b"")])
def test_of_a_long_request_as_little_is_kept_as_it_takes_to_know_it(key: Key) -> None:
    answers = Answers("binary", ())
    tracemalloc.start()
    try:
        for number in range(100):
            answers.add((key[0] and key[0] + b"%d" % number, key[1] + b"%d" % number), numbers(1))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len({digest for digest, _ in answers.since(0)}) == 100
    assert kept < 100_000


class Pod:
    """One version behind both of its ports."""

    def __init__(self, loaded: Loaded) -> None:
        models = Models(SETTINGS)
        self.service = Service(LATE, loaded)
        models.serve(self.service)
        self._ports = [httpx.ASGITransport(app=app(models)) for app in (App, CountersApp)]

    async def predict(self, content: dict[str, Any], **headers: str) -> None:
        async with httpx.AsyncClient(transport=self._ports[0], base_url="http://late") as client:
            answer = await client.post(f"{BASE}/infer", json=content, headers=headers)
            assert answer.status_code == 200

    async def told(self, query: str = "") -> dict[str, Any]:
        async with httpx.AsyncClient(transport=self._ports[1], base_url="http://late") as client:
            found: dict[str, Any] = (await client.get(f"{contract.ANSWERS_PATH}{query}")).json()
            return found


async def test_two_servers_tell_the_same_of_a_request_and_its_copy(loaded: Loaded) -> None:
    one, other = Pod(loaded), Pod(loaded)
    id_ = {contract.REQUEST_ID_HEADER: "2f1a"}
    await one.predict(GOOD, **id_)
    before = [await pod.told() for pod in (one, other)]
    assert [said["answers"] for said in before] == [[], []], "nobody had asked"
    for pod in (one, other):
        await pod.predict(GOOD, **id_)
        await pod.predict(GOOD)
    query = [f"?process={said['process']}&after={said['next']}" for said in before]
    first, second = await one.told(query[0]), await other.told(query[1])
    assert first["answers"] == second["answers"]
    assert (len(first["answers"]), first["task"], first["schema"]) == (2, "binary", contract.ANSWERS_SCHEMA)
    (with_id, scores), (without, _) = first["answers"]
    assert with_id != without
    rows = np.array(GOOD["inputs"][0]["data"], dtype=np.float32)
    assert scores == pytest.approx(loaded.backend.predict({"input-0": rows})[1][:, -1].tolist())
    assert (await one.told(f"?process={first['process']}&after={first['next']}"))["answers"] == []
    assert (await one.told(query[1]))["answers"] == [], "another process has other numbers"


async def test_a_request_that_gets_an_error_leaves_no_answer(loaded: Loaded) -> None:
    pod = Pod(loaded)
    begin = await pod.told()
    transport = pod._ports[0]
    async with httpx.AsyncClient(transport=transport, base_url="http://late") as client:
        assert (await client.post(f"{BASE}/infer", json={"inputs": []})).status_code == 400
    assert (await pod.told())["next"] == begin["next"]


@pytest.mark.parametrize("after", ["-1", "x", "9" * 40, "١"])
async def test_a_number_that_is_none_gets_no_answers(loaded: Loaded, after: str) -> None:
    pod = Pod(loaded)
    begin = await pod.told()
    await pod.predict(GOOD)
    assert (await pod.told(f"?process={begin['process']}&after={after}"))["answers"] == []
