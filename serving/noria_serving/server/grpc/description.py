"""What there is and how it does, over gRPC: health, metadata, the model repository.

Each answers from the same place as its path over HTTP does.
"""

from __future__ import annotations

from typing import Any

from noria_serving.protocol.inference_pb2 import (
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelReadyRequest,
    ModelReadyResponse,
    RepositoryIndexRequest,
    RepositoryIndexResponse,
    RepositoryModelLoadRequest,
    RepositoryModelLoadResponse,
    RepositoryModelUnloadRequest,
    RepositoryModelUnloadResponse,
    ServerLiveRequest,
    ServerLiveResponse,
    ServerMetadataRequest,
    ServerMetadataResponse,
    ServerReadyRequest,
    ServerReadyResponse,
)
from noria_serving.server.grpc.calls import Context
from noria_serving.server.models import Models
from noria_serving.server.routes import description, repository


class Description:
    """The methods, each from a message to its answer."""

    def __init__(self, models: Models) -> None:
        self._models = models

    async def live(self, _: ServerLiveRequest, __: Context) -> ServerLiveResponse:
        return ServerLiveResponse(live=self._models.live)

    async def ready(self, _: ServerReadyRequest, __: Context) -> ServerReadyResponse:
        return ServerReadyResponse(ready=self._models.ready)

    async def server(self, _: ServerMetadataRequest, __: Context) -> ServerMetadataResponse:
        return ServerMetadataResponse(
            name=description.NAME, version=description.VERSION, extensions=description.EXTENSIONS
        )

    async def model_ready(self, message: ModelReadyRequest, _: Context) -> ModelReadyResponse:
        ready = description.is_model_ready(self._models, message.name, message.version or None)
        return ModelReadyResponse(ready=ready)

    async def model(self, message: ModelMetadataRequest, _: Context) -> ModelMetadataResponse:
        known = description.metadata(self._models, message.name, message.version or None)
        return ModelMetadataResponse(
            name=known["name"],
            versions=known["versions"],
            platform=known["platform"],
            inputs=map(_tensor, known["inputs"]),
            outputs=map(_tensor, known["outputs"]),
        )

    async def index(self, message: RepositoryIndexRequest, _: Context) -> RepositoryIndexResponse:
        found = repository.entries(self._models, only_ready=message.ready)
        return RepositoryIndexResponse(
            models=[RepositoryIndexResponse.ModelIndex(**entry) for entry in found]
        )

    async def load(self, message: RepositoryModelLoadRequest, _: Context) -> RepositoryModelLoadResponse:
        await repository.carry_out(self._models, _name(message), "load", message.parameters)
        return RepositoryModelLoadResponse()

    async def unload(
        self, message: RepositoryModelUnloadRequest, _: Context
    ) -> RepositoryModelUnloadResponse:
        await repository.carry_out(self._models, _name(message), "unload", message.parameters)
        return RepositoryModelUnloadResponse()


def _name(message: RepositoryModelLoadRequest | RepositoryModelUnloadRequest) -> str:
    """KServe's messages have the model's name where Triton's have that of the repository."""
    return message.model_name or message.repository_name


def _tensor(known: dict[str, Any]) -> ModelMetadataResponse.TensorMetadata:
    tensor = ModelMetadataResponse.TensorMetadata(
        name=known["name"], datatype=known["datatype"], shape=known["shape"]
    )
    for name, value in known.get("parameters", {}).items():
        tensor.parameters[name].string_param = value
    return tensor
