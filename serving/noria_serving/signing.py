"""Who vouches for a bundle: `model.sig`, made with a key by OpenSSF's `model_signing`, checked against the
bundle's files.

In: the bytes of model.sig, the digest of every file of the bundle, the public keys that are trusted. Out: the
key that signed. The format is a Sigstore bundle 0.3 around a DSSE envelope (secure-systems-lab/dsse,
protocol.md) around an in-toto statement 1.0 with the predicate `model_signing/signature/v1.0`. Invariants:
what was signed is parsed only after its signature was found good; it names exactly the files of the bundle,
with their digests; a signature that is there and not good is never passed over, also where none is required.
Certificates are refused: see docs/adr/0010-models-are-signed-with-keys.md.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from noria_serving import contract
from noria_serving.errors import NoriaError, Reason

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

BUNDLE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD: Final = "application/vnd.in-toto+json"
STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://model_signing/signature/v1.0"
HASHES: Final[Mapping[str, str]] = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
"""Curve of a key → the hash that ECDSA signs with it."""
HOW: Final = "model_signing sign key BUNDLE --private_key KEY --signature BUNDLE/model.sig"
_PEM: Final = re.compile(r"-----BEGIN PUBLIC KEY-----[A-Za-z0-9+/=\s]+-----END PUBLIC KEY-----")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Trust:
    """Whose signatures count. Without keys, and with none required, signatures are not looked at."""

    keys: str = ""
    """Public keys on the curves of HASHES, PEM, one after another."""
    required: bool = False


NOBODY: Final = Trust()


def read(env: Mapping[str, str]) -> Trust:
    """What the operator's configuration says to this pod."""
    return Trust(env.get(contract.ENV_TRUSTED_KEYS, ""), env.get(contract.ENV_REQUIRE_SIGNATURE) == "1")


def signer(signature: bytes | None, files: Mapping[str, str], trust: Trust) -> str | None:
    """The key (`sha256:` of its PEM) that signed exactly these files; None where nobody did and nobody must.

    `signature`: the content of model.sig, None where there is none. `files`: name → `sha256:…` of every file
    but model.sig. NoriaError `SignatureMissing` or `SignatureInvalid`.
    """
    if signature is None:
        if not trust.required:
            return None
        raise NoriaError(
            Reason.SIGNATURE_MISSING,
            f"models must be signed here and the bundle has no {contract.MODEL_SIGNATURE}; sign it ({HOW})",
        )
    keys = trusted(trust.keys)
    document = _json(signature, "it")
    name = _key_name(document)
    if name not in keys:
        raise _invalid(
            f"it was made with key {name!r}, and trusted are {', '.join(keys) or 'none'}; sign with a "
            "trusted key, or let the administrator add this one to signatures.trustedKeys of the chart"
        )
    _compare(_signed_files(_payload(document, keys[name])), files)
    return name


def trusted(pem: str) -> dict[str, EllipticCurvePublicKey]:
    """Public keys by the names that signatures give them; `ConfigurationInvalid` for anything else."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  only where keys are trusted
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    except ImportError as error:
        raise NoriaError(
            Reason.MISSING_DEPENDENCY, "signatures need cryptography: pip install 'noria-ml[server]'"
        ) from error
    if _PEM.sub("", pem).strip():
        raise NoriaError(Reason.CONFIGURATION, "trusted keys are PEM, each between BEGIN and END PUBLIC KEY")
    keys = {}
    for number, text in enumerate(_PEM.findall(pem), 1):
        try:
            key = serialization.load_pem_public_key(text.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise NoriaError(
                Reason.CONFIGURATION, f"trusted key {number} cannot be read: {error!s:.200}"
            ) from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in HASHES:
            raise NoriaError(
                Reason.CONFIGURATION, f"trusted key {number} is on none of the curves {', '.join(HASHES)}"
            )
        same = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        keys["sha256:" + hashlib.sha256(same).hexdigest()] = key
    return keys


def _key_name(document: Any) -> str:
    if _at(document, str, "mediaType") != BUNDLE:
        raise _invalid(f"its mediaType is not {BUNDLE}")
    material = _at(document, dict, "verificationMaterial")
    if "publicKey" not in material:
        raise _invalid(f"it was made with {sorted(material)!r:.100}, not with a key; sign with one ({HOW})")
    return f"sha256:{_at(material, str, 'publicKey', 'hint'):.64}"


def _payload(document: Any, key: EllipticCurvePublicKey) -> bytes:
    """What the key signed."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  as above
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    envelope = _at(document, dict, "dsseEnvelope")
    if _at(envelope, str, "payloadType") != PAYLOAD:
        raise _invalid(f"its payloadType is not {PAYLOAD}")
    if len(_at(envelope, list, "signatures")) != 1:
        raise _invalid("it must hold one signature")
    payload = _base64(_at(envelope, str, "payload"))
    signature = _base64(_at(envelope, str, "signatures", 0, "sig"))
    message = b"DSSEv1 %d %b %d %b" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)
    try:
        key.verify(signature, message, ec.ECDSA(getattr(hashes, HASHES[key.curve.name])()))
    except InvalidSignature as error:
        raise _invalid("it was not made with the key that it names, or was changed since") from error
    return payload


def _signed_files(payload: bytes) -> dict[str, str]:
    """Name → `sha256:…` of every file that the statement lists."""
    statement = _json(payload, "its statement")
    if (_at(statement, str, "_type"), _at(statement, str, "predicateType")) != (STATEMENT, PREDICATE):
        raise _invalid(f"it states something else than {PREDICATE}")
    how = _at(statement, dict, "predicate", "serialization")
    if (how.get("method"), how.get("hash_type")) != ("files", "sha256"):
        raise _invalid(f"it lists shards or other hashes than sha256; sign whole files ({HOW})")
    resources = _at(statement, list, "predicate", "resources")
    files = {_at(one, str, "name"): f"sha256:{_at(one, str, 'digest')}" for one in resources}
    if len(files) != len(resources):
        raise _invalid("it lists a file twice")
    return files


def _compare(signed: Mapping[str, str], files: Mapping[str, str]) -> None:
    if signed == files:
        return
    changed = sorted(name for name in signed.keys() & files.keys() if signed[name] != files[name])
    unsigned, missing = sorted(files.keys() - signed.keys()), sorted(signed.keys() - files.keys())
    raise _invalid(
        f"it is of other files: {changed[:5]} differ, {unsigned[:5]} are not signed, {missing[:5]!r:.500} "
        f"are not there; sign this bundle ({HOW})"
    )


def _json(data: bytes, what: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"{what} is not JSON: {error!s:.200}") from error


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise _invalid("its payload and signature are not base64") from error


def _at(document: Any, kind: type[_T], *path: str | int) -> _T:
    """The value of that type at that path of a JSON document."""
    for step in path:
        try:
            document = document[step]
        except (LookupError, TypeError):
            document = None
    if not isinstance(document, kind):
        raise _invalid(f"{'.'.join(map(str, path))} in it is not of type {kind.__name__}")
    return document


def _invalid(message: str) -> NoriaError:
    return NoriaError(Reason.SIGNATURE_INVALID, f"{contract.MODEL_SIGNATURE} is not good: {message}")
