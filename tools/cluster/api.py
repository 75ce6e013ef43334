"""The few requests to an API server that the tool itself makes, with nothing but the standard library.

In: a kubeconfig with embedded certificates. Out: decoded JSON, or `ApiError` with the server's own message.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class ApiError(Exception):
    """The API server refused, or did not answer (status 0)."""

    def __init__(self, status: int, message: str) -> None:
        """Keep the HTTP status beside the server's message."""
        super().__init__(message)
        self.status = status


class Api:
    """Requests as the user of one kubeconfig that `tools.cluster.kubeconfig` wrote."""

    def __init__(self, path: Path) -> None:
        """Read the kubeconfig; no request is made."""
        config = json.loads(path.read_text(encoding="utf-8"))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._server = cluster["server"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile("wb", suffix=".pem") as pair:  # ssl takes the pair from a file only
            os.fchmod(pair.fileno(), 0o600)
            pair.write(base64.b64decode(user["client-certificate-data"]))
            pair.write(base64.b64decode(user["client-key-data"]))
            pair.flush()
            context.load_cert_chain(pair.name)
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def get(self, path: str) -> Json:
        """GET a path."""
        return self._send("GET", path)

    def post(self, path: str, body: Json) -> Json:
        """POST an object."""
        return self._send("POST", path, body)

    def apply(self, path: str, body: Json) -> Json:
        """Server-side apply of an object at its own path."""
        query = "?fieldManager=noria-cluster&force=true"
        return self._send("PATCH", path + query, body, "application/apply-patch+yaml")

    def ready(self) -> bool:
        """Whether the API server calls itself ready."""
        try:
            self._raw("GET", "/readyz", None, "application/json")
        except ApiError:
            return False
        return True

    def node_ready(self, name: str) -> bool:
        """Whether the node's Ready condition is true."""
        try:
            node = self.get(f"/api/v1/nodes/{name}")
        except ApiError:
            return False
        conditions = node.get("status", {}).get("conditions", [])
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def _send(self, method: str, path: str, body: Json | None = None, kind: str = "application/json") -> Json:
        answer: Json = json.loads(self._raw(method, path, body, kind))
        return answer

    def _raw(self, method: str, path: str, body: Json | None, kind: str) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": kind, "Accept": "application/json"}
        request = urllib.request.Request(self._server + path, data=data, method=method, headers=headers)
        try:
            with self._opener.open(request, timeout=10) as response:
                content: bytes = response.read()
                return content
        except urllib.error.HTTPError as refused:
            raise ApiError(refused.code, refused.read().decode(errors="replace")) from refused
        except OSError as silent:
            raise ApiError(0, str(silent)) from silent
