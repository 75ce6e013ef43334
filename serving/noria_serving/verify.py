"""`python -m noria_serving.verify`: is the artifact there, whole, and the one that was registered?

In: $NORIA_BUNDLE, $NORIA_DIGEST, and whose signatures are trusted (signing.py). Out at $NORIA_RESULT:
`{"schema", "digest", "bytes", "signer"}`, or `{"schema", "error"}` and an exit code (result.py). Reads bytes
and parses nothing but the manifest and the signature: no model is loaded here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noria_serving import contract, signing
from noria_serving.artifact import Artifact, open_source
from noria_serving.errors import NoriaError, Reason
from noria_serving.job import main
from noria_serving.model.formats import check_format


def verify(env: Mapping[str, str]) -> dict[str, Any]:
    """The result document."""
    location = env.get(contract.ENV_BUNDLE, "")
    if not location:
        raise NoriaError(Reason.CONFIGURATION, f"${contract.ENV_BUNDLE} is not set")
    digest = env.get(contract.ENV_DIGEST) or None
    artifact = Artifact(open_source(location), digest=digest, trust=signing.read(env))
    check_format(artifact.manifest.format, allow_code=env.get(contract.ENV_ALLOW_CODE) == "1")
    size = artifact.verify()
    return {
        "schema": contract.VERIFICATION_SCHEMA,
        "digest": artifact.manifest.digest,
        "bytes": size,
        "signer": artifact.signer,
    }


if __name__ == "__main__":
    main(contract.VERIFICATION_SCHEMA, verify)
