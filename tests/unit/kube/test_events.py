from __future__ import annotations

import asyncio
import logging

import pytest
from tests.unit.kube.api_server import LoopClock, Scripted, namespace_terminating, obj, refusal

from noria_operator.kube.client import Answer
from noria_operator.kube.events import Events
from noria_operator.kube.requests import Request

MD = obj("md", api=("noria.dev/v1alpha1", "ModelDeployment"))


def accept(request: Request) -> Answer:
    return Answer(201, request.body)


async def test_the_same_event_is_written_once_a_window_with_its_count() -> None:
    client = Scripted(accept)
    events = Events(client, LoopClock())
    for _ in range(5):
        await events.emit(MD, "Warning", "Aborted", "too many errors")
        await asyncio.sleep(1)
    assert len(client.sent) == 1
    await asyncio.sleep(600)
    await events.emit(MD, "Warning", "Aborted", "too many errors")
    counts = [request.body["count"] for _, request in client.sent if request.body]
    assert counts == [1, 5]


async def test_different_events_are_all_written() -> None:
    client = Scripted(accept)
    events = Events(client, LoopClock())
    await events.emit(MD, "Normal", "Step", "10 %")
    await events.emit(MD, "Normal", "Step", "50 %")
    await events.emit(obj("other", api=("noria.dev/v1alpha1", "ModelDeployment")), "Normal", "Step", "50 %")
    assert len(client.sent) == 3
    assert len({request.body["metadata"]["name"] for _, request in client.sent if request.body}) == 3


async def test_a_restarted_operator_uses_the_same_name_within_the_window() -> None:
    client = Scripted(accept)
    for _ in range(2):
        await Events(client, LoopClock()).emit(MD, "Normal", "Step", "10 %")
    first, second = (request.body for _, request in client.sent)
    assert first is not None
    assert second is not None
    assert first["metadata"]["name"] == second["metadata"]["name"]
    assert first["involvedObject"]["uid"] == "uid-md"


async def test_a_refused_event_does_not_stop_the_work() -> None:
    for answer in (refusal(403, "Forbidden"), refusal(409, "AlreadyExists"), refusal(500)):
        await Events(Scripted(lambda _, a=answer: a), LoopClock()).emit(MD, "Normal", "Step", "10 %")  # type: ignore[misc]


async def test_no_event_is_missed_in_a_namespace_that_is_being_deleted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        await Events(Scripted(lambda _: namespace_terminating()), LoopClock()).emit(MD, "Normal", "Step", "x")
    assert caplog.records == []


async def test_a_long_message_is_cut_to_what_the_server_takes() -> None:
    client = Scripted(accept)
    await Events(client, LoopClock()).emit(MD, "Normal", "Long", "x" * 5000)
    body = client.sent[0][1].body
    assert body is not None
    assert len(body["message"]) == 1024
