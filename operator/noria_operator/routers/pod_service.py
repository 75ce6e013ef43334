"""The Service of a ModelDeployment's own name where it leads straight to pods, not to a router of Noria's.

Comes in: a ModelDeployment and whose pods may answer. Goes out: a body to apply. Invariant: what is selected
always belongs to this very ModelDeployment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noria_operator.api import names
from noria_operator.domain.rollout_state import Revision, State
from noria_operator.domain.serving_children import revision_selector, selector
from noria_serving.contract import GRPC_PORT

Json = dict[str, Any]


def service(owner: Json, selected: Mapping[str, str]) -> Json:
    """The ports are found by name in each pod, since versions may have different ones."""
    meta = owner["metadata"]
    grpc = {"name": names.GRPC_PORT_NAME, "port": GRPC_PORT, "targetPort": names.GRPC_PORT_NAME}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": {names.DEPLOYMENT_LABEL: names.fit(meta["name"])},
        },
        "spec": {
            "type": "ClusterIP",
            "selector": dict(selected),
            "ports": [
                {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"},
                {**grpc, "protocol": "TCP", "appProtocol": "kubernetes.io/h2c"},
            ],
        },
    }


def preview(owner: Json, state: State) -> Json:
    """The address of the challenger while there is one, else of the champion."""
    name = names.preview_name(owner["metadata"]["name"])
    target = state.candidate.target if state.candidate else state.stable
    made = service(owner, _of(owner, target))
    return {**made, "metadata": {**made["metadata"], "name": name}}


def of_champion(owner: Json, state: State) -> dict[str, str]:
    """The champion's pods; those of the first version as long as there is no champion."""
    return _of(owner, state.stable)


def of_weights(owner: Json, state: State, *, others: bool) -> dict[str, str]:
    """The pods of every version with weight: of one, or of all while two have some.

    While there are `others`, pods of further versions, those would get requests too: until they are gone the
    champion keeps all of them.
    """
    weighted = [share.target for share in state.traffic if share.weight]
    if len(weighted) == 1:
        return _of(owner, weighted[0])
    return _of(owner, state.stable if others else None)


def _of(owner: Json, target: Revision | None) -> dict[str, str]:
    name, uid = owner["metadata"]["name"], owner["metadata"]["uid"]
    return revision_selector(name, uid, target) if target else selector(name, uid)
