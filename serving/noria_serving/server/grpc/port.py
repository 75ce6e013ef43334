"""Opens the gRPC port, so that a successor of this process can have it without a client being refused.

In: Models, and the supervisor, which may be absent. Out: a Listener that answers, and its port. Invariant:
what holds the port (hold.py) is the supervisor's alone, which lets go of it when this process is told to end.
"""

from __future__ import annotations

import logging

from noria_serving.server.grpc.hold import CannotHoldError, Hold, hold
from noria_serving.server.grpc.listener import Listener, taken
from noria_serving.server.models import Models
from noria_serving.supervisor import Parent

log = logging.getLogger(__name__)
_NAME = "grpc"


async def listen(models: Models, parent: Parent) -> tuple[Listener, int]:
    """NoriaError where the port is taken."""
    host, port = models.settings.host, models.settings.grpc_port or 0
    kept = parent.kept(_NAME)
    held = Hold(kept) if kept else _held(host, port, parent)
    listener = Listener(models, shared=held is not None)
    bound = await listener.start(host, held.port if held else port)
    if held is not None:
        if not kept:
            _keep(held, parent)
        held.close()
    return listener, bound


def _held(host: str, port: int, parent: Parent) -> Hold | None:
    if not parent.present:
        return None
    try:
        return hold(host, port)
    except CannotHoldError as error:
        _say(error)
        return None
    except OSError as error:
        raise taken(host, port, error) from error


def _keep(held: Hold, parent: Parent) -> None:
    try:
        held.check()
    except CannotHoldError as error:
        _say(error)
    else:
        parent.keep(_NAME, *held.sockets)


def _say(error: CannotHoldError) -> None:
    log.warning("gRPC is refused while a server that died is replaced", extra={"because": str(error)})
