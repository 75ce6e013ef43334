"""A real OCI registry (Debian docker-registry) over TLS, and a client that pushes to it as others do."""

from __future__ import annotations

import hashlib
import json
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.certificates import self_signed_files
from tests.sockets import until_it_answers
from tools.ports import free_port

CONFIG = "application/vnd.oci.empty.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass
class Registry:
    """Pushes as any client does."""

    host: str
    """What it is called in URIs, with its port."""
    ca: str
    address: str
    """Where it is reached from here."""

    def send(self, method: str, path: str, data: bytes = b"", kind: str = "application/octet-stream") -> Any:
        url = path if path.startswith("https://") else f"https://{self.address}{path}"
        request = urllib.request.Request(url, data, {"Content-Type": kind}, method=method)
        return urllib.request.urlopen(request, context=self.trusted(), timeout=10)

    def trusted(self) -> ssl.SSLContext:
        """Its certificate alone."""
        context = ssl.create_default_context(cadata=self.ca)
        context.check_hostname = False  # it is reached by its address
        return context

    def blob(self, content: bytes, kind: str, **notes: str) -> dict[str, Any]:
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        place = self.send("POST", "/v2/team/model/blobs/uploads/").headers["Location"]
        self.send("PUT", f"{place}&digest={digest}", content)
        return {"mediaType": kind, "digest": digest, "size": len(content), "annotations": notes}

    def push(self, tag: str, layers: list[dict[str, Any]], config: str = CONFIG) -> str:
        document = {
            "schemaVersion": 2, "mediaType": MANIFEST, "config": self.blob(b"{}", config), "layers": layers,
        }  # fmt: skip
        data = json.dumps(document).encode()
        self.send("PUT", f"/v2/team/model/manifests/{tag}", data, MANIFEST)
        return "sha256:" + hashlib.sha256(data).hexdigest()


@contextmanager
def serve(folder: Path, name: str = "localhost", address: str = "127.0.0.1") -> Iterator[Registry]:
    """The registry, gone at the end; `name` is what its certificate says."""
    cert, key = self_signed_files(folder, name)
    port = free_port(address)
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"{address}:{port}", "tls": {"certificate": str(cert), "key": str(key)}},
    }
    (folder / "config.json").write_text(json.dumps(settings))
    command = ["docker-registry", "serve", str(folder / "config.json")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            found = Registry(f"{name}:{port}", cert.read_text(), f"{address}:{port}")
            until_it_answers(process, f"https://{found.address}/v2/", found.trusted())
            yield found
        finally:
            process.kill()


def titled(registry: Registry, bundle: Path) -> list[dict[str, Any]]:
    """A layer for each file of a bundle, as ORAS pushes them."""
    return [
        registry.blob(
            file.read_bytes(), "application/octet-stream", **{"org.opencontainers.image.title": file.name}
        )
        for file in bundle.iterdir()
    ]
