"""`python -m noria_serving.prove`: does a bundle load and give its golden answers, in a process that knows
nothing of the one that wrote it?

In: $NORIA_BUNDLE, $NORIA_DIGEST. Out at $NORIA_RESULT: `{"schema", "digest"}`, or
`{"schema", "error"}` and an exit code (result.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from noria_serving import contract
from noria_serving.errors import NoriaError, Reason
from noria_serving.job import main
from noria_serving.model.loaded import load


def elsewhere(bundle: Path, digest: str) -> None:
    """Prove a bundle with code in a process that finds none of this one's modules: a file that was not packed
    is missed here, not first in the cluster. NoriaError with what that process says.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        said = {
            contract.ENV_BUNDLE: str(bundle.absolute()),
            contract.ENV_DIGEST: digest,
            contract.ENV_RESULT: str(report),
            "PYTHONPATH": str(Path(__file__).parents[1]),
        }
        command = [sys.executable, "-m", "noria_serving.prove"]
        code = subprocess.run(command, env={**os.environ, **said}, cwd=folder, check=False).returncode
        document = json.loads(report.read_bytes()) if report.exists() else {}
    if "error" in document:
        raise NoriaError(Reason(document["error"]["reason"]), document["error"]["message"])
    if document.get("digest") != digest:
        raise NoriaError(Reason.MODEL_INVALID, f"loading the model ended its process with exit code {code}")


def prove(env: Mapping[str, str]) -> dict[str, Any]:
    """The result document."""
    loaded = load(env[contract.ENV_BUNDLE], digest=env[contract.ENV_DIGEST], allow_code=True)
    return {"schema": contract.VERIFICATION_SCHEMA, "digest": loaded.manifest.digest}


if __name__ == "__main__":
    main(contract.VERIFICATION_SCHEMA, prove)
