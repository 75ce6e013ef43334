"""What a GatewayClass says that its gateways can do, and what is known of how its controller writes weights.

Comes in: the class as the API server has it. Goes out: what Noria may ask of its gateways. Invariant: what
neither the class nor the cluster's admin says is not taken to be possible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from noria_operator.api.names import SUPPORTED_FEATURES_ANNOTATION, WEIGHTS_ANNOTATION
from noria_operator.api.routers import PART_OF_COPIES

Json = dict[str, Any]

WEIGH_ENDPOINTS: Final = frozenset({"gateway.envoyproxy.io/gatewayclass-controller"})
"""Controllers that make one Envoy cluster of all backends of a rule and give their endpoints the weights
(Envoy Gateway 1.9, `RouteDestination.NeedsClusterPerSetting`). Proxies take endpoints and routes one by one
and may refuse either: an answer by a new route is no proof of weights that stand elsewhere.
"""


@dataclass(frozen=True, slots=True)
class Abilities:
    """Of the class `name`; `unread` says why nothing is known of it."""

    name: str = ""
    copies_parts: bool = False
    weighs_endpoints: bool = False
    """Whether weights may stand elsewhere than in the route that a proxy answers by."""
    unread: str = ""


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
    return Abilities(meta["name"], PART_OF_COPIES in features, weighs)
