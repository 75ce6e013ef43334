"""Feedback tokens: what a label must be joined with, signed so that nobody else can make one up.

In: what was predicted. Out: a base64url text, and back. Invariant: a token that this module accepts was
issued with one of the deployment's keys, for that deployment, and is unchanged. Signed, not encrypted: it
says nothing secret.

Layout, big endian: format(1) | kid length(1) kid | binding(8) | version length(1) version | milliseconds(6) |
process(6) sequence(4) | rows(1) | score bin of each row | group of each row | HMAC-SHA256 truncated to 16
bytes. `binding` is the start of sha256(namespace/deployment); (process, sequence) is the nonce, never used
twice.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from noria_serving.contract import FEEDBACK_MAX_ROWS, SCORE_BINS
from noria_serving.feedback.keys import KeyRing

FORMAT: Final = 1
MAC: Final = 16
MAX_TEXT: Final = 512


class Refusal(StrEnum):
    """Why a token or its labels were not counted."""

    INVALID = "invalid"
    """Not a token at all, or labels that do not fit it."""
    FOREIGN = "foreign"
    """Issued for another deployment."""
    FORGED = "forged"
    """The signature does not match, or the key is not (or no longer) known."""
    EXPIRED = "expired"
    """Issued too long ago, or in the future."""
    DUPLICATE = "duplicate"
    """Counted before."""


class Refused(Exception):
    """A refusal with a sentence for the caller."""

    def __init__(self, refusal: Refusal, message: str) -> None:
        super().__init__(message)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says."""

    version: str
    milliseconds: int
    process: bytes
    sequence: int
    bins: bytes
    groups: bytes


def binding(namespace: str, deployment: str) -> bytes:
    """What ties a token to its deployment."""
    return hashlib.sha256(f"{namespace}/{deployment}".encode()).digest()[:8]


def sign(token: Token, ring: KeyRing, bound: bytes) -> str:
    """Token → text, signed with the active key."""
    if not len(token.bins) == len(token.groups) <= FEEDBACK_MAX_ROWS:
        raise ValueError("a token holds one bin and one group for each of at most 64 rows")
    kid, version = ring.active.encode(), token.version.encode()
    body = b"".join((
        bytes((FORMAT, len(kid))), kid, bound, bytes((len(version),)), version,
        token.milliseconds.to_bytes(6), token.process, token.sequence.to_bytes(4),
        bytes((len(token.bins),)), token.bins, token.groups,
    ))  # fmt: skip
    return base64.urlsafe_b64encode(body + _mac(ring.keys[ring.active], body)).rstrip(b"=").decode()


def key_id(text: str) -> str | None:
    """The key id that a token claims, unverified; None when it is no token."""
    data = _decode(text)
    return None if data is None else data[2 : 2 + data[1]].decode("latin-1")


def verify(text: str, ring: KeyRing, bound: bytes) -> Token:
    """Text → Token, or Refused."""
    data = _decode(text)
    if data is None:
        raise Refused(
            Refusal.INVALID, "this is not a feedback token; send the one that came with the prediction"
        )
    body, mac, length = data[:-MAC], data[-MAC:], data[1]
    if body[2 + length : 10 + length] != bound:
        raise Refused(Refusal.FOREIGN, "the token was issued by another deployment")
    key = ring.keys.get(body[2 : 2 + length].decode("latin-1"))
    if key is None or not hmac.compare_digest(mac, _mac(key, body)):
        raise Refused(Refusal.FORGED, "the token's signature does not match")
    return _parse(body[10 + length :])


def _parse(rest: bytes) -> Token:
    length = rest[0]
    version, fixed = rest[1 : 1 + length], rest[1 + length : 18 + length]
    rows = rest[18 + length :]
    count = fixed[16] if len(fixed) == 17 else -1
    if len(rows) != 2 * count or max(rows[:count], default=0) >= SCORE_BINS:
        raise Refused(Refusal.INVALID, "the token's content is malformed")
    return Token(
        version.decode(), int.from_bytes(fixed[:6]), fixed[6:12], int.from_bytes(fixed[12:16]),
        rows[:count], rows[count:],
    )  # fmt: skip


def _decode(text: str) -> bytes | None:
    if not 40 <= len(text) <= MAX_TEXT:
        return None
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    whole = len(data) >= 2 and data[0] == FORMAT and len(data) >= 2 + data[1] + 8 + 1 + MAC
    # base64 leaves spare bits in its last character: only the spelling that we issue is a token
    return data if whole and base64.urlsafe_b64encode(data).rstrip(b"=").decode() == text else None


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, body, "sha256")[:MAC]
