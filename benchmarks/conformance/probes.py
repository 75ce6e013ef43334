"""Requests at the edges of the protocol, and the right answer to each.

In: a target. Out: for each probe what came, in a few words. The protocol's text leaves the status of an error
open ("typically 400") and says what its body must be: `{"error": "<sentence>"}`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from benchmarks.conformance.suites import Target

LENGTH = "Inference-Header-Content-Length"


class Asker:
    """One server, and requests that are good but for what a probe changes."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.model = f"/v2/models/{target.model}"
        # A connection for each request: some servers close theirs after a fault of their own.
        alone = httpx.Limits(max_keepalive_connections=0)
        self.client = httpx.Client(base_url=f"http://{target.http}", timeout=20, limits=alone)

    def body(self, **changes: object) -> dict[str, Any]:
        """An inference request; `changes` are to its tensor."""
        rows = self.target.rows
        tensor = {
            "name": self.target.input,
            "shape": [len(rows), len(rows[0])],
            "datatype": "FP32",
            "data": rows,
        }
        return {"inputs": [{**tensor, **changes}]}

    def infer(self, content: Mapping[str, Any] | str, path: str = "") -> httpx.Response:
        text = content if isinstance(content, str) else json.dumps(content)
        headers = {"Content-Type": "application/json"}
        return self.client.post(f"{path or self.model}/infer", content=text, headers=headers)

    def binary(self) -> httpx.Response:
        """The tensor behind the JSON, and the answer wanted so too."""
        rows = np.array(self.target.rows, np.float32)
        tensor = {
            "name": self.target.input, "shape": list(rows.shape), "datatype": "FP32",
            "parameters": {"binary_data_size": rows.nbytes},
        }  # fmt: skip
        head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        headers = {"Content-Type": "application/octet-stream", LENGTH: str(len(head))}
        return self.client.post(f"{self.model}/infer", content=head + rows.tobytes(), headers=headers)


@dataclass(frozen=True)
class Probe:
    """One question: `ask` sends it and tells what came, which should be `right`."""

    name: str
    right: str
    ask: Callable[[Asker], str]


def answers(target: Target, asked: Sequence[Probe]) -> dict[str, str]:
    """What a server answers to each probe, by the probe's name."""
    asker = Asker(target)
    with asker.client:
        return {probe.name: probe.ask(asker) for probe in asked}


def brief(response: httpx.Response) -> str:
    """The status, and what is odd about the body: no JSON, the keys of an error, or nulls."""
    status = response.status_code
    document = _json(response)
    if document is None:
        kind = (
            response.headers.get("content-type", "no type").partition(";")[0]
            if response.content
            else "no body"
        )
        return f"{status} {kind}"
    if status >= 400:
        return f"{status} {keys(document)}"
    nulls = sorted(set(_nulls(document)))
    return f"{status}, null: {', '.join(nulls)}" if nulls else str(status)


def keys(document: object) -> str:
    return f"{{{', '.join(sorted(document))}}}" if isinstance(document, dict) else type(document).__name__


def _form(response: httpx.Response) -> str:
    document = _json(response)
    return brief(response) if document is None else f"{response.status_code} {keys(document)}"


def _metadata(response: httpx.Response) -> str:
    document = _json(response)
    filled = isinstance(document, dict) and document.get("inputs") and document.get("outputs")
    return brief(response) + ("" if filled else ", no tensors")


def _binary(response: httpx.Response) -> str:
    if LENGTH not in response.headers:
        return brief(response)
    head = json.loads(response.content[: int(response.headers[LENGTH])])
    raw = all("binary_data_size" in (output.get("parameters") or {}) for output in head["outputs"])
    return f"{response.status_code} binary" if raw else f"{response.status_code} in part binary"


def _json(response: httpx.Response) -> Any:
    """None where the body is no JSON."""
    try:
        return response.json()
    except ValueError:
        return None


def _nulls(value: object, name: str = "") -> Iterator[str]:
    """Names of the keys whose value is null, which no type of the protocol allows."""
    if value is None:
        yield name
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _nulls(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _nulls(inner, name)


def _versioned(asker: Asker) -> str:
    return f"{asker.model}/versions/{asker.target.version}"


REFUSED = "400 {error}"
UNKNOWN = "404 {error}"
PROBES = (
    Probe("inference: the answer", "200", lambda a: brief(a.infer(a.body()))),
    Probe("inference of a version", "200", lambda a: brief(a.infer(a.body(), _versioned(a)))),
    Probe("inference, binary tensors", "200 binary", lambda a: _binary(a.binary())),
    Probe(
        "inference without Content-Type",
        "200",
        lambda a: brief(a.client.post(f"{a.model}/infer", content=json.dumps(a.body()))),
    ),
    Probe("malformed JSON", REFUSED, lambda a: brief(a.infer("{"))),
    Probe("`inputs` missing", REFUSED, lambda a: brief(a.infer({}))),
    Probe("`inputs` empty", REFUSED, lambda a: brief(a.infer({"inputs": []}))),
    Probe("unknown datatype", REFUSED, lambda a: brief(a.infer(a.body(datatype="FLOAT")))),
    Probe("shape does not match data", REFUSED, lambda a: brief(a.infer(a.body(shape=[3, 3])))),
    Probe("string in an FP32 tensor", REFUSED, lambda a: brief(a.infer(a.body(data=["a"] * _elements(a))))),
    Probe(
        "unknown output asked for", REFUSED, lambda a: brief(a.infer(a.body() | {"outputs": [{"name": "x"}]}))
    ),
    Probe("unknown model", UNKNOWN, lambda a: brief(a.infer(a.body(), "/v2/models/nope"))),
    Probe("unknown version", UNKNOWN, lambda a: brief(a.infer(a.body(), f"{a.model}/versions/77"))),
    Probe("unknown path", UNKNOWN, lambda a: brief(a.client.get("/v2/nowhere"))),
    Probe("method not allowed", "405 {error}", lambda a: brief(a.client.get(f"{a.model}/infer"))),
    Probe("server metadata", "200", lambda a: brief(a.client.get("/v2"))),
    Probe("server metadata at `/v2/`", "200", lambda a: brief(a.client.get("/v2/"))),
    Probe("model metadata", "200", lambda a: _metadata(a.client.get(a.model))),
    Probe("readiness of a version", "200", lambda a: str(a.client.get(f"{_versioned(a)}/ready").status_code)),
    Probe("liveness: its JSON", "200 {live}", lambda a: _form(a.client.get("/v2/health/live"))),
    Probe("readiness: its JSON", "200 {live, ready}", lambda a: _form(a.client.get("/v2/health/ready"))),
    Probe("repository index, no body", "200", lambda a: brief(a.client.post("/v2/repository/index"))),
)
NOT_READY = Probe(
    "readiness of a model that is not ready",
    "503",
    lambda a: str(a.client.get(f"{a.model}/ready").status_code),
)
"""Asked of a server that lives, and whose model is not ready."""
EVERY = (*PROBES, NOT_READY)


def _elements(asker: Asker) -> int:
    return len(asker.target.rows) * len(asker.target.rows[0])
