"""The replayer's small HTTP server, for the demo: how far it is, and how fast it shall go.

`GET /stats` (small), `GET /report` (all), `POST /control?rate=60&pause_at=2013-12-01`, `POST /exit`. It is
reached through the API server's pod proxy and changes nothing outside the replayer.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiohttp import web
from examples.flights.pace import Pace

MAX_RATE: Final = 1000.0
_DATE: Final = re.compile(r"2013-\d\d-\d\d")
Document = Callable[[], Mapping[str, Any]]


def application(pace: Pace, *, stats: Document, report: Document, leave: asyncio.Event) -> web.Application:
    """The server; `leave` is set when the replayer may end."""

    async def get_stats(_: web.Request) -> web.Response:
        return web.json_response(stats())

    async def get_report(_: web.Request) -> web.Response:
        return web.json_response(report())

    async def post_control(request: web.Request) -> web.Response:
        try:
            pace.set(rate=_rate(request.query.get("rate")), pause_at=_date(request.query.get("pause_at")))
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"rate": pace.rate, "pause_at": pace.pause_at})

    async def post_exit(_: web.Request) -> web.Response:
        leave.set()
        return web.json_response({})

    app = web.Application()
    app.add_routes(
        [
            web.get("/stats", get_stats),
            web.get("/report", get_report),
            web.post("/control", post_control),
            web.post("/exit", post_exit),
        ]
    )
    return app


def _rate(text: str | None) -> float | None:
    if text is None:
        return None
    rate = float(text)
    if not 0 <= rate <= MAX_RATE:
        raise ValueError(f"rate must be from 0 to {MAX_RATE:g} requests a second, not {text}")
    return rate


def _date(text: str | None) -> str | None:
    if text and not _DATE.fullmatch(text):
        raise ValueError(f"pause_at must be a date of 2013 such as 2013-12-01, not {text}")
    return text
