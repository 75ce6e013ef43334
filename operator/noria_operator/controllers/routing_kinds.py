"""The kinds of routers by the word in `router.type`."""

from __future__ import annotations

from typing import Final

from noria_operator.api.routers import RouterType
from noria_operator.controllers import routing_envoy, routing_gateway, routing_service
from noria_operator.controllers.routing import Routing

ROUTINGS: Final[dict[RouterType, Routing]] = {
    "Envoy": routing_envoy,
    "Gateway": routing_gateway,
    "Service": routing_service,
}
