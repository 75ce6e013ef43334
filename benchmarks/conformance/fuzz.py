"""schemathesis: requests made from an OpenAPI document, good and bad ones, and answers held to it.

In: a document and the address of a server. Out: how much was asked and what was wrong. The program runs in
the environment of the clients.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools import clients

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
PHASES = ("examples", "fuzzing")
SECONDS = 900.0


class FuzzFailed(Exception):
    """The program did not do its work; its last words say why."""


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    operations: frozenset[str]
    requests: int
    failures: tuple[str, ...]
    """Operation and check, each once, with the first message."""


def run(
    document: Mapping[str, Any], http: str, *, cases: int, seed: int,
    checks: Sequence[str] = CHECKS, phases: Sequence[str] = PHASES,
) -> Outcome:  # fmt: skip
    """Fuzz the server at HOST:PORT with up to `cases` requests an operation and phase; FuzzFailed."""
    program = clients.python("clients").with_name("schemathesis")
    with tempfile.TemporaryDirectory(prefix="noria-fuzz-") as name:
        folder = Path(name)
        (folder / "openapi.json").write_text(json.dumps(document))
        done = subprocess.run(
            [str(program), "--no-color", "run", "openapi.json", "--url", f"http://{http}",
             "--max-examples", str(cases), "--seed", str(seed), "--phases", ",".join(phases),
             "--checks", ",".join(checks), "--generation-database", "none",
             "--report", "ndjson", "--report-ndjson-path", "events.ndjson"],
            cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=SECONDS, check=False,
        )  # fmt: skip
        if done.returncode not in (0, 1):
            raise FuzzFailed((done.stdout + done.stderr)[-3000:])
        outcome = read((folder / "events.ndjson").read_text(encoding="utf-8").splitlines())
    if bool(done.returncode) != bool(outcome.failures):
        raise FuzzFailed(f"its report tells another story than its end:\n{done.stdout[-3000:]}")
    return outcome


def read(lines: Sequence[str]) -> Outcome:
    """The outcome of a run from its events."""
    operations: set[str] = set()
    failures: dict[str, str] = {}
    requests = 0
    for line in lines:
        ((kind, event),) = json.loads(line).items()
        if kind == "ScenarioFinished":
            recorder = event["recorder"]
            operations.add(recorder["label"])
            requests += len(recorder.get("interactions", ()))
            for check, message in _failed(recorder):
                failures.setdefault(f"{recorder['label']}: {check}", message)
        elif kind == "NonFatalError":
            failures.setdefault(f"{event['label']}: error", str(event["value"]))
    named = tuple(f"{name}: {message}" for name, message in failures.items())
    return Outcome(frozenset(operations), requests, named)


def _failed(recorder: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for checks in recorder.get("checks", {}).values():
        for check in checks:
            info = check.get("failure_info")
            if info is not None:
                yield check["name"], info["failure"]["message"] or info["failure"]["type"]
