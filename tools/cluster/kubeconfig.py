"""Kubeconfig files for the parties of a control plane, certificates inside, readable by their owner only."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from tools.cluster.process import write_atomically


def write(path: Path, *, server: str, pki: Path, party: str) -> Path:
    """Write the kubeconfig of one party; JSON is YAML, and needs no library."""

    def embedded(name: str) -> str:
        return base64.b64encode((pki / name).read_bytes()).decode()

    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "noria",
        "clusters": [
            {
                "name": "noria",
                "cluster": {"server": server, "certificate-authority-data": embedded("ca.crt")},
            }
        ],
        "users": [
            {
                "name": party,
                "user": {
                    "client-certificate-data": embedded(f"{party}.crt"),
                    "client-key-data": embedded(f"{party}.key"),
                },
            }
        ],
        "contexts": [{"name": "noria", "context": {"cluster": "noria", "user": party}}],
    }
    write_atomically(path, json.dumps(content, indent=1), mode=0o600)
    return path
