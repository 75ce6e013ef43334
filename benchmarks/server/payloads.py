"""Requests of each kind for a server and a model, and the labels in their answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import numpy as np

from benchmarks.peers.models import Served
from benchmarks.peers.process import Running
from benchmarks.peers.servers import Server

INFER = "/inference.GRPCInferenceService/ModelInfer"
LENGTH = "inference-header-content-length"
LABELS = ("label", "predict", "output-0")
"""What servers call the output that holds the labels."""


@dataclass(frozen=True)
class Payload:
    """A body with its headers, or a serialized gRPC request."""

    body: bytes
    headers: dict[str, str]

    def http(self, path: str) -> bytes:
        """The whole HTTP request."""
        lines = {"Host": "localhost", **self.headers, "Content-Length": str(len(self.body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + self.body


def of(kind: str, served: Served, *, asks: str = "") -> Payload:
    """The model's rows as `json`, `binary` or `grpc`. `asks`: over gRPC, the one output that is named."""
    tensor = {"name": "input-0", "shape": list(served.rows.shape), "datatype": "FP32"}
    raw = served.rows.tobytes()
    if kind == "json":
        body = json.dumps({"inputs": [{**tensor, "data": served.rows.tolist()}]}, separators=(",", ":"))
        return Payload(body.encode(), {"Content-Type": "application/json"})
    if kind == "binary":
        described = {**tensor, "parameters": {"binary_data_size": len(raw)}}
        head = json.dumps({"inputs": [described], "parameters": {"binary_data_output": True}}).encode()
        headers = {"Content-Type": "application/octet-stream", LENGTH: str(len(head))}
        return Payload(head + raw, headers)
    from noria_serving.protocol.inference_pb2 import ModelInferRequest  # noqa: PLC0415  protobuf loads slowly

    request = ModelInferRequest(model_name=served.name, raw_input_contents=[raw])
    request.inputs.add(name="input-0", datatype="FP32", shape=served.rows.shape)
    if asks:
        request.outputs.add(name=asks)
    return Payload(request.SerializeToString(), {})


def labels(kind: str, server: Server, running: Running, served: Served) -> list[int]:
    """What the server answers to it."""
    payload = of(kind, served, asks=server.asks)
    if kind == "grpc":
        from noria_serving.protocol.inference_pb2 import ModelInferResponse  # noqa: PLC0415

        with grpc.insecure_channel(str(running.grpc)) as channel:
            method = channel.unary_unary(INFER, response_deserializer=ModelInferResponse.FromString)
            return _from_grpc(method(payload.body, wait_for_ready=True, timeout=30))
    path = server.infer_path.format(model=served.name)
    answer = httpx.post(
        f"http://{running.http}{path}", content=payload.body, headers=payload.headers, timeout=30
    )
    answer.raise_for_status()
    split = int(answer.headers.get(LENGTH, len(answer.content)))
    raw, found = answer.content[split:], {}
    for output in json.loads(answer.content[:split])["outputs"]:
        size = (output.get("parameters") or {}).get("binary_data_size")
        if size is None:
            found[output["name"]] = output["data"]
        else:
            found[output["name"]] = np.frombuffer(raw[:size], np.int64) if output["name"] in LABELS else None
            raw = raw[size:]
    return [int(value) for value in next(found[name] for name in LABELS if name in found)]


def _from_grpc(answer: Any) -> list[int]:
    at, output = next((i, o) for i, o in enumerate(answer.outputs) if o.name in LABELS)
    if answer.raw_output_contents:
        return [int(value) for value in np.frombuffer(answer.raw_output_contents[at], np.int64)]
    return [int(value) for value in output.contents.int64_contents]
