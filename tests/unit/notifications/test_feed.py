from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.kube.api_server import LoopClock, obj

from noria_operator.api.types import format_time
from noria_operator.domain.notification_targets import Target
from noria_operator.domain.notifications import Occurrence
from noria_operator.kube import metrics
from noria_operator.kube.kinds import Json
from noria_operator.kube.store import Store
from noria_operator.notifications.feed import ANNOTATION, Feed
from noria_operator.notifications.outbox import Outbox
from noria_operator.notifications.sender import Answer

T0 = datetime(2026, 1, 1, tzinfo=UTC)
A, B = Target("a", "http://a"), Target("b", "http://b")
DOWN = Answer("no answer: ClientConnectorError")


class Receivers:
    """Receivers that answer from a list, then take everything."""

    def __init__(self, **answers: list[Answer]) -> None:
        self.answers = answers
        self.got: list[tuple[str, str]] = []
        self.tried: list[float] = []

    async def send(self, target: Target, one: Occurrence) -> Answer:
        await asyncio.sleep(0.01)
        self.tried.append(asyncio.get_running_loop().time())
        waiting = self.answers.get(target.name, [])
        answer = waiting.pop(0) if waiting else Answer()
        if not answer.problem:
            self.got.append((target.name, one.message))
        return answer


def deployment(*messages: str, seconds: float = 0.0, name: str = "md", version: int = 1) -> Json:
    """One whose history says these things, a second apart, the first one `seconds` after the start."""
    entries = [
        {"at": format_time(T0 + timedelta(seconds=seconds + i)), "event": "Promoted", "message": message}
        for i, message in enumerate(messages)
    ]
    made = obj(name, version=version, api=("noria.dev/v1alpha1", "ModelDeployment"))
    return {**made, "status": {"history": entries}}


@contextlib.asynccontextmanager
async def leading(
    receivers: Receivers, store: Store, *targets: Target, inherited: dict[str, str] | None = None
) -> AsyncIterator[Feed]:
    feed = Feed(targets, store, receivers, LoopClock(), rand=random.Random(1))
    feed.begin(inherited or {})
    task = asyncio.create_task(feed.run())
    try:
        yield feed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_each_receiver_is_told_once_and_in_order() -> None:
    receivers, store = Receivers(), Store()
    async with leading(receivers, store, A, B):
        store.observe("ADDED", deployment("one"))
        store.observe("MODIFIED", deployment("one", "two", version=2))
        store.observe("MODIFIED", deployment("one", "two", version=3))
        await asyncio.sleep(60)
    assert sorted(receivers.got) == [("a", "one"), ("a", "two"), ("b", "one"), ("b", "two")]


def loop(*, evaluated: float, version: int) -> Json:
    """One whose budget is spent, evaluated so many hours after the start."""
    made = obj("ct", version=version, api=("noria.dev/v1alpha1", "ContinuousTraining"))
    held = {"name": "weekly", "message": "the run is due; held by Budget: until tomorrow"}
    run = {"at": format_time(T0 - timedelta(days=1)), "trigger": "weekly", "trainingJob": "x"}
    at = format_time(T0 + timedelta(hours=evaluated))
    return {**made, "status": {"lastEvaluation": at, "runs": [run], "triggers": [held]}}


async def test_a_budget_that_is_spent_for_days_is_told_once_by_all_leaders() -> None:
    receivers, store = Receivers(), Store()
    async with leading(receivers, store, A) as feed:
        for hour in range(0, 48, 2):
            store.observe("MODIFIED", loop(evaluated=hour, version=hour + 1))
            await asyncio.sleep(7200)
        left = feed.annotations()
    async with leading(receivers, store, A, inherited=left):
        store.observe("MODIFIED", loop(evaluated=48, version=49))
        await asyncio.sleep(60)
    assert len(receivers.got) == 1


async def test_a_receiver_that_is_away_gets_everything_later_and_holds_nobody_up() -> None:
    receivers, store = Receivers(a=[DOWN] * 5), Store()
    async with leading(receivers, store, A, B):
        store.observe("ADDED", deployment("one", "two"))
        await asyncio.sleep(2)
        assert receivers.got == [("b", "one"), ("b", "two")]
        await asyncio.sleep(60)
    assert receivers.got[2:] == [("a", "one"), ("a", "two")]


async def test_the_distance_between_attempts_grows() -> None:
    receivers, store = Receivers(a=[DOWN] * 8), Store()
    async with leading(receivers, store, A):
        store.observe("ADDED", deployment("one"))
        await asyncio.sleep(600)
    gaps = [b - a for a, b in zip(receivers.tried, receivers.tried[1:], strict=False)]
    assert len(gaps) == 8
    assert all(0.8 * 2**n <= gap <= 1.2 * 2**n + 0.1 for n, gap in enumerate(gaps))


async def test_a_receiver_that_names_a_time_is_asked_no_earlier() -> None:
    receivers, store = Receivers(a=[Answer("it answered 429", retry_after=40.0)]), Store()
    async with leading(receivers, store, A):
        store.observe("ADDED", deployment("one"))
        await asyncio.sleep(60)
    assert receivers.tried[1] - receivers.tried[0] == pytest.approx(40.0, abs=0.1)


async def test_a_receiver_that_says_at_once_every_time_is_not_asked_without_a_break() -> None:
    receivers, store = Receivers(a=[Answer("it answered 503", retry_after=0.0)] * 1000), Store()
    async with leading(receivers, store, A):
        store.observe("ADDED", deployment("one"))
        await asyncio.sleep(60)
    assert len(receivers.tried) <= 8


async def test_a_message_that_is_refused_does_not_hold_up_the_next() -> None:
    before = _dropped("a", "refused")
    receivers, store = Receivers(a=[Answer("it answered 400", refused=True)]), Store()
    async with leading(receivers, store, A):
        store.observe("ADDED", deployment("one", "two"))
        await asyncio.sleep(5)
    assert receivers.got == [("a", "two")]
    assert _dropped("a", "refused") - before == 1


async def test_after_an_hour_a_message_is_given_up() -> None:
    before = _dropped("a", "expired")
    receivers, store = Receivers(a=[DOWN] * 10_000), Store()
    async with leading(receivers, store, A) as feed:
        store.observe("ADDED", deployment("one"))
        await asyncio.sleep(3600 + 400)
        assert _dropped("a", "expired") - before == 1
        tried = len(receivers.tried)
        await asyncio.sleep(3600)
        assert len(receivers.tried) == tried
        assert _reached(feed, "a") > T0 + timedelta(hours=2)


async def test_a_full_line_drops_the_oldest_and_counts_it() -> None:
    before = _dropped("a", "full")
    receivers = Receivers(a=[DOWN])
    outbox = Outbox(A, receivers, LoopClock(), capacity=2, rand=random.Random(1))
    running = asyncio.create_task(outbox.run())
    for n in range(4):
        outbox.add(_occurrence(str(n)))
    await asyncio.sleep(30)
    running.cancel()
    assert [message for _, message in receivers.got] == ["2", "3"]
    assert _dropped("a", "full") - before == 2


# -- across a restart ---------------------------------------------------------------------------


async def test_what_a_leader_had_not_delivered_is_told_by_the_next_one_and_nothing_else() -> None:
    receivers, store = Receivers(a=[DOWN] * 100), Store()
    async with leading(receivers, store, A, B) as feed:
        store.observe("ADDED", deployment("one"))
        await asyncio.sleep(30)  # then it dies
        left = dict(feed.annotations())
    receivers.answers.clear()
    async with leading(receivers, store, A, B, inherited=left):
        await asyncio.sleep(30)
    assert receivers.got == [("b", "one"), ("a", "one")]


async def test_a_status_written_in_the_instant_of_a_crash_is_told_by_the_next_leader() -> None:
    receivers, store = Receivers(), Store()
    async with leading(receivers, store, A) as feed:
        await asyncio.sleep(10.9)
        left = dict(feed.annotations())
    store.observe(None, deployment("one", seconds=10))  # at 10.95, say: whole seconds
    async with leading(receivers, store, A, inherited=left):
        await asyncio.sleep(30)
    assert receivers.got == [("a", "one")]


async def test_a_status_that_took_long_to_write_is_told_by_the_next_leader_too() -> None:
    """Its time is that of the decision; children are written in between, by an API server that is busy."""
    receivers, store = Receivers(), Store()
    async with leading(receivers, store, A) as feed:
        await asyncio.sleep(17)
        left = dict(feed.annotations())
    store.observe(None, deployment("one", seconds=10))
    async with leading(receivers, store, A, inherited=left):
        await asyncio.sleep(30)
    assert receivers.got == [("a", "one")]


async def test_a_leader_that_was_told_to_stop_leaves_nothing_behind() -> None:
    receivers, store = Receivers(), Store()
    async with leading(receivers, store, A) as feed:
        await asyncio.sleep(10)
        store.observe("ADDED", deployment("one", seconds=10))
        await feed.farewell()
        left = dict(feed.annotations())
    async with leading(receivers, store, A, inherited=left):
        await asyncio.sleep(30)
    assert receivers.got == [("a", "one")]


async def test_a_farewell_does_not_wait_for_a_receiver_that_is_away() -> None:
    receivers, store = Receivers(a=[DOWN] * 100), Store()
    async with leading(receivers, store, A) as feed:
        store.observe("ADDED", deployment("one"))
        await feed.farewell()
        assert asyncio.get_running_loop().time() < 5
        assert _reached(feed, "a") < T0


@pytest.mark.parametrize(
    "left", [{}, {ANNOTATION: "nonsense"}, {ANNOTATION: '{"b": "2025-12-31T00:00:00Z"}'}]
)
async def test_what_happened_before_a_receiver_was_set_up_is_not_told(left: dict[str, str]) -> None:
    receivers, store = Receivers(), Store()
    store.observe(None, deployment("long ago", seconds=-60))
    async with leading(receivers, store, A, inherited=left):
        store.observe("MODIFIED", deployment("long ago", seconds=-60, version=2))
        await asyncio.sleep(30)
    assert receivers.got == []


@pytest.mark.parametrize("seconds", [400, 365 * 86_400])
async def test_what_a_leader_told_whose_clock_was_ahead_is_not_told_by_each_of_the_next(
    seconds: float,
) -> None:
    receivers, store = Receivers(), Store()
    store.observe(None, deployment("ahead", seconds=seconds))
    left = {ANNOTATION: json.dumps({"a": format_time(T0 - timedelta(seconds=10))})}
    for version in (2, 3):
        async with leading(receivers, store, A, inherited=left) as feed:
            store.observe("MODIFIED", deployment("ahead", seconds=seconds, version=version))
            await asyncio.sleep(30)
            left = dict(feed.annotations())
    assert receivers.got == []


async def test_before_it_begins_it_leaves_the_marks_of_the_last_leader_alone() -> None:
    assert Feed([A], Store(), Receivers(), LoopClock()).annotations() == {}


async def test_what_is_dropped_counts_from_nought_so_that_prometheus_sees_the_first_one() -> None:
    Outbox(Target("fresh", "http://a"), Receivers(), LoopClock(), rand=random.Random(1))
    (family,) = metrics.NOTIFICATIONS_DROPPED.collect()
    told = [one for one in family.samples if one.labels["target"] == "fresh" and one.name.endswith("_total")]
    assert {one.labels["reason"]: one.value for one in told} == {"full": 0, "expired": 0, "refused": 0}


async def test_a_status_written_by_hand_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    receivers, store = Receivers(), Store()
    broken = deployment(name="broken") | {"status": {"history": [{"at": "soon", "event": "Promoted"}]}}
    async with leading(receivers, store, A):
        store.observe("ADDED", broken)
        store.observe("ADDED", deployment("one"))
        await asyncio.sleep(5)
    assert receivers.got == [("a", "one")]
    assert "cannot be read" in caplog.text


def _occurrence(id_: str) -> Occurrence:
    return Occurrence(id_, "rollout.promoted", T0, "ModelDeployment", "ns", "md", "u", "", id_)


def _reached(feed: Feed, target: str) -> datetime:
    return datetime.fromisoformat(json.loads(feed.annotations()[ANNOTATION])[target])


def _dropped(target: str, reason: str) -> float:
    return metrics.NOTIFICATIONS_DROPPED.labels(target, reason)._value.get()
