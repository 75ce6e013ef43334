"""What a GatewayClass says that its gateways can do, what is known of how its controller writes weights, and
whether a Gateway has anything that could answer.

Comes in: the class and the Gateway as the API server has them. Goes out: what Noria may ask of the gateway,
and whose word about it counts. Invariant: what neither the class nor the cluster's admin says is not taken to
be possible.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from noria_operator.api.names import SUPPORTED_FEATURES_ANNOTATION, WEIGHTS_ANNOTATION
from noria_operator.api.routers import PART_OF_COPIES
from noria_operator.domain.conditions import of_type
from noria_operator.domain.training_times import moment

Json = dict[str, Any]

WEIGH_ENDPOINTS: Final = frozenset({"gateway.envoyproxy.io/gatewayclass-controller"})
"""Controllers that make one Envoy cluster of all backends of a rule and give their endpoints the weights
(Envoy Gateway 1.9, `RouteDestination.NeedsClusterPerSetting`). Proxies take endpoints and routes one by one
and may refuse either: an answer by a new route is no proof of weights that stand elsewhere.
"""


STARTING: Final = timedelta(minutes=1)
"""How long proxies of a Gateway may take to come before anybody is told that there are none."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """Of a Gateway of the class `name`; `unread` says why nothing is known of the class."""

    name: str = ""
    controller: str = ""
    """Who looks after Gateways of the class; empty where it cannot be read."""
    gone: bool = False
    """There is no such Gateway."""
    unprogrammed: str = ""
    """Why nothing answers for the Gateway, as its controller says."""
    copies_parts: bool = False
    weighs_endpoints: bool = False
    """Whether weights may stand elsewhere than in the route that a proxy answers by."""
    unread: str = ""

    def heeds(self, controller: str, among: Collection[str]) -> bool:
        """Whether what `controller` said of a route counts, `among` all who told of it: where the class's own
        is one of them, others had the Gateway before. Alone it may be the same one: Istio has a name for
        each of its classes, and writes routes' status by one of them.
        """
        return not self.gone and (self.controller in ("", controller) or self.controller not in among)


def abilities(found: Json) -> Abilities:
    """By status, and by the annotation that stands in for what a controller does not write there."""
    meta = found["metadata"]
    annotations = meta.get("annotations") or {}
    admins = {word.strip() for word in annotations.get(SUPPORTED_FEATURES_ANNOTATION, "").split(",")}
    # Before version 1.3 of the Gateway API the list was of plain words.
    listed = found.get("status", {}).get("supportedFeatures") or ()
    features = admins | {one["name"] if isinstance(one, dict) else one for one in listed}
    controller = found.get("spec", {}).get("controllerName")
    weighs = controller in WEIGH_ENDPOINTS or annotations.get(WEIGHTS_ANNOTATION) == "endpoints"
    return Abilities(
        meta["name"],
        controller=controller or "",
        copies_parts=PART_OF_COPIES in features,
        weighs_endpoints=weighs,
    )


def unprogrammed(gateway: Json, now: datetime) -> str:
    """Why its controller has had nothing that answers for a Gateway for a while; empty where it has."""
    said = of_type((gateway.get("status") or {}).get("conditions") or (), "Programmed")
    if said.get("status") != "False" or now - moment(said["lastTransitionTime"]) < STARTING:
        return ""
    return f"{said.get('reason')}: {said.get('message')}"
