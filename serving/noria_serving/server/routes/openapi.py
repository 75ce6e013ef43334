"""GET /openapi.json: what this server answers, in OpenAPI's words, with the signatures of what it serves."""

from __future__ import annotations

from typing import Any, Final

from noria_serving.server.http import Answer
from noria_serving.server.models import Models
from noria_serving.server.routes.description import VERSION, document
from noria_serving.signature import Signature, Tensor

PARAMETERS: Final = {"type": "object", "additionalProperties": True}
ERROR: Final = {
    "description": "What was expected and what came",
    "content": {
        "application/json": {
            "schema": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
        }
    },
}


def describe(models: Models) -> Answer:
    """The document; paths name the models that are served."""
    paths: dict[str, Any] = {
        "/v2": {"get": _operation("Server metadata", _object())},
        "/v2/health/live": {"get": _operation("Whether the server lives", _object())},
        "/v2/health/ready": {"get": _operation("Whether all models are ready", _object())},
        "/v2/models": {"get": _operation("Names of the models", _object())},
        "/v2/repository/index": {"post": _operation("Versions and their states", {"type": "array"})},
    }
    for service in models.services():
        for name in service.settings.names:
            for base in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{service.settings.number}"):
                paths |= _model(base, service.signature)
    about = {"title": "Noria model server", "version": VERSION}
    return document(200, {"openapi": "3.0.3", "info": about, "paths": paths})


def _model(base: str, signature: Signature) -> dict[str, Any]:
    return {
        base: {"get": _operation("Model metadata", _object())},
        f"{base}/ready": {"get": _operation("Whether the model is ready", _object())},
        f"{base}/infer": {
            "post": {
                **_operation("Predict", _response(signature)),
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": _request(signature)}},
                },
            }
        },
        f"{base}/feedback": {"post": _operation("Labels for earlier predictions", _object())},
    }


def _operation(summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    good = {"description": "OK", "content": {"application/json": {"schema": schema}}}
    return {"summary": summary, "responses": {"200": good, "default": ERROR}}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _request(signature: Signature) -> dict[str, Any]:
    count = len(signature.inputs)
    inputs = {
        "type": "array", "minItems": count, "maxItems": count,
        "items": {"oneOf": [_tensor(tensor) for tensor in signature.inputs]},
    }  # fmt: skip
    wanted = _object(
        name={"type": "string", "enum": [t.name for t in signature.outputs]}, parameters=PARAMETERS
    )
    outputs = {"type": "array", "items": wanted}
    content = _object(id={"type": "string"}, parameters=PARAMETERS, inputs=inputs, outputs=outputs)
    return {**content, "required": ["inputs"]}


def _response(signature: Signature) -> dict[str, Any]:
    outputs = {"type": "array", "items": {"oneOf": [_tensor(tensor) for tensor in signature.outputs]}}
    text = {"type": "string"}
    content = _object(model_name=text, model_version=text, id=text, parameters=PARAMETERS, outputs=outputs)
    return {**content, "required": ["model_name", "outputs"]}


def _tensor(tensor: Tensor) -> dict[str, Any]:
    shape = {
        "type": "array", "items": {"type": "integer", "minimum": 0},
        "description": f"{list(tensor.shape)}; -1 is any size",
    }  # fmt: skip
    content = _object(
        name={"type": "string", "enum": [tensor.name]},
        datatype={"type": "string", "description": f"the model's is {tensor.datatype}"},
        shape=shape,
        data={"type": "array", "items": {}},
        parameters=PARAMETERS,
    )
    return {**content, "required": ["name", "datatype", "shape"]}
