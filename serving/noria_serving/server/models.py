"""All models of this process: which version answers to which name.

In: settings of versions to serve; names and versions that clients ask for. Out: Services. Invariants: a name
without a version means the highest version that is ready; draining refuses nothing, it only ends readiness.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from noria_serving.counters.ring import INTERVAL_SECONDS
from noria_serving.protocol.errors import RequestError
from noria_serving.server.service import Service
from noria_serving.settings import ModelSettings, Settings


@dataclass(slots=True)
class Slot:
    """A version that is served, or will be."""

    settings: ModelSettings
    service: Service | None = None


class Models:
    """What both protocols ask."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.draining = False
        self._slots = [Slot(model) for model in settings.models]
        self._found: dict[tuple[str, str | None], Service] = {}

    @property
    def ready(self) -> bool:
        """Whether this process may get traffic: every model is ready, and it is not about to leave."""
        return not self.draining and all(slot.service is not None for slot in self._slots)

    def services(self) -> Iterator[Service]:
        """Every version that is loaded."""
        return (slot.service for slot in self._slots if slot.service is not None)

    def names(self) -> list[str]:
        """What clients may ask for."""
        return list(dict.fromkeys(name for slot in self._slots for name in slot.settings.names))

    def versions(self, name: str) -> list[str]:
        """Version numbers served under a name, lowest first."""
        return [slot.settings.number for slot in self._of(name)]

    def find(self, name: str, version: str | None) -> Service:
        """The Service that answers; RequestError 404 when there is no such version, 503 while it cannot."""
        service = self._found.get((name, version))
        if service is not None:
            return service
        slots = self._of(name)
        if not slots:
            raise RequestError(f"unknown model {name!r:.100}; served here: {self.names()}", status=404)
        if version is not None and version not in self.versions(name):
            raise RequestError(
                f"model {name!r:.100} has no version {version!r:.60}; served here: {self.versions(name)}",
                status=404,
            )
        raise RequestError(f"model {name!r:.100} is not loaded yet", status=503)

    def serve(self, service: Service) -> None:
        """From now on this Service answers for its version."""
        next(slot for slot in self._slots if slot.settings == service.settings).service = service
        self._index()

    async def load(self) -> None:
        """Load every model; NoriaError with the reason of the first that cannot be."""
        for slot in self._slots:
            # in a thread: the runtime's import takes longer than the model, and health answers meanwhile
            self.serve(await asyncio.to_thread(load_service, slot.settings))

    async def keep_ticking(self) -> None:
        """Housekeeping of all services, every few seconds."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            for service in self.services():
                service.tick()

    def close(self) -> None:
        for service in self.services():
            service.close()

    def _of(self, name: str) -> list[Slot]:
        slots = [slot for slot in self._slots if name in slot.settings.names]
        return sorted(slots, key=lambda slot: order(slot.settings.number))

    def _index(self) -> None:
        found: dict[tuple[str, str | None], Service] = {}
        for name in self.names():
            for slot in self._of(name):
                if slot.service is not None:
                    found[name, slot.settings.number] = found[name, None] = slot.service
        self._found = found


def order(number: str) -> tuple[bool, int, str]:
    """Sort key of version numbers: 10 after 9, and words after numbers."""
    return (True, 0, number) if not number.isdecimal() else (False, int(number), "")


def load_service(settings: ModelSettings) -> Service:
    from noria_serving.model.loaded import load  # noqa: PLC0415  slow to import

    return Service(
        settings, load(settings.bundle, digest=settings.digest, allow_pickle=settings.allow_pickle)
    )
