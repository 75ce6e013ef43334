"""POST /v2/models/M/feedback: labels for earlier predictions, by the tokens that came with them."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from noria_serving.feedback.token import Refusal, Refused
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.v2 import parse_object
from noria_serving.server.http import Answer, Call
from noria_serving.server.models import Models
from noria_serving.server.routes.description import document
from noria_serving.server.service import TOKEN_HEADER, Service

MAX_ITEMS: Final = 4096
ROWS_AT_ONCE: Final = 128
"""Labels that are counted in a row: a millisecond or two."""
STATUSES: Final = {
    Refusal.INVALID: 400,
    Refusal.FOREIGN: 403,
    Refusal.FORGED: 403,
    Refusal.EXPIRED: 410,
    Refusal.DUPLICATE: 409,
    Refusal.FULL: 429,
}
RETRY: Final = (b"retry-after", b"10")
"""Seconds; the payload log tries a store that is away every minute at least."""


async def accept(models: Models, call: Call, name: str, version: str | None) -> Answer:
    """One token, or a list of items."""
    call.allow("POST")
    models.find(name, version)
    content = parse_object(await call.body(models.settings.max_body))
    service = models.find(name, version)  # it may have been replaced while the body came
    if content.get("items") is not None:
        return await _batch(service, content["items"])
    sent, token = call.headers.get(TOKEN_HEADER), content.get("token")
    if token is None and sent:
        token = sent.decode("latin-1")
    try:
        accepted = service.desk.accept(token, content.get("labels"), time.time())
    except Refused as refused:
        body = {"error": str(refused), "reason": str(refused.refusal)}
        status, said, headers = document(STATUSES[refused.refusal], body)
        return status, said, [*headers, RETRY] if refused.refusal is Refusal.FULL else headers
    return document(200, accepted.as_json())


async def _batch(service: Service, items: object) -> Answer:
    """With room for other requests every ROWS_AT_ONCE rows."""
    if not isinstance(items, list) or len(items) > MAX_ITEMS:
        raise RequestError(f"`items` must be a list of at most {MAX_ITEMS} objects with `token` and `labels`")
    results: list[dict[str, Any]] = []
    now, rows = time.time(), 0
    for item in items:
        fields = item if isinstance(item, dict) else {}
        labels = fields.get("labels")
        if rows >= ROWS_AT_ONCE:
            await asyncio.sleep(0)
            rows = 0
        rows += len(labels) if isinstance(labels, list) else 1
        try:
            accepted = service.desk.accept(fields.get("token"), labels, now)
            results.append(accepted.as_json())
        except Refused as refused:
            results.append({"result": str(refused.refusal), "error": str(refused)})
    matched = sum(1 for entry in results if entry["result"] == "matched")
    return document(200, {"matched": matched, "results": results})
