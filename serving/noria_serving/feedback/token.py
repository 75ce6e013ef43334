"""Feedback tokens: what a label must be joined with, signed so that nobody else can make one up.

In: what was predicted. Out: a base64url text, and back. Invariant: a token that this module accepts was
issued with one of the deployment's keys, for that deployment, and is unchanged. Signed, not encrypted: it
says nothing that the answer did not say.

Layout, big endian: format(1) | kid length(1) kid | binding(8) | version length(1) version | milliseconds(6) |
process(6) sequence(4) | content | HMAC-SHA256 truncated to 16 bytes. `binding` is the start of
sha256(namespace/deployment); (process, sequence) is the nonce, never used twice, and the token's id. Content:
of a classification (format 1) rows(1), score bin of each row, group of each row (the place of the predicted
class, or the order of two); of a regression (2) rows(1), the unit's exponent(2), each row's prediction(8,
IEEE 754); of a batch that only the payload log has (3) rows(4); of several classes (6) that of format 1, then
the mark of each row; with the scores of all of them (7) that of format 6, then classes(1), the score bin of
each class of each row. Where rows are told apart by slices, formats 4, 5, 9 and 10: slicings(1), then the
content of format 1, 2, 6 or 7, then the group of each row by each slicing, four bits each.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct
from contextlib import suppress
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from noria_serving.contract import FEEDBACK_MAX_ROWS, SCORE_BINS, SLICE_GROUPS, SLICINGS
from noria_serving.feedback.keys import KeyRing

CLASSIFIED, REGRESSED, LOGGED, MARKED, SCORED = 1, 2, 3, 6, 7
"""Formats."""
SLICED: Final = 3
"""Added to all but LOGGED: with the slices of their rows."""
_WHOLE: Final = frozenset({CLASSIFIED, REGRESSED, MARKED, SCORED})
_KINDS: Final = _WHOLE | {LOGGED} | {kind + SLICED for kind in _WHOLE}
MAC: Final = 16
MAX_TEXT: Final = 2880
"""Of 64 rows with the scores of 20 classes, by names of versions and keys that are as long as can be."""


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
    FULL = "full"
    """The payload log, which labels of a large batch are for, has no room for them now."""


class Refused(Exception):
    """A refusal with a sentence for the caller."""

    def __init__(self, refusal: Refusal, message: str) -> None:
        super().__init__(message)
        self.refusal = refusal


class Token(NamedTuple):
    """What a token says: of the rows, either bins and groups, or values, or how many there were."""

    version: str
    milliseconds: int
    nonce: bytes
    """process(6) sequence(4)"""
    bins: bytes = b""
    groups: bytes = b""
    values: tuple[float, ...] = ()
    exponent: int = 0
    """Errors of `values` are counted in units of two to the power of it."""
    batch: int = 0
    """Rows of a batch that is in the payload log."""
    slices: bytes = b""
    """The group of each row by each slicing, row by row."""
    marks: bytes = b""
    """Of several classes: by which one version knows a class that another one predicted (`mark`)."""
    by_class: bytes = b""
    """Of several classes: the score bin of each of them, row by row."""

    @property
    def id(self) -> str:
        """How the payload log calls the prediction."""
        return self.nonce.hex()

    @property
    def rows(self) -> int:
        return self.batch or len(self.values) or len(self.bins)

    def slices_of(self, row: int) -> bytes:
        """The groups of one row, by each slicing."""
        return _part(self.slices, self.rows, row)

    def by_class_of(self, row: int) -> bytes:
        """The score bins of one row, by class."""
        return _part(self.by_class, self.rows, row)


def _part(whole: bytes, rows: int, row: int) -> bytes:
    width = len(whole) // rows
    return whole[row * width : (row + 1) * width]


def binding(namespace: str, deployment: str) -> bytes:
    """What ties a token to its deployment."""
    return hashlib.sha256(f"{namespace}/{deployment}".encode()).digest()[:8]


def mark(name: str) -> int:
    """A byte for the name of a class; one in 256 others has the same."""
    return hashlib.sha256(name.encode()).digest()[0]


def order(first: str, second: str) -> int:
    """A byte for two classes in this order. It differs by its last bit from that of the other order, which
    that of two other names is taken for once in 254 times; it is never 0, which earlier releases wrote.
    """
    return (mark("\0".join(sorted((first, second)))) % 127 + 1) * 2 + (first < second)


def sign(token: Token, ring: KeyRing, bound: bytes) -> str:
    """Token → text, signed with the active key."""
    kind, content = _content(token)
    kid, version = ring.active.encode(), token.version.encode()
    body = b"".join((
        bytes((kind, len(kid))), kid, bound, bytes((len(version),)), version,
        token.milliseconds.to_bytes(6), token.nonce, content,
    ))  # fmt: skip
    return base64.urlsafe_b64encode(body + _mac(ring.keys[ring.active], body)).rstrip(b"=").decode()


def _content(token: Token) -> tuple[int, bytes]:
    if token.batch:
        return LOGGED, token.batch.to_bytes(4)
    if not len(token.bins) == len(token.groups) <= FEEDBACK_MAX_ROWS >= len(token.values):
        raise ValueError("a token holds one bin and one group, or one value, for each of at most 64 rows")
    if len(token.marks) not in (0, len(token.bins)):
        raise ValueError("a token holds a mark of each row, or of none")
    if token.by_class and (not token.marks or len(token.by_class) % len(token.marks)):
        raise ValueError("a token holds as many scores of each row as of the others, beside its mark")
    kind, content = _rows(token)
    if not token.slices:
        return kind, content
    slicings, rest = divmod(len(token.slices), token.rows)
    if rest or slicings > SLICINGS or max(token.slices) >= SLICE_GROUPS:
        raise ValueError(f"slices: a number below {SLICE_GROUPS} for each row by at most {SLICINGS} slicings")
    return kind + SLICED, bytes((slicings,)) + content + bytes.fromhex(_even(token.slices.hex()[1::2]))


def _rows(token: Token) -> tuple[int, bytes]:
    if token.values:
        layout = f">Bh{len(token.values)}d"
        return REGRESSED, struct.pack(layout, len(token.values), token.exponent, *token.values)
    content = bytes((len(token.bins),)) + token.bins + token.groups + token.marks
    if token.by_class:
        return SCORED, content + bytes((len(token.by_class) // token.rows,)) + token.by_class
    return MARKED if token.marks else CLASSIFIED, content


def _even(digits: str) -> str:
    return digits + "0" * (len(digits) % 2)


def token_id(token: str) -> str:
    """The payload log's `id` of the prediction that a token came with, to join labels kept by token; whether
    the token is genuine is not looked at, which takes the keys. ValueError for what is no token.
    """
    data = _decode(token)
    if data is not None:
        with suppress(ValueError, IndexError, struct.error):
            return _parse(data[0], data[10 + data[1] : -MAC]).id
    raise ValueError(f"{token[:20]!r} is no feedback token; give it as it came with the prediction")


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
    try:
        return _parse(body[0], body[10 + length :])
    except (ValueError, struct.error):
        raise Refused(Refusal.INVALID, "the token's content is malformed") from None


def _parse(kind: int, rest: bytes) -> Token:
    length = rest[0]
    version, milliseconds, nonce = (
        rest[1 : 1 + length],
        rest[1 + length : 7 + length],
        rest[7 + length : 17 + length],
    )
    content = rest[17 + length :]
    common = (version.decode(), int.from_bytes(milliseconds), nonce)
    if len(nonce) != 10 or not content:
        raise ValueError
    if kind == LOGGED:
        (rows,) = struct.unpack(">I", content)
        return Token(*common, batch=rows)
    if kind not in _WHOLE:
        return _sliced(kind - SLICED, common, content)
    return _whole(kind, common, content)


def _sliced(kind: int, common: tuple[str, int, bytes], content: bytes) -> Token:
    slicings, rows = content[0], content[1] if len(content) > 1 else 0
    packed = (rows * slicings + 1) // 2
    if not 0 < slicings <= SLICINGS or not rows:
        raise ValueError
    digits = content[-packed:].hex()[: rows * slicings]
    token = _whole(kind, common, content[1:-packed])
    return token._replace(slices=bytes(int(digit, 16) for digit in digits))


def _whole(kind: int, common: tuple[str, int, bytes], content: bytes) -> Token:
    rows = content[0]
    if kind == REGRESSED:
        exponent, *values = struct.unpack(f">xh{rows}d", content)
        return Token(*common, values=tuple(values), exponent=exponent)
    bins, groups, marks = content[1 : 1 + rows], content[1 + rows : 1 + 2 * rows], content[1 + 2 * rows :]
    by_class = b""
    if kind == SCORED:
        marks, classes, by_class = marks[:rows], marks[rows : rows + 1], marks[rows + 1 :]
        if not by_class or len(by_class) != rows * int.from_bytes(classes):
            raise ValueError
    marked = 0 if kind == CLASSIFIED else rows
    if len(groups) != rows or len(marks) != marked or max(bins + by_class, default=0) >= SCORE_BINS:
        raise ValueError
    return Token(*common, bins=bins, groups=groups, marks=marks, by_class=by_class)


def _decode(text: str) -> bytes | None:
    if not 40 <= len(text) <= MAX_TEXT:
        return None
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    whole = len(data) >= 2 and data[0] in _KINDS and len(data) >= 2 + data[1] + 8 + 1 + MAC
    # base64 leaves spare bits in its last character: only the spelling that we issue is a token
    return data if whole and base64.urlsafe_b64encode(data).rstrip(b"=").decode() == text else None


def _mac(key: bytes, body: bytes) -> bytes:
    inner, outer = [half.copy() for half in _halves(key)]
    inner.update(body)
    outer.update(inner.digest())
    return outer.digest()[:MAC]


@lru_cache(maxsize=8)
def _halves(key: bytes) -> tuple[hashlib._Hash, hashlib._Hash]:
    """Both hashes of HMAC-SHA256 (RFC 2104) as far as a key of up to 64 bytes decides them: `hmac.digest`
    does that anew for each token, which takes three fifths of its time.
    """
    block = key.ljust(hashlib.sha256().block_size, b"\0")
    inner, outer = (hashlib.sha256(bytes(byte ^ pad for byte in block)) for pad in (0x36, 0x5C))
    return inner, outer
