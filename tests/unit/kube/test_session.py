"""A stream that is refused, as the session tells Kopf of it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from yarl import URL

from noria_operator.kube import session
from noria_operator.kube.kinds import MODELDEPLOYMENT
from noria_operator.kube.stream import Pulse, Stream


async def test_a_stream_is_asked_for_again_however_often_it_was_refused() -> None:
    """A day of refusals, as of a namespace that nobody makes again."""
    stream: Stream = (MODELDEPLOYMENT, "team-a")
    ask = session._patient(Pulse([stream], lambda _: None, period=600))
    request: Any = SimpleNamespace(url=URL(f"https://api{MODELDEPLOYMENT.path('team-a')}"))

    async def refused(_: object) -> aiohttp.ClientResponse:
        return cast("aiohttp.ClientResponse", SimpleNamespace(status=403, close=lambda: None))

    loop = asyncio.get_running_loop()
    for _ in range(4_000):
        asked = loop.time()
        with pytest.raises(aiohttp.ClientPayloadError, match="refused with 403"):
            await ask(request, refused)
        assert loop.time() - asked <= 1.2 * session.LONGEST_PAUSE
