"""An HTTPRoute that somebody made by hand, with a backend that is not Noria's in some of its rules.

Comes in: a namespace and the ModelDeployment that the route shall lead to as well. Goes out: the route, and a
server on the host that answers for the other backend. Invariant: the server lives as long as the context.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.e2e.kube import Json, Kube
from tools.cluster import slots

ROUTE = OTHER = "legacy"
"""Name of the route, of the other backend and of what it says for a version."""
MIXED = {"x-mixed": "yes"}
"""Requests with this header are divided between the other backend and ours, as 1 to 3."""
FILTERS = [
    {
        "type": "ResponseHeaderModifier",
        "responseHeaderModifier": {"set": [{"name": "x-team", "value": "blue"}]},
    }
]


class _Other(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"model_version": OTHER}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def rules(deployment: str) -> list[Json]:
    """Mixed by a header, the other one alone by a path, ours alone elsewhere."""
    inference = {"path": {"type": "PathPrefix", "value": "/v2"}}
    header = [{"type": "Exact", "name": name, "value": value} for name, value in MIXED.items()]
    other, ours = {"name": OTHER, "port": 80}, {"name": deployment, "port": 80}
    return [
        {
            "matches": [{**inference, "headers": header}],
            "backendRefs": [{**other, "weight": 100}, {**ours, "weight": 300}],
        },
        {"matches": [{"path": {"type": "PathPrefix", "value": "/legacy"}}], "backendRefs": [other]},
        {"matches": [inference], "filters": FILTERS, "backendRefs": [ours]},
    ]


@contextmanager
def others_route(kube: Kube, deployment: str, host: str, gateway: tuple[str, str]) -> Iterator[None]:
    """The route `legacy` of this host at a Gateway (namespace and name), and its other backend."""
    slot = slots.mine()
    assert slot is not None, "the other backend stands beside the local cluster"
    server = ThreadingHTTPServer((slot.host_address, 0), _Other)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = {"name": "http", "port": server.server_address[1]}
    kube.apply(
        {"kind": "Service", "metadata": {"name": OTHER}, "spec": {"ports": [{"name": "http", "port": 80}]}}
    )
    kube.apply({
        "kind": "EndpointSlice",
        "metadata": {"name": OTHER, "labels": {"kubernetes.io/service-name": OTHER}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [slot.host_address], "conditions": {"ready": True}}],
        "ports": [port],
    })  # fmt: skip
    parent = dict(zip(("namespace", "name"), gateway, strict=True))
    spec = {"parentRefs": [parent], "hostnames": [host], "rules": rules(deployment)}
    kube.apply({"kind": "HTTPRoute", "metadata": {"name": ROUTE}, "spec": spec})
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
