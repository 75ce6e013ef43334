"""What there is and how it does: server and model metadata, health, the list of models; V2 and V1."""

from __future__ import annotations

import json
from typing import Any, Final

from noria_serving import contract
from noria_serving.protocol.errors import RequestError
from noria_serving.protocol.v2 import JSON, render
from noria_serving.server.http import Answer
from noria_serving.server.models import LEAVING, Models
from noria_serving.server.service import Service

NAME: Final = "noria"
VERSION: Final = contract.VERSION
EXTENSIONS: Final = ("binary_tensor_data", "model_repository", "noria_feedback")
SERVER: Final = {"name": NAME, "version": VERSION, "extensions": EXTENSIONS}
STUCK: Final = "a prediction does not end: this process will be replaced"
PLATFORMS: Final = {
    "onnx": "onnx_onnxruntime",
    "skops": "sklearn_skops",
    "pickle": "sklearn_pickle",
    "python": "noria_python",
    "torch": "pytorch_export",
}


def document(status: int, content: Any) -> Answer:
    """An answer that is JSON."""
    return status, render(content), [JSON]


def server() -> Answer:
    return document(200, SERVER)


def live(models: Models) -> Answer:
    """While this answers at all, and no model is stuck for good."""
    if models.live:
        return document(200, {"live": True})
    return document(503, {"live": False, "error": STUCK})


def alive() -> Answer:
    """What V1 clients look for at `/`."""
    return document(200, {"status": "alive"})


def ready(models: Models) -> Answer:
    """Whether all models are ready, under both keys that clients look for; and why not, as the protocol says
    what is wrong.
    """
    why = models.unready
    if not why:
        return document(200, {"live": True, "ready": True})
    return document(503, {"live": False, "ready": False, "error": why})


def names(models: Models) -> Answer:
    return document(200, {"models": models.names()})


def model_ready(models: Models, name: str, version: str | None) -> Answer:
    """200 or 503 with the reason, in one form."""
    why = unready(models, name, version)
    if not why:
        return document(200, {"name": name, "ready": True})
    return document(503, {"name": name, "ready": False, "error": why})


def is_model_ready(models: Models, name: str, version: str | None) -> bool:
    """Whether it may get traffic; RequestError 404 when there is no such model or version."""
    return not unready(models, name, version)


def unready(models: Models, name: str, version: str | None) -> str:
    """Why a model may get no traffic, if so; RequestError 404 when there is no such model or version."""
    try:
        models.find(name, version)
    except RequestError as error:
        if error.status != 503:
            raise
        return str(error)
    return LEAVING if models.draining else ""


def model(models: Models, name: str, version: str | None) -> Answer:
    return document(200, metadata(models, name, version))


def metadata(models: Models, name: str, version: str | None) -> dict[str, Any]:
    """The signature of a version, and which versions there are."""
    service = models.find(name, version)
    kind = service.loaded.manifest.format
    return {
        "name": name,
        "versions": models.versions(name),
        "platform": PLATFORMS.get(kind, kind),
        "inputs": [tensor.as_json() for tensor in service.signature.inputs],
        "outputs": _outputs(service),
    }


def _outputs(service: Service) -> list[dict[str, Any]]:
    """Outputs; the one with a column for each class says which, as JSON in a string: the protocol's
    parameters hold no lists.
    """
    outputs = [tensor.as_json() for tensor in service.signature.outputs]
    manifest, score = service.loaded.manifest, outputs[service.loaded.scoring.output]
    if manifest.task != "regression" and manifest.classes and score["shape"][1:] == [len(manifest.classes)]:
        score["parameters"] = {"classes": json.dumps(manifest.classes)}
    return outputs
