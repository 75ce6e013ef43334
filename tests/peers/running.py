"""Programs that ask another package, each in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tools import clients

PROGRAMS = Path(__file__).parent / "programs"
SILENT = {"DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}
"""Evidently and NannyML would tell their makers that they are used."""


def told(environment: str, program: str, given: str) -> dict[str, Any]:
    """What a program says as JSON, with `given` on its stdin."""
    done = subprocess.run(
        [clients.python(environment), PROGRAMS / program],
        input=given, env={**os.environ, **SILENT}, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout))
