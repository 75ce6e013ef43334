"""The model repository extension: which models there are and in which state; load and unload where the
server was started so that clients may.

A load reads the place that the server was told at its start: a client names no place, and brings neither
files nor a configuration (Triton's parameters `config` and `file:…`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from noria_serving.errors import NoriaError
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.v2 import parse_object
from noria_serving.server.http import Answer, Call
from noria_serving.server.models import Models, Slot, State
from noria_serving.server.routes.description import document


async def index(models: Models, call: Call) -> Answer:
    """POST /v2/repository/index; also GET, for people."""
    call.allow("GET", "POST")
    content = await _content(models, call)
    only_ready = content.get("ready", False)
    if type(only_ready) is not bool:
        raise RequestError("`ready` must be true or false")
    return document(200, entries(models, only_ready=only_ready))


def entries(models: Models, *, only_ready: bool) -> list[dict[str, str]]:
    """Name, version, state and reason of everything that this server was told to serve."""
    every = [_entry(name, slot) for name in models.names() for slot in models.select(name, None)]
    return [entry for entry in every if not only_ready or entry["state"] == State.READY]


async def change(models: Models, call: Call, name: str, command: str) -> Answer:
    """POST /v2/repository/models/M/load or unload."""
    call.allow("POST")
    models.select(name, None)
    content = await _content(models, call)
    await carry_out(models, name, command, content.get("parameters", {}))
    return document(200, {})


async def carry_out(models: Models, name: str, command: str, parameters: Iterable[str] = ()) -> None:
    """`load` or `unload` all versions of a model; to the end, also when the client does not wait for it."""
    slots = models.select(name, None)
    other = next((one for one in parameters if one == "config" or one.startswith("file:")), None)
    if command == "load" and other is not None:
        raise RequestError(
            f"parameter {other!r:.100}: a load reads the bundle that the server was started with, and takes "
            "neither files nor a configuration; leave it out"
        )
    if not models.settings.repository_writable:
        raise RequestError(
            f"this server loads and unloads nothing on request: {name!r:.100} stays as it is; "
            "start it with --repository-writable to change that"
        )
    try:
        await asyncio.shield(_changed(models, slots, command))
    except NoriaError as error:
        raise RequestError(
            f"model {name!r:.100} cannot be loaded: {error.reason}: {error.message}"
        ) from error


async def _changed(models: Models, slots: list[Slot], command: str) -> None:
    for slot in slots:
        await (models.load(slot) if command == "load" else models.unload(slot))


async def _content(models: Models, call: Call) -> dict[str, Any]:
    """Clients send an object, or nothing."""
    body = await call.body(models.settings.max_body)
    content = parse_object(body) if body.strip() else {}
    if type(content.get("parameters", {})) is not dict:
        raise RequestError("`parameters` must be an object")
    return content


def _entry(name: str, slot: Slot) -> dict[str, str]:
    fault = slot.service.soundness.fault if slot.service is not None else ""
    state = State.UNAVAILABLE if fault and slot.state == State.READY else slot.state
    return {"name": name, "version": slot.settings.number, "state": state, "reason": fault or slot.reason}
