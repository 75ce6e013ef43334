from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.kube.api_server import LoopClock, Scripted, obj, refusal

from noria_operator.controllers.context import Config, Context, Result
from noria_operator.controllers.worker import FAILING, PASS_SECONDS, PASSING, reconcile, work
from noria_operator.kube.apply import Writer
from noria_operator.kube.client import Answer
from noria_operator.kube.errors import (
    Conflict,
    Forbidden,
    NamespaceTerminating,
    NotFound,
    ServerError,
    Terminal,
)
from noria_operator.kube.events import Events
from noria_operator.kube.kinds import TRAININGJOB, Json, Key, Kind
from noria_operator.kube.lease import LeaseLost
from noria_operator.kube.queue import Queue
from noria_operator.kube.requests import Request
from noria_operator.kube.store import Store

KEY = Key(TRAININGJOB, "ns", "tj")


@dataclass
class One:
    """A controller that does what the test says, and notes when."""

    act: Callable[[], Awaitable[Result]]
    KIND: Kind = TRAININGJOB
    OWNS: tuple[Kind, ...] = ()

    def __post_init__(self) -> None:
        self.at: list[float] = []

    async def reconcile(self, ctx: Context, key: Key) -> Result:
        self.at.append(asyncio.get_running_loop().time())
        return await self.act()

    def related(self, store: Store, obj: Json) -> list[Key]:
        return []


def echo(request: Request) -> Answer:
    body = dict(request.body or {})
    newer = str(int(body["metadata"].get("resourceVersion", "1")) + 1)
    body["metadata"] = {"uid": "uid-tj", "generation": 4, **body["metadata"], "resourceVersion": newer}
    return Answer(200, body)


def context() -> tuple[Context, Scripted]:
    client, store, clock = Scripted(echo), Store(), LoopClock()
    nothing: Any = None
    made = Context(
        client=client,
        store=store,
        writer=Writer(client, store, clock),
        events=Events(client, clock),
        clock=clock,
        config=Config("ns"),
        router=nothing,
        servers=nothing,
        pairs=nothing,
        queries=nothing,
    )
    tj = obj("tj", api=("noria.dev/v1alpha1", "TrainingJob"), status={"phase": "Pending"})
    tj["metadata"]["generation"] = 4
    store.observe("ADDED", tj)
    return made, client


async def run(
    act: Callable[[], Awaitable[Result]], seconds: float, *, given: tuple[Context, Scripted] | None = None
) -> tuple[One, Scripted]:
    ctx, client = given or context()
    queue, controller = Queue(), One(act)
    queue.add(KEY)
    worker = asyncio.create_task(work(queue, ctx, [controller]))
    await asyncio.sleep(seconds)
    if worker.done():
        await worker
    queue.close()
    await worker
    return controller, client


async def test_a_pass_and_what_it_waits_for_know_whose_pass_it_is() -> None:
    seen = []

    async def act() -> Result:
        async def part() -> None:
            seen.append(PASSING.get())

        await asyncio.gather(part(), part())
        raise Conflict(409, "Conflict", "md")

    await reconcile(Queue(), context()[0], One(act), KEY)
    assert seen == [KEY, KEY]
    assert PASSING.get() is None, "what comes afterwards is none of its"


async def test_a_pass_that_succeeds_is_not_repeated() -> None:
    async def act() -> Result:
        return Result()

    controller, _ = await run(act, 10_000)
    assert len(controller.at) == 1


async def test_a_pass_comes_again_when_it_asked_to() -> None:
    async def act() -> Result:
        return Result(after=timedelta(seconds=30))

    controller, _ = await run(act, 100)
    assert controller.at == pytest.approx([0, 30, 60, 90])


async def test_case_37_an_error_backs_off_and_the_next_success_forgets_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outcomes = iter([ValueError("a bug"), ServerError(500, "x", "y"), None])

    async def act() -> Result:
        error = next(outcomes, None)
        if error is not None:
            raise error
        return Result()

    with caplog.at_level(logging.WARNING):
        controller, _ = await run(act, 600)
    assert len(controller.at) == 3
    assert 0.4 <= controller.at[1] <= 0.6
    assert 0.8 <= controller.at[2] - controller.at[1] <= 1.2
    assert [record.getMessage() for record in caplog.records] == [
        "A pass failed and is repeated",
        "The API server refused; the pass is repeated",
    ]


async def test_a_conflict_comes_again_almost_at_once_but_never_spins() -> None:
    async def act() -> Result:
        raise Conflict(409, "Conflict", "changed")

    controller, _ = await run(act, 10)
    assert controller.at[1] < 0.05
    assert len(controller.at) < 15


async def test_a_terminal_error_stalls_the_object_and_is_told_once() -> None:
    async def act() -> Result:
        raise Terminal("InvalidSpec", "spec.model: choose another name")

    controller, client = await run(act, 10_000)
    assert len(controller.at) == 1
    status = next(request.body for _, request in client.sent if request.path.endswith("/status"))
    assert status is not None
    assert status["status"]["phase"] == "Pending", "what was in status stays"
    assert status["status"]["observedGeneration"] == 4
    assert status["status"]["message"] == "spec.model: choose another name"
    by_type = {one["type"]: one for one in status["status"]["conditions"]}
    assert by_type["Stalled"]["status"] == "True"
    assert by_type["Ready"]["status"] == "False"
    assert by_type["Ready"]["reason"] == "InvalidSpec"
    events = [request for _, request in client.sent if request.kind.kind == "Event"]
    assert len(events) == 1


async def test_what_the_server_forbids_is_told_to_the_owner_of_the_object() -> None:
    async def act() -> Result:
        raise Forbidden(403, "Forbidden", "exceeded quota: team")

    _, client = await run(act, 20)
    [event] = [request.body for _, request in client.sent if request.kind.kind == "Event"]
    assert event is not None
    assert event["reason"] == "WriteRefused"
    assert "exceeded quota" in event["message"]
    [told] = [request.body for _, request in client.sent if request.path.endswith("/status")]
    assert told is not None
    by_type = {one["type"]: one for one in told["status"]["conditions"]}
    assert (by_type["Stalled"]["status"], by_type["Stalled"]["reason"]) == ("True", "WriteRefused")
    assert "exceeded quota" in by_type["Ready"]["message"]


async def test_a_refused_status_is_told_by_an_event_and_repeated() -> None:
    ctx, client = context()
    client.respond = lambda request: refusal(403, "Forbidden") if request.writes else echo(request)

    async def act() -> Result:
        raise Forbidden(403, "Forbidden", "may not patch trainingjobs/status")

    controller, _ = await run(act, 20, given=(ctx, client))
    assert len(controller.at) > 3
    assert [request.kind.kind for _, request in client.sent].count("Event") == 1


@pytest.mark.parametrize("error", [ValueError("a bug"), ServerError(500, "InternalError", "no")])
async def test_case_37_an_object_whose_passes_go_on_failing_says_so_every_ten_minutes(
    error: Exception,
) -> None:
    async def act() -> Result:
        raise error

    _, client = await run(act, 1200)
    told = [(at, request.body) for at, request in client.sent if request.kind.kind == "Event"]
    assert 12 < told[0][0] < 20
    assert len(told) == 2, "the next one is due after twenty minutes"
    event = told[1][1]
    assert event is not None
    assert (event["type"], event["reason"]) == ("Warning", "PassFailing")
    assert event["involvedObject"]["name"] == "tj"
    assert f"({type(error).__name__})" in event["message"]
    assert event["count"] > 1


async def test_passes_that_fail_for_a_moment_are_no_event() -> None:
    outcomes = iter([ValueError("a bug")] * (FAILING - 1))

    async def act() -> Result:
        failed = next(outcomes, None)
        if failed is not None:
            raise failed
        return Result()

    controller, client = await run(act, 600)
    assert len(controller.at) == FAILING
    assert client.sent == []


async def test_a_pass_in_a_namespace_that_is_being_deleted_ends_quietly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def act() -> Result:
        raise NamespaceTerminating(403, "Forbidden", "unable to create new content")

    with caplog.at_level(logging.INFO):
        controller, client = await run(act, 10_000)
    assert len(controller.at) == 1
    assert client.sent == []
    assert caplog.records == []


async def test_a_pass_whose_object_is_gone_ends_quietly(caplog: pytest.LogCaptureFixture) -> None:
    ctx, client = context()
    client.respond = lambda _: refusal(404, "NotFound")

    async def act() -> Result:
        found = ctx.store.get(KEY)
        assert found is not None
        await ctx.writer.status(TRAININGJOB, found, {"phase": "Running"})
        return Result()

    with caplog.at_level(logging.INFO):
        controller, _ = await run(act, 10_000, given=(ctx, client))
    assert len(controller.at) == 1
    assert caplog.records == []


async def test_something_else_that_is_gone_is_looked_for_again() -> None:
    async def act() -> Result:
        raise NotFound(404, "NotFound", 'namespaces "elsewhere" not found')

    controller, _ = await run(act, 2)
    assert len(controller.at) > 1


async def test_a_pass_that_hangs_is_ended_and_repeated() -> None:
    async def act() -> Result:
        await asyncio.sleep(100_000)
        return Result()

    controller, _ = await run(act, PASS_SECONDS * 2.5)
    assert len(controller.at) == 3


async def test_a_lost_lease_ends_the_worker() -> None:
    async def act() -> Result:
        raise LeaseLost("gone")

    with pytest.raises(LeaseLost):
        await run(act, 10)
