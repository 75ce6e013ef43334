"""Those who call a guarded model, and the kubelet that brings their keys to the router."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

Json = dict[str, Any]


def mount(place: Path, files: Mapping[str, str]) -> None:
    """Put files in place as the kubelet does with a volume: all at once, by replacing one link."""
    version = place / f"..{time.time_ns()}"
    version.mkdir(parents=True)
    for name, content in files.items():
        (version / name).write_text(content)
    before = (place / "..data").resolve() if (place / "..data").exists() else None
    (place / "..data_tmp").symlink_to(version.name)
    (place / "..data_tmp").replace(place / "..data")
    for name in files:
        if not (place / name).is_symlink():
            (place / name).symlink_to(f"..data/{name}")
    for link in place.iterdir():
        if not link.name.startswith("..") and link.name not in files:
            link.unlink()
    if before is not None:
        for file in before.iterdir():
            file.unlink()
        before.rmdir()


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _part(value: Json) -> str:
    return _packed(json.dumps(value).encode())


@dataclass
class Issuer:
    """Who signs tokens, with one key at a time."""

    name: str = "https://issuer.example"
    kid: str = "first"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def key_set(self) -> str:
        """The public half, as a JSON Web Key Set (RFC 7517)."""
        numbers = self.key.public_key().public_numbers()
        key = {
            "kty": "EC",
            "crv": "P-256",
            "alg": "ES256",
            "kid": self.kid,
            "x": _packed(numbers.x.to_bytes(32, "big")),
            "y": _packed(numbers.y.to_bytes(32, "big")),
        }
        return json.dumps({"keys": [key]})

    def token(self, *, lifetime: float = 600, header: Json | None = None, **claims: Any) -> str:
        """A token for the audience `models`, unless `claims` say otherwise; None leaves a claim out."""
        head = {"alg": "ES256", "typ": "JWT", "kid": self.kid, **(header or {})}
        said = {"iss": self.name, "aud": "models", "exp": int(time.time() + lifetime), **claims}
        signed = f"{_part(head)}.{_part({name: it for name, it in said.items() if it is not None})}"
        r, s = decode_dss_signature(self.key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_packed(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def unsigned(self, signature: str = "", **header: Any) -> str:
        """A good token, but for its header and signature."""
        _, payload, _ = self.token().split(".")
        return f"{_part({'alg': 'none', **header})}.{payload}.{signature}"
