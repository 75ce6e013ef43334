"""The public OpenAPI documents of the Open Inference Protocol, with their faults corrected.

In: the protocol's own document, fetched where it is kept, and the one that MLServer's package brings, which
has the paths without a version as well. Out: documents for the one model that a server serves. Invariant:
each correction mends a fault of the document, whatever any server does, and all servers are held to the same.
"""

from __future__ import annotations

import hashlib
import json
import urllib.request
from copy import deepcopy
from typing import Any

import yaml
from tools import clients
from tools.cluster.layout import cache

Document = dict[str, Any]
SOURCE = (
    "https://raw.githubusercontent.com/kserve/open-inference-protocol/"
    "d49cc23f89d709d87b210ef9449e273ae243984e/specification/protocol/open_inference_rest.yaml"
)
SHA256 = "719644d1cec52d1c98268ee16f3b75d6de7f523c6686463cbf06bf79134edbb2"
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


def mended(*, model: str, version: str) -> dict[str, Document]:
    """Both, corrected for one model, by whose they are; OSError where the protocol's cannot be asked for."""
    return {
        "the protocol's": completed(protocols(), model=model, version=version),
        "MLServer's": corrected(public(), model=model, version=version),
    }


def protocols() -> Document:
    """The protocol's own one, from the cache or from where it is kept; OSError where that cannot be asked."""
    place = cache() / "documents" / f"{SHA256}.yaml"
    if not place.exists():
        with urllib.request.urlopen(SOURCE, timeout=30) as answer:
            content = answer.read()
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    content = place.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        place.unlink()
        raise OSError(f"{SOURCE} is not what it was")
    document: Document = yaml.safe_load(content)
    return document


def completed(document: Document, *, model: str, version: str) -> Document:
    """A copy of the protocol's own one without its faults, for one model."""
    document = deepcopy(document)
    # "Must contain an error" says the protocol's text of every error; the document makes it optional here.
    document["components"]["schemas"]["inference_error_response"]["required"] = ["error"]
    missing = deepcopy(ERROR)
    missing["content"] = {
        "application/json": {"schema": {"$ref": "#/components/schemas/inference_error_response"}}
    }
    names, paths = {"MODEL_NAME": model, "MODEL_VERSION": version}, {}
    for written, item in document["paths"].items():
        path = written.replace("${", "{")  # a shell's way to write a parameter
        for parameter in item.get("parameters", []):
            parameter["schema"]["enum"] = [names[parameter["name"]]]
        for operation in (item[method] for method in ("get", "post") if method in item):
            if "{MODEL_NAME}" in path:
                operation["responses"].setdefault("404", missing)
        paths[path] = item
        if "{MODEL_VERSION}" not in path:
            continue
        # The protocol's text has each path without a version, too.
        plain = deepcopy(item)
        plain["parameters"] = [one for one in plain["parameters"] if one["name"] != "MODEL_VERSION"]
        for operation in (plain[method] for method in ("get", "post") if method in plain):
            operation["operationId"] += "-without-version"
        paths[path.replace("/versions/{MODEL_VERSION}", "")] = plain
    document["paths"] = paths
    return document


def public() -> Document:
    """MLServer's, as it was published; makes the environment of MLServer first where it is missing."""
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
