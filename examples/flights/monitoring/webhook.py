"""The webhook that Alertmanager calls: it says what it was told, one line an alert, and keeps it.

POST / takes what Alertmanager sends; GET /alerts gives all of it as JSON, oldest first.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from aiohttp import web

PORT: Final = 9095
KEPT: Final = 1000


def app() -> web.Application:
    """The two routes."""
    told: list[dict[str, Any]] = []

    async def take(request: web.Request) -> web.Response:
        for alert in (await request.json())["alerts"]:
            labels = alert["labels"]
            line = f"{alert['status']}: {labels['alertname']}: {alert['annotations'].get('summary', '')}"
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
            told.append({"status": alert["status"], "labels": labels, "annotations": alert["annotations"]})
        del told[:-KEPT]
        return web.Response()

    async def alerts(_: web.Request) -> web.Response:
        return web.json_response(told)

    application = web.Application()
    application.add_routes([web.post("/", take), web.get("/alerts", alerts)])
    return application


if __name__ == "__main__":
    web.run_app(app(), port=PORT, print=None)
