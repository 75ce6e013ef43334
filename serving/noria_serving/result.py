"""How a job of ours, or a trainer, says how it ended: one small JSON document in the container's termination
message.

In: a document. Out: at most RESULT_LIMIT bytes at $NORIA_RESULT. Invariant: the file is never longer than
what the kubelet keeps, so what the operator reads is whole or absent.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from noria_serving import contract
from noria_serving.errors import NoriaError, Reason

EXIT_CODES: Mapping[Reason, int] = {
    Reason.CONFIGURATION: 2,
    Reason.STORAGE_UNAVAILABLE: 3,
    Reason.INTERNAL: 4,
}
"""Every other reason is 1: what was asked was looked at and refused."""


def exit_code(reason: Reason) -> int:
    return EXIT_CODES.get(reason, 1)


def canonical(document: object) -> bytes:
    """The one spelling of a JSON document whose bytes are hashed: sorted keys, no spaces, UTF-8, no NaN."""
    return json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def write(document: Mapping[str, Any], path: str | None = None) -> None:
    """Write to `path` or $NORIA_RESULT; with neither (a laptop) nothing is written."""
    target = path or os.environ.get(contract.ENV_RESULT)
    if not target:
        return
    data = canonical(document)
    if len(data) > contract.RESULT_LIMIT:
        raise NoriaError(
            Reason.TOO_LARGE, f"the result is {len(data)} bytes, the limit is {contract.RESULT_LIMIT}"
        )
    Path(target).write_bytes(data)


def write_error(schema: str, error: NoriaError, path: str | None = None) -> None:
    """`{"schema", "error": {"reason", "message"}}`, the message cut so that the whole fits."""
    message = error.message.encode()[: contract.RESULT_LIMIT // 3].decode(errors="ignore")
    while len(canonical(message)) > contract.RESULT_LIMIT // 2:  # JSON writes some characters as six
        message = message[: len(message) // 2]
    write({"schema": schema, "error": {"reason": str(error.reason), "message": message}}, path)
