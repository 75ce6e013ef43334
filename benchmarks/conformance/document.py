"""The public OpenAPI document of the Open Inference Protocol, with its faults corrected.

In: the document that MLServer's package brings. It is the protocol's own one (open_inference_rest.yaml of
kserve/open-inference-protocol) and the paths without a version, which the protocol's text has and its own
document lacks. Out: the document for the one model that a server serves. Invariant: each correction mends a
fault of the document, whatever any server does, and all servers are held to the same.
"""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from tools import clients

Document = dict[str, Any]
ENVIRONMENT = "peer-mlserver"
PLACE = "lib/python*/site-packages/mlserver/rest/openapi/dataplane.json"
OWN_PATHS = ("infer_stream", "generate", "generate_stream")
"""MLServer's, not the protocol's."""
ERROR = {
    "description": "Not Found",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/InferenceErrorResponse"}}},
}
TENSOR_DATA = {
    "type": "array",
    "items": {
        "anyOf": [
            {"$ref": "#/components/schemas/TensorData"},
            {"type": "number"},
            {"type": "string"},
            {"type": "boolean"},
        ]
    },
}


def public() -> Document:
    """As it was published; makes the environment of MLServer first where it is missing."""
    home = clients.python(ENVIRONMENT).parent.parent
    (place,) = home.glob(PLACE)
    document: Document = json.loads(place.read_text(encoding="utf-8"))
    return document


def corrected(document: Document, *, model: str, version: str) -> Document:
    """A copy without the document's faults, in which `model` and `version` are the only ones there are."""
    document = deepcopy(document)
    schemas = document["components"]["schemas"]
    # One of its alternatives is of the type `bytes`, which OpenAPI does not know. This is the protocol's own.
    schemas["TensorData"] = TENSOR_DATA
    # "Must contain an error" says the protocol's text of every error; the document makes it optional here.
    schemas["InferenceErrorResponse"]["required"] = ["error"]
    paths = document["paths"]
    document["paths"] = paths = {
        path: item for path, item in paths.items() if path.rpartition("/")[2] not in OWN_PATHS
    }
    names = {"model_name": model, "model_version": version}
    for item in paths.values():
        parameters = item.get("parameters", [])
        for parameter in parameters:
            # A name that is not served is a 404 wherever it stands, and tests nothing but that.
            parameter["schema"]["enum"] = [names[parameter["name"]]]
        for operation in (item[method] for method in ("get", "post") if method in item):
            # No request is an excuse for a fault of the server; the protocol's own document has no 500.
            operation["responses"].pop("500", None)
            if parameters:
                # Whoever takes a name can be asked for one that is not there: the document says so of some
                # paths, and of `…/ready` not, where the protocol's text leaves "any HTTP error status".
                operation["responses"].setdefault("404", ERROR)
    return document
