"""The real clients: scripts in `clients/`, each run in an environment that holds its client.

In: a target. Out: for each check of a script, None or what went wrong. Invariant: the checks are known from
the script's source, without the clients being installed.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tools import clients

SCRIPTS = Path(__file__).parent / "clients"
PREFIX = "check_"
SECONDS = 600.0


@dataclass(frozen=True)
class Target:
    """A running server and what it must answer."""

    http: str
    grpc: str | None
    model: str
    version: str
    input: str
    label: str
    """Name of the output that holds the labels."""
    rows: list[list[float]]
    labels: list[int]


@dataclass(frozen=True)
class Suite:
    """One script; `environment` is a lock file's name (tools.clients), or None for this interpreter."""

    name: str
    environment: str | None
    grpc: bool = False

    @property
    def path(self) -> Path:
        return SCRIPTS / f"{self.name}.py"

    def checks(self) -> list[str]:
        """The names of its checks, in their order."""
        parsed = ast.parse(self.path.read_text(encoding="utf-8"))
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        names = [node.name for node in parsed.body if isinstance(node, functions)]
        return [name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX)]

    def run(self, target: Target) -> Mapping[str, str | None]:
        """Each check, and None or what went wrong."""
        if self.grpc and target.grpc is None:
            return dict.fromkeys(self.checks(), "the server has no gRPC port")
        python = sys.executable if self.environment is None else str(clients.python(self.environment))
        done = subprocess.run(
            [python, str(self.path), json.dumps(asdict(target))],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        try:
            report: dict[str, str | None] = json.loads(done.stdout.strip().splitlines()[-1])
        except (IndexError, ValueError):
            return dict.fromkeys(
                self.checks(), f"{self.path.name} ended without a report: {done.stderr[-500:]}"
            )
        return report


SUITES = (
    Suite("plain_httpx", None),
    Suite("curl", None),
    Suite("tritonclient_http", "clients"),
    Suite("tritonclient_grpc", "clients", grpc=True),
    Suite("kserve_rest", "clients"),
    Suite("kserve_grpc", "clients", grpc=True),
    Suite("mlserver_infer", "peer-mlserver"),
)
