"""Namespaces of `watchNamespaces` that may not be read: deleted, with the chart's Role in them."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from tests.unit.kube.api_server import Scripted, refusal

from noria_operator import app
from noria_operator.controllers.context import Config
from noria_operator.evidence.fetch import Fetcher
from noria_operator.kube.client import Answer
from noria_operator.kube.errors import ApiError, Forbidden
from noria_operator.kube.login import Endpoint
from noria_operator.kube.namespaces import forbidden
from noria_operator.kube.requests import Request
from noria_operator.process import LOOK_AGAIN, Operator, Parts

CONFIG = Config("noria-system", watch_namespaces=("a", "b", "c"))


class Rights:
    """Answers lists by namespace: 200, or the status in `refused`."""

    def __init__(self, **refused: int) -> None:
        self.refused = refused

    def __call__(self, request: Request) -> Answer:
        namespace = request.path.split("/namespaces/")[1].split("/")[0]
        status = self.refused.get(namespace)
        return Answer(200, {"metadata": {}, "items": []}) if status is None else refusal(status)


async def test_namespaces_are_forbidden_only_while_others_are_not() -> None:
    assert await forbidden(Scripted(Rights(a=403, c=403)), "abc") == {"a", "c"}
    assert await forbidden(Scripted(Rights()), "abc") == frozenset()
    assert await forbidden(Scripted(Rights()), "") == frozenset()
    with pytest.raises(Forbidden):
        await forbidden(Scripted(Rights(a=403, b=403)), "ab")
    with pytest.raises(ApiError):
        await forbidden(Scripted(Rights(a=403, b=404)), "abc")


async def test_an_operator_begins_without_them_where_the_api_server_says_so() -> None:
    config, left_out = await app._readable(Scripted(Rights(a=403)), CONFIG)
    assert config.watch_namespaces == ("b", "c")
    assert left_out == {"a"}
    for rights in (Rights(), Rights(a=403, b=403, c=403), Rights(a=403, b=503)):
        assert await app._readable(Scripted(rights), CONFIG) == (CONFIG, frozenset())


def operator(rights: Rights, *watched: str, left_out: str = "") -> Operator:
    config = Config("noria-system", watch_namespaces=watched)
    make = app.context(Fetcher(), Fetcher())
    out = frozenset(left_out)
    return Operator(Parts(config, Endpoint("http://none"), Scripted(rights), [], make, left_out=out))


async def ends(made: Operator, stop: asyncio.Event) -> bool:
    """Whether it ends itself when it looks next."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LOOK_AGAIN * 1.5):
            await made._look_again(stop)
    return stop.is_set()


async def test_it_begins_anew_when_one_that_was_left_out_may_be_read() -> None:
    rights = Rights(a=403)
    made, stop = operator(rights, "b", "c", left_out="a"), asyncio.Event()
    made._resync.complete.set()
    assert not await ends(made, stop)
    rights.refused = {"a": 503}
    assert not await ends(made, stop)
    rights.refused = {"a": 403, "b": 403, "c": 403}
    assert not await ends(made, stop)
    rights.refused = {}
    assert await ends(made, stop)


async def test_it_begins_anew_when_one_that_it_waits_for_may_not_be_read() -> None:
    made, stop = operator(Rights(a=403), "a", "b"), asyncio.Event()
    assert await ends(made, stop)
    listed, stop = operator(Rights(a=403), "a", "b"), asyncio.Event()
    listed._resync.complete.set()
    assert not await ends(listed, stop), "what it knows of the namespace stays"
