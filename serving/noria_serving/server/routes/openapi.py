"""GET /openapi.json: what this server answers, in OpenAPI's words, with the signatures of what it serves.

Invariant: what a schema here allows in an answer is all that is answered, and what it forbids in a request is
refused. Clients are generated from it, and fuzzers hold the server to it.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from noria_serving import contract
from noria_serving.server.http import Answer
from noria_serving.server.models import Models, State
from noria_serving.server.routes.description import VERSION, document
from noria_serving.server.routes.example import request
from noria_serving.server.routes.feedback import MAX_ITEMS
from noria_serving.server.service import Service
from noria_serving.signature import Signature, Tensor

Schema = dict[str, Any]


def _object(*required: str, **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, **({"required": [*required]} if required else {})}


def _list(items: Schema, **more: int) -> Schema:
    return {"type": "array", "items": items, **more}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


TEXT: Final[Schema] = {"type": "string"}
FLAG: Final[Schema] = {"type": "boolean"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
ANY: Final[Schema] = {}
PARAMETERS: Final[Schema] = {"type": "object", "additionalProperties": True, "nullable": True}
ERROR: Final = {
    "description": "What was expected and what came",
    "content": _json(_object("error", error=TEXT, reason=TEXT)),
}
TENSORS: Final[Schema] = {
    "application/octet-stream": {
        "schema": {
            "type": "string",
            "format": "binary",
            "description": "JSON, as long as the header Inference-Header-Content-Length says, then the raw "
            "tensors: the extension for binary tensors",
        }
    }
}
NAMES: Final = _object("models", models=_list(TEXT))
TENSOR: Final = _object(
    "name", "datatype", "shape",
    name=TEXT, datatype=TEXT, shape=_list({"type": "integer"}), parameters=PARAMETERS,
)  # fmt: skip
METADATA: Final = _object(
    "name", "versions", "platform", "inputs", "outputs",
    name=TEXT, versions=_list(TEXT), platform=TEXT, inputs=_list(TENSOR), outputs=_list(TENSOR),
)  # fmt: skip
ENTRY: Final = _object(
    "name", "version", "state", "reason",
    name=TEXT, version=TEXT, state={**TEXT, "enum": [*State]}, reason=TEXT,
)  # fmt: skip
LABELS: Final = _object(
    "labels", token=TEXT, labels={"description": "one a row: a class or a number, null where it is unknown"}
)
FEEDBACK: Final[Schema] = {"anyOf": [LABELS, _object("items", items=_list(ANY, maxItems=MAX_ITEMS))]}
COUNTED: Final[Schema] = {
    "anyOf": [
        _object("result", "rows", result=TEXT, rows=COUNT, message=TEXT),
        _object("matched", "results", matched=COUNT, results=_list(_object("result", result=TEXT))),
    ]
}
SERVER: Final = _object("name", "version", "extensions", name=TEXT, version=TEXT, extensions=_list(TEXT))


def describe(models: Models) -> Answer:
    """The document; paths name the models that are served."""
    index = _operation("Versions and their states", _list(ENTRY))
    paths: Schema = {
        "/v2": {"get": _operation("Server metadata", SERVER)},
        "/v2/health/live": {
            "get": _health("Whether the server lives", _object("live", live=FLAG, error=TEXT))
        },
        "/v2/health/ready": {
            "get": _health(
                "Whether all models are ready", _object("live", "ready", live=FLAG, ready=FLAG, error=TEXT)
            )
        },
        "/v2/models": {"get": _operation("Names of the models", NAMES)},
        "/v2/repository/index": {
            "get": index,
            "post": {**index, "requestBody": {"content": _json(_object(ready=FLAG))}},
        },
        "/v1/models": {"get": _operation("Names of the models", NAMES)},
    }
    for service in models.services():
        infer = _infer(service)
        for name in service.settings.names:
            base, version = f"/v2/models/{quote(name, safe='')}", quote(service.settings.number, safe="")
            paths |= _model(base, infer) | _model(f"{base}/versions/{version}", infer)
            paths |= _v1(f"/v1/models/{quote(name, safe='')}")
    if models.settings.repository_writable:
        for name in models.names():
            paths |= _changes(f"/v2/repository/models/{quote(name, safe='')}")
    about = {"title": "Noria model server", "version": VERSION}
    return document(200, {"openapi": "3.0.3", "info": about, "paths": paths})


def _infer(service: Service) -> Schema:
    """What is large where the model takes many tensors."""
    signature = service.signature
    asked = _json(_request(signature))
    asked["application/json"]["example"] = request(service)
    infer = _operation("Predict", _response(signature))
    infer["responses"]["200"]["content"] |= TENSORS
    return {**infer, **_body(asked | TENSORS)}


def _model(base: str, infer: Schema) -> Schema:
    labels = _operation("Labels for earlier predictions", COUNTED)
    header = {
        "name": contract.FEEDBACK_HEADER, "in": "header", "schema": TEXT,
        "description": "the token, where the body has none",
    }  # fmt: skip
    return {
        base: {"get": _operation("Model metadata", METADATA)},
        f"{base}/ready": {"get": _readiness()},
        f"{base}/infer": {"post": infer},
        f"{base}/feedback": {"post": {**labels, "parameters": [header], **_body(_json(FEEDBACK))}},
    }


def _v1(base: str) -> Schema:
    rows = _object("instances", instances=_list(ANY, minItems=1))
    predict = _operation("Predict", _object("predictions", predictions=_list(ANY)))
    return {
        base: {"get": _readiness()},
        f"{base}:predict": {"post": {**predict, **_body(_json(rows))}},
    }


def _changes(base: str) -> Schema:
    asked = {"requestBody": {"content": _json(_object(parameters={"type": "object"}))}}
    return {
        f"{base}/{command}": {
            "post": {**_operation(f"{command.capitalize()} all its versions", _object()), **asked}
        }
        for command in ("load", "unload")
    }


def _operation(summary: str, schema: Schema) -> Schema:
    good = {"description": "OK", "content": _json(schema)}
    return {"summary": summary, "responses": {"200": good, "default": ERROR}}


def _health(summary: str, schema: Schema) -> Schema:
    """Yes and no have one form."""
    operation = _operation(summary, schema)
    operation["responses"]["503"] = {"description": "Not now", "content": _json(schema)}
    return operation


def _readiness() -> Schema:
    return _health("Whether the model is ready", _object("name", "ready", name=TEXT, ready=FLAG, error=TEXT))


def _body(content: Schema) -> Schema:
    return {"requestBody": {"required": True, "content": content}}


def _request(signature: Signature) -> Schema:
    count = len(signature.inputs)
    inputs = {"oneOf": [_input(tensor) for tensor in signature.inputs]}
    wanted = _object(
        "name", name={**TEXT, "enum": [t.name for t in signature.outputs]}, parameters=PARAMETERS
    )
    return _object(
        "inputs",
        id={**TEXT, "nullable": True},
        parameters=PARAMETERS,
        inputs=_list(inputs, minItems=count, maxItems=count),
        outputs={**_list(wanted), "nullable": True},
    )


def _response(signature: Signature) -> Schema:
    count = len(signature.outputs)
    outputs = {"oneOf": [_output(tensor) for tensor in signature.outputs]}
    return _object(
        "model_name", "model_version", "outputs",
        model_name=TEXT, model_version=TEXT, id=TEXT, parameters=_object(),
        outputs=_list(outputs, minItems=1, maxItems=count),
    )  # fmt: skip


def _input(tensor: Tensor) -> Schema:
    """A column may be given as a list of rows, or with a trailing 1."""
    rank = len(tensor.shape)
    least, most = (1, 2) if tensor.shape[1:] in ((), (1,)) else (rank, rank)
    sizes = _list({**COUNT, "maximum": 2**31 - 1}, minItems=least, maxItems=most)
    return _tensor(
        tensor,
        datatype={**TEXT, "description": f"{tensor.datatype}, or one whose numbers have a place in it"},
        shape={**sizes, "description": f"{list(tensor.shape)}; -1 is any size"},
        parameters=PARAMETERS,
    )


def _output(tensor: Tensor) -> Schema:
    """FP16 has no JSON form: it is sent as FP32."""
    datatype = "FP32" if tensor.datatype == "FP16" else tensor.datatype
    rank = len(tensor.shape)
    shape = _list(COUNT, minItems=rank, maxItems=rank)
    return _tensor(tensor, datatype={**TEXT, "enum": [datatype]}, shape=shape, parameters=_object())


def _tensor(tensor: Tensor, **more: Schema) -> Schema:
    name = {**TEXT, "enum": [tensor.name]}
    return _object("name", "datatype", "shape", "data", name=name, data=_list(ANY), **more)
