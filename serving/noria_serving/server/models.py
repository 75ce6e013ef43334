"""All models of this process: which version answers to which name, and in which state each one is.

In: settings of versions to serve; names and versions that clients ask for; commands to load and unload. Out:
Services. Invariants: a name without a version means the highest version that is ready; a version goes on
serving while its next load is under way, and after a load that failed; draining refuses nothing, it only
ends readiness.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from typing import Final

from noria_serving.counters.ring import INTERVAL_SECONDS
from noria_serving.errors import NoriaError, Reason
from noria_serving.limits import DEFAULT, Limits
from noria_serving.protocol.errors import RequestError
from noria_serving.server.http import Inbox
from noria_serving.server.patience import Patience
from noria_serving.server.service import Service, named
from noria_serving.settings import ModelSettings, Settings

log = logging.getLogger(__name__)
FINISH_SECONDS: Final = 20.0
"""What a version that was replaced has in flight may take so long."""
POLL_SECONDS: Final = 0.02
LEAVING: Final = "the server is about to end"
LATER: Final = (b"retry-after", b"5")
"""For who asks for a version that is being loaded; the same as from a router that knows of no pod."""


class State(StrEnum):
    """Of a version, in the words of the model repository extension."""

    READY = "READY"
    UNAVAILABLE = "UNAVAILABLE"
    LOADING = "LOADING"
    UNLOADING = "UNLOADING"


@dataclass(slots=True)
class Slot:
    """A version that this process was told to serve."""

    settings: ModelSettings
    state: State = State.LOADING
    reason: str = ""
    """Why it is not ready, or why its last load failed."""
    service: Service | None = None
    fetching: bool = False
    """Whether a thread is loading it, also when nobody waits for that any more."""
    wanted: bool = True
    """False from when it was unloaded until it is ready again: its absence does not make the server unready.
    """
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def ready(self) -> bool:
        return self.service is not None and not self.service.soundness.fault


class Models:
    """What every protocol asks."""

    def __init__(self, settings: Settings, *, restarts: int = 0) -> None:
        self.settings = settings
        self.restarts = restarts
        """How many processes before this one died."""
        self.draining = False
        self.inbox = Inbox(settings.limits.max_buffered)
        self.patience = Patience(settings.limits.transfer)
        self.slots = [Slot(model) for model in settings.models]
        self._names = list(dict.fromkeys(name for model in settings.models for name in model.names))
        self._of = {name: _ordered(self.slots, name) for name in self._names}
        self._found: dict[tuple[str, str | None], Service] = {}
        self._leaving: list[Service] = []
        """Replaced or unloaded, and still at work."""

    @property
    def ready(self) -> bool:
        """Whether this process may get traffic: every model is ready, and it is not about to leave."""
        return not self.unready

    @property
    def unready(self) -> str:
        """Why it may get none, if so."""
        if self.draining:
            return LEAVING
        waited = (slot for slot in self.slots if slot.wanted and not slot.ready)
        return next((_unready(slot.settings.names[0], [slot]) for slot in waited), "")

    @property
    def live(self) -> bool:
        """Whether this process is worth keeping: no model is stuck for good."""
        return not any(service.soundness.hopeless for service in self.services())

    @property
    def busy(self) -> bool:
        """Whether a thread is in a prediction or a load, perhaps for ever."""
        return any(slot.fetching for slot in self.slots) or not all(s.line.idle for s in self.held())

    def services(self) -> Iterator[Service]:
        """Every version that is loaded."""
        return (slot.service for slot in self.slots if slot.service is not None)

    def held(self) -> Iterator[Service]:
        """Every version that is loaded, and what was so and is not done yet."""
        return chain(self.services(), self._leaving)

    def names(self) -> list[str]:
        """What clients may ask for."""
        return self._names

    def versions(self, name: str) -> list[str]:
        """Version numbers served under a name, lowest first."""
        return [slot.settings.number for slot in self._of.get(name, ())]

    def find(self, name: str, version: str | None) -> Service:
        """The Service that answers; RequestError 404 when there is no such version, 503 while it cannot."""
        service = self._found.get((name, version))
        if service is not None and not service.soundness.fault:
            return service
        slots = self.select(name, version)
        ready = [slot.service for slot in slots if slot.service is not None and slot.ready]
        if not ready:
            later = [LATER] if slots[-1].state == State.LOADING else []
            raise RequestError(_unready(name, slots), status=503, headers=[named(slots[-1].settings), *later])
        return ready[-1]

    def select(self, name: str, version: str | None) -> list[Slot]:
        """The versions of a name, lowest first, or the one asked for; RequestError 404 when there is none."""
        slots = self._of.get(name)
        if slots is None:
            raise RequestError(f"unknown model {name!r:.100}; served here: {self._names[:20]}", status=404)
        if version is None:
            return slots
        chosen = [slot for slot in slots if slot.settings.number == version]
        if not chosen:
            known = self.versions(name)[-20:]
            raise RequestError(
                f"model {name!r:.100} has no version {version!r:.60}; served here: {known}", status=404
            )
        return chosen

    async def load_all(self) -> None:
        """At the start: load every version; NoriaError with the reason of the first that cannot be."""
        for slot in self.slots:
            await self.load(slot)

    async def load(self, slot: Slot) -> None:
        """Load a version from where it is stored, in a thread: the event loop goes on serving meanwhile, also
        the version's earlier load. NoriaError when it cannot be loaded.
        """
        async with slot.changing:
            slot.state, slot.fetching = State.LOADING, True
            try:
                service = await asyncio.to_thread(self._fetch, slot)
            except Exception as error:
                fault = error if isinstance(error, NoriaError) else _internal(error)
                slot.state = State.READY if slot.ready else State.UNAVAILABLE
                slot.reason = f"{fault.reason}: {fault.message}"
                if fault is error:
                    raise
                raise fault from error
            await self._replace(slot, service)

    async def unload(self, slot: Slot) -> None:
        """No new requests for this version from now on; what it has in flight is answered."""
        async with slot.changing:
            slot.state, slot.wanted = State.UNLOADING, False
            await self._replace(slot, None)

    def serve(self, service: Service) -> None:
        """From now on this Service answers for its version."""
        slot = next(slot for slot in self.slots if slot.settings == service.settings)
        slot.service, slot.state, slot.reason, slot.wanted = service, State.READY, "", True
        self._index()

    async def keep_ticking(self) -> None:
        """Housekeeping of all services, every few seconds."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            for service in self.services():
                try:
                    service.tick()
                except Exception:
                    log.exception("housekeeping failed", extra={"version": service.settings.version})
            self._let_go()

    def close(self) -> None:
        for service in self.held():
            service.close()

    def _fetch(self, slot: Slot) -> Service:
        """In a thread, which outlives whoever waits for it."""
        try:
            return load_service(slot.settings, self.settings.limits)
        finally:
            slot.fetching = False

    async def _replace(self, slot: Slot, service: Service | None) -> None:
        old = slot.service
        if service is not None:
            self.serve(service)
        else:
            slot.service = None
            self._index()
        if old is not None:
            self._leaving.append(old)
            await _finished(old)
            old.close()
            self._let_go()
        if service is None:
            slot.state, slot.reason = State.UNAVAILABLE, "unloaded"

    def _let_go(self) -> None:
        """Of what was replaced or unloaded, and is done."""
        self._leaving = [service for service in self._leaving if service.at_work]

    def _index(self) -> None:
        found: dict[tuple[str, str | None], Service] = {}
        for name, slots in self._of.items():
            for slot in slots:
                if slot.service is not None:
                    found[name, slot.settings.number] = found[name, None] = slot.service
        self._found = found


async def _finished(service: Service) -> None:
    until = time.monotonic() + FINISH_SECONDS
    while service.in_flight and time.monotonic() < until:  # noqa: ASYNC110  so that requests need not signal
        await asyncio.sleep(POLL_SECONDS)


def load_service(settings: ModelSettings, limits: Limits = DEFAULT) -> Service:
    """Everything between a location and a version that may answer."""
    from noria_serving.model.loaded import load  # noqa: PLC0415  slow to import: after the port answers

    loaded = load(
        settings.bundle,
        digest=settings.digest,
        trust=settings.trust,
        allow_code=settings.allow_code,
        warm_up=settings.warm_up,
    )
    try:
        return Service(settings, loaded, limits)
    except NoriaError:
        loaded.close()
        raise


def _ordered(slots: list[Slot], name: str) -> list[Slot]:
    named = [slot for slot in slots if name in slot.settings.names]
    return sorted(named, key=lambda slot: _order(slot.settings.number))


def _order(number: str) -> tuple[bool, int, str]:
    """10 after 9, and words after numbers."""
    return (False, int(number), "") if number.isdecimal() else (True, 0, number)


def _unready(name: str, slots: list[Slot]) -> str:
    newest = slots[-1]
    if newest.service is not None and newest.service.soundness.fault:
        return f"model {name!r:.100} failed: {newest.service.soundness.fault}"
    if newest.state == State.LOADING:
        return f"model {name!r:.100} is not loaded yet"
    return f"model {name!r:.100} is not served: {newest.reason}"


def _internal(error: Exception) -> NoriaError:
    log.error("load failed", exc_info=error)
    return NoriaError(Reason.INTERNAL, f"{type(error).__name__}: {error}")
